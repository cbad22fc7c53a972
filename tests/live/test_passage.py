"""What passes between networks and what does not: a way out, isolation, published ports. Packets,
in both families."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.engine import worlds
from bascule.errors import BasculeError, Conflict, InputError
from bascule.host import nft
from bascule.state import store
from frames import bridge_nf
from helpers import as_json, bascule
from sandbox import World, difference, require
from traffic import Ears, Outside, bound, comes, inside, reach, sctp_init

LAB: dict[str, Any] = {
    "name": "out",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "wan": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "reach": ["lan"]},
        "priv": {"subnet": ["10.3.0.0/24", "fd00:3::/64"], "internal": True},
        "quiet": {"subnet": ["10.4.0.0/24", "fd00:4::/64"], "icc": False},
    },
    "nodes": {
        "a": {
            "networks": {"lan": ["10.1.0.2", "fd00:1::2"]},
            "ports": [
                "8080:80",
                "127.0.0.1:9090:80",
                "[::1]:9443:80",
                "192.0.2.1:7070:80",
                "5000-5002:6000-6002",
                "53:53/udp",
            ],
        },
        "b": {"networks": {"lan": ["10.1.0.3", "fd00:1::3"]}},
        "c": {"networks": {"wan": ["10.2.0.2", "fd00:2::2"]}},
        "p": {"networks": {"priv": ["10.3.0.2", "fd00:3::2"]}},
        "p2": {"networks": {"priv": ["10.3.0.3", "fd00:3::3"]}},
        "q": {"networks": {"quiet": ["10.4.0.2", "fd00:4::2"]}},
        "q2": {"networks": {"quiet": ["10.4.0.3", "fd00:4::3"]}},
    },
}
HOST, ELSEWHERE = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2")
DROPS = (
    "table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy "
    "drop;\n }\n}\n"
)
DROPS += DROPS.replace("table ip ", "table ip6 ")


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "sysctl")
    with Outside(world) as made:
        yield made


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as made:
        yield made


Pair = tuple[str | None, str | None]


def _both(
    client: str, targets: tuple[str, str], port: int, server: tuple[socket.socket, socket.socket]
) -> Pair:
    """Whom the servers saw, by IPv4 and by IPv6; None where nothing arrived."""
    return reach(client, targets[0], port, server[0]), reach(client, targets[1], port, server[1])


NOBODY = (None, None)


@pytest.mark.parametrize("bridged", ["0", "1"], ids=["routed", "bridge-nf"])
@pytest.mark.parametrize("forward", ["accept", "drop"])
def test_who_reaches_whom(outside: Outside, ears: Ears, bridged: str, forward: str) -> None:
    """Everything at once, as it is on a machine where nothing else filters, and where Docker's
    FORWARD policy drops."""
    bridge_nf(bridged)
    if forward == "drop":
        outside.world.run("nft", "-f", "-", input=DROPS)
    before = outside.world.run("nft", "list", "ruleset").stdout
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    assert not lab.plan()

    # a way out, with the machine's address; the answer comes back
    assert _both("a", ELSEWHERE, 7, ears.on("elsewhere", 7)) == HOST
    # networks do not reach each other but where the file says so, and then with their own addresses
    assert _both("c", ("10.1.0.3", "fd00:1::3"), 7, ears.on("b", 7)) == ("10.2.0.2", "fd00:2::2")
    assert _both("b", ("10.2.0.2", "fd00:2::2"), 7, ears.on("c", 7)) == NOBODY
    assert _both("b", ("10.4.0.2", "fd00:4::2"), 7, ears.on("q", 7)) == NOBODY
    # an internal network has itself and its bridge
    assert _both("p", ("10.3.0.3", "fd00:3::3"), 7, ears.on("p2", 7)) == ("10.3.0.2", "fd00:3::2")
    assert _both("p", ("10.3.0.1", "fd00:3::1"), 7, ears.on("", 7)) == ("10.3.0.2", "fd00:3::2")
    # no inter-container communication
    assert _both("q", ("10.4.0.3", "fd00:4::3"), 7, ears.on("q2", 7)) == NOBODY
    assert _both("q", ("10.4.0.1", "fd00:4::1"), 7, ears.on("", 7)) == ("10.4.0.2", "fd00:4::2")

    # published ports: from another machine, from this one, from other nodes, from the node itself
    server = ears.on("a", 80)
    assert _both("elsewhere", HOST, 8080, server) == ELSEWHERE
    assert _both("", HOST, 8080, server) == HOST
    assert reach("", "127.0.0.1", 8080, server[0]) == "10.1.0.1"
    # Bridged frames that pass the firewall get ::1 back before IPv6 meets them, which takes none to
    # ::1 from a link.
    assert reach("", "::1", 8080, server[1]) == ("fd00:1::1" if bridged == "0" else None)
    assert any("[::1]:9443:80 of a does not answer" in note for note in lab.plan().notes) == (
        bridged == "1"
    )
    assert _both("c", HOST, 8080, server) == ("10.2.0.2", "fd00:2::2")
    assert _both("b", HOST, 8080, server) == ("10.1.0.1", "fd00:1::1")
    assert _both("a", HOST, 8080, server) == ("10.1.0.1", "fd00:1::1")
    assert _both("p", HOST, 8080, server) == NOBODY
    assert _both("elsewhere", HOST, 5002, ears.on("a", 6002)) == ELSEWHERE
    assert _both("elsewhere", HOST, 53, ears.on("a", 53, socket.SOCK_DGRAM)) == ELSEWHERE
    # ports of one address
    assert (
        reach("elsewhere", HOST[0], 7070, server[0]),
        reach("elsewhere", HOST[1], 7070, server[1]),
    ) == (ELSEWHERE[0], None)
    assert (
        reach("", "127.0.0.1", 9090, server[0]),
        reach("elsewhere", HOST[0], 9090, server[0]),
    ) == ("10.1.0.1", None)
    assert reach("", "::1", 9443, server[1]) == ("fd00:1::1" if bridged == "0" else None)
    assert (
        reach("", HOST[1], 9443, server[1]),
        reach("elsewhere", HOST[1], 9443, server[1]),
    ) == NOBODY

    _hostile(outside, ears)
    lab.down()
    assert outside.world.run("nft", "list", "ruleset").stdout == before
    assert (
        outside.world.run(
            "sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
        ).stdout
        == "0\n0\n"
    )


def _hostile(outside: Outside, ears: Ears) -> None:
    """A neighbour who routes our addresses to us; nodes that give themselves routes and
    addresses."""
    run = outside.world.run
    for prefix in ("10.1.0.0/24", "fd00:1::/64", "10.3.0.0/24", "fd00:3::/64"):
        outside.routes(prefix)
    assert _both("elsewhere", ("10.1.0.2", "fd00:1::2"), 80, ears.on("a", 80)) == NOBODY
    assert _both("elsewhere", ("10.3.0.2", "fd00:3::2"), 7, ears.on("p", 7)) == NOBODY
    # 127.0.0.1 as an ordinary destination, which a neighbour's kernel lets out with route_localnet
    run("ip", "netns", "exec", "elsewhere", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    run(
        "ip",
        "-n",
        "elsewhere",
        "route",
        "del",
        "table",
        "local",
        "127.0.0.0/8",
        "dev",
        "lo",
        check=False,
    )
    run("ip", "-n", "elsewhere", "link", "set", "lo", "down")
    run("ip", "-n", "elsewhere", "route", "add", "127.0.0.0/8", "via", HOST[0])
    assert reach("elsewhere", "127.0.0.1", 9090, ears.on("a", 80)[0]) is None
    run("ip", "-n", "p", "route", "add", "default", "via", "10.3.0.1")
    run("ip", "-n", "p", "-6", "route", "add", "default", "via", "fd00:3::1")
    assert _both("p", ELSEWHERE, 7, ears.on("elsewhere", 7)) == NOBODY
    assert _both("p", HOST, 7, ears.on("", 7)) == NOBODY
    assert _both("p", ("10.1.0.3", "fd00:1::3"), 7, ears.on("b", 7)) == NOBODY
    run("ip", "-n", "p", "address", "add", "10.1.0.99/32", "dev", "eth0")
    assert reach("p", "10.1.0.3", 7, ears.on("b", 7)[0], source="10.1.0.99") is None
    run("ip", "-n", "q", "route", "add", "10.4.0.3/32", "via", "10.4.0.1")
    run("ip", "-n", "q", "-6", "route", "add", "fd00:4::3/128", "via", "fd00:4::1")
    assert _both("q", ("10.4.0.3", "fd00:4::3"), 7, ears.on("q2", 7)) == NOBODY
    # 127.0.0.1 of the machine, where a program may listen that trusts it
    listens = bound("", "127.0.0.1", 631)
    with listens:
        assert reach("", "127.0.0.1", 631, listens) == "127.0.0.1"
        run("ip", "netns", "exec", "b", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        run(
            "ip",
            "-n",
            "b",
            "route",
            "del",
            "table",
            "local",
            "127.0.0.0/8",
            "dev",
            "lo",
            check=False,
        )
        run("ip", "-n", "b", "address", "del", "127.0.0.1/8", "dev", "lo")
        run("ip", "-n", "b", "route", "add", "127.0.0.0/8", "via", "10.1.0.1")
        assert reach("b", "127.0.0.1", 631, listens) is None
    # with another network's address, to get where that one may go
    run("ip", "-n", "b", "address", "add", "10.2.0.77/32", "dev", "eth0")
    assert reach("b", ELSEWHERE[0], 7, ears.on("elsewhere", 7)[0], source="10.2.0.77") is None


@pytest.mark.parametrize(
    ("mtu", "largest"), [(1400, 1360), (1500, 1460)], ids=["a narrow uplink", "a wide one"]
)
def test_segments_fit_the_uplink(outside: Outside, mtu: int, largest: int) -> None:
    """Both ends of a connection learn of a link between them that takes less, whichever of them
    opens it (RFC 4459, section 3.2). A link that becomes narrow later is met by the next `up`."""
    data = {
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}},
        "nodes": {"a": {"networks": ["lan"], "ports": ["80:80"]}},
    }
    lab = Lab.from_data({"name": "lab", **data}, world="host")
    lab.up()
    outside.world.run("ip", "link", "set", "up0", "mtu", str(mtu))
    assert [change.fact.describe() for change in lab.plan().changes] == [
        "nft table inet and bridge bascule-lab"
    ] * (mtu < 1500)
    lab.up()
    for client, server, target, port in (
        ("a", "elsewhere", ELSEWHERE[0], 7),
        ("elsewhere", "a", HOST[0], 80),
    ):
        with bound(server, "0.0.0.0", port) as listening:  # noqa: S104 (in a throwaway namespace)
            with inside(client):
                opened = socket.socket()
            with opened:
                opened.connect((target, port))
                accepted = listening.accept()[0]
                with accepted:
                    # What each may send, less the 12 bytes of a time stamp (tcp(7), TCP_MAXSEG).
                    found = [
                        each.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + 12
                        for each in (opened, accepted)
                    ]
        assert found == [largest, largest]
    lab.down()


def test_a_chosen_address_goes_out(outside: Outside, ears: Ears) -> None:
    """`outbound_address`; one that the machine does not have is refused before anything is
    touched."""
    data = {
        "name": "lab",
        "networks": {
            "lan": {"subnet": "10.1.0.0/24", "nat": True, "outbound_address": "192.0.2.9"}
        },
        "nodes": {"a": ["lan"]},
    }
    before = machine.state(False)
    with pytest.raises(
        InputError, match=r"outbound_address 192\.0\.2\.9 is no address of this machine"
    ):
        Lab.from_data(data, world="host").up()
    assert machine.difference(before, machine.state(False)) == ""
    outside.world.run("ip", "address", "add", "192.0.2.9/24", "dev", "up0")
    Lab.from_data(data, world="host").up()
    found = {reach("a", ELSEWHERE[0], 7, ears.on("elsewhere", 7)[0]) for _attempt in range(3)}
    assert found - {None} == {"192.0.2.9"}
    Lab("lab").down()


def test_the_rules_come_back(outside: Outside, ears: Ears) -> None:
    """After `nft flush ruleset`, and after somebody changed our table, `up` puts it back and
    touches nothing else."""
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    clean = outside.world.snapshot()
    chain = ["flush", "chain", "inet", "bascule-out", "forward"]
    for damage in (
        ["flush", "ruleset"],
        chain,
        ["delete", "table", "bridge", "bascule-out"],
        ["delete", "table", "inet", "bascule-out"],
    ):
        outside.world.run("nft", *damage)
        assert [change.fact.describe() for change in lab.plan().changes] == [
            "nft table inet and bridge bascule-out"
        ]
        lab.up()
        assert difference(clean, outside.world.snapshot()) == ""
    assert _both("a", ELSEWHERE, 7, ears.on("elsewhere", 7)) == HOST
    lab.down()


def test_forwarding_is_put_back_by_the_last(outside: Outside) -> None:
    """Two labs need it, in each order of going; one that was there before bascule stays."""

    def data(name: str, number: int) -> dict[str, Any]:
        return {
            "name": name,
            "networks": {name: {"subnet": f"10.{number}.0.0/24", "nat": True}},
            "nodes": {f"{name}n": [name]},
        }

    place = Path("/proc/sys/net/ipv4/ip_forward")
    for first, last in (("one", "two"), ("two", "one")):
        for name, number in (("one", 1), ("two", 2)):
            Lab.from_data(data(name, number), world="host").up()
        assert place.read_text() == "1\n"
        Lab(first).down()
        assert place.read_text() == "1\n"
        Lab(last).down()
        assert place.read_text() == "0\n"
    place.write_text("1")
    Lab.from_data(data("one", 1), world="host").up()
    Lab("one").down()
    assert place.read_text() == "1\n"


def _publishing(name: str, number: int, *ports: object) -> dict[str, Any]:
    return {
        "name": name,
        "networks": {f"b{number}": {"subnet": f"10.{number}.0.0/24"}},
        "nodes": {f"n{number}": {"networks": [f"b{number}"], "ports": list(ports)}},
    }


def test_ports_that_are_taken(outside: Outside, ears: Ears) -> None:
    """By a listening socket or by another lab: said before anything is touched. What somebody opens
    later does not matter."""
    Lab.from_data(_publishing("one", 1, "8080:80"), world="host").up()
    before = machine.state(False)
    with pytest.raises(Conflict, match="port 8080 of n2 is published by lab one"):
        Lab.from_data(_publishing("two", 2, "8080:80"), world="host").up()
    ears.on("", 81)
    with pytest.raises(Conflict, match=r"port 81 of n2 is taken by a listening socket"):
        Lab.from_data(_publishing("two", 2, "127.0.0.1:81:80"), world="host").up()
    assert machine.difference(before, machine.state(False)) == ""
    ears.on("", 8080)
    Lab.from_data(_publishing("one", 1, "8080:81"), world="host").up()
    Lab("one").down()


def test_a_free_port_is_chosen_and_kept(outside: Outside, ears: Ears) -> None:
    """`port`, `show --json`; `up` again and other nodes do not move it; in the file it stays
    open."""
    world = outside.world
    Path("lab.yaml").write_text(
        "name: lab\nnetworks: {lan: {subnet: 10.1.0.0/24}}\nnodes:\n"
        "  a: {networks: [lan], ports: ['80', {target: 53, protocol: udp}]}\n  web: {count: "
        "2, networks: [lan], ports: ['80']}\n"
    )
    bascule(world, "up", "lab.yaml")
    first = {
        node["name"]: [port["text"] for port in node["ports"]]
        for node in as_json(world, "show")["nodes"]
    }
    assert first == {"a": ["49152:80", "49152:53/udp"], "web1": ["49153:80"], "web2": ["49154:80"]}
    assert bascule(world, "port", "a").stdout == "49152:80\n49152:53/udp\n"
    bascule(world, "node", "rm", "web1")
    bascule(world, "node", "add", "z", "--network", "lan", "-p", "127.0.0.1::80", "-p", "443:443")
    assert [
        (port["host_address"], port["host_port"], port["node"], port["node_port"])
        for port in as_json(world, "port", "z")
    ] == [("127.0.0.1", 49153, "z", 80), ("", 443, "z", 443)]
    assert bascule(world, "port", "web2").stdout == "49154:80\n"
    assert reach("elsewhere", HOST[0], 49154, ears.on("web2", 80)[0]) == ELSEWHERE[0]
    bascule(world, "down")


def test_networks_by_commands(outside: Outside, ears: Ears) -> None:
    """The imperative twins."""
    world = outside.world
    bascule(world, "network", "create", "lan", "--subnet", "10.1.0.0/24", "--nat", "--lab", "lab")
    bascule(
        world, "network", "create", "dmz", "--subnet", "10.2.0.0/24", "--reach", "lan", "--no-icc"
    )
    bascule(world, "network", "create", "vault", "--subnet", "10.3.0.0/24", "--internal")
    for node, network in (("a", "lan"), ("d", "dmz"), ("v", "vault")):
        bascule(world, "node", "add", node, "--network", network)
    assert reach("a", ELSEWHERE[0], 7, ears.on("elsewhere", 7)[0]) == HOST[0]
    assert reach("d", "10.1.0.2", 7, ears.on("a", 7)[0]) == "10.2.0.2"
    assert reach("a", "10.2.0.2", 7, ears.on("d", 7)[0]) is None
    failed = bascule(world, "network", "create", "odd", "--internal", "--nat", check=False)
    assert (failed.returncode, "the network is `internal`" in failed.stderr) == (2, True)
    bascule(world, "down")


def test_a_private_world_has_rules_of_its_own(world: World) -> None:
    """Isolation holds in it as well, and the machine's ruleset stays empty."""
    lab = Lab.from_data(LAB, world="private")
    lab.up()
    assert not lab.plan()
    assert world.run("nft", "list", "ruleset").stdout == ""
    try:
        answers = {
            (source, target): lab.ping(source, target, timeout=0.3)[0].seconds is not None
            for source, target in (
                ("c", "10.1.0.3"),
                ("b", "10.2.0.2"),
                ("b", "10.4.0.2"),
                ("q", "q2"),
                ("p", "p2"),
                ("a", "b"),
            )
        }
    finally:
        lab.down()
    assert [pair for pair, answered in answers.items() if answered] == [
        ("c", "10.1.0.3"),
        ("p", "p2"),
        ("a", "b"),
    ]


