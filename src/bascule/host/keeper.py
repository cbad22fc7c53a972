"""The keeper of a private world: one small process that holds a user, mount, network, host name, IPC and PID namespace.

It has no socket and answers to nobody: who wants in joins its namespaces through a pidfd. As process 1 of its PID namespace
it takes everything with it when it ends: the kernel then kills what runs in the world and frees what it holds. It reaps
orphans by ignoring SIGCHLD, and waits as ``sleep``, in half a megabyte.

Sequence of the start:  caller ──fork──▶ stem: unshare ──fork──▶ keeper: mounts, "ready"
                        caller writes the id maps, and "go" once the keeper is recorded; without it the keeper ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from bascule import syscalls
from bascule.errors import WorldError
from bascule.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
)

_ATTEMPTS, _PAUSE, _PATIENT = 200, 50, 6  # looks whether a world has ended; milliseconds; looks until one wonders why not
NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc_pid_stat(5) field 22); 0 where there is none."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:  # a command's name is cut after 15 bytes
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def alive(pid: int, start: int) -> bool:
    """Whether this very process still runs."""
    return pid > 0 and start > 0 and start_time(pid) == start


def open_keeper(pid: int, start: int) -> int | None:
    """A pidfd of the keeper, or None where it has ended: proof against a new process with its number."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if alive(pid, start):
        return descriptor
    os.close(descriptor)
    return None


