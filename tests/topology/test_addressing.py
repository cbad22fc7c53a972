"""The choices, by example: what a reader of the manual expects to get."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.topology.addressing import assign
from bascule.topology.load import from_data
from bascule.topology.model import Assigned


def got(lab: Assigned) -> dict[str, list[str]]:
    """Node → its addresses; network → its subnets and gateways."""
    nodes = {node.name: [str(address) for item in node.attachments for address in item.addresses] for node in lab.nodes}
    return nodes | {network.name: [*map(str, network.subnets), *map(str, network.gateways)] for network in lab.networks}


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
    assert got(assign(topology)) == {"lan": ["10.0.0.0/24", "fd00::/64"], "a": ["10.0.0.1", "fd00::1"]}


def test_fixed_addresses_and_the_gateway_are_stepped_over() -> None:
    topology = lab(
        {"lan": {"subnet": "10.0.0.0/29", "gateway": "10.0.0.2"}}, a=["lan"], b=["lan"], c={"networks": {"lan": "10.0.0.1"}}
    )
    assert got(assign(topology)) == {
        "lan": ["10.0.0.0/29", "10.0.0.2"], "a": ["10.0.0.3"], "b": ["10.0.0.4"], "c": ["10.0.0.1"],
    }  # fmt: skip


def test_a_gateway_for_one_family_leaves_the_other_its_default() -> None:
    topology = lab({"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"], "gateway": "fd00::9"}})
    assert got(assign(topology))["lan"] == ["10.0.0.0/24", "fd00::/64", "10.0.0.1", "fd00::9"]


def test_free_subnets_go_round_what_is_busy() -> None:
    topology = lab({"a": {}, "b": {"subnet": "10.213.1.0/24"}, "c": {}})
    busy = [ip_network("10.213.0.0/24"), ip_network("0.0.0.0/0"), ip_network("10.213.2.128/25"), ip_network("fd00::/8")]
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
    pools = [ip_network("10.9.0.0/24")]
    with pytest.raises(InputError) as caught:
        assign(topology, busy=[ip_network("192.168.0.0/16")], pools=pools)
    assert str(caught.value) == (
        "network b: no free subnet in 10.9.0.0/24 (this machine routes 192.168.0.0/16); give the network a `subnet`"
    )


def test_pools_may_be_ipv6() -> None:
    topology = lab({"a": {}, "b": {}}, n=["b"])
    found = got(assign(topology, pools=[ip_network("fd00:9::/48")]))
    assert found == {"a": ["fd00:9::/64", "fd00:9::1"], "b": ["fd00:9:0:1::/64", "fd00:9:0:1::1"], "n": ["fd00:9:0:1::2"]}


def test_what_runs_keeps_subnet_and_addresses() -> None:
    before = assign(lab({"lan": {}}, a=["lan"], b=["lan"]), busy=[ip_network("10.213.0.0/24")])
    assert got(before) == {"lan": ["10.213.1.0/24", "10.213.1.1"], "a": ["10.213.1.2"], "b": ["10.213.1.3"]}
    after = assign(lab({"lan": {}}, c=["lan"], b=["lan"]), before)
    assert got(after) == {"lan": ["10.213.1.0/24", "10.213.1.1"], "c": ["10.213.1.2"], "b": ["10.213.1.3"]}
    assert after.nodes[1].attachments[0].mac == before.nodes[1].attachments[0].mac


def test_the_file_goes_before_what_runs() -> None:
    before = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a=["lan"], b=["lan"]))
    after = assign(lab({"lan": {"subnet": "10.0.0.0/24"}}, a=["lan"], b=["lan"], c={"networks": {"lan": "10.0.0.2"}}), before)
    assert got(after) == {"lan": ["10.0.0.0/24", "10.0.0.1"], "a": ["10.0.0.4"], "b": ["10.0.0.3"], "c": ["10.0.0.2"]}
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
    found = assign(lab({"lan": {"subnet": "10.0.0.0/16"}}, web={"count": 1000, "networks": ["lan"]}))
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
