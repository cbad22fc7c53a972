"""A Unix socket that only its owner and root can come in by.

Whoever speaks through it may do what its owner may. So its file is the owner's alone from its first
moment, in a folder where nobody else can put another in its place; and each peer is known by what
the kernel noted when it connected (SO_PEERCRED, unix(7)), whoever was given the descriptor or has
made the file open to all. A process in another user namespace is none of the owner's, whatever its
id: a command in a private lab's node has the owner's, and is not to come out of its world by us.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from contextlib import suppress
from typing import NamedTuple, Self

from bascule import syscalls
from bascule.errors import InputError
from bascule.names import shown

_LONGEST = 107  # bytes, and a NUL: sun_path, linux/un.h
_WAITING = 128  # that have connected, and are not let in yet
_FIRST_HANDED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_HANDED = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Peer(NamedTuple):
    """Who has connected: process, user and group then (SO_PEERCRED)."""

    pid: int
    user: int
    group: int


class Doorway:
    """A listening socket, and the file that leads to it; without one where somebody else made it
    (systemd), who removes it, too."""

    def __init__(self, listening: socket.socket, path: str, file: tuple[int, int] | None) -> None:
        self.listening = listening
        self.path = path
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; its file goes, unless another has taken its place."""
        self.listening.close()
        with suppress(OSError):
            if self._file is not None and _identity(self.path) == self._file:
                syscalls.unlink(self.path)
        self._file = None

    def let_in(self) -> tuple[socket.socket, str]:
        """The next that has connected, and why it may not come in: empty where it may. Raises
        OSError."""
        found, _address = self.listening.accept()
        peer = Peer(
            *struct.unpack("=iII", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        )
        return found, _refused(peer)


def opened(path: str) -> Doorway:
    """Make the socket. A file of one that has ended is replaced. Raises :class:`InputError` where
    another server answers there, where the path is something else's, or is not safe."""
    place = os.path.abspath(path)
    if len(os.fsencode(place)) > _LONGEST or "\0" in place:
        raise InputError(f"{shown(path)} is no path of a socket: it has at most {_LONGEST} bytes")
    held = _held_folder(os.path.dirname(place))
    try:
        # Two that begin at once would take each other's for one that has ended.
        syscalls.lock(held, 1)
        _clear(place)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            syscalls.bind(listening.fileno(), listening.bind, place, 0o600)
            if stat.S_IMODE(os.lstat(place).st_mode) != 0o600:  # by an umask that leaves less
                syscalls.chmod(place, 0o600)
            listening.listen(_WAITING)
        except OSError as error:
            listening.close()
            raise InputError(f"{place}: {error.strerror}; choose another path") from error
        return Doorway(listening, place, _identity(place))
    finally:
        os.close(held)


def handed() -> Doorway | None:
    """The socket that systemd has opened for this process (sd_listen_fds(3)); nothing of that is
    handed on. Raises :class:`InputError` for more than one, and for one of another kind."""
    pid, count, _names = (os.environ.pop(name, "") for name in _HANDED)
    if pid != str(os.getpid()) or not count.isdigit() or count == "0":
        return None
    listening = socket.socket(fileno=_FIRST_HANDED)
    if count != "1" or (listening.family, listening.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        raise InputError("one ListenStream= with the path of a Unix socket is what is served")
    os.set_inheritable(_FIRST_HANDED, False)
    return Doorway(listening, os.fsdecode(listening.getsockname()), None)


def _held_folder(path: str) -> int:
    """Opened. Raises :class:`InputError` where others can put a socket of theirs in our place."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; choose a folder of yours") from error
    status = os.fstat(held)
    others = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if others or status.st_uid not in (0, os.geteuid()):
        os.close(held)
        raise InputError(f"others may change what is in {path}; choose a folder of yours")
    return held


def _clear(path: str) -> None:
    """Remove what is left of a server that has ended."""
    try:
        status = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise InputError(f"{path} is there, and no socket; choose another path")
    if status.st_uid != os.geteuid():
        raise InputError(f"{path} is there, of user {status.st_uid}; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # a full queue is an answer, too
        if asking.connect_ex(path) != errno.ECONNREFUSED:
            raise InputError(f"{path}: another server answers there; choose another path")
    with suppress(FileNotFoundError):
        syscalls.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _refused(peer: Peer) -> str:
    if peer.user not in (0, os.geteuid()):
        return f"user {peer.user} may not call what user {os.geteuid()} serves"
    if peer.user == 0 and os.geteuid() != 0:
        return ""  # sees and does all that we may, anyway
    try:
        same = os.path.samestat(*(os.stat(f"/proc/{pid}/ns/user") for pid in (peer.pid, "self")))
    except OSError as error:
        return f"the process that connected has ended, or is hidden: {error.strerror}"
    return "" if same else "a process of another user namespace may not call"
