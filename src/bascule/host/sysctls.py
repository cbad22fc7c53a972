"""Kernel settings: files below /proc/sys, of which each process sees those of its own network
namespace.

Those below ``net`` have the same names in all namespaces, and the kernel looks for them in one list
of all that anybody has looked at (proc_sys_compare, fs/proc/proc_sysctl.c): who is the first to
look in a namespace pays for the others, 50 µs where there are 200, 290 with 1,000. An instance of
procfs of one's own (fsmount(2), Linux 5.2) begins with an empty list. So a run has one, and a new
one after some namespaces; where it is refused, there is still /proc.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from bascule import syscalls
from bascule.kernel.op import Settings, WriteSysctl

_NAMESPACES = 32  # for one instance: it takes half a millisecond to end it


def sysctl_path(key: str) -> str:
    """The file below /proc/sys. With a slash in it, dots are part of names, as in sysctl(8)."""
    return f"/proc/sys/{key}" if "/" in key else "/proc/sys/" + key.replace(".", "/")


def read_sysctl(key: str) -> str:
    """The value for the thread's own namespace, white space made single."""
    with open(sysctl_path(key)) as file:
        return " ".join(file.read().split())


def settle(writes: Sequence[WriteSysctl]) -> Iterator[tuple[str, str]]:
    """Write what is not so already, and tell what was there. Raises OSError with the command as its
    file."""
    for each in writes:
        try:
            before = read_sysctl(each.key)
            if before != each.value:
                syscalls.put(sysctl_path(each.key), each.value)
            yield each.key, before
        except OSError as error:
            if not (each.gone and error.errno == errno.ENOENT):
                raise OSError(
                    error.errno, error.strerror, f"sysctl -w {each.key}={each.value}"
                ) from error


class NodeSettings:
    """Writes settings of namespaces, always of the one that the thread is in."""

    def __init__(self) -> None:
        self._proc: int | None = None
        self._met = 0

    def close(self) -> None:
        """End our instance of procfs. What comes then has another one."""
        if self._proc is not None:
            os.close(self._proc)
            self._proc = None

    def enter(self) -> None:
        """The thread has come to another namespace."""
        self._met += 1
        if self._met % _NAMESPACES == 0:
            self.close()

    def write(self, key: str, value: str) -> None:
        """Raises OSError."""
        if self._proc is None:
            self._proc = _own_proc()
        syscalls.put(sysctl_path(key), value, self._proc)

    def give(self, settings: Settings) -> None:
        """Set them in a new namespace, where there are such settings: a kernel may lack IPv6.
        Raises OSError with the command as its file."""
        for key, value in settings:
            try:
                self.write(key, value)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise OSError(
                        error.errno, error.strerror, f"sysctl -w {key}={value}"
                    ) from error


def _own_proc() -> int:
    """A descriptor of an instance of our own, or else of the one that everybody has."""
    try:
        return syscalls.own_proc()
    except OSError:  # an old kernel, or a container that forbids it
        return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
