"""Nodes and neighbours that forge: flows of others, sources, errors, ARP. What must not pass does
not, in both families, whether or not bridged frames pass the IP firewall, and what may pass still
does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

import frames
from bascule.api import Lab
from frames import (
    MARK,
    bridge_nf,
    icmp,
    mac_of,
    send,
    settled,
    snooping,
    tcp,
    too_big,
    udp,
    unreachable,
)
from sandbox import World, require
from traffic import Outside, bound, comes, inside, reach

NAT = {"nat": True, "dns": False}
LAB: dict[str, Any] = {
    "name": "demo",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], **NAT},
        "dmz": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "reach": ["lan"]},
        "vault": {"subnet": ["10.3.0.0/24", "fd00:3::/64"], "internal": True},
        "guests": {"subnet": ["10.4.0.0/24", "fd00:4::/64"], "icc": False},
        "open": {"subnet": ["10.5.0.0/24", "fd00:5::/64"]},
    },
    "nodes": {
        "web": {"networks": ["lan"], "ports": ["8080:80", "127.0.0.1:5432:5432"]},
        "l2": ["lan"],
        "dmz1": ["dmz"],
        "safe": ["vault"],
        "g1": {"networks": ["guests"], "ports": ["8081:81"]},
        "g2": {"networks": ["guests"], "ports": ["8082:82"]},
        "op": {"networks": ["open"], "ports": ["8083:83"]},
    },
}
OTHER: dict[str, Any] = {
    "name": "other",
    "networks": {
        "net": {"subnet": ["10.9.0.0/24", "fd00:9::/64"], **NAT},
        "plain": {"subnet": ["10.8.0.0/24", "fd00:8::/64"]},
    },
    "nodes": {"b1": ["net"], "b2": ["plain"]},
}
HOST, THERE = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}


class Place(NamedTuple):
    """A node with the bridge to which it talks, and its addresses."""

    node: str
    bridge: str
    four: str
    six: str

    def at(self, version: int) -> str:
        return self.four if version == 4 else self.six


def _place(node: str, bridge: str, number: int, last: int) -> Place:
    return Place(node, bridge, f"10.{number}.0.{last}", f"fd00:{number}::{last}")


WEB, L2, DMZ1 = _place("web", "lan", 1, 2), _place("l2", "lan", 1, 3), _place("dmz1", "dmz", 2, 2)
SAFE, G1, G2 = (
    _place("safe", "vault", 3, 2),
    _place("g1", "guests", 4, 2),
    _place("g2", "guests", 4, 3),
)
OP, B1, B2 = _place("op", "open", 5, 2), _place("b1", "net", 9, 2), _place("b2", "plain", 8, 2)
INNER = (WEB, L2, DMZ1, SAFE, G1, G2, OP, B1, B2)


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "sysctl")
    with Outside(world) as made:
        world.run("ip", "route", "add", "default", "via", THERE[4])
        world.run("ip", "-6", "route", "add", "default", "via", THERE[6])
        yield made


@pytest.fixture(params=["0", "1"], ids=["routed", "bridge-nf"])
def labs(outside: Outside, request: pytest.FixtureRequest) -> Iterator[None]:
    """Both labs are up, and a neighbour routes their addresses to us."""
    bridge_nf(request.param)
    made = [Lab.from_data(data, world="host") for data in (LAB, OTHER)]
    for lab in made:
        lab.up()
    for number in (1, 2, 3, 4, 5, 8, 9):
        outside.routes(f"10.{number}.0.0/24")
        outside.routes(f"fd00:{number}::/64")
    yield
    for lab in made:
        lab.down()


def _flow(
    stack: ExitStack, client: str, address: str, port: int, server: tuple[str, int], at: str = ""
) -> None:
    """A datagram from a node's port to a server's, and one back where somebody listens (``at``)."""
    listening = (
        bound(at, server[0], server[1], socket.SOCK_DGRAM)
        if at or server[0] in HOST.values()
        else None
    )
    made = stack.enter_context(bound(client, address, port, socket.SOCK_DGRAM))
    made.sendto(b"hello", server)
    if listening is not None:
        stack.enter_context(listening)
        data, peer = comes(listening, 10)
        assert data == b"hello"
        listening.sendto(b"welcome", peer)
        assert comes(made, 10)[0] == b"welcome"


def _ends() -> dict[str, str]:
    """The machine reaches every node, by its own address on the node's bridge."""
    return {place.node: place.four for place in INNER}


