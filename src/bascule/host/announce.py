"""Tell neighbours that an address has another MAC now, so that a rebuilt node is reached at once
and not after their minute."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from bascule.host import namespaces
from bascule.wire.announcement import gratuitous_arp, unsolicited_advertisement

_ALL_NODES = "ff02::1"
_HOPS = 255  # what a neighbour believes: it has not been forwarded (RFC 4861 section 7.1.2)


class Announcement(NamedTuple):
    """``address`` is on ``interface`` in ``node`` (empty: the world), which has this MAC."""

    node: str
    interface: str
    mac: str
    address: str


def announce(rows: Iterable[Announcement]) -> None:
    """Say each. Nothing depends on it: what can't be sent, because an interface is down or a node
    has just gone, is left."""
    with namespaces.coming_back() as home:
        for row in rows:
            with suppress(OSError):
                _enter(row.node, home)
                _send(row)


def _enter(node: str, home: int) -> None:
    descriptor = namespaces.enter_pin(node) if node else None
    if descriptor is not None:
        os.close(descriptor)
    elif node:
        raise FileNotFoundError(node)
    else:
        namespaces.enter(home)


def _send(row: Announcement) -> None:
    found = ip_address(row.address)
    if isinstance(found, IPv4Address):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
            packets.bind((row.interface, 0))
            packets.send(gratuitous_arp(row.mac, found))
    elif isinstance(found, IPv6Address):
        index = socket.if_nametoindex(row.interface)
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as messages:
            messages.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
            messages.bind((row.address, 0, 0, index))
            messages.sendto(unsolicited_advertisement(row.mac, found), (_ALL_NODES, 0, 0, index))
