"""A lab without IPv6: what stays, what is left out and told, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError, TopologyError
from bascule.topology import edit
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Topology
from bascule.topology.six import has_ipv6, left_out, without_ipv6

EVERYTHING = Path(__file__).parents[1] / "crash" / "labs" / "everything.yaml"
BOTH = {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}


def _lab(networks: dict[str, Any], nodes: dict[str, Any], **more: Any) -> Topology:
    return from_data({"name": "t", "networks": networks, "nodes": nodes, "ipv6": False, **more})


def _of_lan(node: Any, **network: Any) -> Topology:
    return _lab({"lan": {**BOTH, **network}}, {"a": node})


TABLE: dict[str, tuple[Topology, dict[str, Any], tuple[str, ...]]] = {
    "a subnet, and its gateway": (
        _of_lan(["lan"], gateway=["10.1.0.9", "fd00:1::9"]),
        {"networks": {"lan": {"subnet": "10.1.0.0/24", "gateway": "10.1.0.9"}}},
        ("subnets fd00:1::/64 of lan",),
    ),
    "an address": (
        _of_lan({"networks": {"lan": {"address": ["10.1.0.7", "fd00:1::7"]}}}),
        {"nodes": {"a": {"networks": {"lan": {"address": "10.1.0.7"}}}}},
        ("subnets fd00:1::/64 of lan",),
    ),
    "ranges and reserved addresses": (
        _of_lan(
            ["lan"],
            ip_range=["10.1.0.128/25", "fd00:1::8000:0/112"],
            reserved=["10.1.0.200", "fd00:1::8000:7", "fd00:1::1-fd00:1::4"],
        ),
        {"networks": {"lan": {"ip_range": "10.1.0.128/25", "reserved": "10.1.0.200"}}},
        ("subnets fd00:1::/64 of lan",),
    ),
    "router advertisements, and who listens to them": (
        _of_lan({"networks": {"lan": {"autoconf": True}}}, ra=True),
        {
            "networks": {"lan": {"ra": None}},
            "nodes": {"a": {"networks": {"lan": {"autoconf": None}}}},
        },
        ("router advertisements (`ra`) of lan", "subnets fd00:1::/64 of lan"),
    ),
    "who asks for IPv4, too": (
        _of_lan({"networks": {"lan": {"autoconf": True}}}, ra=True, dhcp=True),
        {
            "networks": {"lan": {"dhcp": True}},
            "nodes": {"a": {"networks": {"lan": {"autoconf": True}}}},
        },
        ("router advertisements (`ra`) of lan", "subnets fd00:1::/64 of lan"),
    ),
    "the address that packets leave with": (
        _of_lan(["lan"], nat=True, outbound_address=["192.0.2.1", "2001:db8::1"]),
        {"networks": {"lan": {"nat": True, "outbound_address": "192.0.2.1"}}},
        ("subnets fd00:1::/64 of lan", "outbound addresses 2001:db8::1 of lan"),
    ),
    "routes": (
        _of_lan(
            {"networks": ["lan"], "routes": ["10.9.0.0/16 via 10.1.0.8", "fd09::/16 via fd00:1::8"]}
        ),
        {"nodes": {"a": {"routes": [{"to": "10.9.0.0/16", "via": "10.1.0.8"}]}}},
        ("subnets fd00:1::/64 of lan", "routes fd09::/16 of a"),
    ),
    "ports of an IPv6 address": (
        _of_lan({"networks": ["lan"], "ports": ["80", "[::1]:8080:80", "[::]:8081:81/udp"]}),
        {"nodes": {"a": {"ports": ["80"]}}},
        ("subnets fd00:1::/64 of lan", "ports [::1]:8080:80 of a, [::]:8081:81/udp of a"),
    ),
    "name servers": (
        _of_lan({"networks": ["lan"], "dns": ["1.1.1.1", "fd00::53"]}),
        {"nodes": {"a": {"dns": "1.1.1.1"}}},
        ("subnets fd00:1::/64 of lan", "name servers fd00::53 of a"),
    ),
    "names of its own": (
        _of_lan(
            {"networks": ["lan"], "extra_hosts": ["db:10.1.0.9", "six:fd00::7", "me:host-gateway"]}
        ),
        {"nodes": {"a": {"extra_hosts": ["db=10.1.0.9", "me=host-gateway"]}}},
        ("subnets fd00:1::/64 of lan", "extra hosts six of a"),
    ),
    "settings, but for what turns it off": (
        _of_lan(
            {
                "networks": {"lan": {"sysctls": {"net.ipv6.conf.IFNAME.hop_limit": 3}}},
                "sysctls": {"net/ipv6/conf/all/forwarding": 1, "net.ipv4.ip_forward": 1},
            }
        ),
        {"nodes": {"a": {"sysctls": {"net.ipv4.ip_forward": "1"}}}},
        (
            "subnets fd00:1::/64 of lan",
            (
                "settings net.ipv6.conf.IFNAME.hop_limit of a on lan, "
                "net.ipv6.conf.all.forwarding of a"
            ),
        ),
    ),
    "a setting that turns it off stays": (
        _lab(
            {"lan": {"subnet": "10.1.0.0/24"}},
            {"a": {"networks": ["lan"], "sysctls": {"net.ipv6.conf.all.disable_ipv6": 1}}},
        ),
        {"nodes": {"a": {"sysctls": {"net.ipv6.conf.all.disable_ipv6": "1"}}}},
        (),
    ),
    "a network that has nothing else": (
        _lab(
            {"lan": {**BOTH, "reach": ["six", "dmz"]}, "six": {"subnet": "fd00:6::/64"}, "dmz": {}},
            {
                "a": {"networks": ["lan", "six"], "routes": ["fd09::/16 dev eth1"]},
                "b": {"networks": ["six"], "ports": ["80"]},
            },
        ),
        {
            "networks": {"lan": {"reach": ["dmz"]}, "six": None, "dmz": {}},
            "nodes": {
                "a": {"networks": {"six": None}, "routes": None},
                "b": {"networks": {}, "ports": None},
            },
        },
        (
            "networks that have nothing else: six",
            "subnets fd00:1::/64 of lan",
            "routes fd09::/16 of a",
            "all networks of b",
            "ports 80 of b",
        ),
    ),
    "pools": (
        _lab({"lan": {}}, {"a": ["lan"]}, pools=["10.9.0.0/16", "fd00:8::/48"]),
        {"pools": [{"base": "10.9.0.0/16", "size": 24}]},
        ("pools fd00:8::/48 of t",),
    ),
    "nothing": (_lab({"lan": {"subnet": "10.1.0.0/24"}}, {"a": ["lan"]}), {}, ()),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_stays(name: str) -> None:
    """What is there without IPv6 has the values of the table, None for what is not there."""
    lab, expected, told = TABLE[name]
    found = without_ipv6(lab)
    _holds(to_data(found), expected)
    assert left_out(lab) == tuple(f"without IPv6, left out: {each}" for each in told)
    _has_none(found)


def _holds(data: Any, expected: Any) -> None:
    for key, value in expected.items():
        if value is None:
            assert key not in data, (key, data)
        elif value and isinstance(value, dict) and key != "sysctls":
            _holds(data[key], value)
        else:
            assert data[key] == value, key


def _has_none(found: Topology) -> None:
    """Nothing of IPv6 is in it nor in what is chosen for it; it is a lab file's, and again it is
    the same."""
    assigned = assign(found)
    for data in (to_data(found), to_data(assigned)):
        text = str({key: value for key, value in data.items() if key != "name"})
        assert "::" not in text
        assert from_data(data) in (found, assigned)
    assert without_ipv6(found) == found
    assert not has_ipv6(found)
    assert left_out(found) == ()
    assert assign(load_text(to_yaml(assigned).encode(), "again")) == assigned


def test_of_everything() -> None:
    """Of a lab with each word nothing of IPv6 stays, and all else does."""
    lab = load_text(EVERYTHING.read_bytes(), "everything.yaml")
    assert has_ipv6(lab)
    assert without_ipv6(lab) is lab
    assert left_out(lab) == ()
    data = {**to_data(lab), "ipv6": False}
    chosen = from_data(data)
    assert left_out(chosen)
    found = without_ipv6(chosen)
    _has_none(found)
    assert [node.name for node in found.nodes] == [node.name for node in lab.nodes]


def test_where_nothing_would_be_left() -> None:
    """Refused, and so is what no longer fits together."""
    with pytest.raises(
        InputError, match=r"lab t: one, two have IPv6 only, so that without IPv6 noth"
    ):
        without_ipv6(_lab({"one": {"subnet": "fd00:1::/64"}, "two": {"subnet": "fd00:2::/64"}}, {}))
    with pytest.raises(InputError, match="lab t: one has IPv6 only"):
        left_out(_lab({"one": {"subnet": "fd00:1::/64"}}, {"a": ["one"]}))
    shut = {"in": {"subnet": "10.1.0.0/24", "internal": True}, "out": {"subnet": "fd00:1::/64"}}
    with pytest.raises(TopologyError, match=r"nodes\.a\.ports\[0\].*or make the lab with IPv6"):
        without_ipv6(_lab(shut, {"a": {"networks": ["in", "out"], "ports": ["80"]}}))
    assert without_ipv6(_lab({}, {"a": []})).nodes  # there was none to begin with


def test_that_an_edit_keeps_the_choice() -> None:
    """It is the lab's: what is added later has no IPv6 either."""
    lab = without_ipv6(_of_lan(["lan"]))
    grown = edit.add_network(lab, "dmz", {"subnet": ["10.2.0.0/24", "fd00:2::/64"]})
    grown = edit.add_node_data(grown, "b", {"networks": ["dmz"]})
    assert not grown.ipv6
    assert left_out(grown) == ("without IPv6, left out: subnets fd00:2::/64 of dmz",)
    _has_none(without_ipv6(grown))
