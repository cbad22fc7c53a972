"""The keeper of a private world: one small process that holds a user, mount, network, host name,
IPC and PID namespace.

It has no socket and answers to nobody: who wants in joins its namespaces through a pidfd. As
process 1 of its PID namespace it takes everything with it when it ends: the kernel then kills what
runs in the world and frees what it holds. It waits as ``sleep``, in half a megabyte, and so does
its one child, process 1 of the namespaces where nodes' commands live (:mod:`.inner`).

The start:  caller ──fork──▶ stem: unshare ──fork──▶ keeper: mounts, inner namespaces, "ready"
            caller writes the id maps, and "go" once the keeper is recorded; without it the keeper
            ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, Self

from bascule import syscalls
from bascule.errors import WorldError
from bascule.host import ids, inner, lasting, userns
from bascule.host.descriptors import kept
from bascule.host.lasting import Process
from bascule.names import WORLD_NETWORK
from bascule.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
)

NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
OURS = "/run/bascule"
_HIGHEST_OF_PING = (1 << 31) - 1  # ping_group_range, net/ipv4/sysctl_net_ipv4.c
_NS_GET_PARENT = 0xB702  # ioctl_ns(2)
_PF_EXITING = 0x4  # linux/sched.h
# looks whether a world has ended; milliseconds; looks until one wonders why not
_ATTEMPTS, _PAUSE, _PATIENT = 200, 50, 6


class Starting:
    """A keeper that is ready and waits for "go". Leaving the block without it ends the keeper. What
    is at the places ``hidden`` the commands of nodes do not see."""

    def __init__(self, hidden: tuple[str, ...] = ()) -> None:
        self._hidden = hidden
        self._go = -1
        self._stays = False
        self.keeper = Process(0, 0)
        self.first = Process(0, 0)

    def __enter__(self) -> Self:
        said, tell = socket.socketpair()
        try:
            heard, go = os.pipe()
            with kept(heard, go):
                stem = syscalls.fork()
        except OSError:
            said.close()
            tell.close()
            raise
        if stem == 0:
            said.close()
            os.close(go)
            _stem(tell, heard, self._hidden)
        self._go = go
        tell.close()
        os.close(heard)
        try:
            self._follow(stem, said)
        except BaseException:
            self._end()
            raise
        finally:
            said.close()
            with suppress(ChildProcessError):
                os.waitpid(stem, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def go(self) -> None:
        """Let the keeper live without the caller."""
        syscalls.write(self._go, b"g")
        self._stays = True

    def _end(self) -> None:
        """Without "go" the keeper ends by itself. It is waited for: what ends is not to be taken
        for a lab that runs."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
        descriptor = lasting.hold(self.keeper) if not self._stays else None
        if descriptor is not None:
            lasting.ended(descriptor, _ATTEMPTS * _PAUSE)
            os.close(descriptor)

    def _follow(self, stem: int, said: socket.socket) -> None:
        """The caller's half of the start: wait for the namespaces, write the maps, wait for the
        mounts."""
        _expect(said, "unshared")
        try:
            ids.write(stem)
        except OSError as error:
            number = error.errno or 0
            raise WorldError(
                f"user namespace: {os.strerror(number)}", userns.what_to_do(number)
            ) from error
        os.write(self._go, b"m")
        keeper = int(_expect(said, "keeper"))
        os.write(self._go, b"k")
        _expect(said, "inner")
        self.first = inner.receive(said)
        _expect(said, "ready")
        self.keeper = Process(keeper, lasting.start_time(keeper))


