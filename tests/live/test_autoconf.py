"""Nodes that configure themselves: DHCP by a real client, DHCPv6 by its packets, router
advertisements by the kernel."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError
from helpers import bascule
from sandbox import World, require
from traffic import inside

LAB: dict[str, Any] = {
    "name": "auto",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dhcp": True, "ra": True, "mtu": 1400},
        "six": {"subnet": "fd00:2::/64", "ra": True},
        "vault": {
            "subnet": ["10.3.0.0/24", "fd00:3::/64"],
            "dhcp": True,
            "ra": True,
            "internal": True,
        },
    },
    "nodes": {
        "a": {"networks": {"lan": {"autoconf": True}}},
        "b": {"networks": {"lan": None}},
        "s": {"networks": {"six": {"autoconf": True}}},
        "t": {"networks": {"six": None}},
        "v": {"networks": {"vault": {"autoconf": True}}},
    },
}
# What udhcpc calls when it has a lease (udhcpc(8)): tell it, and set it as its usual script does.
SCRIPT = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
echo "$ip|$mask|$router|$dns|$mtu" > lease
ip address add "$ip/$mask" dev "$interface"
for each in $router; do ip route add default via "$each" dev "$interface"; done
"""


@pytest.fixture(params=["host", "private"])
def lab(world: World, request: pytest.FixtureRequest) -> Iterator[Lab]:
    require("dnsmasq", "nft", "udhcpc")
    Path("script").write_text(SCRIPT)
    Path("script").chmod(0o755)
    made = Lab.from_data(LAB, world=request.param)
    made.up()
    yield made
    made.down()


def _ask(lab: Lab, node: str, interface: str = "eth0", tries: int = 3) -> str:
    """What a DHCP client is told and has set: address, prefix length, router, name server, MTU;
    empty where nobody answers."""
    Path("lease").unlink(missing_ok=True)
    words = [
        "udhcpc",
        "-i",
        interface,
        "-n",
        "-q",
        "-f",
        "-t",
        str(tries),
        "-T",
        "1",
        "-O",
        "mtu",
        "-s",
        "./script",
    ]
    lab.node(node).run(words, capture_output=True)
    return Path("lease").read_text().strip() if Path("lease").exists() else ""


def _ip(lab: Lab, node: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        lab.node(node).run(["ip", "-j", *words], capture_output=True).stdout or "[]"
    )
    return found


def _addresses(lab: Lab, node: str, interface: str = "eth0") -> set[str]:
    rows = _ip(lab, node, "address", "show", "dev", interface)
    return {
        item["local"]
        for row in rows
        for item in row.get("addr_info", ())
        if item["scope"] == "global"
    }


def _soon(condition: Any, seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lease(lab: Lab) -> None:
    """The node's own address, with the bridge as its router and name server; what the client sets
    is left alone."""
    assert _addresses(lab, "a") == set()
    assert _ask(lab, "a") == "10.1.0.2|24|10.1.0.1|10.1.0.1|1400"
    assert lab.ping("a", "10.1.0.3")[0].seconds is not None
    assert lab.ping("b", "10.1.0.2")[0].seconds is not None
    assert not lab.plan()
    assert not lab.up().plan
    assert "10.1.0.2" in _addresses(lab, "a")
    # On an internal network there is no router, and still an address.
    assert _ask(lab, "v") == "10.3.0.2|24||10.3.0.1|"


def test_router_advertisements(lab: Lab) -> None:
    """The kernel makes itself the address that the hosts file names; who did not ask is not routed
    by anybody who announces."""
    item = lab.assigned.nodes[2].attachments[0]
    assert item.addresses == (_slaac("fd00:2::", item.mac),)
    _soon(lambda: _addresses(lab, "s") == {str(item.addresses[0])})
    _soon(
        lambda: (
            [row["protocol"] for row in _ip(lab, "s", "-6", "route", "show", "default")] == ["ra"]
        )
    )
    assert lab.ping("t", "s")[0].seconds is not None
    assert [row.get("protocol", "") for row in _ip(lab, "t", "-6", "route", "show", "default")] in (
        ["boot"],
        [""],
    )
    assert _addresses(lab, "t") == {"fd00:2::2"}
    # An internal network announces its prefix, but no router.
    _soon(lambda: any(row["dst"] == "fd00:3::/64" for row in _ip(lab, "v", "-6", "route")))
    assert _ip(lab, "v", "-6", "route", "show", "default") == []
    assert not lab.plan()


def _slaac(prefix: str, mac: str) -> IPv6Address:
    """RFC 4291, appendix A."""
    octets = [int(part, 16) for part in mac.split(":")]
    identifier = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]])
    return IPv6Address(int(IPv6Address(prefix)) + int.from_bytes(identifier, "big"))


