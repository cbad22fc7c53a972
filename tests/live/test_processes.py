"""Processes in nodes that go: those that live on are named, and `--kill` ends them, and nobody
else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.errors import BasculeError
from bascule.host import namespaces, processes
from bascule.topology import edit
from helpers import bascule
from sandbox import BASCULE, World

WORLDS = pytest.mark.parametrize("kind", ["host", "private"])
DATA: dict[str, Any] = {
    "networks": {"lan": {"subnet": "10.1.0.0/24"}},
    "nodes": {"a": ["lan"], "b": ["lan"], "c": ["lan"]},
}

PYTHON = Path(sys.executable).name  # what a process of ours is called: python, python3, python3.13
MARK = f"started-by-{os.getpid()}"

# Each says that it is ready by a byte.
POLITE = "print(end='x', flush=True); import time; time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {POLITE}"
# Asked to end, it leaves a child in a session of its own, which is deaf.
HYDRA = """
import os, signal, time
def end(*_):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print(end='x', flush=True)
while True:
    time.sleep(600)
"""
# Never the same process for longer than a few milliseconds.
COMET = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(end='x', flush=True)
until = time.monotonic() + 60
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
    time.sleep(0.002)
"""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.3)


@contextmanager
def _lab(kind: str, data: dict[str, Any] = DATA) -> Iterator[Lab]:
    """Up; and what a failed test has left running does not hold its end up."""
    lab = Lab.from_data(data, world=kind, name="demo")
    lab.up()
    try:
        yield lab
    finally:
        lab.down(kill=True)


