"""Every system call by which bascule changes something outside its own memory: one gate for all of
them.

Files, folders, mounts, namespaces, netlink messages, programs and processes: whatever changes them
is called here and nowhere else (a test reads the sources and says where not). So a harness that
puts itself into the gate (:func:`gated`) meets each effect of every command, those that are written
later too: it can count them, stop the process there, or answer with an error.

Each function raises OSError with the call's errno. What Python 3.11 has no name for goes by ctypes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Protocol

from bascule.libc import check, holding_the_gil, libc, syscall

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x1000, 0x4000, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 0x2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_PARENT = 0x00008000
# The same numbers on every architecture; Linux 5.2 and 5.3, the last one 5.9 (linux/mount.h).
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_SYS_CLONE3, _SYS_CLOSE_RANGE = 435, 436
_AT_FDCWD, _OPEN_TREE_CLONE = -100, 1  # linux/fcntl.h, linux/mount.h
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_SYMLINKS = 0x4, 0x10
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 6

UNFINISHED = ".new"  # what the name of a file ends with that is being written
_PAUSE = 0.002  # seconds between two tries of a lock
_AFTER_STANDARD, _LAST = 3, (1 << 32) - 1  # descriptors after stdin, stdout, stderr
# Where programs that we start ourselves are looked for, before $PATH: that may be anybody's.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

Gate = Callable[[str, object], None]


def _open_gate(_call: str, _subject: object) -> None:
    """Nobody stands in the gate."""


_pass: Gate = _open_gate


@contextmanager
def gated(gate: Gate) -> Iterator[None]:
    """Call ``gate`` with the name of each call and what it is about (a path, a descriptor, the
    words of a command, the bytes of a message), right before it is made. What the gate raises is
    raised in place of the call. For tests."""
    global _pass
    before, _pass = _pass, gate
    try:
        yield
    finally:
        _pass = before


# Namespaces, mounts, the process itself


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces."""
    _pass("unshare", flags)
    check(libc.unshare(flags), "unshare(2)")


def setns(fd: int, flags: int) -> None:
    """Put the calling thread into the namespaces of ``fd``: an nsfs file or (Linux 5.8) a pidfd."""
    _pass("setns", fd)
    check(libc.setns(fd, flags), "setns(2)")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)"""
    _pass("mount", target)
    check(
        libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, data.encode()),
        f"mount(2) on {target}",
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)"""
    _pass("umount", target)
    check(libc.umount2(os.fsencode(target), flags), f"umount(2) of {target}")


def own_proc() -> int:
    """fsopen(2), fsconfig(2), fsmount(2): an instance of procfs that is mounted nowhere. Its folder
    goes with the descriptor."""
    subject = "an own procfs (fsopen(2), fsmount(2))"
    context = check(syscall(_SYS_FSOPEN, b"proc", _FSOPEN_CLOEXEC), subject)
    try:
        check(syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, 0, 0, 0), subject)
        return check(syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0), subject)
    finally:
        os.close(context)


def clone_mount(path: str) -> int:
    """open_tree(2): a descriptor of a new mount of what is at this path, which is nowhere yet and
    may be put into another mount namespace, where the path itself is not to be seen (Linux 5.2)."""
    _pass("mount", path)
    return check(
        syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC),
        path,
    )


def move_mount(fd: int, target: str, on_link: bool = False) -> None:
    """move_mount(2): put a mount that is nowhere yet at this place: where links lead from there, or
    on the link itself, which mount(2) would follow (Linux 5.2)."""
    _pass("mount", target)
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if on_link else _MOVE_MOUNT_T_SYMLINKS)
    check(syscall(_SYS_MOVE_MOUNT, fd, b"", _AT_FDCWD, os.fsencode(target), flags), target)


def sethostname(name: str) -> None:
    """sethostname(2)"""
    _pass("sethostname", name)
    data = name.encode()
    check(libc.sethostname(data, len(data)), "sethostname(2)")


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process ``signal`` when its parent ends (PR_SET_PDEATHSIG)."""
    check(libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(2)")


def not_dumpable() -> None:
    """Forbid others to trace this process or to read its memory (PR_SET_DUMPABLE); execve(2) takes
    that back."""
    check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(2)")


def no_new_privileges() -> None:
    """From here on execve(2) grants nothing that the caller does not have (PR_SET_NO_NEW_PRIVS)."""
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(2)")


def inotify() -> int:
    """inotify_init1(2): a descriptor that does not block."""
    return check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1(2)")


def inotify_watch(fd: int, path: str, mask: int) -> int:
    """inotify_add_watch(2): the number of the watch, the same one again where the path is watched
    already."""
    return check(libc.inotify_add_watch(fd, os.fsencode(path), mask), path)


def fork() -> int:
    """fork(2)"""
    _pass("fork", "")
    return os.fork()


def fork_again() -> int:
    """fork(2) of a process that was itself forked, has one thread, and holds no lock: without what
    Python does in each child for the threads that are not there, which takes as long as the fork
    itself."""
    _pass("fork", "")
    return check(holding_the_gil.fork(), "fork(2)")


def fork_sibling() -> int:
    """Like fork(2), but the new process is a child of the caller's parent (CLONE_PARENT, Linux
    5.3)."""
    _pass("fork", "")
    # struct clone_args, first version (linux/sched.h)
    arguments = struct.pack("=8Q", _CLONE_PARENT, *bytes(7))
    return check(holding_the_gil.syscall(_SYS_CLONE3, arguments, len(arguments)), "clone3(2)")


def kill(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2)"""
    _pass("kill", pidfd)
    signal.pidfd_send_signal(pidfd, number)


