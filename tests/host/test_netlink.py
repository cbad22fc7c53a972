"""The netlink socket against a kernel that is a function: requests in, replies out."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from bascule.errors import KernelError
from bascule.host.netlink import Netlink
from bascule.testing import FakeKernel, done, failed, in_turn, reply
from bascule.wire.message import DUMP_INTR, MULTI, Reply, Request

QUESTION = Request(18, 0, b"\0" * 16)


def _whole(asked: Sequence[Reply]) -> list[bytes | OSError]:
    return [reply(asked[0], b"link", MULTI), done(asked[0])]


def _interrupted(asked: Sequence[Reply]) -> list[bytes | OSError]:
    flags = MULTI | DUMP_INTR
    return [reply(asked[0], b"link", flags), done(asked[0], flags)]


def _overrun(_asked: Sequence[Reply]) -> list[bytes | OSError]:
    return [OSError(errno.ENOBUFS, "no buffer space")]


def _failed(asked: Sequence[Reply]) -> list[bytes | OSError]:
    return [failed(asked[0], errno.EPERM)]


def test_a_dump_that_was_interrupted_is_asked_for_again() -> None:
    """NLM_F_DUMP_INTR and ENOBUFS are dealt with here and nowhere else."""
    kernel = FakeKernel(in_turn(_interrupted, _overrun, _whole))
    assert [reply.body for reply in Netlink(transport=kernel).dump(QUESTION)] == [b"link"]
    assert len(kernel.asked) == 3


def test_a_dump_that_is_always_interrupted_fails() -> None:
    """After a bounded number of tries, and not with half a table."""
    with pytest.raises(KernelError, match="interrupted 20 times"):
        Netlink(transport=FakeKernel(_interrupted)).dump(QUESTION)


def test_a_refused_dump_says_why() -> None:
    """The kernel's number in words."""
    with pytest.raises(KernelError, match="Operation not permitted"):
        Netlink(transport=FakeKernel(_failed)).dump(QUESTION)


def test_a_failure_in_a_batch_is_found_by_its_sequence_number() -> None:
    """The kernel goes on after a failed message: exactly that one is reported, the others count as
    done."""

    def answer(asked: Sequence[Reply]) -> list[bytes | OSError]:
        stray = failed(asked[1]._replace(sequence=999_999), errno.EIO)
        return [failed(asked[1], errno.EEXIST) + stray, failed(asked[2], 0)]

    answers = Netlink(transport=FakeKernel(answer)).batch([QUESTION] * 3)
    assert [answer.errno for answer in answers] == [0, errno.EEXIST, 0]
