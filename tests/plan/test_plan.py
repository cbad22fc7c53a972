"""Planning is pure: a file in, lines of `ip` out, and laws that hold for every pair of labs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import Claim, Fact, only
from bascule.kernel.file import TextFile
from bascule.kernel.forwarding import Forwarding
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Indexes, Settings
from bascule.kernel.port import HAIRPIN, ISOLATED, PortFlag
from bascule.kernel.process import Process
from bascule.kernel.program import WAY_OUT
from bascule.kernel.route import LoopbackRoute, Route
from bascule.kernel.ruleset import FROM, TO, WITHIN, ForwardAccept
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import Table
from bascule.kernel.veth import End, Veth
from bascule.plan import owner, render
from bascule.plan.desired import desired
from bascule.plan.diff import Plan, diff
from bascule.plan.firewall import Surroundings, ruleset
from bascule.plan.given import Machine
from bascule.topology.addressing import assign
from bascule.topology.load import MAX_ATTACHMENTS, from_data, load_text
from bascule.wire.netfilter import BaseChain

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
ip netns exec a sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.default.accept_redirects=0
ip link add dev veth-a address MAC mtu 1500 master lan up type veth peer name eth0 address MAC mtu 1500 netns a
ip netns exec a sysctl -qw net.ipv6.conf.eth0.accept_ra=0
ip netns exec a sysctl -qw net.ipv6.conf.eth0.accept_redirects=0
ip -n a link set dev eth0 up
ip -n a link set dev lo up
ip -n a address add 10.1.0.2/24 dev eth0
ip -n a route add 10.9.0.0/16 via 10.1.0.1 dev eth0 metric 7
ip -n a route add default via 10.1.0.1 dev eth0
ip netns exec a sysctl -qw net.ipv4.ip_forward=1
"""  # noqa: E501


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
""",  # noqa: E501
        "lab.yaml",
    )
    import re

    lines = [
        line
        for line in _commands(diff(desired(assign(lab)), [], Indexes()))
        if line.startswith("ip ")
    ]
    shown = [re.sub(r"(?<=address )02:(?!42:)[0-9a-f:]{14}", "MAC", line) for line in lines]
    assert "\n".join(shown) + "\n" == GOLDEN


def test_no_difference_no_plan() -> None:
    """What is there already needs nothing."""
    facts = _facts(DUAL)
    plan = diff(facts, facts, Indexes())
    assert not plan
    assert plan.ops == []
    assert render.text(plan) == "nothing to do: all is as it should be"


def test_taking_away_needs_few_kinds_of_operations() -> None:
    """Namespaces take along what they hold, and bridges their addresses: nothing is deleted
    twice."""
    lines = _commands(diff([], _facts(DUAL), Indexes()))
    assert {" ".join(line.split()[:3]) for line in lines} == {
        "nft delete table",
        "ip netns del",
        "ip link del",
    } | {
        line for line in (" ".join(line.split()[:3]) for line in lines) if line.startswith("rm -f")
    }
    assert sum(line.startswith("ip netns del") for line in lines) == 2
    assert sum(line.startswith("ip link del") for line in lines) == 2


def test_every_operation_can_be_undone_or_says_so() -> None:
    """Undo of an undo is the operation; only sysctls of a new namespace have none: they go with
    it."""
    for op in diff(_facts(DUAL), [], Indexes()).ops:
        back = op.undo()
        if back is None:
            assert "sysctl" in op.shell()[0]
        else:
            again = back.undo()
            assert again is None or again.shell() == op.shell()


NODES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.sampled_from(["lan", "wan"]), unique=True, max_size=2),
    max_size=6,
)


def _lab(nodes: dict[str, list[str]]) -> list[Fact]:
    networks = {"lan": {"subnet": "10.1.0.0/24"}, "wan": {"subnet": ["10.2.0.0/24", "fd00:2::/64"]}}
    return _facts(
        {
            "networks": networks,
            "nodes": {name: {"networks": given} for name, given in nodes.items()},
        }
    )


@given(NODES, NODES)
def test_a_plan_names_exactly_the_difference(
    before: dict[str, list[str]], after: dict[str, list[str]]
) -> None:
    """+ what is only wanted, - what is only there, ~ or a replacement for what differs, and nothing
    twice."""
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
    """In each namespace. Free ones only; what the kernel has is kept; each node's begin
    elsewhere, and at the same one again where it is made anew."""
    indexes = Indexes(2)
    indexes.learn("", "lan", Indexes.FIRST + 800_000)
    indexes.learn("a", "eth0", 100)
    assert indexes.of("", "lan") == Indexes.FIRST + 800_000
    assert indexes.of("", "veth-a") == Indexes.FIRST + 800_001
    assert indexes.of("a", "eth0") == 100
    chosen = indexes.of("a", "eth1")
    assert chosen in indexes.range
    assert indexes.renew("a", "eth1") == chosen + 1
    assert indexes.of("b", "eth1") not in (chosen, chosen + 1)
    indexes.forget(["a"])
    assert indexes.of("a", "eth1") == chosen
    assert Indexes.FIRST + 1_200_000 not in indexes.range


def test_the_last_index_of_a_range_is_followed_by_its_second() -> None:
    """The first stands in rules, where nft would print it as a name."""
    indexes = Indexes()
    for index in range(indexes.of("a", "eth0") + 1, indexes.range.stop):
        indexes.learn("a", "", index)
    assert indexes.renew("a", "eth0") == indexes.range[1]


def test_the_ranges_of_all_labs_fit_between_the_kernel_s_counting_and_its_last_index() -> None:
    """And each holds the largest lab: a link for each attachment, and as many bridges."""
    assert Indexes.SLOT_SIZE >= 2 * MAX_ATTACHMENTS
    assert Indexes(Indexes.SLOTS - 1).range.stop == Indexes.ALL.stop < 1 << 31
    assert Indexes.slot_of(Indexes(7).range[-1]) == 7
    assert Indexes.slot_of(5) < 0


@pytest.mark.parametrize(("cookie", "mine"), [(0, True), (7, True), (8, False)])
def test_a_namespace_is_known_by_its_cookie(cookie: int, mine: bool) -> None:
    """Its name counts only where no cookie was noted, or the kernel gives none."""
    fact = Namespace("a", cookie=7)
    own, foreign = owner.split(Claim("lab", {"a": cookie}, Indexes().range, {}), [fact])
    assert (fact in own) is mine
    assert (fact in foreign) is not mine


def test_what_hangs_on_a_foreign_link_is_foreign() -> None:
    """Its addresses are not the lab's to remove."""
    veth = Veth(
        End("", "veth-a", 1500, "02:00:00:00:00:02", "lan"),
        End("a", "eth0", 1500, "02:00:00:00:00:03"),
    )
    facts: list[Fact] = [
        Address("a", "eth0", "10.0.0.1", 24),
        Route("a", "0.0.0.0/0", "10.0.0.9", "eth0"),
        veth,
    ]
    own, foreign = owner.split(Claim("lab", {}, Indexes().range, {("", "veth-a"): 12}), facts)
    assert own == []
    assert len(foreign) == 3


