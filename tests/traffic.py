"""Packets for tests: sockets that live in any namespace, all in this process. A socket stays where
it was made."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from bascule import syscalls
from sandbox import World

_WAIT, _LONGEST = 0.25, 2.0
_SURE = 20.0  # seconds


@contextmanager
def inside(name: str) -> Iterator[None]:
    """In the namespace of this name; the empty one is the world."""
    if not name:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        syscalls.setns(there, syscalls.CLONE_NEWNET)
        yield
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def patience() -> float:
    """Seconds until a packet that does not come counts as lost: longer on a machine that has more
    to do than it can."""
    with open("/proc/loadavg") as file:
        average, _, _, running, _ = file.read().split()
    load = max(float(average), int(running.partition("/")[0]))
    crowd = load / (2 * (os.cpu_count() or 1))
    return min(_LONGEST, _WAIT * max(1, crowd))


def comes(made: socket.socket, size: int) -> tuple[bytes, tuple[str, int]]:
    """What is sure to come, and from whom: it is waited for however long that takes. ``patience``
    is for what must not come."""
    before = made.gettimeout()
    made.settimeout(_SURE)
    try:
        data, peer = made.recvfrom(size)
    finally:
        made.settimeout(before)
    return data, peer


def bound(name: str, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket in this namespace that waits for connections or datagrams."""
    with inside(name):
        made = socket.socket(_family(address), kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen(16)
    made.settimeout(patience())
    return made


class Ears:
    """Servers, all closed at the end: ``ears["a", 80]`` is a pair for IPv4 and IPv6."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], tuple[socket.socket, socket.socket]] = {}

    def on(
        self, name: str, port: int, kind: int = socket.SOCK_STREAM
    ) -> tuple[socket.socket, socket.socket]:
        """Servers of both families in this namespace, on all of its addresses."""
        key = name, port, kind
        if key not in self._open:
            self._open[key] = bound(name, "0.0.0.0", port, kind), bound(name, "::", port, kind)  # noqa: S104 (in a throwaway namespace)
        return self._open[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pair in self._open.values():
            for each in pair:
                each.close()


def reach(
    client: str, target: str, port: int, server: socket.socket, source: str = ""
) -> str | None:
    """Open a connection, or send a datagram, from a namespace and have it answered. The address
    that the server saw; None where nothing came of it."""
    with inside(client):
        made = socket.socket(_family(target), server.type)
    with made:
        made.settimeout(patience())
        if source:
            made.bind((source, 0))
        try:
            if server.type == socket.SOCK_STREAM:
                return _stream(made, (target, port), server)
            return _datagram(made, (target, port), server)
        except OSError:
            return None


def _stream(client: socket.socket, place: tuple[str, int], server: socket.socket) -> str:
    client.connect(place)
    accepted, peer = server.accept()
    with accepted:
        accepted.settimeout(patience())
        client.sendall(b"ping")
        assert accepted.recv(10) == b"ping"
        accepted.sendall(b"pong")
        assert client.recv(10) == b"pong"
    return str(peer[0])


def _datagram(client: socket.socket, place: tuple[str, int], server: socket.socket) -> str:
    """Sent again where nothing comes: on a busy machine a neighbour may be found too late for a
    datagram. Each has a word of its own, by which one that comes late is known."""
    for attempt in range(3):
        word = os.urandom(8)
        client.sendto(word, place)
        try:
            while (heard := server.recvfrom(10))[0] != word:
                pass
            server.sendto(word[::-1], heard[1])
            while (answer := client.recvfrom(10))[0] != word[::-1]:
                pass
        except TimeoutError:
            if attempt == 2:
                raise
            continue
        assert answer[1][:2] == place
        return str(heard[1][0])
    raise AssertionError


def advertise(name: str, device: str, prefix: str, lifetime: int = 1800) -> None:
    """Announce a router on this interface, with a prefix of 64 bits to make addresses of (RFC 4861,
    sections 4.2 and 4.6.2)."""
    with (
        inside(name),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router,
    ):
        index = socket.if_nametoindex(device)
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime, 0, 0)
        message += struct.pack(
            "!BBBBIII", 3, 4, 64, 0xC0, lifetime, lifetime, 0
        ) + socket.inet_pton(socket.AF_INET6, prefix)
        router.sendto(message, ("ff02::1", 0, 0, index))


def _checksum(data: bytes) -> bytes:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


def _ipv4(source: str, target: str, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, socket.IPPROTO_ICMP, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + payload


def redirect(name: str, device: str, router: str, victim: str, to: str, instead: str) -> None:
    """In the name of ``router``, tell ``victim`` to send what is for ``to`` by way of ``instead``:
    ICMP type 5 (RFC 792), or ICMPv6 type 137 (RFC 4861, section 4.5), where all but ``to`` are
    link-local."""
    family = _family(router)
    with inside(name), socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as liar:
        index = socket.if_nametoindex(device)
        liar.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if family == socket.AF_INET:
            quoted = _ipv4(victim, to, bytes(8))
            message = struct.pack("!BBH", 5, 1, 0) + socket.inet_aton(instead) + quoted
            liar.sendto(
                _ipv4(router, victim, message[:2] + _checksum(message) + message[4:]), (victim, 0)
            )
            return
        ends = socket.inet_pton(family, router) + socket.inet_pton(family, victim)
        message = (
            struct.pack("!BBHI", 137, 0, 0, 0)
            + socket.inet_pton(family, instead)
            + socket.inet_pton(family, to)
        )
        sum_of = _checksum(ends + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6) + message)
        head = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255)
        liar.sendto(head + ends + message[:2] + sum_of + message[4:], (victim, 0, 0, index))


@dataclass
class Outside:
    """Another machine, on a cable to this one: ``name`` is its namespace, ``uplink`` our interface.
    ``here`` and ``there`` are the addresses of both ends, one a family."""

    world: World
    name: str = "elsewhere"
    uplink: str = "up0"
    here: tuple[str, ...] = ("192.0.2.1", "2001:db8::1")
    there: tuple[str, ...] = ("192.0.2.2", "2001:db8::2")
    lengths: dict[int, int] = field(default_factory=lambda: {4: 24, 6: 64})

    def __enter__(self) -> Self:
        run = self.world.run
        run("ip", "netns", "add", self.name)
        run(
            "ip",
            "link",
            "add",
            self.uplink,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.name,
        )
        # no address waits for its turn
        run("sysctl", "-qw", f"net.ipv6.conf.{self.uplink}.accept_dad=0")
        run("ip", "netns", "exec", self.name, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
        for node, device, addresses in (
            ("", self.uplink, self.here),
            (self.name, "eth0", self.there),
        ):
            place = ("-n", node) if node else ()
            for address in addresses:
                length = self.lengths[6 if ":" in address else 4]
                quick = ("nodad",) if ":" in address else ()
                run("ip", *place, "address", "add", f"{address}/{length}", "dev", device, *quick)
            run("ip", *place, "link", "set", device, "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        self._wait_for_carrier()
        return self

    def _wait_for_carrier(self, seconds: float = 5) -> None:
        """The kernel tells IPv6 up to a second later that a cable is plugged in
        (net/core/link_watch.c); only then is there a link-local address."""
        deadline = time.monotonic() + seconds
        for place in ((), ("-n", self.name)):
            device = "eth0" if place else self.uplink
            show = ("ip", *place, "-6", "-o", "address", "show", "dev", device, "scope", "link")
            while not self.world.run(*show).stdout and time.monotonic() < deadline:
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.world.run("ip", "link", "del", self.uplink, check=False)
        self.world.run("ip", "netns", "del", self.name, check=False)

    def routes(self, prefix: str) -> None:
        """It sends this to us."""
        via = self.here[1] if ":" in prefix else self.here[0]
        self.world.run("ip", "-n", self.name, "route", "add", prefix, "via", via)


def sctp_init(source: int, destination: int) -> bytes:
    """An INIT chunk, for a raw socket (RFC 9260, section 3.3.2)."""
    chunk = (
        bytes((1, 0, 0, 20))
        + (1).to_bytes(4, "big")
        + (65536).to_bytes(4, "big")
        + bytes((0, 1, 0, 1))
        + bytes(4)
    )
    head = source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(4)
    return head + _crc32c(head + bytes(4) + chunk).to_bytes(4, "little") + chunk


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def echo_request(identifier: int, version: int) -> bytes:
    """An ICMP echo request for a raw socket; the kernel fills in ICMPv6's checksum (RFC 792, RFC
    4443)."""
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, identifier, 1)
    checksum = 0xFFFF - sum(struct.unpack("!4H", head)) % 0xFFFF if version == 4 else 0
    return head[:2] + struct.pack("!H", checksum) + head[4:]


class Caller:
    """A client that goes on sending from one port of one namespace, whatever becomes of its
    packets. ``target`` is an address, or an address and a port."""

    def __init__(
        self,
        node: str,
        target: str | tuple[str, int],
        kind: int = socket.SOCK_DGRAM,
        source: str = "",
    ) -> None:
        self.place = (target, 5000) if isinstance(target, str) else target
        with inside(node):
            self.socket = socket.socket(_family(self.place[0]), kind)
        self.socket.settimeout(patience())
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((source, 7000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def reaches(self, servers: Mapping[str, socket.socket]) -> str | None:
        """:meth:`ask`, and again where nobody answers: on a busy machine a neighbour may be found
        too late for a datagram."""
        return next(
            (name for _attempt in range(3) if (name := self.ask(servers)) is not None), None
        )

    def ask(self, servers: Mapping[str, socket.socket]) -> str | None:
        """Send a datagram: which of the servers got it and had its answer brought back, None where
        nobody did."""
        self._drain()
        with suppress(OSError):  # refused before: that is told now
            self.socket.sendto(b"ping", self.place)
        names = {server.fileno(): name for name, server in servers.items()}
        for descriptor in select.select(list(names), [], [], patience())[0]:
            server = servers[names[descriptor]]
            _data, peer = server.recvfrom(100)
            server.sendto(names[descriptor].encode(), peer)
            with suppress(OSError):
                return self.socket.recv(100).decode()
        return None

    def _drain(self) -> None:
        while select.select([self.socket], [], [], 0)[0]:
            with suppress(OSError):
                self.socket.recv(100)
