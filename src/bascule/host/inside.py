"""What one namespace has, dumped at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from bascule.host import namespaces
from bascule.host.netlink import Netlink
from bascule.kernel.look import Space
from bascule.kernel.nouns import NOUNS
from bascule.kernel.op import Indexes
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import AF_UNSPEC
from bascule.wire.message import Request

_LINKS = Request(
    rt.GETLINK,
    0,
    rt.IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0)
    + rt.LINK.encode({"ext_mask": rt.RTEXT_FILTER_SKIP_STATS}),
)
_ADDRESSES = Request(rt.GETADDR, 0, rt.IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0))
_OTHERS = [dump for noun in NOUNS for dump in noun.dumps]
_ROUTES = Request(rt.GETROUTE, 0, rt.RTMSG.pack(AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0))


def interfaces(paths: Iterable[str]) -> Iterator[int]:
    """The indexes of all interfaces of the namespace that the thread is in, and of those at these
    paths."""
    with namespaces.coming_back():
        yield from _interfaces_here()
        for path in paths:
            if _enter(path):
                yield from _interfaces_here()


def _enter(path: str) -> bool:
    """Put the thread into the namespace at this path; False where there is none."""
    descriptor = namespaces.open_source(path)
    if descriptor is None:
        return False
    try:
        return namespaces.enter(descriptor)
    finally:
        os.close(descriptor)


# what modules put into each new namespace, beside lo (net.core.fb_tunnels_only_for_init_net)
_FROM_THE_START = frozenset(
    (
        "lo",
        "tunl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "sit0",
        "ip6tnl0",
        "ip6gre0",
    )
)


def made_at(path: str) -> list[int]:
    """The indexes of all interfaces of the namespace at this path that somebody has made; none
    where there is no namespace."""
    with namespaces.coming_back():
        if not _enter(path):
            return []
        with Netlink() as socket:
            links = map(rows.decode_end, socket.dump(_LINKS))
            return [link.ifindex for link in links if link.name not in _FROM_THE_START]


def of_labs() -> list[rows.Link]:
    """The interfaces of all labs in the namespace that the thread is in, by their indexes."""
    with Netlink() as socket:
        links = map(rows.decode_link, socket.dump(_LINKS))
        return [link for link in links if link.ifindex in Indexes.ALL]


def _interfaces_here() -> list[int]:
    with Netlink() as socket:
        return [rows.link_index(reply) for reply in socket.dump(_LINKS)]


def links() -> list[rows.Link]:
    """All links of the namespace that the thread is in."""
    with Netlink() as socket:
        return [rows.decode_link(reply) for reply in socket.dump(_LINKS)]


def addresses() -> frozenset[str]:
    """All addresses of the namespace that the thread is in."""
    with Netlink() as socket:
        return frozenset(rows.decode_address(reply).text for reply in socket.dump(_ADDRESSES))


def look(socket: Netlink) -> Space:
    """Dump it. Raises :class:`WireError`."""
    inside = Space()
    for reply in socket.dump(_LINKS):
        link = rows.decode_link(reply)
        inside.links[link.ifindex] = link
    inside.addresses = [rows.decode_address(reply) for reply in socket.dump(_ADDRESSES)]
    inside.routes = socket.dump(_ROUTES)
    for request, is_needed in _OTHERS:
        if is_needed(inside):
            inside.dumps[request.kind] = socket.dump(request)
    return inside
