"""The choices, by example: what a reader of the manual expects to get."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.names import derived_mac
from bascule.topology.addressing import assign
from bascule.topology.defaults import attachment_mac
from bascule.topology.load import from_data
from bascule.topology.model import Assigned, Attachment, Node, Pool, Topology


def got(lab: Assigned) -> dict[str, list[str]]:
    """Node → its addresses; network → its subnets and gateways."""
    nodes = {
        node.name: [str(address) for item in node.attachments for address in item.addresses]
        for node in lab.nodes
    }
    return nodes | {
        network.name: [*map(str, network.subnets), *map(str, network.gateways)]
        for network in lab.networks
    }


def lab(networks: dict[str, Any], **nodes: Any) -> Any:
    return from_data({"networks": networks, "nodes": nodes})


def test_addresses_follow_the_order_of_the_file() -> None:
    topology = lab({"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"]}}, b=["lan"], a=["lan"])
    assert got(assign(topology)) == {
        "lan": ["10.0.0.0/24", "fd00::/64", "10.0.0.1", "fd00::1"],
        "b": ["10.0.0.2", "fd00::2"],
        "a": ["10.0.0.3", "fd00::3"],
    }


def test_a_bridge_without_address_leaves_the_first_one_to_a_node() -> None:
    topology = lab({"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"], "gateway": "none"}}, a=["lan"])
    assert got(assign(topology)) == {
        "lan": ["10.0.0.0/24", "fd00::/64"],
        "a": ["10.0.0.1", "fd00::1"],
    }


def test_fixed_addresses_and_the_gateway_are_stepped_over() -> None:
    topology = lab(
        {"lan": {"subnet": "10.0.0.0/29", "gateway": "10.0.0.2"}},
        a=["lan"],
        b=["lan"],
        c={"networks": {"lan": "10.0.0.1"}},
    )
    assert got(assign(topology)) == {
        "lan": ["10.0.0.0/29", "10.0.0.2"], "a": ["10.0.0.3"], "b": ["10.0.0.4"], "c": ["10.0.0.1"],
    }  # fmt: skip


def test_a_gateway_for_one_family_leaves_the_other_its_default() -> None:
    topology = lab({"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"], "gateway": "fd00::9"}})
    assert got(assign(topology))["lan"] == ["10.0.0.0/24", "fd00::/64", "10.0.0.1", "fd00::9"]


def test_free_subnets_go_round_what_is_busy() -> None:
    topology = lab({"a": {}, "b": {"subnet": "10.213.1.0/24"}, "c": {}})
    busy = [
        ip_network("10.213.0.0/24"),
        ip_network("0.0.0.0/0"),
        ip_network("10.213.2.128/25"),
        ip_network("fd00::/8"),
    ]
    found = got(assign(topology, busy=busy))
    assert (found["a"][0], found["c"][0]) == ("10.213.3.0/24", "10.213.4.0/24")
    assert got(assign(topology, busy=[ip_network("10.0.0.0/8")]))["a"][0] == "198.18.0.0/24"


def test_a_free_subnet_is_wide_enough_for_its_nodes() -> None:
    for count, length in ((252, 24), (253, 24), (254, 23), (1000, 22)):
        found = assign(lab({"lan": {}}, web={"count": count, "networks": ["lan"]}))
        assert found.networks[0].subnets[0].prefixlen == length
        assert len(found.nodes) == count


def test_exhausted_pools_say_what_is_busy() -> None:
    topology = lab({"a": {}, "b": {}})
    pools = [Pool(ip_network("10.9.0.0/24"), 24)]
    with pytest.raises(InputError) as caught:
        assign(topology, busy=[ip_network("192.168.0.0/16")], pools=pools)
    assert str(caught.value) == (
        "network b: no free subnet in 10.9.0.0/24 (this machine routes 192.168.0.0/16); give "
        "the network a `subnet`"
    )


def test_pools_may_be_ipv6() -> None:
    topology = lab({"a": {}, "b": {}}, n=["b"])
    found = got(assign(topology, pools=[Pool(ip_network("fd00:9::/48"), 64)]))
    assert found == {
        "a": ["fd00:9::/64", "fd00:9::1"],
        "b": ["fd00:9:0:1::/64", "fd00:9:0:1::1"],
        "n": ["fd00:9:0:1::2"],
    }


def test_what_runs_keeps_subnet_and_addresses() -> None:
    before = assign(lab({"lan": {}}, a=["lan"], b=["lan"]), busy=[ip_network("10.213.0.0/24")])
    assert got(before) == {
        "lan": ["10.213.1.0/24", "10.213.1.1"],
        "a": ["10.213.1.2"],
        "b": ["10.213.1.3"],
    }
    after = assign(lab({"lan": {}}, c=["lan"], b=["lan"]), before)
    assert got(after) == {
        "lan": ["10.213.1.0/24", "10.213.1.1"],
        "c": ["10.213.1.2"],
        "b": ["10.213.1.3"],
    }
    assert after.nodes[1].attachments[0].mac == before.nodes[1].attachments[0].mac


def test_the_file_goes_before_what_runs() -> None:
    before = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a=["lan"], b=["lan"]))
    after = assign(
        lab(
            {"lan": {"subnet": "10.0.0.0/24"}},
            a=["lan"],
            b=["lan"],
            c={"networks": {"lan": "10.0.0.2"}},
        ),
        before,
    )
    assert got(after) == {
        "lan": ["10.0.0.0/24", "10.0.0.1"],
        "a": ["10.0.0.4"],
        "b": ["10.0.0.3"],
        "c": ["10.0.0.2"],
    }
    moved = assign(lab({"lan": {"subnet": "10.1.0.0/24"}}, a=["lan"], b=["lan"]), before)
    assert got(moved) == {"lan": ["10.1.0.0/24", "10.1.0.1"], "a": ["10.1.0.2"], "b": ["10.1.0.3"]}


def test_what_runs_gives_way_where_the_file_claims_its_subnet_or_outgrows_it() -> None:
    before = assign(lab({"lan": {}}, a=["lan"]))
    claimed = assign(lab({"lan": {}, "wan": {"subnet": "10.213.0.0/20"}}, a=["lan"]), before)
    assert got(claimed)["lan"][0] == "10.213.16.0/24"
    grown = assign(lab({"lan": {}}, a=["lan"], web={"count": 300, "networks": ["lan"]}), before)
    assert got(grown)["lan"][0] == "10.213.0.0/23"


def test_a_subnet_chosen_for_another_lab_is_kept_from_busy_ones() -> None:
    before = assign(lab({"lan": {}}, a=["lan"]))
    assert assign(lab({"lan": {}}, a=["lan"]), before, busy=[ip_network("10.213.0.0/24")]) == before


def test_mac_addresses_are_derived_and_local() -> None:
    found = assign(
        lab({"lan": {"subnet": "10.0.0.0/16"}}, web={"count": 1000, "networks": ["lan"]})
    )
    macs = [node.attachments[0].mac for node in found.nodes] + [found.networks[0].mac]
    assert len(set(macs)) == 1001
    assert all(mac.startswith("02:") for mac in macs)


def test_five_thousand_nodes_are_no_matter() -> None:
    names = [f"lan{number}" for number in range(10)]
    data = {
        "networks": {name: {"subnet": f"10.{number}.0.0/16"} for number, name in enumerate(names)},
        "nodes": {f"on-{name}-": {"count": 500, "networks": [name]} for name in names},
    }
    began = time.process_time()
    found = assign(from_data(data))
    assert len({node.attachments[0].addresses for node in found.nodes}) == 5000
    # A tenth of a second here; what is quadratic takes minutes.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("busy", "subnet"),
    [
        ("10.213.0.0/32", "10.213.1.0/24"), ("10.213.0.255/32", "10.213.1.0/24"), ("10.213.1.0/32", "10.213.0.0/24"),  # noqa: E501
        ("10.212.255.255/32", "10.213.0.0/24"), ("10.213.0.0/16", "10.214.0.0/24"), ("10.213.0.0/17", "10.213.128.0/24"),  # noqa: E501
        ("10.212.0.0/14", "198.18.0.0/24"), ("10.0.0.0/7", "198.18.0.0/24"), ("fd00::/8", "10.213.0.0/24"),  # noqa: E501
        ("0.0.0.0/0", "10.213.0.0/24"), ("0.0.0.0/1", "198.18.0.0/24"),
    ],
)  # fmt: skip
def test_one_busy_address_is_enough_to_keep_away(busy: str, subnet: str) -> None:
    """The first or the last of a subnet; its neighbours and the other family are no matter, a
    default route neither."""
    assert got(assign(lab({"a": {}}), busy=[ip_network(busy)]))["a"][0] == subnet


def test_subnets_of_the_file_are_busy_too() -> None:
    """Also those that come later; what touches is merged and jumped over at once."""
    given = {
        "b": {"subnet": "10.213.0.0/24"},
        "c": {"subnet": "10.213.2.0/23"},
        "d": {"subnet": "10.213.1.0/24"},
    }
    assert got(assign(lab({"a": {}, **given, "e": {}})))["a"][0] == "10.213.4.0/24"
    busy = [ip_network(f"10.213.{third}.0/24") for third in (4, 7, 5, 9, 6)]
    found = got(assign(lab({"a": {}, **given, "e": {}}), busy=busy))
    assert (found["a"][0], found["e"][0]) == ("10.213.8.0/24", "10.213.10.0/24")


def test_a_wider_subnet_begins_where_one_may() -> None:
    """A /22 after a /24: at the next multiple of its size. A pool that is too small is passed
    over."""
    topology = lab({"a": {}, "b": {}, "c": {}}, web={"count": 600, "networks": ["b"]})
    found = got(assign(topology))
    assert [found[name][0] for name in "abc"] == ["10.213.0.0/24", "10.213.4.0/22", "10.213.1.0/24"]
    pools = [
        Pool(ip_network("10.9.0.0/25"), 24),
        Pool(ip_network("10.10.0.0/24"), 24),
        Pool(ip_network("10.12.0.0/22"), 24),
    ]
    found = got(assign(lab({"a": {}}), pools=pools))
    assert found["a"][0] == "10.10.0.0/24"


@pytest.mark.parametrize(
    ("busy", "said"),
    [
        (0, "nothing"),
        (2, "10.0.0.0/32, 10.0.1.0/32"),
        (8, ", ".join(f"10.0.{number}.0/32" for number in range(8))),
        (9, ", ".join(f"10.0.{number}.0/32" for number in range(8)) + " and 1 more"),
        (11, ", ".join(f"10.0.{number}.0/32" for number in range(8)) + " and 3 more"),
    ],
)
def test_exhausted_pools_name_eight_busy_prefixes(busy: int, said: str) -> None:
    """A machine may route thousands."""
    pools = [Pool(ip_network("10.9.0.0/24"), 24), Pool(ip_network("10.8.0.0/25"), 24)]
    with pytest.raises(InputError) as caught:
        assign(
            lab({"a": {}, "b": {}}),
            busy=[ip_network(f"10.0.{number}.0/32") for number in range(busy)],
            pools=pools,
        )
    assert str(caught.value) == (
        f"network b: no free subnet in 10.9.0.0/24, 10.8.0.0/25 (this machine routes {said}); "
        f"give the network a `subnet`"
    )


@pytest.mark.parametrize(
    ("gateway", "nodes", "stays"),
    [({}, 5, True), ({}, 6, False), ("none", 6, True), ("none", 7, False)],
)
def test_what_runs_keeps_its_subnet_as_long_as_there_is_room(
    gateway: Any, nodes: int, stays: bool
) -> None:
    """A /29 has six addresses, of which the bridge takes one where it has an address."""
    more = {"gateway": gateway} if gateway else {}
    before = assign(lab({"lan": {"subnet": "10.0.0.0/29", **more}}, a=["lan"]))
    after = assign(lab({"lan": more}, n={"count": nodes, "networks": ["lan"]}), before)
    assert (got(after)["lan"][0] == "10.0.0.0/29") is stays


def test_of_two_subnets_both_stay_or_none() -> None:
    """Half of a dual stack would be another network."""
    before = assign(lab({"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"]}}, a=["lan"]))
    assert got(assign(lab({"lan": {}}, a=["lan"]), before)) == got(before)
    claimed = assign(lab({"lan": {}, "six": {"subnet": "fd00::/48"}}, a=["lan"]), before)
    assert got(claimed)["lan"] == ["10.213.0.0/24", "10.213.0.1"]


@pytest.mark.parametrize(
    ("before", "after", "address"),
    [
        ("10.0.0.254", "10.0.0.0/24", "10.0.0.254"), ("10.0.0.128", "10.0.0.128/25", "10.0.0.130"),
        ("10.0.0.127", "10.0.0.0/25", "10.0.0.2"), ("10.0.0.126", "10.0.0.0/25", "10.0.0.126"),
        ("10.0.0.129", "10.0.0.128/25", "10.0.0.130"), ("10.0.0.130", "10.0.0.128/25", "10.0.0.130"),  # noqa: E501
        ("10.0.0.9", "fd00::/64", "fd00::2"),
    ],
)  # fmt: skip
def test_an_address_stays_where_hosts_may_have_it(before: str, after: str, address: str) -> None:
    """Not as the network's own, the broadcast or the bridge's address of the new subnet."""
    running = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a={"networks": {"lan": before}}))
    assert got(assign(lab({"lan": {"subnet": after}}, a=["lan"]), running))["a"] == [address]


def test_of_two_families_each_keeps_what_the_file_does_not_say() -> None:
    """The file fixes the IPv6 address anew; the IPv4 address stays."""
    networks = {"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"]}}
    running = assign(lab(networks, a=["lan"], b=["lan"]))
    changed = assign(lab(networks, c=["lan"], b={"networks": {"lan": "fd00::9"}}), running)
    assert got(changed)["b"] == ["10.0.0.3", "fd00::9"]
    assert got(changed)["c"] == ["10.0.0.2", "fd00::2"]


def test_a_full_subnet_names_the_node_that_gets_nothing() -> None:
    """The loader counts; what runs can still have taken the last address."""
    topology = lab({"lan": {"subnet": "10.0.0.0/30"}}, a=["lan"])
    crowded = Topology("t", topology.networks, (*topology.nodes, Node("b", (Attachment("lan"),))))
    with pytest.raises(InputError) as caught:
        assign(crowded)
    assert (
        str(caught.value)
        == "network lan: no address is left in 10.0.0.0/30 for node b; choose a wider subnet"
    )


def test_macs_that_hash_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more part is added until the network has no such MAC; those of the bridge and of the file
    count, too."""
    macs = {
        "10.0.0.2": "bridge",
        "10.0.0.2 1": "02:00:00:00:00:01",
        "10.0.0.2 2": "free",
        "10.0.0.4": "free",
        "10.0.0.4 1": "own",
    }
    monkeypatch.setattr("bascule.topology.addressing.network_mac", lambda lab, network: "bridge")
    monkeypatch.setattr(
        "bascule.topology.addressing.attachment_mac",
        lambda lab, node, interface, first: macs[first],
    )
    fixed = {"networks": {"lan": {"mac": "02:00:00:00:00:01", "address": "10.0.0.3"}}}
    found = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a=["lan"], b=fixed, c=["lan"]))
    assert [node.attachments[0].mac for node in found.nodes] == ["free", "02:00:00:00:00:01", "own"]