def _solicit(node: str, mac: str) -> str:
    """DHCPv6 with rapid commit (RFC 8415): the address of the reply, empty where there is none."""
    with inside(node):
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("eth0")
    client = struct.pack("!HHHH", 1, 10, 3, 1) + bytes.fromhex(mac.replace(":", ""))
    wish = struct.pack("!HHIII", 3, 12, 1, 0, 0)
    message = (
        b"\x01\xab\xcd\xef"
        + client
        + struct.pack("!HH", 14, 0)
        + struct.pack("!HHH", 8, 2, 0)
        + wish
    )
    with made:
        made.settimeout(0.5)
        made.bind(("::", 546))
        for _try in range(8):
            made.sendto(message, ("ff02::1:2", 547, 0, index))
            try:
                reply = made.recv(2000)
            except TimeoutError:
                continue
            at = reply.find(struct.pack("!HH", 5, 24))  # IAADDR
            return str(IPv6Address(reply[at + 4 : at + 20])) if reply[0] == 7 and at > 0 else ""
    return ""


def test_dhcp_for_ipv6(world: World) -> None:
    """With both, addresses are leased; the prefix is announced, and not one to make addresses
    of."""
    require("dnsmasq", "nft")
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    mac = lab.assigned.nodes[0].attachments[0].mac
    _soon(lambda: any(row["dst"] == "default" for row in _ip(lab, "a", "-6", "route")))
    assert _solicit("a", mac) == "fd00:1::2"
    assert _addresses(lab, "a") == set()
    lab.down()


def test_nodes_come_and_go(world: World) -> None:
    """The server is the same process, and knows them; a MAC of the file's own needs another one. A
    stranger gets nothing."""
    require("dnsmasq", "nft", "udhcpc")
    Path("script").write_text(SCRIPT)
    Path("script").chmod(0o755)
    before = machine.state()
    bascule(world, "network", "create", "lan", "--subnet", "10.1.0.0/24", "--dhcp", "--lab", "auto")
    for node in ("a", "b"):
        bascule(world, "node", "add", node, "--lab", "auto")
        bascule(world, "network", "connect", "lan", node, "--autoconf")
    lab = Lab("auto")
    note = Path("/run/bascule/auto/dns/out.pid")
    pid = note.read_text()
    assert _ask(lab, "b").startswith("10.1.0.3|24|")
    bascule(world, "node", "rm", "a")
    bascule(world, "node", "add", "c")
    bascule(world, "network", "connect", "lan", "c", "--autoconf")
    assert _ask(lab, "c").startswith("10.1.0.2|24|")
    assert note.read_text() == pid
    bascule(world, "node", "rm", "c")
    bascule(world, "node", "add", "d")
    bascule(
        world,
        "network",
        "connect",
        "lan",
        "d",
        "--autoconf",
        "--mac",
        "02:00:00:00:00:0d",
        "--ip",
        "10.1.0.2",
    )
    assert _ask(lab, "d").startswith("10.1.0.2|24|")
    assert note.read_text() != pid
    lab.node("d").run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"])
    assert _ask(lab, "d", tries=1) == ""
    bascule(world, "down")
    assert machine.difference(before, machine.state()) == ""


