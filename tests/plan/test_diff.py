"""The difference between facts, where a lab file can't say it: what somebody did to the kernel, and
what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import Fact
from bascule.kernel.file import Symlink, TextFile
from bascule.kernel.link import Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Indexes
from bascule.kernel.route import Route
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.veth import End, Veth
from bascule.plan import render
from bascule.plan.diff import Plan, diff

BRIDGE = Bridge("", "lan", 1500, "02:00:00:00:00:01")
VETH = Veth(
    End("", "veth-a", 1500, "02:00:00:00:00:02", "lan"),
    End("a", "eth0", 1500, "02:00:00:00:00:03"),
)
NODE = Namespace("a")
ADDRESS = Address("a", "eth0", "10.1.0.2", 24)
ROUTE = Route("a", "0.0.0.0/0", "10.1.0.1", "eth0")
FORWARD = Sysctl("a", "net.ipv4.ip_forward", "1")
LAB: list[Fact] = [BRIDGE, NODE, VETH, Loopback("a"), ADDRESS, ROUTE, FORWARD]
HOSTS = TextFile("/run/bascule/lab/etc/lan/hosts", "x\n")


def _lines(plan: Plan) -> list[str]:
    return render.text(plan).splitlines()[:-1]


def _commands(plan: Plan) -> list[str]:
    return [line for op in plan.ops for line in op.shell()]


def test_what_is_lost_and_what_is_new_are_told_apart() -> None:
    """By what the last run left true."""
    assert _lines(diff([BRIDGE, NODE], [], Indexes(), [BRIDGE.key])) == [
        "+ bridge lan mtu 1500  (is missing)",
        "+ namespace a  (new)",
    ]


def test_what_left_the_file_and_what_a_stranger_made_are_told_apart() -> None:
    """Both go: they are on what is the lab's own."""
    stranger = Address("", "lan", "10.9.9.9", 24)
    assert _lines(diff([BRIDGE], [BRIDGE, stranger, HOSTS], Indexes(), [HOSTS.key])) == [
        "- address 10.9.9.9/24 on lan  (nobody asked for it)",
        "- file /run/bascule/lab/etc/lan/hosts  (no longer in the lab)",
    ]


def test_what_somebody_deleted_comes_back_alone() -> None:
    """A deleted veth takes its address and the routes along; these come back with it, and nothing
    else is touched."""
    have = [fact for fact in LAB if fact not in (VETH, ADDRESS, ROUTE)]
    plan = diff(LAB, have, Indexes(), [fact.key for fact in LAB])
    assert _lines(plan) == [
        "+ veth veth-a (lan) to eth0 (a)  (is missing)",
        "+ address 10.1.0.2/24 on eth0 in a  (is missing)",
        "+ route default via 10.1.0.1 dev eth0 in a  (is missing)",
    ]


def test_a_dead_pin_is_replaced_with_all_that_it_should_hold() -> None:
    """The pin is unmounted, the namespace made anew; what was in it is made anew as well, and not
    deleted one by one, but for a pair that is still there: a process may hold its namespace, and
    then its other end keeps the name."""
    have = [BRIDGE, replace(NODE, alive=False), VETH, ADDRESS]
    plan = diff(LAB, have, Indexes())
    assert _lines(plan) == [
        "- veth veth-a (lan) to eth0 (a)  (is replaced)",
        "- namespace a  (is replaced)",
        "+ namespace a  (the pin is there, the namespace is not)",
        "+ veth veth-a (lan) to eth0 (a)  (what held it is replaced)",
        "+ lo of a  (new)",
        "+ address 10.1.0.2/24 on eth0 in a  (what held it is replaced)",
        "+ route default via 10.1.0.1 dev eth0 in a  (new)",
        "+ sysctl net.ipv4.ip_forward=1 in a  (new)",
    ]
    assert _commands(plan)[:3] == ["ip link del dev veth-a", "ip netns del a", "ip netns add a"]


def test_a_link_of_another_kind_is_replaced() -> None:
    """Where the bridge should be stands a veth: the veth goes, and the bridge tells why it
    comes."""
    wrong = Veth(End("", "lan", 1500, "02:00:00:00:00:09"), None)
    plan = diff([BRIDGE], [wrong], Indexes())
    assert _lines(plan) == [
        "- veth lan (no bridge)  (is replaced)",
        "+ bridge lan mtu 1500  (another kind)",
    ]
    assert _commands(plan) == [
        "ip link del dev lan",
        "ip link add dev lan address 02:00:00:00:00:01 mtu 1500 up type bridge",
    ]


def test_the_order_of_what_is_seen_does_not_matter() -> None:
    """The holder is judged before what it holds, whichever the kernel named first."""
    for have in (LAB, LAB[::-1]):
        plan = diff([], have, Indexes())
        assert _commands(plan) == ["ip netns del a", "ip link del dev lan"]
        assert [change.reason for change in plan.changes if not change.ops] == [
            "goes with what holds it"
        ] * 5


