"""Run by a command in a node of a private world: tries to see, trace and end what is outside, and
prints what worked as JSON.

It is read as text and handed over with ``python3 -c``: the node need not see the checkout.
Arguments: a path that is there on the machine and not in the world.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

SECRET = sys.argv[1]
NEWNS, NEWUSER, NEWNET, NEWCGROUP = 0x20000, 0x10000000, 0x40000000, 0x02000000
BIND, MOVE, REC, PRIVATE, DETACH = 0x1000, 0x2000, 0x4000, 1 << 18, 2
SEIZE, ATTACH, PIDFD_GETFD, OPEN_TREE, PIVOT_ROOT = 0x4206, 16, 438, 428, 155
FOLDERS = tempfile.tempdir = tempfile.mkdtemp()  # where the attempts make theirs
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> bool:
    return libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) == 0


def umount(target: str) -> bool:
    return libc.umount2(target.encode(), DETACH) == 0


def is_seen(below: str = "") -> bool:
    return os.path.exists(below + SECRET)


def in_child(action: Callable[[], bool]) -> bool:
    """Each attempt in a process and mount namespace of its own: what one does is not in the next
    one's way."""
    child = os.fork()
    if child == 0:
        worked = False
        try:
            libc.unshare(NEWNS)
            libc.mount(b"none", b"/", b"none", REC | PRIVATE, None)
            worked = action()
        except OSError:
            pass
        finally:
            os._exit(1 if worked else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def by_umount() -> bool:
    for place in ("/run", "/proc", "/sys", "/tmp", "/"):
        for _layer in range(4):
            umount(place)
    return is_seen()


def by_umount_in_a_user_namespace() -> bool:
    libc.unshare(NEWUSER | NEWNS)
    return by_umount()


def by_bind() -> bool:
    place = tempfile.mkdtemp()
    mount("/", place, "none", BIND)
    return is_seen(place)


def by_recursive_bind() -> bool:
    place = tempfile.mkdtemp()
    mount("/", place, "none", BIND | REC)
    for _layer in range(4):
        umount(f"{place}/run")
    return is_seen(place)


def by_move() -> bool:
    mount("/run", tempfile.mkdtemp(), "none", MOVE)
    return is_seen()


def by_open_tree() -> bool:
    tree = libc.syscall(OPEN_TREE, -100, b"/", 1)
    return tree >= 0 and is_seen(f"/proc/self/fd/{tree}")


def by_overlay() -> bool:
    place = tempfile.mkdtemp()
    mount("overlay", place, "overlay", 0, f"lowerdir=/:{tempfile.mkdtemp()}")
    return is_seen(place)


def by_pivot() -> bool:
    place = tempfile.mkdtemp()
    mount("tmpfs", place, "tmpfs", 0)
    os.mkdir(f"{place}/old")
    if libc.syscall(PIVOT_ROOT, place.encode(), f"{place}/old".encode()) != 0:
        return False
    for _layer in range(4):
        umount("/old/run")
    return is_seen("/old")


def pids() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def by_proc() -> bool:
    places = [f"/proc/{pid}/{way}" for pid in pids() for way in ("root", "cwd")]
    return any(is_seen(place) for place in places)


def by_namespaces_of_process_1() -> bool:
    for kind in ("user", "mnt", "pid", "net"):
        try:
            descriptor = os.open(f"/proc/1/ns/{kind}", os.O_RDONLY)
        except OSError:
            continue
        if libc.setns(descriptor, 0) == 0:
            return True
    return False


def by_descriptors() -> bool:
    for pid in pids():
        if pid == os.getppid():
            continue
        try:
            process = os.pidfd_open(pid)
        except OSError:
            continue
        if any(libc.syscall(PIDFD_GETFD, process, number, 0) >= 0 for number in range(64)):
            return True
    return False


def by_ptrace() -> bool:
    return libc.ptrace(SEIZE, 1, None, None) == 0 or libc.ptrace(ATTACH, 1, None, None) == 0


def by_signals() -> bool:
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGHUP):
        os.kill(1, number)
    with open("/proc/1/stat") as file:
        return file.read().split()[2] in "TtZX"


def by_control_groups() -> bool:
    """A control group namespace of its own would let it mount, and end, the group that its caller
    is in."""
    place = tempfile.mkdtemp()
    libc.unshare(NEWCGROUP)
    return mount("cgroup2", place, "cgroup2", 0) or os.path.exists("/sys/fs/cgroup/cgroup.procs")


def by_network() -> bool:
    """Move our own interface to where the bridges are."""
    link = next(name for name in os.listdir("/sys/class/net") if name.startswith("veth"))
    return (
        subprocess.run(
            ["ip", "link", "set", link, "netns", "1"], capture_output=True, check=False
        ).returncode
        == 0
    )


ATTEMPTS = (
    by_umount,
    by_umount_in_a_user_namespace,
    by_bind,
    by_recursive_bind,
    by_move,
    by_open_tree,
    by_overlay,
    by_pivot,
    by_proc,
    by_namespaces_of_process_1,
    by_descriptors,
    by_ptrace,
    by_signals,
    by_control_groups,
    by_network,
)
worked = [attempt.__name__ for attempt in ATTEMPTS if in_child(attempt)]
made = os.listdir(FOLDERS)
commands = []
for each in (*(os.path.join(FOLDERS, name) for name in made), FOLDERS):
    with suppress(OSError):  # nothing is looked into: it may be a way to all files
        os.rmdir(each)
for each in pids():
    try:
        with open(f"/proc/{each}/cmdline") as opened:
            commands.append(opened.read().rstrip("\0").split("\0")[0])
    except OSError:  # it has just ended
        continue
print(
    json.dumps(
        {
            "worked": worked,
            "folders": len(made),
            "processes": commands,
        }
    )
)
