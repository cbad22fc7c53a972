"""`down --kill`, stopped wherever it ends a process, and repeated: who was to be ended is, and the
lab is gone."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

import machine
from bascule.api import Lab
from bascule.engine import look
from bascule.host import namespaces, processes
from faults import Ending, Fault, attempt
from sandbox import World

DATA = {
    "name": "demo",
    "networks": {"lan": {"subnet": "10.1.0.0/24"}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
DEAF = "trap '' TERM; exec sleep 600"
_NEVER = 1 << 30


def _start(lab: Lab) -> list[int]:
    """A process that heeds SIGTERM, and one that does not: descriptors of them. The harness reaps
    whatever has ended."""
    started = [lab.node("a").popen(["sleep", "600"]), lab.node("b").popen(["sh", "-c", DEAF])]
    found = [os.pidfd_open(process.pid) for process in started]
    for process in started:
        process.returncode = 0  # nothing for Popen to wait for
    places = namespaces.places(["a", "b"])
    while [each.command for each in processes.within(places)] != ["sleep", "sleep"]:
        pass
    return found


def _ended(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _take_down() -> None:
    Lab("demo").down(kill=True)


def _stopped(lab: Lab, fault: Fault) -> tuple[Ending, list[int]]:
    lab.up()
    started = _start(lab)
    return attempt(_take_down, fault), started


def _forget(started: list[int]) -> list[bool]:
    """Which had ended; the others are ended now."""
    found = [_ended(descriptor) for descriptor in started]
    for descriptor in started:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    return found


def _faults(lab: Lab) -> Iterator[Fault]:
    ending, started = _stopped(lab, Fault(_NEVER, "kill"))
    assert ending.how == "done", ending
    assert _forget(started) == [True, True]
    last = len(ending.names) - ending.names[::-1].index("kill")
    for at in range(ending.names.index("kill"), last + 1):
        yield Fault(at, "kill")
    yield Fault(last, "power")


def test_stopped_while_processes_are_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record still names the lab, so that `down --kill` finds whom the first has not ended."""
    monkeypatch.setattr(processes, "GRACE", 0.05)
    lab = Lab.from_data(DATA, world="host")
    empty = machine.state()
    for fault in list(_faults(lab)):
        ending, started = _stopped(lab, fault)
        _take_down()
        assert _forget(started) == [True, True], (fault, ending)
        assert (ending.how, ending.hit) == ("killed", True), fault
        assert look.labs() == []
        assert machine.difference(empty, machine.state()) == "", fault