def test_sctp_is_published(outside: Outside) -> None:
    """An INIT chunk arrives at the node, with its port translated (RFC 9260, section 3.3.2)."""
    lab = Lab.from_data(_publishing("one", 1, "9000:9001/sctp"), world="host")
    lab.up()
    with inside("n1"):
        server = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
    with inside("elsewhere"):
        client = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
    with server, client:
        server.settimeout(2)
        client.sendto(sctp_init(5555, 9000), (HOST[0], 0))
        packet, peer = comes(server, 1000)
    header = packet[(packet[0] & 15) * 4 :]
    assert (int.from_bytes(header[:2], "big"), int.from_bytes(header[2:4], "big"), peer[0]) == (
        5555,
        9001,
        ELSEWHERE[0],
    )
    lab.down()


def test_a_plain_lab_is_apart_from_others(world: World) -> None:
    """A lab of one network that asks for nothing has its own table and leaves the machine's
    settings alone; other labs don't reach it, whoever turns forwarding on."""
    data = {"name": "lab", "networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}}
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert (
        world.run("nft", "list", "tables").stdout
        == "table inet bascule-lab\ntable bridge bascule-lab\n"
    )
    assert (
        world.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").stdout
        == "0\n0\n"
    )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    other = Lab.from_data(
        {"name": "o", "networks": {"net": {"subnet": "10.2.0.0/24"}}, "nodes": {"b": ["net"]}},
        world="host",
    )
    other.up()
    with Ears() as ears:
        assert reach("b", "10.1.0.2", 7, ears.on("a", 7)[0]) is None
        assert reach("a", "10.2.0.2", 7, ears.on("b", 7)[0]) is None
    for each in (lab, other):
        each.down()
    with pytest.raises(BasculeError):
        lab.show()


def test_many_networks_in_an_ordinary_users_world(world: World) -> None:
    """The same: each bridge has a chain of its own where packets come in, and they are more than
    fit into one message."""
    require("nft")
    names = [f"n{number}" for number in range(300)]
    networks = {
        name: {"subnet": f"10.{number >> 8}.{number & 255}.0/24"}
        for number, name in enumerate(names)
    }
    lab = Lab.from_data(
        {"networks": networks, "nodes": {"a": ["n0"], "b": ["n299"]}}, world="private"
    )
    lab.up()
    assert not lab.plan()
    there = worlds.existing(store.load("lab"))
    assert there is not None
    listing = there.call(nft.listing, "bascule-lab", ("inet",))
    assert listing.count(" hook ingress ") == 300
    assert (
        lab.node("b").run(["ping", "-qc1", "-W5", "10.1.43.1"], capture_output=True).returncode == 0
    )
    lab.node("b").run(["ip", "address", "add", "10.9.9.9/32", "dev", "lo"], check=True)
    forged = lab.node("b").run(
        ["ping", "-qc1", "-W1", "-I", "10.9.9.9", "10.1.43.1"], capture_output=True
    )
    assert forged.returncode != 0
    lab.down()


def test_many_ports_in_an_ordinary_users_world(world: World) -> None:
    """A user namespace has little room for one message (net.core.wmem_max), and 10,000 ports need
    more: they come in parts."""
    require("nft")
    ports = [f"{10_000 + number}:80" for number in range(10_000)]
    data = {
        "networks": {"lan": {"subnet": "10.1.0.0/24"}},
        "nodes": {"a": {"networks": ["lan"], "ports": ports}},
    }
    lab = Lab.from_data(data, world="private")
    lab.up()
    assert not lab.plan()
    there = worlds.existing(store.load("lab"))
    assert there is not None
    listing = there.call(nft.listing, "bascule-lab", ("inet",))
    assert listing.count(" : 10.1.0.2 . 80") == 10_000
    lab.down()
