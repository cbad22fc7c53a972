"""Each operation's two forms say the same: its effect in one world, its shell command in another,
and the kernel is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.host.execute import execute
from bascule.host.paths import Paths
from bascule.kernel.address import Address, ChangeAddress
from bascule.kernel.bridge import AddBridge, Bridge
from bascule.kernel.fact import Op
from bascule.kernel.file import PutFile, PutSymlink, SetMode
from bascule.kernel.forwarding import Forwarding, SetForwarding, Settings, turned
from bascule.kernel.link import ChangeLink, DeleteLink
from bascule.kernel.namespace import AddNamespace, DeleteNamespace
from bascule.kernel.op import Indexes
from bascule.kernel.qdisc import DeleteQdisc, Qdisc, SetQdisc
from bascule.kernel.route import ChangeLoopbackRoute, ChangeRoute, Route
from bascule.kernel.ruleset import DeleteRule, ForwardAccept, InsertRule
from bascule.kernel.sysctl import SetSysctl
from bascule.kernel.veth import AddVeth, End, Veth
from bascule.kernel.without_ipv6 import IPv6Off
from sandbox import World, difference, require

BRIDGE = AddBridge(Bridge("", "lan", 1400, "02:00:00:00:00:01"), 100_000)
BRIDGE_DOWN = AddBridge(Bridge("", "lan", 1500, "02:00:00:00:00:01", up=False), 100_000)
NODE = AddNamespace("ns1")
VETH = AddVeth(
    Veth(
        End("", "veth1", 1400, "02:00:00:00:00:02", "lan"),
        End("ns1", "eth0", 1400, "02:00:00:00:00:03"),
    ),
    100_001,
    100,
    100_000,
)
ALONE = AddVeth(
    Veth(
        End("", "veth1", 1500, "02:00:00:00:00:02", up=False),
        End("ns1", "eth0", 1500, "02:00:00:00:00:03"),
    ),
    100_001,
    100,
    0,
)
PEER_UP = ChangeLink("ns1", "eth0", 100, "up", False, True)
BASE: tuple[Op, ...] = (BRIDGE, NODE, VETH, PEER_UP)
A4 = Address("ns1", "eth0", "10.1.0.2", 24)
A6 = Address("ns1", "eth0", "fd00::2", 64)
ADDRESSED: tuple[Op, ...] = (
    *BASE,
    ChangeAddress(A4, 100, add=True),
    ChangeAddress(A6, 100, add=True),
)
DEFAULT = Route("ns1", "0.0.0.0/0", "10.1.0.1", "eth0")
OTHER = Route("ns1", "0.0.0.0/0", "10.1.0.9", "eth0")
DEFAULT6 = Route("ns1", "::/0", "fd00::1", "eth0", 1024)
LOOPBACK = ChangeLoopbackRoute("lan", 100_000, add=True)
FORWARD = ForwardAccept("ip", "filter", "FORWARD", "lan")
CHAIN = (
    "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward "
    "priority 0; policy drop; }'"
)

SLOW = Qdisc("ns1", "eth0", rate=1_250_000, burst=12_500, limit=75_000)
FAST = Qdisc("", "veth1", rate=1_250_000_000, burst=100_000, limit=200_000)
FORWARD6 = Forwarding(6).create(Indexes())
PAIR = AddBridge(Bridge("", "own", 1500, "02:00:00:00:00:01"), 7)
OWN = Settings(
    6,
    {
        "all": {"forwarding": "0"},
        "default": {"forwarding": "0", "accept_ra": "1"},
        "own": {"forwarding": "0", "accept_ra": "1", "force_forwarding": "0"},
    },
    {"own": 7},
)

CASES: dict[str, tuple[Op, ...]] = {
    "bridge": (BRIDGE,),
    "bridge that is down": (BRIDGE_DOWN,),
    "bridge deleted": (BRIDGE, DeleteLink("", "lan", 100_000, BRIDGE)),
    "namespace": (NODE,),
    "pair deleted by the node's end": (*BASE, DeleteLink("ns1", "eth0", 100)),
    "namespace with settings": (
        AddNamespace(
            "ns1", (("net.ipv4.conf.all.accept_redirects", "0"), ("net.ipv4.ip_forward", "1"))
        ),
    ),
    "namespace deleted": (NODE, AddNamespace("ns2"), DeleteNamespace("ns1")),
    "veth": BASE,
    "veth without a bridge": (NODE, ALONE),
    "veth deleted": (*BASE, DeleteLink("", "veth1", 100_001, VETH)),
    "IPv6 turned off and on": (
        *BASE,
        *IPv6Off("ns1", "eth0").create(Indexes()),
        *IPv6Off("", "lan").create(Indexes()),
        *IPv6Off("", "lan").remove(Indexes()),
    ),
    "lo up": (NODE, ChangeLink("ns1", "lo", 1, "up", False, True)),
    "mtu": (
        *BASE,
        ChangeLink("", "veth1", 100_001, "mtu", 1400, 1300),
        ChangeLink("ns1", "eth0", 100, "mtu", 1400, 1300),
    ),
    "mac": (*BASE, ChangeLink("ns1", "eth0", 100, "mac", "02:00:00:00:00:03", "02:00:00:00:00:0a")),
    "down": (*BASE, ChangeLink("", "lan", 100_000, "up", True, False)),
    "no master": (*BASE, ChangeLink("", "veth1", 100_001, "master", "lan", "", (100_000, 0))),
    "master": (
        BRIDGE,
        NODE,
        ALONE,
        ChangeLink("", "veth1", 100_001, "master", "", "lan", (0, 100_000)),
    ),
    "token bucket": (*BASE, SetQdisc(SLOW, 100), SetQdisc(FAST, 100_001)),
    "token bucket changed": (
        *BASE,
        SetQdisc(SLOW, 100),
        SetQdisc(replace(SLOW, rate=250_000), 100),
    ),
    "token bucket deleted": (*BASE, SetQdisc(SLOW, 100), DeleteQdisc(SLOW, 100)),
    "addresses": ADDRESSED,
    "address of the bridge": (
        BRIDGE,
        ChangeAddress(Address("", "lan", "10.1.0.1", 24), 100_000, add=True),
    ),
    "address deleted": (*ADDRESSED, ChangeAddress(A4, 100, add=False)),
    "IPv6 address deleted": (*ADDRESSED, ChangeAddress(A6, 100, add=False)),
    "default route": (*ADDRESSED, ChangeRoute("add", DEFAULT, (100,))),
    "IPv6 default route": (*ADDRESSED, ChangeRoute("add", DEFAULT6, (100,))),
    "route with a metric": (
        *ADDRESSED,
        ChangeRoute("add", Route("ns1", "10.9.0.0/16", "10.1.0.1", "eth0", 50), (100,)),
    ),
    "direct route": (
        *ADDRESSED,
        ChangeRoute("add", Route("ns1", "10.8.0.0/16", "", "eth0"), (100,)),
    ),
    "IPv6 direct route": (
        *ADDRESSED,
        ChangeRoute("add", Route("ns1", "fd01::/64", "", "eth0", 1024), (100,)),
    ),
    "route replaced": (
        *ADDRESSED,
        ChangeRoute("add", OTHER, (100,)),
        ChangeRoute("replace", DEFAULT, (100,), OTHER, (100,)),
    ),
    "route deleted": (
        *ADDRESSED,
        ChangeRoute("add", DEFAULT, (100,)),
        ChangeRoute("del", DEFAULT, (100,)),
    ),
    "::1 on a bridge": (BRIDGE, LOOPBACK),
    "::1 on a bridge no more": (BRIDGE, LOOPBACK, ChangeLoopbackRoute("lan", 100_000, add=False)),
    "sysctl": (NODE, SetSysctl("ns1", "net.ipv4.ip_forward", "1", "0")),
    "sysctl with three numbers": (
        NODE,
        SetSysctl("ns1", "net.ipv4.tcp_rmem", "4096 8192 16384", ""),
    ),
    "forwarding of IPv4": Forwarding(4).create(Indexes()),
    "forwarding of IPv6, and no more": (
        *FORWARD6,
        *(back for op in FORWARD6 if (back := op.undo())),
    ),
    "forwarding of IPv6 and nothing else": Forwarding(6).create(Indexes()),
    "forwarding of IPv6 on a machine with interfaces": (
        PAIR,
        SetForwarding(OWN, turned(OWN, on=True)),
    ),
    "and no more": (
        PAIR,
        SetForwarding(OWN, turned(OWN, on=True)),
        SetForwarding(replace(OWN, values=turned(OWN, on=True)), OWN.values),
    ),
    "file": (
        PutFile("/run/bascule/x/etc/v/hosts", "127.0.0.1\tlocalhost\n10.1.0.2\tit's\n", None),
    ),
    "mode": (
        PutFile("/run/bascule/x/etc/v/hosts", "a\n", None),
        SetMode("/run/bascule/x/etc/v/hosts", 0o640, 0o644),
    ),
    "link": (PutSymlink("/etc/netns/ns1", "/run/bascule/x/etc/v", None),),
    "link in a folder": (PutSymlink("/etc/netns/ns1/hosts", "/run/bascule/x/etc/v/hosts", None),),
    "link removed": (
        PutSymlink("/etc/netns/ns1", "/x", None),
        PutSymlink("/etc/netns/ns1", None, "/x"),
    ),
}
RULES: dict[str, tuple[Op, ...]] = {
    "rule": (InsertRule(FORWARD),),
    "rule deleted": (
        InsertRule(FORWARD),
        InsertRule(ForwardAccept("ip", "filter", "FORWARD", "wan")),
        DeleteRule(FORWARD),
    ),
}


def _both(ops: tuple[Op, ...], before: str = "true") -> str:
    """The difference between the kernel after the effects and after the commands; without the
    link-local addresses that the kernel makes by itself, some time after a carrier came, and keeps
    where it went again at once."""
    with World() as world:
        world.run("sh", "-c", f"mkdir -p /run/bascule; {before}")
        execute(ops, Paths())
        by_effect = world.snapshot(exclude=EXCLUDED)
    with World() as world:
        world.run("sh", "-c", f"mkdir -p /run/bascule; {before}")
        world.run("bash", "-e", input="\n".join(line for op in ops for line in op.shell()))
        by_command = world.snapshot(exclude=EXCLUDED)
    return "\n".join(
        line for line in difference(by_effect, by_command).splitlines() if '"fe80:' not in line
    )


EXCLUDED = ("/run/bascule/.made",)


@pytest.mark.parametrize("case", CASES)
def test_effect_and_command_are_equal(case: str) -> None:
    """What `ip -j -d` shows is the same, whichever way it was done."""
    require("ip", "sysctl")
    assert _both(CASES[case]) == ""


@pytest.mark.parametrize("case", RULES)
def test_rules_are_equal(case: str) -> None:
    """The same for what nft shows."""
    require("nft")
    assert _both(RULES[case], CHAIN) == ""


REVERSIBLE: dict[str, tuple[tuple[Op, ...], Op]] = {
    "bridge": ((), BRIDGE),
    "bridge back": ((BRIDGE,), DeleteLink("", "lan", 100_000, BRIDGE)),
    "namespace": ((BRIDGE,), NODE),
    "veth": ((NODE,), ALONE),
    "mtu": (BASE, ChangeLink("ns1", "eth0", 100, "mtu", 1400, 1300)),
    "master": (BASE, ChangeLink("", "veth1", 100_001, "master", "lan", "", (100_000, 0))),
    "token bucket": (BASE, SetQdisc(SLOW, 100)),
    "token bucket back": ((*BASE, SetQdisc(SLOW, 100)), DeleteQdisc(SLOW, 100)),
    "token bucket changed": (
        (*BASE, SetQdisc(SLOW, 100)),
        SetQdisc(replace(SLOW, rate=250_000), 100, SLOW),
    ),
    "address": (BASE, ChangeAddress(A4, 100, add=True)),
    "address back": (ADDRESSED, ChangeAddress(A4, 100, add=False)),
    "route": (ADDRESSED, ChangeRoute("add", DEFAULT, (100,))),
    "route back": (
        (*ADDRESSED, ChangeRoute("add", DEFAULT, (100,))),
        ChangeRoute("del", DEFAULT, (100,)),
    ),
    "replaced route": (
        (*ADDRESSED, ChangeRoute("add", OTHER, (100,))),
        ChangeRoute("replace", DEFAULT, (100,), OTHER, (100,)),
    ),
    "::1 on a bridge": ((BRIDGE,), LOOPBACK),
    "sysctl": ((NODE,), SetSysctl("ns1", "net.ipv4.ip_forward", "1", "0")),
    "forwarding": ((PAIR,), SetForwarding(OWN, turned(OWN, on=True))),
    "file": (
        (PutFile("/run/bascule/x/etc/v/a", "a", None),),
        PutFile("/run/bascule/x/etc/v/a", "b", "a"),
    ),
    "mode": (
        (PutFile("/run/bascule/x/etc/v/a", "a", None),),
        SetMode("/run/bascule/x/etc/v/a", 0o600, 0o644),
    ),
    "link": ((), PutSymlink("/etc/netns/ns1", "/run/x", None)),
    "link back": (
        (PutSymlink("/etc/netns/ns1", "/run/x", None),),
        PutSymlink("/etc/netns/ns1", None, "/run/x"),
    ),
}


@pytest.mark.parametrize("case", REVERSIBLE)
def test_undo_brings_back_what_was(case: str, world: World) -> None:
    """An operation and its undo leave the kernel as it was."""
    setup, op = REVERSIBLE[case]
    if setup:
        execute(setup, Paths())
    # /run/netns and /etc/netns are made on the way, and taken away by `down`, not by an undo
    world.run("sh", "-c", "mkdir -p /etc/netns; ip netns add helper; ip netns del helper")
    before = world.snapshot(exclude=EXCLUDED)
    execute((op,), Paths())
    assert difference(before, world.snapshot(exclude=EXCLUDED)) != "", "the operation did nothing"
    back = op.undo()
    assert back is not None
    execute((back,), Paths())
    assert difference(before, world.snapshot(exclude=EXCLUDED)) == ""
