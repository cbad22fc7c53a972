"""Ends of veth pairs that somebody moves: `up` mends it, and nothing is left anywhere."""

from __future__ import annotations

import os
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import PlanFailed
from sandbox import World

DATA: dict[str, Any] = {
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}},
    "nodes": {
        "a": ["lan"],
        "b": ["lan"],
        "box": {"netns": "/run/netns/theirs", "networks": ["lan"]},
    },
}
TO_ELSEWHERE = ("link set {link} netns elsewhere",)
_TAKE, _LEAVE = (
    "-n elsewhere link add taken index {index} type bridge",
    "-n elsewhere link del taken",
)
MOVES: dict[str, tuple[str, ...]] = {
    "the host's end": TO_ELSEWHERE,
    "and renamed": (*TO_ELSEWHERE, "-n elsewhere link set {link} name foo"),
    "both ends renamed": (
        "-n {node} link set eth0 name bar",
        *TO_ELSEWHERE,
        "-n elsewhere link set {link} name foo",
    ),
    "where its index is taken": (_TAKE, *TO_ELSEWHERE, _LEAVE),
    "to its own node": ("link set {link} netns {node}",),
    "to another node": ("link set {link} netns b",),
    "renamed only": ("link set {link} name foo",),
    "to another bridge": ("link set {link} master other",),
    "the node's end": ("-n {node} link set eth0 netns elsewhere",),
    "the node's end, to the machine": ("-n {node} link set eth0 netns {pid}",),
    "the node's end, to another node": ("-n {node} link set eth0 netns b name eth7",),
    "the node's end renamed": ("-n {node} link set eth0 name bar",),
}


@pytest.mark.parametrize("node", ["a", "box"])
@pytest.mark.parametrize("move", MOVES)
def test_up_mends_what_was_moved(world: World, move: str, node: str) -> None:
    """`plan` tells it; the other nodes are not touched, and after `down` nothing is left, wherever
    it was moved to. In a namespace of another program, too, which outlives the lab."""
    for name in ("theirs", "elsewhere"):
        world.run("ip", "netns", "add", name)
    world.run("ip", "link", "add", "other", "address", "02:00:00:00:00:99", "type", "bridge")
    lab = Lab.from_data(DATA, world="host")
    empty = machine.state()
    lab.up()
    right = machine.state(False)

    def go() -> None:
        index = world.ip_json("link", "show", f"veth-{node}")[0]["ifindex"]
        for command in MOVES[move]:
            world.run(
                "ip",
                *command.format(
                    link=f"veth-{node}", node=node, index=index, pid=os.getpid()
                ).split(),
            )

    go()
    assert lab.plan()
    lab.up()
    assert not lab.plan()
    assert all(echo.seconds is not None for echo in lab.ping())
    assert machine.difference(right, machine.state(False)) == ""
    go()
    lab.down()
    assert machine.difference(empty, machine.state()) == ""


@pytest.mark.parametrize("then", ["up", "down"])
def test_a_process_in_the_node_keeps_no_end_elsewhere(world: World, then: str) -> None:
    """It keeps its namespace, nameless, but not what has been moved out of the machine."""
    world.run("ip", "netns", "add", "elsewhere")
    lab = Lab.from_data(
        {"networks": DATA["networks"], "nodes": {"a": ["lan"], "b": ["lan"]}}, world="host"
    )
    lab.up()
    with lab.node("a").popen(["sleep", "60"]) as process:
        world.run("ip", "link", "set", "veth-a", "netns", "elsewhere")
        if then == "up":
            lab.up()
        lab.down()
        assert world.run("ip", "-n", "elsewhere", "-o", "link", "show", "type", "veth").stdout == ""
        process.kill()


def test_an_interface_of_somebody_else_s_in_its_place_is_left_alone(world: World) -> None:
    """The name is the lab's, the interface is not."""
    world.run("ip", "netns", "add", "elsewhere")
    lab = Lab.from_data({"networks": DATA["networks"], "nodes": {"a": ["lan"]}}, world="host")
    lab.up()
    world.run("ip", "link", "del", "veth-a")
    world.run(
        "ip",
        "-n",
        "a",
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        "x",
        "netns",
        "elsewhere",
    )
    before = machine.state(False)
    assert next(change.fact.key for change in lab.plan().changes) == ("link", "", "veth-a")
    with pytest.raises(PlanFailed, match="something that bascule did not make is in the way"):
        lab.up()
    assert machine.difference(before, machine.state(False)) == ""
    lab.down()
