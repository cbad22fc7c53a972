"""A program that is told other arguments while it runs, as pesto(1) tells pasta.

Its command line then says no more than how it began. What it was told last stands in a file beside
its mark, with the process that it was told to; before that is done, the file says that nobody
knows.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress

from bascule import syscalls
from bascule.host import lasting
from bascule.host.lasting import Found
from bascule.kernel.program import Instance

_UNKNOWN = "?"


def is_possible(at: Instance) -> bool:
    """Whether what is started now can be told others later."""
    return bool(at.program.control) and _teller(at) is not None


def _teller(at: Instance) -> str | None:
    return shutil.which(at.program.teller, path=syscalls.SYSTEM_PATH) or shutil.which(
        at.program.teller
    )


def options(at: Instance) -> tuple[str, ...]:
    """What a program is started with that is to be told others."""
    return (at.program.control, at.socket) if is_possible(at) else ()


def arguments(at: Instance, found: Found) -> tuple[tuple[str, ...], bool]:
    """Those that this process serves now, and whether it can be told others."""
    began = at.program.arguments(found.words)
    if not at.program.control or at.program.control not in found.words:
        return began, False
    listens = is_possible(at) and os.path.exists(at.socket)
    with suppress(OSError, ValueError, TypeError), open(at.told, "rb") as file:
        pid, start, told = json.loads(file.read())
        if (pid, start) == _process(found):
            told = [*began[: at.program.untold], _UNKNOWN] if told is None else told
            return tuple(map(str, told)), listens
    return began, listens


def note(at: Instance, found: Found, told: tuple[str, ...] | None) -> None:
    """What it serves from now on; None: it is just being told. Raises OSError."""
    syscalls.replace(at.told, json.dumps([*_process(found), told]).encode())


def _process(found: Found) -> tuple[int, int]:
    return found.pid, lasting.start_time(int(found.entry))


def command(at: Instance, told: tuple[str, ...]) -> list[str]:
    """What tells it."""
    return [str(_teller(at)), *told[at.program.untold :], at.socket]


def forget(at: Instance) -> None:
    """It has ended."""
    for path in (at.socket, at.told) if at.program.control else ():
        if os.path.lexists(path):
            syscalls.unlink(path)