def test_derived_macs_follow_the_address_and_the_names_where_there_is_none() -> None:
    """So a rebuilt node has the MAC that its peers know; two labs with the same names have
    different bridges."""
    networks = {"lan": {"subnet": "10.0.0.0/24"}}
    one, other = (
        assign(from_data({"name": name, "networks": networks, "nodes": {"a": ["lan"]}}))
        for name in ("one", "other")
    )
    assert one.networks[0].mac != other.networks[0].mac
    assert one.nodes[0].attachments[0].mac == derived_mac("one", "10.0.0.2")
    assert one.networks[0].mac == derived_mac("one", "lan")
    assert attachment_mac("one", "a", "eth0", "") == derived_mac("one", "a", "eth0")


@pytest.mark.parametrize(
    ("reserved", "expected"),
    [
        ([], ["2", "3", "4", "5"]),
        (["10.0.0.2"], ["3", "4", "5", "6"]),
        (["10.0.0.3-10.0.0.4"], ["2", "5", "6", "7"]),
        (["10.0.0.3", "10.0.0.5"], ["2", "4", "6", "7"]),
        (["10.0.0.5-10.0.0.9", "10.0.0.2/31"], ["4", "10", "11", "12"]),
        (["10.0.0.0/29", "10.0.0.8-10.0.0.10"], ["11", "12", "13", "14"]),
        (["10.0.0.1-10.0.0.1", "10.0.0.4"], ["2", "3", "5", "6"]),
    ],
)
def test_reserved_addresses_are_passed_over(reserved: list[str], expected: list[str]) -> None:
    """Single ones, ranges, ranges that touch; the gateway is the bridge's all the same."""
    found = got(
        assign(
            lab(
                {"lan": {"subnet": "10.0.0.0/24", "reserved": reserved}},
                n={"count": 4, "networks": ["lan"]},
            )
        )
    )
    assert [found[f"n{number}"][0].rpartition(".")[2] for number in range(1, 5)] == expected


