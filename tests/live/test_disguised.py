"""What comes in disguise: behind VLAN tags, in somebody else's name, by another way than its
source's. It passes no rule that it would not pass openly."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import frames
from bascule.api import Lab
from frames import MARK, bridge_nf, icmp, mac_of, send, send_frames, snooping, udp
from sandbox import World, require
from traffic import Outside, bound, comes, reach

LAB: dict[str, Any] = {
    "name": "demo",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True, "dns": False},
        "vault": {"subnet": ["10.3.0.0/24", "fd00:3::/64"], "internal": True},
        "safe": {"subnet": ["10.4.0.0/24", "fd00:4::/64"], "guard": True},
    },
    "nodes": {
        "web": {"networks": ["lan"], "ports": ["8000:80/udp"]},
        "v1": ["vault"],
        "g1": ["safe"],
        "g2": ["safe"],
    },
}
OTHER: dict[str, Any] = {
    "name": "other",
    "networks": {"net": {"subnet": ["10.9.0.0/24", "fd00:9::/64"]}},
    "nodes": {"b1": ["net"]},
}
HOST, THERE = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}
ARP, Q, AD = 0x0806, 0x8100, 0x88A8
NOBODY = "0.0.0.0"  # noqa: S104 (nothing is bound)
TAGS = [(Q,), (AD,), (Q, Q), (AD, Q), (Q, AD), (Q, Q, Q)]
NAMES = ["q", "ad", "q-q", "ad-q", "q-ad", "q-q-q"]


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "sysctl")
    with Outside(world) as made:
        bridge_nf("0")
        yield made


@pytest.fixture
def lab(outside: Outside) -> Iterator[Lab]:
    made = Lab.from_data(LAB, world="host")
    made.up()
    assert not made.plan()
    yield made
    made.down()


def _tagged(frame: bytes, tags: tuple[int, ...], number: int = 0) -> bytes:
    """The frame behind VLAN tags of this number, the outermost first."""
    return frame[:12] + b"".join(struct.pack("!HH", kind, number) for kind in tags) + frame[12:]


def _heard(listening: socket.socket, target: tuple[str, int]) -> list[bytes]:
    """What has come to a socket, up to a datagram that the machine sends it now."""
    listening.settimeout(20)
    with socket.socket(listening.family, socket.SOCK_DGRAM) as made:
        made.sendto(b"THE-END", target)
    found = [listening.recv(100)]
    while found[-1] != b"THE-END":
        found.append(listening.recv(100))
    return found[:-1]


@pytest.mark.parametrize("tags", TAGS, ids=NAMES)
def test_a_source_behind_tags(lab: Lab, tags: tuple[int, ...]) -> None:
    """Number 0 says that there is no VLAN, so that the kernel takes such tags off and goes on:
    where they are two, after the bridge has judged the packet."""
    places = (("web", "lan", 1), ("v1", "vault", 3), ("g1", "safe", 4))
    with ExitStack() as stack:
        ends = {
            version: stack.enter_context(bound("", HOST[version], 7777, socket.SOCK_DGRAM))
            for version in (4, 6)
        }
        for node, bridge, number in places:
            own, to = mac_of(node), mac_of("", bridge)
            for version in (4, 6):
                home = f"10.{number}.0." if version == 4 else f"fd00:{number}::"
                forged = ["10.9.0.2" if version == 4 else "fd00:9::2"]
                # by its own address: to another address of the machine; as its neighbour
                if bridge != "lan":
                    forged.append(f"{home}2" if bridge == "vault" else f"{home}3")
                packets = [udp((source, 5), (HOST[version], 7777)) for source in forged]
                send_frames(
                    node, [_tagged(frames.ethernet(to, own, packet), tags) for packet in packets]
                )
        assert {version: _heard(end, (HOST[version], 7777)) for version, end in ends.items()} == {
            4: [],
            6: [],
        }


@pytest.mark.parametrize("tags", TAGS, ids=NAMES)
def test_a_theft_behind_tags(lab: Lab, outside: Outside, tags: tuple[int, ...]) -> None:
    """`guard` lets nothing behind a tag out: no ARP, no neighbour discovery, no router, no
    leases."""
    own, to, robbed = mac_of("g1"), mac_of("", "safe"), mac_of("g2")
    for address in ("10.4.0.3", "fd00:4::3"):
        assert lab.ping("g1", address)[0].seconds is not None
        outside.world.run("ping", "-c1", address)
    router = icmp(
        "fd00:4::2", "ff02::1", 134, 0, struct.pack("!BBH", 64, 0, 1800), bytes(8) + MARK, 255
    )
    theft = [
        frames.arp(own, "10.4.0.3", to, "10.4.0.1"),
        frames.ethernet(to, own, frames.advertisement(own, "fd00:4::3", "fd00:4::1")),
        frames.ethernet(to, own, frames.advertisement(own, "fd00:4::3", "fd00:4::1", "fd00:4::2")),
        frames.ethernet(robbed, own, router),
        frames.ethernet(robbed, own, udp(("10.4.0.2", 67), ("10.4.0.3", 68))),
    ]
    with snooping("g2") as ears:
        for number in (0, 5):
            send_frames("g1", [_tagged(frame, tags, number) for frame in theft])
        for address in ("10.4.0.3", "fd00:4::3"):
            with socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
            ) as made:
                made.sendto(f"THE-END of {address}".encode(), (address, 9))
            heard = ears["g2"].until(f"THE-END of {address}".encode())
        assert [frame for frame in heard if MARK in frame] == []


def _asked(mac: str, address: str) -> bytes:
    """A probe whether an IPv4 address is free (RFC 5227)."""
    body = b"\0\1\x08\0\6\4\0\1" + frames._mac(mac) + bytes(4) + bytes(6) + frames._packed(address)
    return frames.ethernet(frames.BROADCAST, mac, body, ARP)


def _wanted(address: str) -> bytes:
    """The same of IPv6 (RFC 4862 section 5.4.2)."""
    group = "ff02::1:ff00:" + address.rpartition(":")[2]
    return icmp("::", group, 135, 0, bytes(4), frames._packed(address), 255)


def _lease(mac: str) -> bytes:
    """A question for a lease, of whom has this MAC, that says no more."""
    return (
        b"\1\1\6\0"
        + bytes(24)
        + frames._mac(mac)
        + bytes(202)
        + b"\x63\x82\x53\x63\x35\1\4\xff"
        + MARK
    )


def test_who_speaks_in_anothers_name(lab: Lab) -> None:
    """`guard`: nobody keeps an address from a neighbour that is just looking whether it is free,
    gives leases from whatever port, or asks for, gives back or refuses a neighbour's lease."""
    own, robbed, every = mac_of("g1"), mac_of("g2"), frames.BROADCAST
    question = udp((NOBODY, 68), ("255.255.255.255", 67), _lease(robbed))
    half = bytearray(question[:20] + question[20:220])  # its first 200 bytes, and the rest
    half[2:8] = struct.pack("!HHH", len(half), 1, 0x2000)
    half[10:12] = bytes(2)
    half[10:12] = struct.pack("!H", frames._sum(bytes(half[:20])))
    bad = [
        _asked(own, "10.4.0.3"),
        *(frames.ethernet(every, own, udp((home, 6767), (to, port))) for home, to, port in (
            ("10.4.0.2", "255.255.255.255", 68),
            ("fd00:4::2", "ff02::1", 546),
        )),
        frames.ethernet("33:33:ff:00:00:03", own, _wanted("fd00:4::3")),
        frames.ethernet(every, own, question),
        frames.ethernet(every, own, bytes(half)),
    ]  # fmt: skip
    good = [
        _asked(own, "10.4.0.2"),
        frames.ethernet("33:33:ff:00:00:02", own, _wanted("fd00:4::2")),
        frames.ethernet(every, own, udp((NOBODY, 68), ("255.255.255.255", 67), _lease(own))),
    ]
    with snooping("g2", ("", "safe")) as ears:
        send_frames("g1", [*bad, *good])
        for ear in ears.values():
            # What g1's kernel says by itself does not count.
            assert [frame for frame in ear.until(good[-1]) if frame in (*bad, *good)] == good


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_of_a_nodes_from_beside(lab: Lab, outside: Outside, version: int) -> None:
    """Another of the machine's networks, from which nothing passes, says that it is a node with an
    open flow."""
    run = outside.world.run
    run("ip", "netns", "add", "beside")
    run("ip", "link", "add", "mg0", "up", "type", "veth", "peer", "name", "eth0", "netns", "beside")
    run("ip", "-n", "beside", "link", "set", "eth0", "up")
    run("ip", "address", "add", "10.77.0.1/24", "dev", "mg0")
    run("ip", "address", "add", "2001:db8:77::1/64", "dev", "mg0", "nodad")
    for name in ("all", "mg0"):
        run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    home = {4: "10.1.0.2", 6: "fd00:1::2"}[version]
    with (
        bound("elsewhere", THERE[version], 5353, socket.SOCK_DGRAM) as server,
        ExitStack() as stack,
    ):
        client = stack.enter_context(bound("web", home, 4444, socket.SOCK_DGRAM))
        client.sendto(b"hello", (THERE[version], 5353))
        data, peer = comes(server, 10)
        server.sendto(b"welcome", peer)
        assert (data, comes(client, 10)[0]) == (b"hello", b"welcome")
        send("beside", [udp((home, 4444), (THERE[version], 5353))], mac_of("", "mg0"))
        assert _heard(server, (THERE[version], 5353)) == []


