"""Clients that go on sending while the lab changes: each packet goes where the lab says now, and
nobody else's flows end."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from bascule.engine import look
from bascule.errors import PlanFailed
from bascule.host import files, flows, nft
from bascule.host.netlink import NETFILTER, ROUTE, Netlink
from bascule.kernel.flow import EndFlows
from bascule.plan import render
from bascule.wire import conntrack
from bascule.wire.conntrack import Flow
from faults import Fault, attempt
from frames import bridge_nf
from helpers import as_json, bascule
from sandbox import World, require
from traffic import Caller, Outside, bound, comes, echo_request, inside, patience, sctp_init

HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
THERE = {4: "192.0.2.2", 6: "2001:db8::2"}
BOTH = pytest.mark.parametrize("version", [4, 6])
UDP = ["5000:5000/udp"]
TRACKS = (
    "add table inet keeps; add chain inet keeps c { type filter hook input priority 0; }; add "
    "rule inet keeps c ct state new"
)


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "sysctl")
    # no flow ends by itself on a machine that is slow
    for name in ("udp_timeout", "icmp_timeout", "icmpv6_timeout"):
        with suppress(OSError):
            Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").write_text("600")
    with Outside(world) as made:
        for address in HOST.values():
            world.run("ip", "-n", made.name, "route", "add", "default", "via", address)
            world.run("ip", "route", "add", "default", "via", THERE[6 if ":" in address else 4])
        yield made


def address(number: int, host: int, version: int) -> str:
    """Of a lab's network."""
    return f"10.{number}.0.{host}" if version == 4 else f"fd00:{number}::{host}"


def lab(
    ports: dict[str, list[str]] | None = None,
    *,
    name: str = "la",
    number: int = 1,
    networks: dict[str, Any] | None = None,
    **nodes: Any,
) -> Lab:
    """Two nodes, a1 and a2, on a network with nat, and others; an empty ``nodes`` word takes one
    out."""
    net = "lan" if name == "la" else f"{name}net"
    first, second = (f"{name[-1]}{at}" for at in (1, 2))
    made = {
        each: {
            "networks": {net: [address(number, at, 4), address(number, at, 6)]},
            "ports": (ports or {}).get(each, []),
        }
        for each, at in ((first, 2), (second, 3))
    }
    made |= nodes
    data = {
        "name": name,
        "networks": {
            net: {
                "subnet": [f"10.{number}.0.0/24", f"fd00:{number}::/64"],
                "nat": True,
                "dns": False,
            },
            **{each: {"dns": False, **words} for each, words in (networks or {}).items()},
        },
        "nodes": {each: words for each, words in made.items() if words},
    }
    return Lab.from_data(data, world="host")


def up(wanted: Lab) -> None:
    """And all is as it should be then."""
    wanted.up()
    assert render.text(wanted.plan()).splitlines()[-1].startswith("nothing to do")


def server(
    node: str, version: int, port: int = 5000, kind: int = socket.SOCK_DGRAM
) -> socket.socket:
    return bound(node, "0.0.0.0" if version == 4 else "::", port, kind)  # noqa: S104 (in a throwaway namespace)


def connected(node: str, place: tuple[str, int]) -> socket.socket:
    with inside(node):
        return socket.create_connection(place, timeout=2)


def tracked() -> dict[tuple[object, ...], Flow]:
    """All flows that the machine knows, by what does not change with time."""
    with Netlink(NETFILTER) as kernel:
        found = [conntrack.flow(reply) for reply in kernel.dump(conntrack.list_flows())]
    return {(each.id, each.original, each.reply): each for each in found if each is not None}


# --- what others have