def _uplinks(data: dict[str, object], machine: Machine) -> list[tuple[str, ...]]:
    return [
        fact.arguments
        for fact in desired(assign(from_data(data, "lab")), machine)
        if isinstance(fact, Process) and fact.is_outside
    ]


def test_the_way_out_of_a_private_world() -> None:
    """Where there is a use for it, and pasta to be started; its ports as passt(1) writes them, in
    one order."""
    always = ("--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none")
    there, missing, host = Machine(private=True, pasta=True), Machine(private=True), Machine()
    ports = [
        "8080:80",
        "[::1]:443:443",
        "127.0.0.1:90:90",
        "0.0.0.0:91:91",
        "[::]:92:92",
        "5000-5002:6000-6002/udp",
        "9:9/sctp",
    ]
    nodes: dict[str, object] = {"a": {"networks": ["lan"], "ports": ports}, "b": ["lan"]}
    published = {"networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00::/64"]}}, "nodes": nodes}
    tcp = ("-t", "0.0.0.0/91", "-t", "127.0.0.1/90", "-t", "8080", "-t", "::/92", "-t", "::1/443")
    assert _uplinks(published, there) == [(*always, *tcp, "-u", "5000-5002")]
    assert (_uplinks(published, missing), _uplinks(published, host)) == ([], [])
    out = {"networks": {"lan": {"nat": True, "subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}}
    assert _uplinks(out, there) == [(*always, "-t", "none", "-u", "none")]
    plain = {"networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}}
    assert _uplinks(plain, there) == []


def test_the_commands_of_the_way_out() -> None:
    """They are for the machine's own namespaces; what changes is ended and started."""
    one, two = (Process(WAY_OUT, ("--config-net", "-t", port)) for port in ("80", "81"))
    assert one.describe() == "way out of the private world, with 1 published ports or ranges"
    (change,) = diff([two], [one], Indexes()).changes
    assert change.reason == "other ports are published: connections through it break"
    assert [line for op in change.ops for line in op.shell()] == [
        "pkill -f 'pasta --config-net'  # outside",
        "pasta --config-net -t 81 $KEEPER  # outside: from the machine's own namespaces",
    ]
    (change,) = diff([one], [replace(one, stopped=True)], Indexes()).changes
    assert (change.sign, change.reason) == ("~", "is stopped")


def test_what_a_private_world_changes_in_the_rules() -> None:
    """All that pasta listens on comes to the world's own address: only ports of a loopback address
    stay with theirs. TCP segments are clamped where an interface is narrower than a network."""
    nodes = {"a": {"networks": ["lan"], "ports": ["192.0.2.1:80:80", "127.0.0.1:90:90"]}}
    lab = assign(
        from_data(
            {"networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}}, "nodes": nodes}, "lab"
        )
    )
    assert "192.0.2.1 . 80 : 10.1.0.2 . 80," in ruleset(lab, Surroundings())
    assert "\t\t\t80 : 10.1.0.2 . 80," in ruleset(lab, Surroundings(private=True))
    assert "127.0.0.1 . 90 : 10.1.0.2 . 90," in ruleset(lab, Surroundings(private=True))
    for mtu, clamps in ((0, False), (1499, True), (1500, False), (65520, False)):
        text = "".join(
            fact.text for fact in desired(lab, Machine(least_mtu=mtu)) if isinstance(fact, Table)
        )
        rules = [line.strip() for line in text.splitlines() if "maxseg" in line]
        assert ("jump clamp" in text) == clamps
        assert rules == [
            f"{side} & 0x40000000 != 0 tcp option maxseg size set rt mtu"
            for side in ("iif", "oif")
            if clamps
        ]


def test_name_servers_where_they_run() -> None:
    """With `nat` only where dnsmasq is; nodes with a way out and no server here ask the machine's;
    one user needs no other."""
    lab = assign(
        from_data(
            {"networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}}, "nodes": {"a": ["lan"]}},
            "lab",
        )
    )

    def files(machine: Machine) -> dict[str, str]:
        return {
            fact.path.rpartition("/")[2]: fact.content
            for fact in desired(lab, machine)
            if isinstance(fact, TextFile)
        }

    servers = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
    without = files(Machine(resolvers=servers))
    assert (
        without["resolv.conf"]
        == "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )
    assert not any(name.endswith(".conf") and name.startswith("out-") for name in without)
    found = files(Machine(dnsmasq=True, resolvers=servers))
    assert found["resolv.conf"] == "nameserver 10.1.0.1\n"
    configuration = next(text for name, text in found.items() if name.startswith("out-"))
    assert "user=" not in configuration
    alone = next(
        text
        for name, text in files(Machine(dnsmasq=True, alone=True)).items()
        if name.startswith("out-")
    )
    assert alone == configuration + "user=\ngroup=\n"


WAYS: dict[str, dict[str, object]] = {
    "nat": {"subnet": "10.1.0.0/24", "nat": True},
    "from": {"subnet": "10.2.0.0/24", "reach": ["to"]},
    "to": {"subnet": ["10.3.0.0/24", "fd00:3::/64"]},
    "cut": {"subnet": "10.4.0.0/24", "gateway": "none"},
    "one": {"subnet": "10.5.0.0/24"},
    "shut": {"subnet": "10.6.0.0/24", "internal": True},
    "apart": {"subnet": "10.7.0.0/24", "icc": False},
    "names": {"subnet": "10.8.0.0/24", "dns": True},
}


def _with(networks: str, machine: Machine, nodes: dict[str, object] | None = None) -> list[Fact]:
    return desired(
        assign(
            from_data(
                {"networks": {n: WAYS[n] for n in networks.split()}, "nodes": nodes or {}}, "lab"
            )
        ),
        machine,
    )


@pytest.mark.parametrize(
    ("networks", "nodes", "bridged", "expected"),
    [
        ("nat", {}, False, {"nat": [FROM, TO]}),
        ("nat", {}, True, {"nat": [WITHIN, FROM, TO]}),
        ("one", {}, False, {}),
        ("one cut", {}, True, {"one": [WITHIN], "cut": [WITHIN]}),
        ("one", {"a": {"networks": ["one"], "ports": ["80:80"]}}, False, {"one": [FROM, TO]}),
        ("from to one", {}, False, {"from": [FROM, TO], "to": [FROM, TO]}),
    ],
)
def test_ways_past_a_firewall_that_drops(
    networks: str, nodes: dict[str, object], bridged: bool, expected: object
) -> None:
    """In each chain of others whose policy is to drop: for what the lab's own rules let through,
    and for frames within a bridge where they come by there."""
    chains = (
        BaseChain("ip", "filter", "FORWARD", 2, drops=True),
        BaseChain("inet", "fw", "f", 2, drops=True),
    )
    facts = [
        each
        for each in _with(networks, Machine(chains=chains, bridged=bridged), nodes)
        if isinstance(each, ForwardAccept)
    ]
    for chain in chains:
        found: dict[str, list[str]] = {}
        for fact in facts:
            if (fact.family, fact.table, fact.chain) == (chain.family, chain.table, chain.name):
                found.setdefault(fact.bridge, []).append(fact.way)
        assert found == expected
    assert not any(
        isinstance(each, ForwardAccept) for each in _with(networks, Machine(bridged=bridged), nodes)
    )


@pytest.mark.parametrize(
    ("networks", "private", "asked"),
    [
        ("one", False, False), ("cut", False, False), ("cut one", False, False), ("one to", True, False), ("nat", True, True),  # noqa: E501
        ("shut", True, True), ("apart", True, True), ("names", True, True), ("from to", True, True),
    ],
)  # fmt: skip
def test_where_there_are_rules(networks: str, private: bool, asked: bool) -> None:
    """On the machine wherever there can be some, so that labs are apart from the start; in a
    private world where there is something to be kept apart. Without nft only where the file asks
    for something that can't be had without, which is refused then."""

    def tables(machine: Machine) -> int:
        return sum(isinstance(each, Table) for each in _with(networks, machine))

    assert tables(Machine()) == 1
    assert tables(Machine(private=True)) == private
    assert tables(Machine(rules=False)) == asked


@pytest.mark.parametrize(
    ("networks", "on", "ports", "expected"),
    [
        ("nat", "nat", [], ["IPv4"]),
        ("one shut apart", "one", [], []),
        ("from to", "to", [], ["IPv4"]),
        ("to", "to", ["[fd00::9]:80:80"], ["IPv6"]),
        ("to", "to", ["192.0.2.1:80:80"], ["IPv4"]),
        ("to", "to", ["127.0.0.1:80:80"], ["IPv4", "net/ipv4/conf/to/route_localnet"]),
        ("to", "to", ["[::1]:80:80"], ["IPv6", "::1 to"]),
        ("to", "to", ["[::1]:80:80", "192.0.2.1:80:80"], ["IPv4", "IPv6", "::1 to"]),
        ("to one", "to", ["80:80"], ["IPv4", "IPv6", "net/ipv4/conf/to/route_localnet", "::1 to"]),
    ],
)
def test_the_machine_passes_on_what_it_has_to(
    networks: str, on: str, ports: list[str], expected: list[str]
) -> None:
    """The families of networks that lead out or to others, and of published ports; what 127.0.0.1
    and ::1 have takes more."""
    found = []
    for fact in _with(networks, Machine(), {"a": {"networks": [on], "ports": ports}}):
        if isinstance(fact, Sysctl):
            assert (fact.node, fact.value) == ("", "1")
            found.append(fact.name)
        elif isinstance(fact, LoopbackRoute):
            found.append(f"::1 {fact.device}")
        elif isinstance(fact, Forwarding):
            found.append(f"IPv{fact.version}")
    assert found == expected


@pytest.mark.parametrize("bridged", [False, True])
def test_flags_of_bridge_ports(bridged: bool) -> None:
    """Nodes that do not reach each other are isolated; one with ports reaches them itself where
    bridged frames are translated, and so do its neighbours: there the rules keep the ports
    apart."""
    nodes = {"a": {"networks": ["apart", "one"], "ports": ["80:80"]}, "b": ["apart"], "c": ["one"]}
    found = [
        (each.name, each.flag)
        for each in _with("apart one", Machine(bridged=bridged), nodes)
        if isinstance(each, PortFlag)
    ]
    hairpins = [("veth-a", HAIRPIN), ("veth-a-1", HAIRPIN)] if bridged else []
    assert sorted(found) == (hairpins or [("veth-a", ISOLATED), ("veth-b", ISOLATED)])


def test_a_kernel_without_ipv6_has_no_settings_of_it() -> None:
    def made_with(machine: Machine) -> list[Settings]:
        facts = _with("one", machine, {"a": ["one"]})
        ends = [end for each in only(facts, Veth) for end in each.ends]
        return [each.settings for each in (*only(facts, Bridge), *ends)]

    assert made_with(Machine(ipv6=False)) == [(), (), ()]
    assert made_with(Machine()) == [
        (("net.ipv6.conf.one.accept_ra", "0"), ("net.ipv6.conf.one.accept_redirects", "0")),
        (),
        (("net.ipv6.conf.eth0.accept_ra", "0"), ("net.ipv6.conf.eth0.accept_redirects", "0")),
    ]


def test_an_interface_has_its_own_mtu_only_where_it_differs() -> None:
    nodes = {
        "a": {"networks": {"lan": {"mtu": 1300}}},
        "b": {"networks": {"lan": {"mtu": 1400}}},
        "c": {"networks": ["lan"]},
    }
    facts = _facts({"networks": {"lan": {"subnet": "10.1.0.0/24", "mtu": 1400}}, "nodes": nodes})
    assert [tuple(end.mtu for end in each.ends) for each in only(facts, Veth)] == [
        (1400, 1300),
        (1400, 1400),
        (1400, 1400),
    ]
