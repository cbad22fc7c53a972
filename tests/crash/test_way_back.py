"""A repair that fails leaves what it found: what somebody had changed is as he left it, and all
that the lab had is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.state import store
from bascule.state.record import Stored
from faults import Fault, attempt
from sandbox import World

DATA: dict[str, Any] = {
    "name": "mended",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]},
        "more": {"subnet": ["10.2.0.0/24", "fd00:2::/64"]},
    },
    "nodes": {"a": ["lan", "more"], "b": ["lan"], "c": ["more"]},
}
# What others do, as commands of ip(8), and the keys that they set in the world.
DAMAGES: dict[str, tuple[str, ...]] = {
    "addresses": (
        "-n a address del 10.1.0.2/24 dev eth0",
        "-n b address del fd00:1::3/64 dev eth0",
    ),
    "a route and an address": ("-n b route del default", "address del 10.2.0.1/24 dev more"),
    "a pair renamed, another gone": ("-n a link set eth0 name bar", "link del veth-c"),
    "a namespace and an address": ("netns del c", "-n a address del 10.2.0.2/24 dev eth1"),
    "links that are down": (
        "link set lan down",
        "-n a link set eth0 down",
        "-n b address del 10.1.0.3/24 dev eth0",
    ),
    "another MTU and MAC": (
        "link set veth-a mtu 1400",
        "link set veth-b address 02:00:00:00:00:99",
        "link set veth-c nomaster",
    ),
}
SETTINGS = (
    "net/ipv6/conf/lan/accept_ra",
    "net/ipv6/conf/more/accept_ra",
    "net/ipv6/conf/lan/accept_dad",
)


def _settings() -> dict[str, str]:
    return {
        key: Path(f"/proc/sys/{key}").read_text()
        for key in SETTINGS
        if os.path.exists(f"/proc/sys/{key}")
    }


def _state() -> tuple[machine.State, dict[str, str], Stored]:
    return machine.state(), _settings(), store.load("mended")


def _refused_at_each_message(act: Callable[[], object]) -> int:
    """Each leads back to what was there before, and says nothing of a part that was left; the last
    try succeeds."""
    before = _state()
    for at in range(1000):
        ending = attempt(act, Fault(at, "refuse"))
        if ending.how == "done":
            return at
        assert ending.how == "error", ending
        assert "left: " not in ending.text, f"{at}: {ending.text}"
        after = _state()
        assert machine.difference(before[0], after[0]) == "", f"{at}: {ending.text}"
        assert before[1:] == after[1:], at
    raise AssertionError("it never ends")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_repair_that_fails_leaves_what_it_found(world: World, damage: str) -> None:
    """At each of its messages, with settings that somebody has changed beside: then a repair that
    does not fail mends all."""
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    right = machine.state(False)
    for command in DAMAGES[damage]:
        world.run("ip", *command.split())
    Path("/proc/sys/net/ipv6/conf/lan/accept_ra").write_text("1")
    while any(link.get("peer") == "elsewhere" for link in machine.links()[""].values()):
        pass  # the kernel frees a namespace some time later
    tried = _refused_at_each_message(lab.up)
    assert tried >= len(DAMAGES[damage])
    assert not lab.plan()
    world.run("sysctl", "-qw", "net.ipv6.conf.lan.accept_ra=0")
    assert machine.difference(right, machine.state(False)) == ""
    lab.down()


def test_a_change_that_fails_gives_back_what_it_took(world: World) -> None:
    """A bridge that was to go is back with the settings that it was made with, and with all that
    was on it."""
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    networks = {"lan": {**DATA["networks"]["lan"], "mtu": 1400}, "new": {"subnet": "10.3.0.0/24"}}
    other = Lab.from_data(
        {**DATA, "networks": networks, "nodes": {"a": ["lan", "new"], "b": ["new"], "c": ["lan"]}},
        world="host",
    )
    assert _refused_at_each_message(other.up) > 10
    other.down()
