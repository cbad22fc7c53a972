"""Bridges and their ports as kernels tell them that have what this one may lack: VLAN filtering,
VRFs, ipvlan, WireGuard. The kernel's bytes, the facts, and what `up` does about them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from bascule.host.inside import look
from bascule.host.netlink import Netlink
from bascule.kernel import bridge, veth
from bascule.kernel.bridge import Bridge, BridgeSetting
from bascule.kernel.fact import Fact
from bascule.kernel.link import ChangeLink
from bascule.kernel.look import Scope, look_of
from bascule.kernel.op import Indexes
from bascule.kernel.uplink import unfit
from bascule.kernel.veth import End, Veth
from bascule.plan.diff import Plan, diff
from bascule.testing import FakeKernel, Tables
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import pack_mac
from bascule.wire.message import Reply

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
ETHER, NONE, LOOPBACK = 1, 0xFFFE, 772
LAN = Bridge("", "lan", 1500, MAC)


def _link(index: int, name: str, kind: str = "", type: int = ETHER, **more: Any) -> bytes:
    """A link as RTM_NEWLINK tells it; ``data`` are the attributes of its kind, as bytes."""
    data = more.pop("data", b"")
    values = {"ifname": name, "mtu": 1500, "address": pack_mac(more.pop("mac", MAC)), **more}
    if kind:
        values["linkinfo"] = {"kind": kind, "data": data}
    head = struct.pack("=BxHiII", 0, type, index, rt.IFF_UP, 0)
    return head + rt.LINK.encode(values)


def _facts(links: list[bytes], inside: list[bytes] | None = None) -> tuple[list[Fact], Indexes]:
    """What the nouns read of a world with these links, and of a node a with those ``inside``."""
    spaces = [look(Netlink(transport=_kernel(each))) for each in (links, inside or [])]
    names = {("", link.name) for link in spaces[0].links.values()} & {("", "lan"), ("", "veth-a")}
    scope = Scope(nodes=("a",), links=frozenset(names), interfaces=frozenset(names))
    indexes = Indexes()
    for node, space in zip(("", "a"), spaces, strict=True):
        for link in space.links.values():
            indexes.learn(node, link.name, link.ifindex)
    found = look_of(scope, spaces[0], {"a": spaces[1]}, {"a": spaces[1]})
    return [*bridge.NOUN.read(found), *veth.NOUN.read(found)], indexes


def _kernel(links: list[bytes]) -> FakeKernel:
    return FakeKernel(Tables({rt.GETLINK: links, rt.GETADDR: [], rt.GETROUTE: []}))


def _lines(plan: Plan) -> list[str]:
    return [line for op in plan.ops for line in op.shell()]


def test_filtering_of_vlans_is_put_back() -> None:
    """First what the kernel changes in any case, then what it changes only when that is off."""
    data = rt.BRIDGE_INFO.encode(
        {"vlan_default_pvid": 7, "vlan_filtering": 1, "stp_state": 0, "ageing_time": 30_000}
    )
    have, indexes = _facts([_link(9, "lan", "bridge", data=data)])
    assert have == [
        LAN,
        BridgeSetting("", "lan", "vlan_filtering", 1),
        BridgeSetting("", "lan", "vlan_default_pvid", 7),
    ]
    plan = diff([LAN], have, indexes)
    assert [(change.sign, change.fact.describe()) for change in plan.changes] == [
        ("-", "vlan_filtering 1 on lan"),
        ("-", "vlan_default_pvid 7 on lan"),
    ]
    assert _lines(plan) == [
        "ip link set dev lan type bridge vlan_filtering 0",
        "ip link set dev lan type bridge vlan_default_pvid 1",
    ]
    backs = [op.undo() for op in reversed(plan.ops)]
    assert [back.shell() for back in backs if back is not None] == [
        ("ip link set dev lan type bridge vlan_default_pvid 7",),
        ("ip link set dev lan type bridge vlan_filtering 1",),
    ]


@pytest.mark.parametrize("told", [{}, {"vlan_filtering": 0, "vlan_default_pvid": 1}])
def test_a_bridge_as_it_is_made(told: dict[str, int]) -> None:
    """Of a kernel with VLAN filtering or without: nothing is amiss."""
    have, indexes = _facts([_link(9, "lan", "bridge", data=rt.BRIDGE_INFO.encode(told))])
    assert not diff([LAN], have, indexes)


def test_a_bridge_that_is_in_something_is_taken_out() -> None:
    """A VRF, a bond: it would have the machine's routes no more."""
    have, indexes = _facts([_link(9, "lan", "bridge", master=12), _link(12, "blue", "vrf")])
    plan = diff([LAN], have, indexes)
    assert [(change.sign, change.reason) for change in plan.changes] == [
        ("~", "master is blue, should be none")
    ]
    assert plan.ops == [ChangeLink("", "lan", 9, "master", "blue", "", (12, 0))]
    assert _lines(plan) == ["ip link set dev lan nomaster"]
    back = plan.ops[0].undo()
    assert back is not None
    assert back.shell() == ("ip link set dev lan master blue",)