@pytest.mark.parametrize("version", [4, 6])
def test_flows_of_others_carry_nothing(labs: None, outside: Outside, version: int) -> None:
    """A packet that fits a flow of somebody else's, whoever sends it: from an internal network,
    from other networks and labs, from neighbours without each other's company, from the LAN; in the
    flow's both directions, plainly and in the quotation of an error."""
    out, host = THERE[version], HOST[version]
    with (
        ExitStack() as stack,
        snooping(*(place.node for place in INNER), ("elsewhere", "eth0")) as ears,
    ):
        _flow(stack, "web", WEB.at(version), 4444, (out, 5353), "elsewhere")
        _flow(stack, "dmz1", DMZ1.at(version), 4450, (L2.at(version), 5354), "l2")
        for port, place in enumerate(INNER, 4461):
            _flow(stack, place.node, place.at(version), port, (f"{place.at(version)[:-1]}1", 9998))
        flows = [
            ((WEB.at(version), 4444), (out, 5353)),
            ((host, 4444), (out, 5353)),
            ((DMZ1.at(version), 4450), (L2.at(version), 5354)),
            *(
                ((place.at(version), port), (f"{place.at(version)[:-1]}1", 9998))
                for port, place in enumerate(INNER, 4461)
            ),
        ]
        for sender in (SAFE, G1, B1, B2, OP, DMZ1):
            others = [
                (one, two) for one, two in flows if sender.at(version) not in (one[0], two[0])
            ]
            send(
                sender.node,
                [*_forged(sender.at(version), others, INNER, version)],
                mac_of("", sender.bridge),
            )
        own = [(one, two) for one, two in flows if out not in (one[0], two[0])]
        send("elsewhere", [*_forged(out, own, INNER, version)], mac_of("", "up0"))
        heard = settled(ears, _ends())
        # DMZ1 may open connections to what is in the LAN, and whoever stands on the LAN may answer
        # a flow that leads there.
        assert {
            name: found for name, found in heard.items() if found and name not in ("web", "l2")
        } == {}
        allowed = (DMZ1.at(version), out)
        for name in ("web", "l2"):
            assert all(
                any(frames._packed(source) in frame for source in allowed) for frame in heard[name]
            ), name
        end = stack.enter_context(bound("elsewhere", out, 9, socket.SOCK_DGRAM))
        with inside("web"), socket.socket(end.family, socket.SOCK_DGRAM) as made:
            made.sendto(b"THE-END", (out, 9))
        assert [frame for frame in ears["elsewhere"].until(b"THE-END") if MARK in frame] == []


def _forged(own: str, flows: list[Any], places: tuple[Place, ...], version: int) -> Iterator[bytes]:
    for one, two in flows:
        yield udp(one, two, MARK)
        yield udp(two, one, MARK)
        for place in places:
            if place.at(version) != own:
                yield unreachable(own, place.at(version), udp(one, two, MARK))
                yield unreachable(own, place.at(version), udp(two, one, MARK))


def test_an_internal_node_finds_no_way_out(labs: None, outside: Outside) -> None:
    """It knows what a neighbouring network's node asks, but for the port, and tries as many as it
    likes."""
    with ExitStack() as stack:
        server = stack.enter_context(bound("elsewhere", THERE[4], 53, socket.SOCK_DGRAM))
        client = stack.enter_context(bound("web", WEB.four, 40_123, socket.SOCK_DGRAM))
        client.sendto(b"hello", (THERE[4], 53))
        assert comes(server, 10)[0] == b"hello"
        send(
            "safe",
            [udp((WEB.four, port), (THERE[4], 53)) for port in range(40_000, 40_400)],
            mac_of("", "vault"),
        )
        client.sendto(b"again", (THERE[4], 53))
        assert comes(server, 10)[0] == b"again"


