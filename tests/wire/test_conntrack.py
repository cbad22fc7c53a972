"""Flows as bytes and as text: what this kernel has said, what conntrack(8) sends, and nothing that
is torn is believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.wire import conntrack, message
from bascule.wire.attributes import WireError
from bascule.wire.conntrack import ASSURED, EXPECTED, ICMP, ICMPV6, TCP, UDP, Flow, Tuple
from bascule.wire.message import Reply

# Dumped by Linux 6.18, in the order in which the kernel writes it.
UDP4 = (
    "02000000 "  # nfgenmsg: AF_INET
    # CTA_TUPLE_ORIG: 192.0.2.1 → 192.0.2.2
    "34000180 14000180 08000100 c0000201 08000200 c0000202 "
    "1c000280 05000100 11000000 06000200 1b580000 06000300 13880000 "  # udp, 7000 → 5000
    "34000280 14000180 08000100 c0000202 08000200 c0000201 "  # CTA_TUPLE_REPLY
    "1c000280 05000100 11000000 06000200 13880000 06000300 1b580000 "
    # status, mark, id, use, timeout
    "08000300 00000008 08000800 00000000 08000c00 bc74ccd0 08000b00 00000001 08000700 0000001d"
)
ICMP6 = (
    "0a000000 54000180 2c000180 14000300 20010db8 00000000 00000000 00000001 14000400 "
    "20010db8 00000000 00000000 00000002 "
    "24000280 05000100 3a000000 06000700 6c1f0000 05000800 80000000 05000900 00000000 "
    "54000280 2c000180 14000300 20010db8 00000000 00000000 00000002 14000400 20010db8 "
    "00000000 00000000 00000001 "
    "24000280 05000100 3a000000 06000700 6c1f0000 05000800 81000000 05000900 00000000 "
    "08000300 0000000a 08000800 00000000 08000c00 db537d35 08000b00 00000001 08000700 0000001d"
)
# `conntrack -D -f ipv4 -p udp -s 192.0.2.1 -d 192.0.2.2 --sport 7000 --dport 5000` names the flow
# by this, among others.
NAMED = (
    "34000180 14000180 08000100 c0000201 08000200 c0000202 1c000280 05000100 11000000 "
    "06000200 1b580000 06000300 13880000"
)
TEXT = b"""\
ipv4     2 udp      17 28 src=192.0.2.1 dst=192.0.2.2 sport=7000 dport=5000 [UNREPLIED] src=192.0.2.2 dst=192.0.2.1 sport=5000 \
dport=7000 mark=0 zone=0 use=2
ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=443 packets=3 bytes=180 src=10.1.0.2 \
dst=192.0.2.2 sport=443 dport=40000 packets=2 bytes=120 [ASSURED] mark=0 secctx=a:b delta-time=3 zone=0 use=2
ipv6     10 icmpv6   58 29 src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 type=128 \
code=0 id=27679 src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:0000:0000:0000:0000:0000:0001 type=129 code=0 id=27679 \
mark=0 zone=0 use=2
ipv4     2 unknown  99 src=192.0.2.1 dst=192.0.2.2 [OFFLOAD] src=192.0.2.2 dst=192.0.2.1 mark=0 use=2
"""  # noqa: E501


def _reply(body: bytes) -> Reply:
    return Reply(conntrack.NEW, 0, 1, body)


def _hex(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def test_a_dumped_flow_is_read() -> None:
    """Both tuples, the status, the id, and the handle by which it is deleted."""
    found = conntrack.flow(_reply(_hex(UDP4)))
    first, second = (
        Tuple("192.0.2.1", "192.0.2.2", UDP, 7000, 5000),
        Tuple("192.0.2.2", "192.0.2.1", UDP, 5000, 7000),
    )
    assert found == Flow(first, second, 8, 0xBC74CCD0, 0, None, _hex(NAMED)[4:])
    echo = conntrack.flow(_reply(_hex(ICMP6)))
    assert echo is not None
    assert (echo.original.icmp, echo.reply.icmp) == ((128, 0, 0x6C1F), (129, 0, 0x6C1F))
    assert (echo.original.protocol, echo.version, found.version) == (ICMPV6, 6, 4)


def test_a_flow_is_deleted_by_the_name_that_the_kernel_gave_it() -> None:
    """Its original tuple, byte for byte, as conntrack(8) does it, and its id: no later flow of the
    same tuple is meant."""
    found = conntrack.flow(_reply(_hex(UDP4)))
    assert found is not None
    assert message.encode(conntrack.delete(found), 1).hex(" ", 4) == (
        # nlmsghdr: 80 bytes, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, REQUEST
        "50000000 02010100 01000000 00000000 "
        f"02000000 {NAMED} 08000c00 bc74ccd0"  # nfgenmsg: AF_INET; CTA_TUPLE_ORIG; CTA_ID
    )


def test_no_message_deletes_all() -> None:
    """One without a tuple would."""
    with pytest.raises(ValueError, match="not read from the kernel"):
        conntrack.delete(
            Flow(Tuple("192.0.2.1", "192.0.2.2", UDP), Tuple("192.0.2.2", "192.0.2.1", UDP))
        )


def test_what_a_program_has_put_into_a_zone_is_told() -> None:
    """For both directions (CTA_ZONE), or for one (CTA_TUPLE_ZONE)."""
    both = _hex(UDP4) + struct.pack("=HH", 6, 18) + b"\0\7\0\0"
    one = bytearray(_hex(UDP4) + b"")
    size = struct.unpack_from("=H", one, 4)[0]
    one[4 + size : 4 + size] = struct.pack("=HH", 6, 3) + b"\0\7\0\0"
    struct.pack_into("=H", one, 4, size + 8)
    for body in (both, bytes(one)):
        found = conntrack.flow(_reply(body))
        assert found is not None and found.zone == 7
        assert found.original == Tuple("192.0.2.1", "192.0.2.2", UDP, 7000, 5000)


def test_a_flow_that_another_told_of_names_it() -> None:
    """CTA_TUPLE_MASTER."""
    master = struct.pack("=HH", 56 - 4, 0x8000 | 14) + _hex(NAMED)[4:]
    found = conntrack.flow(_reply(_hex(UDP4) + master))
    assert found is not None and found.master == Tuple("192.0.2.1", "192.0.2.2", UDP, 7000, 5000)
    assert conntrack.MASTER in master and conntrack.MASTER not in _hex(UDP4)


def test_the_quick_way_reads_the_same() -> None:
    """And leaves to the other what is written in another way."""
    body = _hex(UDP4)
    found, ends = conntrack.flow(_reply(body)), conntrack.packed(_reply(body))
    assert found is not None and ends is not None
    assert conntrack.unpacked(ends) == found[:2]
    six = body
    for four, long in (("c0000201", "01"), ("c0000202", "02")):
        address = bytes.fromhex("20010db8" + "00" * 11 + long)
        for number in (1, 2):
            short = struct.pack("=HH", 8, number) + bytes.fromhex(four)
            six = six.replace(short, struct.pack("=HH", 20, number + 2) + address)
    six = b"\x0a" + six[1:].replace(
        struct.pack("=HH", 0x14, 0x8001), struct.pack("=HH", 0x2C, 0x8001)
    )
    for number in (1, 2):
        six = six.replace(
            struct.pack("=HH", 0x34, 0x8000 | number), struct.pack("=HH", 0x4C, 0x8000 | number)
        )
    found, ends = conntrack.flow(_reply(six)), conntrack.packed(_reply(six))
    assert found is not None and ends is not None
    assert conntrack.unpacked(ends) == found[:2]
    assert found.original == Tuple("2001:db8::1", "2001:db8::2", UDP, 7000, 5000)
    assert conntrack.packed(_reply(_hex(ICMP6))) is None
    assert conntrack.packed(_reply(b"")) is None


def test_the_text_is_read() -> None:
    """Each line, with what the kernel may add: counters, states, security contexts, protocols that
    it does not know."""
    assert [conntrack.spelt(ends) for ends in conntrack.written(TEXT)] == [
        (
            Tuple("192.0.2.1", "192.0.2.2", UDP, 7000, 5000),
            Tuple("192.0.2.2", "192.0.2.1", UDP, 5000, 7000),
        ),
        (
            Tuple("192.0.2.2", "192.0.2.1", TCP, 40000, 443),
            Tuple("10.1.0.2", "192.0.2.2", TCP, 443, 40000),
        ),
        (Tuple("2001:db8::1", "2001:db8::2", ICMPV6), Tuple("2001:db8::2", "2001:db8::1", ICMPV6)),
        (Tuple("192.0.2.1", "192.0.2.2", 99), Tuple("192.0.2.2", "192.0.2.1", 99)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"\n",
        b"ipv4 2 udp 17",
        TEXT[:-1],
        TEXT + b"ipv4     2 udp      17 3 src=1.2.3.4 dst=5.6.7.8\n",
    ],
)
def test_text_of_another_form_is_not_believed(text: bytes) -> None:
    """Then the dump counts."""
    with pytest.raises(WireError):
        list(conntrack.written(text))


@given(
    st.binary(max_size=300) | st.binary(max_size=40).map(lambda more: _hex(UDP4) + more),
    st.integers(0, 200),
    st.binary(max_size=3),
)
def test_decoding_anything_gives_a_flow_or_a_wire_error(
    data: bytes, at: int, others: bytes
) -> None:
    """Torn, lying and nested lengths: never another exception."""
    body = data[:at] + others + data[at + len(others) :]
    try:
        ends = conntrack.packed(_reply(body))
        found = conntrack.flow(_reply(body))
        if found is not None:
            conntrack.delete(found)
            assert ends is None or conntrack.unpacked(ends) == found[:2]
    except WireError:
        pass


@given(
    st.lists(
        st.sampled_from(
            [
                b"src=",
                b"dst=",
                b"1.2.3.4",
                b"999.1.1.1",
                b"::",
                b" ",
                b"ipv4 2 udp 17 1",
                b"\n",
                b"sport=1",
            ]
        )
    )
)
def test_any_text_gives_tuples_or_a_wire_error(words: list[bytes]) -> None:
    try:
        for ends in conntrack.written(b"".join(words)):
            conntrack.spelt(ends)
    except WireError:
        pass


def test_the_bits_are_the_headers() -> None:
    """IPS_EXPECTED and IPS_ASSURED of enum ip_conntrack_status."""
    assert (EXPECTED, ASSURED, ICMP) == (1, 4, 1)