def test_from_static_to_autoconf_and_back(world: World) -> None:
    """The interface is made again: what was set goes with it, and what is announced counts or does
    not."""
    require("dnsmasq", "nft")

    def data(*autoconf: str) -> dict[str, Any]:
        nodes = {name: {"networks": {"six": {"autoconf": name in autoconf}}} for name in ("s", "t")}
        return {"name": "auto", "networks": {"six": LAB["networks"]["six"]}, "nodes": nodes}

    lab = Lab.from_data(data(), world="host")
    lab.up()
    assert (_addresses(lab, "s"), lab.assigned.nodes[0].attachments[0].addresses) == (
        {"fd00:2::2"},
        (IPv6Address("fd00:2::2"),),
    )
    other = Lab.from_data(data("s"), world="host")
    reasons = [
        change.reason
        for change in other.plan().changes
        if change.sign == "-" and change.fact.key[0] == "link"
    ]
    assert reasons == ["is replaced"]
    other.up()
    assert not other.plan()
    _soon(
        lambda: (
            _addresses(other, "s")
            == {str(_slaac("fd00:2::", other.assigned.nodes[0].attachments[0].mac))}
        )
    )
    lab.up()
    assert not lab.plan()
    assert (
        lab.node("s")
        .run(["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"], capture_output=True)
        .stdout
        == "0\n"
    )
    time.sleep(0.5)
    assert len(_addresses(lab, "s")) == 1
    assert lab.ping("t", "s")[0].seconds is not None
    lab.down()


def test_leases_without_names_and_a_router_elsewhere(world: World) -> None:
    """`dns: false` is obeyed, and whose default route leads elsewhere is told of no router."""
    require("dnsmasq", "nft", "udhcpc")
    Path("script").write_text(SCRIPT)
    Path("script").chmod(0o755)
    networks = {
        "lan": {"subnet": "10.1.0.0/24"},
        "auto": {"subnet": "10.2.0.0/24", "dhcp": True, "dns": False},
    }
    nodes = {
        "a": {"networks": {"lan": None, "auto": {"autoconf": True}}},
        "b": {"networks": {"auto": {"autoconf": True}}},
    }
    lab = Lab.from_data({"name": "auto", "networks": networks, "nodes": nodes}, world="host")
    lab.up()
    assert _ask(lab, "a", "eth1") == "10.2.0.2|24|||"
    assert _ask(lab, "b") == "10.2.0.3|24|10.2.0.1||"
    with inside("b"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect(("10.2.0.1", 53))
        client.send(b"\x12\x67\x01\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1")
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            client.recv(100)
    # Another network that leads out for IPv6 alone is none, a default route of its own is one.
    networks |= {
        "lan": {"subnet": "fd00:1::/64"},
        "auto": {**networks["auto"], "subnet": ["10.2.0.0/24", "fd00:2::/64"]},
    }
    networks["other"] = {"subnet": "10.3.0.0/24"}
    nodes["c"] = {
        "networks": {"auto": {"autoconf": True}, "other": None},
        "routes": ["default via 10.3.0.9"],
    }
    lab = Lab.from_data({"name": "auto", "networks": networks, "nodes": nodes}, world="host")
    lab.up()
    assert _ask(lab, "a", "eth1") == "10.2.0.2|24|10.2.0.1||"
    assert _ask(lab, "c") == "10.2.0.4|24|||"
    del nodes["c"]["routes"]
    Lab.from_data({"name": "auto", "networks": networks, "nodes": nodes}, world="host").up()
    assert _ask(lab, "c") == "10.2.0.4|24|10.2.0.1||"
    lab.down()


def test_a_machine_without_dnsmasq(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told so before anything is touched."""
    before = machine.state()
    monkeypatch.setattr("bascule.host.process.path_of", lambda _program: None)
    with pytest.raises(InputError, match="`dhcp` needs dnsmasq; install the package dnsmasq-base"):
        Lab.from_data(
            {"networks": {"lan": {"subnet": "10.1.0.0/24", "dhcp": True}}, "nodes": {"a": ["lan"]}},
            world="host",
        ).up()
    assert machine.difference(before, machine.state()) == ""