@pytest.fixture
def others(outside: Outside) -> Iterator[Callable[[], None]]:
    """Flows of others: another lab's, another program's, the machine's own. Gives what asserts that
    none has ended."""
    run = outside.world.run
    # a router for others, too
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    theirs = Outside(
        outside.world, "theirs", "br9", ("172.30.0.1", "fd30::1"), ("172.30.0.2", "fd30::2")
    )
    opened: list[Any] = [theirs.__enter__()]
    for gateway in theirs.here:
        run("ip", "-n", "theirs", "route", "add", "default", "via", gateway)
    # A port of theirs leads to their container, another to our node; what leaves the container is
    # translated.
    places = {8000: ("172.30.0.2", "fd30::2"), 8001: ("10.1.0.3", "fd00:1::3")}
    rules = [
        f"add rule inet theirs pre udp dport {port} dnat {ip} to {there}:5000"
        for port, (four, six) in places.items()
        for ip, there in (("ip", four), ("ip6", f"[{six}]"))
    ]
    rules += [
        f"add rule inet theirs post {saddr} masquerade"
        for saddr in ("ip saddr 172.30.0.0/24", "ip6 saddr fd30::/64")
    ]
    chains = (("pre", "prerouting", -110), ("post", "postrouting", 90))
    made = [
        f"add chain inet theirs {name} {{ type nat hook {hook} priority {number}; }}"
        for name, hook, number in chains
    ]
    run("nft", "; ".join(["add table inet theirs", *made, *rules]))
    up(lab({"b1": ["192.0.2.1:8002:5000/udp", "[2001:db8::1]:8002:5000/udp"]}, name="lb", number=9))
    up(lab())
    for version in (4, 6):
        ours, container, away = (
            server("a2", version),
            server("theirs", version),
            server("elsewhere", version),
        )
        other, ssh = server("b1", version), server("", version, 22, socket.SOCK_STREAM)
        opened += [ours, container, away, other, ssh]
        for node, target, port, hears in (
            ("elsewhere", HOST, 8000, container),
            ("elsewhere", HOST, 8001, ours),
            ("elsewhere", HOST, 8002, other),
            ("elsewhere", {4: "172.30.0.2", 6: "fd30::2"}, 5000, container),
            ("", THERE, 5000, away),
            ("theirs", THERE, 5000, away),
            ("b2", THERE, 5000, away),
        ):
            with Caller(node, (target[version], port)) as client:
                assert client.reaches({"them": hears}), (node, target[version], port)
        opened += [connected("elsewhere", (HOST[version], 22)), ssh.accept()[0]]
    mine = tracked().keys()
    assert len(mine) >= 16

    def live() -> None:
        assert mine - tracked().keys() == set()

    live()
    yield live
    Lab("lb").down()
    for each in opened:
        each.__exit__(None, None, None)


# --- published ports


@BOTH
def test_a_published_port_and_a_client_that_goes_on_sending(
    outside: Outside, others: Callable[[], None], version: int
) -> None:
    """Moved to another node, to another port, withdrawn, published while the client sends, narrowed
    to another address; its node made anew with another address; at last the lab goes and another
    one publishes the port. Nobody else's flows end."""
    at1, at2 = server("a1", version), server("a2", version, 5001)
    with at1, at2, Caller("elsewhere", HOST[version]) as client:
        servers = {"a1": at1, "a2": at2}
        steps: list[tuple[dict[str, list[str]], str | None]] = [
            ({"a1": UDP}, "a1"),
            ({"a2": ["5000:5001/udp"]}, "a2"),
            ({}, None),
            ({"a1": UDP}, "a1"),
            ({"a1": ["127.0.0.1:5000:5000/udp", "[::1]:5000:5000/udp"]}, None),
            ({"a1": ["192.0.2.1:5000:5000/udp", "[2001:db8::1]:5000:5000/udp"]}, "a1"),
            ({"a1": UDP}, "a1"),
        ]
        for ports, answered in steps:
            up(lab(ports))
            assert (client.reaches if answered else client.ask)(servers) == answered, ports
            others()
        anew = {"networks": {"lan": [address(1, 20, 4), address(1, 20, 6)]}, "ports": UDP}
        up(lab(a1=anew))
        assert client.reaches(servers) == "a1"
        Lab("la").down()
        assert client.ask(servers) is None
    up(lab({"c2": UDP}, name="lc", number=3))
    with server("c2", version) as hears, Caller("elsewhere", HOST[version]) as client:
        assert client.reaches({"c2": hears}) == "c2"
    Lab("lc").down()


