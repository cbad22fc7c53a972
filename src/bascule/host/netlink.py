"""The netlink socket: send a batch, dump a table (netlink(7)).

A dump that the kernel says was interrupted (NLM_F_DUMP_INTR), or that overran the receive buffer
(ENOBUFS), is repeated here and nowhere else. A batch is no transaction: the kernel goes on after a
failed message. Only the last message of a batch asks for an acknowledgement; failures are answered
in any case.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, Self

from bascule import debug, syscalls
from bascule.errors import KernelError
from bascule.wire import message
from bascule.wire.message import ACK, DONE, DUMP, DUMP_INTR, ERROR, Failure, Reply, Request

ROUTE, NETFILTER = 0, 12  # NETLINK_ROUTE, NETLINK_NETFILTER
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_NETNS_COOKIE = 71
_RECEIVE = 1 << 16
_RETRIES = 20
# No protocol of this number, nobody who answers for it, or not to everybody. Any other error of a
# question tells nothing of what is there.
UNTOLD = frozenset(
    {
        errno.EPROTONOSUPPORT,
        errno.EAFNOSUPPORT,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.EPERM,
        errno.EACCES,
    }
)
_ACKNOWLEDGED = Failure(0, "")
_HEADER_AND_PADDING = 20  # of a message: struct nlmsghdr, NLMSG_ALIGNTO
_OF_A_DATAGRAM = 32  # bytes of a send buffer that it may not have (netlink_sendmsg, af_netlink.c)
_AN_ANSWER = 1280  # bytes that the kernel counts for one: struct sk_buff, and its data rounded up


class Transport(Protocol):
    """The edge to the kernel: datagrams out and in. A test puts a function of its own here."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Netlink:
    """One netlink socket. It belongs for ever to the network namespace in which the calling thread
    opened it."""

    def __init__(self, protocol: int = ROUTE, transport: Transport | None = None) -> None:
        self._transport = transport or _open(protocol)
        self._sequence = 0
        self._room: tuple[int, int] | None = None  # not asked yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    def batch(self, requests: Sequence[Request]) -> list[Failure]:
        """Send all, in as few datagrams as the socket's buffers have room for; one answer for each
        request, errno 0 for those that were carried out."""
        return [answer for part in self._parts(requests) for answer in self._batch(part)]

    def _parts(self, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        if self._room is None:
            self._room = _room(self._transport)
        most, answers = self._room
        start = size = 0
        for at, request in enumerate(requests):
            own = len(request.body) + _HEADER_AND_PADDING
            if at > start and (size + own > most or at - start >= answers):
                yield requests[start:at]
                start, size = at, 0
            size += own
        yield requests[start:]

    def _batch(self, requests: Sequence[Request]) -> list[Failure]:
        first = self._sequence + 1
        parts = [message.encode(request, first + i) for i, request in enumerate(requests[:-1])]
        last = requests[-1]
        self._sequence += len(requests)
        parts.append(
            message.encode(Request(last.kind, last.flags | ACK, last.body), self._sequence)
        )
        syscalls.send(self._transport, b"".join(parts))
        answers = [_ACKNOWLEDGED] * len(requests)
        while True:
            for reply in message.split(self._transport.recv(_RECEIVE)):
                if reply.kind != ERROR or not first <= reply.sequence <= self._sequence:
                    continue
                answers[reply.sequence - first] = message.failure_of(reply)
                if reply.sequence == self._sequence:
                    return answers

    def dump(
        self, request: Request, wanted: Callable[[Reply], bool] = lambda _reply: True
    ) -> list[Reply]:
        """All ``wanted`` messages of a table, consistent in themselves. Raises
        :class:`KernelError`."""
        for _attempt in range(_RETRIES):
            self._sequence += 1
            self._transport.send(
                message.encode(
                    Request(request.kind, request.flags | DUMP, request.body), self._sequence
                )
            )
            found = self._collect(self._sequence, wanted)
            if found is not None:
                return found
        raise KernelError(
            f"netlink dump {request.kind}",
            errno.EINTR,
            f"interrupted {_RETRIES} times: the network changes too fast",
            advice="run the command again",
        )

    def _collect(self, sequence: int, wanted: Callable[[Reply], bool]) -> list[Reply] | None:
        """The replies of one dump; None where it has to be asked for again."""
        found: list[Reply] = []
        interrupted = False
        while True:
            try:
                data = self._transport.recv(_RECEIVE)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            for reply in message.split(data):
                if reply.sequence != sequence:
                    continue
                interrupted |= bool(reply.flags & DUMP_INTR)
                if reply.kind in (DONE, ERROR):
                    failure = message.failure_of(reply)
                    if failure.errno in (errno.EINTR, errno.EBUSY):
                        return None
                    if failure.errno:
                        said = failure.said or _words(failure.errno)
                        raise KernelError(
                            f"netlink dump after message {sequence}", failure.errno, said
                        )
                    return None if interrupted else found
                if wanted(reply):
                    found.append(reply)

    def get(self, request: Request) -> Reply | Failure:
        """One question with one answer, or the failure."""
        self._sequence += 1
        self._transport.send(message.encode(request, self._sequence))
        while True:
            for reply in message.split(self._transport.recv(_RECEIVE)):
                if reply.sequence == self._sequence:
                    return message.failure_of(reply) if reply.kind == ERROR else reply

    def cookie(self) -> int:
        """The number that tells this socket's network namespace from all others since boot
        (SO_NETNS_COOKIE, Linux 5.14); 0 where the kernel has none."""
        if not isinstance(self._transport, socket.socket):
            return 0
        try:
            (number,) = struct.unpack(
                "=Q", self._transport.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
            )
        except OSError:
            return 0
        return int(number)


def _room(transport: Transport) -> tuple[int, int]:
    """How many bytes one datagram may have, and for how many answers there is room: all messages of
    it may fail, and who does not fetch the answers loses them (net.core.wmem_default and
    rmem_default, which small machines lower)."""
    if not isinstance(transport, socket.socket):
        return 1 << 30, 1 << 30
    send, receive = (
        transport.getsockopt(socket.SOL_SOCKET, which)
        for which in (socket.SO_SNDBUF, socket.SO_RCVBUF)
    )
    return send - _OF_A_DATAGRAM, max(1, receive // _AN_ANSWER)


def _open(protocol: int) -> socket.socket:
    kind = _traced() if debug.VARIABLE in os.environ else socket.socket
    try:
        opened = kind(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        error.filename = "socket(2) of netlink"
        raise
    opened.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
    opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    return opened


@contextmanager
def opened_by(opener: Callable[[int], Transport]) -> Iterator[None]:
    """While it lasts, ``opener`` gives the sockets, by their protocol. For tests."""
    global _open
    before, _open = _open, opener  # type: ignore[assignment]  # less than a socket will do
    try:
        yield
    finally:
        _open = before


def _traced() -> type[socket.socket]:
    if not debug.asked_for("netlink"):
        return socket.socket
    from bascule.host.trace import Traced

    return Traced


def _words(number: int) -> str:
    return os.strerror(number)
