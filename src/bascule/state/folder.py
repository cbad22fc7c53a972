"""The state directory: where it is, and that nobody else can write to it.

/run/bascule for root, $XDG_RUNTIME_DIR/bascule for others, and a folder of the user's own in /tmp
where they have no session. A shell that was not told of the session (su, cron) finds it where the
system keeps it. All of these are gone after a reboot, and so are namespaces, bridges and keepers:
state never outlives what it describes.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from bascule import syscalls
from bascule.errors import InputError, StateError
from bascule.names import problem_with_lab_name

_SESSIONS = "/run/user"
_SETTING = "BASCULE_STATE_DIR"
_MODE = 0o711  # a name server, which is not root, goes through to what it reads


class Gone(StateError):
    """There is no such folder: the last lab takes the state directory along, at any moment."""


def root() -> str:
    """The state directory of the calling user."""
    chosen = os.environ.get(_SETTING)
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/run/bascule"
    places = _of_the_session()
    if places:
        return next((place for place in places if os.path.isdir(place)), places[0])
    import tempfile  # brings a third of what `exec` has to read, and few need it

    return os.path.join(tempfile.gettempdir(), f"bascule-{os.geteuid()}")


def is_chosen() -> bool:
    """Whether somebody said which folder it is. Else it is a matter of what the calling shell knows
    of the session."""
    return bool(os.environ.get(_SETTING))


def _of_the_session() -> list[str]:
    """Where it is to be, or is already, in the folder of the user's session (pam_systemd(8)): what
    one shell has built there another finds that was told of another place, or of none."""
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), f"{_SESSIONS}/{os.geteuid()}"]
    return [
        os.path.join(place, "bascule") for place in places if os.access(place, os.W_OK | os.X_OK)
    ]


def ensure(path: str, setting: str = _SETTING) -> None:
    """Make the folder if it is missing. Raises :class:`StateError` where it is not safely ours;
    ``setting`` chooses another."""
    try:
        if not os.path.lexists(path):
            with suppress(FileExistsError):
                syscalls.mkdir(path, _MODE)
                with suppress(OSError):  # not every file system can
                    syscalls.sync_folder(os.path.dirname(path))
        _mend(path)
    except OSError as error:
        raise _unusable(path, error, setting) from error
    check(path, setting)


def _mend(path: str) -> None:
    """A folder of ours that not even we may use: made under a umask of 0777, and killed before it
    had its mode. It is empty, and made again; one that holds something, or is a mount (``/proc``),
    is somebody's, and keeps its mode."""
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and ~status.st_mode & 0o700:
        with suppress(OSError):
            syscalls.rmdir(path)
            syscalls.mkdir(path, _MODE)


def check(path: str, setting: str = _SETTING) -> None:
    """Raises :class:`StateError` for a link, and for a folder that is somebody else's or that
    others may write to: whoever can put files there decides what a command of ours does.
    :class:`Gone` where there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError as error:
        raise Gone(_said(path, error, setting)) from error
    except OSError as error:
        raise _unusable(path, error, setting) from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{path} is not a folder; remove it, or set {setting}")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StateError(
            f"{path} belongs to user {status.st_uid} or others may write to it (mode "
            f"{status.st_mode & 0o7777:o}); "
            f"remove it, or set {setting}"
        )


def _unusable(path: str, error: OSError, setting: str) -> StateError:
    return StateError(_said(path, error, setting))


def _said(path: str, error: OSError, setting: str) -> str:
    return f"{path}: {error.strerror}; set {setting} to a folder that you can write to"


def lab(name: str) -> str:
    """The folder of one lab. Raises :class:`InputError` for a name that could lead somewhere
    else."""
    problem = problem_with_lab_name(name)
    if problem:
        raise InputError(problem)
    return os.path.join(root(), name)


def not_for_nodes(name: str) -> tuple[str, ...]:
    """What commands in the nodes of a private lab are not to see: with a record of the user's in
    their hands they would decide what the next command does. The whole state directory, unless the
    user's home is in it: then the lab's own folder."""
    home = os.path.abspath(os.path.expanduser("~"))
    return (lab(name),) if os.path.commonpath((root(), home)) == root() else (root(),)


def labs() -> list[str]:
    """The names of all labs that have a folder, sorted. Raises :class:`StateError` where the state
    directory is not safely ours: what stands in it could be anybody's."""
    try:
        entries = os.listdir(root())
        check(root())
    except (FileNotFoundError, NotADirectoryError, PermissionError, Gone):
        return []
    except OSError as error:
        raise StateError(f"{root()}: {error.strerror}; run the command again") from error
    named = [name for name in entries if problem_with_lab_name(name) is None]
    return sorted(name for name in named if os.path.isdir(os.path.join(root(), name)))


def remove(name: str) -> None:
    """Remove the folder of a lab and, with the last one, the state directory."""
    for path in (lab(name), root()):
        with suppress(OSError):
            syscalls.rmdir(path)
