"""What this process may do to the machine: found out before anything is touched, and told alike by
`up`, `plan` and `doctor`.

A container has fewer capabilities than root (capabilities(7)), forbids system calls (seccomp(2)) or
mounts (a security module), and may have /etc, /run and /proc/sys read-only. What such rules forbid
only the call itself tells: it is tried in a child, in namespaces that go with it, and only where
there are such rules.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from posixpath import dirname
from typing import NamedTuple

from bascule import syscalls
from bascule.host import namespaces
from bascule.host.descriptors import kept
from bascule.host.paths import ETC
from bascule.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, MS_BIND, MS_REC, MS_SLAVE

_OWN = "/proc/thread-self/ns/net"
_STATE, _SETTINGS = "/run/bascule", "/proc/sys/net"
# linux/capability.h
_CHOWN, _SETGID, _SETUID, _NET_BIND, _NET_ADMIN, _NET_RAW, _SYS_ADMIN = 0, 6, 7, 10, 12, 13, 21
_NEEDED = {
    _NET_ADMIN: "CAP_NET_ADMIN (netlink(7))",
    _SYS_ADMIN: "CAP_SYS_ADMIN (unshare(2), setns(2), mount(2))",
}
_OF_A_SERVER = (_CHOWN, _SETGID, _SETUID, _NET_BIND, _NET_ADMIN, _NET_RAW)
CONTAINER = "a container has it with `--privileged`"
FIXED = "/proc/sys can't be written to"
SET_BEFORE = "leave these out, or have what is the machine's set beforehand (`docker run --sysctl`)"
UNQUIET = (
    "bridges and nodes accept router advertisements and ICMP redirects, and an IPv6 address "
    "works a second later than it could"
)


class Lack(NamedTuple):
    """Something that can't be done here: what, and what to do about it."""

    what: str
    advice: str


def lacks() -> list[Lack]:
    """What keeps a lab from being built on the machine's own network. Nothing, mostly."""
    if not os.path.exists(_OWN):
        return [Lack(f"{_OWN} is not there", "mount proc on /proc")]
    found = list(_capabilities()) or list(_calls())
    for folder, purpose in (
        (namespaces.DIRECTORY, "nodes' namespaces are pinned"),
        (_STATE, "their files are"),
    ):
        if not can_be_written(folder):
            found.append(
                Lack(f"{folder}, where {purpose}, can't be written to", "mount a tmpfs on /run")
            )
    return found


def can_be_written(folder: str) -> bool:
    """Whether something can be made in this folder, or it itself where it is missing."""
    while not os.path.lexists(folder):
        folder = dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


def has_etc() -> bool:
    """Whether nodes' links can be made where ``ip netns exec`` looks for them."""
    return can_be_written(ETC)


def can_set() -> bool:
    """Whether settings of the kernel can be changed: /proc/sys is read-only in a container, and may
    be covered altogether."""
    try:
        return not os.statvfs(_SETTINGS).f_flag & os.ST_RDONLY
    except OSError:
        return False


def can_change_user() -> bool:
    """Whether a server that is started here can become somebody without privileges, and keep what
    it needs."""
    return all(_has(number) for number in _OF_A_SERVER)


def status(key: str) -> str:
    """A line of /proc/thread-self/status (proc_pid_status(5)); empty where it is not there."""
    with suppress(OSError), open("/proc/thread-self/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == key:
                return value.strip()
    return ""


def _has(capability: int) -> bool:
    return bool(int(status("CapEff") or "0", 16) >> capability & 1)


def _capabilities() -> Iterator[Lack]:
    missing = [name for number, name in _NEEDED.items() if not _has(number)]
    if missing:
        yield Lack(
            f"this process lacks {' and '.join(missing)}",
            f"{CONTAINER}, or with `--cap-add` for each",
        )


def _is_restricted() -> bool:
    """Whether there are rules beside the capabilities."""
    if status("Seccomp") not in ("", "0"):
        return True
    with suppress(OSError), open("/proc/thread-self/attr/current") as file:
        label = file.read().strip(" \0\n")
        return label not in ("", "kernel") and "unconfined" not in label
    return False


def _calls() -> Iterator[Lack]:
    """The calls that a rule forbids, each tried in a child."""
    if not _is_restricted():
        return
    reading, writing = os.pipe()
    with kept(reading, writing):
        child = syscalls.fork()
    if child == 0:
        with suppress(BaseException):
            os.write(writing, pickle.dumps(list(_refused())))
        os._exit(0)
    os.close(writing)
    try:
        told = b"".join(iter(lambda: os.read(reading, 1 << 16), b""))
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    for call in pickle.loads(told) if told else ("fork(2): the child ended",):  # noqa: S301 (our own child's)
        yield Lack(call, f"a security rule of this container or service forbids it; {CONTAINER}")


def _refused() -> Iterator[str]:
    """In the child, which does not come back from where these calls lead."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    yield from _tried("unshare(2) of a network namespace", lambda: syscalls.unshare(CLONE_NEWNET))
    yield from _tried("setns(2)", lambda: syscalls.setns(home, CLONE_NEWNET))
    # Without mounts of its own it would mount on the machine.
    forbidden = list(
        _tried("unshare(2) of a mount namespace", lambda: syscalls.unshare(CLONE_NEWNS))
    )
    forbidden = forbidden or list(_tried("mount(2)", _mount))
    yield from forbidden or _tried("umount(2)", lambda: syscalls.umount(os.devnull))
    # Without a host name of its own it would change the machine's.
    forbidden = list(_tried("unshare(2) of a host name", lambda: syscalls.unshare(CLONE_NEWUTS)))
    yield from forbidden or _tried("sethostname(2)", lambda: syscalls.sethostname("node"))
    # How nft is run (host/programs.py).
    yield from _tried("memfd_create(2)", lambda: os.memfd_create("bascule"))
    yield from _tried("pidfd_open(2)", lambda: os.pidfd_open(os.getpid()))


def _tried(call: str, attempt: Callable[[], object]) -> Iterator[str]:
    try:
        attempt()
    except OSError as error:
        yield f"{call}: {error.strerror}"


def _mount() -> None:
    syscalls.mount("none", "/", "none", MS_REC | MS_SLAVE)
    syscalls.mount(_OWN, os.devnull, "none", MS_BIND)