@BOTH
def test_an_open_connection_to_a_port_that_moves_is_reset(outside: Outside, version: int) -> None:
    """The first node hears no more of it."""
    up(lab({"a1": ["5000:5000"]}))
    with server("a1", version, 5000, socket.SOCK_STREAM) as listening:
        client = connected("elsewhere", (HOST[version], 5000))
        accepted = listening.accept()[0]
    with client, accepted:
        accepted.settimeout(patience())
        client.sendall(b"a")
        assert comes(accepted, 9)[0] == b"a"
        up(lab({"a2": ["5000:5000"]}))
        client.sendall(b"b")
        with pytest.raises(ConnectionResetError):
            client.recv(9)
        with pytest.raises(TimeoutError):
            accepted.recv(9)
    Lab("la").down()


def test_sctp_follows_too(outside: Outside) -> None:
    """An INIT that is sent again arrives at the node that has the port now."""
    up(lab({"a1": ["5000:5000/sctp"]}))
    with inside("elsewhere"):
        client = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
    with client:
        for node in ("a1", "a2"):
            up(lab({node: ["5000:5000/sctp"]}))
            with inside(node):
                hears = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
            with hears:
                hears.settimeout(2)
                client.sendto(sctp_init(5555, 5000), (HOST[4], 0))
                assert comes(hears, 1000)[1][0] == THERE[4]
    Lab("la").down()


def test_an_open_connection_of_the_machines_own_program_stays(outside: Outside) -> None:
    """It was accepted before its port was published: it is the program's until it ends. New ones go
    to the node."""
    up(lab())
    with server("", 4, 5000, socket.SOCK_STREAM) as listening:
        client = connected("elsewhere", (HOST[4], 5000))
        accepted = listening.accept()[0]
    with client, accepted:
        client.sendall(b"a")
        assert comes(accepted, 9)[0] == b"a"
        up(lab({"a1": ["5000:5000"]}))
        client.sendall(b"b")
        assert comes(accepted, 9)[0] == b"b"
        with (
            server("a1", 4, 5000, socket.SOCK_STREAM) as ours,
            connected("elsewhere", (HOST[4], 5000)),
        ):
            ours.accept()[0].close()
    Lab("la").down()


@BOTH
def test_rules_that_were_lost(outside: Outside, version: int) -> None:
    """Who sent meanwhile is not answered for ever by nobody: when the rules are back, its port and
    its way out are, too. The machine itself is a client as well."""
    # Somebody else's rule keeps the connection tracking at work: by itself it would go with ours.
    outside.world.run("nft", TRACKS)
    wanted = lab({"a1": UDP})
    up(wanted)
    hears, away = server("a1", version), server("elsewhere", version)
    clients = (
        Caller("elsewhere", HOST[version]),
        Caller("", HOST[version], source=HOST[version]),
        Caller("a2", THERE[version]),
    )
    asked = ({"a1": hears}, {"a1": hears}, {"away": away})
    outside.world.run("nft", "delete", "table", "inet", "bascule-la")
    for client, servers in zip(clients, asked, strict=True):
        client.ask(servers)
    assert {
        line for line in render.text(wanted.plan()).splitlines() if re.match("~ [0-9]", line)
    } == {
        f"~ 1 flow from {address(1, 3, version)} ends  (lan has nat now)",
        f"~ 2 flows to {HOST[version]} end  (port 5000/udp is published now)",
    }
    up(wanted)
    assert [client.reaches(servers) for client, servers in zip(clients, asked, strict=True)] == [
        "a1",
        "a1",
        "away",
    ]
    assert {
        flow.reply.dst for flow in tracked().values() if flow.original.src == address(1, 3, version)
    } == {HOST[version]}
    wanted.down()
    for each in (hears, away, *clients):
        (each.socket if isinstance(each, Caller) else each).close()


