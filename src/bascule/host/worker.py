"""Forked copies of a process that has everything read: each does what it is asked, and what it
breaks is its own.

A worker is the leader of a session, so that an interrupt reaches it and whatever it has started, as
a terminal's does; and it hears signals as a command does that has just been started, whatever its
parent made of them. What its parent has open is closed in it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from typing import NamedTuple

from bascule import syscalls

_HEARD = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGQUIT)
_FAILED = 70  # EX_SOFTWARE, sysexits.h
_PART = 1 << 16


class Worker:
    """One of them: ``channel`` leads to it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"

    def signal(self, number: int) -> None:
        """To it and to what it has started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it leads no group yet, or has ended and is not buried
            os.kill(self.pid, number)

    def bury(self, patience: bool = True) -> int | None:
        """Its exit code, negative for a signal, once it has ended; None where it has not, and
        nobody has ``patience``."""
        pid, status = os.waitpid(self.pid, 0 if patience else os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


def started(work: Callable[[socket.socket], None]) -> Worker:
    """A worker that does this with its end of the channel, and ends. Raises OSError."""
    ours, its = socket.socketpair()
    # What comes at once is not for our handlers, in its copy of us.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = syscalls.fork()
        if pid == 0:
            _begin(its, work)
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        its.close()
    return Worker(pid, ours)


def _begin(channel: socket.socket, work: Callable[[socket.socket], None]) -> None:
    """In the child. Objects of the parent's are never freed here: their descriptors are closed, and
    their numbers given again."""
    code = _FAILED
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for each in _HEARD:
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _close_all_but(channel.fileno())
        work(channel)
        code = 0
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        code = 0  # nobody wants it any more
    except BaseException:  # noqa: BLE001 (whatever it is, the parent goes on)
        traceback.print_exc()
    finally:
        os._exit(code)


def _close_all_but(descriptor: int) -> None:
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 1 << 20)


class Captured(NamedTuple):
    """What a command said, its beginning at most; ``cut``: it said more."""

    code: int
    out: bytes
    error: bytes
    cut: bool


def captured(become: Callable[[], None], given: int, most: int) -> Captured:
    """Run what becomes a command, in a child with the descriptor ``given`` as its standard input,
    to its end. Of each of its outputs the first ``most`` bytes are kept, and all is read. What it
    leaves running is not waited for. An interrupt is the command's affair."""
    pipes = os.pipe(), os.pipe()
    # In the midst of execve(2) Python would note an interrupt and forget it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    child = syscalls.fork()
    if child == 0:
        _become(become, given, [writing for _reading, writing in pipes], mask)
    if signal.SIGINT in signal.sigpending():  # maybe from before there was a child to hear it
        os.kill(child, signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for _reading, writing in pipes:
        os.close(writing)
    # one byte more than is kept tells that there was more
    out, error = _read_until_end(child, [reading for reading, _writing in pipes], most + 1)
    for reading, _writing in pipes:
        os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.signal(signal.SIGINT, before)
    cut = max(len(out), len(error)) > most
    return Captured(code, bytes(out[:most]), bytes(error[:most]), cut)


def _become(
    become: Callable[[], None], given: int, writing: list[int], mask: set[signal.Signals | int]
) -> None:
    code = _FAILED
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, descriptor in enumerate((given, *writing)):
            os.dup2(descriptor, number)  # and is inherited
        become()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 (a copy of the caller is not to go on)
        traceback.print_exc()
    finally:
        os._exit(code)


def _read_until_end(child: int, pipes: list[int], most: int) -> list[bytearray]:
    ended = os.pidfd_open(child)
    poll = select.poll()
    for descriptor in (ended, *pipes):
        poll.register(descriptor, select.POLLIN)
    said = {reading: bytearray() for reading in pipes}
    try:
        running = True
        while running:
            running = ended not in [descriptor for descriptor, _event in poll.poll()]
            # What it had said before it ended is in the pipes now, and is no more than one part.
            for descriptor, _event in poll.poll(0):
                if descriptor != ended:
                    part = os.read(descriptor, _PART)
                    said[descriptor] += part[: most - len(said[descriptor])]
                    if not part:
                        poll.unregister(descriptor)
    finally:
        os.close(ended)
    return list(said.values())
