"""Processes that outlive the command that started them: which of them are ours, whether they still
run, and how they are ended.

A number alone says nothing, because it is given again; a command line says nothing either, because
anybody can have any.

* The two that hold a private world are known by number and start: no other process of their PID
  namespace ever has both.
* A program that serves a lab puts itself into the background, and nobody is told its number. It
  carries a *mark* in its environment: a random word, in a file of ours before the program is
  started. Only its user and root read the environment of a process (proc_pid_environ(5)), and its
  user does not where it has become that user only later. The file is where the lab's other files
  are, in a folder of ours, so that a lab whose record is lost still knows what serves it.

Signals go through a descriptor (pidfd_open(2)). Once it is open nothing can take the place of what
it holds, and what that is, is looked at again before each signal.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from bascule import syscalls
from bascule.errors import KernelError

_VARIABLE = "BASCULE_MARK"
_DIGITS = 32
_MOST_READ = 1 << 22  # bytes of an environment or a command line
_PF_EXITING = 0x4  # linux/sched.h
_PATIENCE = 2000  # milliseconds that a program has to end by itself, and the kernel to end it


class Process(NamedTuple):
    """A process by number and by when it began, in clock ticks since boot (proc_pid_stat(5), field
    22)."""

    pid: int
    start: int


class Found(NamedTuple):
    """A program with a mark of ours: its name in /proc, its number for system calls, the words of
    its command line. The first two differ where /proc is that of an outer PID namespace."""

    entry: str
    pid: int
    words: tuple[str, ...]


def start_time(pid: int) -> int:
    """When the process began; 0 where there is none that is to be seen, or only what is left of
    one. Raises OSError."""
    fields = _status(pid)
    return 0 if not fields or fields[0] in ("Z", "X") else int(fields[19])


def _status(pid: int) -> list[str]:
    """What proc_pid_stat(5) says from its field 3 on; nothing of a process that is not to be
    seen."""
    try:
        # a command's name is cut after 15 bytes
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def is_ending(process: Process) -> bool:
    """Whether it has ended, or is about to: process 1 of a PID namespace waits for all others then,
    and nobody can be started there any more (fork(2) says ENOMEM). Raises OSError."""
    fields = _status(process.pid)
    return not fields or int(fields[19]) != process.start or bool(int(fields[6]) & _PF_EXITING)


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    return process.pid > 0 and process.start > 0 and start_time(process.pid) == process.start


def hold(process: Process) -> int | None:
    """A descriptor of this very process (pidfd_open(2)), or None where it has ended. Raises
    OSError."""
    if process.pid <= 0:
        return None
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        if alive(process):
            return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def mark_in(path: str) -> str:
    """The mark in this file; empty where there is none, or only the beginning of one."""
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK),
            encoding="ascii",
        ) as file:
            mark = file.read(_DIGITS + 1)
    except (OSError, UnicodeDecodeError):
        return ""
    return mark if len(mark) == _DIGITS else ""


def make_mark(path: str) -> str:
    """The mark in this file, which is made where it is missing: a word that nobody can guess.
    Raises OSError."""
    mark = mark_in(path)
    if not mark:
        mark = os.urandom(_DIGITS // 2).hex()
        # whole or not at all: without it nobody knows who serves the lab
        syscalls.replace(path, mark.encode())
    return mark


def environment(mark: str) -> dict[str, str]:
    """What a program has to be started with, to be found again."""
    return {_VARIABLE: mark}


def find(mark: str, names: Sequence[str], hint: int = 0) -> Iterator[Found]:
    """The programs that carry this mark, of those whose file is called one of these names (or
    begins so). Where the process numbered ``hint`` is one, no other is looked for. Nobody carries
    an empty mark."""
    if not mark:
        return
    if hint and (found := _look(str(hint), mark, names)):
        yield found
        return
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := _look(entry, mark, names)):
            yield found


def marked(names: Sequence[str]) -> Iterator[tuple[Found, str]]:
    """The programs of these names that carry any mark, with it."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            words = _read(f"/proc/{entry}/environ").split(b"\0")
            marks = [word for word in words if word.startswith(f"{_VARIABLE}=".encode())]
            mark = marks[0].decode("ascii", "replace").partition("=")[2] if marks else ""
            if mark and (found := _look(entry, mark, names)):
                yield found, mark


def _look(entry: str, mark: str, names: Sequence[str]) -> Found | None:
    try:
        with open(f"/proc/{entry}/comm", errors="replace") as file:
            if not file.read().startswith(tuple(names)):
                return None
        if not _carries(entry, mark):
            return None
        words = _read(f"/proc/{entry}/cmdline").decode("utf-8", "replace").rstrip("\0").split("\0")
        return Found(entry, number(entry), tuple(words))
    except (OSError, LookupError):
        return None  # it has ended, or is not ours to look into


def _carries(entry: str, mark: str) -> bool:
    return f"{_VARIABLE}={mark}".encode() in _read(f"/proc/{entry}/environ").split(b"\0")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MOST_READ)


def number(entry: str) -> int:
    """The number that system calls of ours take for a process. They are those of our own PID
    namespace, and /proc may show an outer one's: in a container that forbids a fresh one. Raises
    LookupError for a process that is none of our namespace."""
    if os.readlink("/proc/self") == str(os.getpid()):
        return int(entry)
    own, its = (numbers(each) for each in ("self", entry))
    return its[len(own) - 1]


def numbers(entry: str) -> list[int]:
    """From the PID namespace of /proc to the process's own (proc_pid_status(5))."""
    with open(f"/proc/{entry}/status", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    return []


def end(found: Found, mark: str) -> None:
    """End it and wait for that: SIGTERM, then SIGKILL. Nothing happens where it has ended. Raises
    OSError, and :class:`KernelError` where it does not end."""
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _is_held(descriptor, found, mark):
                return
            with suppress(ProcessLookupError):
                syscalls.kill(descriptor, number)
                if is_stopped(found):
                    # until then it does not heed the other
                    syscalls.kill(descriptor, signal.SIGCONT)
            if ended(descriptor, _PATIENCE):
                return
    finally:
        os.close(descriptor)
    raise KernelError(
        f"kill {found.pid}",
        errno.ETIMEDOUT,
        f"{found.words[0]} does not end",
        advice="end it, and run the command again",
    )


def tell(found: Found, mark: str, number: int) -> None:
    """Send it this signal. Nothing happens where it has ended."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(found.pid)
        try:
            if _is_held(descriptor, found, mark):
                syscalls.kill(descriptor, number)
        finally:
            os.close(descriptor)


def is_stopped(found: Found) -> bool:
    """By its state (proc_pid_stat(5), field 3). One that a debugger holds, `t`, will go on."""
    with suppress(OSError), open(f"/proc/{found.entry}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
    return False


def _is_held(descriptor: int, found: Found, mark: str) -> bool:
    """Whether the descriptor is of the process that was found, which carries the mark now."""
    try:
        marked = _carries(found.entry, mark)
        return marked and number_held(descriptor) == int(found.entry)
    except OSError:
        return False


def number_held(descriptor: int) -> int:
    """Of the process that a pidfd means, in the PID namespace that /proc shows; less than 1 for
    none (pidfd_open(2))."""
    with (
        suppress(OSError, ValueError, StopIteration),
        open(f"/proc/self/fdinfo/{descriptor}") as file,
    ):
        return int(next(line for line in file if line.startswith("Pid:")).split()[1])
    return 0


def ended(descriptor: int, milliseconds: int) -> bool:
    """Wait for the end of what a pidfd holds. Whether it came in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))
