"""What a reboot must not take: the topologies of root's labs on the machine, for `bascule restore`.

Everything else that is stored lives in /run, and goes with what it describes. A file here says no
more than what is to be built.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any

from bascule import syscalls
from bascule.errors import StateError
from bascule.names import problem_with_lab_name
from bascule.state import folder

_DIRECTORY = "/var/lib/bascule"
_SETTING = "BASCULE_KEEP_DIR"
_SUFFIX = ".json"
_MOST_BYTES = 64 << 20
_VERSION = 1


def directory() -> str:
    """Where: $BASCULE_KEEP_DIR, or /var/lib/bascule."""
    return os.environ.get(_SETTING) or _DIRECTORY


def is_chosen() -> bool:
    """Whether it is another folder than the machine's, because somebody said so."""
    return bool(os.environ.get(_SETTING))


def _path(name: str) -> str:
    folder.lab(name)  # raises InputError for a name that could lead somewhere else
    return os.path.join(directory(), name + _SUFFIX)


def names() -> list[str]:
    """The labs that are kept. Raises :class:`StateError` where the folder is not safely ours."""
    try:
        folder.check(directory(), _SETTING)
        found = [
            entry.removesuffix(_SUFFIX)
            for entry in os.listdir(directory())
            if entry.endswith(_SUFFIX)
        ]
    except (FileNotFoundError, folder.Gone):  # `down` of the last lab takes the folder along
        return []
    return sorted(name for name in found if problem_with_lab_name(name) is None)


def load(name: str) -> tuple[dict[str, Any], str]:
    """Topology and source of a kept lab. Raises :class:`StateError` for a file that is missing, not
    ours, or damaged."""
    path = _path(name)
    try:
        folder.check(directory(), _SETTING)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            os.close(descriptor)
            raise StateError(f"{path}: is no file of ours; remove it")
        with open(descriptor, "rb") as opened:
            data = json.loads(opened.read(_MOST_BYTES))
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{path}: damaged, it is no JSON; remove it, and `bascule up` the lab's file"
        ) from error
    if (
        not isinstance(data, dict)
        or data.get("version") != _VERSION
        or not isinstance(data.get("topology"), dict)
    ):
        raise StateError(
            f"{path}: damaged, it holds no topology; remove it, and `bascule up` the lab's file"
        )
    source = data.get("source")
    return data["topology"], source if isinstance(source, str) else ""


def keep(name: str, topology: dict[str, Any], source: str) -> None:
    """Keep a lab; nothing is written where it is kept like this. Raises :class:`StateError`."""
    path = _path(name)
    text = json.dumps(
        {"version": _VERSION, "topology": topology, "source": source}, separators=(",", ":")
    ).encode()
    try:
        with suppress(OSError), open(path, "rb") as there:
            if there.read(_MOST_BYTES) == text:
                return
        folder.ensure(directory(), _SETTING)
        syscalls.replace(path, text)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error


def forget(name: str) -> None:
    """A lab that is taken down does not come back with the machine. The folder goes with the last
    one. Raises :class:`StateError` where it can't be removed."""
    path = _path(name)
    try:
        for each in (path, path + syscalls.UNFINISHED):
            if os.path.lexists(each):
                syscalls.unlink(each)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    with suppress(OSError):
        syscalls.rmdir(directory())
