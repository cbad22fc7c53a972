"""Keepers that run, whether or not anything else is known of them.

The state directory can go while a keeper lives: with the session that $XDG_RUNTIME_DIR belongs to,
by a cleaner of /tmp, by hand. So each world holds a note of its lab, in its own /run, which nobody
in its nodes sees. Our own keepers can be found without any record: they are processes of ours that
are process 1 of a PID namespace right below ours, with our own root folder and such a note. No
command of a node is that: it is one level further down; nor is process 1 of a container, which has
another root folder, and may hold anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from bascule import syscalls
from bascule.host import lasting
from bascule.host.keeper import OURS
from bascule.host.lasting import Process

_MOST_BYTES = 1 << 28  # as in state/store.py


def _note(entry: str) -> str:
    """By the keeper's own eyes (proc_pid_root(5))."""
    return f"/proc/{entry}/root{OURS}/note.json"


def leave_note(keeper: Process, data: bytes) -> None:
    """Write it into the keeper's world, whole or not at all. Raises OSError."""
    syscalls.replace(_note(str(keeper.pid)), data)


def living() -> Iterator[tuple[Process, bytes]]:
    """All keepers of this user that can be seen from here, each with the note in its world."""
    levels = len(lasting.numbers("self"))
    here = os.stat(_pid_namespace("self"))
    for entry in os.listdir("/proc"):
        with suppress(OSError, LookupError):
            if (
                entry.isdigit()
                and os.stat(f"/proc/{entry}").st_uid == os.geteuid()
                and not _is_in(entry, here)
                and _is_keeper(entry, levels)
            ):
                found = Process(lasting.number(entry), lasting.start_time(int(entry)))
                yield found, _read(entry)


def _pid_namespace(entry: str) -> str:
    return f"/proc/{entry}/ns/pid"


def _is_in(entry: str, here: os.stat_result) -> bool:
    """Whether its PID namespace is that one, as far as we may know: most processes are here, and
    this is told faster than all the rest."""
    try:
        return os.path.samestat(os.stat(_pid_namespace(entry)), here)
    except PermissionError:
        return False


def _is_keeper(entry: str, levels: int) -> bool:
    numbers = lasting.numbers(entry)
    if len(numbers) != levels + 1 or numbers[-1] != 1:
        return False
    return os.path.samestat(os.stat(f"/proc/{entry}/root"), os.stat("/"))


def _read(entry: str) -> bytes:
    with open(
        os.open(_note(entry), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb"
    ) as file:
        return file.read(_MOST_BYTES)
