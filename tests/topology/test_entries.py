"""Entries with forms of their own: each form gives the same value, and the dump brings it back."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from bascule.errors import TopologyError
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Attachment, Network, Node, Pool, Port, Span, Topology
from bascule.topology.ways import gateways, ways_out

LAN: dict[str, Any] = {"lan": {"subnet": ["10.1.0.0/24", "fd00::/64"]}}


def _node(**words: object) -> Node:
    return from_data({"networks": LAN, "nodes": {"a": words}}).nodes[0]


def _network(**words: object) -> Network:
    return from_data({"networks": {"lan": words}}).networks[0]


def test_ports_as_text_numbers_and_maps() -> None:
    short = ["80", "8080:80", "127.0.0.1::53/udp", "5000-5001:6000-6001/sctp", "[fd00::9]:81:81"]
    long = [
        {"target": 80},
        {"target": "80", "published": 8080},
        {"target": 53, "host_ip": "127.0.0.1", "protocol": "udp"},
        {"target": "6000-6001", "published": "5000-5001", "protocol": "sctp"},
        {"target": 81, "published": "81", "host_ip": "fd00::9", "protocol": "tcp"},
    ]
    expected = (
        Port("tcp", 80),
        Port("tcp", 80, 8080),
        Port("udp", 53, 0, 1, ip_address("127.0.0.1")),
        Port("sctp", 6000, 5000, 2),
        Port("tcp", 81, 81, 1, ip_address("fd00::9")),
    )
    assert _node(networks=["lan"], ports=short).ports == expected
    assert (
        from_data({"networks": LAN, "nodes": {"a": {"networks": ["lan"], "ports": long}}})
        .nodes[0]
        .ports
        == expected
    )
    in_yaml = (
        b"networks: {lan: {}}\nnodes: {a: {networks: [lan], ports: [80, 8080:80, 22:22, "
        b"{target: 81, published: 10}]}}"
    )
    assert load_text(in_yaml, "x.yaml").nodes[0].ports == (
        Port("tcp", 80),
        Port("tcp", 80, 8080),
        Port("tcp", 22, 22),
        Port("tcp", 81, 10),
    )
    assert _node(ports=[]).ports == ()


def test_labels() -> None:
    """Of a map, of a list; what YAML makes of true, of numbers and of nothing is text again."""
    text = b"labels: {a: 1, b: true, c: , d: x=y, e: 1.50, f: False, g: 'two words', h: ''}"
    assert load_text(text, "x.yaml").labels == (
        ("a", "1"), ("b", "true"), ("c", ""), ("d", "x=y"), ("e", "1.50"), ("f", "false"), ("g", "two words"), ("h", ""),  # noqa: E501
    )  # fmt: skip
    text = b"labels: [a, ' b = 1 ', 'c=x=y', d=, 7]"
    assert load_text(text, "x.yaml").labels == (
        ("a", ""),
        ("b", "1"),
        ("c", "x=y"),
        ("d", ""),
        ("7", ""),
    )
    assert _node(labels={"x": "1"}).labels == _node(labels=["x=1"]).labels == (("x", "1"),)
    assert _network(labels=["x=1", "y=2"]).labels == (("x", "1"), ("y", "2"))


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("k" * 200, "v" * 200, True),
        ("k" * 201, "v", False),
        ("k", "v" * 201, False),
        ("k", "\x1b", False),
        ("\u202e", "", False),
    ],
)
def test_how_long_a_label_may_be(key: str, value: str, good: bool) -> None:
    if good:
        assert _node(labels={key: value}).labels == ((key, value),)
    else:
        with pytest.raises(
            TopologyError, match="is no label; write a word of up to 200 characters each"
        ):
            _node(labels={key: value})


def test_extra_hosts() -> None:
    """Docker's two separators, IPv6 addresses with brackets or without, several addresses of one
    name, `host-gateway`."""
    listed = [
        "db=10.1.0.9",
        "db2:10.1.0.8",
        " six = [fd00::1] ",
        "six:fd00::2",
        "gw:host-gateway",
        "gw2=host-gateway",
    ]
    expected = (
        ("db", "10.1.0.9"), ("db2", "10.1.0.8"), ("six", "fd00::1"), ("six", "fd00::2"),
        ("gw", "host-gateway"), ("gw2", "host-gateway"),
    )  # fmt: skip
    assert _node(extra_hosts=listed).extra_hosts == expected
    mapped = {
        "db": "10.1.0.9", "db2": ["10.1.0.8"], "six": ["FD00:0::1", "fd00::2"], "gw": "host-gateway", "gw2": ["host-gateway"],  # noqa: E501
    }  # fmt: skip
    assert _node(extra_hosts=mapped).extra_hosts == expected


def test_pools() -> None:
    """A subnet, a map, or a list of both; parts of a /24 or a /64, or of the whole where that is
    smaller."""
    four, six = ip_network("10.9.0.0/16"), ip_network("fd00:9::/48")
    assert from_data({"pools": "10.9.0.0/16"}).pools == (Pool(four, 24),)
    assert from_data({"pools": {"base": "10.9.0.0/16", "size": 16}}).pools == (Pool(four, 16),)
    assert from_data({"pools": {"base": "10.9.0.0/16"}}).pools == (Pool(four, 24),)
    listed = [
        "10.9.0.0/16",
        "fd00:9::/48",
        {"base": "fd00:9::/48", "size": 126},
        {"base": "10.9.0.0/16", "size": 30},
    ]
    assert from_data({"pools": listed}).pools == (
        Pool(four, 24),
        Pool(six, 64),
        Pool(six, 126),
        Pool(four, 30),
    )
    small = ["10.9.0.0/28", "fd00:9::/80", "10.9.0.0/24"]
    assert [pool.size for pool in from_data({"pools": small}).pools] == [28, 80, 24]


def test_reserved_and_ranges() -> None:
    found = _network(
        subnet=["10.1.0.0/24", "fd00::/64"],
        ip_range=["10.1.0.64/26", "fd00::/80"],
        reserved=["10.1.0.5", "10.1.0.8/29", "10.1.0.70 - 10.1.0.72", "fd00::5-fd00::6"],
    )
    assert found.ranges == (ip_network("10.1.0.64/26"), ip_network("fd00::/80"))
    spans = [
        ("10.1.0.5", "10.1.0.5"),
        ("10.1.0.8", "10.1.0.15"),
        ("10.1.0.70", "10.1.0.72"),
        ("fd00::5", "fd00::6"),
    ]
    assert found.reserved == tuple(
        Span(ip_address(first), ip_address(last)) for first, last in spans
    )
    assert _network(subnet="10.1.0.0/24", reserved="10.1.0.5").reserved == (
        Span(ip_address("10.1.0.5"), ip_address("10.1.0.5")),
    )


def test_modes_and_namespaces() -> None:
    assert _node(network_mode="none") == Node("a")
    assert _node(network_mode="host") == Node("a", netns="/proc/self/ns/net")
    assert _node(network_mode="none", sysctls={"net.x": 1}, labels=["y"]).sysctls == (
        ("net.x", "1"),
    )
    for path in ("/proc/7/ns/net", "/run/netns/a..b", "/" + "x" * 199):
        assert _node(netns=path).netns == path
    with pytest.raises(TopologyError, match="is no path of a namespace"):
        _node(netns="/" + "x" * 200)


def test_nodes_by_count_may_share_what_can_be_shared() -> None:
    found = from_data(
        {
            "networks": LAN,
            "nodes": {"a": {"count": 2, "networks": ["lan"], "ports": ["80"], "labels": ["x"]}},
        }
    )
    assert [(node.name, node.ports, node.labels) for node in found.nodes] == [
        ("a1", (Port("tcp", 80),), (("x", ""),)),
        ("a2", (Port("tcp", 80),), (("x", ""),)),
    ]
    one = from_data(
        {"networks": LAN, "nodes": {"a": {"count": 1, "networks": ["lan"], "ports": ["80:80"]}}}
    )
    assert [(node.name, node.ports) for node in one.nodes] == [("a1", (Port("tcp", 80, 80),))]
    host = from_data({"nodes": {"a": {"count": 2, "network_mode": "host"}}})
    assert [(node.name, node.netns) for node in host.nodes] == [
        ("a1", "/proc/self/ns/net"),
        ("a2", "/proc/self/ns/net"),
    ]


EVERYTHING = """\
name: all
networks:
  lan:
    subnet: [10.1.0.0/24, 'fd00::/64']
    nat: true
    outbound_address: 192.0.2.1
    icc: false
    reach: [wan]
    ip_range: 10.1.0.64/26
    reserved: [10.1.0.70, 10.1.0.72-10.1.0.80]
    dns: false
    dhcp: true
    ra: true
    stp: true
    ageing_time: 0
    promiscuous: true
    uplink: up0
    labels: {tier: web}
  shut: {internal: true}
  wan: {mtu: 1400, mac: '02:00:00:00:00:01', dns: true}
