"""What tells this place from others: the boot, the network namespace, and who holds a lock. Reads only."""

from __future__ import annotations

import os
from contextlib import suppress


def boot() -> str:
    """The kernel's random number for this boot (random(4)); empty where it does not tell."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def holder(device: int, inode: int) -> str:
    """Who holds the flock(2) of this file, in words (/proc/locks, proc(5)); empty where nobody does that is to be seen."""
    place = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    with suppress(OSError), open("/proc/locks") as file:
        for row in map(str.split, file):
            if row[1] == "FLOCK" and place in row:
                return _described(int(row[4]))
    return ""


def _described(pid: int) -> str:
    """The process, as a person would find it; one of another PID namespace has no number here (proc(5) shows 0)."""
    if pid <= 0:
        return "a process elsewhere"
    with suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:  # cut after 15 bytes, be it in a character
        return f"{file.read().strip()} (process {pid})"
    return f"process {pid}"
