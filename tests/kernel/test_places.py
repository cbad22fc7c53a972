"""Links at any place: pairs between nodes, bridges inside a node. Nothing of the lab file asks for
them; the facts are made here, and looked for, planned and carried out as any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bascule.engine.scope import scope_of
from bascule.host import settle
from bascule.host.execute import execute
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.kernel.address import Address
from bascule.kernel.bridge import AGEING, Bridge, BridgeSetting
from bascule.kernel.fact import Claim, Fact
from bascule.kernel.link import Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.port import ISOLATED, PortFlag
from bascule.kernel.qdisc import Qdisc
from bascule.kernel.stray import Stray
from bascule.kernel.veth import End, Veth
from bascule.plan import owner
from bascule.plan.diff import Plan, diff
from sandbox import World, require


def _node(name: str) -> list[Fact]:
    return [Namespace(name), Loopback(name)]


def _pair(one: str, other: str, number: int, **options: object) -> Veth:
    near, far = ((node, f"to-{peer}") for node, peer in ((one, other), (other, one)))
    mac = f"02:00:00:00:{number:02x}:"
    return Veth(
        End(*near, 1400, mac + "01", **options),  # type: ignore[arg-type]
        End(*far, 1400, mac + "02"),
    )


QUIET = (("net.ipv6.conf.to-b.accept_ra", "0"),)
TWO: list[Fact] = [
    *_node("a"),
    *_node("b"),
    _pair("a", "b", 1, settings=QUIET),
    Address("a", "to-b", "10.255.0.0", 31),
    Address("b", "to-a", "10.255.0.1", 31),
    Qdisc("b", "to-a", rate=1_250_000, burst=12_500, limit=75_000),
]
SWITCHED: list[Fact] = [
    *(fact for node in ("a", "b", "s") for fact in _node(node)),
    Bridge("s", "br0", 1400, "02:00:00:00:09:01"),
    BridgeSetting("s", "br0", AGEING, 1000),
    _pair("s", "a", 1, bridge="br0"),
    Veth(
        End("b", "eth0", 1400, "02:00:00:00:02:01"),
        End("s", "p2", 1400, "02:00:00:00:02:02", "br0"),
    ),
    PortFlag("s", "to-a", ISOLATED),
    Address("a", "to-s", "10.9.0.1", 24),
    Address("b", "eth0", "10.9.0.2", 24),
]


def _planned(want: Sequence[Fact], before: Sequence[Fact], inside: bool = True) -> Plan:
    """What there is, by a look for what is wanted and was, and the way from there."""
    indexes = Indexes()
    scope = scope_of([*before, *want], inside)
    seen = observe(replace(scope, indexes=indexes.range), Paths())
    for (node, interface), index in seen.indexes.items():
        indexes.learn(node, interface, index)
    names = {fact.name: 0 for fact in before if isinstance(fact, Namespace)}
    claim = Claim("lab", names, indexes.range, seen.indexes)
    own, foreign = owner.split(claim, seen.facts)
    assert not [fact for fact in foreign if isinstance(fact, Veth | Bridge)]
    return diff(want, own, indexes, {fact.key for fact in before})


def _up(want: Sequence[Fact], before: Sequence[Fact] = ()) -> list[str]:
    """Make it so, and see that it is; what was done, in words."""
    plan = _planned(want, before)
    execute(plan.ops, Paths())
    left = _planned(want, want)
    assert not left, [(each.sign, each.fact, each.reason) for each in left.changes]
    return [f"{each.sign} {each.fact.describe()}: {each.reason}" for each in plan.changes]


def _down(before: Sequence[Fact]) -> None:
    execute(_planned([], before).ops, Paths())
    settle.links_gone({WORLD: []}, Indexes().range)
    assert not _planned([], before)


def _reaches(world: World, node: str, address: str) -> bool:
    argv = ("ip", "netns", "exec", node, "ping", "-c1", "-W2", "-q", address)
    return world.run(*argv, check=False).returncode == 0


def test_a_pair_between_two_nodes(world: World) -> None:
    """Up, looked at, twice the same, and packets both ways; both indexes are the lab's."""
    _up(TWO)
    assert _reaches(world, "a", "10.255.0.1")
    assert _reaches(world, "b", "10.255.0.0")
    quiet = world.run("ip", "netns", "exec", "a", "sysctl", "-n", "net.ipv6.conf.to-b.accept_ra")
    assert quiet.stdout == "0\n"
    for node in ("a", "b"):
        (link,) = world.ip_json("-n", node, "link", "show", "type", "veth")
        assert link["ifindex"] in Indexes().range
    _down(TWO)


def test_a_bridge_inside_a_node(world: World) -> None:
    """Its ports are near ends and far ones; two nodes reach each other through the third."""
    _up(SWITCHED)
    assert _reaches(world, "a", "10.9.0.2")
    (bridge,) = world.ip_json("-n", "s", "-d", "link", "show", "br0")
    assert bridge["linkinfo"]["info_data"]["ageing_time"] == 1000
    world.run("ip", "-n", "s", "link", "set", "p2", "nomaster")
    assert _up(SWITCHED, SWITCHED) == [
        "~ veth eth0 (b) to p2 (s): peer bridge is none, should be br0"
    ]
    world.run("ip", "-n", "s", "link", "del", "br0")
    _up(SWITCHED, SWITCHED)
    assert _reaches(world, "b", "10.9.0.1")
    _down(SWITCHED)


