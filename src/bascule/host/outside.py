"""Run a program for a private world from outside of it: with the world's user, PID and mount
namespaces, and the caller's network namespace. So it may configure the world's network, which it
is told by a path, opens its sockets on the machine, and ends with the keeper."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from bascule import syscalls
from bascule.host import keeper, lasting
from bascule.host.descriptors import kept
from bascule.host.programs import Ended
from bascule.host.world import PrivateWorld

_MOST_SAID = 4000
_NAMESPACES = syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS


def run(
    world: PrivateWorld, argv: Sequence[str], seconds: float, environment: Mapping[str, str]
) -> Ended:
    """Until it has put itself into the background, or failed. It holds nothing of the caller's,
    and nothing of its environment but what is given. Raises OSError, and TimeoutError where that
    takes longer than ``seconds``; it is killed then.

    What it says comes through a pipe: a profile of AppArmor may keep it from a file of ours, also
    where it has inherited that.
    """
    reading, writing = os.pipe()
    with kept(reading, writing):
        child = syscalls.fork()
    if child == 0:
        os.close(reading)
        _become(world, argv, environment, writing)
    os.close(writing)
    try:
        said = _all_said(reading, time.monotonic() + seconds)
        if said is None:
            _kill(child)
            raise TimeoutError(f"{argv[0]} has not ended in {seconds} s")
    finally:
        os.close(reading)
        _pid, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), "", said.decode("utf-8", "replace"))


def _kill(child: int) -> None:
    descriptor = os.pidfd_open(child)
    try:
        syscalls.kill(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _all_said(reading: int, deadline: float) -> bytes | None:
    """Until nobody has the other end any more; None where that does not come in time."""
    said, poll = b"", select.poll()
    poll.register(reading, select.POLLIN)
    while poll.poll(max(0, deadline - time.monotonic()) * 1000):
        part = os.read(reading, _MOST_SAID)
        if not part:
            return said
        said += part
    return None


def _become(
    world: PrivateWorld, argv: Sequence[str], environment: Mapping[str, str], writing: int
) -> NoReturn:
    """In the child: join, and fork once more, because only a child is in the PID namespace."""
    code = 1
    try:
        null = os.open("/dev/null", os.O_RDONLY)
        for number, place in ((null, 0), (null, 1), (writing, 2)):
            os.dup2(number, place)
        descriptor = lasting.hold(world.keeper)
        if descriptor is None:
            raise keeper.lost()
        syscalls.setns(descriptor, _NAMESPACES)
        worker = syscalls.fork_again()
        if worker == 0:
            syscalls.die_with_parent(signal.SIGKILL)  # until it is in the background
            # Python ignores it, and pasta before 2023_11 takes what signal(2) tells of that for an
            # error.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.chdir("/")
            syscalls.let_go()
            syscalls.become(argv[0], argv, environment)
        _pid, status = os.waitpid(worker, 0)
        code = os.waitstatus_to_exitcode(status) & 0xFF
    except BaseException as error:  # noqa: BLE001 (everything belongs to the caller)
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)
