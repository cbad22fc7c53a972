"""bascule.testing: a kernel that answers from memory, for tests of users, too."""

from __future__ import annotations

import errno

import pytest

from bascule.errors import KernelError
from bascule.host.netlink import NETFILTER, Netlink
from bascule.testing import FakeKernel, Tables, failed, opened_by
from bascule.wire import netfilter, rows
from bascule.wire import route as rt
from bascule.wire.message import DUMP, Failure, Reply, Request

DUMP_OF_LINKS = Request(rt.GETLINK, 0, rt.IFINFO.pack(0, 0, 0, 0, 0))


def _link(index: int, name: str) -> bytes:
    return rt.IFINFO.pack(0, 1, index, 0, 0) + rt.LINK.encode({"ifname": name})


def test_tables_are_dumped() -> None:
    """In as many datagrams as a kernel would need, and found again by what reads them."""
    names = [f"link{at}" for at in range(5000)]
    kernel = FakeKernel(Tables({rt.GETLINK: [_link(at, name) for at, name in enumerate(names)]}))
    found = Netlink(transport=kernel).dump(DUMP_OF_LINKS)
    assert [rows.decode_link(reply).name for reply in found] == names
    assert {reply.kind for reply in found} == {rt.NEWLINK}
    assert [(asked.kind, asked.flags & DUMP) for asked in kernel.asked] == [(rt.GETLINK, DUMP)]


def test_changes_are_acknowledged_or_refused() -> None:
    """By their kind; nothing else is changed by them."""
    kernel = FakeKernel(Tables({}, {rt.NEWADDR: errno.EEXIST}))
    requests = [Request(kind, 0, b"") for kind in (rt.NEWLINK, rt.NEWADDR, rt.NEWROUTE)]
    assert [answer.errno for answer in Netlink(transport=kernel).batch(requests)] == [
        0,
        errno.EEXIST,
        0,
    ]


def test_one_thing_is_asked_for() -> None:
    """The first of its table, or none."""
    opened = Netlink(transport=FakeKernel(Tables({rt.GETLINK: [_link(7, "lan")], rt.GETADDR: []})))
    found = opened.get(DUMP_OF_LINKS)
    assert isinstance(found, Reply)
    assert rows.link_index(found) == 7
    assert opened.get(Request(rt.GETADDR, 0, b"")) == Failure(errno.ENOENT, "")


def test_the_kernel_s_own_words() -> None:
    """As extended acknowledgements tell them."""
    kernel = FakeKernel(lambda asked: [failed(asked[0], errno.EPERM, "not now")])
    with pytest.raises(KernelError, match="not now"):
        Netlink(transport=kernel).dump(DUMP_OF_LINKS)


def test_sockets_are_its_own_while_it_lasts() -> None:
    """Of each protocol."""
    body = netfilter.NFGEN.pack(1, 0, 0) + b"\x09\0\1\0mine\0\0\0\0"
    kernel = FakeKernel(Tables({netfilter.GETTABLE: [body]}))
    with opened_by(kernel), Netlink(NETFILTER) as opened:
        (found,) = opened.dump(netfilter.list_tables())
    assert netfilter.table(found) == ("inet", "mine", "")
    assert repr(kernel) == "<FakeKernel asked 1 times, 0 answers unread>"
    with pytest.raises(BlockingIOError):
        kernel.recv(1)