@pytest.mark.parametrize("version", [4, 6])
def test_another_labs_node_as_the_source(lab: Lab, outside: Outside, version: int) -> None:
    """Somebody in the LAN asks a published port in the name of another lab's node: it would get an
    answer that it has not asked for. In its own name, he gets one."""
    other = Lab.from_data(OTHER, world="host")
    other.up()
    for name in ("all", "up0"):
        outside.world.run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    home = {4: "10.9.0.2", 6: "fd00:9::2"}[version]
    with bound("web", {4: "10.1.0.2", 6: "fd00:1::2"}[version], 80, socket.SOCK_DGRAM) as server:
        send("elsewhere", [udp((home, 5), (HOST[version], 8000))], mac_of("", "up0"))
        assert reach("elsewhere", HOST[version], 8000, server) == THERE[version]
        assert reach("b1", HOST[version], 8000, server) == home
    other.down()


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_of_a_nodes_from_behind_an_uplink(outside: Outside, version: int) -> None:
    """Who is behind an uplink takes no part in flows between nodes of other networks and the
    outside, in neither direction, and does not speak to the machine as one of them."""
    run = outside.world.run
    run("ip", "netns", "add", "behind")
    run("ip", "link", "add", "up1", "up", "type", "veth", "peer", "name", "eth0", "netns", "behind")
    run("ip", "-n", "behind", "link", "set", "eth0", "up")
    lab = Lab.from_data(
        {
            "name": "demo",
            "networks": {
                "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True, "dns": False},
                "wire": {"subnet": ["10.5.0.0/24", "fd00:5::/64"], "uplink": "up1"},
            },
            "nodes": {"web": ["lan"], "desk": ["wire"]},
        },
        world="host",
    )
    lab.up()
    for name in ("all", "wire"):
        run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    home, gateway = {4: ("10.1.0.2", "10.1.0.1"), 6: ("fd00:1::2", "fd00:1::1")}[version]
    with ExitStack() as stack:
        server, client, own = (
            stack.enter_context(bound(node, address, port, socket.SOCK_DGRAM))
            for node, address, port in (
                ("elsewhere", THERE[version], 5353),
                ("web", home, 4444),
                ("", gateway, 7777),
            )
        )
        client.sendto(b"hello", (THERE[version], 5353))
        _data, peer = comes(server, 10)
        server.sendto(b"welcome", peer)
        assert comes(client, 10)[0] == b"welcome"
        forged = [
            udp((home, 4444), (THERE[version], 5353)),
            udp((THERE[version], 5353), (HOST[version], 4444)),
            udp((home, 5), (gateway, 7777)),
        ]
        send("behind", forged, mac_of("", "wire"))
        assert _heard(server, (THERE[version], 5353)) == []
        assert _heard(client, (home, 4444)) == []
        assert _heard(own, (gateway, 7777)) == []
    lab.down()


