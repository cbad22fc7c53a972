"""What the way out of a private world (pasta, passt(1)) needs of the machine."""

from __future__ import annotations

import os
from contextlib import suppress

from bascule.host import process, programs
from bascule.kernel.program import PASTA
from bascule.kernel.upstream import NAMES

_TUN = "/dev/net/tun"
_DOOR = 10053
_SECONDS = 5.0


def why_not() -> str:
    """What keeps a private world from having a way out; empty where nothing does."""
    if process.path_of(PASTA) is None:
        return "pasta is not installed; install the package passt"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} can't be opened; load the module tun, or ask for the right to use it"
    if not (has_default_route(4) or has_default_route(6)):
        return "the machine itself has no default route"
    return ""


def door() -> int:
    """The port of a private world's loopback that is to lead to the machine's name server. Since
    2026 passt listens there on all addresses, and the lab's own server could not have port 53 of
    its bridge's: another one then. Before 2024 passt answers UDP from the wrong port where the two
    differ; what it tells of itself is no version, but which options it has. Raises OSError."""
    found = process.path_of(PASTA)
    if found is not None:
        with suppress(TimeoutError):  # one that does not answer is told of where it is started
            told = programs.run([found, "--help"], "", _SECONDS)
            if "--map-host-loopback" in told.stdout + told.stderr:  # since 2024_08_21
                return _DOOR
    return NAMES


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