DRIFT = {
    "ip -n b link set to-a mtu 1300": [
        "~ veth to-b (a) to to-a (b): peer mtu is 1300, should be 1400"
    ],
    "ip -n a link set to-b address 02:00:00:00:00:77": [
        "~ veth to-b (a) to to-a (b): mac is 02:00:00:00:00:77, should be 02:00:00:00:01:01"
    ],
    "ip -n a addr del 10.255.0.0/31 dev to-b": ["+ address 10.255.0.0/31 on to-b in a: is missing"],
}


@pytest.mark.parametrize("command", DRIFT)
def test_what_somebody_changed_is_put_right(world: World, command: str) -> None:
    _up(TWO)
    world.run(*command.split())
    assert _up(TWO, TWO) == DRIFT[command]
    _down(TWO)


@pytest.mark.parametrize("end", ["-n a link del to-b", "-n b link del to-a"])
def test_a_pair_that_somebody_deleted_is_made_again(world: World, end: str) -> None:
    _up(TWO)
    world.run("ip", *end.split())
    _up(TWO, TWO)
    assert _reaches(world, "a", "10.255.0.1")
    _down(TWO)


@pytest.mark.parametrize("inside", [True, False], ids=["to mend", "to leave"])
@pytest.mark.parametrize(("node", "name"), [("a", "to-b"), ("b", "to-a")])
def test_an_end_that_somebody_moved_away(world: World, node: str, name: str, inside: bool) -> None:
    """Its other end is the lab's, and goes with it; also where nobody looks into nodes."""
    _up(TWO)
    world.run("ip", "netns", "add", "elsewhere")
    world.run("ip", "-n", node, "link", "set", name, "netns", "elsewhere")
    plan = _planned(TWO if inside else [], TWO, inside)
    other = ("b", "to-a") if node == "a" else ("a", "to-b")
    strays = [each.fact for each in plan.changes if isinstance(each.fact, Stray)]
    assert [(each.node, each.name) for each in strays] == [other]
    execute(plan.ops, Paths())
    assert world.ip_json("-n", "elsewhere", "link", "show", "type", "veth") == []
    if inside:
        assert not _planned(TWO, TWO)
        _down(TWO)


@pytest.mark.parametrize("kind", ["vlan id 5", "macvlan"])
def test_what_a_user_puts_upon_an_end_is_no_stray(world: World, kind: str) -> None:
    """It names the end's index, too, in the same attribute; in a node that it was moved to, a
    bridge of the lab's."""
    require(f"link:{kind.partition(' ')[0]}")
    want = [*TWO, Bridge("", "lan", 1500, "02:00:00:00:09:02")]
    _up(want)
    words = ("type", *kind.split())
    for upon, where in (("to-b", ("-n", "a")), ("lan", ())):
        world.run("ip", *where, "link", "add", "mine", "link", upon, *words)
        if not where:
            world.run("ip", "link", "set", "mine", "netns", "b")
    assert not _planned(want, want)
    world.run("ip", "-n", "a", "link", "del", "mine")
    world.run("ip", "-n", "b", "link", "del", "mine")
    _down(want)


def test_another_pair_at_the_end_that_one_has_left(world: World) -> None:
    """One node goes and another takes its place on the cable, in one run: the old pair, which goes
    with its namespace, must not be in the way."""
    _up(TWO)
    other = replace(_pair("c", "b", 2), far=replace(_pair("a", "b", 1).pair[1]))
    want = [*_node("b"), *_node("c"), other, Address("b", "to-a", "10.255.0.1", 31)]
    want.append(Address("c", "to-b", "10.255.0.0", 31))
    _up(want, TWO)
    assert _reaches(world, "c", "10.255.0.1")
    _down(want)


def test_pairs_that_the_same_two_numbers_tell(world: World) -> None:
    """Each is where the lab has put it."""
    for one, other in (("a", "b"), ("c", "d")):
        for node in (one, other):
            world.run("ip", "netns", "add", node)
            world.run("ip", "-n", node, "link", "set", "lo", "up")
        first = Indexes.FIRST + 7
        near = ("name", f"to-{other}", "index", str(first), "address", f"02:00:00:00:0{one}:01")
        far = ("name", f"to-{one}", "index", str(first + 1), "address", f"02:00:00:00:0{one}:02")
        pair = ("type", "veth", "peer", *far, "mtu", "1400", "netns", other)
        world.run("ip", "-n", one, "link", "add", *near, "mtu", "1400", *pair)
        world.run("ip", "-n", one, "link", "set", f"to-{other}", "up")
        world.run("ip", "-n", other, "link", "set", f"to-{one}", "up")
    pairs = [_pair("a", "b", 10), _pair("c", "d", 12)]
    want = [*(fact for node in "abcd" for fact in _node(node)), *pairs]
    left = _planned(want, want)
    assert not left, [(each.sign, each.fact, each.reason) for each in left.changes]
    _down(want)
