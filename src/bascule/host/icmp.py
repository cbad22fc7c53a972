"""Every-pair ping: ICMP echo from raw sockets opened inside each node, by one process (RFC 792, RFC
4443; raw(7)).

A raw socket stays in the namespace in which it was opened, so that one loop can send from all
nodes. Two limits of the kernel shape the rest where there are many pairs:

* The neighbour tables are one for all namespaces and hold 1,024 entries by default
  (net.ipv4.neigh.default.gc_thresh3, arp(7)); a hundred nodes that all talk to each other need
  9,900.
* Each question for a neighbour floods every port of the bridge, and would cost more than all
  echoes.

So a first round, each node to the next, asks in the ordinary way; for the rest the entries are set
beforehand from what the interfaces really have, a block of pairs at a time, and dropped after it.
They are marked as learnt from outside (NTF_EXT_LEARNED), which the table does not count, and only
as reachable: one that a crash leaves is probed like any other.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bascule.errors import NotFound
from bascule.host import namespaces
from bascule.host.netlink import Netlink
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import AF_INET, AF_INET6
from bascule.wire.message import CREATE, EXCL, Request

_BLOCK = 20
_FEW_PAIRS = 200
_MESSAGES = 64
_MAC_BYTES = 6
_NUD_REACHABLE, _NTF_EXT_LEARNED = 0x02, 0x10  # linux/neighbour.h
_ECHO = struct.Struct(">BBHHHI")
_ICMP_FILTER, _ICMP6_FILTER = 1, 1  # linux/icmp.h, linux/icmpv6.h
_REQUEST = {AF_INET: 8, AF_INET6: 128}
_REPLY = {AF_INET: 0, AF_INET6: 129}
ADVICE = {
    errno.EPERM: "opening a raw socket needs CAP_NET_RAW",
    errno.EMFILE: "each node needs three open files: raise the limit (ulimit -n)",
}
_SEND_AGAIN = (errno.ENOBUFS, errno.EAGAIN)


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one node. ``family`` is AF_INET or AF_INET6."""

    node: str
    address: str
    family: int