def test_rules_that_were_lost_and_came_back_by_another_hand(outside: Outside) -> None:
    """The table is as it was left, and yet a client is black-holed: `plan` shows its flow, and `up`
    ends that and does nothing else."""
    wanted = lab({"a1": UDP})
    world = outside.world
    world.run("nft", TRACKS)
    up(wanted)
    saved = world.run("nft", "list", "table", "inet", "bascule-la").stdout
    with server("a1", 4) as hears, Caller("elsewhere", HOST[4]) as client:
        world.run("nft", "delete", "table", "inet", "bascule-la")
        assert client.ask({"a1": hears}) is None
        world.run("nft", "-f", "-", input=saved)
        Path("lab.yaml").write_text(wanted.yaml())
        (change,) = as_json(world, "plan", "lab.yaml")["changes"]
        assert (change["sign"], change["kind"], change["what"]) == (
            "~",
            "flows",
            f"1 flow to {HOST[4]} ends",
        )
        assert change["commands"] == [
            "conntrack -D -f ipv4 -p 17 -s 192.0.2.2 -d 192.0.2.1 --sport 7000 --dport 5000"
        ]
        assert client.ask({"a1": hears}) is None
        done = bascule(world, "up", "lab.yaml", "--explain")
        assert done.stdout.splitlines() == change["commands"]
        assert client.reaches({"a1": hears}) == "a1"
        assert "nothing to do" in bascule(world, "up", "lab.yaml").stderr
    wanted.down()


# --- from network to network, and out


@BOTH
def test_what_was_reached_is_reached_no_more(
    outside: Outside, others: Callable[[], None], version: int
) -> None:
    """`reach` removed: datagrams, a connection and a ping that goes on."""
    number = {"subnet": ["10.2.0.0/24", "fd00:2::/64"]}

    def wanted(*reach: str) -> Lab:
        return lab(networks={"dmz": {**number, "reach": list(reach)}}, d1=["dmz"])

    up(wanted("lan"))
    target = address(1, 2, version)
    raw = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    listening = server("a1", version, 5001, socket.SOCK_STREAM)
    with inside("d1"):
        ping = socket.socket(
            socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, raw
        )
    stream = connected("d1", (target, 5001))
    accepted = listening.accept()[0]
    with (
        server("a1", version) as hears,
        Caller("d1", target) as client,
        listening,
        ping,
        stream,
        accepted,
    ):
        ping.settimeout(patience())
        accepted.settimeout(patience())
        assert client.reaches({"a1": hears}) == "a1" and _pinged(ping, target)
        up(wanted("lan"))
        assert client.reaches({"a1": hears}) == "a1" and _pinged(ping, target)
        up(wanted())
        assert client.ask({"a1": hears}) is None
        assert not _pinged(ping, target)
        stream.sendall(b"a")
        with pytest.raises(TimeoutError):
            accepted.recv(9)
        others()
    Lab("la").down()


def _pinged(ping: socket.socket, target: str) -> bool:
    ping.sendto(echo_request(77, 6 if ":" in target else 4), (target, 0))
    try:
        while True:
            data = ping.recv(1000)
            kind = data[(data[0] & 15) * 4] if ":" not in target else data[0]
            if kind in (0, 129):  # echo reply, ICMP and ICMPv6
                return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("bridged", ["0", "1"], ids=["routed", "bridge-nf"])
def test_what_a_node_leads_from_network_to_network_stays(outside: Outside, bridged: str) -> None:
    """Where bridged frames pass the firewall, the machine knows of such a flow, and did not open
    it."""
    bridge_nf(bridged)
    router = {
        "networks": {"lan": ["10.1.0.9", "fd00:1::9"], "dmz": ["10.2.0.9"]},
        "sysctls": {"net.ipv4.ip_forward": 1},
    }
    far = {"networks": {"dmz": ["10.2.0.2"]}, "routes": ["10.1.0.0/24 via 10.2.0.9"]}
    near = {"networks": {"lan": ["10.1.0.2", "fd00:1::2"]}, "routes": ["10.2.0.0/24 via 10.1.0.9"]}
    wanted = lab(networks={"dmz": {"subnet": "10.2.0.0/24"}}, r=router, d1=far, a1=near)
    up(wanted)
    with server("d1", 4) as hears, Caller("a1", "10.2.0.2") as client:
        assert client.reaches({"d1": hears}) == "d1"
        before = {key for key, flow in tracked().items() if flow.original.dst == "10.2.0.2"}
        assert len(before) == int(bridged)
        up(wanted)
        assert before <= tracked().keys()
    wanted.down()


