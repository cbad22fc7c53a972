"""The system calls that Python 3.11 has no names for: unshare(2), setns(2), mount(2), umount2(2), prctl(2).

Each raises OSError with the call's errno.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x1000, 0x4000, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

_CLONE_PARENT = 0x00008000
_SYS_CLONE3 = 435  # the same number on every architecture

_libc = ctypes.CDLL(None, use_errno=True)
_holding_the_gil = ctypes.PyDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, subject: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces."""
    _check(_libc.unshare(flags))


def setns(fd: int, flags: int) -> None:
    """Put the calling thread into the namespaces of ``fd``: an nsfs file, or a pidfd with several flags (Linux 5.8)."""
    _check(_libc.setns(fd, flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)"""
    _check(_libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, data.encode()), target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)"""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def sethostname(name: str) -> None:
    """sethostname(2)"""
    data = name.encode()
    _check(_libc.sethostname(data, len(data)))


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process ``signal`` when its parent ends (PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0))


def no_new_privileges() -> None:
    """From here on execve(2) grants nothing that the caller does not have (PR_SET_NO_NEW_PRIVS)."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


class _CloneArguments(ctypes.Structure):
    """struct clone_args, first version (clone(2), linux/sched.h)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    ]


def fork_sibling() -> int:
    """Like fork(2), but the new process is a child of the caller's parent (CLONE_PARENT, Linux 5.3)."""
    arguments = _CloneArguments(flags=_CLONE_PARENT)
    pid = int(_holding_the_gil.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid
