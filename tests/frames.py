"""Frames as bytes, for tests that send what no socket would: forged sources, errors about flows of
others, ARP of thieves.

A test of what must *not* arrive does not wait for a time: it sends the forbidden, then something
that is allowed, and when that has come, all that could have come before it is there.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from traffic import inside

MARK = b"ATTACK"
_END = b"THE-END"
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
FIN, SYN, RST, ACK = 1, 2, 4, 16
BROADCAST = "ff:ff:ff:ff:ff:ff"
_SOL_PACKET, _ADD_MEMBERSHIP, _PROMISC, _OUTGOING = 263, 1, 1, 4


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source: str, target: str, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    """An IPv4 or IPv6 packet."""
    if ":" in target:
        return (
            struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
            + _packed(source)
            + _packed(target)
            + payload
        )
    head = (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, hops, protocol, 0)
        + _packed(source)
        + _packed(target)
    )
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + payload


def _with_sum(source: str, target: str, protocol: int, data: bytes, at: int) -> bytes:
    """The data with the checksum that covers addresses, too, put where it belongs (RFC 8200 section
    8.1)."""
    size = (
        struct.pack("!IxxxB", len(data), protocol)
        if ":" in target
        else struct.pack("!xBH", protocol, len(data))
    )
    found = _sum(_packed(source) + _packed(target) + size + data)
    return data[:at] + struct.pack("!H", found or 0xFFFF) + data[at + 2 :]


def udp(source: tuple[str, int], target: tuple[str, int], data: bytes = MARK) -> bytes:
    """A datagram, from address and port to address and port."""
    body = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0) + data
    return ip(source[0], target[0], UDP, _with_sum(source[0], target[0], UDP, body, 6))


def tcp(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int,
    sequence: int = 1,
    answer: int = 1,
    data: bytes = b"",
) -> bytes:
    """A segment."""
    body = (
        struct.pack("!HHIIBBHHH", source[1], target[1], sequence, answer, 5 << 4, flags, 1000, 0, 0)
        + data
    )
    return ip(source[0], target[0], TCP, _with_sum(source[0], target[0], TCP, body, 16))


def icmp(
    source: str, target: str, kind: int, code: int, rest: bytes, payload: bytes, hops: int = 64
) -> bytes:
    """An ICMP or ICMPv6 message; ``rest`` are the four bytes behind the checksum."""
    body = struct.pack("!BBH", kind, code, 0) + rest + payload
    if ":" in target:
        return ip(source, target, ICMP6, _with_sum(source, target, ICMP6, body, 2), hops)
    return ip(source, target, ICMP, body[:2] + struct.pack("!H", _sum(body)) + body[4:], hops)


def unreachable(source: str, target: str, about: bytes) -> bytes:
    """An error about a packet: port unreachable. What it quotes carries the mark."""
    kind, code = (1, 4) if ":" in target else (3, 3)
    return icmp(source, target, kind, code, bytes(4), about)


def too_big(source: str, target: str, about: bytes, mtu: int) -> bytes:
    """An error about a packet: a narrow link on its way."""
    if ":" in target:
        return icmp(source, target, 2, 0, struct.pack("!I", mtu), about)
    return icmp(source, target, 3, 4, struct.pack("!HH", 0, mtu), about)


def ethernet(target: str, source: str, packet: bytes, kind: int = 0) -> bytes:
    """A frame. The kind follows from an IP packet's version."""
    kind = kind or (_IPV6 if packet[0] >> 4 == 6 else _IPV4)
    return (
        bytes.fromhex(target.replace(":", ""))
        + bytes.fromhex(source.replace(":", ""))
        + struct.pack("!H", kind)
        + packet
    )


def arp(mac: str, address: str, to_mac: str, to_address: str) -> bytes:
    """An ARP reply: ``address`` is at ``mac``."""
    return ethernet(
        to_mac,
        mac,
        b"\0\1\x08\0\6\4\0\2" + _mac(mac) + _packed(address) + _mac(to_mac) + _packed(to_address),
        _ARP,
    )


def advertisement(mac: str, address: str, target: str, source: str = "") -> bytes:
    """A neighbour advertisement that overrides: ``address`` is at ``mac`` (RFC 4861 section
    4.4)."""
    return icmp(
        source or address,
        target,
        136,
        0,
        b"\x20\0\0\0",
        _packed(address) + b"\2\1" + _mac(mac),
        255,
    )


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def mac_of(node: str, device: str = "eth0") -> str:
    """The MAC of an interface in a node, or in the world."""
    with inside(node), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((device, 0))
        return str(opened.getsockname()[4].hex(":"))


def send(node: str, packets: list[bytes], to: str, device: str = "eth0", source: str = "") -> None:
    """Send IP packets to a MAC, from the interface's own or another."""
    with inside(node), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((device, 0))
        own = source or opened.getsockname()[4].hex(":")
        for packet in packets:
            opened.send(ethernet(to, own, packet))


def send_frames(node: str, frames: list[bytes], device: str = "eth0") -> None:
    """Send whole frames."""
    with inside(node), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((device, 0))
        for frame in frames:
            opened.send(frame)


class Snoop:
    """Hears all frames that come to an interface."""

    def __init__(self, node: str, device: str = "eth0") -> None:
        with inside(node):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind((device, 0))
            member = struct.pack("iHH8s", socket.if_nametoindex(device), _PROMISC, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        self.frames: list[bytes] = []

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def until(self, what: bytes, seconds: float = 20) -> list[bytes]:
        """What has come, up to the first frame that holds this. Raises AssertionError where it does
        not come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, place = self._socket.recvfrom(65536)
            except TimeoutError:
                break
            if place[2] != _OUTGOING:
                self.frames.append(frame)
                if what in frame:
                    return self.frames
        raise AssertionError(f"{what!r} did not come; {len(self.frames)} others did")


@contextmanager
def snooping(*places: str | tuple[str, str]) -> Iterator[dict[str, Snoop]]:
    """An ear at each node's eth0, or at (node, device)."""
    ears = {
        name: Snoop(name, device)
        for name, device in ((each, "eth0") if isinstance(each, str) else each for each in places)
    }
    try:
        yield ears
    finally:
        for each in ears.values():
            each.close()


def settled(ears: dict[str, Snoop], ends: dict[str, str]) -> dict[str, list[bytes]]:
    """What was heard with the mark, at each node, up to a datagram that the machine sends it now
    (to the address in ``ends``)."""
    found = {}
    for name, address in ends.items():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as opened:
            opened.sendto(_END, (address, 9))
        found[name] = [frame for frame in ears[name].until(_END) if MARK in frame]
    return found


def bridge_nf(value: str, if_there: bool = False) -> None:
    """Let bridged frames pass the IP firewall (br_netfilter), or not. Skips where they are to, and
    the kernel has no such thing loaded; with ``if_there`` the test goes on without."""
    for family in ("ip", "ip6", "arp"):
        place = Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables")
        if place.exists():
            with inside(""):
                place.write_text(value)
        elif value != "0" and not if_there:
            pytest.skip("br_netfilter is not loaded")
