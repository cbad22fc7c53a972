"""What is no port for a bridge, with real interfaces; and a program that takes a lab's links for
its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError, PlanFailed
from helpers import STATE, bascule, changes
from sandbox import World, difference, require
from traffic import Outside

LAB = """\
name: taken
networks:
  lan: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
nodes:
  a: [lan]
  b: [lan]
"""


def _uplink(name: str) -> dict[str, Any]:
    lan = {"subnet": "10.1.0.0/24", "uplink": name}
    return {"name": "odd", "networks": {"lan": lan}, "nodes": {"a": ["lan"]}}


ODD = {
    "mv0": (
        "ip link add link up0 name mv0 type macvlan mode bridge",
        "is a macvlan, which takes f",
    ),
    "up0": (
        "ip link add link up0 name mv0 type macvlan mode bridge",
        "has mv0 on it, a macvlan, which takes what comes in; choose another uplink",
    ),
    "br9": ("ip link add br9 type bridge", "is a bridge, and a bridge is no port of another"),
    "tun7": ("ip tuntap add mode tun name tun7", "carries packets without Ethernet frames (tun)"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_can_be_no_uplink_is_refused(world: World, name: str) -> None:
    """Before anything is touched, by `plan` and by `up`. The kernel would refuse it, too, or take
    it for nothing."""
    made, said = ODD[name]
    with Outside(world):
        if world.run("sh", "-c", made, check=False).returncode != 0:
            require(f"link:{name}")
        before = machine.state()
        lab = Lab.from_data(_uplink(name), world="host")
        for call in (lab.plan, lab.up):
            with pytest.raises(InputError) as caught:
                call()
            assert str(caught.value).startswith(f"network lan: {name} {said}")
        assert machine.difference(before, machine.state()) == ""


def test_what_is_hidden_elsewhere_is_said_by_the_kernel(world: World) -> None:
    """A macvlan that has been moved into another namespace is not to be seen from here: the run is
    undone, and the reason is told."""
    require("link:macvlan")
    with Outside(world) as outside:
        world.run("ip", "link", "add", "link", outside.uplink, "name", "mv0", "type", "macvlan")
        world.run("ip", "link", "set", "mv0", "netns", outside.name)
        before = machine.state()
        with pytest.raises(PlanFailed, match=r"busy.*a macvlan or ipvlan in another namespace"):
            Lab.from_data(_uplink(outside.uplink), world="host").up()
        assert machine.difference(before, machine.state()) == ""


def test_a_macvlan_in_mode_passthru_is_one(world: World) -> None:
    """It hands on every frame."""
    require("link:macvlan")
    with Outside(world) as outside:
        made = ("type", "macvlan", "mode", "passthru")
        world.run("ip", "link", "add", "link", outside.uplink, "name", "mv0", *made)
        world.run("ip", "link", "set", "mv0", "up")
        world.run("ip", "-n", outside.name, "address", "add", "10.1.0.77/24", "dev", "eth0")
        lab = Lab.from_data(_uplink("mv0"), world="host")
        lab.up()
        assert lab.ping("a", "10.1.0.77")[0].seconds is not None
        lab.down()


TAKEN = {
    "flushed": (
        "ip address flush dev lan scope global; ip -6 address flush dev lan scope global",
        ["+ address 10.1.0.1/24 on lan", "+ address fd00:1::1/64 on lan"],
    ),
    # `nmcli device disconnect`, as NetworkManager 1.42 was seen to do it
    "disconnected": (
        "ip address flush dev lan; sysctl -qw net.ipv6.conf.lan.addr_gen_mode=1",
        [
            "- no link-local address on lan",
            "+ address 10.1.0.1/24 on lan",
            "+ address fd00:1::1/64 on lan",
        ],
    ),
    # `nmcli networking off`, and on again
    "off and on": (
        ("ip address flush dev lan; ip link set lan addrgenmode none; ip link set veth-b nomaster"),
        [
            "- no link-local address on lan",
            "+ address 10.1.0.1/24 on lan",
            "+ address fd00:1::1/64 on lan",
            "~ veth veth-b (lan) to eth0 (b)",
        ],
    ),
    "IPv6 off": (
        (
            "sysctl -qw net.ipv6.conf.lan.disable_ipv6=1; "
            "ip netns exec a sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1"
        ),
        [
            "- no IPv6 on lan",
            "- no IPv6 on eth0 in a",
            "+ address fd00:1::1/64 on lan",
            "+ address fd00:1::2/64 on eth0 in a",
            "+ route default via fd00:1::1 dev eth0 in a",
        ],
    ),
    "taken over": (
        (
            "ip link set lan down; ip link set veth-a nomaster; ip link set veth-a down; "
            "ip link set lan addrgenmode none; ip address flush dev lan; "
            "ip address add 169.254.7.7/16 dev lan; sysctl -qw net.ipv6.conf.lan.disable_ipv6=1; "
            "ip link set lan up"
        ),
        [
            "- no IPv6 on lan",
            "- no link-local address on lan",
            "- address 169.254.7.7/16 on lan",
            "+ address 10.1.0.1/24 on lan",
            "+ address fd00:1::1/64 on lan",
            "~ veth veth-a (lan) to eth0 (a)",
        ],
    ),
    "a route of its own": (
        "ip route add default via 10.1.0.77 dev lan metric 425",
        [],  # the machine's affair
    ),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_a_network_manager_does_is_put_back(world: World, what: str) -> None:
    """It flushes addresses, turns IPv6 off, takes links down and out of their bridge: the plan
    shows that, `up` puts it back, and what runs in another node goes on."""
    command, expected = TAKEN[what]
    Path("taken.yaml").write_text(LAB)
    bascule(world, "up", "taken.yaml")
    before = world.snapshot(exclude=STATE)
    with subprocess.Popen(["ip", "netns", "exec", "b", "sleep", "60"]) as witness:
        try:
            world.run("sh", "-ec", command)
            assert changes(world, "taken.yaml") == expected
            bascule(world, "up", "taken.yaml")
            assert witness.poll() is None
        finally:
            witness.kill()
    assert changes(world, "taken.yaml") == []
    assert bascule(world, "ping").returncode == 0
    if what != "a route of its own":
        left = difference(before, world.snapshot(exclude=STATE))
        assert left in ("", "the same lines, in another order")
    bascule(world, "down", "taken")