@BOTH
def test_a_way_out_that_changes(outside: Outside, others: Callable[[], None], version: int) -> None:
    """Begun without `nat`, which comes, gets another address, goes, and then the network becomes
    internal: each time the next packet is shown as the lab says."""
    world = outside.world
    second = {4: "192.0.2.9", 6: "2001:db8::9"}
    world.run("ip", "address", "add", f"{second[4]}/24", "dev", "up0")
    world.run(
        "ip", "address", "add", f"{second[6]}/64", "dev", "up0", "nodad", "preferred_lft", "0"
    )
    plain = address(2, 2, version)
    network: dict[str, Any] = {"subnet": ["10.2.0.0/24", "fd00:2::/64"]}
    chosen = {"nat": True, "outbound_address": list(second.values())}
    with server("elsewhere", version) as away:
        up(lab(networks={"dmz": network}, d1=["dmz"]))
        with Caller("d1", THERE[version]) as client:
            for words, shown in (
                ({}, plain),
                ({"nat": True}, HOST[version]),
                (chosen, second[version]),
                ({"nat": True}, HOST[version]),
                ({}, plain),
            ):
                up(lab(networks={"dmz": {**network, **words}}, d1=["dmz"]))
                assert _shown(client, away) == shown
                others()
            up(lab(networks={"dmz": {**network, "internal": True}}, d1=["dmz"]))
            node = ("-n", "d1", "route", "add", "default", "via", address(2, 1, version))
            world.run("ip", *node)
            assert _shown(client, away) is None
            others()
    Lab("la").down()


def _shown(client: Caller, away: socket.socket) -> str | None:
    """The address that a server outside sees."""
    client.socket.sendto(b"ping", client.place)
    try:
        return str(away.recvfrom(9)[1][0])
    except TimeoutError:
        return None


@BOTH
def test_a_node_that_goes_and_its_address(outside: Outside, version: int) -> None:
    """`node rm`, `network disconnect`: the flows of that node end, and another one that gets its
    address inherits none."""
    world = outside.world
    up(lab({"a1": UDP}))
    with (
        server("elsewhere", version) as away,
        Caller("a1", THERE[version]) as out,
        Caller("a2", THERE[version]) as stays,
    ):
        assert out.reaches({"away": away}) == stays.reaches({"away": away}) == "away"
        bascule(world, "node", "rm", "a1")
        left = {flow.original.src for flow in tracked().values()}
        assert address(1, 2, version) not in left and address(1, 3, version) in left
        bascule(world, "network", "disconnect", "lan", "a2")
        assert address(1, 3, version) not in {flow.original.src for flow in tracked().values()}
    up(lab())
    with server("elsewhere", version) as away, Caller("a1", THERE[version]) as client:
        assert client.reaches({"away": away}) == "away"
        renamed = {"networks": {"lan": [address(1, 2, 4), address(1, 2, 6)]}}
        assert (
            f"~ 1 flow from {address(1, 2, version)} ends  ({address(1, 2, version)} is "
            f"another's now)"
        ) in render.text(lab(a1={}, heir=renamed).plan())
        up(lab(a1={}, heir=renamed))
        assert address(1, 2, version) not in {flow.original.src for flow in tracked().values()}
    Lab("la").down()


