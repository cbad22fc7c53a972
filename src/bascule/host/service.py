"""Find, start and end the name servers of a lab."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from bascule import syscalls
from bascule.errors import KernelError
from bascule.host import lasting, listening, programs
from bascule.host.lasting import Found
from bascule.host.programs import Ended
from bascule.kernel.service import PROGRAM, NameServer
from bascule.topology.model import IPAddress

_OWN = "/proc/thread-self/ns/net"
MARK = ".mark"
_SECONDS = 20  # to start
_DYING, _PAUSE = 1.0, 0.02  # seconds
_TRIES = 5
_NAMES, _LEASES = 53, (67, 547)
_PROFILES, _CONFINED = "/etc/apparmor.d", 13
CONFINED = "AppArmor's profile for dnsmasq does not let it read /run/bascule"
LET_IT = (
    "add the lines `/run/bascule/*/dns/{,**} r,` and `/run/bascule/*/dns/*.pid rw,` to "
    "/etc/apparmor.d/local/usr.sbin.dnsmasq, "
    "then `apparmor_parser -r /etc/apparmor.d/usr.sbin.dnsmasq`"
)


def program() -> str | None:
    """Where dnsmasq is."""
    return shutil.which(PROGRAM, path=syscalls.SYSTEM_PATH)


def running(prefix: str) -> NameServer | None:
    """The server whose configurations begin like this, in the network namespace of the calling
    thread."""
    found, config = next(_servers(prefix), (None, ""))
    return None if found is None else NameServer(prefix, config, stopped=lasting.is_stopped(found))


def _servers(prefix: str) -> Iterator[tuple[Found, str]]:
    """Each with its configuration; normally the one whose number stands in its file."""
    for found in lasting.find(lasting.mark_in(_mark(prefix)), (PROGRAM,), _noted(prefix)):
        config = found.words[1].removeprefix("--conf-file=") if len(found.words) > 1 else ""
        if config.startswith(f"{prefix}-") and _is_here(found):
            yield found, config


def _mark(prefix: str) -> str:
    """Where the mark of all of a lab's servers is."""
    return os.path.join(os.path.dirname(prefix), MARK)


def _noted(prefix: str) -> int:
    with suppress(OSError, ValueError), open(f"{prefix}.pid") as file:
        return int(file.read(20))
    return 0


def _is_here(found: Found) -> bool:
    try:
        return os.stat(f"/proc/{found.entry}/ns/net").st_ino == os.stat(_OWN).st_ino
    except OSError:
        return False  # it has just ended


def start(prefix: str, config: str) -> None:
    """Returns when it answers. Raises :class:`KernelError` with what it says, which is mostly that
    its port is taken."""
    found = program()
    if found is None:
        raise KernelError(
            PROGRAM,
            errno.ENOENT,
            "dnsmasq is not installed",
            advice="install the package dnsmasq-base",
        )
    mark = _mark(prefix)
    done = _run([found, f"--conf-file={config}"], lasting.environment(lasting.make_mark(mark)))
    if done.code != 0:
        _forget_mark(mark)
        said = ["failed", *(line for line in done.stderr.splitlines() if line.strip())][
            -1
        ].removeprefix(f"{PROGRAM}: ")
        advice = LET_IT if os.strerror(errno.EACCES) in said else ""
        raise KernelError(f"{PROGRAM} --conf-file={config}", errno.EINVAL, said, advice=advice)


def _run(argv: list[str], environment: dict[str, str]) -> Ended:
    """A server that is just being killed has its sockets for a moment longer than anything that
    tells who it is: the port is tried again."""
    deadline = time.monotonic() + _DYING
    while True:
        try:
            done = programs.run(argv, "", _SECONDS, environment)
        except TimeoutError as error:
            raise KernelError(PROGRAM, errno.ETIMEDOUT, f"no answer in {_SECONDS} s") from error
        if os.strerror(errno.EADDRINUSE) not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(_PAUSE)


def tell(prefix: str) -> None:
    """Have it read again what it reads only then (SIGHUP)."""
    for found, _config in list(_servers(prefix)):
        lasting.tell(found, lasting.mark_in(_mark(prefix)), signal.SIGHUP)


def end(prefix: str) -> None:
    """End it, and wait for that; and any other of its kind that a killed run has left."""
    for _attempt in range(_TRIES):
        found = list(_servers(prefix))
        if not found:
            break
        for each, _config in found:
            lasting.end(each, lasting.mark_in(_mark(prefix)))
    with suppress(FileNotFoundError):
        syscalls.unlink(f"{prefix}.pid")
    _forget_mark(_mark(prefix))


def _forget_mark(path: str) -> None:
    """Where no server carries it any more."""
    if (
        os.path.lexists(path)
        and next(lasting.find(lasting.mark_in(path), (PROGRAM,)), None) is None
    ):
        syscalls.unlink(path)


def forget_ended(folder: str) -> None:
    """Remove the notes of servers that have ended: who ends one may be killed before that."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if (
            name.endswith(".pid")
            and next(_servers(os.path.join(folder, name.removesuffix(".pid"))), None) is None
        ):
            syscalls.unlink(os.path.join(folder, name))
    _forget_mark(os.path.join(folder, MARK))


def is_out_of_reach(folder: str, addresses: Collection[IPAddress]) -> bool:
    """Whether a server of this folder's lab serves here that can't be found nor ended: its number
    is one of another PID namespace (a container, ``unshare --pid``). It has sockets then, and no
    process that we see has them."""
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    prefixes = [
        os.path.join(folder, name.removesuffix(".pid")) for name in names if name.endswith(".pid")
    ]
    if all(next(_servers(prefix), None) for prefix in prefixes):
        return False
    deadline = time.monotonic() + _DYING
    while set(_sockets(addresses)) - listening.held():
        if time.monotonic() > deadline:
            return True
        time.sleep(_PAUSE)  # as above: it is just ending
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
    found = program()
    if found is None or not _has_profile():
        return False
    child = syscalls.fork()
    if child == 0:
        os._exit(_try_to_read(found))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _CONFINED


def _has_profile() -> bool:
    with suppress(OSError), open("/sys/module/apparmor/parameters/enabled") as file:
        return file.read().startswith("Y") and any(
            PROGRAM in name for name in os.listdir(_PROFILES)
        )
    return False


def _try_to_read(found: str) -> int:
    with suppress(Exception):
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
