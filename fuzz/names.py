"""What others named in the kernel: links, their aliases, masters and peers, nftables' chains,
targets of links in /etc/netns.

A kernel's answers with such names are decoded, compared with a lab that is up, and printed by every
command that prints what it sees. Every line is printable, every JSON is JSON, and no command for a
shell holds a name that was not quoted.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import struct
import tempfile
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from random import Random
from typing import Any
from unittest.mock import patch

from rich.cells import cell_len

from bascule.cli import main as cli
from bascule.cli import output, showing
from bascule.engine import doctor, doctor_firewalls, look, prepare, scripts
from bascule.host import nft
from bascule.host.observe import Observation
from bascule.kernel.fact import Fact
from bascule.kernel.file import Symlink, TextFile
from bascule.kernel.namespace import Namespace
from bascule.plan.diff import Change, Plan
from bascule.wire import message, netfilter
from bascule.wire import route as rt
from bascule.wire.message import Reply
from fuzz.decoder import facts_of
from fuzz.target import GUARD, HERE, corpus, door_of, promise

# what is printed
_DOORS = dict.fromkeys(("plan", "json", "show", "tree", "lists", "explain", "script", "doctor"))
_RECORD = HERE / "corpus" / "state" / "host"
_FILE = str(HERE.parent / "examples" / "docker-bridge.yaml")
_IFALIAS, _INFO_DATA, _ALT_NAMES = 20, 2, 52
_PLACES = (
    "bridge",
    "master",
    "peer",
    "stranger",
    "alias",
    "kind",
    "table",
    "chain",
    "target",
    "file",
)

_NAMES = [
    *(
        b"lan",
        b"eth0",
        b"veth1",
        b"veth1p",
        b"mydocker0",
        b"\x1b[31m",
        b"\x1b]0;x\x07",
        b"\x9b31m",
        b"\xc2\x9b31m",
        b"\r",
    ),
    *(b"a\nb", b"\x7f"),
    *(
        "\u202e\u2066".encode(),
        "\u2028".encode(),
        "\x85".encode(),
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        b"%s%n",
        b"%d",
    ),
    *(
        b"$(id)",
        b"`id`",
        b"; id",
        b"'",
        b'"',
        b"a b",
        b"-rf",
        b"--help",
        b"..",
        b"*",
        b"~",
        b"[red]x[/]",
        b"\\x1b",
    ),
    *(b"\\", b"", b"x" * 300),
    *(
        "\U0001f600".encode(),
        "e\u0301\u0301\u0301".encode(),
        b"x f accept; flush ruleset; #",
        b"{",
        b"<b>",
    ),
    *(b"\t", b"\x00x", b"\x0b"),
]
_COMMANDS = {
    "plan": (["plan", _FILE], ["down", "--dry-run", "docker-bridge"]),
    "json": (
        ["plan", _FILE, "--json"],
        ["show", "--json"],
        ["inspect", "ns1"],
        ["node", "ls", "--json"],
    ),
    "show": (["show"], ["network", "inspect", "mydocker0"]),
    "tree": (["show"],),
    "lists": (["node", "ls"], ["network", "ls"], ["network", "ls", "--json"]),
    "script": (["script", _FILE], ["script", _FILE, "--teardown"], ["script", _FILE, "--classic"]),
    "doctor": (["doctor"], ["doctor", "--json"]),
}


class _Names:
    name = "names"
    cases = 20_000

    def __init__(self) -> None:
        self._bases = [json.loads(door_of(case, _DOORS)[1]) for case in corpus(self.name)]
        cell_len("\U0001f600")  # imports a table
        self._record = door_of(_RECORD.read_bytes(), {"record": None})[1]

    def make(self, random: Random) -> bytes:
        names = dict(random.choice(self._bases))
        for place in random.sample(_PLACES, 1 + random.randrange(4)):
            name = random.choice(_NAMES)
            if random.random() < 0.3:
                name = name + random.choice(_NAMES)
            if random.random() < 0.2:
                name = random.randbytes(random.randrange(15))
            names[place] = name.decode("latin-1")
        return random.choice(list(_DOORS)).encode() + b"\n" + json.dumps(names).encode()

    def run(self, case: bytes) -> None:
        door, text = door_of(case, _DOORS)
        names = {place: name.encode("latin-1") for place, name in json.loads(text).items()}
        seen = _seen(names)
        if door == "explain":
            _explain(seen)
            return
        environment = {"COLUMNS": "100", "NO_COLOR": "1", "BASCULE_LAB": "", "TERM": "xterm"}
        with (
            tempfile.TemporaryDirectory() as root,
            patch.dict(os.environ, environment | {"BASCULE_STATE_DIR": root}),
        ):
            os.mkdir(f"{root}/docker-bridge", 0o700)
            with open(f"{root}/docker-bridge/lab.json", "wb") as file:
                file.write(self._record)
            for argv in _COMMANDS[door]:
                _print(argv, seen, door == "tree")


def _attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, number) + payload + bytes(-len(payload) & 3)


def _link(
    index: int, name: bytes, kind: bytes, master: int = 0, peer: int = 0, alias: bytes = b""
) -> bytes:
    info = _attribute(1, kind + b"\0") + _attribute(_INFO_DATA, _attribute(1, name))
    body = (
        rt.IFINFO.pack(0, 1, index, rt.IFF_UP, 0)
        + _attribute(3, name + b"\0")
        + _attribute(4, struct.pack("=I", 1400))
    )
    body += (
        _attribute(1, bytes(6))
        + _attribute(_IFALIAS, alias + b"\0")
        + _attribute(_ALT_NAMES, _attribute(53, alias + b"\0"))
    )
    body += _attribute(18, info) + (_attribute(10, struct.pack("=I", master)) if master else b"")
    return _message(rt.NEWLINK, body + (_attribute(5, struct.pack("=I", peer)) if peer else b""))


def _message(kind: int, body: bytes) -> bytes:
    return (
        message.HEADER.pack(message.HEADER.size + len(body), kind, message.MULTI, 1, 0)
        + body
        + bytes(-len(body) & 3)
    )


_DONE = _message(message.DONE, bytes(4))


def _seen(names: dict[str, bytes]) -> Observation:
    """A machine on which the lab is up, and others were at work."""
    links = (
        _link(100000, names["bridge"], b"bridge", alias=names["alias"])
        + _link(7, names["master"], names["kind"])
        + _link(100001, b"veth1", b"veth", 7, 100, names["alias"])
        + _link(100002, names["stranger"], b"veth", 100000, 101)
        + _link(100003, names["stranger"] + b"2", b"bridge")
    )
    route = rt.RTMSG.pack(2, 8, 0, 0, rt.RT_TABLE_MAIN, rt.RTPROT_STATIC, 0, rt.RTN_UNICAST, 0)
    route += (
        _attribute(1, bytes([10, 0, 0, 0]))
        + _attribute(4, struct.pack("=I", 100))
        + _attribute(5, bytes([172, 16, 1, 9]))
    )
    address = (
        rt.IFADDR.pack(2, 24, 0x80, 0, 100)
        + _attribute(2, bytes([172, 16, 1, 9]))
        + _attribute(8, struct.pack("=I", 0x80))
    )
    inside = (
        _link(100, names["peer"], b"veth", 0, 100001) + _DONE,
        _message(rt.NEWADDR, address) + _DONE,
    )
    world = (links + _DONE, _DONE, _DONE)
    seen = facts_of(world, {"ns1": (*inside, _message(rt.NEWROUTE, route) + _DONE)})
    folder = "/run/bascule/docker-bridge/etc"
    others: list[Fact] = [
        Namespace("ns1", cookie=4711),
        Symlink("/etc/netns/ns1", os.fsdecode(names["target"]) or "x"),
        Symlink("/etc/netns/ns2", f"{folder}/{os.fsdecode(names['target'])}"),
        TextFile(
            f"{folder}/{os.fsdecode(names['file'])}",
            names["file"].decode(errors="backslashreplace"),
        ),
    ]
    seen.facts = [*others, *seen.facts]
    seen.bridge_nf = True
    chain = _attribute(1, names["table"] + b"\0") + _attribute(3, names["chain"] + b"\0")
    chain += _attribute(
        4, _attribute(1, struct.pack(">I", 2)) + _attribute(2, bytes(4))
    ) + _attribute(5, bytes(4))
    found = netfilter.base_chain(
        Reply(netfilter.GETCHAIN, 0, 1, netfilter.NFGEN.pack(2, 0, 0) + chain)
    )
    seen.forward_chains = [found] if found else []
    return seen


def _print(argv: list[str], seen: Observation, terminal: bool) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    GUARD.readable = ("",)
    with ExitStack() as stack:
        for module in (prepare, look, scripts, doctor_firewalls):
            stack.enter_context(patch.object(module, "observe", lambda *_: seen))
        stack.enter_context(patch.object(doctor, "_LOOKS", (doctor_firewalls.bridged_frames,)))
        stack.enter_context(patch.object(nft, "program", lambda: "/usr/sbin/nft"))
        stack.enter_context(patch.object(output, "is_terminal", lambda _stream: terminal))
        for colour in ("_BOLD", "_GREEN", "_RED", "_YELLOW"):
            stack.enter_context(patch.object(showing, colour, ""))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(errors))
        with GUARD:
            code = cli.main(argv)
    promise(code in (0, 1), f"exit code {code!r}")
    out.flush()
    errors.flush()
    said, complaints = (stream.buffer.getvalue().decode() for stream in (out, errors))  # type: ignore[attr-defined]  # a BytesIO
    for line in (said + complaints).split("\n"):
        promise(line.replace("\t", "").isprintable(), f"not printable: {line!r}")
    if code == 0 and ("--json" in argv or argv[0] == "inspect"):
        json.loads(said)
    if argv[0] == "script" and code == 0:
        _judge_script(said)


def _judge_script(text: str) -> None:
    """nft reads its words itself: quoting them for the shell is not enough."""
    for line in text.split("\n"):
        if line.startswith("nft "):
            promise(
                ";" not in "".join(shlex.split(line)[1:]).replace("; }", ""),
                f"two commands in one: {line!r}",
            )


def _explain(seen: Observation) -> None:
    """``--explain``: every operation on every fact that is there."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    indexes = prepare.Indexes()
    for (node, name), index in seen.indexes.items():
        indexes.learn(node, name, index)
    with redirect_stdout(out), redirect_stderr(out), GUARD:
        changes = tuple(Change("-", fact, "goes", fact.remove(indexes)) for fact in seen.facts)
        follower = output.listener(explain=True)
        follower.planned(Plan(changes, tuple(str(chain) for chain in seen.forward_chains)))
        follower.progress(1000)
        for change in changes:
            for op in change.ops:
                for line in op.shell():
                    shlex.split(line)
    out.flush()
    for line in out.buffer.getvalue().decode().split("\n"):  # type: ignore[attr-defined]  # a BytesIO
        promise(line.replace("\t", "").isprintable(), f"not printable: {line!r}")


TARGET: Any = _Names()
