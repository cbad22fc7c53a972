"""Every-pair ping: ICMP echo from raw sockets opened inside each node, by one process (RFC 792, RFC 4443; raw(7)).

A raw socket stays in the namespace in which it was opened, so that one loop can send from all nodes. The kernel's neighbour
tables are one for all namespaces and hold 1,024 entries by default (net.ipv4.neigh.default.gc_thresh3, arp(7)); a
hundred nodes that all talk to each other need 9,900. So pairs go in blocks, and the entries of a block are dropped after it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bascule.errors import NotFound
from bascule.host import namespaces
from bascule.host.netlink import Netlink
from bascule.wire import route as rt
from bascule.wire.inet import AF_INET, AF_INET6, pack_address
from bascule.wire.message import Request

_BLOCK = 20  # 20 × 20 pairs leave at most 800 neighbour entries
_FEW_PAIRS = 200
_ECHO = struct.Struct(">BBHHHI")
_ICMP_FILTER, _ICMP6_FILTER = 1, 1  # linux/icmp.h, linux/icmpv6.h
_REQUEST = {AF_INET: 8, AF_INET6: 128}
_REPLY = {AF_INET: 0, AF_INET6: 129}
_SEND_AGAIN = (errno.ENOBUFS, errno.EAGAIN)


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one node. ``family`` is AF_INET or AF_INET6."""

    node: str
    address: str
    family: int


@dataclass(frozen=True, slots=True)
class Echo:
    """What came of one request: ``seconds`` to the answer, or None and why not."""

    source: str
    target: Target
    seconds: float | None
    why: str = ""


class _Node:
    """The raw sockets of one node, one a family, and its netlink socket."""

    def __init__(self, name: str) -> None:
        descriptor = namespaces.open_pin(name)
        if descriptor is None or not namespaces.enter(descriptor):
            raise NotFound(f"node {name} has no namespace; run `bascule up`")
        os.close(descriptor)
        self.name = name
        self.netlink = Netlink()
        self.sockets = {AF_INET: _raw(socket.AF_INET)}
        try:
            self.sockets[AF_INET6] = _raw(socket.AF_INET6)
        except OSError:
            pass  # a kernel without IPv6

    def close(self) -> None:
        for opened in self.sockets.values():
            opened.close()
        self.netlink.close()

    def forget_neighbours(self, addresses: Iterable[str]) -> None:
        """``ip neigh del`` for what the node has learnt of these addresses."""
        dump = self.netlink.dump(Request(rt.GETNEIGH, 0, rt.NDMSG.pack(0, 0, 0, 0, 0)))
        wanted = {pack_address(address) for address in addresses}
        drop = []
        for reply in dump:
            family, index, state, flags, _kind = rt.NDMSG.unpack_from(reply.body)
            destination = rt.NEIGHBOUR.decode(reply.body[rt.NDMSG.size :], ("dst",)).get("dst")
            if destination in wanted and not state & 0xC0:  # NUD_NOARP, NUD_PERMANENT: somebody set these
                body = rt.NDMSG.pack(family, index, 0, flags, 0) + rt.NEIGHBOUR.encode({"dst": destination})
                drop.append(Request(rt.DELNEIGH, 0, body))
        for start in range(0, len(drop), 64):
            self.netlink.batch(drop[start : start + 64])


def _raw(family: int) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    if family == socket.AF_INET:
        opened.setsockopt(socket.SOL_RAW if hasattr(socket, "SOL_RAW") else 255, _ICMP_FILTER, struct.pack("=I", ~1 & 0xFFFFFFFF))
    else:
        block = bytearray(b"\xff" * 32)  # struct icmp6_filter: a set bit blocks the type
        block[129 // 32 * 4 : 129 // 32 * 4 + 4] = struct.pack("=I", ~(1 << (129 % 32)) & 0xFFFFFFFF)
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(block))
    return opened


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _request(family: int, identifier: int, number: int) -> bytes:
    packet = _ECHO.pack(_REQUEST[family], 0, 0, identifier, number & 0xFFFF, number)
    if family == AF_INET6:
        return packet  # the kernel fills in the checksum of ICMPv6 raw sockets (RFC 3542 section 3.1)
    return packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]


def ping(pairs: Sequence[tuple[str, Target]], timeout: float = 2.0, attempts: int = 2) -> list[Echo]:
    """Send one echo request for each (source node, target), and again where no answer came. In the order of ``pairs``."""
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


def _in_blocks(nodes: dict[str, _Node], pairs: Sequence[tuple[str, Target]], timeout: float, attempts: int) -> list[Echo]:
    found: dict[int, Echo] = {}
    for block in _blocks(list(nodes), pairs):
        found.update(_Round(nodes, pairs, block).run(timeout, attempts))
        if len(pairs) > _FEW_PAIRS:
            met: dict[str, set[str]] = {}
            for number in block:
                source, target = pairs[number]
                met.setdefault(source, set()).add(target.address)
            sources = {name: [t.address for n in block for s, t in (pairs[n],) if t.node == name] for name in met}
            for name, addresses in met.items():
                nodes[name].forget_neighbours(addresses.union(sources.get(name, ())))
    return [found[number] for number in range(len(pairs))]


def _blocks(names: list[str], pairs: Sequence[tuple[str, Target]]) -> Iterator[list[int]]:
    """The numbers of the pairs, those between the same two groups of nodes together."""
    group = {name: position // _BLOCK for position, name in enumerate(names)}
    blocks: dict[tuple[int, int, int], list[int]] = {}
    for number, (source, target) in enumerate(pairs):
        ends = sorted((group[source], group[target.node]))
        blocks.setdefault((target.family, ends[0], ends[1]), []).append(number)
    yield from blocks.values()


class _Round:
    """The pairs of one block: send all, gather the answers, send again what was lost."""

    def __init__(self, nodes: dict[str, _Node], pairs: Sequence[tuple[str, Target]], numbers: list[int]) -> None:
        self._nodes = nodes
        self._pairs = pairs
        self._numbers = numbers
        self._identifier = os.getpid() & 0xFFFF
        self._sent: dict[int, float] = {}
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
            for _attempt in range(attempts):
                waiting = [number for number in self._numbers if number not in self._found]
                for position, number in enumerate(waiting):
                    self._send(number)
                    if position % 64 == 63:
                        self._gather(0)
                deadline = time.monotonic() + timeout / attempts
                while len(self._found) < len(self._numbers) and time.monotonic() < deadline:
                    self._gather(deadline - time.monotonic())
        finally:
            self._poll.close()
        for number in self._numbers:
            source, target = self._pairs[number]
            self._found.setdefault(number, Echo(source, target, None, "no answer"))
        return self._found

    def _send(self, number: int) -> None:
        source, target = self._pairs[number]
        opened = self._nodes[source].sockets.get(target.family)
        if opened is None:
            self._found[number] = Echo(source, target, None, "this kernel has no IPv6")
            return
        packet = _request(target.family, self._identifier, number)
        self._sent[number] = time.perf_counter()
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
        start = (data[0] & 0xF) * 4 if family == socket.AF_INET else 0  # IPv4 raw sockets give the IP header too
        if len(data) < start + _ECHO.size:
            return
        kind, _code, _sum, identifier, _sequence, number = _ECHO.unpack_from(data, start)
        if kind == _REPLY[int(family)] and identifier == self._identifier and number in self._sent:
            source, target = self._pairs[number]
            self._found.setdefault(number, Echo(source, target, now - self._sent[number]))