nodes:
  a:
    networks:
      lan:
        gateway_priority: -1
        aliases: [db, db2]
        autoconf: true
        mtu: 1300
        sysctls: {net.ipv4.conf.IFNAME.rp_filter: 2}
      wan: {gateway_priority: 7}
    ports: ['8080:80', '127.0.0.1:53:53/udp', '90']
    extra_hosts: [db=10.1.0.9, gw=host-gateway]
    hostname: a.example.com
    dns: [10.1.0.9, 'fd00::9']
    dns_search: .
    dns_opt: ['ndots:2', use-vc]
    labels: {role: ''}
  b: {network_mode: host}
  c: {netns: /proc/7/ns/net}
pools:
- {base: 10.9.0.0/16, size: 28}
labels: {team: '7'}
"""


def test_the_dump_knows_every_word() -> None:
    """Text → topology → the same text, in the order of the tables; data → topology → the same
    data."""
    found = load_text(EVERYTHING.encode(), "x.yaml")
    assert to_yaml(found) == EVERYTHING
    assert from_data(to_data(found)) == found
    assert load_text(to_yaml(found).encode(), "x.yaml") == found


def test_what_data_of_a_topology_looks_like() -> None:
    topology = Topology(
        "t",
        (
            Network(
                "lan", (ip_network("10.1.0.0/24"),), has_gateway=False, reach=("x", "y"), ageing=300
            ),
        ),
        (
            Node(
                "a",
                (
                    Attachment(
                        "lan", (ip_address("10.1.0.2"),), "eth0", "veth-a", "02:00:00:00:00:02", 1
                    ),
                ),
            ),
            Node("b", netns="/x"),
        ),
        (Pool(ip_network("10.2.0.0/16"), 24),),
        (("k", "v"),),
    )
    assert to_data(topology) == {
        "name": "t",
        "networks": {
            "lan": {
                "subnet": "10.1.0.0/24",
                "gateway": "none",
                "reach": ["x", "y"],
                "ageing_time": 300,
            }
        },
        "nodes": {
            "a": {
                "networks": {
                    "lan": {
                        "address": "10.1.0.2",
                        "interface": "eth0",
                        "host_interface": "veth-a",
                        "mac": "02:00:00:00:00:02",
                        "gateway_priority": 1,
                    }
                }
            },
            "b": {"networks": {}, "netns": "/x"},
        },
        "pools": [{"base": "10.2.0.0/16", "size": 24}],
        "labels": {"k": "v"},
    }
    assert to_data(Topology("t")) == {"name": "t", "networks": {}, "nodes": {}}


SLAAC = """\
name: t
networks:
  lan:
    subnet: [10.1.0.0/24, 'fd00::/64']
    gateway: [10.1.0.1, 'fd00::1']
    ra: true
  wan:
    subnet: 'fd01::/64'
    gateway: 'fd01::1'
