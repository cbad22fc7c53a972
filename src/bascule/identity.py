"""What tells this place from others: the boot, the network namespace, and who holds a lock. Reads
only."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import NamedTuple

_OWN = "/proc/thread-self/ns/net"
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_INIT_INODE = 0xEFFFFFF9  # NET_NS_INIT_INO, linux/nsfs.h: the same in every boot since Linux 6.18
_PF_KTHREAD = 0x00200000  # linux/sched.h
# Not there, or not told to everybody (hidepid, proc(5)). Any other error tells nothing of the
# place, and what is known by half of it would be taken for somebody else's.
_UNTOLD = (FileNotFoundError, PermissionError, ProcessLookupError)


class Netns(NamedTuple):
    """A network namespace: device and inode of its file in /proc (namespaces(7)), and the number
    that no other one gets until the next boot, as inodes do; 0 where the kernel has none
    (SO_NETNS_COOKIE, Linux 5.14)."""

    device: int
    inode: int
    cookie: int = 0

    def is_same(self, other: Netns) -> bool:
        """Whether both are one namespace."""
        return self[:2] == other[:2] and self.cookie in (0, other.cookie or self.cookie)

    def __str__(self) -> str:
        return f"net:[{self.inode}]"


def netns() -> Netns:
    """The network namespace that the calling thread is in."""
    import socket

    there = os.stat(_OWN)
    cookie = 0
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        (cookie,) = struct.unpack("=Q", opened.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))
    return Netns(there.st_dev, there.st_ino, cookie)


def is_machines_own(place: tuple[int, int]) -> bool:
    """Whether the network namespace with this device and inode is the machine's own, and none that
    only plays a host: that of process 1, be it a container's. Where that may not be looked at, the
    kernel's own threads tell, which are in the first one."""
    for path in ("/proc/1/ns/net", *(("/proc/2/ns/net",) if _is_kernel_thread("2") else ())):
        with suppress(OSError):
            there = os.stat(path)
            return (there.st_dev, there.st_ino) == place
    return place[1] == _INIT_INODE


def _is_kernel_thread(pid: str) -> bool:
    """By its flags (proc_pid_stat(5), field 9): in a container's PID namespace the number may be
    anybody's."""
    with suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as file:
        return bool(int(file.read().rpartition(")")[2].split()[6]) & _PF_KTHREAD)
    return False


def boot() -> str:
    """The kernel's random number for this boot (random(4)); empty where it does not tell. Raises
    OSError."""
    with suppress(*_UNTOLD), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def numbering() -> str:
    """In which PID namespace the numbers of this process are numbers (pid_namespaces(7)): elsewhere
    they are other processes'."""
    return os.readlink("/proc/self/ns/pid")


def place() -> str:
    """Where files in /run are and for how long, in three words: the boot, the first process that is
    to be seen (its PID namespace and when it began, so that a container that was started anew is
    another place), and the file system of /run itself. Raises OSError."""
    run, began = "-", "-"
    with suppress(*_UNTOLD):
        there = os.stat("/run")
        run = f"{there.st_dev}:{there.st_ino}"
    with suppress(*_UNTOLD), open("/proc/1/stat", errors="replace") as file:
        began = file.read().rpartition(")")[2].split()[19]
    space = os.stat("/proc/self/ns/pid").st_ino
    return f"{boot() or '-'} {space}:{began} {run}"


def holder(device: int, inode: int) -> str:
    """Who holds the flock(2) of this file, in words; empty where nobody does that is to be seen."""
    pid = holding(device, inode)
    return "" if pid is None else _described(pid)


def holding(device: int, inode: int) -> int | None:
    """The process that holds the flock(2) of this file (/proc/locks, proc(5)): 0 for one of another
    PID namespace, None where nobody does that is to be seen."""
    place = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    with suppress(OSError), open("/proc/locks") as file:
        for row in map(str.split, file):
            if row[1] == "FLOCK" and place in row:
                return int(row[4])
    return None


def ancestry() -> set[int]:
    """This process, and those that it comes from."""
    found, pid = {os.getpid()}, os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = parent(pid)
    return found


def parent(pid: int) -> int:
    """The process that this one comes from (proc_pid_stat(5), field 4); 0 where there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def _described(pid: int) -> str:
    """The process, as a person would find it; one of another PID namespace has no number here
    (proc(5) shows 0)."""
    if pid <= 0:
        return "a process elsewhere"
    # cut after 15 bytes, be it in a character
    with suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:
        return f"{file.read().strip()} (process {pid})"
    return f"process {pid}"
