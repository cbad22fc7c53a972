"""What a node is called, and how it finds names: `hostname`, `dns`, `dns_search`, `dns_opt`, as
Compose has them."""

from __future__ import annotations

from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from bascule.api import Lab
from helpers import bascule
from questions import NOERROR, PTR, answering, ask
from sandbox import World, require
from traffic import Outside

LAB: dict[str, Any] = {
    "name": "called",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dns": True}},
    "nodes": {
        "a": {"networks": ["lan"], "hostname": "alpha"},
        "b": {"networks": {"lan": {"aliases": ["www"]}}, "hostname": "www.example.com"},
        "c": {
            "networks": ["lan"],
            "dns": ["192.0.2.53", "2001:db8::53"],
            "dns_search": ["example.com", "lan"],
            "dns_opt": ["ndots:2", "timeout:1"],
        },
        "d": {"networks": ["lan"], "dns_search": "."},
        "e": {"dns_opt": "use-vc"},
        "web": {"count": 2, "networks": ["lan"], "hostname": "pool"},
    },
}


def _out(lab: Lab, node: str, *argv: str) -> str:
    return str(lab.node(node).run(list(argv), capture_output=True).stdout)


@pytest.mark.parametrize("kind", ["host", "private"])
def test_host_names(world: World, kind: str) -> None:
    """The node says so itself, and others find it by both names; one with a dot is what it is
    called in full."""
    require("dnsmasq", "nft", "dig")
    lab = Lab.from_data(LAB, world=kind)
    lab.up()
    for node, name in (
        ("a", "alpha"),
        ("b", "www.example.com"),
        ("c", "c"),
        ("web1", "pool"),
        ("web2", "pool"),
    ):
        assert _out(lab, node, "uname", "-n") == f"{name}\n"
        assert bascule(world, "exec", node, "uname", "-n").stdout == f"{name}\n"

    def knows(node: str, name: str) -> set[str]:
        return {
            line.split()[0] for line in _out(lab, node, "getent", "ahostsv4", name).splitlines()
        }

    for name, found in (
        ("alpha", {"10.1.0.2"}),
        ("a", {"10.1.0.2"}),
        ("pool", {"10.1.0.6", "10.1.0.7"}),
    ):
        assert knows("d", name) == found
        assert {*_out(lab, "d", "dig", "+short", "@10.1.0.1", "-q", name).split()} == found
    for name in ("www.example.com", "www", "b", "b.lan"):
        assert knows("a", name) == {"10.1.0.3"}
        assert _out(lab, "a", "dig", "+short", "@10.1.0.1", "-q", name) == "10.1.0.3\n"
    assert _out(lab, "a", "dig", "+short", "@10.1.0.1", "www.example.com", "MX") == ""
    assert _out(lab, "b", "hostname", "-f") == "www.example.com\n"
    assert not lab.plan()
    lab.down()


def test_names_of_addresses(world: World) -> None:
    """An address is told by the node's name, or by a host name that is whole."""
    require("dnsmasq", "nft")
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    assert ask("a", "10.1.0.1", "2.0.1.10.in-addr.arpa", PTR) == (NOERROR, {"a"})
    assert ask("a", "10.1.0.1", "3.0.1.10.in-addr.arpa", PTR) == (NOERROR, {"www.example.com"})
    lab.down()


@pytest.mark.parametrize("kind", ["host", "private"])
def test_the_lines_of_resolv_conf(world: World, kind: str) -> None:
    """Each node has its own; what others have is the lab's. `ip netns exec` sees the same."""
    require("dnsmasq", "nft")
    lab = Lab.from_data(LAB, world=kind)
    lab.up()
    usual = "nameserver 10.1.0.1\nnameserver fd00:1::1\n"
    expected = {
        "a": usual,
        "b": usual,
        "c": (
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.com lan\noptions "
            "ndots:2 timeout:1\n"
        ),
        "d": f"{usual}search .\n",
        "web1": usual,
    }
    for node, text in expected.items():
        assert _out(lab, node, "cat", "/etc/resolv.conf") == text
        if kind == "host":
            assert world.run("ip", "netns", "exec", node, "cat", "/etc/resolv.conf").stdout == text
    assert _out(lab, "e", "cat", "/etc/resolv.conf").endswith("\noptions use-vc\n")
    assert "10.1.0.2\ta a.lan alpha\n" in _out(lab, "c", "cat", "/etc/hosts")
    lab.down()


