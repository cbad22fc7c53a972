"""The file's words: short forms and long ones mean the same; the schema, the examples and the dump
agree with the loader."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from bascule.topology import load, schema
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.forms import MAC
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Network, Node, Route
from bascule.topology.word import Noun, Word
from bascule.topology.words.lab import NOUNS
from topology.labs import labs

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(schema.json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_right_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    VALIDATOR.validate(yaml.safe_load(text))
    topology = load_text(text.encode(), path.name, path.stem)
    assert topology.name == path.stem
    assert topology.nodes
    assert assign(load_text(to_yaml(topology).encode(), path.name)) == assign(topology)


@given(labs())
def test_what_the_loader_takes_the_schema_takes(data: dict[str, Any]) -> None:
    VALIDATOR.validate(data)
    assigned = assign(from_data(data))
    VALIDATOR.validate(to_data(assigned))
    VALIDATOR.validate(yaml.safe_load(to_yaml(assigned)))


def test_the_schema_is_a_schema_and_knows_every_field() -> None:
    found = schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    assert json.loads(json.dumps(found)) == found
    for name, noun in NOUNS.items():
        described = found if name == "lab" else found["$defs"][name]
        assert described["properties"].keys() == noun.keys.keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": {}}, {"networks": {"lan": {"mtu": 5}}}, {"networks": {"lan": {"subnet": "10.0.0.1"}}}, {"nodes": {"-a": None}},  # noqa: E501
        {"nodes": {"a": {"count": 0}}}, {"nodes": {"a": {"routes": ["10.0.0.0/8"]}}},
        {"nodes": {"a": {"routes": [{"via": "10.0.0.1"}]}}},
        {"nodes": {"a": {"sysctls": {"kernel.x": 1}}}}, {"nodes": {"a": {"networks": {"lan": {"adress": "10.0.0.1"}}}}},  # noqa: E501
        {"networks": {"a-name-that-is-too-long": None}},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_schema_refuses_the_loader_refuses(wrong: object) -> None:
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(load.TopologyError):
        from_data(wrong)


SAME = [
    ({"nodes": ["a", "b"]}, {"nodes": {"a": None, "b": {}}}),
    ({"nodes": {"a": ["lan"]}}, {"networks": {"lan": None}, "nodes": {"a": {"networks": {"lan": None}}}}),  # noqa: E501
    ({"nodes": {"a": {"networks": ["lan"]}}}, {"networks": {"lan": {}}, "nodes": {"a": {"networks": {"lan": {}}}}}),  # noqa: E501
    ({"nodes": {"a": {"sysctls": ["net.ipv4.ip_forward=1"]}}}, {"nodes": {"a": {"sysctls": {"net.ipv4.ip_forward": 1}}}}),  # noqa: E501
    ({"nodes": {"a": {"sysctls": {"net/ipv4/ip_forward": "1 "}}}}, {"nodes": {"a": {"sysctls": {"net.ipv4.ip_forward": 1}}}}),  # noqa: E501
    ({"nodes": {"web": {"count": 2, "networks": ["l"]}}}, {"networks": {"l": {}}, "nodes": {"web1": ["l"], "web2": ["l"]}}),  # noqa: E501
    ({"nodes": {"w": {"count": 2, "routes": [], "sysctls": {"net.x": 1}}}},
     {"nodes": {"w1": {"sysctls": {"net.x": 1}}, "w2": {"sysctls": {"net.x": 1}}}}),
    ({"networks": {"l": {"subnet": "fd00::/64"}}}, {"networks": {"l": {"subnet": ["FD00:0::/64"]}}}),  # noqa: E501
    ({"nodes": {"a": {"networks": {"l": {"mac": "02:AA:00:00:00:01"}}}}},
     {"nodes": {"a": {"networks": {"l": {"mac_address": "02:aa:00:00:00:01"}}}}}),
]  # fmt: skip


@pytest.mark.parametrize(("short", "long"), SAME, ids=str)
def test_short_and_long_forms_mean_the_same(short: object, long: object) -> None:
    assert from_data(short) == from_data(long)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"), ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),  # noqa: E501
        ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"), ("net." + "x" * 196, "net." + "x" * 196),  # noqa: E501
        ("net/" + "x" * 197, None), ("net.ipv4.conf.eth0/5.x", None),
    ],
)  # fmt: skip
def test_a_setting_has_the_form_that_sysctl_takes(written: str, kept: str | None) -> None:
    """Dots, unless a part holds one: then sysctl(8) needs the slashes. A name ends somewhere."""
    if kept is None:
        with pytest.raises(load.TopologyError):
            _node(sysctls={written: 1})
    else:
        assert _node(sysctls={written: 1}).sysctls == ((kept, "1"),)


def test_the_value_of_a_setting_is_one_line() -> None:
    """White space as the kernel shows it; what follows the first equals sign, at most a thousand
    characters."""
    assert _node(sysctls=["net.x= a\t=b ", f"net.y={'x' * 1000}"]).sysctls == (
        ("net.x", "a =b"),
        ("net.y", "x" * 1000),
    )
    with pytest.raises(load.TopologyError, match="must be one line of text or a number"):
        _node(sysctls=[f"net.y={'x' * 1001}"])


LAN = {"lan": {"subnet": ["10.0.0.0/24", "fd00::/64"]}}


def _node(**words: object) -> Node:
    return from_data({"networks": LAN, "nodes": {"a": {"networks": ["lan"], **words}}}).nodes[0]


def test_routes_as_text_and_as_fields() -> None:
    text = [
        "10.2.0.0/16 via 10.0.0.9",
        "default via fd00::9 metric 7",
        "10.3.0.1 dev eth0",
        "default via 10.0.0.9 dev eth0",
    ]
    long = [
        {"to": "10.2.0.0/16", "via": "10.0.0.9"},
        {"to": "::/0", "via": "fd00::9", "metric": 7},
        {"to": "10.3.0.1/32", "dev": "eth0"},
        {"to": "0.0.0.0/0", "via": "10.0.0.9", "interface": "eth0"},
    ]
    assert _node(routes=text) == _node(routes=long)
    assert _node(routes=text).routes[:2] == (
        Route(ip_network("10.2.0.0/16"), ip_address("10.0.0.9"), "", 0),
        Route(ip_network("::/0"), ip_address("fd00::9"), "", 7),
    )


def test_composes_words_for_addresses() -> None:
    compose = {
        "lan": {
            "ipv4_address": "10.0.0.5",
            "ipv6_address": "fd00::5",
            "mac_address": "02:00:00:00:00:01",
        }
    }
    ours = {"lan": {"address": ["10.0.0.5", "fd00::5"], "mac": "02:00:00:00:00:01"}}
    assert _node(networks=compose) == _node(networks=ours)


def test_interfaces_are_named_and_give_way() -> None:
    found = from_data(
        {
            "networks": {"lan": {}, "wan": {}, "veth-c": {}},
            "nodes": {
                "a": {"networks": {"lan": {"interface": "eth1"}, "wan": None}},
                "b": {"networks": {"lan": {"host_interface": "veth-a"}}},
                "c": ["lan"],
                "a-node-with-a-long-name": ["lan"],
            },
        }
    )
    names = [
        [(item.interface, item.host_interface) for item in node.attachments] for node in found.nodes
    ]
    assert names[:3] == [
        [("eth1", "veth-a-1"), ("eth2", "veth-a-2")],
        [("eth0", "veth-a")],
        [("eth0", "veth-c-1")],
    ]
    assert all(len(name) <= 15 for _, name in names[3])


def test_one_lab_in_two_formats() -> None:
    text = (EXAMPLES[0].parent / "two-networks.yaml").read_bytes()
    as_json = json.dumps(yaml.safe_load(text)).encode()
    assert load_text(as_json, "x.json") == load_text(text, "x.yaml")


def test_the_name_comes_from_the_file_or_the_caller() -> None:
    assert load_text(b"name: x\nnodes: [a]", "f.yaml", "y").name == "x"
    assert load_text(b"nodes: [a]", "f.yaml", "y").name == "y"
    assert load_text(b"nodes: [a]", "f.yaml").name == "lab"


def test_what_the_dump_looks_like() -> None:
    text = (
        "name: t\nnetworks:\n  lan: {subnet: 10.0.0.0/24, gateway: none, mtu: 9000}\nnodes:\n "
        " a: [lan]\n  b:\n    networks:\n"
        "      lan: {address: 10.0.0.9, interface: lan0}\n    routes:\n    - {to: default, "
        "via: 10.0.0.1}\n"
        "    sysctls: {net.ipv4.ip_forward: 1}\n"
    )
    assert to_yaml(load_text(text.encode(), "x.yaml")) == text


ASSIGNED = """\
name: t
networks:
  lan:
    subnet: [10.0.0.0/24, 'fd00::/64']
    gateway: [10.0.0.1, 'fd00::1']
  wan: {subnet: 10.1.0.0/24, gateway: none, mac: '02:00:00:00:00:01'}