def test_a_range_and_what_is_reserved_in_it() -> None:
    """Both bound where addresses come from, also for nodes that the lab had before."""
    network = {
        "subnet": ["10.0.0.0/24", "fd00::/64"],
        "ip_range": "10.0.0.16/29",
        "reserved": ["10.0.0.16-10.0.0.18", "10.0.0.20"],
    }
    found = got(assign(lab({"lan": network}, n={"count": 4, "networks": ["lan"]})))
    assert [found[f"n{number}"] for number in range(1, 5)] == [
        ["10.0.0.19", "fd00::2"], ["10.0.0.21", "fd00::3"], ["10.0.0.22", "fd00::4"], ["10.0.0.23", "fd00::5"],  # noqa: E501
    ]  # fmt: skip
    before = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a=["lan"], b=["lan"], c=["lan"]))
    after = lab(
        {"lan": {"subnet": "10.0.0.0/24", "reserved": "10.0.0.3"}}, a=["lan"], b=["lan"], c=["lan"]
    )
    assert [got(assign(after, before))[name] for name in "abc"] == [
        ["10.0.0.2"],
        ["10.0.0.5"],
        ["10.0.0.4"],
    ]


def linked(*links: Any, **fields: Any) -> Topology:
    return from_data({"nodes": ["a", "b", "c"], "links": list(links), **fields})


