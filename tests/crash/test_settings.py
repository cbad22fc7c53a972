"""Settings of the kernel that were there before: a killed run has changed them, and who takes the
lab away puts them back."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    "nodes": {
        "a": {
            "netns": "/run/netns/theirs",
            "sysctls": {"net.ipv4.ip_forward": 1, "net.core.somaxconn": 77},
        }
    },
}
WITHOUT: dict[str, Any] = {**NAT, "networks": {"lan": {**NAT["networks"]["lan"], "nat": False}}}
PLACES = ("all", "default", "own", "own-peer")
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
NEVER = 1 << 30
FULL = os.environ.get("CRASH") == "full"


def _faults(data: dict[str, Any]) -> range:
    """The effects of an undisturbed `up`."""
    ending = attempt(lambda: Lab.from_data(data, world="host").up(), Fault(NEVER, "kill"))
    assert ending.how == "done", ending
    Lab("lab").down()
    return range(ending.calls)


@pytest.fixture
def hardened(world: World) -> dict[str, str]:
    """A machine whose settings are others than turning forwarding on and off leaves. Gives them."""
    world.run("ip", "link", "add", "own", "type", "veth", "peer", "name", "own-peer")
    values = {
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.own.forwarding": "1",
        "net.ipv6.conf.own.forwarding": "1",
    }
    for key, value in values.items():
        world.run("sysctl", "-qw", f"{key}={value}")
    return _settings()


def _settings() -> dict[str, str]:
    """All that turning forwarding on and off changes."""
    names = ("forwarding", "accept_redirects", "accept_ra", "force_forwarding")
    keys = [
        f"net.{version}.conf.{place}.{name}"
        for version in ("ipv4", "ipv6")
        for place in PLACES
        for name in names
    ]
    return {key: setting(key) for key in keys}


def test_forwarding_is_put_back(hardened: dict[str, str]) -> None:
    """Wherever `up` was killed: by `up` and `down`, and by `down` alone."""
    tried = 0
    for turn, at in enumerate(_faults(NAT)[:: 1 if FULL else 4]):
        tried += (
            attempt(lambda: Lab.from_data(NAT, world="host").up(), Fault(at, "kill")).how
            == "killed"
        )
        if turn % 2:
            Lab.from_data(NAT, world="host").up()
            assert [setting(key) for key in FORWARDING] == ["1", "1"]
        Lab("lab").down()
        assert _settings() == hardened, at
    assert tried > 10


def _points(run: Callable[[], object]) -> list[int]:
    """The effects of a run that puts settings back; of an ordinary test those that are settings."""
    names = attempt(run, Fault(NEVER, "kill")).names
    return [at for at, name in enumerate(names) if FULL or name == "put"]


@pytest.mark.parametrize("ends", ["by the same again", "otherwise"])
@pytest.mark.parametrize("going", ["down", "without need"])
def test_putting_back_is_ended(hardened: dict[str, str], going: str, ends: str) -> None:
    """Wherever a run was killed that puts it back: half of it is there then, and half as it was
    before."""
    runs = {"down": Lab("lab").down, "without need": Lab.from_data(WITHOUT, world="host").up}
    Lab.from_data(NAT, world="host").up()
    points = _points(runs[going])
    assert len(points) > 5
    Lab("lab").down()
    for at in points:
        Lab.from_data(NAT, world="host").up()
        attempt(runs[going], Fault(at, "kill"))
        (runs[going] if ends == "by the same again" else runs["down"])()
        assert _settings() == hardened, at
        Lab("lab").down()


def test_a_lab_that_comes_after_a_killed_one_remembers_as_much(hardened: dict[str, str]) -> None:
    """Where the first was killed while it put things back, and the second is the one that ends
    it."""
    other = {
        **NAT,
        "name": "two",
        "networks": {"wan": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "nat": True, "dns": False}},
    }
    Lab.from_data(NAT, world="host").up()
    for at in _points(Lab("lab").down):
        Lab.from_data(NAT, world="host").up()
        attempt(Lab("lab").down, Fault(at, "kill"))
        Lab.from_data(other, world="host").up()
        assert [setting(key) for key in FORWARDING] == ["1", "1"]
        Lab("lab").down()
        assert [setting(key) for key in FORWARDING] == ["1", "1"]
        Lab("two").down()
        assert _settings() == hardened, at


def test_settings_of_somebody_else_s_namespace_are_put_back(world: World) -> None:
    """It stays when the lab goes, and what a killed run has set in it must not."""
    world.run("ip", "netns", "add", "theirs")
    world.run(
        "ip", "-n", "theirs", "link", "add", "own", "type", "veth", "peer", "name", "own-peer"
    )
    keys = (
        "net.ipv4.ip_forward",
        "net.core.somaxconn",
        "net.ipv4.conf.all.accept_redirects",
        "net.ipv4.conf.own.forwarding",
    )
    world.run("ip", "netns", "exec", "theirs", "sysctl", "-qw", f"{keys[2]}=0", f"{keys[3]}=1")
    before = [
        world.run("ip", "netns", "exec", "theirs", "sysctl", "-n", key).stdout for key in keys
    ]
    for at in _faults(ADOPTED):
        attempt(lambda: Lab.from_data(ADOPTED, world="host").up(), Fault(at, "kill"))
        Lab.from_data(ADOPTED, world="host").up()
        Lab("lab").down()
        assert [
            world.run("ip", "netns", "exec", "theirs", "sysctl", "-n", key).stdout for key in keys
        ] == before, at


@pytest.mark.parametrize("first", ["one", "two"])
def test_the_last_of_two_labs_puts_it_back(world: World, first: str) -> None:
    """Also where the other one was killed between claiming it and setting it, and goes first."""
    other = {
        **NAT,
        "name": "two",
        "networks": {"wan": {"subnet": "10.2.0.0/24", "nat": True, "dns": False}},
    }
    one = {**NAT, "name": "one"}
    for at in range(0, 40, 1 if FULL else 8):
        attempt(lambda: Lab.from_data(one, world="host").up(), Fault(at, "kill"))
        Lab.from_data(other, world="host").up()
        Lab.from_data(one, world="host").up()
        for name in (first, "two" if first == "one" else "one"):
            assert setting(FORWARDING[0]) == "1"
            Lab(name).down()
        assert setting(FORWARDING[0]) == "0", at