nodes:
  a:
    networks:
      lan: [10.0.0.2, 'fd00::2']
      wan: 10.1.0.1
    routes:
    - {to: default, via: 'fd00::9', metric: 7}
    - {to: '::/0', interface: eth0}
    - {to: default, interface: eth1}
    sysctls: {net.ipv4.tcp_rmem: 1 2 3, net.core.somaxconn: 123456789012345678, net.x: '1234567890123456789', net.y: '007'}
  b:
    networks:
      lan:
        address: [10.0.0.3, 'fd00::3']
        mac: 02:00:00:00:00:02
    sysctls: {net.ipv4.x: é}
  c: []
"""  # noqa: E501


def test_the_dump_of_a_running_lab_leaves_out_what_is_derived() -> None:
    """Names and MACs that follow from the rest; addresses stay, each in its shortest form. Nothing
    is quoted in vain."""
    lab = assign(load_text(ASSIGNED.encode(), "x.yaml"))
    assert to_yaml(lab) == ASSIGNED
    assert to_yaml(load_text(b"nodes: {a: [lan, wan], b: }", "x.yaml")) == (
        "name: lab\nnetworks: {lan: {}, wan: {}}\nnodes:\n  a: [lan, wan]\n  b: []\n"
    )
    assert to_yaml(load_text(b"name: x", "x.yaml")) == "{name: x}\n"


def test_the_dump_keeps_lines_short() -> None:
    """A long list is folded behind the first name that passes 120 columns."""
    names = [f"network-{number}" for number in range(30)]
    longest = max(len(line) for line in to_yaml(from_data({"nodes": {"a": names}})).splitlines())
    assert 120 < longest < 135


def test_a_noun_knows_each_of_its_words() -> None:
    """Also Compose's."""
    row = Word("mac", MAC, "", ("mac_address",))
    assert Noun("a thing", "", Network, (row,)).keys == {"mac": row, "mac_address": row}


SCHEMA = Path(__file__).with_name("schema.json")


def test_the_schema_that_editors_get() -> None:
    """The whole of it, as `bascule schema` prints it; after a change on purpose, write it anew and
    read the diff."""
    assert json.dumps(schema.json_schema(), indent=2) + "\n" == SCHEMA.read_text(encoding="utf-8")
