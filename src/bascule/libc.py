"""The C library, for calls that Python has no names for."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


holding_the_gil = ctypes.PyDLL(None, use_errno=True)


libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


libc.unshare.argtypes = (ctypes.c_int,)


libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)


libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)


libc.syscall.restype = ctypes.c_long


libc.prctl.argtypes = (
    ctypes.c_int,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_ulong,
)


def check(result: int, subject: str) -> int:
    """What a call gave. Raises OSError where it has failed, with what it was about."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
    return result


def syscall(number: int, *arguments: int | bytes) -> int:
    """A call that the C library may have no name for: syscall(2), each number in a register of its
    own."""
    return int(
        libc.syscall(
            number,
            *(each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments),
        )
    )