def of_links(lab: Assigned) -> list[list[str]]:
    """Subnets, and each end with its addresses."""
    return [
        [
            *map(str, link.subnets),
            *(
                f"{end.place}:{end.interface} {' '.join(map(str, end.addresses))}".strip()
                for end in link.ends
            ),
        ]
        for link in lab.links
    ]


def test_links_get_subnets_of_two_addresses() -> None:
    """Interfaces follow the order of the file, after those of networks."""
    assert of_links(assign(linked(["a", "b"], ["b:up", "c"], ["c", "a"]))) == [
        ["10.212.0.0/31", "a:eth0 10.212.0.0", "b:eth0 10.212.0.1"],
        ["10.212.0.2/31", "b:up 10.212.0.2", "c:eth0 10.212.0.3"],
        ["10.212.0.4/31", "c:eth1 10.212.0.4", "a:eth1 10.212.0.5"],
    ]


def test_links_of_a_lab_with_ipv6_have_both() -> None:
    """Where one of its subnets is of IPv6; `none` and chosen ones stay as they are."""
    topology = linked(
        ["a", "b"],
        {"ends": ["b", "c"], "subnet": "none"},
        {"ends": ["c", "a"], "subnet": "fd00::/64"},
    )
    assert of_links(assign(topology)) == [
        [
            "10.212.0.0/31",
            "fdb5:ca5c:1e0::/127",
            "a:eth0 10.212.0.0 fdb5:ca5c:1e0::",
            "b:eth0 10.212.0.1 fdb5:ca5c:1e0::1",
        ],
        ["b:eth1", "c:eth0"],
        ["fd00::/64", "c:eth1 fd00::1", "a:eth1 fd00::2"],
    ]


