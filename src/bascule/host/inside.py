"""What one namespace has, dumped at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bascule.host.netlink import Netlink
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import ADDRESS_BYTES, AF_UNSPEC
from bascule.wire.message import Reply, Request

_LINKS = Request(
    rt.GETLINK,
    0,
    rt.IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
    + rt.LINK.encode({"ext_mask": rt.RTEXT_FILTER_SKIP_STATS}),
)
_ADDRESSES = Request(rt.GETADDR, 0, rt.IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0))
_ROUTES = Request(rt.GETROUTE, 0, rt.RTMSG.pack(AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0))


@dataclass(slots=True)
class Inside:
    """What one namespace has. ``tables`` are those for routes that rules lead to, None for all."""

    links: dict[int, rows.Link] = field(default_factory=dict)
    addresses: list[rows.Address] = field(default_factory=list)
    routes: list[Reply] = field(default_factory=list)
    tables: set[int] | None = None


def interfaces() -> list[int]:
    """The indexes of all interfaces of the namespace that the thread is in."""
    with Netlink() as socket:
        return [rows.link_index(reply) for reply in socket.dump(_LINKS)]


def addresses() -> frozenset[str]:
    """All addresses of the namespace that the thread is in."""
    with Netlink() as socket:
        return frozenset(rows.decode_address(reply).text for reply in socket.dump(_ADDRESSES))


def look(socket: Netlink, whole: bool = False) -> Inside:
    """Dump it. ``whole``: with what links are and whose ports. Raises :class:`WireError`."""
    inside = Inside()
    decode = rows.decode_link if whole else rows.decode_end
    for reply in socket.dump(_LINKS):
        link = decode(reply)
        inside.links[link.ifindex] = link
    inside.addresses = [rows.decode_address(reply) for reply in socket.dump(_ADDRESSES)]
    inside.routes = socket.dump(_ROUTES)
    return inside


def main_routes(inside: Inside) -> Iterator[rows.Route]:
    """Unicast routes of the main table. Other families (MPLS, Phonet) have such routes too."""
    for reply in inside.routes:
        head = rows.route_head(reply)
        main = head.kind == rt.RTN_UNICAST and head.table == rt.RT_TABLE_MAIN
        if main and head.family in ADDRESS_BYTES:
            yield rows.decode_route(reply, head)
