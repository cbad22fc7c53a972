"""The command line: every argument of every command, with a lab that is up (on paper) and without.

The engine's runs, looks at the kernel and commands in nodes are stubs: what is tried is everything
before them. Beside not falling over: exit code 0, 1 or 2 (125 of `exec`), printable lines only,
valid JSON where it was asked for, nothing written, nothing started.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from random import Random
from typing import Any, NoReturn
from unittest.mock import patch

from bascule.cli import main as cli
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from bascule.engine import boot, doctor, following, look, prepare, run, scripts, watch, worlds
from bascule.engine.options import Options, Outcome
from bascule.errors import BasculeError, Conflict
from bascule.host import icmp, keeper, spawn
from bascule.host.hands import Report
from bascule.host.observe import Observation
from bascule.plan.diff import Plan
from bascule.state import kept, store
from fuzz.target import GUARD, HERE, corpus, door_of, promise

_DOORS = dict.fromkeys(("empty", "lab"))  # what the state directory holds
_RECORD = HERE / "corpus" / "state" / "host"
_LATE = (
    "bascule.topology.read_yaml",
    "bascule.topology.write_yaml",
)
_ENVIRONMENT = {"COLUMNS": "80", "BASCULE_LAB": "", "SHELL": "/bin/sh"}
_MOST_OUTPUT = 1 << 20

_WORDS = [
    *(
        "ns1",
        "ns2",
        "mydocker0",
        "docker-bridge",
        "lan",
        "a",
        "host",
        "private",
        "none",
        "10.9.0.0/24",
        "10.9.0.1",
        "fd09::/64",
    ),
    *(
        "172.16.1.9",
        "fd00::9",
        "fe80::1%eth0",
        "fe80::1%\x1b[31m",
        "02:00:00:00:00:01",
        "net.ipv4.ip_forward=1",
        "=",
        "=1",
    ),
    *(
        "default via 172.16.1.1",
        "10.7.0.0/16 via 172.16.1.2",
        "1500",
        "-1",
        "0",
        "67",
        "1e999",
        "nan",
        "inf",
    ),
    *("-inf", "0x10", "1_0"),
    *(
        "9" * 5000,
        "\u0661\u0662",
        "2.5",
        "",
        " ",
        "-",
        "--",
        "---",
        "-h",
        "--help",
        "--version",
        "--json",
        "--yaml",
        "--all",
    ),
    *("-l", "-lns1"),
    *(
        "--lab=",
        "--lab=docker-bridge",
        "--world=moon",
        "--mtu=",
        "--force",
        "--dry-run",
        "--explain",
        "--no-wait",
        "--classic",
    ),
    *(
        ".",
        "..",
        "/",
        "/dev/null",
        "/nonexistent",
        "examples/seed.yaml",
        "../../etc/passwd",
        "x.yaml",
    ),
    *("./x.toml", "~", "*", "@file"),
    *(
        "\0",
        "a\0b",
        "a\nb",
        "a\rb",
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\x9b31m",
        "\u202eabc",
        "\u2028",
        "\x85",
        "\x0b",
    ),
    *("\ud800", "\udcff", "\U0001f600"),
    *(
        "%s%n",
        "{0}",
        "${HOME}",
        "$(id)",
        "`id`",
        "; id",
        "x" * 300,
        "y" * 100_000,
        "é" * 70,
        "[red]",
        "\\",
        "'",
        '"',
    ),
]


class _Arguments:
    name = "arguments"
    cases = 25_000

    def __init__(self) -> None:
        self._lines: list[list[str]] = []
        for case in corpus(self.name):
            self._lines += [json.loads(line) for line in door_of(case, _DOORS)[1].splitlines()]
        for module in _LATE:
            import_module(module)
        self._rows = list(_all_rows((), ROWS))
        for _path, row in self._rows:
            import_module(f"bascule.cli.{row.handler.partition(':')[0]}")
        self._record = door_of(_RECORD.read_bytes(), {"record": None})[1]

    def make(self, random: Random) -> bytes:
        argv = (
            _built(random, self._rows)
            if random.random() < 0.5
            else list(random.choice(self._lines))
        )
        for _ in range(int(random.random() * 4)):
            _change(random, argv)
        return random.choice(list(_DOORS)).encode() + b"\n" + json.dumps(argv).encode()

    def run(self, case: bytes) -> None:
        door, text = door_of(case, _DOORS)
        for line in text.splitlines():
            with (
                tempfile.TemporaryDirectory() as root,
                patch.dict(os.environ, _ENVIRONMENT | {"BASCULE_STATE_DIR": root}),
            ):
                if door == "lab":
                    os.mkdir(f"{root}/docker-bridge", 0o700)
                    with open(f"{root}/docker-bridge/lab.json", "wb") as file:
                        file.write(self._record)
                _run(json.loads(line))


class _Out(io.TextIOWrapper):
    def fileno(self) -> int:
        """`events` would watch whether somebody reads."""
        return 1


def _run(argv: list[str]) -> None:
    out = _Out(io.BytesIO(), "utf-8", errors="strict")
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    GUARD.readable = ("",)
    with _stubs(), redirect_stdout(out), redirect_stderr(errors), GUARD:
        try:
            code: object = cli.main(argv)
        except SystemExit as error:
            code = error.code
    _judge(
        argv,
        code,
        *(stream.buffer.getvalue().decode() for stream in (out, errors) if not stream.flush()),
    )  # type: ignore[attr-defined]  # a BytesIO


def _judge(argv: list[str], code: object, said: str, errors: str) -> None:
    # `events` ends by an interrupt only
    own = {"exec": 125, "shell": 125, "events": 130}.get(argv[0]) if argv else None
    promise(code in (0, 1, 2, own), f"exit code {code!r}")
    promise(len(said) + len(errors) < _MOST_OUTPUT, "a flood")
    for line in errors.split("\n") + said.split("\n"):
        promise(line.isprintable() or argv[:1] == ["completion"], f"not printable: {line!r}")
    promise(bool(errors.strip()) or code != 2 or argv[:1] == ["check"], "failed without a word")
    lines = errors.removesuffix("\n").split("\n")
    if code == 2 and errors and not errors.startswith("usage: "):
        promise(all(line.startswith("bascule: ") for line in lines), f"unlike an error: {errors!r}")
    if code == 0 and argv[:1] == ["ls"] and "--json" in argv and not said.startswith("usage: "):
        json.loads(said)


@contextmanager
def _stubs() -> Iterator[None]:
    with (
        patch.object(cli, "_failed", _failed),
        patch.object(run, "apply", _apply),
        patch.object(run, "preview", _preview),
        patch.object(prepare, "observe", _nothing),
        patch.object(look, "observe", _nothing),
        patch.object(scripts, "observe", _nothing),
        patch.object(spawn, "replace", _replace),
        patch.object(icmp, "ping", _ping),
        patch.object(doctor, "examine", lambda _lab="": []),
        patch.object(watch, "_events", lambda *_: iter(())),
        patch.object(following, "Watcher", _Closed),
        patch.object(following, "Files", _Closed),
        patch.object(following.Following, "_follow", lambda *_: iter(())),
        patch.object(boot, "missing", list),
        patch.object(boot, "install", lambda _program: []),
        patch.object(boot, "remove", list),
        patch.object(kept, "names", list),
        patch.object(keeper, "Starting", None),
    ):
        yield


class _Closed:
    """What would listen."""

    def __init__(self, *_: object) -> None: ...
    def close(self) -> None: ...


def _failed(error: BasculeError, json: bool, indent: int | None) -> int:
    """One line for each thing that is wrong, whatever the words are made of."""
    lines = str(error).split("\n")
    promise(
        len(lines) == len(getattr(error, "mistakes", "1")) or isinstance(error, Conflict),
        f"more lines: {lines}",
    )
    promise(
        all(0 < len(line) < 20_000 and line.isprintable() for line in lines), f"bad words: {lines}"
    )
    return _report(error, json, indent)


_report = cli._failed


def _apply(name: str, edit: run.Edit, options: Options, listener: object = None) -> Outcome:
    """As far as a run goes before it needs the kernel."""
    promise(isinstance(options.wait, bool), "wait or not")
    stored = worlds.without_lost(store.load(name))
    asked = edit(prepare.stored_topology(stored.newest))
    if asked is None:
        return Outcome(Plan(()), Report(), None, "none")
    kind = worlds.choose(options.world, stored)
    return Outcome(
        Plan(()),
        Report(),
        prepare.choose_all(asked, None, None, run.claims_of.of_others(name)),
        kind,
    )


def _preview(name: str, edit: run.Edit, options: Options) -> prepare.Prepared:
    return prepare.Prepared(_apply(name, edit, options).lab, Plan(()), [])


def _nothing(*_: object) -> Observation:
    return Observation()


def _replace(_world: object, node: str, argv: list[str], _last: object, hostname: str) -> NoReturn:
    promise(
        node in ("ns1", "ns2", "ns3") and len(argv) > 0 and hostname == node,
        f"a command in {node} ({hostname}): {argv}",
    )
    sys.exit(0)


def _ping(
    pairs: Sequence[tuple[str, icmp.Target]], timeout: float, _attempts: int
) -> list[icmp.Echo]:
    promise(0 <= timeout <= 1e6, f"a timeout of {timeout}")
    odd = [(source, target, number % 2) for number, (source, target) in enumerate(pairs)]
    return [
        icmp.Echo(source, target, 0.1 if answered else None, "" if answered else "no answer")
        for source, target, answered in odd
    ]


def _all_rows(
    above: tuple[str, ...], rows: tuple[Row, ...]
) -> Iterator[tuple[tuple[str, ...], Row]]:
    for row in rows:
        if row.children:
            yield from _all_rows((*above, row.name), row.children)
        else:
            yield (*above, row.name), row


def _built(random: Random, rows: list[tuple[tuple[str, ...], Row]]) -> list[str]:
    """A command with some of its own arguments, and words for them."""
    path, row = random.choice(rows)
    argv = list(path)
    for names, options in row.arguments:
        is_option = names[0].startswith("-")
        if is_option and random.random() < 0.6:
            continue
        if is_option:
            argv.append(random.choice(names))
        if options.get("action") != "store_true":
            argv.append(random.choice([*options.get("choices", ()), random.choice(_WORDS)]))
    return argv


def _change(random: Random, argv: list[str]) -> None:
    at = random.randrange(len(argv) + 1)
    match random.randrange(6):
        case 0:
            del argv[at : at + 1]
        case 1:
            argv.insert(at, random.choice(_WORDS))
        case 2:
            argv[at : at + 1] = [random.choice(_WORDS)]
        case 3 if argv:
            argv.insert(at, random.choice(argv))
        case 4 if at < len(argv):
            cut = random.randrange(len(argv[at]) + 1)
            argv[at] = argv[at][:cut] + random.choice(_WORDS) + argv[at][cut:]
        case _:
            random.shuffle(argv)


TARGET: Any = _Arguments()
