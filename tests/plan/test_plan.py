"""Planning is pure: a file in, lines of `ip` out, and laws that hold for every pair of labs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.kernel.address import Address
from bascule.kernel.link import Veth
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Fact, Indexes
from bascule.kernel.route import Route
from bascule.plan import owner, render
from bascule.plan.desired import desired
from bascule.plan.diff import Plan, diff
from bascule.topology.addressing import assign
from bascule.topology.load import from_data, load_text

EXAMPLES = Path(__file__).parents[2] / "examples"
DUAL = {
    "name": "dual",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "mtu": 1400},
        "cut": {"subnet": "10.2.0.0/24", "gateway": "none"},
    },
    "nodes": {
        "r": {"networks": ["lan", "cut"], "sysctls": {"net.ipv4.ip_forward": 1}},
        "a": {"networks": ["cut"], "routes": ["default via 10.2.0.1", "10.9.0.0/16 via 10.2.0.1"]},
    },
}

GOLDEN = """\
ip link add dev lan address 02:42:00:00:00:01 mtu 1500 type bridge
ip link set dev lan up
ip address add 10.1.0.1/24 dev lan
ip netns add a
ip link add dev veth-a address MAC mtu 1500 master lan up type veth peer name eth0 address MAC mtu 1500 netns a
ip netns exec a sysctl -qw net.ipv6.conf.eth0.accept_ra=0
ip -n a link set dev eth0 up
ip -n a link set dev lo up
ip -n a address add 10.1.0.2/24 dev eth0
ip -n a route add 10.9.0.0/16 via 10.1.0.1 dev eth0 metric 7
ip -n a route add default via 10.1.0.1 dev eth0
ip netns exec a sysctl -qw net.ipv4.ip_forward=1
"""


def _facts(data: object) -> list[Fact]:
    return desired(assign(from_data(data)))


def _commands(plan: Plan) -> list[str]:
    return [line for op in plan.ops for line in op.shell()]


def test_a_small_lab_as_commands() -> None:
    """The order is the one in which a person would do it; host names come last."""
    lab = load_text(
        b"""
networks: {lan: {subnet: 10.1.0.0/24, mac: "02:42:00:00:00:01"}}
nodes: {a: {networks: [lan], sysctls: {net.ipv4.ip_forward: 1}, routes: [10.9.0.0/16 via 10.1.0.1 metric 7]}}
""",
        "lab.yaml",
    )
    import re

    lines = [line for line in _commands(diff(desired(assign(lab)), [], Indexes())) if line.startswith("ip ")]
    shown = [re.sub(r"(?<=address )02:(?!42:)[0-9a-f:]{14}", "MAC", line) for line in lines]
    assert "\n".join(shown) + "\n" == GOLDEN


def test_no_difference_no_plan() -> None:
    """What is there already needs nothing."""
    facts = _facts(DUAL)
    plan = diff(facts, facts, Indexes())
    assert not plan
    assert plan.ops == []
    assert render.text(plan) == "nothing to do: all is as it should be"


def test_taking_away_needs_three_kinds_of_operations() -> None:
    """Namespaces take along what they hold, and bridges their addresses: nothing is deleted twice."""
    lines = _commands(diff([], _facts(DUAL), Indexes()))
    assert {" ".join(line.split()[:3]) for line in lines} == {"ip netns del", "ip link del"} | {
        line for line in (" ".join(line.split()[:3]) for line in lines) if line.startswith("rm -f")
    }
    assert sum(line.startswith("ip netns del") for line in lines) == 2
    assert sum(line.startswith("ip link del") for line in lines) == 2


def test_every_operation_can_be_undone_or_says_so() -> None:
    """Undo of an undo is the operation; only sysctls of a new namespace have none: they go with it."""
    for op in diff(_facts(DUAL), [], Indexes()).ops:
        back = op.undo()
        if back is None:
            assert "sysctl" in op.shell()[0]
        else:
            again = back.undo()
            assert again is None or again.shell() == op.shell()


NODES = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from(["lan", "wan"]), unique=True, max_size=2), max_size=6)


def _lab(nodes: dict[str, list[str]]) -> list[Fact]:
    networks = {"lan": {"subnet": "10.1.0.0/24"}, "wan": {"subnet": ["10.2.0.0/24", "fd00:2::/64"]}}
    return _facts({"networks": networks, "nodes": {name: {"networks": given} for name, given in nodes.items()}})


@given(NODES, NODES)
def test_a_plan_names_exactly_the_difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """+ what is only wanted, - what is only there, ~ or a replacement for what differs, and nothing twice."""
    have, want = {f.key: f for f in _lab(before)}, {f.key: f for f in _lab(after)}
    plan = diff(list(want.values()), list(have.values()), Indexes())
    coming = {change.fact.key for change in plan.changes if change.sign == "+"}
    going = {change.fact.key for change in plan.changes if change.sign == "-"}
    changing = {change.fact.key for change in plan.changes if change.sign == "~"}
    assert want.keys() - have.keys() <= coming
    assert have.keys() - want.keys() <= going
    differing = {key for key in have.keys() & want.keys() if have[key] != want[key]}
    assert differing <= coming | changing
    assert not coming & changing
    assert len(plan.changes) == len(coming) + len(changing) + len(going)


@given(NODES)
def test_desired_facts_have_one_key_each(nodes: dict[str, list[str]]) -> None:
    """Two facts of one key would fight for ever."""
    facts = _lab(nodes)
    assert len({fact.key for fact in facts}) == len(facts)


def test_indexes_are_chosen_from_the_labs_range() -> None:
    """Free ones only; what the kernel has is kept; a namespace made anew starts afresh."""
    indexes = Indexes(2)
    indexes.learn("", "lan", 120_000)
    indexes.learn("a", "eth0", 100)
    assert indexes.of("", "lan") == 120_000
    assert indexes.of("", "veth-a") == 120_001
    assert indexes.of("a", "eth1") == 101
    indexes.forget(["a"])
    assert indexes.of("a", "eth9") == 100
    assert 130_000 not in indexes.range


@pytest.mark.parametrize(("cookie", "mine"), [(0, True), (7, True), (8, False)])
def test_a_namespace_is_known_by_its_cookie(cookie: int, mine: bool) -> None:
    """Its name counts only where no cookie was noted, or the kernel gives none."""
    fact = Namespace("a", cookie=7)
    own, foreign = owner.split("lab", [fact], {"a": cookie}, Indexes(), {})
    assert (fact in own) is mine
    assert (fact in foreign) is not mine


def test_what_hangs_on_a_foreign_link_is_foreign() -> None:
    """Its addresses are not the lab's to remove."""
    veth = Veth("veth-a", "a", "eth0", "lan", 1500, "02:00:00:00:00:01", "02:00:00:00:00:02")
    facts: list[Fact] = [Address("a", "eth0", "10.0.0.1", 24), Route("a", "0.0.0.0/0", "10.0.0.9", "eth0"), veth]
    own, foreign = owner.split("lab", facts, {}, Indexes(), {("", "veth-a"): 12})
    assert own == []
    assert len(foreign) == 3