def test_a_change_while_it_is_up(world: World) -> None:
    """A program that runs in the node finds the new servers in the file that it has; nothing but
    files is touched."""
    require("dnsmasq", "nft")
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    changed = {
        **LAB,
        "nodes": {**LAB["nodes"], "c": {"networks": ["lan"], "dns": "192.0.2.99"}, "a": ["lan"]},
    }
    with lab.node("c").popen(
        ["sh", "-c", "read line; cat /etc/resolv.conf"], stdin=PIPE, stdout=PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        lab = Lab.from_data(changed, world="host")
        assert {(change.sign, change.fact.key[0]) for change in lab.plan().changes} == {
            ("~", "file")
        }
        lab.up()
        running.stdin.write("go\n")
        running.stdin.flush()
        assert running.stdout.read() == "nameserver 192.0.2.99\n"
    assert _out(lab, "a", "uname", "-n") == "a\n"
    assert "alpha" not in _out(lab, "d", "cat", "/etc/hosts")
    lab.down()


def test_a_node_that_is_added_by_hand(world: World) -> None:
    """The options of `node add`, each as the word of the file."""
    bascule(world, "network", "create", "lan", "--subnet", "10.1.0.0/24", "--lab", "hand")
    options = (
        "--hostname",
        "n.example.com",
        "--dns",
        "192.0.2.53",
        "--dns",
        "192.0.2.54",
        "--dns-search",
        "lan",
        "--dns-opt",
        "ndots:2",
    )
    bascule(world, "node", "add", "n", "--network", "lan", *options, "--lab", "hand")
    shown = bascule(world, "exec", "n", "--", "sh", "-c", "uname -n; cat /etc/resolv.conf").stdout
    assert shown == (
        "n.example.com\nnameserver 192.0.2.53\nnameserver 192.0.2.54\nsearch lan\noptions ndots:2\n"
    )
    told = bascule(world, "inspect", "hand", "--yaml").stdout
    assert "hostname: n.example.com" in told
    assert (
        bascule(
            world, "node", "add", "m", "--dns", "nonsense", "--lab", "hand", check=False
        ).returncode
        == 2
    )
    bascule(world, "down", "hand")


def test_servers_of_its_own_are_asked(world: World) -> None:
    """With packets: what the lab does not know goes to the node's server, and its search list is
    gone through."""
    require("dnsmasq", "nft")
    with (
        Outside(world, there=("192.0.2.2", "192.0.2.53")) as outside,
        answering("192.0.2.53", outside.name) as heard,
    ):
        world.run("ip", "route", "add", "default", "via", "192.0.2.2")
        node = {
            "networks": ["lan"],
            "dns": "192.0.2.53",
            "dns_search": "search.example",
            "dns_opt": ["attempts:1", "timeout:1"],
        }
        lab = Lab.from_data(
            {"networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}}, "nodes": {"a": node}},
            world="host",
        )
        lab.up()
        found = _out(lab, "a", "getent", "ahostsv4", "intranet").split()
        assert "203.0.113.9" in found
        assert "intranet.search.example" in heard
        lab.down()


def test_a_record_with_a_host_name_that_is_none(world: World) -> None:
    """State files are input like any other: what can't be a host name is not made one."""
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    record = Path("/run/bascule/called/lab.json")
    record.write_text(record.read_text().replace('"alpha"', '"-x y"'))
    assert bascule(world, "exec", "a", "uname", "-n").stdout == "a\n"
    record.write_text(record.read_text().replace('"-x y"', "7"))
    assert bascule(world, "exec", "a", "uname", "-n").stdout == "a\n"
    record.write_text(record.read_text().replace('"hostname":7', '"hostname":"alpha"'))
    lab.down()
