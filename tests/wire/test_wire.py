"""Bytes and values: every protocol case is a byte string here, and nothing that comes in is
trusted."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.wire import inet, message, netfilter
from bascule.wire import route as rt
from bascule.wire.attributes import WireError
from bascule.wire.message import Reply, Request

MACS = st.binary(min_size=6, max_size=6)


def test_a_link_message_is_what_ip_sends() -> None:
    """`ip link add lan mtu 1400 type bridge`, byte for byte."""
    body = rt.IFINFO.pack(0, 0, 7, 1, 1) + rt.LINK.encode(
        {"ifname": "lan", "mtu": 1400, "linkinfo": {"kind": "bridge"}}
    )
    assert message.encode(Request(rt.NEWLINK, message.CREATE | message.EXCL, body), 1).hex(
        " ", 4
    ) == (
        # nlmsghdr: 64 bytes, RTM_NEWLINK, REQUEST|EXCL|CREATE, sequence 1
        "40000000 10000106 01000000 00000000 "
        "00000000 07000000 01000000 01000000 "  # ifinfomsg: index 7, flags IFF_UP, change IFF_UP
        "08000300 6c616e00 "  # IFLA_IFNAME "lan"
        "08000400 78050000 "  # IFLA_MTU 1400
        "10001280 0b000100 62726964 67650000"  # IFLA_LINKINFO, nested: IFLA_INFO_KIND "bridge"
    )


def test_a_misspelt_attribute_is_refused() -> None:
    """It can't be sent in silence."""
    with pytest.raises(KeyError):
        rt.LINK.encode({"mater": 3})


@given(
    st.integers(0, 2**32 - 1),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=15),
    MACS,
)
def test_attributes_round_trip(number: int, name: str, mac: bytes) -> None:
    """What is encoded is decoded."""
    values = {"mtu": number, "ifname": name, "address": mac}
    assert rt.LINK.decode(rt.LINK.encode(values)) == values


@given(st.binary(max_size=200))
def test_decoding_anything_gives_values_or_a_wire_error(data: bytes) -> None:
    """Torn, lying and nested lengths: never another exception, never a hang."""
    try:
        for reply in message.split(data):
            message.failure_of(reply)
        rt.LINK.decode(data)
        netfilter.base_chain(Reply(0, 0, 0, data))
        netfilter.accept(Reply(0, 0, 0, data))
        netfilter.step(Reply(0, 0, 0, data))
    except WireError:
        pass


@pytest.mark.parametrize(
    "data",
    ["0300 0100", "ff00 0100 00000000", "0000 0000", "0600 0400 0000"],
    ids=[
        "shorter than its header",
        "longer than the message",
        "of no length at all",
        "a number cut short",
    ],
)
def test_a_lying_attribute_is_refused(data: str) -> None:
    """With the place where it lies."""
    with pytest.raises(WireError):
        rt.LINK.decode(bytes.fromhex(data.replace(" ", "")))


def test_a_lying_message_is_refused() -> None:
    """A header that promises more bytes than there are."""
    with pytest.raises(WireError, match="a message of 99 bytes at 0 in 16"):
        list(message.split(struct.pack("=IHHII", 99, 2, 0, 1, 0)))


def _error(number: int, flags: int, rest: bytes = b"") -> Reply:
    original = message.HEADER.pack(16, rt.NEWLINK, 5, 1, 0)
    return Reply(message.ERROR, flags, 1, struct.pack("=i", number) + original + rest)


def test_an_acknowledgement_is_errno_nought() -> None:
    """NLMSG_ERROR with 0."""
    assert message.failure_of(_error(0, message.CAPPED)) == (0, "")


def test_the_kernels_own_words_are_read() -> None:
    """NLMSGERR_ATTR_MSG of the extended acknowledgement, after the capped header."""
    words = struct.pack("=HH", 4 + 9, 1) + b"no buffer" + b"\0\0\0"
    assert message.failure_of(_error(-105, message.CAPPED | message.ACK_TLVS, words)) == (
        105,
        "no buffer",
    )


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_addresses_round_trip(address: IPv4Address | IPv6Address) -> None:
    """As inet_pton(3) and inet_ntop(3) have them, IPv6 in its canonical form."""
    packed = inet.pack_address(str(address))
    assert packed == address.packed
    assert inet.unpack_address(packed) == str(address)


@given(MACS)
def test_macs_round_trip(mac: bytes) -> None:
    """Lower case, with colons."""
    assert inet.pack_mac(inet.unpack_mac(mac)) == mac


def test_next_hops_of_a_route() -> None:
    """Each with attributes of its own, which are passed over; torn or lying ones are refused."""
    first = struct.pack("=HBBi", 16, 0, 0, 7) + struct.pack("=HHI", 8, 5, 0x01020304)
    second = struct.pack("=HBBi", 8, 0, 0, 9)
    assert [hop.ifindex for hop in rt.next_hops(first + second)] == [7, 9]
    assert list(rt.next_hops(b"")) == []
    for torn in (
        first[:7],
        first[:15],
        struct.pack("=HBBi", 4, 0, 0, 7),
        struct.pack("=HBBi", 0, 0, 0, 7),
    ):
        with pytest.raises(WireError):
            list(rt.next_hops(torn))
