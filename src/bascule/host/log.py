"""Where it is told what was done to the machine: the system's log (syslog(3)), or a file.

``BASCULE_LOG`` is a file's path, ``syslog``, or ``off``. Where it says nothing, what is done in the
machine's own network namespace goes to the system's log, if there is one, and nothing else is told.
That something can't be told is no reason to leave it undone.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
import time
from collections.abc import Iterable
from contextlib import suppress

from bascule import identity, syscalls
from bascule.names import printable

_SETTING = "BASCULE_LOG"
_SOCKET = "/dev/log"
_MOST_BYTES = 1800  # of a line: syslog servers cut longer ones (RFC 5424, 6.1: 2,048)
_DAEMON_NOTICE = 3 << 3 | 5  # RFC 3164, 4.1.1
_PATIENCE = 0.2  # seconds
_NOBODY = 0xFFFFFFFF  # loginuid of who has not logged in (proc_pid_loginuid(5))


def place() -> str:
    """Where it is told: "syslog", an absolute path, or nowhere (empty)."""
    chosen = os.environ.get(_SETTING, "")
    if chosen == "off":
        return ""
    if chosen and chosen != "syslog":
        return os.path.abspath(chosen)
    if chosen or identity.is_machines_own(identity.netns()[:2]):
        with suppress(OSError):
            return "syslog" if stat.S_ISSOCK(os.stat(_SOCKET).st_mode) else ""
    return ""


def tell(where: str, lines: Iterable[str]) -> None:
    """Tell these lines there."""
    safe = [printable(line).encode("utf-8", "replace")[:_MOST_BYTES] for line in lines]
    with suppress(OSError):
        if where == "syslog":
            _send(safe)
        elif where:
            _append(where, safe)


def _send(lines: list[bytes]) -> None:
    """As syslog(3) does, which waits for a server that does not read: this does not for long."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.settimeout(_PATIENCE)
        server.connect(_SOCKET)
        moment = f"{time.strftime('%b')} {time.localtime().tm_mday:2} {time.strftime('%H:%M:%S')}"
        for line in lines:
            head = f"<{_DAEMON_NOTICE}>{moment} bascule[{os.getpid()}]: "
            syscalls.send(server, head.encode() + line)


def _append(path: str, lines: list[bytes]) -> None:
    """In one piece: others write there, too."""
    head = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} bascule[{os.getpid()}]: ".encode()
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)  # with the mode that somebody gave it
    except FileNotFoundError:
        descriptor = syscalls.create(path, flags | os.O_EXCL, 0o640)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            syscalls.write(descriptor, b"".join(head + line + b"\n" for line in lines))
    finally:
        os.close(descriptor)


def user() -> str:
    """Who does it: the user, and who had logged in before that one became another (sudo, su)."""
    own = _name(os.getuid())
    login = _NOBODY
    with suppress(OSError, ValueError), open("/proc/self/loginuid") as file:
        login = int(file.read())
    before = _name(login) if login != _NOBODY else os.environ.get("SUDO_USER", "")
    return f"{own} (logged in as {before})" if before and before != own else own


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