def run(
    argv: Sequence[str],
    stdin: FileIO,
    stdout: FileIO,
    stderr: FileIO,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program with these, and nothing of our environment, but what is given."""
    _pass("run", argv)
    clean = {"PATH": SYSTEM_PATH, "LC_ALL": "C", **(environment or {})}
    return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, env=clean)


def become(path: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """execve(2) with nothing of our environment. Does not return."""
    _pass("exec", path)
    os.execve(path, list(argv), dict(environment or {}))  # noqa: S606


def let_go() -> None:
    """Before a program that outlives its caller: no blocked signal, the usual mask of new files, no
    descriptor beyond the first three."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    close_all()


def close_all() -> None:
    """Close every descriptor but the first three: by close_range(2), and before Linux 5.9, which
    has it first, one by one."""
    if syscall(_SYS_CLOSE_RANGE, _AFTER_STANDARD, _LAST, 0) == 0:
        return
    with suppress(FileNotFoundError):  # /proc of a PID namespace that this process is not in
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= _AFTER_STANDARD:
                with suppress(OSError):  # the one by which the folder was read
                    os.close(int(name))


def execv(path: str, argv: Sequence[str]) -> None:
    """execv(3), with the environment as it stands. Does not return."""
    _pass("exec", path)
    os.execv(path, list(argv))  # noqa: S606


# Files and folders


def mkdir(path: str, mode: int) -> None:
    """mkdir(2), with this mode whatever the umask (umask(2)): name servers and programs in nodes,
    which are not root, have to go through."""
    _pass("mkdir", path)
    os.mkdir(path, mode)
    if stat.S_IMODE(os.lstat(path).st_mode) != mode:
        chmod(path, mode)


def chmod(path: str, mode: int) -> None:
    """chmod(2)"""
    _pass("chmod", path)
    os.chmod(path, mode)


def rmdir(path: str) -> None:
    """rmdir(2)"""
    _pass("rmdir", path)
    os.rmdir(path)


def unlink(path: str) -> None:
    """unlink(2)"""
    _pass("unlink", path)
    os.unlink(path)


def rename(old: str, new: str) -> None:
    """rename(2)"""
    _pass("rename", new)
    os.rename(old, new)


def symlink(target: str, path: str) -> None:
    """symlink(2)"""
    _pass("symlink", path)
    os.symlink(target, path)


def create(path: str, flags: int, mode: int) -> int:
    """open(2) of a file that may be made or cut by it, and has this mode then whatever the umask: a
    descriptor. O_CREAT, O_CLOEXEC and O_NOFOLLOW are always set."""
    _pass("open", path)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            _pass("chmod", path)
            os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write(fd: int, data: bytes) -> None:
    """write(2) until all is written, from where the descriptor stands."""
    while data:
        _pass("write", fd)
        data = data[os.write(fd, data) :]


def overwrite(fd: int, data: bytes) -> None:
    """Make ``data`` the content of a file: written over the old, and what is longer cut after that,
    so that no reader finds it empty."""
    written = 0
    while written < len(data):
        _pass("write", fd)
        written += os.pwrite(fd, data[written:], written)
    _pass("truncate", fd)
    os.ftruncate(fd, len(data))


def fsync(fd: int) -> None:
    """fsync(2)"""
    _pass("fsync", fd)
    os.fsync(fd)


def replace(path: str, data: bytes) -> None:
    """Make ``data`` the content of a file that only its owner reads, whole or not at all, whenever
    the power goes: written beside it, synced, put in its place, and that synced. What was begun is
    removed where it fails."""
    begun = path + UNFINISHED
    try:
        descriptor = create(begun, os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            write(descriptor, data)
            fsync(descriptor)
        finally:
            os.close(descriptor)
        rename(begun, path)
        sync_folder(os.path.dirname(path))
    except OSError:
        with suppress(OSError):
            unlink(begun)
        raise


def sync_folder(path: str) -> None:
    """fsync(2) of a folder: what is in it will be found there after a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(fd: int, seconds: float = 0) -> bool:
    """flock(2), exclusive. Whether it is ours, at once or within so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(_PAUSE)


def put(path: str, text: str, proc: int | None = None) -> None:
    """Write to a file of the kernel's, below /proc: one write(2). ``proc`` is another instance of
    procfs (:func:`own_proc`)."""
    _pass("put", path)
    if proc is None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    else:
        descriptor = os.open(path.removeprefix("/proc/"), os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


class Sender(Protocol):
    """The sending half of a socket."""

    def send(self, data: bytes, /) -> int: ...


def bind(fd: int, bind: Callable[[str], object], path: str, mode: int) -> None:
    """bind(2) of a Unix socket: its file has at most this mode from its first moment."""
    _pass("bind", path)
    os.fchmod(fd, mode)
    bind(path)


def send(socket: Sender, data: bytes) -> None:
    """send(2) of what changes something: netlink messages, lines for the log."""
    _pass("send", data)
    socket.send(data)


def ask(call: Callable[[], object], words: str) -> None:
    """A call over D-Bus that changes something, in ``words``."""
    _pass("ask", words)
    call()
