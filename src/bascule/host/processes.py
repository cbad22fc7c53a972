"""Processes in network namespaces: who is there, and ending them.

A process is where its first thread is, which is what /proc/PID/ns/net shows. One look at /proc can
miss who forks and ends meanwhile; so nobody is left only where several looks find nobody.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from bascule import syscalls
from bascule.host.lasting import number_held, start_time

# device and inode of a namespace: its identity as long as it lives (namespaces(7))
Place = tuple[int, int]

GRACE = 3.0  # seconds between SIGTERM and SIGKILL
# seconds after SIGKILL; who is still there then waits for a device or a file server
_PATIENCE = 5.0
_AT_ONCE = 200  # each takes a descriptor
_LOOKS = 3
_BETWEEN = 20  # milliseconds until another look for those that were forked meanwhile


class Found(NamedTuple):
    """A process: its number, when it began (:func:`start_time`), its command (comm: 15 bytes at
    most), and the node it is in."""

    pid: int
    start: int
    command: str
    node: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid}) in {self.node}"


def within(places: Mapping[Place, str]) -> list[Found]:
    """One look at the processes in these namespaces, by the nodes' names. What may not be looked at
    is left out, and so are we ourselves and, whatever its name, the namespace that we or process 1
    are in."""
    return sorted(_each(places))


def _each(places: Mapping[Place, str]) -> Iterator[Found]:
    """The same one by one, mostly the youngest first: who forks and ends at once is gone when all
    others have been looked at."""
    ours = _place("self"), _place(1)
    others = {place: node for place, node in places.items() if place not in ours}
    numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if others else []
    for pid in sorted(numbers, reverse=True):
        if pid != os.getpid() and (found := _look(pid, others)):
            yield found


def _place(process: int | str) -> Place | None:
    try:
        status = os.stat(f"/proc/{process}/ns/net")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _look(pid: int, places: Mapping[Place, str]) -> Found | None:
    place = _place(pid)
    node = places.get(place, "") if place else ""
    start = start_time(pid) if node else 0
    if not start:
        return None
    # cut after 15 bytes, be it in a character
    with suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:
        return Found(pid, start, file.read().strip(), node)
    return None


def end(places: Mapping[Place, str]) -> tuple[list[Found], list[Found]]:
    """End all in these namespaces, also those that are forked meanwhile: by SIGTERM, and after
    :data:`GRACE` seconds by SIGKILL. Gives those that were told to and have ended, and those that
    are still there."""
    ending = _Ending(places)
    try:
        # who is stopped hears of SIGTERM when it goes on
        ending.ask((signal.SIGTERM, signal.SIGCONT), GRACE)
        ending.ask((signal.SIGKILL,), _PATIENCE)
    finally:
        ending.close()
    left = within(places)
    return sorted(ending.told.difference(left)), left


class _Ending:
    """The processes that were told to end, and descriptors of those that have not."""

    def __init__(self, places: Mapping[Place, str]) -> None:
        self.told: set[Found] = set()
        self._places = places
        self._open: dict[Found, int] = {}
        self._refused: set[Found] = set()

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def ask(self, signals: Iterable[int], seconds: float) -> None:
        """Send these to each once, until nobody is left or the time is over."""
        deadline = time.monotonic() + seconds
        asked: set[Found] = set()
        while self._strike(signals, asked) and time.monotonic() < deadline:
            self._wait(_BETWEEN)

    def _strike(self, signals: Iterable[int], asked: set[Found]) -> bool:
        """Send them to each as soon as it is seen. Whether anybody was left."""
        for _look_again in range(_LOOKS):
            left = False
            for found in _each(self._places):
                if found in self._refused:
                    continue
                left = True
                if found not in self._open and len(self._open) < _AT_ONCE:
                    self._open_one(found)
                if found in self._open and found not in asked:
                    asked.add(found)
                    for number in signals:
                        self._send(found, number)
            if left:
                return True
        return False

    def _open_one(self, found: Found) -> None:
        """A descriptor holds the process, whoever gets its number later: who has it now is who was
        looked at, or has ended. And where /proc shows another PID namespace than ours, a number
        means two processes."""
        with suppress(OSError):
            descriptor = os.pidfd_open(found.pid)
            if number_held(descriptor) == found.pid and start_time(found.pid) == found.start:
                self._open[found] = descriptor
            else:
                os.close(descriptor)

    def _send(self, found: Found, number: int) -> None:
        try:
            syscalls.kill(self._open[found], number)
            self.told.add(found)
        except ProcessLookupError:  # it has just ended by itself
            pass
        except OSError:
            self._refused.add(found)

    def _wait(self, milliseconds: int) -> None:
        """Until one ends, or for so long; forget who has ended."""
        poll = select.poll()
        numbers = {descriptor: found for found, descriptor in self._open.items()}
        for descriptor in numbers:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _event in poll.poll(milliseconds):
            del self._open[numbers[descriptor]]
            os.close(descriptor)
