"""What the way out of a private world (pasta, passt(1)) needs of the machine."""

from __future__ import annotations

import os
from contextlib import suppress

from bascule.host import process
from bascule.kernel.program import PASTA

_TUN = "/dev/net/tun"


def why_not() -> str:
    """What keeps a private world from having a way out; empty where nothing does."""
    if process.path_of(PASTA) is None:
        return "pasta is not installed; install the package passt"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} can't be opened; load the module tun, or ask for the right to use it"
    if not (has_default_route(4) or has_default_route(6)):
        return "the machine itself has no default route"
    return ""


def has_default_route(version: int) -> bool:
    """By IPv4 or IPv6 (proc_pid_net(5)); pasta takes addresses and routes from the interface that
    it leads through, and leaves alone a family that has none."""
    if version == 4:
        with suppress(OSError), open("/proc/thread-self/net/route") as file:
            return any(line.split("\t")[1:2] == ["00000000"] for line in file)
        return False
    with suppress(OSError), open("/proc/thread-self/net/ipv6_route") as file:
        rows = [line.split() for line in file]
        return any(row[0] == "0" * 32 and row[1] == "00" and row[-1] != "lo" for row in rows)
    return False


def least_port() -> int:
    """The first port that a process without privileges may listen on (ip-sysctl.rst)."""
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024
