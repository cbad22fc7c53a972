"""Flows, as the kernel's connection tracking knows them: ctnetlink
(linux/netfilter/nfnetlink_conntrack.h), and the text of /proc/net/nf_conntrack.

A flow has two tuples: the packets of its opener (*original*) and those that are answers (*reply*),
each as it looks before addresses are translated. Without translation one is the other turned round.
Where the destination was translated (DNAT), the reply comes from somebody else than was asked;
where the source was (SNAT), it goes to somebody else than asked.

A message that deletes is made of the original tuple as the kernel wrote it, whatever the protocol;
one without a tuple would delete all flows of the machine (ctnetlink_del_conntrack()), and there is
no way to make one here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from bascule.wire.attributes import Codec, Table, WireError, be16, be32, nest, raw, u8
from bascule.wire.inet import AF_INET, AF_INET6, unpack_address
from bascule.wire.message import DUMP, Reply, Request
from bascule.wire.netfilter import NFGEN

_NFNL_SUBSYS_CTNETLINK = 1
NEW, GET, DELETE = (_NFNL_SUBSYS_CTNETLINK << 8 | kind for kind in range(3))  # IPCTNL_MSG_CT_…

# Bits of the status (enum ip_conntrack_status, linux/netfilter/nf_conntrack_common.h): belongs to
# another flow, which told of it (FTP's data); both sides have been heard.
EXPECTED, ASSURED = 1 << 0, 1 << 2

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

_nested = Codec(bytes, bytes, nested=True)
_ADDRESSES = Table(src4=(1, raw), dst4=(2, raw), src6=(3, raw), dst6=(4, raw))
_NUMBERS = Table(
    protocol=(1, u8),
    sport=(2, be16),
    dport=(3, be16),
    icmp_id=(4, be16),
    icmp_type=(5, u8),
    icmp_code=(6, u8),
    icmpv6_id=(7, be16),
    icmpv6_type=(8, u8),
    icmpv6_code=(9, u8),
)
TUPLE = Table(addresses=(1, nest(_ADDRESSES)), numbers=(2, nest(_NUMBERS)), zone=(3, be16))
MASTER = struct.pack("=H", 0x8000 | 14)  # is somewhere in each message with a ``master``
FLOW = Table(
    original=(1, _nested),
    reply=(2, _nested),
    status=(3, be32),
    id=(12, be32),
    master=(14, _nested),
    zone=(18, be16),
)


class Tuple(NamedTuple):
    """Who sends to whom. Ports are 0 for protocols without; ``icmp`` is type, code and identifier
    of an echo."""

    src: str
    dst: str
    protocol: int
    sport: int = 0
    dport: int = 0
    icmp: tuple[int, int, int] | None = None


class Flow(NamedTuple):
    """One flow. ``handle`` is the original tuple as the kernel wrote it. ``zone`` is not 0 where
    some program keeps flows apart that look alike; ``master`` is the original tuple of the flow
    that told of this one."""

    original: Tuple
    reply: Tuple
    status: int = 0
    id: int = 0
    zone: int = 0
    master: Tuple | None = None
    handle: bytes = b""

    @property
    def version(self) -> int:
        """Of the Internet Protocol."""
        return 6 if ":" in self.original.src else 4


def list_flows() -> Request:
    """The dump request for all flows of both families."""
    return Request(GET, DUMP, NFGEN.pack(0, 0, 0))


def delete(flow: Flow) -> Request:
    """The message that deletes this flow and no later one of the same tuple. Raises ValueError for
    a flow without ``handle``."""
    if not flow.handle:
        raise ValueError("a flow that was not read from the kernel")
    family = AF_INET6 if flow.version == 6 else AF_INET
    return Request(
        DELETE, 0, NFGEN.pack(family, 0, 0) + FLOW.encode({"original": flow.handle, "id": flow.id})
    )


def flow(reply: Reply) -> Flow | None:
    """The flow that a dumped message tells of; None for one of another kind. Raises
    :class:`WireError`."""
    found = FLOW.decode(reply.body[NFGEN.size :])
    if reply.kind != NEW or not {"original", "reply"} <= found.keys():
        return None
    handle = found["original"]
    original, zone = _tuple(handle)
    answer, other = _tuple(found["reply"])
    master = _tuple(found["master"])[0] if "master" in found else None
    zone = found.get("zone", 0) or zone or other
    return Flow(original, answer, found.get("status", 0), found.get("id", 0), zone, master, handle)


def _tuple(data: bytes) -> tuple[Tuple, int]:
    """A tuple, and its zone where it has one for its direction only."""
    found = TUPLE.decode(data)
    addresses, numbers = found.get("addresses", {}), found.get("numbers", {})
    src, dst = (
        unpack_address(addresses.get(f"{end}4") or addresses.get(f"{end}6") or b"")
        for end in ("src", "dst")
    )
    icmp = None
    for name in ("icmp", "icmpv6"):
        if f"{name}_type" in numbers:
            icmp = (
                numbers[f"{name}_type"],
                numbers.get(f"{name}_code", 0),
                numbers.get(f"{name}_id", 0),
            )
    ports = numbers.get("sport", 0), numbers.get("dport", 0)
    return Tuple(src, dst, numbers.get("protocol", 0), *ports, icmp), found.get("zone", 0)


# The inner loop of a dump of a hundred thousand flows: most have ports, and are written alike
# (ctnetlink_dump_tuples()).

# of both tuples: source, destination, protocol, ports; as they stand in the message or in the text
Ends = tuple[bytes, ...]


def _layout(size: int, first: int) -> re.Pattern[bytes]:
    """How both tuples of a flow with ports stand in a message, right behind its head. ``size`` is
    that of an address, ``first`` the attribute's number of a source address."""

    def attribute(number: int, value: bytes, length: int) -> bytes:
        return re.escape(struct.pack("=HH", length + 4, number)) + value

    def tuple_(number: int) -> bytes:
        ends = b"".join(attribute(first + at, b"(.{%d})" % size, size) for at in range(2))
        numbers = attribute(1, b"(.)...", 1) + b"".join(
            attribute(2 + at, b"(..)..", 2) for at in range(2)
        )
        inner = attribute(0x8001, ends, 2 * (size + 4)) + attribute(0x8002, numbers, 3 * 8)
        return attribute(0x8000 | number, inner, 2 * (size + 4) + 4 + 3 * 8 + 4)

    return re.compile(b".{%d}" % NFGEN.size + tuple_(1) + tuple_(2), re.DOTALL)


