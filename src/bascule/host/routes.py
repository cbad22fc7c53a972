"""What the world routes: to neighbours, which a lab's subnet must not clash with, and out, which an uplink must not cut off.

A full-tunnel VPN has no default route but several that are nearly as wide, 0.0.0.0/1 and 128.0.0.0/1, or puts its own into
another table that ip-rule(8) leads to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from bascule.host.netlink import Netlink
from bascule.wire import route as rt
from bascule.wire.attributes import unpack_from
from bascule.wire.inet import ADDRESS_BYTES, AF_INET, AF_INET6, unpack_prefix
from bascule.wire.message import Reply, Request

# What is wider is no network of anybody's: the largest that there are have this length, 10.0.0.0/8 and fd00::/8.
_WIDEST = 8
_FIELDS = rt.ROUTE.numbers("dst", "oif", "table", "multipath")
_RULE_FIELDS = rt.RULE.numbers("table", "l3mdev")


@dataclass(frozen=True, slots=True)
class Way:
    """A unicast route of the world: ``to``, and the indexes of the interfaces that it may lead through."""

    to: str
    length: int
    interfaces: tuple[int, ...]

    @property
    def leads_out(self) -> bool:
        """Whether it is a default route, or as wide as only one split in parts is."""
        return self.length < _WIDEST


def tables(socket: Netlink) -> set[int] | None:
    """The routing tables that rules lead to; None for all: a rule for VRFs names none."""
    found = set()
    for family in (AF_INET, AF_INET6):
        for reply in socket.dump(Request(rt.GETRULE, 0, rt.RULE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0))):
            values = rt.RULE.decode_only(reply.body, rt.RULE_HEADER.size, _RULE_FIELDS)
            if "l3mdev" in values:
                return None
            found.add(values.get("table", unpack_from(rt.RULE_HEADER, reply.body)[4]))
    return found


def ways(replies: Iterable[Reply], used: Collection[int] | None) -> Iterator[Way]:
    """The routes in the tables that are ``used``, but for the kernel's own of what is local."""
    for reply in replies:
        family, length, _, _, table, _protocol, _scope, kind, _flags = unpack_from(rt.RTMSG, reply.body)
        if kind != rt.RTN_UNICAST or family not in ADDRESS_BYTES:
            continue
        found = rt.ROUTE.decode_only(reply.body, rt.RTMSG.size, _FIELDS)
        table = found.get("table", table)
        if table == rt.RT_TABLE_LOCAL or (used is not None and table not in used):
            continue
        to = unpack_prefix(family, found.get("dst", bytes(ADDRESS_BYTES[family])), length)
        interfaces = (found["oif"],) if "oif" in found else tuple(rt.next_hops(found.get("multipath", b"")))
        yield Way(f"{to}/{length}", length, interfaces)
