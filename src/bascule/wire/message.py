"""Netlink messages: the header, the error answer and its extended acknowledgement (netlink(7),
linux/netlink.h).

struct nlmsghdr { __u32 nlmsg_len; __u16 nlmsg_type; __u16 nlmsg_flags; __u32 nlmsg_seq; __u32
nlmsg_pid; };
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from bascule.wire.attributes import Table, WireError, text, u32

HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")

ERROR, DONE = 2, 3

REQUEST, MULTI, ACK, DUMP_INTR = 0x1, 0x2, 0x4, 0x10
DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_MAX_ERRNO = 4095  # linux/err.h

CAPPED, ACK_TLVS = 0x100, 0x200  # flags of an error answer

_EXTACK = Table(msg=(1, text), offs=(2, u32))


class Request(NamedTuple):
    """A message without its header's sequence number: that is the sender's."""

    kind: int
    flags: int
    body: bytes


class Reply(NamedTuple):
    """A received message; ``body`` is what follows the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Failure(NamedTuple):
    """An error answer: positive errno and the kernel's own sentence, or an empty one. ``errno`` 0
    is an acknowledgement."""

    errno: int
    said: str


def encode(request: Request, sequence: int) -> bytes:
    """The message with its header, padded to 4 bytes."""
    size = HEADER.size + len(request.body)
    header = HEADER.pack(size, request.kind, request.flags | REQUEST, sequence, 0)
    return header + request.body + b"\0" * (-size & 3)


def split(data: bytes) -> Iterator[Reply]:
    """The messages of one datagram. Raises :class:`WireError` where a length lies."""
    offset, end = 0, len(data)
    while end - offset >= HEADER.size:
        size, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if size < HEADER.size or offset + size > end:
            raise WireError(f"a message of {size} bytes at {offset} in {end}")
        yield Reply(kind, flags, sequence, data[offset + HEADER.size : offset + size])
        offset += (size + 3) & ~3


def failure_of(reply: Reply) -> Failure:
    """What an NLMSG_ERROR, or an NLMSG_DONE that carries an error, says. Raises :class:`WireError`
    when torn."""
    if len(reply.body) < _ERROR.size:
        if reply.kind == DONE:
            return Failure(0, "")
        raise WireError("an error answer without its number")
    errno = -_ERROR.unpack_from(reply.body)[0]
    if errno > _MAX_ERRNO:
        raise WireError(f"error number {errno}")
    if errno <= 0 or not reply.flags & ACK_TLVS:
        return Failure(max(errno, 0), "")
    offset = _ERROR.size
    # struct nlmsgerr: the number, then the failed message, whole unless capped
    if reply.kind == ERROR:
        if len(reply.body) < offset + HEADER.size:
            return Failure(errno, "")
        (size, *_rest) = HEADER.unpack_from(reply.body, offset)
        offset += HEADER.size if reply.flags & CAPPED else (size + 3) & ~3
    found = _EXTACK.decode(reply.body[offset:])
    return Failure(errno, found.get("msg", ""))