def test_down_ends_all_flows_of_the_lab_and_no_others(
    outside: Outside, others: Callable[[], None]
) -> None:
    """Also those of addresses that a node has given itself. The plan tells of each address."""
    up(lab({"a1": UDP}))
    outside.world.run("ip", "-n", "a1", "address", "add", "10.1.0.99/24", "dev", "eth0")
    with (
        server("a1", 4) as hears,
        Caller("elsewhere", HOST[4]) as client,
        server("elsewhere", 4) as away,
    ):
        assert client.reaches({"a1": hears}) == "a1"
        with Caller("a1", THERE[4], source="10.1.0.99") as other:
            assert other.reaches({"away": away}) == "away"
        told = bascule(outside.world, "down", "la", "--dry-run").stdout
        assert "~ 1 flow to 10.1.0.2 ends  (10.1.0.2 is no longer in the lab)" in told
        assert "~ 1 flow from 10.1.0.99 ends  (10.1.0.99 is no longer in the lab)" in told
        before = tracked()
        Lab("la").down()
        after = tracked()
    ended = [
        (*before[key].original[:2], *before[key].reply[:2]) for key in before.keys() - after.keys()
    ]
    assert len(ended) == 2 + 2  # with what another program had led to our node, in both families
    assert all(any(end.startswith(("10.1.", "fd00:1:")) for end in ends) for ends in ended)


# --- what goes wrong on the way