@pytest.mark.parametrize("where", ["", "a"])
def test_an_end_that_is_in_a_vrf_is_taken_out(where: str) -> None:
    """The node's, and the bridge's port, which goes back to its bridge."""
    near = _link(20, "veth-a", "veth", link=21, master=12 if not where else 9, link_netnsid=0)
    far = _link(21, "eth0", "veth", link=20, mac=OTHER, **({"master": 12} if where else {}))
    have, indexes = _facts(
        [_link(9, "lan", "bridge"), near, _link(12, "red", "vrf")], [far, _link(12, "red", "vrf")]
    )
    want = Veth(End("", "veth-a", 1500, MAC, "lan"), End("a", "eth0", 1500, OTHER))
    plan = diff([LAN, want], have, indexes)
    assert [change.reason for change in plan.changes] == [
        "peer bridge is red, should be none" if where else "bridge is red, should be lan"
    ]
    assert _lines(plan) == [
        "ip -n a link set dev eth0 nomaster" if where else "ip link set dev veth-a master lan"
    ]


def _mode(number: int) -> bytes:
    return rt.MACVLAN_INFO.encode({"mode": number})


PARENT = _link(3, "eth7")
UNFIT: dict[str, tuple[bytes, list[bytes], str]] = {
    "an ordinary NIC": (PARENT, [], ""),
    "a veth": (_link(3, "v", "veth", link=3), [], ""),
    "a bridge": (_link(3, "br0", "bridge"), [], "is a bridge, and a bridge is no port of another"),
    "a VRF": (_link(3, "red", "vrf"), [], "is a VRF, by which no frames pass"),
    "lo": (_link(1, "lo", "", LOOPBACK), [], "is the loopback interface"),
    "WireGuard": (
        _link(3, "wg0", "wireguard", NONE),
        [],
        "carries packets without Ethernet frames (wireguard), and a bridge passes frames",
    ),
    "a tun": (_link(3, "tun0", "tun", NONE), [], "carries packets without Ethernet frames (tun)"),
    "a tap": (_link(3, "tap0", "tun"), [], ""),
    "PPP": (_link(3, "ppp0", "", 512), [], "carries packets without Ethernet frames (no Ether"),
    "an ipvlan": (
        _link(3, "ip0", "ipvlan", link=9),
        [],
        "is an ipvlan, which passes packets of it",
    ),
    "an ipvtap": (_link(3, "ip0", "ipvtap", link=9), [], "is an ipvtap, which"),
    "a macvlan": (
        _link(3, "mv0", "macvlan", link=9, data=_mode(4)),
        [],
        "is a macvlan, which takes frames to its own MAC only, unless in mode passthru",
    ),
    "a macvlan in mode passthru": (_link(3, "mv0", "macvlan", link=9, data=_mode(8)), [], ""),
    "what a macvlan stands on": (
        PARENT,
        [_link(4, "mv0", "macvlan", link=3)],
        "has mv0 on it, a macvlan, which takes what comes in",
    ),
    "what an ipvlan stands on": (
        PARENT,
        [_link(4, "ip0", "ipvlan", link=3)],
        "has ip0 on it, an ipvlan, which takes what comes in",
    ),
    "what a VLAN stands on": (PARENT, [_link(4, "eth7.5", "vlan", link=3)], ""),
    "another's parent": (PARENT, [_link(4, "mv0", "macvlan", link=5)], ""),
    # of the same number, in another namespace
    "a number elsewhere": (PARENT, [_link(4, "mv0", "macvlan", link=3, link_netnsid=0)], ""),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_can_be_no_port(name: str) -> None:
    """In words, before the kernel would say EINVAL, ELOOP or EBUSY at the worst time."""
    link, others, expected = UNFIT[name]
    found = [rows.decode_link(Reply(rt.NEWLINK, 0, 0, body)) for body in (link, *others)]
    told = unfit(found[0], found)
    assert told.startswith(expected) if expected else not told