@dataclass(frozen=True, slots=True)
class Echo:
    """What came of it: ``seconds`` from an echo to its own answer, or None and why not. ``lost``
    are those before it that nobody answered. ``barred``: why the lab means no answer to come, empty
    where one is meant to."""

    source: str
    target: Target
    seconds: float | None
    why: str = ""
    lost: int = 0
    barred: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is not as the lab says: no answer, or one that was not to come."""
        return (self.seconds is None) != bool(self.barred)


@dataclass(frozen=True, slots=True)
class _Place:
    """An address of a node: on which interface (index, MAC), and its prefix as a number and a count
    of host bits."""

    family: int
    number: int
    host_bits: int
    index: int
    mac: bytes


class _Node:
    """The raw sockets of one node, one a family, its netlink socket, and its addresses."""

    def __init__(self, name: str) -> None:
        descriptor = namespaces.enter_pin(name)
        if descriptor is None:
            raise NotFound(f"node {name} has no namespace; run `bascule up`")
        os.close(descriptor)
        self.name = name
        self.netlink = Netlink()
        self.sockets = {AF_INET: _raw(socket.AF_INET)}
        with suppress(OSError):  # a kernel without IPv6
            self.sockets[AF_INET6] = _raw(socket.AF_INET6)
        self.places = dict(self._places())
        self._set: list[Request] = []

    def close(self) -> None:
        for opened in self.sockets.values():
            opened.close()
        self.netlink.close()

    def _places(self) -> Iterator[tuple[str, _Place]]:
        links = self.netlink.dump(Request(rt.GETLINK, 0, rt.IFINFO.pack(0, 0, 0, 0, 0)))
        ends = [rows.decode_end(reply) for reply in links]
        macs = {each.ifindex: bytes.fromhex(each.mac.replace(":", "")) for each in ends}
        for reply in self.netlink.dump(Request(rt.GETADDR, 0, rt.IFADDR.pack(0, 0, 0, 0, 0))):
            found = rows.decode_address(reply)
            if found.packed:
                bits = len(found.packed) * 8 - found.prefix
                number, mac = int.from_bytes(found.packed, "big"), macs.get(found.ifindex, b"")
                yield found.text, _Place(found.family, number, bits, found.ifindex, mac)

    def neighbour(self, other: _Place) -> Request | None:
        """The entry for an address on one of this node's own links; None for what is reached
        through a router."""
        for mine in self.places.values():
            near = (
                mine.family == other.family
                and mine.number >> mine.host_bits == other.number >> mine.host_bits
            )
            if near and len(other.mac) == _MAC_BYTES:
                packed = other.number.to_bytes(4 if other.family == AF_INET else 16, "big")
                body = rt.NDMSG.pack(other.family, mine.index, _NUD_REACHABLE, _NTF_EXT_LEARNED, 0)
                return Request(
                    rt.NEWNEIGH,
                    CREATE | EXCL,
                    body + rt.NEIGHBOUR.encode({"dst": packed, "lladdr": other.mac}),
                )
        return None

    def meet(self, requests: list[Request]) -> None:
        """Set these entries, but none that is there: what somebody else set or learnt stays."""
        for start in range(0, len(requests), _MESSAGES):
            part = requests[start : start + _MESSAGES]
            answers = self.netlink.batch(part)
            self._set += [
                request for request, answer in zip(part, answers, strict=True) if not answer.errno
            ]

    def part(self) -> None:
        """Drop the entries that were set."""
        drop = [Request(rt.DELNEIGH, 0, request.body) for request in self._set]
        for start in range(0, len(drop), _MESSAGES):
            self.netlink.batch(drop[start : start + _MESSAGES])
        self._set = []


def _raw(family: int) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    opened = socket.socket(
        family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
    )
    if family == socket.AF_INET:
        opened.setsockopt(
            socket.SOL_RAW if hasattr(socket, "SOL_RAW") else 255,
            _ICMP_FILTER,
            struct.pack("=I", ~1 & 0xFFFFFFFF),
        )
    else:
        block = bytearray(b"\xff" * 32)  # struct icmp6_filter: a set bit blocks the type
        block[129 // 32 * 4 : 129 // 32 * 4 + 4] = struct.pack(
            "=I", ~(1 << (129 % 32)) & 0xFFFFFFFF
        )
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(block))
    return opened


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _request(family: int, identifier: int, number: int, attempt: int) -> bytes:
    packet = _ECHO.pack(_REQUEST[family], 0, 0, identifier, attempt, number)
    if family == AF_INET6:
        # the kernel fills in the checksum of ICMPv6 raw sockets (RFC 3542 section 3.1)
        return packet
    return packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]


ATTEMPTS = 4


def ping(
    pairs: Sequence[tuple[str, Target]], timeout: float = 2.0, attempts: int = ATTEMPTS
) -> list[Echo]:
    """Send an echo request for each (source node, target), and again where no answer came in time;
    each answer is told from others by its attempt. In the order of ``pairs``."""
    names = list(dict.fromkeys(name for source, target in pairs for name in (source, target.node)))
    _allow_descriptors(3 * len(names) + 64)
    nodes: dict[str, _Node] = {}
    with namespaces.coming_back():
        try:
            for name in names:
                nodes[name] = _Node(name)
            return _in_blocks(nodes, pairs, timeout, attempts)
        finally:
            for node in nodes.values():
                node.close()


def _allow_descriptors(count: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard >= 0 else count, hard))


def _in_blocks(
    nodes: dict[str, _Node], pairs: Sequence[tuple[str, Target]], timeout: float, attempts: int
) -> list[Echo]:
    everything = list(range(len(pairs)))
    if len(pairs) <= _FEW_PAIRS:
        return list(_Round(nodes, pairs, everything).run(timeout, attempts).values())
    ring = _ring(list(nodes), pairs)
    found = _Round(nodes, pairs, ring).run(timeout, attempts)
    for block in _blocks(list(nodes), pairs, set(everything).difference(ring)):
        _meet(nodes, [pairs[number] for number in block])
        found.update(_Round(nodes, pairs, block).run(timeout, attempts))
        for node in nodes.values():
            node.part()
    return [found[number] for number in everything]


def _ring(names: list[str], pairs: Sequence[tuple[str, Target]]) -> list[int]:
    """The numbers of the pairs of each node with the next."""
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    return [
        number for number, (source, target) in enumerate(pairs) if following[source] == target.node
    ]


def _meet(nodes: dict[str, _Node], pairs: Iterable[tuple[str, Target]]) -> None:
    """Have the two ends of each pair know each other's MAC."""
    wanted: dict[str, dict[str, Request]] = {}
    for source, target in pairs:
        there = nodes[target.node].places.get(target.address)
        if there is None:
            continue
        entry = nodes[source].neighbour(there)
        if entry is not None:
            wanted.setdefault(source, {})[target.address] = entry
    for name, entries in wanted.items():
        nodes[name].meet(list(entries.values()))


