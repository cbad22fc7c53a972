"""The tutorial's network, whole: each of its commands shows what the document shows."""

from __future__ import annotations

import re

import pytest

from helpers import SEED, STATE, bascule
from sandbox import World, difference, links_of_a_new_one, require

# The document's commands that change something, in its order.
DOCUMENT = """\
ip netns add ns1
ip netns add ns2
brctl addbr mydocker0
ip a add 172.16.1.254/16 dev mydocker0
ip link set dev mydocker0 up
ip link add veth1 type veth peer name veth1p
brctl addif mydocker0 veth1
ip link set veth1 up
ip link set veth1p netns ns1
ip netns exec ns1 ip link set veth1p up
ip netns exec ns1 ip a add 172.16.1.1/16 dev veth1p
ip link add veth2 type veth peer name veth2p
brctl addif mydocker0 veth2
ip link set veth2 up
ip link set veth2p netns ns2
ip netns exec ns2 ip link set veth2p up
ip netns exec ns2 ip a add 172.16.1.2/16 dev veth2p
ip netns exec ns1 ip route add default via 172.16.1.254
ip netns exec ns2 ip route add default via 172.16.1.254
"""

SHOWN = "cd /sys/class/net && ls -d -- */ | tr -d /"  # beside links there may be bonding_masters


@pytest.fixture
def up(world: World) -> World:
    """The lab is up."""
    bascule(world, "up", SEED)
    return world


def test_every_look_of_the_document(up: World) -> None:
    """ip netns list, brctl show, ip a, route -n, ip -d link."""
    require("brctl", "route")
    assert sorted(
        line.split()[0] for line in up.run("ip", "netns", "list").stdout.splitlines()
    ) == ["ns1", "ns2"]
    bridges = up.run("brctl", "show").stdout.split()
    assert bridges[bridges.index("mydocker0") + 2 :] == ["no", "veth1", "veth2"]
    assert re.search(r"inet 172.16.1.254/16 scope global mydocker0", up.run("ip", "a").stdout)
    inside = up.run("ip", "netns", "exec", "ns1", "ip", "a").stdout
    assert re.search(
        r"veth1p@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 .* state UP", inside
    )
    assert "inet 172.16.1.1/16 scope global veth1p" in inside
    assert re.search(
        r"172.16.0.0 +0.0.0.0 +255.255.0.0 +U +0 +0 +0 mydocker0", up.run("route", "-n").stdout
    )
    routes = up.run("ip", "netns", "exec", "ns2", "route", "-n").stdout
    assert re.search(r"0.0.0.0 +172.16.1.254 +0.0.0.0 +UG +0 +0 +0 veth2p", routes)


def test_every_ping_of_the_document(up: World) -> None:
    """From a node to the gateway, to the other node, and from the machine to a node."""
    require("ping")
    up.run("ip", "netns", "exec", "ns1", "ping", "-c1", "-W2", "172.16.1.254")
    up.run("ping", "-c1", "-W2", "172.16.1.2")
    bascule(up, "exec", "ns1", "--", "ping", "-c1", "-W2", "172.16.1.2")
    assert "ns1 -> ns2 172.16.1.2:" in bascule(up, "ping", "ns1", "ns2").stdout


def test_names_in_the_nodes(up: World) -> None:
    """Each node has its host name, every node's name, a resolv.conf and a /sys of its own; so does
    `ip netns exec`."""
    require("ping")
    assert bascule(up, "exec", "ns1", "hostname").stdout == "ns1\n"
    assert (
        sorted(bascule(up, "exec", "ns1", "--", "sh", "-c", SHOWN).stdout.split())
        == sorted([*links_of_a_new_one(), "veth1p"])
        or up.notes
    )
    bascule(up, "exec", "ns1", "--", "ping", "-c1", "-W2", "ns2")
    hosts = up.run("ip", "netns", "exec", "ns2", "cat", "/etc/hosts").stdout
    assert "172.16.1.1\tns1 ns1.mydocker0\n172.16.1.2\tns2 ns2.mydocker0\n" in hosts
    assert "no name server" in bascule(up, "exec", "ns1", "cat", "/etc/resolv.conf").stdout.lower()


