"""What a lab does to the machine around it: its other interfaces, other labs, what others serve,
who is behind an uplink."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import frames
from bascule.api import Lab
from bascule.errors import Conflict, InputError
from frames import MARK, bridge_nf, icmp, mac_of, send, snooping, udp
from helpers import bascule
from live.test_names import ask
from sandbox import World, require
from traffic import Ears, Outside, bound, comes, inside, reach

HOST, THERE = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}
FAR = {4: "172.30.0.2", 6: "2001:db8:30::2"}


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "sysctl")
    with Outside(world) as made:
        yield made


@contextmanager
def _second_leg(outside: Outside) -> Iterator[None]:
    """Another machine on another cable of ours, which the first one knows how to reach by us."""
    with Outside(outside.world, "mgmt", "mg0", ("172.30.0.1", "2001:db8:30::1"), (FAR[4], FAR[6])):
        for prefix in ("172.30.0.0/24", "2001:db8:30::/64"):
            outside.routes(prefix)
        for gateway in ("172.30.0.1", "2001:db8:30::1"):
            outside.world.run("ip", "-n", "mgmt", "route", "add", "default", "via", gateway)
        yield


def _lab(name: str, number: int, *ports: str, **more: Any) -> dict[str, Any]:
    network = {"subnet": [f"10.{number}.0.0/24", f"fd00:{number}::/64"], "dns": False, **more}
    return {
        "name": name,
        "networks": {f"b{number}": network},
        "nodes": {f"n{number}": {"networks": [f"b{number}"], "ports": list(ports)}},
    }


def _between(one: str, other: str, addresses: dict[int, str], ears: Ears) -> list[int]:
    """The IP versions in which one reaches the other."""
    servers = ears.on(other, 7)
    return [
        version for version in (4, 6) if reach(one, addresses[version], 7, servers[version == 6])
    ]


def test_the_machine_is_no_router_for_others(outside: Outside) -> None:
    """A lab that needs forwarding turns it on for itself: between the machine's other interfaces,
    also those that come later, all is as before; `plan` says so. Nor is a stranger with an address
    of the lab's translated."""
    with _second_leg(outside), Ears() as ears:
        lab = Lab.from_data(_lab("one", 1, nat=True), world="host")
        assert any(
            "for labs only: nothing passes between its other interfaces" in note
            for note in lab.plan().notes
        )
        lab.up()
        assert lab.plan().notes == ()
        assert _between("elsewhere", "mgmt", FAR, ears) == []
        assert _between("n1", "mgmt", FAR, ears) == [4, 6]
        with Outside(
            outside.world,
            "late",
            "lt0",
            ("172.31.0.1", "2001:db8:31::1"),
            ("172.31.0.2", "2001:db8:31::2"),
        ):
            for prefix in ("172.31.0.0/24", "2001:db8:31::/64"):
                outside.routes(prefix)
            outside.world.run("ip", "-n", "late", "route", "add", "default", "via", "172.31.0.1")
            assert _between("elsewhere", "late", {4: "172.31.0.2", 6: "2001:db8:31::2"}, ears) == []
        with snooping(("mgmt", "eth0")) as heard:
            send(
                "elsewhere",
                [udp(("10.1.0.200", 5), (FAR[4], 9)), udp(("fd00:1::99", 5), (FAR[6], 9))],
                mac_of("", "up0"),
            )
            with inside("n1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.sendto(b"THE-END", (FAR[4], 9))
            assert [frame for frame in heard["mgmt"].until(b"THE-END") if MARK in frame] == []
        lab.down()


def test_a_machine_that_is_a_router_stays_one(outside: Outside) -> None:
    """As a whole, or for one interface; and a plain network is as open as the machine's own routing
    makes it."""
    with _second_leg(outside), Ears() as ears:
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            outside.world.run("sysctl", "-qw", f"{key}=1")
        labs = [
            Lab.from_data(_lab("one", 1, nat=True), world="host"),
            Lab.from_data(_lab("two", 2), world="host"),
        ]
        for lab in labs:
            lab.up()
            assert not [note for note in lab.plan().notes if "for labs only" in note]
        for prefix in ("10.2.0.0/24", "fd00:2::/64"):
            outside.routes(prefix)
        assert _between("elsewhere", "mgmt", FAR, ears) == [4, 6]
        assert _between("elsewhere", "n2", {4: "10.2.0.2", 6: "fd00:2::2"}, ears) == [4, 6]
        outside.world.run("ip", "-n", "elsewhere", "route", "add", "default", "via", HOST[4])
        assert _between("n2", "elsewhere", THERE, ears) == [4, 6]
        for lab in labs:
            lab.down()


def test_bridges_of_others_go_on(outside: Outside) -> None:
    """Frames within another program's bridge pass the hook of what is forwarded, too, where
    br_netfilter is on."""
    run = outside.world.run
    bridge_nf("1", if_there=True)
    run("ip", "link", "add", "virbr", "type", "bridge")
    run("ip", "link", "set", "virbr", "up")
    for number, name in ((1, "vm1"), (2, "vm2")):
        run("ip", "netns", "add", name)
        run(
            "ip",
            "link",
            "add",
            f"tap{number}",
            "master",
            "virbr",
            "up",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            name,
        )
        run("ip", "-n", name, "address", "add", f"172.29.0.{number}/24", "dev", "eth0")
        run("ip", "-n", name, "address", "add", f"fd00:29::{number}/64", "dev", "eth0", "nodad")
        run("ip", "-n", name, "link", "set", "eth0", "up")
    lab = Lab.from_data(_lab("one", 1, nat=True), world="host")
    lab.up()
    with Ears() as ears:
        assert _between("vm1", "vm2", {4: "172.29.0.2", 6: "fd00:29::2"}, ears) == [4, 6]
    assert not lab.plan()  # what the rules have noted on the way is no change
    lab.down()
    for name in ("vm1", "vm2"):
        run("ip", "netns", "del", name)


@pytest.mark.parametrize("order", ["plain first", "nat first"])
def test_labs_are_apart_from_the_start(outside: Outside, order: str) -> None:
    """Whoever turns forwarding on, and when; nor does the LAN reach a plain lab by it, nor the lab
    the LAN."""
    data = [_lab("one", 1), _lab("two", 2), _lab("three", 3, nat=True)]
    labs = [
        Lab.from_data(each, world="host")
        for each in (data if order == "plain first" else reversed(data))
    ]
    for lab in labs:
        lab.up()
    for number in (1, 2):
        outside.routes(f"10.{number}.0.0/24")
        outside.routes(f"fd00:{number}::/64")
    outside.world.run("ip", "-n", "elsewhere", "route", "add", "default", "via", HOST[4])
    with Ears() as ears:
        for one in (1, 2, 3):
            for other in {1, 2, 3} - {one}:
                assert (
                    _between(
                        f"n{one}", f"n{other}", {4: f"10.{other}.0.2", 6: f"fd00:{other}::2"}, ears
                    )
                    == []
                )
        for number in (1, 2):
            assert (
                _between(
                    "elsewhere", f"n{number}", {4: f"10.{number}.0.2", 6: f"fd00:{number}::2"}, ears
                )
                == []
            )
            assert _between(f"n{number}", "elsewhere", THERE, ears) == []
        assert _between("n3", "elsewhere", THERE, ears) == [4, 6]
    for lab in labs:
        assert not lab.plan()
        lab.down()


def test_a_port_of_somebody_elses_address(outside: Outside) -> None:
    """Is refused; one that the machine loses answers nobody, diverts nobody's packets, and does not
    stand in the way of repairs."""
    run = outside.world.run
    for port in ("198.51.100.1:80:80", "192.0.2.255:84:84/udp", "[2001:db8::77]:80:80"):
        with pytest.raises(
            InputError, match="is no address of this machine; add it first, or leave it out"
        ):
            Lab.from_data(_lab("one", 1, port), world="host").up()
    other = Lab.from_data(_lab("two", 2), world="host")
    other.up()
    with pytest.raises(
        Conflict, match=r"port 80 of n1: 10\.2\.0\.1 is an address of b2 in lab two"
    ):
        Lab.from_data(_lab("one", 1, "10.2.0.1:80:80"), world="host").up()
    other.down()
    with _second_leg(outside), Ears() as ears:
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "address", "add", "198.51.100.1/32", "dev", "up0")
        lab = Lab.from_data(
            _lab("one", 1, "198.51.100.1:80:80", "10.1.0.1:81:80", nat=True), world="host"
        )
        lab.up()
        run("ip", "-n", "mgmt", "address", "add", "198.51.100.1/32", "dev", "lo")
        run("ip", "-n", "elsewhere", "route", "add", "198.51.100.1/32", "via", HOST[4])
        assert reach("elsewhere", "198.51.100.1", 80, ears.on("n1", 80)[0]) == THERE[4]
        run("ip", "address", "del", "198.51.100.1/32", "dev", "up0")
        run("ip", "route", "add", "198.51.100.1/32", "via", FAR[4])
        assert reach("elsewhere", "198.51.100.1", 80, ears.on("mgmt", 80)[0]) == THERE[4]
        assert reach("n1", "198.51.100.1", 80, ears.on("mgmt", 80)[0]) == "172.30.0.1"
        assert any(
            "answers nobody: 198.51.100.1 is no address of this machine any more" in note
            for note in lab.plan().notes
        )
        run("ip", "-n", "n1", "address", "del", "10.1.0.2/24", "dev", "eth0")
        lab.up()
        assert not lab.plan()
        lab.down()


