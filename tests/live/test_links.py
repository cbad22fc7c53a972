"""Links: nodes joined by a veth pair without a bridge, and cables between bridges. With packets."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError
from bascule.topology import edit
from bascule.topology.dump import to_data
from helpers import bascule
from sandbox import World, require
from traffic import inside

LLDP = bytes.fromhex("0180c200000e") + bytes.fromhex("020000000001") + b"\x88\xcc" + b"\0" * 46


def _ring(**fields: object) -> Lab:
    """Three routers, and a host behind the first."""
    return Lab.from_data(
        {
            "name": "ring",
            "networks": {"lan": {"subnet": ["10.9.0.0/24", "fd00:9::/64"], "gateway": "none"}},
            "nodes": {
                "pc": {"networks": {"lan": "10.9.0.2"}, "routes": ["default via 10.9.0.1"]},
                "r1": {
                    "networks": {"lan": "10.9.0.1"},
                    "sysctls": {"net.ipv4.ip_forward": 1},
                    "routes": ["10.7.0.2/31 via 10.7.0.1"],
                },
                "r2": {"sysctls": {"net.ipv4.ip_forward": 1}, "routes": ["default via 10.7.0.0"]},
                "r3": {"routes": ["default via 10.7.0.2"]},
            },
            "links": [
                {"ends": ["r1", "r2"], "subnet": "10.7.0.0/31"},
                {"ends": ["r2", "r3"], "subnet": "10.7.0.2/31", "mtu": 1400},
                {"ends": ["r3:up", "r1:down"], "subnet": ["10.7.1.0/30", "fd00:7::/127"]},
            ],
        }
        | fields,
        world="host",
    )


def _answers(world: World, node: str, *words: str) -> bool:
    ping = ("ping", "-c1", "-W5", *words)
    return world.run("ip", "netns", "exec", node, *ping, check=False).returncode == 0


def test_packets_pass_links_and_routers(world: World) -> None:
    """By address and by name, over one link and over several; nothing of it is in the world."""
    require("ping")
    before = machine.state()
    lab = _ring()
    lab.up()
    assert not lab.plan()
    assert [link["ifname"] for link in world.ip_json("link", "show", "type", "veth")] == [
        "veth-pc",
        "veth-r1",
    ]
    assert _answers(world, "r1", "10.7.0.1")
    assert _answers(world, "r1", "r2")
    assert _answers(world, "r3", "fd00:7::1")
    assert _answers(world, "pc", "10.7.0.3")  # over two routers
    assert _answers(world, "r3", "pc")
    assert not _answers(world, "r3", "-Mdo", "-s", "1373", "10.7.0.2")  # more than 1,400 bytes
    assert _answers(world, "r3", "-Mdo", "-s", "1372", "10.7.0.2")
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_every_frame_passes(world: World) -> None:
    """Also those that a bridge keeps to itself (IEEE 802.1D, 7.12.6)."""
    lab = _ring()
    lab.up()
    with inside("r2"):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88CC))
    with inside("r1"):
        mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with ear, mouth:
        ear.bind(("eth0", 0x88CC))
        ear.settimeout(10)
        mouth.bind(("eth1", 0))
        mouth.send(LLDP)
        assert ear.recv(100) == LLDP
    lab.down()


def test_one_end_takes_the_carrier_of_the_other(world: World) -> None:
    """What is down, gone or changed is seen, told and put back; and so are addresses and routes
    that went with it."""
    lab = _ring()
    lab.up()
    world.run("ip", "-n", "r1", "link", "set", "eth1", "down")
    (other,) = world.ip_json("-n", "r2", "link", "show", "dev", "eth0")
    assert "NO-CARRIER" in other["flags"]
    assert "~" in {change.sign for change in lab.plan().changes}
    lab.up()
    assert not lab.plan()
    for words in (
        ("-n", "r2", "link", "del", "eth1"),
        ("-n", "r1", "link", "set", "dev", "down", "mtu", "1000"),
        ("-n", "r3", "address", "del", "10.7.0.3/31", "dev", "eth0"),
        ("-n", "r2", "link", "set", "eth0", "name", "moved"),
        ("netns", "del", "r2"),
    ):
        if "name" in words:
            world.run("ip", "-n", "r2", "link", "set", "eth0", "down")
        world.run("ip", *words)
        assert lab.plan(), words
        lab.up()
        assert not lab.plan(), words
        assert _answers(world, "pc", "10.7.0.3"), words
    lab.down()


def test_links_come_and_go_with_the_file(world: World) -> None:
    """What is not spoken of stays as it is: the same interface, and the same addresses."""
    lab = _ring()
    lab.up()

    def index() -> int:
        (link,) = world.ip_json("-n", "r1", "link", "show", "dev", "eth1")
        number: int = link["ifindex"]
        return number

    stays = index()
    fewer = _ring(
        links=[
            {"ends": ["r1", "r2"], "subnet": "10.7.0.0/31"},
            {"ends": ["r2", "r3"], "subnet": "10.7.0.2/31"},
        ]
    )
    fewer.up()
    assert not fewer.plan()
    assert index() == stays
    with pytest.raises(InputError, match="the next hop of"):
        fewer.change(lambda topology: edit.remove_node(topology, "r2"))
    lab.down()


def test_a_node_goes_with_its_links(world: World) -> None:
    """And the interfaces at their other ends."""
    Path("lab.yaml").write_text("nodes: {a: [], b: [], c: []}\nlinks: [[a, b], [b, c], [a, c]]\n")
    bascule(world, "up", "lab.yaml", "--world", "host")
    bascule(world, "node", "rm", "b")
    assert len(world.ip_json("-n", "a", "link", "show", "type", "veth")) == 1
    assert _answers(world, "a", "c")
    told = json.loads(bascule(world, "show", "--json").stdout)
    assert [item["name"] for node in told["nodes"] for item in node["interfaces"]] == [
        "eth1",
        "eth1",
    ]
    bascule(world, "down")


def test_a_cable_joins_two_bridges(world: World) -> None:
    """And a link joins a node and a bridge: no addresses, frames alone."""
    require("ping")
    before = machine.state()
    lab = Lab.from_data(
        {
            "name": "cable",
            "networks": {
                "lan": {"subnet": "10.9.0.0/24", "gateway": "none"},
                "wan": {"subnet": "10.8.0.0/24", "gateway": "none"},
            },
            "nodes": {"a": ["lan"], "b": ["wan"], "c": []},
            "links": [["lan", "wan"], ["c", "wan"]],
        },
        world="host",
    )
    lab.up()
    assert not lab.plan()
    for time in ("first", "again"):
        world.run("ip", "-n", "b", "address", "add", "10.9.0.77/24", "dev", "eth0")
        world.run("ip", "-n", "c", "address", "add", "10.9.0.78/24", "dev", "eth0")
        assert _answers(world, "a", "10.9.0.77"), time
        assert _answers(world, "a", "10.9.0.78"), time
        world.run("ip", "link", "del", "veth-lan")
        assert lab.plan()
        lab.up()
        assert not lab.plan()
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_links_in_a_private_world(world: World) -> None:
    """The same file."""
    with Lab.from_data(to_data(_ring().topology), world="private") as lab:
        done = lab.node("pc").run(["ping", "-c1", "-W5", "10.7.0.3"], capture_output=True)
        assert done.returncode == 0


def test_a_link_moves_from_a_node_that_goes(world: World) -> None:
    """The interface is wanted again in the same run: the kernel frees the namespace of the node
    that goes, and with it the old link, only later."""
    require("ping")
    nodes = [f"n{number}" for number in range(8)]
    for there in (nodes[:4], nodes, nodes[:1], nodes):
        lab = Lab.from_data(
            {"name": "fan", "nodes": ["hub", *there, "last"]}
            | {"links": [*(["hub", node] for node in there), ["hub", "last"]]},
            world="host",
        )
        lab.up()
        assert not lab.plan()
        world.run("ip", "netns", "exec", "hub", "ping", "-c1", "-W5", "last")
    lab.down()


def test_the_worlds_end_moves_from_a_node_that_goes(world: World) -> None:
    """The same for an interface in the world that the file names."""
    require("ping")
    for node in ("a", "b", "c"):
        lab = Lab.from_data(
            {
                "name": "handed",
                "networks": {"lan": {}},
                "nodes": {
                    node: {"networks": {"lan": {"host_interface": "port"}}},
                    "other": ["lan"],
                },
            },
            world="host",
        )
        lab.up()
        assert not lab.plan()
        world.run("ip", "netns", "exec", node, "ping", "-c1", "-W5", "other")
    lab.down()