def _start(lab: Lab, node: str, program: str) -> subprocess.Popen[bytes]:
    """In the node, and ready."""
    process = lab.node(node).popen([sys.executable, "-c", program, MARK], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    return process


def _left() -> list[str]:
    """What still runs of what this test has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if MARK.encode() in (place / "cmdline").read_bytes() and state != "Z":
                found.append(place.name)
    return found


@WORLDS
def test_who_lives_on_is_named(world: World, kind: str) -> None:
    """By every command that takes a node away, with the number that the caller knows it by; and
    nobody else is."""
    with (
        _lab(kind) as lab,
        _start(lab, "a", POLITE) as one,
        _start(lab, "b", POLITE) as other,
        _start(lab, "c", POLITE) as last,
    ):
        removed = bascule(world, "node", "rm", "a").stderr
        changed = Lab.from_data({**DATA, "nodes": {"c": ["lan"]}}, world=kind, name="demo").up()
        disconnected = bascule(world, "network", "disconnect", "lan", "c").stderr
        lives = [process.poll() for process in (one, other, last)]
        for process in (one, other, last):
            process.kill()
    assert (
        f"(process {one.pid}) still runs in a: its namespace lives on, nameless, until it ends"
        in removed
    )
    assert removed.count("still runs") == 1
    assert [remark.partition(":")[0] for remark in changed.remarks] == [
        f"{PYTHON} (process {other.pid}) still runs in b"
    ]
    assert "still runs" not in disconnected  # its node stays
    assert lives == [None, None, None]


@WORLDS
@pytest.mark.parametrize(
    "program", [POLITE, DEAF, HYDRA, COMET], ids=["polite", "deaf", "hydra", "comet"]
)
def test_kill_ends_them(world: World, kind: str, program: str) -> None:
    """All that is in a node that goes, also what was forked meanwhile; it is waited for, and
    told."""
    with _lab(kind) as lab:
        bystander = subprocess.Popen(["sleep", "600"])
        neighbour, goes = _start(lab, "b", POLITE), _start(lab, "a", program)
        outcome = lab.change(lambda topology: edit.remove_node(topology, "a"), kill=True)
        codes = [process.poll() for process in (bystander, neighbour, goes)]
        for process in (bystander, neighbour):
            process.kill()
            process.wait()
        _reap()
        assert _left() == []
    assert codes[:2] == [None, None]
    assert codes[2] == {POLITE: -signal.SIGTERM, DEAF: -signal.SIGKILL}.get(program, 0)
    assert f"(process {goes.pid}) in a was ended" in str(outcome.remarks) or program == COMET
    assert all("was ended" in remark for remark in outcome.remarks)
    assert len(outcome.remarks) >= {POLITE: 1, DEAF: 1, HYDRA: 2, COMET: 1}[program]


def _reap() -> None:
    """Orphans become children of pytest while a world is entered."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@WORLDS
def test_down_kill_is_a_command(world: World, kind: str) -> None:
    """With all nodes, and with what is stopped: it hears of SIGTERM first and is not killed."""
    with _lab(kind) as lab:
        one, stopped = _start(lab, "a", POLITE), _start(lab, "b", POLITE)
        stopped.send_signal(signal.SIGSTOP)
        with subprocess.Popen(
            [BASCULE, "down", "demo", "--kill"], stderr=subprocess.PIPE, text=True
        ) as command:
            assert [one.wait(10), stopped.wait(10)] == [-signal.SIGTERM, -signal.SIGTERM]
            assert command.stderr is not None
            said = command.stderr.read()
    assert said.splitlines()[0] == "bascule: demo is down"
    assert sorted(said.splitlines()[1:]) == sorted(
        f"bascule: {PYTHON} (process {process.pid}) in {node} was ended"
        for process, node in ((one, "a"), (stopped, "b"))
    )


def test_only_the_lab_s_own_namespaces(world: World) -> None:
    """Not one that somebody else has made, and that goes on; nor the machine's own; nor another
    lab's."""
    world.run("ip", "netns", "add", "theirs")
    data = {
        "nodes": {
            "a": {},
            "adopted": {"netns": "/run/netns/theirs"},
            "machine": {"network_mode": "host"},
        }
    }
    with _lab("host", data), _lab_named("other") as other:
        theirs = subprocess.Popen(["ip", "netns", "exec", "theirs", "sleep", "600"])
        processes_of = [theirs, subprocess.Popen(["sleep", "600"]), _start(other, "x", POLITE)]
        while "sleep" not in Path(f"/proc/{theirs.pid}/comm").read_text():
            time.sleep(0.002)
        outcome = Lab("demo").down(kill=True)
        alive = [process.poll() for process in processes_of]
        for process in processes_of:
            process.kill()
            process.wait()
    assert (alive, outcome.remarks) == ([None] * 3, ())
    world.run("ip", "netns", "del", "theirs")


@contextmanager
def _lab_named(name: str) -> Iterator[Lab]:
    with Lab.from_data({"nodes": {"x": {}}}, world="host", name=name) as lab:
        yield lab


def test_we_and_our_own_namespace_are_never_ended(world: World) -> None:
    """Whatever a name in /run/netns leads to, and whoever calls."""
    with _lab("host"):
        world.run("ip", "netns", "attach", "mine", str(os.getpid()))
        places = namespaces.places(["a", "mine"])
        assert list(places.values()) == ["a"]
        own = os.stat("/proc/self/ns/net")
        assert processes.within({(own.st_dev, own.st_ino): "mine"}) == []
        world.run("ip", "netns", "del", "mine")


def test_who_may_not_be_ended_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for, and the lab goes."""

    def refused(_descriptor: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with _lab("host") as lab, _start(lab, "a", POLITE) as process:
        monkeypatch.setattr(syscalls, "kill", refused)
        begun = time.monotonic()
        outcome = lab.down(kill=True)
        took = time.monotonic() - begun
        process.kill()
    place = f"{PYTHON} (process {process.pid}) in a"
    assert outcome.remarks == (
        f"{place} could not be ended: its namespace lives on, nameless, until it ends",
    )
    assert took < processes.GRACE + 2


def test_a_number_that_means_another_process_is_let_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc shows another PID namespace than ours, or the number has been given to another
    process since the look."""
    with (
        _lab("host") as lab,
        _start(lab, "a", POLITE) as process,
        subprocess.Popen(["sleep", "600"]) as innocent,
    ):
        open_process = os.pidfd_open
        monkeypatch.setattr(
            os, "pidfd_open", lambda pid: open_process(innocent.pid if pid == process.pid else pid)
        )
        monkeypatch.setattr(processes, "_PATIENCE", 0.2)
        outcome = lab.down(kill=True)
        codes = process.poll(), innocent.poll()
        for each in (process, innocent):
            each.kill()
    assert codes == (None, None)
    assert "could not be ended" in outcome.remarks[0]


def test_many_more_than_can_be_held_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors are few; rounds are many."""
    monkeypatch.setattr(processes, "_AT_ONCE", 2)
    with (
        _lab("host") as lab,
        lab.node("a").popen(
            ["sh", "-c", "for i in 1 2 3 4 5 6 7; do sleep 600 & done; exec sleep 600"]
        ) as process,
    ):
        names = namespaces.places(["a"])
        while len(processes.within(names)) < 8:
            time.sleep(0.005)
        outcome = lab.down(kill=True)
        assert process.wait(10) == -signal.SIGTERM
    assert len(outcome.remarks) == 8


def test_a_change_that_fails_tells_whom_it_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node stays; who was ended does not come back."""
    from bascule.api import Listener
    from bascule.engine import work

    def fails(*_: object) -> None:
        raise BasculeError("it can't be done")

    told: list[str] = []
    with _lab("host") as lab, _start(lab, "a", POLITE) as process:
        monkeypatch.setattr(work, "_execute", fails)
        with pytest.raises(BasculeError, match="it can't be done"):
            lab.change(
                lambda topology: edit.remove_node(topology, "a"),
                Listener(waiting=told.append),
                kill=True,
            )
        assert process.wait(10) == -signal.SIGTERM
        monkeypatch.undo()
    assert told == [f"{PYTHON} (process {process.pid}) in a was ended"]