@pytest.mark.parametrize("first", ["the one that publishes", "the one that serves"])
def test_servers_of_other_labs_are_not_taken(outside: Outside, first: str) -> None:
    """A lab publishes 53, 67 and 547 on all addresses: other labs' nodes still ask their own name
    server, by their gateway."""
    require("dnsmasq")
    serving = {**_lab("two", 2, nat=True), "nodes": {"n2": ["b2"], "m2": ["b2"]}}
    serving["networks"]["b2"].update(dns=True, dhcp=True, ra=True)
    labs = [
        Lab.from_data(
            _lab("one", 1, "53:53/udp", "53:53", "67:67/udp", "547:547/udp", nat=True, dns=False),
            world="host",
        ),
        Lab.from_data(serving, world="host"),
    ]
    for lab in labs if first == "the one that publishes" else reversed(labs):
        lab.up()
    for tcp in (False, True):
        assert ask("n2", "10.2.0.1", "m2", tcp=tcp) == (0, {"10.2.0.3"})
        assert ask("", "10.2.0.1", "m2", tcp=tcp) == (0, {"10.2.0.3"})
        assert ask("n2", "fd00:2::1", "m2", tcp=tcp) == (0, {"10.2.0.3"})
    with Ears() as ears:
        assert reach("elsewhere", HOST[4], 53, ears.on("n1", 53, socket.SOCK_DGRAM)[0]) == THERE[4]
        assert reach("n2", HOST[4], 53, ears.on("n1", 53, socket.SOCK_DGRAM)[0]) == "10.2.0.2"
    with bound("n1", "0.0.0.0", 67, socket.SOCK_DGRAM) as taken, inside("n2"):  # noqa: S104 (a throwaway namespace)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"renew", ("10.2.0.1", 67))
            made.sendto(b"ask", (HOST[4], 67))
        assert comes(taken, 100)[0] == b"ask"
    for lab in labs:
        lab.down()


