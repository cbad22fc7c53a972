"""Asking name servers as any program asks, with DNS packets (RFC 1035), and one that answers for
the machine."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from sandbox import World
from traffic import bound, inside

A, PTR, MX, TXT, AAAA, SRV, HTTPS = 1, 12, 15, 16, 28, 33, 65
NOERROR, NXDOMAIN, REFUSED = 0, 3, 5


def question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return (
        struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!HH", kind, 1)
    )


def _answers(message: bytes) -> tuple[int, set[str]]:
    """The code, and the addresses or names that are answered (RFC 1035 section 4)."""
    _id, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", message)
    at = 12
    for _ in range(questions):
        at = _skip(message, at) + 4
    found = set()
    for _ in range(answers):
        at = _skip(message, at)
        kind, _class, _ttl, size = struct.unpack_from("!HHIH", message, at)
        at += 10
        data = message[at : at + size]
        if kind in (A, AAAA):
            found.add(str(ip_address(data)))
        elif kind == PTR:
            found.add(_name(message, at))
        at += size
    return flags & 15, found


def _skip(message: bytes, at: int) -> int:
    while message[at] and message[at] < 0xC0:
        at += message[at] + 1
    return at + (2 if message[at] else 1)


def _name(message: bytes, at: int) -> str:
    parts = []
    while message[at]:
        if message[at] >= 0xC0:
            at = struct.unpack_from("!H", message, at)[0] & 0x3FFF
            continue
        parts.append(message[at + 1 : at + 1 + message[at]].decode())
        at += message[at] + 1
    return ".".join(parts)


def ask(
    node: str, server: str, name: str, kind: int = A, tcp: bool = False, seconds: float = 20
) -> tuple[int, set[str]] | None:
    """What the server tells a node; None where it says nothing."""
    with inside(node):
        made = socket.socket(
            socket.AF_INET6 if ":" in server else socket.AF_INET,
            socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM,
        )
    with made:
        made.settimeout(seconds)
        try:
            made.connect((server, 53))
            message = question(name, kind)
            if tcp:
                made.sendall(struct.pack("!H", len(message)) + message)
                size = struct.unpack("!H", made.recv(2, socket.MSG_WAITALL))[0]
                return _answers(made.recv(size, socket.MSG_WAITALL))
            made.send(message)
            return _answers(made.recv(4096))
        except OSError:
            return None


@contextmanager
def upstream(world: World, address: str = "192.0.2.53") -> Iterator[list[str]]:
    """A name server that the machine uses: it answers everything with 203.0.113.9. Gives what it
    was asked."""
    world.run("ip", "address", "add", f"{address}/32", "dev", "lo")
    names(f"nameserver {address}\n")
    try:
        with answering(address) as heard:
            yield heard
    finally:
        world.run("ip", "address", "del", f"{address}/32", "dev", "lo")


def names(text: str, path: str = "/etc/resolv.conf") -> None:
    """Give the machine this file of its name servers."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    Path(path).write_text(text)


@contextmanager
def answering(address: str, node: str = "") -> Iterator[list[str]]:
    """A name server in this namespace that answers everything with 203.0.113.9. Gives the names
    that it was asked for."""
    heard: list[str] = []
    made = bound(node, address, 53, socket.SOCK_DGRAM)
    made.settimeout(0.05)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                data, peer = made.recvfrom(4096)
            except OSError:
                continue
            heard.append(_name(data, 12))
            end = _skip(data, 12) + 4
            head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
            made.sendto(
                head
                + data[12:end]
                + b"\xc0\x0c"
                + struct.pack("!HHIH", A, 1, 60, 4)
                + bytes([203, 0, 113, 9]),
                peer,
            )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join()
        made.close()


def soon(condition: Callable[[], bool], seconds: float = 3) -> None:
    """Wait until it is so. Raises AssertionError where it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