def _blocks(
    names: list[str], pairs: Sequence[tuple[str, Target]], numbers: Iterable[int]
) -> Iterator[list[int]]:
    """The numbers of the pairs, those between the same two groups of nodes together."""
    group = {name: position // _BLOCK for position, name in enumerate(names)}
    blocks: dict[tuple[int, int, int], list[int]] = {}
    for number in numbers:
        source, target = pairs[number]
        ends = sorted((group[source], group[target.node]))
        blocks.setdefault((target.family, ends[0], ends[1]), []).append(number)
    yield from blocks.values()


class _Round:
    """The pairs of one block: send all, gather the answers, send again what was lost."""

    def __init__(
        self, nodes: dict[str, _Node], pairs: Sequence[tuple[str, Target]], numbers: list[int]
    ) -> None:
        self._nodes = nodes
        self._pairs = pairs
        self._numbers = numbers
        self._identifier = os.getpid() & 0xFFFF
        self._sent: dict[tuple[int, int], float] = {}  # by pair and attempt
        self._found: dict[int, Echo] = {}
        self._poll = select.epoll()
        self._sources: dict[int, socket.socket] = {}
        for number in numbers:
            source, target = pairs[number]
            opened = nodes[source].sockets.get(target.family)
            if opened is not None and opened.fileno() not in self._sources:
                self._sources[opened.fileno()] = opened
                self._poll.register(opened.fileno(), select.EPOLLIN)

    def run(self, timeout: float, attempts: int) -> dict[int, Echo]:
        try:
            for attempt in range(attempts):
                waiting = [number for number in self._numbers if number not in self._found]
                for position, number in enumerate(waiting):
                    self._send(number, attempt)
                    if position % 64 == 63:
                        self._gather(0)
                deadline = time.monotonic() + timeout / attempts
                while len(self._found) < len(self._numbers) and time.monotonic() < deadline:
                    self._gather(deadline - time.monotonic())
        finally:
            self._poll.close()
        for number in self._numbers:
            source, target = self._pairs[number]
            nobody = Echo(source, target, None, "no answer", attempts)
            self._found.setdefault(number, nobody)
        return {number: self._found[number] for number in self._numbers}

    def _send(self, number: int, attempt: int) -> None:
        source, target = self._pairs[number]
        opened = self._nodes[source].sockets.get(target.family)
        if opened is None:
            self._found[number] = Echo(source, target, None, "this kernel has no IPv6")
            return
        packet = _request(target.family, self._identifier, number, attempt)
        self._sent[number, attempt] = time.perf_counter()
        try:
            opened.sendto(packet, (target.address, 0))
        except OSError as error:
            if error.errno not in _SEND_AGAIN:
                self._found[number] = Echo(source, target, None, os.strerror(error.errno or 0))

    def _gather(self, seconds: float) -> None:
        for descriptor, _events in self._poll.poll(max(seconds, 0)):
            opened = self._sources[descriptor]
            while True:
                try:
                    data = opened.recv(2048)
                except BlockingIOError:
                    break
                self._take(opened.family, data, time.perf_counter())

    def _take(self, family: int, data: bytes, now: float) -> None:
        # IPv4 raw sockets give the IP header too
        start = (data[0] & 0xF) * 4 if family == socket.AF_INET else 0
        if len(data) < start + _ECHO.size:
            return
        kind, _code, _sum, identifier, attempt, number = _ECHO.unpack_from(data, start)
        sent = self._sent.get((number, attempt))
        if kind == _REPLY[int(family)] and identifier == self._identifier and sent is not None:
            source, target = self._pairs[number]
            self._found.setdefault(number, Echo(source, target, now - sent, lost=attempt))
