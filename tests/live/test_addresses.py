"""Addresses that the file leaves open, the node's way out, and neighbours that hear of a change at
once. With packets."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import BasculeError, InputError, TopologyError
from helpers import as_json, bascule
from sandbox import World, require
from traffic import Ears, Outside, bound, inside, reach

DUAL: dict[str, Any] = {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as made:
        yield made


def _addresses(world: World, node: str) -> list[str]:
    infos = [
        info for row in world.ip_json("-n", node, "address", "show") for info in row["addr_info"]
    ]
    return [f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"]


def test_ranges_and_reservations(world: World) -> None:
    """Nodes without an address get one from the range and around what is reserved; fixed ones may
    lie outside the range."""
    lab = Lab.from_data(
        {
            "networks": {
                "lan": {
                    "subnet": ["10.1.0.0/16", "fd00:1::/64"],
                    "gateway": ["10.1.255.254", "fd00:1::ffff"],
                    "ip_range": ["10.1.5.0/29", "fd00:1::100/120"],
                    "reserved": ["10.1.5.0-10.1.5.1", "10.1.5.3", "fd00:1::100/126"],
                }
            },
            "nodes": {"a": ["lan"], "b": {"networks": {"lan": "10.1.9.9"}}, "c": ["lan"]},
        },
        world="host",
    )
    lab.up()
    assert _addresses(world, "a") == ["10.1.5.2/16", "fd00:1::104/64"]
    assert _addresses(world, "b") == ["10.1.9.9/16", "fd00:1::105/64"]
    assert _addresses(world, "c") == ["10.1.5.4/16", "fd00:1::106/64"]
    assert not lab.plan()
    assert lab.ping("a", "b")
    lab.down()


def test_the_default_route_takes_the_highest_priority(world: World, ears: Ears) -> None:
    """Of two networks with a gateway: by default the first, else the one with the highest priority,
    in both families."""
    require("nft")
    networks = {
        "one": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "two": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "nat": True},
    }

    def out() -> tuple[str, str]:
        routes = (
            world.ip_json("-n", "a", "route", "show", "default"),
            world.ip_json("-n", "a", "-6", "route", "show", "default"),
        )
        return routes[0][0]["gateway"], routes[1][0]["gateway"]

    with Outside(world) as outside:
        Lab.from_data(
            {"name": "p", "networks": networks, "nodes": {"a": ["one", "two"]}}, world="host"
        ).up()
        assert out() == ("10.1.0.1", "fd00:1::1")
        second = {"a": {"networks": {"one": None, "two": {"gw_priority": 1}}}}
        lab = Lab.from_data({"name": "p", "networks": networks, "nodes": second}, world="host")
        lab.up()
        assert out() == ("10.2.0.1", "fd00:2::1")
        assert reach("a", outside.there[0], 7, ears.on("elsewhere", 7)[0]) == outside.here[0]
        assert reach("a", outside.there[1], 7, ears.on("elsewhere", 7)[1]) == outside.here[1]
        lab.down()


def test_subnets_come_from_the_pools_of_the_file(world: World) -> None:
    """Of each family one; what the machine routes, or has an address in, is left out; nothing left
    is an error."""
    world.run("ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
    world.run("ip", "link", "set", "d0", "up")
    world.run("ip", "link", "set", "d1", "up")
    world.run("ip", "address", "add", "10.9.0.1/28", "dev", "d0")
    world.run("ip", "route", "add", "10.9.0.16/29", "dev", "d1")
    data = {
        "name": "pools",
        "pools": [{"base": "10.9.0.0/26", "size": 28}, {"base": "fd00:9::/48"}],
        "nodes": {"a": ["one"], "b": ["two"]},
    }
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert _addresses(world, "a") == ["10.9.0.34/28", "fd00:9::2/64"]
    assert _addresses(world, "b") == ["10.9.0.50/28", "fd00:9:0:1::2/64"]
    assert not lab.plan()
    other = Lab.from_data({**data, "name": "more", "nodes": {"c": ["three"]}}, world="host")
    with pytest.raises(InputError, match=r"network three: no free subnet in 10\.9\.0\.0/26"):
        other.up()
    assert not os.path.exists("/run/netns/c")
    lab.down()


def test_ipv6_works_from_the_first_moment(world: World, ears: Ears) -> None:
    """No address waits for the detection of duplicates: not the node's, and not the bridge's own
    one, by which it asks for neighbours when it forwards."""
    require("nft")
    with Outside(world) as outside:
        lab = Lab.from_data(
            {
                "networks": {"lan": {**DUAL, "nat": True}},
                "nodes": {"a": {"networks": ["lan"], "ports": ["8080:80"]}, "b": ["lan"]},
            },
            world="host",
        )
        server = ears.on("elsewhere", 7)[1]
        lab.up()
        assert reach("a", outside.there[1], 7, server) == outside.here[1]
        assert reach("elsewhere", outside.here[1], 8080, ears.on("a", 80)[1]) == outside.there[1]
        assert reach("b", "fd00:1::2", 9, ears.on("a", 9)[1]) == "fd00:1::3"
        lab.down()


def _advertise_router(node: str, source: str) -> None:
    """A router advertisement with a prefix, as radvd sends it (RFC 4861 section 4.2), from a
    node."""
    with inside(node):
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex("eth0")
    prefix = socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    with made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        made.bind((source, 0, 0, index))
        message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        message += struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, prefix)
        made.sendto(message, ("ff02::1", 0, 0, index))


@pytest.mark.parametrize("asked", [False, True], ids=["as it is", "asked for"])
def test_router_advertisements(world: World, asked: bool) -> None:
    """A node can't make itself the router of its neighbours or of the machine (CVE-2020-13401),
    unless the file asks for it."""
    wish = {"sysctls": {"net.ipv6.conf.IFNAME.accept_ra": 1}} if asked else {}
    lab = Lab.from_data(
        {"networks": {"lan": DUAL}, "nodes": {"evil": ["lan"], "b": {"networks": {"lan": wish}}}},
        world="host",
    )
    lab.up()
    source = next(
        info["local"]
        for row in world.ip_json("-n", "evil", "address", "show", "dev", "eth0")
        for info in row["addr_info"]
        if info["scope"] == "link"
    )

    def believes(*place: str) -> bool:
        return "2001:db8:bad" in world.run("ip", *place, "-6", "route").stdout

    deadline = time.monotonic() + (5 if asked else 0.3)
    while time.monotonic() < deadline and not believes("-n", "b"):
        _advertise_router("evil", source)  # again: IPv6 hears of a new carrier up to a second later
        time.sleep(0.1)
    assert believes("-n", "b") is asked
    assert not believes()
    assert not lab.plan()
    lab.down()


def test_a_node_rebuilt_with_another_mac_is_reached_at_once(world: World) -> None:
    """Its neighbours know it under the old MAC, and would try that for half a minute."""

    def lab(mac: str) -> Lab:
        moving = {"networks": {"lan": {"mac": mac, "address": ["10.1.0.5", "fd00:1::5"]}}}
        return Lab.from_data(
            {
                "name": "moves",
                "networks": {"lan": DUAL},
                "nodes": {"peer": ["lan"], "moving": moving},
            },
            world="host",
        )

    first, second = lab("02:00:00:00:00:05"), lab("02:00:00:00:00:55")
    first.up()
    assert first.ping("peer", "moving")
    for family, address in ((socket.AF_INET, "10.1.0.5"), (socket.AF_INET6, "fd00:1::5")):
        lost = _lost_while(world, second if family == socket.AF_INET else first, address, family)
        assert lost < 0.5, f"{address} was lost for {lost:.1f} s"
    first.down()


def _lost_while(world: World, change: Lab, address: str, family: socket.AddressFamily) -> float:
    """Seconds after the end of the change until a peer that sends all the time is answered."""
    server = _echo("moving", family)
    with inside("peer"):
        client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(0.02)
    with client:
        assert _answered(client, address, 2)
        server.stop()
        worker = threading.Thread(target=lambda: _answered(client, address, 0.2))
        worker.start()  # it goes on asking, by the old MAC
        change.up()
        worker.join()
        server = _echo("moving", family)
        began = time.monotonic()
        assert _answered(client, address, 10)
        server.stop()
        return time.monotonic() - began


def _answered(client: socket.socket, address: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            client.sendto(b"there?", (address, 9))
            client.recv(10)
        except OSError:
            continue
        return True
    return False


class _Echo(threading.Thread):
    def __init__(self, made: socket.socket) -> None:
        super().__init__()
        self.socket = made
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            try:
                data, peer = self.socket.recvfrom(10)
                self.socket.sendto(data, peer)
            except OSError:
                continue

    def stop(self) -> None:
        self.ended = True
        self.join()
        self.socket.close()


def _echo(node: str, family: socket.AddressFamily) -> _Echo:
    made = bound(node, "::" if family == socket.AF_INET6 else "0.0.0.0", 9, socket.SOCK_DGRAM)  # noqa: S104
    made.settimeout(0.05)
    thread = _Echo(made)
    thread.start()
    return thread


def test_interfaces_of_their_own_mtu_and_settings(world: World) -> None:
    """They hold for this interface only."""
    wish = {"mtu": 1300, "sysctls": {"net.ipv4.conf.IFNAME.rp_filter": 2}}
    lab = Lab.from_data(
        {
            "networks": {"lan": {"subnet": "10.1.0.0/24"}, "wan": {"subnet": "10.2.0.0/24"}},
            "nodes": {"a": {"networks": {"lan": None, "wan": wish}}},
        },
        world="host",
    )
    lab.up()
    assert [row["mtu"] for row in world.ip_json("-n", "a", "link", "show", "type", "veth")] == [
        1500,
        1300,
    ]
    read = world.run(
        "ip",
        "netns",
        "exec",
        "a",
        "sysctl",
        "-n",
        "net.ipv4.conf.eth0.rp_filter",
        "net.ipv4.conf.eth1.rp_filter",
    )
    assert read.stdout.split()[1] == "2"
    assert not lab.plan()
    world.run("ip", "-n", "a", "link", "set", "eth1", "mtu", "1500")
    world.run("ip", "netns", "exec", "a", "sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=1")
    assert [change.sign for change in lab.plan().changes] == ["~", "~"]
    lab.up()
    assert not lab.plan()
    lab.down()


MISTAKES = {
    "lan: {subnet: 10.1.0.0/24, ip_range: 10.2.0.0/28}": "must be a part of the network's subnet, which is 10.1.0.0/24",  # noqa: E501
    "lan: {ip_range: 10.2.0.0/28}": "no subnet that is given",
    "lan: {subnet: 10.1.0.0/24, reserved: 10.2.0.1}": "10.2.0.1 is in no subnet",
    "lan: {subnet: 10.1.0.0/24, reserved: 10.1.0.9-10.1.0.3}": "the lower address first",
    "lan: {subnet: 10.1.0.0/24, ip_range: 10.1.0.0/30, reserved: 10.1.0.2-10.1.0.3}": "leave 0 addresses of 10.1.0.0/24",  # noqa: E501
}


@pytest.mark.parametrize("network", MISTAKES)
def test_mistakes_are_told_with_their_place(world: World, network: str) -> None:
    Path("lab.yaml").write_text(f"networks:\n  {network}\nnodes: {{a: [lan]}}\n")
    done = bascule(world, "up", "lab.yaml", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bascule: lab.yaml:2:")
    assert MISTAKES[network] in done.stderr
    with pytest.raises(BasculeError):
        Lab.load("lab.yaml")
    assert as_json(world, "ls") == []


@pytest.mark.parametrize(
    ("network", "node", "message"),
    [
        ({}, {"ports": ["[::1]:91:90"]}, "the node has no IPv6 address"),
        ({}, {"routes": [{"to": "default", "dev": "eth0"}], "ports": [80]}, "not be answered"),
        ({}, {"routes": [{"to": "10.213.0.0/24", "dev": "eth0"}]}, "is the node's own subnet"),
        ({"nat": True, "outbound_address": "10.213.0.9"}, {}, "is in a subnet of the lab itself"),
    ],
)
def test_a_subnet_that_is_chosen_has_to_fit(
    world: World, network: dict[str, Any], node: dict[str, Any], message: str
) -> None:
    """Else it is refused before anything is touched, and not by the next command as a damaged
    record."""
    data = {"networks": {"lan": network}, "nodes": {"a": {"networks": ["lan"], **node}}}
    before = machine.state()
    lab = Lab.from_data(data, name="open", world="host")
    for command in (lab.plan, lab.up):
        with pytest.raises(TopologyError, match=message):
            command()
    assert machine.difference(before, machine.state()) == ""
