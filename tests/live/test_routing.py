"""Routers as nodes: `forward`, `loopback`, and the routes of the whole lab (`routing: static`)."""

from __future__ import annotations

import json
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from helpers import bascule
from sandbox import World, require

LINKS = [["r1", "a"], ["r1", "b"], ["a", "r2"], ["b", "r2"], ["r2", "s"]]


def _diamond(links: list[Any], **fields: Any) -> Lab:
    """Two ways from one router to the other, a network behind the first, a host behind the
    second."""
    return Lab.from_data(
        {
            "name": "diamond",
            "routing": "static",
            "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "gateway": "none"}},
            "nodes": {
                "pc": ["lan"],
                "r1": {"networks": ["lan"], "forward": True},
                "a": {"forward": True},
                "b": {"forward": True},
                "r2": {"forward": True, "loopback": ["10.0.0.2/32", "fd00::2/128"]},
                "s": {},
            },
            "links": links,
        }
        | fields,
        world="host",
    )


def _answers(world: World, node: str, address: str) -> bool:
    ping = ("ip", "netns", "exec", node, "ping", "-c1", "-W5", address)
    return world.run(*ping, check=False).returncode == 0


def _hops(world: World, node: str, to: str, six: bool = False) -> list[str]:
    (route,) = world.ip_json(*(["-6"] if six else []), "-n", node, "route", "show", to)
    return [hop["dev"] for hop in route.get("nexthops", [route])]


def test_packets_find_their_way_over_routers(world: World) -> None:
    """By both families, to subnets and to addresses of lo, over equal ways; no settings or routes
    of the machine change."""
    require("ping")
    before = machine.state()
    lab = _diamond(LINKS)
    lab.up()
    assert not lab.plan()
    assert _hops(world, "r1", "10.0.0.2") == ["eth1", "eth2"]
    assert _hops(world, "r1", "fd00::2", six=True) == ["eth1", "eth2"]
    assert _hops(world, "s", "default") == ["eth0"]
    for address in ("10.0.0.2", "fd00::2", "s"):
        assert _answers(world, "pc", address), address
    assert _answers(world, "s", "pc")
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_the_routes_follow_links_and_costs(world: World) -> None:
    """In the same run; and what somebody changes is put back."""
    require("ping")
    lab = _diamond(LINKS)
    lab.up()
    cost: list[Any] = [{"ends": ["r1", "a"], "cost": 5}, *LINKS[1:]]
    for links, ways in (
        (cost, ["eth2"]),
        (LINKS, ["eth1", "eth2"]),
        (LINKS[:2] + LINKS[3:], ["eth2"]),
    ):
        changed = _diamond(links)
        changed.up()
        assert not changed.plan()
        assert _hops(world, "r1", "10.0.0.2") == ways
        assert _answers(world, "pc", "s")
    lab.up()
    for words in (
        ("route", "del", "10.0.0.2"),
        ("-6", "route", "del", "fd00::2"),
        ("route", "replace", "10.0.0.2", "via", "10.212.0.1"),
        (
            "route",
            "replace",
            "10.0.0.2",
            "nexthop",
            "via",
            "10.212.0.1",
            "weight",
            "9",
            "nexthop",
            "via",
            "10.212.0.3",
        ),
        ("route", "add", "10.5.0.0/16", "via", "10.212.0.1"),
    ):
        world.run("ip", "-n", "r1", *words)
        assert lab.plan(), words
        lab.up()
        assert not lab.plan(), words
    world.run("ip", "-n", "r2", "address", "del", "10.0.0.2/32", "dev", "lo")
    world.run("ip", "-n", "r2", "address", "add", "10.0.0.9/32", "dev", "lo")
    assert {change.sign for change in lab.plan().changes} == {"+", "-"}
    lab.up()
    assert not lab.plan()
    lab.down()


def test_what_the_file_says_itself_stays(world: World) -> None:
    """A route of a node's own takes the place of a computed one; who is no router passes nothing
    on."""
    nodes = {
        "pc": {"routes": ["default via 10.1.0.2"]},
        "r1": {
            "networks": {"lan": "10.1.0.2"},
            "forward": True,
            "routes": ["10.0.0.2/32 via 10.9.0.1"],
        },
        "a": {},
        "r2": {"forward": True, "loopback": "10.0.0.2"},
    }
    nodes["pc"]["networks"] = ["lan"]
    lab = _diamond(
        [
            {"ends": ["r1", "a"], "subnet": "10.9.0.0/31"},
            {"ends": ["a", "r2"], "subnet": "10.9.0.2/31"},
        ],
        nodes=nodes,
    )
    lab.up()
    assert not lab.plan()
    assert _hops(world, "r1", "10.0.0.2") == ["eth1"]
    assert world.ip_json("-n", "r1", "route", "show", "10.9.0.2/31") == []
    assert not _answers(world, "pc", "10.0.0.2")
    lab.down()


@pytest.mark.parametrize(
    "shape",
    [
        ("leaf-spine", "--leaves", "2", "--hosts", "2"),
        ("tree", "--depth", "2"),
        ("grid", "--rows", "2", "--columns", "3"),
        ("random", "--nodes", "6", "--seed", "7"),
    ],
    ids=lambda shape: shape[0],
)
def test_a_generated_file_is_a_lab_in_which_all_answer(
    world: World, tmp_path: Path, shape: tuple[str, ...]
) -> None:
    require("ping")
    file = tmp_path / "drawn.yaml"
    file.write_text(bascule(world, "generate", *shape).stdout)
    before = machine.state()
    bascule(world, "up", file, "--world", "host")
    told = json.loads(bascule(world, "ping", "--json").stdout)
    assert told and not [echo for echo in told if echo["failed"]]
    if shape[0] == "leaf-spine":
        told = json.loads(bascule(world, "inspect", "host2-1").stdout)
        (address,) = told["interfaces"][0]["addresses"]
        assert _hops(world, "leaf1", str(ip_interface(address).network)) == ["eth0", "eth1"]
    bascule(world, "down", file)
    assert machine.difference(before, machine.state()) == ""


def test_a_shape_in_the_file_grows(world: World) -> None:
    """One more node of the ring, in the same run; what is generated is planned and taken away as
    if it had been written out."""
    require("ping")
    before = machine.state()
    for nodes in (4, 5, 3):
        lab = Lab.from_data(
            {"name": "ring", "generate": {"kind": "ring", "nodes": nodes}, "links": [["n2", "s"]]}
            | {"nodes": {"s": {}}},
            world="host",
        )
        lab.up()
        assert not lab.plan()
        assert all(_answers(world, "s", f"n{number}") for number in range(1, nodes + 1))
    lab.down()
    assert machine.difference(before, machine.state()) == ""
