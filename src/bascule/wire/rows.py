"""What rtnetlink tells of links, addresses, routes and rules, as typed values: nobody else unpacks
its bytes (rtnetlink(7)).

A head is what each message begins with; most messages are told by it alone whether they matter.
Each function raises :class:`bascule.wire.attributes.WireError` for what is torn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bascule.wire import route as rt
from bascule.wire.attributes import unpack_from
from bascule.wire.inet import ADDRESS_BYTES, AF_INET6, unpack_address, unpack_mac, unpack_prefix
from bascule.wire.message import Reply

_LINK = rt.LINK.numbers(
    "ifname", "mtu", "address", "link", "qdisc", "master", "linkinfo", "link_netnsid"
)
_END = rt.LINK.numbers("ifname", "mtu", "address", "link", "qdisc")
_ADDRESS = rt.ADDRESS.numbers("address", "local", "flags")
_ROUTE = rt.ROUTE.numbers("dst", "oif", "gateway", "priority", "multipath", "table")
_RULE = rt.RULE.numbers("table", "l3mdev")


class LinkHead(NamedTuple):
    """``struct ifinfomsg``"""

    family: int
    kind: int
    ifindex: int
    flags: int
    change: int


class Link(NamedTuple):
    """An interface. ``peer`` is the index of the other end (IFLA_LINK), ``qdisc`` the kind of its
    root qdisc, ``master`` the index of what it is a port of; ``data`` are the attributes of its
    ``kind``, ``port`` those that its master gives it, which is of the kind ``port_of``. ``type`` is
    what it carries (ARPHRD_*). The other end may be ``elsewhere``, in another namespace."""

    ifindex: int
    flags: int
    name: str
    mtu: int
    mac: str
    peer: int
    qdisc: str = ""
    master: int = 0
    kind: str = ""
    data: bytes = b""
    port_of: str = ""
    port: bytes = b""
    type: int = rt.ARPHRD_ETHER
    elsewhere: bool = False

    @property
    def up(self) -> bool:
        return bool(self.flags & rt.IFF_UP)


class AddressHead(NamedTuple):
    """``struct ifaddrmsg``"""

    family: int
    prefix: int
    flags: int
    scope: int
    ifindex: int


class Address(NamedTuple):
    """An address of the interface ``ifindex``; ``packed`` in network order, empty where there is
    none of a family that we know."""

    family: int
    prefix: int
    scope: int
    ifindex: int
    packed: bytes
    permanent: bool

    @property
    def text(self) -> str:
        """As a person writes it; empty where there is none."""
        return unpack_address(self.packed) if self.packed else ""

    @property
    def is_link_local(self) -> bool:
        """Whether the kernel made it for the link."""
        return self.family == AF_INET6 and self.scope == rt.RT_SCOPE_LINK


class RouteHead(NamedTuple):
    """``struct rtmsg``"""

    family: int
    length: int
    source_length: int
    tos: int
    table: int
    protocol: int
    scope: int
    kind: int
    flags: int


class Route(NamedTuple):
    """A route: to ``dst``/``length``, by one interface or several. ``via`` is empty for what is on
    the link, ``protocol`` says who made it."""

    family: int
    dst: bytes
    length: int
    table: int
    protocol: int
    kind: int
    oif: int
    via: str
    priority: int
    multipath: bytes

    @property
    def to(self) -> str:
        """The destination as a prefix."""
        return f"{unpack_prefix(self.family, self.dst, self.length)}/{self.length}"

    @property
    def interfaces(self) -> tuple[int, ...]:
        """The indexes of all interfaces that it leads to."""
        return (self.oif,) if self.oif else tuple(hop.ifindex for hop in self.hops)

    @property
    def hops(self) -> tuple[rt.NextHop, ...]:
        """Of a route with several."""
        return tuple(rt.next_hops(self.multipath))


def link_index(reply: Reply) -> int:
    """The index alone."""
    return LinkHead(*unpack_from(rt.IFINFO, reply.body)).ifindex


def decode_link(reply: Reply) -> Link:
    """A link with all that we know."""
    head = LinkHead(*unpack_from(rt.IFINFO, reply.body))
    found = rt.LINK.decode_only(reply.body, rt.IFINFO.size, _LINK)
    info = found.get("linkinfo", {})
    return Link(
        *_common(head, found),
        found.get("master", 0),
        info.get("kind", ""),
        info.get("data", b""),
        info.get("slave_kind", ""),
        info.get("slave_data", b""),
        head.kind,
        "link_netnsid" in found,
    )


def decode_end(reply: Reply) -> Link:
    """A link without what it is and whose port: half as much to read."""
    head = LinkHead(*unpack_from(rt.IFINFO, reply.body))
    return Link(*_common(head, rt.LINK.decode_only(reply.body, rt.IFINFO.size, _END)))


def _common(head: LinkHead, found: dict[str, Any]) -> tuple[int, int, str, int, str, int, str]:
    name, mtu = found.get("ifname", ""), found.get("mtu", 0)
    mac = unpack_mac(found.get("address", b""))
    ends = found.get("link", 0), found.get("qdisc", "")
    return head.ifindex, head.flags, name, mtu, mac, *ends


def decode_address(reply: Reply) -> Address:
    """An address; of a pair of ends the near one (IFA_LOCAL)."""
    head = AddressHead(*unpack_from(rt.IFADDR, reply.body))
    found = rt.ADDRESS.decode_only(reply.body, rt.IFADDR.size, _ADDRESS)
    packed = found.get("local") or found.get("address", b"")
    permanent = bool(found.get("flags", 0) & rt.IFA_F_PERMANENT)
    known = packed if head.family in ADDRESS_BYTES else b""
    if head.family in ADDRESS_BYTES:
        unpack_prefix(head.family, known, head.prefix)
    return Address(head.family, head.prefix, head.scope, head.ifindex, known, permanent)


def route_head(reply: Reply) -> RouteHead:
    """What a route's message begins with."""
    return RouteHead(*unpack_from(rt.RTMSG, reply.body))


def decode_route(reply: Reply, head: RouteHead) -> Route:
    """A route of a family that we know (ADDRESS_BYTES)."""
    found = rt.ROUTE.decode_only(reply.body, rt.RTMSG.size, _ROUTE)
    return Route(
        head.family,
        found.get("dst", bytes(ADDRESS_BYTES[head.family])),
        head.length,
        found.get("table", head.table),
        head.protocol,
        head.kind,
        found.get("oif", 0),
        unpack_address(found["gateway"]) if "gateway" in found else "",
        found.get("priority", 0),
        found.get("multipath", b""),
    )


def rule_table(reply: Reply) -> int | None:
    """The table that a rule leads to; None for one of VRFs, which names none."""
    values = rt.RULE.decode_only(reply.body, rt.RULE_HEADER.size, _RULE)
    if "l3mdev" in values:
        return None
    table: int = values.get("table", unpack_from(rt.RULE_HEADER, reply.body)[4])
    return table