_LAYOUTS = {AF_INET: _layout(4, 1), AF_INET6: _layout(16, 3)}


def packed(reply: Reply) -> Ends | None:
    """The ends of a dumped flow, for :func:`unpacked`; None where the message is not written in the
    usual way."""
    layout = _LAYOUTS.get(reply.body[0]) if reply.body else None
    found = layout.match(reply.body) if layout is not None else None
    return found.groups() if found is not None else None


def unpacked(ends: Ends) -> tuple[Tuple, Tuple]:
    """Both tuples."""
    first, second = (
        Tuple(
            unpack_address(src),
            unpack_address(dst),
            number[0],
            int.from_bytes(sport, "big"),
            int.from_bytes(dport, "big"),
        )
        for src, dst, number, sport, dport in (ends[:5], ends[5:])
    )
    return first, second


# The same as text (ct_seq_show(), net/netfilter/nf_conntrack_standalone.c), one flow a line. To
# read it takes no locks: with few flows it is thirty times as fast as a dump, which takes a lock
# for each of a quarter of a million hash buckets.

_ENDS = rb" src=([0-9a-f.:]{2,45}) dst=([0-9a-f.:]{2,45})(?: sport=(\d{1,5}) dport=(\d{1,5}))?"
_LINE = re.compile(
    rb"ipv[46] +\d+ \S+ +(\d{1,3})(?: [^\n=]*?)?" + _ENDS + rb"[^\n]*?" + _ENDS + rb"[^\n]*\n"
)


def written(text: bytes) -> Iterator[Ends]:
    """The ends of each line, for :func:`spelt`. Raises :class:`WireError` for a line of another
    form."""
    at = 0
    while at < len(text):
        found = _LINE.match(text, at)
        if found is None:
            raise WireError(f"a line of the table of flows has another form, at {at}")
        number, *ends = found.groups(b"0")
        yield (*ends[:2], number, *ends[2:6], number, *ends[6:])
        at = found.end()


def spelt(ends: Ends) -> tuple[Tuple, Tuple]:
    """Both tuples. Raises :class:`WireError` for what is no address."""
    first, second = (
        Tuple(_address(src), _address(dst), int(number), int(sport), int(dport))
        for src, dst, number, sport, dport in (ends[:5], ends[5:])
    )
    return first, second


@lru_cache(8192)
def _address(word: bytes) -> str:
    """The canonical text: the kernel writes all zeros of an IPv6 address."""
    text = word.decode("ascii")
    parts = text.split(".")
    if len(parts) == 4 and all(part.isdecimal() and int(part) < 256 for part in parts):
        return text
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise WireError(f"{text} is no address") from error
