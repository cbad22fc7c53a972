"""Other users of the machine, as root sees them: who has labs, and what one of them would see.

What a user's files lead to is that user's choice: a link to somebody else's secret, a pipe that
nobody writes to, a gigabyte of JSON. So root does not read them. A child becomes the user (for
good: with neither root's rights nor its groups), looks with that user's eyes, within limits of
time and memory, and answers with bytes, which are looked at like any input.
"""

from __future__ import annotations

import os
import pwd
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, NoReturn

from bascule import syscalls
from bascule.errors import WorldError
from bascule.host import lasting

_SESSIONS, _TEMPORARY, _FOLDER = "/run/user", "/tmp", "bascule-"  # noqa: S108 (only names are read)
_NOBODY = 65534
_SECONDS = 5
_MEMORY = 1 << 31  # bytes
_MOST_BYTES = 1 << 24  # of an answer
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH")


class User(NamedTuple):
    """A user by number and name (the number, where it has none)."""

    uid: int
    name: str
    gid: int
    home: str


def user(uid: int) -> User:
    """The user with this number."""
    try:
        row = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, str(uid), _NOBODY, "/")
    return User(uid, row.pw_name, row.pw_gid, row.pw_dir)


def others() -> list[User]:
    """The other users that may have labs: those with a session, with a folder of ours in /tmp, or
    with a process that may keep a private world. Nothing of theirs is opened."""
    found = {*_with_a_session(), *_with_a_folder(), *_with_a_keeper()}
    return [user(uid) for uid in sorted(found - {os.geteuid()})]


def _with_a_session() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir(_SESSIONS) if name.isdecimal())


def _with_a_folder() -> Iterator[int]:
    with suppress(OSError):
        for name in os.listdir(_TEMPORARY):
            number = name.removeprefix(_FOLDER)
            if name.startswith(_FOLDER) and number.isdecimal() and len(number) <= 10:
                yield int(number)


def _with_a_keeper() -> Iterator[int]:
    levels = len(lasting.numbers("self"))
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            numbers = lasting.numbers(entry) if entry.isdecimal() else []
            if len(numbers) == levels + 1 and numbers[-1] == 1:
                yield os.stat(f"/proc/{entry}").st_uid


def seen_by(one: User, look: Callable[[], bytes]) -> bytes:
    """What ``look`` gives in a process of this user. Raises :class:`WorldError` where the user
    can't be become, or the answer does not come in time."""
    reading, writing = os.pipe()
    child = syscalls.fork()
    if child == 0:
        os.close(reading)
        _answer(one, writing, look)
    os.close(writing)
    try:
        answer = _heard(reading, time.monotonic() + _SECONDS)
    finally:
        os.close(reading)
        _end(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer is None or not answer.endswith(b"\n"):
        why = f"ended with {code}" if answer is not None and code > 0 else "gave no whole answer"
        raise WorldError(f"labs of user {one.name}: a process of that user {why}")
    return answer.removesuffix(b"\n")


def _end(child: int) -> None:
    with open(os.pidfd_open(child)) as descriptor, suppress(ProcessLookupError):
        syscalls.kill(descriptor.fileno(), signal.SIGKILL)


def _answer(one: User, writing: int, look: Callable[[], bytes]) -> NoReturn:
    code = 1
    try:
        os.chdir("/")
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        os.setgroups([])
        os.setresgid(one.gid, one.gid, one.gid)
        os.setresuid(one.uid, one.uid, one.uid)
        syscalls.die_with_parent(signal.SIGKILL)  # forgotten by what comes before (prctl(2))
        for name in [name for name in os.environ if name not in _KEPT]:
            del os.environ[name]
        os.environ["HOME"] = one.home
        syscalls.write(writing, look() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _heard(reading: int, deadline: float) -> bytes | None:
    """All that is written, None for too much or too late."""
    data = bytearray()
    poll = select.poll()
    poll.register(reading)
    while len(data) <= _MOST_BYTES:
        if not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            return bytes(data)
        data += part
    return None
