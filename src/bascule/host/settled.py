"""A file that others write, once it is at rest: closed by whoever wrote it, and unchanged for a
moment.

Half of a lab file is mostly a good lab file, with nodes missing. Whether somebody has a file open
for writing the kernel says when it is asked for a read lease (F_SETLEASE in fcntl(2)), which is
given back at once. It gives none of another user's file, and what other machines do with a file
nobody knows here: such a one has to be unchanged for longer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from contextlib import suppress

_QUIET, _QUIET_UNKNOWN = 0.15, 2.0  # seconds without a change
_LARGEST = 16 << 20
_ELSEWHERE = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "virtiofs",
    "ceph",
    "afs",
    "ocfs2",
    "gfs2",
    "lustre",
)

_Mark = tuple[int, ...]


class Settled:
    """One path. ``waits``: there is something new, and it is not at rest yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.waits = False
        self._mark: _Mark = ()
        self._since = 0.0

    def read(self) -> bytes | None:
        """The content; None as long as it is being written. Raises OSError."""
        with open(self.path, "rb", opener=_opener) as file:
            before = _mark(file.fileno())
            written = _is_written(file.fileno()) if _is_local(before[0]) else None
            data = file.read(_LARGEST + 1)
            after = _mark(file.fileno())
        now = time.monotonic()
        if before != self._mark or after != before:
            self._mark, self._since = after, now
        quiet = now - self._since >= (_QUIET if written is not None else _QUIET_UNKNOWN)
        self.waits = not quiet or bool(written)
        return None if self.waits else data


def _opener(path: str, flags: int) -> int:
    # a FIFO in its place is not waited for
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _mark(descriptor: int) -> _Mark:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_written(descriptor: int) -> bool | None:
    """Whether somebody has the file open for writing; None where the kernel does not tell."""
    try:
        # Who opens it meanwhile for writing waits until the lease is back; we would be told by a
        # signal that nobody minds.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # it is another user's, or the file system has no leases
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _is_local(device: int) -> bool:
    """Whether all who write the file do so on this machine (proc_pid_mountinfo(5))."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", errors="replace") as file:
        for line in file:
            if line.split()[2] == number:
                kind = line.partition(" - ")[2].split()[0]
                return kind not in _ELSEWHERE and not kind.startswith("fuse")
    return True
