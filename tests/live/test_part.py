"""A change of one node looks at that node; what it leaves is what `up` would have made of the whole
lab."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError
from bascule.topology import edit
from bascule.topology.model import Topology
from frames import bridge_nf
from helpers import bascule
from sandbox import World

Edit = Callable[[Topology], Topology]
LAN, WAN = {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}, {"subnet": ["10.2.0.0/24", "fd00:2::/64"]}
APART = {"lan": {**LAN, "icc": False, "nat": True}}
PORTS = {"networks": ["lan"], "ports": ["8080:80"]}


def _add(name: str, **fields: object) -> Edit:
    return lambda lab: edit.add_node_data(lab, name, {"networks": ["lan"], **fields})


def _remove(name: str) -> Edit:
    return lambda lab: edit.remove_node(lab, name)


# The networks, the nodes, and what is changed.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], Edit]] = {
    "a node comes": ({"lan": LAN}, {"a": ["lan"], "b": ["lan"]}, _add("c")),
    "a node goes": ({"lan": LAN}, {"a": ["lan"], "b": ["lan"]}, _remove("a")),
    "the first of two with a view of their own goes": (
        {"lan": LAN},
        {name: {"networks": ["lan"], "dns": ["192.0.2.9"]} for name in "ab"},
        _remove("a"),
    ),
    "the first of two who see networks in another order goes": (
        {"lan": {**LAN, "nat": True}, "wan": {**WAN, "nat": True}},
        {"a": ["lan", "wan"], "b": ["wan", "lan"], "c": ["wan", "lan"]},
        _remove("a"),
    ),
    "one of them is connected": (
        {"lan": LAN, "wan": WAN},
        {name: {"networks": ["lan"], "dns": ["192.0.2.9"]} for name in "ab"},
        lambda lab: edit.connect_data(lab, "a", "wan", {}),
    ),
    "the last published port goes": (
        APART,
        {"a": PORTS, "b": ["lan"], "c": ["lan"]},
        _remove("a"),
    ),
    "the first published port comes": (
        APART,
        {"b": ["lan"], "c": ["lan"]},
        _add("a", ports=["8080:80"]),
    ),
    "a network is changed": (
        {"lan": LAN, "wan": WAN},
        {"a": ["lan", "wan"], "b": ["wan"]},
        lambda lab: edit.remove_network(lab, "lan", force=True),
    ),
    "a node with a rate comes": (
        {"lan": LAN},
        {"a": ["lan"]},
        _add("c", networks={"lan": {"rate": "10mbit"}}),
    ),
}


@pytest.mark.parametrize("users", [False, True], ids=["", "beside the user's folders"])
@pytest.mark.parametrize("what", CHANGES)
def test_nothing_is_left_to_do(world: World, what: str, users: bool) -> None:
    """Also where frames pass the machine's firewall, and where other nodes have folders of the
    user's in /etc/netns."""
    networks, nodes, change = CHANGES[what]
    bridge_nf("1", if_there=True)
    if users:
        (Path("/etc/netns") / list(nodes)[-1]).mkdir(parents=True)
    before = machine.state()
    lab = Lab.from_data({"name": "part", "networks": networks, "nodes": nodes}, world="host")
    lab.up()
    lab.change(change)
    assert [str(row.fact.key) for row in lab.plan().changes] == []
    changed = machine.state(False)
    lab.up()
    assert machine.difference(changed, machine.state(False)) == ""
    lab.down()
    assert machine.difference(before, machine.state()) == ""


@pytest.fixture
def theirs(world: World) -> str:
    """A namespace of somebody else's."""
    world.run("ip", "netns", "add", "theirs")
    return "/run/netns/theirs"


def _forwards(world: World) -> str:
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    return world.run("ip", "netns", "exec", "theirs", "sysctl", "-n", *names).stdout


def test_what_a_node_was_before_is_remembered(world: World, theirs: str) -> None:
    """A namespace of somebody else's that was made a router is none afterwards, whatever other
    nodes came and went meanwhile."""
    before = _forwards(world)
    settings = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
    router = {"networks": ["lan"], "netns": theirs, "sysctls": settings}
    data = {"name": "part", "networks": {"lan": LAN}, "nodes": {"r": router, "a": ["lan"]}}
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert _forwards(world) != before
    lab.change(_add("b"))
    lab.change(_remove("a"))
    assert not lab.plan()
    lab.down()
    assert _forwards(world) == before


def test_a_namespace_is_one_node(world: World, theirs: str) -> None:
    """By whatever path it is named: refused before anything is touched."""
    data = {
        "name": "part",
        "networks": {"lan": LAN},
        "nodes": {"a": {"networks": ["lan"], "netns": theirs}},
    }
    with subprocess.Popen(["ip", "netns", "exec", "theirs", "sleep", "60"]) as process:
        lab = Lab.from_data(data, world="host")
        lab.up()
        place = f"/proc/{process.pid}/ns/net"
        while os.stat(place).st_ino != os.stat(theirs).st_ino:
            pass
        before = machine.state()
        done = bascule(world, "node", "add", "b", "--netns", place, check=False)
        assert f"{place} is the same namespace as that of node a" in done.stderr
        with pytest.raises(InputError, match="is the same namespace as that of node a"):
            lab.change(_add("b", netns=place))
        assert machine.difference(before, machine.state()) == ""
        lab.down()
        process.kill()
