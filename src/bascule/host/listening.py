"""Which ports of this network namespace somebody listens on (/proc/net/tcp and its like,
proc_pid_net(5))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from bascule.host import lasting
from bascule.topology.model import IPAddress, Port

# TCP_LISTEN and TCP_CLOSE, net/tcp_states.h; a UDP socket without a peer is in the latter
_LISTEN, _UNCONNECTED = "0A", "07"
_FILES = (
    ("tcp", "tcp", _LISTEN),
    ("tcp6", "tcp", _LISTEN),
    ("udp", "udp", _UNCONNECTED),
    ("udp6", "udp", _UNCONNECTED),
)


def listening() -> list[Port]:
    """A port for each socket that takes what comes to it. ``target`` is 0."""
    return list(dict.fromkeys(port for port, _inode in sockets()))


def sockets() -> Iterator[tuple[Port, int]]:
    """The same, each with the inode of its socket."""
    for file, protocol, state in _FILES:
        try:
            with open(f"/proc/thread-self/net/{file}") as opened:
                next(opened)
                rows = [line.split(None, 10) for line in opened]
        except (OSError, StopIteration):
            continue  # a kernel without IPv6
        for row in rows:
            if row[3] == state:
                yield from ((port, int(row[9])) for port in _ports(protocol, row[1]))


def held() -> set[int]:
    """The inodes of the sockets that processes have which can be told of by a number of ours."""
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        with suppress(OSError, LookupError):
            if entry.isdigit() and lasting.number(entry):
                found.update(_held_by(f"/proc/{entry}/fd"))
    return found


def _held_by(folder: str) -> Iterator[int]:
    for name in os.listdir(folder):
        with suppress(OSError):
            kind, _, inode = os.readlink(f"{folder}/{name}").partition(":[")
            if kind == "socket":
                yield int(inode.rstrip("]"))


def _ports(protocol: str, place: str) -> Iterator[Port]:
    address, _, number = place.partition(":")
    host = _address(address)
    yield Port(protocol, 0, int(number, 16), host=host)
    # unless it says otherwise, which is not told here, it has the IPv4 port too
    if host == IPv6Address("::"):
        yield Port(protocol, 0, int(number, 16), host=IPv4Address("0.0.0.0"))  # noqa: S104 (nothing is bound)


def _address(text: str) -> IPAddress:
    """Words of 32 bits in the machine's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = b"".join(socket.htonl(word).to_bytes(4, "big") for word in words)
    found = ip_address(packed)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
