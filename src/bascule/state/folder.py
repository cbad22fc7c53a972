"""The state directory: where it is, and that nobody else can write to it.

/run/bascule for root, $XDG_RUNTIME_DIR/bascule for others, and a folder of the user's own in /tmp where that is not set.
All of these are gone after a reboot, and so are namespaces, bridges and keepers: state never outlives what it describes.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress

from bascule import syscalls
from bascule.errors import StateError


def root() -> str:
    """The state directory of the calling user."""
    chosen = os.environ.get("BASCULE_STATE_DIR")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/run/bascule"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return os.path.join(runtime, "bascule")
    return os.path.join(tempfile.gettempdir(), f"bascule-{os.geteuid()}")


def ensure(path: str) -> None:
    """Make the folder if it is missing. Raises :class:`StateError` where it is not safely ours."""
    try:
        if not os.path.lexists(path):
            with suppress(FileExistsError):
                syscalls.mkdir(path, 0o700)
                with suppress(OSError):  # not every file system can
                    syscalls.sync_folder(os.path.dirname(path))
        status = os.lstat(path)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; set BASCULE_STATE_DIR to a folder that you can write to") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{path} is not a folder; remove it, or set BASCULE_STATE_DIR")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StateError(
            f"{path} belongs to user {status.st_uid} or others may write to it (mode {status.st_mode & 0o7777:o}); "
            "remove it, or set BASCULE_STATE_DIR"
        )


def lab(name: str) -> str:
    """The folder of one lab."""
    return os.path.join(root(), name)


def labs() -> list[str]:
    """The names of all labs that have a folder, sorted."""
    try:
        entries = os.listdir(root())
    except OSError:
        return []
    return sorted(name for name in entries if not name.startswith(".") and os.path.isdir(lab(name)))


def remove(name: str) -> None:
    """Remove the folder of a lab and, with the last one, the state directory."""
    for path in (lab(name), root()):
        with suppress(OSError):
            syscalls.rmdir(path)