nodes:
  a:
    networks:
      lan: {address: 10.1.0.2, autoconf: true}
      wan: {address: 'fd01::2'}
"""


def test_an_address_that_follows_from_the_mac_is_not_written_out() -> None:
    """Its MAC follows from lab and node, and with it the address, each time the file is read."""
    found = assign(load_text(SLAAC.encode(), "x.yaml"))
    (lan, wan) = found.nodes[0].attachments
    octets = bytes.fromhex(lan.mac.replace(":", ""))
    identifier = bytes(
        (octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, octets[3], octets[4], octets[5])
    )
    assert lan.addresses == (
        ip_address("10.1.0.2"),
        ip_address(int(ip_address("fd00::")) + int.from_bytes(identifier, "big")),
    )
    assert wan.addresses == (ip_address("fd01::2"),)
    text = to_yaml(found)
    assert "lan: {address: 10.1.0.2, autoconf: true}" in text
    assert assign(load_text(text.encode(), "x.yaml")) == found


def test_what_an_interface_gives_itself_is_not_routed_by_the_file() -> None:
    """Per family, and only where the route leads through that interface."""
    networks = {
        "lan": {"subnet": ["10.1.0.0/24", "fd00::/64"], "dhcp": True},
        "wan": {"subnet": ["10.2.0.0/24", "fd01::/64"]},
    }
    both: dict[str, Any] = {"lan": {"autoconf": True}, "wan": None}
    for good in (
        "10.9.0.0/16 via 10.2.0.9",
        "fd09::/64 via fd00::9",
        "fd09::/64 via fd01::9",
        "10.9.0.0/16 dev eth1",
    ):
        from_data({"networks": networks, "nodes": {"a": {"networks": both, "routes": [good]}}})
    for wrong in (
        "10.9.0.0/16 via 10.1.0.9",
        "10.9.0.0/16 dev eth0",
        "default via 10.1.0.9 dev eth0",
    ):
        with pytest.raises(
            TopologyError, match="the node gives eth0 its IPv4 routes itself; remove the route"
        ):
            from_data({"networks": networks, "nodes": {"a": {"networks": both, "routes": [wrong]}}})


def test_the_way_out_has_the_highest_priority() -> None:
    """Of equals the first; for each family by itself; never through an internal network."""
    networks = {
        "a": {"subnet": "10.1.0.0/24"},
        "b": {"subnet": ["10.2.0.0/24", "fd02::/64"]},
        "c": {"subnet": ["10.3.0.0/24", "fd03::/64"], "internal": True},
    }

    def out(**priorities: int) -> list[tuple[str, str]]:
        given = {name: {"gateway_priority": value} for name, value in priorities.items()}
        lab = assign(from_data({"networks": networks, "nodes": {"n": {"networks": given}}}))
        by_name = {network.name: network for network in lab.networks}
        return [(item.network, str(gateway)) for item, gateway in ways_out(lab.nodes[0], by_name)]

    assert out(a=0, b=0, c=0) == [("a", "10.1.0.1"), ("b", "fd02::1")]
    assert out(a=0, b=1, c=5) == [("b", "10.2.0.1"), ("b", "fd02::1")]
    assert out(b=0, a=0) == [("b", "10.2.0.1"), ("b", "fd02::1")]
    assert out(a=-1, b=-2) == [("a", "10.1.0.1"), ("b", "fd02::1")]
    assert out(c=1) == []
    assert [
        (str(gateway), prefix)
        for gateway, prefix in gateways(assign(from_data({"networks": networks})).networks[1])
    ] == [
        ("10.2.0.1", 24),
        ("fd02::1", 64),
    ]