POLICIES = {
    "nft": (
        "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward "
        "priority 0; policy drop; }'"
    ),
    "nft inet": (
        "nft add table inet fw; nft add chain inet fw forward '{ type filter hook forward "
        "priority 0; policy drop; }'"
    ),
    "iptables": "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i eth9 -j ACCEPT",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_ping_answers_where_forward_drops(world: World, policy: str) -> None:
    """Docker's habit. The machine's rules stay as they are, one of ours stands before them, and
    goes with the lab."""
    require("nft", POLICIES[policy].split()[0])
    world.run("sh", "-ec", POLICIES[policy])
    bridged = world.run(
        "sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False
    ).stdout.strip()
    if bridged != "1":
        pytest.skip("this kernel has no br_netfilter")
    before = world.snapshot()
    plan = bascule(world, "plan", SEED).stdout
    assert "accept what stays on mydocker0" in plan
    assert "net.bridge.bridge-nf-call-iptables is 1" in plan
    bascule(world, "up", SEED)
    assert bascule(world, "ping").returncode == 0
    assert "nothing to do" in bascule(world, "up", SEED).stderr
    doctor = bascule(world, "doctor", check=False).stdout
    assert re.search(r"bridged frames: pass the IP firewall .* drops", doctor)
    if policy == "iptables":
        listing = world.run("iptables-nft", "-S", "FORWARD").stdout
        assert "-P FORWARD DROP" in listing
        assert "-A FORWARD -i eth9 -j ACCEPT" in listing
    bascule(world, "down", "docker-bridge")
    assert difference(before, world.snapshot()) == ""


def test_without_the_rule_the_ping_is_lost(world: World) -> None:
    """The test above can fail: take the rule away, and FORWARD drops."""
    require("nft")
    world.run("sh", "-ec", POLICIES["nft"])
    if (
        world.run("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).stdout.strip()
        != "1"
    ):
        pytest.skip("this kernel has no br_netfilter")
    bascule(world, "up", SEED)
    world.run("nft", "flush", "chain", "ip", "filter", "FORWARD")
    assert bascule(world, "ping", "--timeout", "0.3", check=False).returncode == 1
    assert "+ rule in ip filter FORWARD" in bascule(world, "plan", SEED).stdout
    bascule(world, "up", SEED)
    assert bascule(world, "ping").returncode == 0


def test_the_classic_script_is_the_document(world: World) -> None:
    """Step for step; what bascule adds bears a comment or stands in the last section."""
    text = bascule(world, "script", "--classic", SEED).stdout
    steps, _, _settings = text.partition("# 5.")
    by_hand = [
        line
        for line in steps.splitlines()
        if line and not line.startswith(("#", "set ")) and "# bascule:" not in line
    ]
    assert by_hand == DOCUMENT.splitlines()


def test_in_five_imperative_commands(world: World) -> None:
    """From nothing to the tutorial's network; it ends as the file has it."""
    for line in (
        "network create mydocker0 --subnet 172.16.0.0/16 --gateway 172.16.1.254",
        "node add ns1",
        "node add ns2",
        "network connect mydocker0 ns1 --ip 172.16.1.1 --interface veth1p --host-interface veth1",
        "network connect mydocker0 ns2 --ip 172.16.1.2 --interface veth2p --host-interface veth2",
    ):
        bascule(world, *line.split(), "--lab", "docker-bridge")
    assert bascule(world, "ping").returncode == 0
    assert "nothing to do" in bascule(world, "plan", SEED).stdout
    by_verbs = world.snapshot(exclude=STATE)
    bascule(world, "down", "docker-bridge")
    bascule(world, "up", SEED)
    assert difference(by_verbs, world.snapshot(exclude=STATE)) == ""
