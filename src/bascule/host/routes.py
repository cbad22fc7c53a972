"""What the world routes: to neighbours, which a lab's subnet must not clash with, and out, which an
uplink must not cut off.

A full-tunnel VPN has no default route but several that are nearly as wide, 0.0.0.0/1 and
128.0.0.0/1, or puts its own into another table that ip-rule(8) leads to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from bascule.host.netlink import Netlink
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import ADDRESS_BYTES, AF_INET, AF_INET6
from bascule.wire.message import Reply, Request

# What is wider is no network of anybody's: the largest that there are have this length, 10.0.0.0/8
# and fd00::/8.
_WIDEST = 8


@dataclass(frozen=True, slots=True)
class Way:
    """A unicast route of the world: ``to``, and the indexes of the interfaces that it may lead
    through."""

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
        for reply in socket.dump(
            Request(rt.GETRULE, 0, rt.RULE_HEADER.pack(family, 0, 0, 0, 0, 0, 0))
        ):
            table = rows.rule_table(reply)
            if table is None:
                return None
            found.add(table)
    return found


def ways(replies: Iterable[Reply], used: Collection[int] | None) -> Iterator[Way]:
    """The routes in the tables that are ``used``, but for the kernel's own of what is local."""
    for reply in replies:
        head = rows.route_head(reply)
        if head.kind != rt.RTN_UNICAST or head.family not in ADDRESS_BYTES:
            continue
        found = rows.decode_route(reply, head)
        if found.table == rt.RT_TABLE_LOCAL or (used is not None and found.table not in used):
            continue
        yield Way(found.to, found.length, found.interfaces)