def test_a_node_is_none_of_its_bridges_addresses(outside: Outside) -> None:
    """Not one of several, either."""
    gateways = ["10.4.0.1", "10.5.0.1", "fd00:4::1", "fd00:5::1"]
    subnets = ["10.4.0.0/24", "10.5.0.0/24", "fd00:4::/64", "fd00:5::/64"]
    data = {
        "name": "lab",
        "networks": {"lan": {"subnet": subnets, "gateway": gateways}},
        "nodes": {"a": ["lan"]},
    }
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert not lab.plan()
    with ExitStack() as stack:
        ends = {
            version: stack.enter_context(bound("", HOST[version], 7777, socket.SOCK_DGRAM))
            for version in (4, 6)
        }
        send(
            "a",
            [udp((each, 5), (HOST[6 if ":" in each else 4], 7777)) for each in gateways],
            mac_of("", "lan"),
        )
        assert {version: _heard(end, (HOST[version], 7777)) for version, end in ends.items()} == {
            4: [],
            6: [],
        }
        own = ["10.4.0.2", "fd00:4::2"]
        send(
            "a",
            [udp((each, 5), (HOST[6 if ":" in each else 4], 7777)) for each in own],
            mac_of("", "lan"),
        )
        assert {version: _heard(end, (HOST[version], 7777)) for version, end in ends.items()} == {
            4: [MARK],
            6: [MARK],
        }
    lab.down()
