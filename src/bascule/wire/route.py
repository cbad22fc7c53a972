"""The rtnetlink family: links, addresses, routes, neighbours (rtnetlink(7)).

Numbers are from linux/if_link.h, if_addr.h, rtnetlink.h and neighbour.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bascule.wire.attributes import (
    Table,
    WireError,
    i32,
    nest,
    raw,
    text,
    u8,
    u16,
    u32,
    unpack_from,
)

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH = 28, 29
GETRULE = 34

# struct ifinfomsg { unsigned char family, pad; unsigned short type; int index; unsigned flags,
# change; }
IFINFO = struct.Struct("=BxHiII")
# struct ifaddrmsg { __u8 family, prefixlen, flags, scope; __u32 index; }
IFADDR = struct.Struct("=BBBBI")
# struct rtmsg { unsigned char family, dst_len, src_len, tos, table, protocol, scope, type; unsigned
# flags; }
RTMSG = struct.Struct("=BBBBBBBBI")
# struct fib_rule_hdr { __u8 family, dst_len, src_len, tos, table, res1, res2, action; __u32 flags;
# } (linux/fib_rules.h)
RULE_HEADER = struct.Struct("=BBBBBxxBI")
# struct rtnexthop { unsigned short rtnh_len; unsigned char flags, hops; int ifindex; }, followed by
# attributes of its own
_NEXT_HOP = struct.Struct("=HBBi")
# struct ndmsg { __u8 family, pad1; __u16 pad2; __s32 ifindex; __u16 state; __u8 flags, type; }
NDMSG = struct.Struct("=BxxxiHBB")


IFF_UP, IFF_PROMISC = 0x1, 0x100
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772  # linux/if_arp.h
IFA_F_NODAD, IFA_F_PERMANENT = 0x02, 0x80
RT_TABLE_LOCAL = 255
RT_TABLE_MAIN, RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC = 254, 2, 3, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST = 1, 2, 3, 4
RTEXT_FILTER_SKIP_STATS = 1 << 3

BRIDGE_INFO = Table(
    stp_state=(5, u32),
    ageing_time=(4, u32),
    vlan_filtering=(7, u8),
    topology_change=(14, u8),
    vlan_default_pvid=(39, u16),
)
MACVLAN_INFO = Table(mode=(1, u32))
MACVLAN_MODE_PRIVATE, MACVLAN_MODE_VEPA, MACVLAN_MODE_BRIDGE = 1, 2, 4
# VETH_INFO_PEER holds a whole ifinfomsg and its attributes, so it is encoded by the link's own
# function.
VETH_INFO = Table(peer=(1, raw))
LINK_INFO = Table(kind=(1, text), data=(2, raw), slave_kind=(4, text), slave_data=(5, raw))
BRIDGE_PORT = Table(hairpin=(4, u8), isolated=(33, u8))
LINK = Table(
    address=(1, raw),
    ifname=(3, text),
    mtu=(4, u32),
    link=(5, u32),
    qdisc=(6, text),
    master=(10, u32),
    linkinfo=(18, nest(LINK_INFO)),
    net_ns_fd=(28, u32),
    ext_mask=(29, u32),
    link_netnsid=(37, i32),
)
ADDRESS = Table(address=(1, raw), local=(2, raw), flags=(8, u32))
ROUTE = Table(
    dst=(1, raw),
    oif=(4, u32),
    gateway=(5, raw),
    priority=(6, u32),
    multipath=(9, raw),
    table=(15, u32),
)
RULE = Table(table=(15, u32), l3mdev=(19, u8))
NEIGHBOUR = Table(dst=(1, raw), lladdr=(2, raw))


class NextHop(NamedTuple):
    """One of a route's next hops (struct rtnexthop): its ``gateway`` as bytes, empty for what is on
    the link; of several, the ``weight`` of this one."""

    ifindex: int
    gateway: bytes = b""
    weight: int = 1


_GATEWAY = ROUTE.numbers("gateway")


def next_hops(data: bytes) -> Iterator[NextHop]:
    """Those of a route with several (RTA_MULTIPATH). Raises :class:`WireError`."""
    while data:
        size, _flags, more, index = unpack_from(_NEXT_HOP, data)
        if not _NEXT_HOP.size <= size <= len(data):
            raise WireError(f"a next hop of {size} bytes in {len(data)}")
        found = ROUTE.decode_only(data[:size], _NEXT_HOP.size, _GATEWAY)
        yield NextHop(index, found.get("gateway", b""), more + 1)
        data = data[(size + 3) & ~3 :]


def pack_next_hops(hops: Iterable[NextHop]) -> bytes:
    """The way back."""
    out = b""
    for hop in hops:
        gateway = ROUTE.encode({"gateway": hop.gateway}) if hop.gateway else b""
        out += (
            _NEXT_HOP.pack(_NEXT_HOP.size + len(gateway), 0, hop.weight - 1, hop.ifindex) + gateway
        )
    return out
