"""The netlink socket against a kernel that is a function: requests in, replies out."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from bascule.errors import KernelError
from bascule.host.netlink import Netlink
from bascule.wire import message
from bascule.wire.message import Request

Answer = Callable[[list[tuple[int, int]]], list[bytes | OSError]]
QUESTION = Request(18, 0, b"\0" * 16)


class FakeKernel:
    """Answers each datagram by a function of the (kind, sequence) of its messages."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self._queue: list[bytes | OSError] = []
        self.asked = 0

    def send(self, data: bytes) -> int:
        self.asked += 1
        messages = [(reply.kind, reply.sequence) for reply in message.split(data)]
        self._queue += self._answers.pop(0)(messages)
        return len(data)

    def recv(self, _size: int) -> bytes:
        found = self._queue.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        """Nothing to close."""


def _message(kind: int, flags: int, sequence: int, body: bytes = b"") -> bytes:
    return message.HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body


def _whole(asked: list[tuple[int, int]]) -> list[bytes | OSError]:
    sequence = asked[0][1]
    return [
        _message(16, message.MULTI, sequence, b"link"),
        _message(message.DONE, message.MULTI, sequence, b"\0" * 4),
    ]


def _interrupted(asked: list[tuple[int, int]]) -> list[bytes | OSError]:
    sequence = asked[0][1]
    flags = message.MULTI | message.DUMP_INTR
    return [
        _message(16, flags, sequence, b"link"),
        _message(message.DONE, flags, sequence, b"\0" * 4),
    ]


def _overrun(asked: list[tuple[int, int]]) -> list[bytes | OSError]:
    return [OSError(errno.ENOBUFS, "no buffer space")]


def _failed(asked: list[tuple[int, int]]) -> list[bytes | OSError]:
    sequence = asked[0][1]
    return [_message(message.ERROR, 0, sequence, struct.pack("=i", -errno.EPERM) + b"\0" * 16)]


def test_a_dump_that_was_interrupted_is_asked_for_again() -> None:
    """NLM_F_DUMP_INTR and ENOBUFS are dealt with here and nowhere else."""
    kernel = FakeKernel(_interrupted, _overrun, _whole)
    assert [reply.body for reply in Netlink(transport=kernel).dump(QUESTION)] == [b"link"]
    assert kernel.asked == 3


def test_a_dump_that_is_always_interrupted_fails() -> None:
    """After a bounded number of tries, and not with half a table."""
    with pytest.raises(KernelError, match="interrupted 20 times"):
        Netlink(transport=FakeKernel(*[_interrupted] * 20)).dump(QUESTION)


def test_a_refused_dump_says_why() -> None:
    """The kernel's number in words."""
    with pytest.raises(KernelError, match="Operation not permitted"):
        Netlink(transport=FakeKernel(_failed)).dump(QUESTION)


def test_a_failure_in_a_batch_is_found_by_its_sequence_number() -> None:
    """The kernel goes on after a failed message: exactly that one is reported, the others count as
    done."""

    def answer(asked: list[tuple[int, int]]) -> list[bytes | OSError]:
        failed = _message(
            message.ERROR, 0, asked[1][1], struct.pack("=i", -errno.EEXIST) + b"\0" * 16
        )
        stray = _message(message.ERROR, 0, 999_999, struct.pack("=i", -errno.EIO) + b"\0" * 16)
        done = _message(message.ERROR, 0, asked[2][1], struct.pack("=i", 0) + b"\0" * 16)
        return [failed + stray, done]

    answers = Netlink(transport=FakeKernel(answer)).batch([QUESTION] * 3)
    assert [answer.errno for answer in answers] == [0, errno.EEXIST, 0]
