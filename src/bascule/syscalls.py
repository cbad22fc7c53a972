"""Every system call by which bascule changes something outside its own memory: one gate for all of them.

Files, folders, mounts, namespaces, netlink messages, programs and processes: whatever changes them is called here and nowhere
else (a test reads the sources and says where not). So a harness that puts itself into the gate (:func:`gated`) meets each effect
of every command, those that are written later too: it can count them, stop the process there, or answer with an error.

Each function raises OSError with the call's errno. Calls that Python 3.11 has no names for are made through ctypes.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Protocol

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x1000, 0x4000, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

_CLONE_PARENT = 0x00008000
# The same numbers on every architecture; Linux 5.2 and 5.3 (linux/mount.h).
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_CLONE3 = 428, 429, 430, 431, 432, 435
_AT_FDCWD, _OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = -100, 0x1, 0x4  # linux/fcntl.h, linux/mount.h
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 6

UNFINISHED = ".new"  # what the name of a file ends with that is being written
_PAUSE = 0.002  # seconds between two tries of a lock

# Where programs that we start ourselves are looked for, before $PATH: that may be anybody's.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

Gate = Callable[[str, object], None]


def _open_gate(_call: str, _subject: object) -> None:
    """Nobody stands in the gate."""


_pass: Gate = _open_gate


@contextmanager
def gated(gate: Gate) -> Iterator[None]:
    """Call ``gate`` with the name of each call and what it is about (a path, a descriptor, the words of a command, the bytes of
    a message), right before it is made. What the gate raises is raised in place of the call. For tests."""
    global _pass
    before, _pass = _pass, gate
    try:
        yield
    finally:
        _pass = before


_libc = ctypes.CDLL(None, use_errno=True)
_holding_the_gil = ctypes.PyDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, subject: str) -> None:
    """Raises OSError where a call has failed, with what it was about."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)


# Namespaces, mounts, the process itself


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces."""
    _pass("unshare", flags)
    _check(_libc.unshare(flags), "unshare(2)")


def setns(fd: int, flags: int) -> None:
    """Put the calling thread into the namespaces of ``fd``: an nsfs file, or a pidfd with several flags (Linux 5.8)."""
    _pass("setns", fd)
    _check(_libc.setns(fd, flags), "setns(2)")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)"""
    _pass("mount", target)
    _check(_libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, data.encode()), f"mount(2) on {target}")


def cover_link(source: str, target: str) -> None:
    """A bind mount on a symbolic link itself, which mount(2) would follow (open_tree(2), move_mount(2), Linux 5.2)."""
    _pass("mount", target)
    tree = int(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC))
    _check(0 if tree >= 0 else -1, source)
    try:
        where = _AT_FDCWD, os.fsencode(target)
        _check(_libc.syscall(_SYS_MOVE_MOUNT, tree, b"", *where, _MOVE_MOUNT_F_EMPTY_PATH), target)
    finally:
        os.close(tree)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)"""
    _pass("umount", target)
    _check(_libc.umount2(os.fsencode(target), flags), f"umount(2) of {target}")


def own_proc() -> int:
    """fsopen(2), fsconfig(2), fsmount(2): an instance of procfs that is mounted nowhere. Its folder goes with the descriptor."""
    context = _called(_libc.syscall(_SYS_FSOPEN, b"proc", _FSOPEN_CLOEXEC))
    try:
        _called(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0))
        return _called(_libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0))
    finally:
        os.close(context)


def _called(result: int) -> int:
    if result < 0:
        _check(result, "an own procfs (fsopen(2), fsmount(2))")
    return result


def sethostname(name: str) -> None:
    """sethostname(2)"""
    _pass("sethostname", name)
    data = name.encode()
    _check(_libc.sethostname(data, len(data)), "sethostname(2)")


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process ``signal`` when its parent ends (PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(2)")


def not_dumpable() -> None:
    """Forbid others to trace this process or to read its memory (PR_SET_DUMPABLE); execve(2) takes that back."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(2)")


def no_new_privileges() -> None:
    """From here on execve(2) grants nothing that the caller does not have (PR_SET_NO_NEW_PRIVS)."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(2)")


def inotify() -> int:
    """inotify_init1(2): a descriptor that does not block."""
    descriptor = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    _check(0 if descriptor >= 0 else -1, "inotify_init1(2)")
    return descriptor


def inotify_watch(fd: int, path: str, mask: int) -> int:
    """inotify_add_watch(2): the number of the watch, the same one again where the path is watched already."""
    number = int(_libc.inotify_add_watch(fd, os.fsencode(path), mask))
    _check(0 if number >= 0 else -1, path)
    return number


class _CloneArguments(ctypes.Structure):
    """struct clone_args, first version (clone(2), linux/sched.h)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    ]


def fork() -> int:
    """fork(2)"""
    _pass("fork", "")
    return os.fork()


def fork_sibling() -> int:
    """Like fork(2), but the new process is a child of the caller's parent (CLONE_PARENT, Linux 5.3)."""
    _pass("fork", "")
    arguments = _CloneArguments(flags=_CLONE_PARENT)
    pid = int(_holding_the_gil.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "clone3(2)")
    return pid


def kill(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2)"""
    _pass("kill", pidfd)
    signal.pidfd_send_signal(pidfd, number)


def run(argv: Sequence[str], stdin: FileIO, stdout: FileIO, stderr: FileIO) -> subprocess.Popen[bytes]:
    """Start a program with these, and nothing of our environment."""
    _pass("run", argv)
    return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, env={"PATH": SYSTEM_PATH, "LC_ALL": "C"})


def become(path: str, argv: Sequence[str]) -> None:
    """execve(2) with an empty environment. Does not return."""
    _pass("exec", path)
    os.execve(path, list(argv), {})  # noqa: S606


def execv(path: str, argv: Sequence[str]) -> None:
    """execv(3), with the environment as it stands. Does not return."""
    _pass("exec", path)
    os.execv(path, list(argv))  # noqa: S606


# Files and folders


def mkdir(path: str, mode: int) -> None:
    """mkdir(2), with this mode whatever the umask (umask(2)): name servers and programs in nodes, which are not root, have to go
    through."""
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
    """open(2) of a file that may be made or cut by it, and has this mode then whatever the umask: a descriptor. O_CREAT,
    O_CLOEXEC and O_NOFOLLOW are always set."""
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
    """Make ``data`` the content of a file: written over the old, and what is longer cut after that, so that no reader finds it
    empty."""
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
    """Make ``data`` the content of a file that only its owner reads, whole or not at all, whenever the power goes: written beside
    it, synced, put in its place, and that synced. What was begun is removed where it fails."""
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
    """Write to a file of the kernel's, below /proc: one write(2). ``proc`` is another instance of procfs (:func:`own_proc`)."""
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


def send(socket: Sender, data: bytes) -> None:
    """send(2) of netlink messages that change something."""
    _pass("send", data)
    socket.send(data)