class Starting:
    """A keeper that is ready and waits for "go". Leaving the block without it ends the keeper."""

    def __init__(self) -> None:
        self._go = -1
        self.pid = 0
        self.start = 0

    def __enter__(self) -> Starting:
        (said_read, said), (heard, self._go) = os.pipe(), os.pipe()
        stem = syscalls.fork()
        if stem == 0:
            os.close(said_read)
            os.close(self._go)
            _stem(said, heard)
        os.close(said)
        os.close(heard)
        try:
            self._follow(stem, said_read)
        except BaseException:
            self._end()
            raise
        finally:
            os.close(said_read)
            with suppress(ChildProcessError):
                os.waitpid(stem, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def go(self) -> None:
        """Let the keeper live without the caller."""
        syscalls.write(self._go, b"g")

    def _end(self) -> None:
        if self._go >= 0:
            os.close(self._go)
            self._go = -1

    def _follow(self, stem: int, said: int) -> None:
        """The caller's half of the start: wait for the namespaces, write the maps, wait for the mounts."""
        _expect(said, "unshared")
        try:
            _write_maps(stem)
        except OSError as error:
            raise WorldError(f"user namespace: {os.strerror(error.errno or 0)}; {why_forbidden()}") from error
        os.write(self._go, b"m")
        self.pid = int(_expect(said, "keeper"))
        os.write(self._go, b"k")
        _expect(said, "ready")
        self.start = start_time(self.pid)


def _expect(descriptor: int, word: str) -> str:
    """Read one line, ``word value``. Raises :class:`WorldError` with what the other side says instead."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise WorldError(f"the keeper ended before it was {word}; {why_forbidden()}")
        line += byte
    said, _, value = line.decode().strip().partition(" ")
    if said == word:
        return value
    raise WorldError(f"{value}; {why_forbidden()}")


def _write_maps(stem: int) -> None:
    """Root keeps all ids that it has; anybody else becomes root inside, by a map of one id (user_namespaces(7))."""
    if os.geteuid() == 0:
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/self/{kind}") as file:
                rows = [line.split() for line in file]
            syscalls.put(f"/proc/{stem}/{kind}", "".join(f"{row[0]} {row[0]} {row[2]}\n" for row in rows))
        return
    syscalls.put(f"/proc/{stem}/uid_map", f"0 {os.geteuid()} 1\n")
    syscalls.put(f"/proc/{stem}/setgroups", "deny")
    syscalls.put(f"/proc/{stem}/gid_map", f"0 {os.getegid()} 1\n")


def _stem(said: int, heard: int) -> NoReturn:
    """In the first child: new namespaces, then the keeper as process 1 of the new PID namespace."""
    code = 1
    try:
        os.setsid()
        syscalls.unshare(NAMESPACES)
        os.write(said, b"unshared\n")
        if os.read(heard, 1) == b"m":
            pid = syscalls.fork()
            if pid == 0:
                _keeper(said, heard)
            os.write(said, f"keeper {pid}\n".encode())
            code = 0
    except OSError as error:
        os.write(said, f"failed unshare: {error.strerror}\n".encode())
    finally:
        os._exit(code)


def _keeper(said: int, heard: int) -> NoReturn:
    """In the keeper: its mounts, then wait for "go", then sleep for ever."""
    try:
        if os.read(heard, 1) != b"k":  # stem and keeper write to one pipe: each in its turn
            os._exit(1)
        _mount_own()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        os.write(said, b"ready\n")
        if os.read(heard, 1) == b"g":
            null = os.open("/dev/null", os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.closerange(3, 1 << 16)
            syscalls.become(shutil.which("sleep", path=syscalls.SYSTEM_PATH) or "/bin/sleep", ["sleep", "infinity"])
    except OSError as error:
        os.write(said, f"failed mount: {error}\n".encode())
    finally:
        os._exit(1)


def _mount_own() -> None:
    """A /run that is empty and private, and /proc and /sys of the new namespaces where the kernel lets us have them."""
    syscalls.mount("none", "/", "none", MS_REC | MS_PRIVATE)
    quiet = MS_NOSUID | MS_NODEV
    syscalls.mount("tmpfs", "/run", "tmpfs", quiet, "mode=755")
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys")):
        # In a container with parts of /proc or /sys masked, the kernel refuses a fresh one; the old one serves.
        with suppress(PermissionError):
            syscalls.mount(kind, place, kind, quiet | MS_NOEXEC)
    # Each network namespace begins with these on where br_netfilter is loaded; here, what stays within a bridge is no firewall's.
    for family in ("arp", "ip", "ip6"):
        with suppress(OSError):
            syscalls.put(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables", "0")


def end(pid: int, start: int, reap: Callable[[], None] = lambda: None) -> bool:
    """Kill the keeper and wait until the kernel has ended all that ran in its world. False where it was gone already. The keeper
    is the last to go, and before it each process has to be waited for by its parent: ``reap`` does that for ours."""
    descriptor = open_keeper(pid, start)
    if descriptor is None:
        return False
    try:
        syscalls.kill(descriptor, signal.SIGKILL)
        _wait(descriptor, pid, reap)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _wait(descriptor: int, pid: int, reap: Callable[[], None]) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    for attempt in range(_ATTEMPTS):
        reap()
        if poll.poll(_PAUSE) or (attempt > _PATIENT and not _live_in_world_of(pid)):
            break
    with suppress(ChildProcessError, OSError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


def _live_in_world_of(keeper: int) -> bool:
    """Whether a process of the keeper's PID namespace still runs. One that has ended and that another program has not waited for
    holds the keeper's number, and nothing else of the world."""
    with suppress(OSError):
        space = os.stat(f"/proc/{keeper}/ns/pid").st_ino
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != keeper:
                with suppress(OSError):
                    if os.stat(f"/proc/{name}/ns/pid").st_ino == space and start_time(int(name)):
                        return True
    return False


def why_forbidden() -> str:
    """What stands against user namespaces here, and what to do about it."""
    rules = (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "AppArmor restricts user namespaces; sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
    )
    for path, forbidden, advice in rules:
        with suppress(OSError), open(path) as file:
            if file.read().strip() == forbidden:
                return advice
    return "user namespaces may be forbidden here (a container, or a security module): run as root with --world host"


def explain(error: OSError) -> WorldError:
    """An error of joining a world, in words."""
    if error.errno == errno.ESRCH:  # it is just ending
        return WorldError("the keeper of this lab has ended, and its world with it; run `bascule up` again")
    if error.errno == errno.EPERM:
        return WorldError(f"joining the world: {error.strerror}; it belongs to another user, or {why_forbidden()}")
    return WorldError(f"joining the world: {error.strerror}")