def test_who_sends_between_the_look_and_the_change(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its flow is not in the plan, and ends all the same."""
    up(lab({"a1": UDP}))
    real = nft.run_unless
    with server("a1", 4) as at1, server("a2", 4) as at2, Caller("elsewhere", HOST[4]) as client:
        servers, answered = {"a1": at1, "a2": at2}, []

        def sends_first(place: Any, text: str) -> None:
            answered.append(client.ask(servers))
            real(place, text)

        with monkeypatch.context() as patched:
            patched.setattr(nft, "run_unless", sends_first)
            lab({"a2": UDP}).up()
        assert (answered, client.reaches(servers)) == (["a1"], "a2")
    Lab("la").down()


@BOTH
def test_killed_between_the_rules_and_the_flows(outside: Outside, version: int) -> None:
    """The next `up` sees what is left, and ends it."""
    moves = lab({"a2": UDP})
    up(lab({"a1": UDP}))
    with (
        server("a1", version) as at1,
        server("a2", version) as at2,
        Caller("elsewhere", HOST[version]) as client,
    ):
        servers = {"a1": at1, "a2": at2}
        names = attempt(moves.up, Fault(1 << 30)).names
        last = len(names) - names[::-1].index("run") - 1
        for at in range(last + 1, last + 4):
            up(lab({"a1": UDP}))
            assert client.reaches(servers) == "a1"
            assert attempt(moves.up, Fault(at, "kill")).how == "killed"
            client.ask(servers)
            up(moves)
            assert client.reaches(servers) == "a2", names[at]
    Lab("la").down()


def test_killed_twice(outside: Outside) -> None:
    """What the first of them let begin neither the record tells of nor the second one's journal."""
    up(lab())
    with server("a2", 4) as hears, Caller("elsewhere", HOST[4]) as client:
        first, second = lab({"a2": UDP}), lab({"a2": ["5002:5000/udp"]})
        names = attempt(first.up, Fault(1 << 30)).names
        last = len(names) - names[::-1].index("run") - 1  # what nft prints of the new table
        up(lab())
        attempt(first.up, Fault(last + 1, "kill"))
        assert client.reaches({"a2": hears}) == "a2"
        assert attempt(second.up, Fault(names.index("run"), "kill")).how == "killed"
        up(lab())
        assert client.ask({"a2": hears}) is None
        assert HOST[4] not in {
            flow.original.dst for flow in tracked().values() if flow.reply.src == "10.1.0.3"
        }
    Lab("la").down()


@pytest.mark.parametrize("fresh", [False, True], ids=["a change", "the first up"])
def test_a_run_that_fails_and_is_undone(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    """Its rules stood for a moment, and a client used it."""
    if not fresh:
        up(lab({"a1": UDP}))
    real = files.carry_out
    with Caller("elsewhere", HOST[4]) as client:

        def fails(*_: Any) -> None:
            monkeypatch.setattr(files, "carry_out", real)
            client.ask({})
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(files, "carry_out", fails)
        with pytest.raises(PlanFailed, match="undone"):
            lab({"a2": UDP}, another={"networks": ["lan"]}).up()
        assert not [flow for flow in tracked().values() if flow.reply.src == "10.1.0.3"]
        if not fresh:
            with server("a1", 4) as hears:
                assert client.reaches({"a1": hears}) == "a1"
            Lab("la").down()


def test_a_kernel_without_ctnetlink(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says so where it matters, and nothing fails."""
    up(lab({"a1": UDP}))
    with server("a1", 4) as hears, Caller("elsewhere", HOST[4]) as client:
        assert client.reaches({"a1": hears}) == "a1"

    def refused(protocol: int = ROUTE) -> Netlink:
        if protocol == NETFILTER:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return Netlink(protocol)

    monkeypatch.setattr(flows, "Netlink", refused)
    told = "flows that do not fit the lab any more go on until they are idle"
    for wanted, count in ((lab({"a1": UDP}), 0), (lab(), 1)):
        assert [note.startswith(told) for note in wanted.plan().notes].count(True) == count
    lab().up()
    Lab("la").down()


def test_the_text_of_the_flows_is_not_needed(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may be built without it, or write it in another form: then the dump says the
    same."""
    wanted, moved = lab({"a1": UDP}), lab({"a2": UDP})
    up(wanted)
    with server("a1", 4) as hears, Caller("elsewhere", HOST[4]) as client:
        assert client.reaches({"a1": hears}) == "a1"
    told = render.text(moved.plan())
    assert "~ 1 flow to 10.1.0.2 ends" in told
    Path("odd").write_text("a line\n")
    for text in ("/nonexistent", os.path.abspath("odd")):
        monkeypatch.setattr(flows, "_TEXT", text)
        assert (bool(wanted.plan()), render.text(moved.plan())) == (False, told)
    Lab("la").down()


def test_flows_are_ended_in_a_private_world(world: World) -> None:
    """In both families, and without a look at the machine's."""
    require("nft")

    def wanted(*reach: str) -> Lab:
        data = {
            "name": "la",
            "networks": {
                "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]},
                "dmz": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "reach": list(reach)},
            },
            "nodes": {"a1": ["lan"], "d1": ["dmz"]},
        }
        return Lab.from_data(data, world="private")

    def asked() -> list[str | None]:
        with inside(""), server("a1", 4) as four, server("a1", 6) as six:
            clients = [Caller("d1", address(1, 2, version)) for version in (4, 6)]
            return [
                client.ask({"a1": hears})
                for client, hears in zip(clients, (four, six), strict=True)
            ]

    wanted("lan").up()
    try:
        inside_of = look.running("la")[1]
        assert inside_of.call(asked) == ["a1", "a1"]
        plan = render.text(wanted().plan()).splitlines()
        assert [line for line in plan if "flow" in line] == [
            f"~ 1 flow to {address(1, 2, version)} ends  (dmz does not reach lan)"
            for version in (4, 6)
        ]
        wanted().up()
        assert not wanted().plan()
        assert inside_of.call(asked) == [None, None]
    finally:
        wanted().down()


def test_the_command_ends_the_same_flows(outside: Outside) -> None:
    """`conntrack -D`, as the plan shows it: of all kinds of flows, each by its own line."""
    require("conntrack")
    world = outside.world
    world.run("nft", TRACKS)
    opened = [
        server("elsewhere", version, 5000, kind)
        for version in (4, 6)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    ]
    for version in (4, 6):
        with Caller("", THERE[version]) as client:
            client.ask({})
        connected("", (THERE[version], 5000)).close()
        raw = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
        with socket.socket(
            socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, raw
        ) as ping:
            ping.settimeout(2)
            assert _pinged(ping, THERE[version])
    for each in opened:
        each.close()
    found = [flow for flow in tracked().values() if flow.original.dst in THERE.values()]
    assert len(found) == 6
    for flow in found:
        for line in EndFlows((flow,)).shell():
            world.run("sh", "-c", line)
        assert flow.id not in {each.id for each in tracked().values()}
