"""What is found in a dump of the connection tracking: without a kernel, so that it can be large and
odd."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from bascule.host import flows
from bascule.kernel.op import Indexes
from bascule.kernel.passage import Passage, Passages
from bascule.testing import FakeKernel, Tables, opened_by
from bascule.wire import conntrack
from bascule.wire import route as rt
from bascule.wire.conntrack import EXPECTED, TCP, UDP, Tuple
from bascule.wire.message import Reply

LAB = Passage(
    {"10.1.0.0/24": "lan", "fd00:1::/64": "lan"},
    {"10.1.0.2": "a"},
    {(TCP, "0.0.0.0", 21): ("10.1.0.2", 21)},  # noqa: S104
)
HOST, THERE = "192.0.2.1", "192.0.2.2"


def _attribute(number: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, number) + data + bytes(-len(data) & 3)


def _tuple(number: int, ends: Tuple) -> bytes:
    first = 3 if ":" in ends.src else 1
    addresses = b"".join(
        _attribute(first + at, ip_address(end).packed) for at, end in enumerate(ends[:2])
    )
    ports = _attribute(2, struct.pack("!H", ends.sport)) + _attribute(
        3, struct.pack("!H", ends.dport)
    )
    return _attribute(
        0x8000 | number,
        _attribute(0x8001, addresses)
        + _attribute(0x8002, _attribute(1, bytes((ends.protocol,))) + ports),
    )


def dumped(original: Tuple, reply: Tuple | None = None, master: Tuple | None = None) -> Reply:
    """A message of a dump; without ``reply``, of a flow that is not translated."""
    back = reply or Tuple(
        original.dst, original.src, original.protocol, original.dport, original.sport
    )
    status = _attribute(3, struct.pack("!I", EXPECTED if master else 0))
    told = _tuple(14, master) if master else b""
    family = 10 if ":" in original.src else 2
    body = (
        struct.pack("=BBH", family, 0, 0)
        + _tuple(1, original)
        + _tuple(2, back)
        + status
        + _attribute(12, b"abcd")
        + told
    )
    return Reply(conntrack.NEW, 0, 1, body)


def route(prefix: str, kind: int, link: int = 2) -> Reply:
    """A message of a dump of routes."""
    address, _, length = prefix.partition("/")
    packed = ip_address(address).packed
    head = rt.RTMSG.pack(
        2 if len(packed) == 4 else 10, int(length), 0, 0, rt.RT_TABLE_MAIN, 0, 0, kind, 0
    )
    return Reply(24, 0, 1, head + rt.ROUTE.encode({"dst": packed, "oif": link}))


ROUTES = (route(f"{HOST}/32", rt.RTN_LOCAL), route("fe80::1/128", rt.RTN_LOCAL))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A kernel that has these flows, and no text of them."""
    with ExitStack() as stack:

        def has(*replies: Reply) -> None:
            flows_of_it = Tables({conntrack.GET: [reply.body for reply in replies]})
            stack.enter_context(opened_by(FakeKernel(flows_of_it)))
            monkeypatch.setattr(flows, "_count", lambda: len(replies))
            monkeypatch.setattr(flows, "_TEXT", "/nonexistent")
            monkeypatch.setattr(flows, "_BRIDGED", {})

        yield has


def _found(now: Passage | None, *before: Passage) -> list[tuple[Tuple, str]]:
    found = flows.look(lambda: Passages(now, before), ROUTES)
    assert found.why_not == ""
    return [(unfit.flow.original, unfit.why) for unfit in found.unfit]


def test_what_another_flow_told_of_ends_with_it(kernel: Callable[..., None]) -> None:
    """FTP: the data's port is not published, and need not be, as long as that of its orders is."""
    orders, data = Tuple(THERE, HOST, TCP, 4000, 21), Tuple(THERE, HOST, TCP, 4001, 50_000)
    to = Tuple("10.1.0.2", THERE, TCP, 21, 4000), Tuple("10.1.0.2", THERE, TCP, 50_000, 4001)
    other = (
        Tuple("198.51.100.1", HOST, TCP, 4001, 50_001),
        Tuple("10.1.0.2", "198.51.100.1", TCP, 50_001, 4001),
    )
    kernel(
        dumped(data, to[1], orders),
        dumped(orders, to[0]),
        dumped(*other, Tuple("198.51.100.1", HOST, TCP, 1, 21)),
    )
    assert _found(LAB, LAB) == []
    withdrawn = Passage(LAB.subnets, LAB.owners)
    assert _found(withdrawn, LAB) == [
        (orders, "port 21/tcp is no longer published there"),
        (data, "belongs to a flow that ends"),
    ]


def test_routes_say_whose_an_address_is(kernel: Callable[..., None]) -> None:
    """A part of a subnet may be the machine's own, by a longer route; the lab's own bridge and the
    default route say nothing."""
    inside, own = Tuple("10.1.0.130", "10.1.0.140", UDP, 1, 2), Tuple("10.1.0.5", THERE, UDP, 1, 2)
    kernel(dumped(inside), dumped(own))
    bridge = Indexes(0).range.start + 1
    for routes, found in (
        ([], [inside, own]),
        (
            [route("0.0.0.0/0", rt.RTN_UNICAST), route("10.1.0.0/25", rt.RTN_UNICAST, bridge)],
            [inside, own],
        ),
        ([route("10.1.0.128/25", rt.RTN_UNICAST)], [own]),
        ([route("10.1.0.128/25", rt.RTN_UNICAST, bridge)], [inside, own]),
    ):
        unfit = flows.look(lambda: Passages(None, (LAB,), Indexes(0).range), routes).unfit
        assert [each.flow.original for each in unfit] == found


def test_many_flows_of_others_are_passed_over(kernel: Callable[..., None]) -> None:
    """Twenty thousand of others and twenty thousand of a lab's own that fit, and one that does not:
    in the time that each needs by itself, also on a machine that is emulated. Each compared with
    each would be minutes."""
    others = [
        dumped(Tuple(f"172.20.{at >> 8 & 255}.{at & 255}", "10.77.0.1", UDP, 1024 + at, 53))
        for at in range(20_000)
    ]
    mine = [
        dumped(Tuple(f"10.1.0.{2 + at % 200}", "10.1.0.1", UDP, 1024 + at, 53))
        for at in range(20_000)
    ]
    wrong = Tuple("fd00:1::7", "2001:db8::1", UDP, 5, 6)
    kernel(*others, dumped(wrong), *mine)
    now = Passage(LAB.subnets, {"10.1.0.1": ""}, nat={("lan", 6): ""})
    begun = time.process_time()
    assert _found(now, now) == [(wrong, "lan has nat now")]
    assert time.process_time() - begun < 20
