"""The state files: record, journal and the notes of folders that were made. They belong to the
user, and are input all the same: torn by a full disk, written by another version, edited by hand.

Beside not falling over: nothing is written, every error says what to do, and what is believed names
nothing outside of the lab.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from random import Random
from typing import Any

from bascule.engine import claims, find, look, worlds
from bascule.engine.prepare import stored_topology
from bascule.engine.scope import scope_of
from bascule.errors import BasculeError, StateError
from bascule.host import files
from bascule.kernel.op import Indexes
from bascule.names import printable, problem_with_node_name
from bascule.plan.desired import desired
from bascule.state import store
from fuzz import mutate
from fuzz.target import GUARD, corpus, door_of, promise

_FILES = {"record": "lab.json", "journal": "journal.json", "made": ".made"}
_LAB, _NEIGHBOUR = "docker-bridge", "neighbour"
_MOST_NODES = 5000

_WORDS: list[Any] = [
    *(
        "name",
        "world",
        "slot",
        "topology",
        "keeper",
        "pid",
        "start",
        "first",
        "numbering",
        "namespaces",
        "priors",
        "version",
    ),
    *(
        "boot",
        "host",
        "held",
        "networks",
        "forwarding",
        "before",
        "interfaces",
        "back",
        "4",
        "6",
        "all",
        "accept_ra",
        "-1",
    ),
    *(
        "nodes",
        "host",
        "private",
        "moon",
        _LAB,
        _NEIGHBOUR,
        "ns1",
        "../../etc",
        "/etc/passwd",
        "..",
        ".",
        "",
        "\0",
        "a\nb",
    ),
    *(
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "x" * 300,
        "-rf",
        "10.0.0.0/24",
        "10.0.0.0/99",
        "mydocker0",
        "net.ipv4.ip_forward",
        "%s",
    ),
    *("$(id)", "\U0001f600"),
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        2**22,
        2**22 + 1,
        2**31,
        2**63,
        2**64,
        10**400,
        0.5,
        1e308,
        float("inf"),
        float("nan"),
    ),
    *(
        [],
        {},
        [[]],
        [["a", "b", "c"]],
        [["a", "b"]],
        {"a": {}},
        {"pid": 1, "start": 0},
        {"pid": 2**40, "start": 1},
        {"..": 0},
    ),
]
_PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"null",
        b"NaN",
        b"1e999",
        b"9" * 5000,
        b"[" * 5000,
        b'{"a":' * 3000,
        b"\x00",
    ),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"\\u0000",
        b"/",
        b"/etc\n",
        b"mount /proc\n",
        b"mount ",
        b"//run/netns\n",
    ),
    *(
        b"/run/netns/../../home\n",
        b"/run/netns\n",
        b"/etc/netns\n",
        b"..",
        b"\r\n",
        b"\xe2\x80\xa8",
        b"x" * 5000,
    ),
]


class _State:
    name = "state"
    cases = 30_000

    def __init__(self) -> None:
        self._texts: dict[str, list[bytes]] = {door: [] for door in _FILES}
        for case in corpus(self.name):
            door, text = door_of(case, _FILES)
            self._texts[door].append(text)
        self._texts["journal"] += self._texts["record"]
        self._data = [json.loads(text) for text in self._texts["record"]]

    def make(self, random: Random) -> bytes:
        door = random.choice(("record", "record", "journal", "made"))
        texts = self._texts[door]
        match random.randrange(4):
            case 0:
                text = mutate.of_bytes(random, random.choice(texts), texts)
            case 1:
                text = mutate.of_text(random, random.choice(texts), _PIECES)
            case _ if door == "made":
                text = mutate.of_text(
                    random, mutate.of_bytes(random, random.choice(texts), texts), _PIECES
                )
            case _:
                text = json.dumps(
                    mutate.of_data(random, random.choice(self._data), _WORDS)
                ).encode()
        return door.encode() + b"\n" + text

    def run(self, case: bytes) -> None:
        door, text = door_of(case, _FILES)
        if door == "made":
            with GUARD:
                _notes(text)
            return
        with tempfile.TemporaryDirectory() as root:
            before = os.environ.get("BASCULE_STATE_DIR")
            os.environ["BASCULE_STATE_DIR"] = root
            try:
                for lab in (_LAB, _NEIGHBOUR):
                    os.mkdir(f"{root}/{lab}", 0o700)
                _put(
                    f"{root}/{_NEIGHBOUR}/lab.json",
                    json.dumps(self._data[0] | {"name": _NEIGHBOUR}).encode(),
                )
                if door == "journal":
                    _put(f"{root}/{_LAB}/lab.json", json.dumps(self._data[0]).encode())
                _put(f"{root}/{_LAB}/{_FILES[door]}", text)
                GUARD.readable = (f"{root}", "/proc/")
                with GUARD:
                    _look()
            finally:
                if before is None:
                    del os.environ["BASCULE_STATE_DIR"]
                else:
                    os.environ["BASCULE_STATE_DIR"] = before


def _put(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, data)
    os.close(descriptor)


def _look() -> None:
    """What the commands do with a stored lab before they look at the kernel."""
    infos = {info.name: info for info in look.labs()}
    promise(infos[_NEIGHBOUR].state == "up", "the neighbour suffers")
    promise(
        all(
            problem_with_node_name(name) is None or name in infos[_NEIGHBOUR].names
            for name in infos[_NEIGHBOUR].names
        ),
        "",
    )
    claims.of_others("third")
    for node in ("ns1", "nobody"):
        with suppress(BasculeError):
            find.find_node(node)
    try:
        stored = worlds.without_lost(store.load(_LAB))
        lab = stored_topology(stored.newest)
    except StateError as error:
        said = str(error)
        promise(printable(said).isprintable() and len(said) < 1500, f"bad words: {said!r}")
        promise(
            any(way in said for way in ("remove", "bascule down --force", "set BASCULE")),
            f"no advice: {said}",
        )
        return
    worlds.existing(stored)
    if lab is None or stored.newest is None or len(lab.nodes) > _MOST_NODES:
        return
    promise(lab.name == stored.newest.name == _LAB, "another lab")
    promise(
        all(problem_with_node_name(name) is None for name in stored.namespaces),
        "a namespace that can't be",
    )
    promise(Indexes(stored.newest.slot).range.stop < 1 << 31, "no such indexes")
    scope = scope_of(desired(lab))
    places = (f"/run/bascule/{_LAB}/", "/etc/netns/")
    promise(
        all(path.startswith(places) and "/../" not in path for path in scope.files),
        f"outside: {scope.files}",
    )


def _notes(text: bytes) -> None:
    for line in files._notes(text):
        path = line.removeprefix("mount ")
        known = ("/run/netns", "/etc/netns", "/run/etc-netns")
        promise(os.path.normpath(path) == path and "\0" not in path, f"not a plain path: {path!r}")
        promise(
            any(path == folder or path.startswith(f"{folder}/") for folder in known),
            f"not a folder of ours: {path!r}",
        )


TARGET: Any = _State()