def test_the_machines_own_flows_are_its_own(labs: None, outside: Outside) -> None:
    """No node answers for 127.0.0.53, or for another machine; none tells the machine of a narrow
    link or of a better way."""
    with ExitStack() as stack:
        resolver = stack.enter_context(bound("", "127.0.0.53", 53, socket.SOCK_DGRAM))
        client = stack.enter_context(bound("", "127.0.0.1", 4009, socket.SOCK_DGRAM))
        client.sendto(b"hello", ("127.0.0.53", 53))
        assert comes(resolver, 10)[0] == b"hello"
        for place in (WEB, SAFE, G1, B2):
            forged = [
                udp(("127.0.0.53", 53), ("127.0.0.1", 4009)),
                udp(("127.0.0.1", 4009), ("127.0.0.53", 53)),
                udp((place.four, 53), ("127.0.0.1", 4009)),
                udp((place.four, 4009), ("127.0.0.53", 53)),
            ]
            send(place.node, forged, mac_of("", place.bridge))
            broadcast = [
                frames.ethernet(frames.BROADCAST, mac_of(place.node), packet) for packet in forged
            ]
            frames.send_frames(place.node, broadcast)
        resolver.sendto(b"welcome", ("127.0.0.1", 4009))
        assert comes(client, 100)[0] == b"welcome"
        resolver.setblocking(False)
        with pytest.raises(BlockingIOError):
            resolver.recv(100)
    run = outside.world.run
    for version, far, flag in ((4, "198.51.100.1", "-4"), (6, "2001:db8:9::1", "-6")):
        before = run("ip", flag, "route", "get", far).stdout
        quoted = udp((HOST[version], 33_333), (far, 33_434), b"x" * 40)
        with (
            inside(""),
            socket.socket(
                socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM
            ) as made,
        ):
            made.bind((HOST[version], 33_333))
            made.sendto(b"x" * 40, (far, 33_434))
            for place in (L2, SAFE, OP):
                own = place.at(version)
                gateway = f"{own[:-1]}1"
                messages = [
                    too_big(own, target, quoted, 1300) for target in (HOST[version], gateway)
                ]
                messages += [
                    _redirect(THERE[version], target, far, quoted, version)
                    for target in (HOST[version], gateway)
                ]
                send(place.node, messages, mac_of("", place.bridge))
        assert run("ip", flag, "route", "get", far).stdout == before
        assert run("ip", flag, "route", "show", "cache").stdout == ""


def _redirect(router: str, target: str, far: str, quoted: bytes, version: int) -> bytes:
    if version == 6:
        return icmp(
            router,
            target,
            137,
            0,
            bytes(4),
            frames._packed("fe80::bad") + frames._packed(far) + quoted,
            255,
        )
    return icmp(router, target, 5, 1, frames._packed("192.0.2.77"), quoted)


def test_neighbours_without_company(labs: None) -> None:
    """`icc: false`: whatever one puts on the wire or sends round by the bridge, the other does not
    see it."""
    own, other = mac_of("g1"), mac_of("g2")
    bridge = mac_of("", "guests")
    with ExitStack() as stack, snooping("g2") as ears:
        _flow(stack, "g2", G2.four, 4461, ("10.4.0.1", 9998))
        near = [
            udp((G1.four, 1), (G2.four, 1)),
            udp((G1.six, 1), (G2.six, 1)),
            udp((L2.four, 1), (G2.four, 1)),
            udp((THERE[4], 9998), (G2.four, 4462)),
            unreachable(G1.four, G2.four, udp((G2.four, 4461), ("10.4.0.1", 9998))),
            frames.ip(G1.four, G2.four, 47, MARK),
            frames.ip(G1.four, G2.four, 132, MARK),
        ]
        send("g1", near, bridge)
        send("g1", near, other)
        wide = [udp((G1.four, 1), ("10.4.0.255", 1)), udp((G1.four, 5353), ("224.0.0.251", 5353))]
        frames.send_frames(
            "g1", [frames.ethernet(frames.BROADCAST, own, packet) for packet in (*near, *wide)]
        )
        frames.send_frames(
            "g1",
            [
                frames.ethernet(other, own, MARK * 10, 0x88B5),
                frames.ethernet("01:80:c2:00:00:0e", own, MARK * 10, 0x88CC),
            ],
        )
        frames.send_frames(
            "g1", [frames.ethernet(frames.BROADCAST, own, b"\0\5\x08\0" + near[0], 0x8100)]
        )
        assert settled(ears, {"g2": G2.four}) == {"g2": []}