def test_who_is_behind_an_uplink_is_not_served(outside: Outside) -> None:
    """The lab's leases and router advertisements are for its own nodes: strangers on the LAN get
    neither, and are not refused the lease that another server gave them. On the network they are,
    all the same."""
    require("dnsmasq")
    run = outside.world.run
    bridge_nf("0")
    run("ip", "netns", "add", "pc")
    run("ip", "link", "add", "up1", "type", "veth", "peer", "name", "eth0", "netns", "pc")
    run("ip", "link", "set", "up1", "up")
    run("ip", "-n", "pc", "address", "add", "10.5.0.77/24", "dev", "eth0")
    run("ip", "-n", "pc", "link", "set", "eth0", "up")
    data = _lab("lu", 5, nat=True, dhcp=True, ra=True, uplink="up1")
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert not lab.plan()
    solicitation = icmp("fe80::77", "ff02::2", 133, 0, bytes(4), b"", 255)
    with snooping(("pc", "eth0"), "n5") as ears:
        own = mac_of("pc")
        everybody = frames.BROADCAST
        asked = [frames.ethernet("33:33:00:00:00:02", own, solicitation)]
        asked += [
            frames.ethernet(everybody, own, _dhcp(own, kind, "172.16.9.77")) for kind in (1, 3)
        ]
        frames.send_frames("pc", asked)
        mine = mac_of("n5")
        frames.send_frames(
            "n5",
            [
                frames.ethernet(
                    "33:33:00:00:00:02",
                    mine,
                    icmp("fe80::5", "ff02::2", 133, 0, bytes(4), b"", 255),
                )
            ],
        )
        ears["n5"].until(_ADVERTISED)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"THE-END", ("10.5.0.77", 9))
        heard = ears["pc"].until(b"THE-END")
        assert [
            frame
            for frame in heard
            if _ADVERTISED in frame or frame[23:24] + frame[34:36] == b"\x11\0\x43"
        ] == []
    with Ears() as servers:
        assert reach("pc", "10.5.0.2", 7, servers.on("n5", 7)[0]) == "10.5.0.77"
        assert reach("n5", "10.5.0.77", 7, servers.on("pc", 7)[0]) == "10.5.0.2"
    lab.down()
    run("ip", "netns", "del", "pc")


