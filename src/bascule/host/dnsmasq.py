"""What keeps a lab's name servers (dnsmasq(8)) from being started, or found."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from bascule import syscalls
from bascule.host import listening, process, programs
from bascule.kernel.program import DNSMASQ
from bascule.topology.model import IPAddress

_NAMES, _LEASES = 53, (67, 547)
_PROFILES, _CONFINED = "/etc/apparmor.d", 13
_SECONDS = 20  # to read a configuration
CONFINED = "AppArmor's profile for dnsmasq does not let it read /run/bascule"


def is_out_of_reach(folder: str, addresses: Collection[IPAddress]) -> bool:
    """Whether a server of this folder's lab serves here that can't be found nor ended: its number
    is one of another PID namespace (a container, ``unshare --pid``). It has sockets then, and no
    process that we see has them."""
    if all(next(process.processes(at), None) for at in process.noted_in(folder, DNSMASQ)):
        return False
    deadline = time.monotonic() + process.DYING
    while set(_sockets(addresses)) - listening.held():
        if time.monotonic() > deadline:
            return True
        time.sleep(process.PAUSE)  # it is just ending
    return False


def _sockets(addresses: Collection[IPAddress]) -> Iterator[int]:
    """Those that may be a server's on bridges with these addresses. Where it gives leases it hears
    what has no address yet."""
    for port, inode in listening.sockets():
        if (port.published == _NAMES and port.host in addresses) or (
            port.published in _LEASES and port.protocol == "udp"
        ):
            yield inode


def is_confined() -> bool:
    """Whether a security module keeps dnsmasq from reading what a lab writes for it. Where AppArmor
    has a profile for it, it is tried, in a child with a /run of its own."""
    found = process.path_of(DNSMASQ)
    if found is None or not _has_profile():
        return False
    child = syscalls.fork()
    if child == 0:
        os._exit(_try_to_read(found))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _CONFINED


def _has_profile() -> bool:
    with suppress(OSError), open("/sys/module/apparmor/parameters/enabled") as file:
        return file.read().startswith("Y") and any(
            DNSMASQ.name in name for name in os.listdir(_PROFILES)
        )
    return False


def _try_to_read(found: str) -> int:
    with suppress(BaseException):  # nothing of the caller's goes on in the child
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "none", syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        place = "/run"
        for name in ("bascule", "doctor", "dns"):
            place = f"{place}/{name}"
            syscalls.mkdir(place, 0o755)
        os.close(syscalls.create(f"{place}/out.conf", os.O_WRONLY, 0o644))
        done = programs.run([found, "--test", f"--conf-file={place}/out.conf"], "", _SECONDS)
        return _CONFINED if done.code and os.strerror(errno.EACCES) in done.stderr else 0
    return 0
