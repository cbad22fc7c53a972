"""A kernel that answers netlink from memory, for tests of what speaks netlink: no root, no
namespaces, and answers that no real kernel gives at will (a torn dump, an overrun buffer, ENOMEM).

It stands at the edge: requests go in as the bytes that would be sent, answers come out as the
bytes that would be received. All that lies above is the real thing.

>>> from bascule.wire import route as rt
>>> link = rt.IFINFO.pack(0, 1, 7, 0, 0) + rt.LINK.encode({"ifname": "lan", "mtu": 1500})
>>> kernel = FakeKernel(Tables({rt.GETLINK: [link]}))
>>> with opened_by(kernel):  # each netlink socket that bascule opens in this process
...     with netlink.Netlink() as opened:
...         rows = opened.dump(message.Request(rt.GETLINK, 0, rt.IFINFO.pack(0, 0, 0, 0, 0)))
>>> [asked.kind == rt.GETLINK for asked in kernel.asked], len(rows)
([True], 1)

Kinds are the numbers of linux/rtnetlink.h and linux/netfilter/; bodies are what follows struct
nlmsghdr (:mod:`bascule.wire` makes both). For a single socket,
``bascule.host.netlink.Netlink(transport=kernel)`` will do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from bascule.host import netlink
from bascule.wire import message
from bascule.wire.message import ACK, ACK_TLVS, CAPPED, DONE, DUMP, ERROR, MULTI, Reply

__all__ = ["Answer", "FakeKernel", "Tables", "done", "failed", "in_turn", "opened_by", "reply"]

# What is asked in one datagram, and the datagrams that answer it; an OSError is raised by recv().
Answer = Callable[[Sequence[Reply]], Iterable[bytes | OSError]]
_A_DATAGRAM = 1 << 15  # bytes: a kernel fills no more of a dump into one


class FakeKernel:
    """A transport (:class:`bascule.host.netlink.Transport`) behind which a function answers.

    ``asked`` has every message that was sent, in order.
    """

    def __init__(self, answer: Answer) -> None:
        self.asked: list[Reply] = []
        self._answer = answer
        self._answers: list[bytes | OSError] = []

    def __repr__(self) -> str:
        return f"<FakeKernel asked {len(self.asked)} times, {len(self._answers)} answers unread>"

    def send(self, data: bytes, /) -> int:
        """Take one datagram, and have it answered. Raises :class:`bascule.wire.WireError` where it
        is no netlink message."""
        messages = list(message.split(data))
        self.asked += messages
        self._answers += self._answer(messages)
        return len(data)

    def recv(self, _size: int, /) -> bytes:
        """The next datagram. Raises the OSError that stands in its place, and BlockingIOError where
        a real socket would wait for ever."""
        if not self._answers:
            raise BlockingIOError("nothing more is answered")
        found = self._answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        """Nothing to close."""


class Tables:
    """An :data:`Answer` out of tables: to each dump the bodies that stand under its kind, to each
    change an acknowledgement, or the errno (a positive number) that stands in ``refused`` under its
    kind. What is asked for one thing (no dump) is answered by the first of its table, or ENOENT."""

    def __init__(
        self, tables: Mapping[int, Sequence[bytes]], refused: Mapping[int, int] | None = None
    ) -> None:
        self._tables = tables
        self._refused = refused or {}

    def __call__(self, messages: Sequence[Reply]) -> Iterator[bytes]:
        for asked in messages:
            refused = self._refused.get(asked.kind, 0)
            rows = self._tables.get(asked.kind)
            if refused:
                yield failed(asked, refused)
            elif rows is not None and asked.flags & DUMP == DUMP:
                yield from _dump(asked, rows)
            elif rows is not None:
                yield reply(asked, rows[0]) if rows else failed(asked, _ENOENT)
            elif asked.flags & ACK:
                yield failed(asked, 0)


_ENOENT = 2


def _dump(asked: Reply, rows: Iterable[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for row in rows:
        parts.append(reply(asked, row, MULTI))
        size += len(parts[-1])
        if size > _A_DATAGRAM:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join([*parts, done(asked)])


def in_turn(*answers: Answer) -> Answer:
    """The first datagram is answered by the first, the second by the second; those that come after
    the last by nothing."""
    left = list(answers)
    return lambda messages: left.pop(0)(messages) if left else ()


def reply(asked: Reply, body: bytes, flags: int = 0, kind: int | None = None) -> bytes:
    """A message that answers ``asked``. Where no ``kind`` is given, it is what the kernel answers
    to a question: RTM_NEWLINK to RTM_GETLINK, NFT_MSG_NEWTABLE to NFT_MSG_GETTABLE."""
    number = asked.kind - (1 if asked.kind >> 8 else 2) if kind is None else kind
    size = message.HEADER.size + len(body)
    head = message.HEADER.pack(size, number, flags, asked.sequence, 0)
    return head + body + bytes(-size & 3)


def done(asked: Reply, flags: int = MULTI) -> bytes:
    """The end of a dump; with ``DUMP_INTR`` in the flags, of one that is not consistent."""
    return reply(asked, bytes(4), flags, DONE)


def failed(asked: Reply, errno: int, said: str = "") -> bytes:
    """The kernel's error (a positive errno) with its own sentence; 0 is an acknowledgement."""
    size = message.HEADER.size + len(asked.body)
    head = message.HEADER.pack(size, asked.kind, asked.flags, asked.sequence, 0)
    body = struct.pack("=i", -errno) + head
    if said:
        text = said.encode() + b"\0"
        # struct nlattr of NLMSGERR_ATTR_MSG
        body += struct.pack("=HH", 4 + len(text), 1) + text + bytes(-len(text) & 3)
    return reply(asked, body, CAPPED | (ACK_TLVS if said else 0), ERROR)


@contextmanager
def opened_by(kernel: netlink.Transport) -> Iterator[None]:
    """While it lasts, each netlink socket that bascule opens in this process is ``kernel``,
    whatever its protocol. Notifications (``bascule events``) are read from real ones."""
    with netlink.opened_by(lambda _protocol: kernel):
        yield