def test_several_differences_stand_in_one_line() -> None:
    """One fact, one line, one command for each difference."""
    there = replace(BRIDGE, mtu=1400, up=False)
    plan = diff([BRIDGE], [there], Indexes())
    assert _lines(plan) == [
        "~ bridge lan mtu 1500  (mtu is 1400, should be 1500; up is no, should be yes)"
    ]
    assert _commands(plan) == ["ip link set dev lan mtu 1500", "ip link set dev lan up"]


def test_several_reasons_to_replace_stand_in_one_line() -> None:
    """The same for what can't be changed."""
    was = Veth(replace(VETH.near, mtu=1400), replace(VETH.pair[1], name="eth9", mtu=1400))
    plan = diff([VETH], [was], Indexes())
    assert _lines(plan)[1] == (
        "+ veth veth-a (lan) to eth0 (a)  (mtu is 1400, should be 1500; peer is eth9, "
        "should be eth0)"
    )


def test_a_setting_that_was_changed_is_set_back() -> None:
    """Its command names the value that is wanted, its undo the one that was there."""
    plan = diff([FORWARD], [replace(FORWARD, value="0")], Indexes())
    assert _lines(plan) == ["~ sysctl net.ipv4.ip_forward=1 in a  (is 0)"]
    (op,) = plan.ops
    assert op.undo() == replace(op, value="0", old="1")


def test_a_link_that_points_elsewhere_is_replaced() -> None:
    """First removed, then made: ln(1) would put the new one into the folder that the old one points
    to."""
    plan = diff([Symlink("/etc/netns/a", "/new")], [Symlink("/etc/netns/a", "/old")], Indexes())
    assert _lines(plan) == [
        "- link /etc/netns/a to /old  (is replaced)",
        "+ link /etc/netns/a to /new  (points to /old)",
    ]
    assert _commands(plan) == [
        "rm -f /etc/netns/a",
        "mkdir -p /etc/netns",
        "ln -s /new /etc/netns/a",
    ]


def test_operations_of_a_node_are_sent_together_the_worlds_first() -> None:
    """What the world does for a node comes first, then what is done inside; the next node starts
    behind that."""
    other = Veth(replace(VETH.near, name="veth-b"), replace(VETH.pair[1], node="b"))
    plan = diff(
        [NODE, Loopback("a"), VETH, Namespace("b"), Loopback("b"), other, HOSTS], [], Indexes()
    )
    assert [line.partition(" address")[0] for line in _commands(plan)] == [
        "ip netns add a", "ip link add dev veth-a", "ip -n a link set dev lo up", "ip -n a link set dev eth0 up",  # noqa: E501
        "ip netns add b", "ip link add dev veth-b", "ip -n b link set dev lo up", "ip -n b link set dev eth0 up",  # noqa: E501
        "mkdir -p /run/bascule/lab/etc/lan", "printf '%s\\n' x > /run/bascule/lab/etc/lan/hosts",
    ]  # fmt: skip


@pytest.mark.parametrize(("want", "steps"), [([], 0), ([Namespace("a")], 3)], ids=["goes", "stays"])
def test_indexes_of_a_node_are_free_again_once_it_goes(want: list[Fact], steps: int) -> None:
    """Where a namespace stays the kernel may still use them."""
    free = Indexes().of("a", "new")
    indexes = Indexes()
    for number in (free, free + 1, free + 2):
        indexes.learn("a", f"eth{number}", number)
    diff(want, [Namespace("a")], indexes)
    assert indexes.of("a", "new") == free + steps


def test_a_plan_for_people_counts_and_is_painted_by_sign() -> None:
    """Every line passes the brush with its sign; notes stand between the changes and the sum."""
    plan = replace(
        diff([BRIDGE], [replace(BRIDGE, mtu=1400), NODE], Indexes()),
        notes=("mind the gap", "mind it"),
    )
    assert render.text(plan, lambda sign, line: f"<{sign}>{line}").splitlines() == [
        "<~>~ bridge lan mtu 1500  (mtu is 1400, should be 1500)",
        "<->- namespace a  (nobody asked for it)",
        "<!>! mind the gap",
        "<!>! mind it",
        "0 to add, 1 to change, 1 to remove",
    ]
    assert render.text(Plan((), ("mind the gap",))).splitlines() == [
        "! mind the gap",
        "nothing to do: all is as it should be",
    ]


def test_a_plan_is_true_where_it_has_changes() -> None:
    """Notes alone are nothing to do."""
    assert diff([BRIDGE], [], Indexes())
    assert not Plan((), ("mind the gap",))