def test_links_from_a_pool_of_the_file() -> None:
    """One whose parts have two addresses is theirs, and networks choose from the others. What is
    fixed is stepped over, and what the running lab has stays."""
    fields = {
        "pools": ["10.9.0.0/16", {"base": "10.8.0.0/30", "size": 31}],
        "networks": {"lan": {}},
    }
    fixed = {"ends": ["b", "c"], "subnet": "10.8.0.0/31"}
    first = assign(linked(["a", "b"], fixed, **fields))
    assert of_links(first)[0] == ["10.8.0.2/31", "a:eth0 10.8.0.2", "b:eth0 10.8.0.3"]
    assert got(first)["lan"][0] == "10.9.0.0/24"
    again = assign(linked(["c:new", "a"], ["a:eth0", "b:eth0"], **fields), first)
    assert of_links(again) == [
        ["10.8.0.0/31", "c:new 10.8.0.0", "a:eth1 10.8.0.1"],
        ["10.8.0.2/31", "a:eth0 10.8.0.2", "b:eth0 10.8.0.3"],
    ]
    with pytest.raises(
        InputError, match=r"link a:eth1 -- c:eth1: no free subnet in 10\.8\.0\.0/30"
    ):
        assign(linked(["a", "b"], fixed, ["a", "c"], **fields))


def test_ends_keep_what_the_file_gives_them() -> None:
    """The other one gets what is left; a cable between bridges has no addresses."""
    second = {"node": "b", "address": "10.8.0.0"}
    cable = ["lan", "wan"]
    topology = linked(
        {"ends": ["a", second], "subnet": "10.8.0.0/31"},
        {"ends": ["a", {"node": "c", "address": "10.8.1.1"}], "subnet": "10.8.1.0/29"},
        cable,
        networks={"lan": {}, "wan": {}},
    )
    assert of_links(assign(topology)) == [
        ["10.8.0.0/31", "a:eth0 10.8.0.1", "b:eth0 10.8.0.0"],
        ["10.8.1.0/29", "a:eth1 10.8.1.2", "c:eth0 10.8.1.1"],
        ["lan:veth-lan", "wan:veth-wan"],
    ]
