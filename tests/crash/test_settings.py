"""Settings of the kernel that were there before: a killed run has changed them, and who takes the lab away puts them back."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bascule.api import Lab
from bascule.host.surroundings import setting
from faults import Fault, attempt
from sandbox import World

NAT: dict[str, Any] = {
    "name": "lab",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True, "dns": False}},
    "nodes": {},
}
ADOPTED: dict[str, Any] = {
    "name": "lab",
    "nodes": {"a": {"netns": "/run/netns/theirs", "sysctls": {"net.ipv4.ip_forward": 1, "net.core.somaxconn": 77}}},
}
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
NEVER = 1 << 30
FULL = os.environ.get("CRASH") == "full"


def _faults(data: dict[str, Any]) -> range:
    """The effects of an undisturbed `up`."""
    ending = attempt(lambda: Lab.from_data(data, world="host").up(), Fault(NEVER, "kill"))
    assert ending.how == "done", ending
    Lab("lab").down()
    return range(ending.calls)


def test_forwarding_is_put_back(world: World) -> None:
    """Wherever `up` was killed: by `up` and `down`, and by `down` alone."""
    tried = 0
    for at in _faults(NAT)[:: 1 if FULL else 2]:
        tried += attempt(lambda: Lab.from_data(NAT, world="host").up(), Fault(at, "kill")).how == "killed"
        if at % 4 < 2:
            Lab.from_data(NAT, world="host").up()
            assert [setting(key) for key in FORWARDING] == ["1", "1"]
        Lab("lab").down()
        assert [setting(key) for key in FORWARDING] == ["0", "0"], at
    assert tried > 10


def test_settings_of_somebody_else_s_namespace_are_put_back(world: World) -> None:
    """It stays when the lab goes, and what a killed run has set in it must not."""
    world.run("ip", "netns", "add", "theirs")
    keys = ("net.ipv4.ip_forward", "net.core.somaxconn")
    before = [world.run("ip", "netns", "exec", "theirs", "sysctl", "-n", key).stdout for key in keys]
    for at in _faults(ADOPTED):
        attempt(lambda: Lab.from_data(ADOPTED, world="host").up(), Fault(at, "kill"))
        Lab.from_data(ADOPTED, world="host").up()
        Lab("lab").down()
        assert [world.run("ip", "netns", "exec", "theirs", "sysctl", "-n", key).stdout for key in keys] == before, at


@pytest.mark.parametrize("first", ["one", "two"])
def test_the_last_of_two_labs_puts_it_back(world: World, first: str) -> None:
    """Also where the other one was killed between claiming it and setting it, and goes first."""
    other = {**NAT, "name": "two", "networks": {"wan": {"subnet": "10.2.0.0/24", "nat": True, "dns": False}}}
    one = {**NAT, "name": "one"}
    for at in range(0, 40, 1 if FULL else 8):
        attempt(lambda: Lab.from_data(one, world="host").up(), Fault(at, "kill"))
        Lab.from_data(other, world="host").up()
        Lab.from_data(one, world="host").up()
        for name in (first, "two" if first == "one" else "one"):
            assert setting(FORWARDING[0]) == "1"
            Lab(name).down()
        assert setting(FORWARDING[0]) == "0", at
