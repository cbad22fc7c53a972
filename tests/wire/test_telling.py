"""Netlink messages as lines of text: names where they are known, numbers and bytes where not."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from bascule.wire import conntrack, message, netfilter, telling
from bascule.wire import route as rt
from bascule.wire.message import Request
from bascule.wire.telling import NETFILTER, ROUTE


def _line(protocol: int, request: Request, sequence: int = 7) -> str:
    (line,) = telling.told(protocol, message.encode(request, sequence))
    return line


def _attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) & 3)


def test_a_veth_pair() -> None:
    """Kind, flags and attributes by name, also those inside of others."""
    peer = rt.IFINFO.pack(0, 0, 9, 0, 0) + rt.LINK.encode({"ifname": "eth0"})
    info = {"kind": "veth", "data": rt.VETH_INFO.encode({"peer": peer})}
    body = rt.IFINFO.pack(0, 0, 8, 1, 1) + rt.LINK.encode(
        {"ifname": "veth-a", "address": bytes.fromhex("020000000001"), "linkinfo": info}
    )
    flags = message.ACK | message.CREATE | message.EXCL
    assert _line(ROUTE, Request(rt.NEWLINK, flags, body)) == (
        "RTM_NEWLINK 7 REQUEST|ACK|EXCL|CREATE: family 0 type 0 index 8 flags 0x1 change 0x1 "
        "ifname=veth-a address=02:00:00:00:00:01 "
        f"linkinfo={{kind=veth data={{peer={{{peer[:16].hex()} ifname=eth0}}}}}}"
    )


def test_an_address() -> None:
    """As a person writes it."""
    body = rt.IFADDR.pack(2, 24, 0, 0, 8) + rt.ADDRESS.encode({"local": bytes((10, 1, 0, 1))})
    assert _line(ROUTE, Request(rt.NEWADDR, 0, body)).endswith("index 8 local=10.1.0.1")


def test_what_is_not_known() -> None:
    """Number and bytes, of an attribute, of what is nested in one, of a message."""
    unknown = _attribute(777, b"\1\2")
    body = bytes(16) + unknown + _attribute(0x8000 | 778, unknown)
    line = _line(ROUTE, Request(rt.NEWLINK, 0, body))
    assert line.endswith("777=0102 778={777=0102}")
    assert _line(ROUTE, Request(2222, 0x1000, b"\3")) == "kind 2222 7 REQUEST|0x1000: 03"
    assert _line(NETFILTER, Request(0x7F01, 0, b"")) == "kind 0x7f01 7 REQUEST:"


def test_questions() -> None:
    """The same bits are a dump where something is asked."""
    assert _line(ROUTE, Request(rt.GETRULE, message.DUMP, bytes(12))).startswith(
        "RTM_GETRULE 7 REQUEST|DUMP: family 0 "
    )
    assert "table=mine chain=in" in _line(NETFILTER, netfilter.list_rules("inet", "mine", "in"))
    assert _line(NETFILTER, netfilter.list_tables()).startswith("NFT_MSG_GETTABLE 7 REQUEST|DUMP")
    assert _line(NETFILTER, conntrack.list_flows()).startswith("IPCTNL_MSG_CT_GET 7 REQUEST|DUMP")


def test_an_error_is_told_with_the_kernel_s_words() -> None:
    """And with the message that it answers."""
    failed = message.encode(Request(rt.NEWLINK, 0, b""), 7)
    said = _attribute(1, b"no room\0")
    body = struct.pack("=i", -17) + failed + said
    flags = message.CAPPED | message.ACK_TLVS
    data = message.HEADER.pack(16 + len(body), message.ERROR, flags, 7, 0) + body
    assert list(telling.told(ROUTE, data)) == [
        "NLMSG_ERROR 7 CAPPED|ACK_TLVS: EEXIST to RTM_NEWLINK: no room"
    ]
    done = message.HEADER.pack(20, message.DONE, message.MULTI, 7, 0) + bytes(4)
    assert list(telling.told(ROUTE, done)) == ["NLMSG_DONE 7 MULTI: done"]


@given(st.binary(max_size=200), st.sampled_from([ROUTE, NETFILTER]), st.integers(0, 3000))
def test_whatever_comes_is_told(body: bytes, protocol: int, kind: int) -> None:
    """Torn, lying or deeply nested: in printable lines, and nothing is raised."""
    for data in (body, message.encode(Request(kind, 0, body), 1)):
        assert all(line.isprintable() for line in telling.told(protocol, data))


def test_a_name_obeys_no_terminal() -> None:
    """What others chose is spelt."""
    body = bytes(16) + rt.LINK.encode({"ifname": "a\x1b[2J"})
    assert _line(ROUTE, Request(rt.NEWLINK, 0, body)).endswith("ifname=a\\x1b[2J")