@pytest.mark.parametrize("guard", [True, False])
def test_addresses_are_bound_to_ports(outside: Outside, guard: bool) -> None:
    """`guard`: who says that a neighbour's address is his, gets none of its packets. Without, he
    gets them, as on any switch."""
    data = {
        "name": "lab",
        "networks": {"lan": {"subnet": ["10.4.0.0/24", "fd00:4::/64"], "guard": guard}},
        "nodes": {"g1": ["lan"], "g2": ["lan"]},
    }
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert not lab.plan()
    thief, robbed, bridge = mac_of("g1"), mac_of("g2"), mac_of("", "lan")
    stolen = []
    for theft in (
        lambda: send("g1", [udp((G2.four, 1), ("10.4.0.1", 9))], bridge, source=robbed),
        lambda: frames.send_frames("g1", [frames.arp(thief, G2.four, bridge, "10.4.0.1")]),
        lambda: frames.send_frames("g1", [frames.arp(thief, G2.four, frames.BROADCAST, G2.four)]),
        lambda: send("g1", [frames.advertisement(thief, G2.six, "fd00:4::1")], bridge),
        lambda: send(
            "g1", [frames.advertisement(thief, G2.six, "ff02::1", G1.six)], "33:33:00:00:00:01"
        ),
    ):
        for gateway in ("10.4.0.1", "fd00:4::1"):  # the machine and the nodes know each other
            assert lab.ping("g2", gateway)[0].seconds is not None
        with snooping("g1", "g2") as ears:
            theft()
            for address in (G2.four, G2.six):
                with socket.socket(
                    socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
                ) as made:
                    made.sendto(MARK, (address, 9))
            with inside("g2"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                made.sendto(b"THE-END", ("255.255.255.255", 9))
            stolen.append(any(MARK in frame for frame in ears["g1"].until(b"THE-END")))
        outside.world.run("ip", "neigh", "flush", "dev", "lan")
    assert stolen == [False] * 5 if guard else stolen[0]
    lab.down()


def test_what_leaves_is_translated(labs: None, outside: Outside) -> None:
    """Or it does not leave: segments of forgotten connections, errors and answers that nobody asked
    for, discovery beyond the link."""
    with snooping(("elsewhere", "eth0")) as ears, ExitStack() as stack:
        server = {
            version: stack.enter_context(bound("elsewhere", THERE[version], 9, socket.SOCK_DGRAM))
            for version in (4, 6)
        }
        for version in (4, 6):
            own, out = WEB.at(version), THERE[version]
            kind = {4: (0, 3, 11), 6: (129, 1, 3)}[version]
            packets = [
                tcp((own, 5000 + flags), (out, 81), flags, data=MARK)
                for flags in (FIN_ACK, frames.RST, frames.ACK, 0x3F, 0)
            ]
            packets += [icmp(own, out, each, 0, bytes(4), MARK * 8) for each in kind]
            packets += [unreachable(own, out, udp((out, 5), (own, 6)))]
            if version == 6:
                packets += [
                    icmp(own, out, each, 0, bytes(4), frames._packed(out) + MARK, 255)
                    for each in (133, 134, 135, 136, 143)
                ]
            send("web", packets, mac_of("", "lan"))
        for version in (4, 6):
            with inside("web"), socket.socket(server[version].family, socket.SOCK_DGRAM) as made:
                made.sendto(b"THE-END" + bytes([version]), (THERE[version], 9))
        seen = ears["elsewhere"].until(b"THE-END\4") + ears["elsewhere"].until(b"THE-END\6")
        for version in (4, 6):
            own = frames._packed(WEB.at(version))
            assert [frame.hex() for frame in seen if own in frame[14:54]] == []


FIN_ACK = frames.FIN | frames.ACK


@pytest.mark.parametrize("version", [4, 6])
def test_a_stray_segment_ends_no_connection(labs: None, outside: Outside, version: int) -> None:
    """One out of the window belongs to no flow, so that its address is not translated back: the
    machine, which knows nothing of it, would answer with a reset."""
    uplink = mac_of("", "up0")
    with bound("elsewhere", THERE[version], 80) as listening, inside("web"):
        client = socket.create_connection((THERE[version], 80), 5)
        server, peer = listening.accept()
        with client, server:
            stray = [
                tcp((THERE[version], 80), peer[:2], frames.ACK, sequence, 1, MARK)
                for sequence in (1, 1 << 31, 3 << 30)
            ]
            send("elsewhere", stray, uplink)
            for one, two in ((client, server), (server, client)):
                two.settimeout(5)
                one.sendall(b"still here")
                assert comes(two, 20)[0] == b"still here"


def test_what_listens_on_the_machine_still_resets(labs: None, outside: Outside) -> None:
    """The machine's own connections are not touched by that: a closed port says so."""
    for version in (4, 6):
        with inside("elsewhere"), pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST[version], 6161), 5)


def test_published_ports_are_for_everybody(labs: None, outside: Outside) -> None:
    """By the machine's address: other labs' nodes, also of a lab that asked for nothing, neighbours
    without company, the node itself. Not for internal networks, nor by the address of one's own
    bridge for another lab's port."""
    for port, target, inner in ((8080, WEB, 80), (8081, G1, 81), (8083, OP, 83)):
        for version in (4, 6):
            with bound(target.node, "::" if version == 6 else "0.0.0.0", inner) as server:  # noqa: S104 (a throwaway namespace)
                for client in (WEB, L2, DMZ1, G1, G2, OP, B1, B2):
                    seen = reach(client.node, HOST[version], port, server)
                    same = client.bridge == target.bridge
                    assert seen == (
                        f"{target.at(version)[:-1]}1" if same else client.at(version)
                    ), (port, client, version)
                assert reach("elsewhere", HOST[version], port, server) == THERE[version]
                assert reach("safe", HOST[version], port, server) is None
                for client in (B1, B2):
                    assert reach(client.node, f"{client.at(version)[:-1]}1", port, server) is None
                    assert reach(client.node, target.at(version), inner, server) is None