def _expect(said: socket.socket, word: str) -> str:
    """Read one line, ``word value``. Raises :class:`WorldError` with what the other side says
    instead."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = said.recv(1)
        if not byte:
            raise WorldError(f"the keeper ended before it was {word}", userns.what_to_do(0))
        line += byte
    told, _, value = line.decode("utf-8", "replace").strip().partition(" ")
    if told == word:
        return value
    number, _, what = value.partition(" ")
    raise WorldError(what, userns.what_to_do(int(number)))


def _stem(tell: socket.socket, heard: int, hidden: tuple[str, ...]) -> NoReturn:
    """In the first child: new namespaces, then the keeper as process 1 of the new PID namespace."""
    try:
        os.setsid()
        syscalls.unshare(NAMESPACES)
        tell.send(b"unshared\n")
        if os.read(heard, 1) == b"m":
            pid = syscalls.fork_again()
            if pid == 0:
                _keeper(tell, heard, hidden)
            tell.send(f"keeper {pid}\n".encode())
    except OSError as error:
        tell.send(f"failed {error.errno or 0} unshare: {error.strerror}\n".encode())
    finally:
        os._exit(0)


def _keeper(tell: socket.socket, heard: int, hidden: tuple[str, ...]) -> NoReturn:
    """In the keeper: its mounts and the inner namespaces, then wait for "go", then sleep for
    ever."""
    try:
        if os.read(heard, 1) != b"k":  # stem and keeper write to one socket: each in its turn
            os._exit(1)
        _mount_own()
        _allow()
        first = inner.build(hidden)
        tell.send(b"inner\n")
        inner.send(tell, first)
        # what runs before it may sleep leaves orphans, too
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.chdir("/")
        tell.send(b"ready\n")
        if os.read(heard, 1) == b"g":
            inner.sleep()
    except (OSError, WorldError) as error:
        number = getattr(error, "errno", None) or 0
        tell.send(f"failed {number} namespaces and mounts: {error}\n".encode())
    finally:
        os._exit(1)


def _mount_own() -> None:
    """A /run that is empty and private, with the world's network namespace in it for pasta, and
    /proc and /sys of the new namespaces where the kernel lets us have them."""
    syscalls.mount("none", "/", "none", MS_REC | MS_PRIVATE)
    quiet = MS_NOSUID | MS_NODEV
    syscalls.mount("tmpfs", "/run", "tmpfs", quiet, "mode=755")
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys")):
        # In a container with parts of /proc or /sys masked, the kernel refuses a fresh one; the old
        # one serves.
        with suppress(PermissionError):
            syscalls.mount(kind, place, kind, quiet | MS_NOEXEC)
    for folder in (OURS, *_folders_of(WORLD_NETWORK)):
        syscalls.mkdir(folder, 0o755)
    os.close(syscalls.create(WORLD_NETWORK, os.O_RDONLY, 0))
    syscalls.mount("/proc/self/ns/net", WORLD_NETWORK, "none", MS_BIND)


def _folders_of(path: str) -> list[str]:
    """The folders of a path below /run, the highest first."""
    names = path.split("/")
    return ["/".join(names[:size]) for size in range(3, len(names))]


def _allow() -> None:
    """Settings of the new namespaces; those that this kernel does not have, or not here, are done
    without."""
    # Each network namespace begins with these on where br_netfilter is loaded; here, what stays
    # within a bridge is no firewall's.
    settings = {f"net/bridge/bridge-nf-call-{family}tables": "0" for family in ("arp", "ip", "ip6")}
    # A node that is the world's own network namespace has no power over it. What any user may do
    # there is enough for servers and for ping: no port is reserved, and every group may send
    # echoes.
    settings["net/ipv4/ip_unprivileged_port_start"] = "0"
    settings["net/ipv4/ping_group_range"] = f"0 {min(ids.highest('gid_map'), _HIGHEST_OF_PING)}"
    # With a control group namespace of its own a command could mount, and end, the group that its
    # caller is in (cgroups(7)).
    settings["user/max_cgroup_namespaces"] = "0"
    for key, value in settings.items():
        with suppress(OSError):
            syscalls.put(f"/proc/sys/{key}", value)


def end(keeper: Process, reap: Callable[[], None] = lambda: None) -> bool:
    """Kill the keeper and wait until the kernel has ended all that ran in its world. False where it
    was gone already. The keeper is the last to go, and before it each process has to be waited for
    by its parent: ``reap`` does that for ours.

    Raises OSError where it may not be ended, and :class:`WorldError` where it does not end.
    """
    descriptor = lasting.hold(keeper)
    if descriptor is None:
        return False
    try:
        space = os.stat(f"/proc/{keeper.pid}/ns/pid")
        syscalls.kill(descriptor, signal.SIGKILL)
        if not _ends(descriptor, space.st_ino, reap):
            raise WorldError(f"the keeper (process {keeper.pid}) does not end; try again")
        with suppress(ChildProcessError, OSError):
            os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(descriptor)
    return True


def _ends(descriptor: int, space: int, reap: Callable[[], None]) -> bool:
    for attempt in range(_ATTEMPTS):
        reap()
        if lasting.ended(descriptor, _PAUSE) or (attempt > _PATIENT and not _live_below(space)):
            return True
    return False


def _live_below(space: int) -> bool:
    """Whether a process of the keeper's PID namespace (an inode), or of one below it, still runs.
    One that has ended and that another program has not waited for holds the first processes of
    these namespaces, and nothing else of the world."""
    for name in os.listdir("/proc"):
        with suppress(OSError, LookupError):
            if (
                name.isdigit()
                and _is_below(name, space)
                and lasting.start_time(int(name))
                and not _waits_for_others(name)
            ):
                return True
    return False


def _waits_for_others(entry: str) -> bool:
    """Whether this is the first process of a PID namespace, which has been killed and waits until
    all others have been reaped. By its flags (proc_pid_stat(5), field 9)."""
    with open(f"/proc/{entry}/stat", errors="replace") as file:
        flags = int(file.read().rpartition(")")[2].split()[6])
    return lasting.numbers(entry)[-1] == 1 and bool(flags & _PF_EXITING)


def _is_below(entry: str, space: int) -> bool:
    descriptor = os.open(f"/proc/{entry}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.fstat(descriptor).st_ino != space:
            # EPERM where it is none that we see
            lower, descriptor = descriptor, fcntl.ioctl(descriptor, _NS_GET_PARENT)
            os.close(lower)
        return True
    finally:
        os.close(descriptor)


def lost() -> WorldError:
    """What to say of a lab whose keeper has ended."""
    return WorldError(
        "the keeper of this lab has ended, and its world with it; run `bascule up` again"
    )


def explain(error: OSError) -> WorldError:
    """An error of joining a world, in words."""
    if error.errno == errno.ESRCH:  # it is just ending
        return lost()
    if error.errno == errno.EPERM:
        return WorldError(
            f"joining the world: {error.strerror}; it may belong to another user",
            userns.what_to_do(error.errno),
        )
    return WorldError(f"joining the world: {error.strerror}")