# the prefix option of a router advertisement
_ADVERTISED = socket.inet_pton(socket.AF_INET6, "fd00:5::")


def _dhcp(mac: str, kind: int, wanted: str) -> bytes:
    """DHCPDISCOVER (1) or DHCPREQUEST (3) of a client that has rebooted, for an address (RFC
    2131)."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack("!BBBBIHH16x", 1, 1, 6, 0, 7, 0, 0x8000) + hardware + bytes(10 + 192)
    options = b"\x63\x82\x53\x63" + bytes((53, 1, kind, 50, 4)) + socket.inet_aton(wanted) + b"\xff"
    return udp(("0.0.0.0", 68), ("255.255.255.255", 67), head + options)  # noqa: S104 (nothing is bound)


def test_two_networks_answer_on_the_loopback_address(outside: Outside) -> None:
    """In one lab and in two, by 127.0.0.1 and by ::1. Where bridged frames pass ip6tables ::1
    can't, and each port says so."""
    bridge_nf("0")
    one, two = _lab("one", 1, "8081:80"), _lab("two", 2, "[::1]:8082:80", "127.0.0.1:8082:80")
    extra = _lab("one", 3, "8083:80")
    both = {
        "name": "one",
        "networks": one["networks"] | extra["networks"],
        "nodes": one["nodes"] | extra["nodes"],
    }
    labs = [Lab.from_data(data, world="host") for data in (both, two)]
    for lab in labs:
        lab.up()
        assert not lab.plan()
    with Ears() as ears:
        for node, port in (("n1", 8081), ("n3", 8083), ("n2", 8082)):
            servers = ears.on(node, 80)
            assert reach("", "127.0.0.1", port, servers[0]) == f"10.{node[1:]}.0.1"
            assert reach("", "::1", port, servers[1]) == f"fd00:{node[1:]}::1"
    if os.path.exists("/proc/sys/net/bridge/bridge-nf-call-ip6tables"):
        bridge_nf("1")
        said = [
            note for lab in labs for note in lab.plan().notes if "does not answer on ::1" in note
        ]
        assert [note.split()[1] for note in said] == ["8081:80", "8083:80", "[::1]:8082:80"]
    for lab in labs:
        lab.down()


def test_a_port_leads_where_the_answer_leaves(outside: Outside) -> None:
    """A node on two networks answers by its default route, wherever the file's own routes take
    it."""
    networks = {
        f"b{number}": {"subnet": [f"10.{number}.0.0/24", f"fd00:{number}::/64"]}
        for number in (1, 2)
    }
    node = {
        "networks": ["b1", "b2"],
        "ports": ["8080:80"],
        "routes": ["default via 10.2.0.1", "default via fd00:2::1"],
    }
    lab = Lab.from_data({"name": "lab", "networks": networks, "nodes": {"n": node}}, world="host")
    lab.up()
    with Ears() as ears:
        for version in (4, 6):
            assert (
                reach("elsewhere", HOST[version], 8080, ears.on("n", 80)[version == 6])
                == THERE[version]
            )
    lab.down()


def test_without_nft_a_plain_lab_says_what_it_lacks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built all the same: the machine need not forward."""
    monkeypatch.setattr("bascule.host.nft.program", lambda: None)
    lab = Lab.from_data(_lab("one", 1), world="host")
    assert any("nothing keeps the lab apart from others" in note for note in lab.plan().notes)
    lab.up()
    assert not lab.plan()
    lab.down()


def test_the_word_guard_on_the_command_line(world: World) -> None:
    """Given, taken back, and with `--no-icc` on by itself."""
    bascule(world, "network", "create", "one", "--guard", "--subnet", "10.1.0.0/24", "--lab", "lab")
    bascule(world, "network", "create", "two", "--no-icc", "--no-guard", "--subnet", "10.2.0.0/24")
    shown = bascule(world, "inspect", "lab", "--yaml").stdout
    assert ("guard: true" in shown, "guard: false" in shown) == (True, True)
    bascule(world, "down", "lab")
    assert Path("/run/bascule").exists() is False
