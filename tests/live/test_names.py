"""Names by the hosts file and by a name server, asked as any program asks: with DNS packets."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError, PlanFailed, TopologyError
from helpers import bascule
from questions import AAAA, NOERROR, NXDOMAIN, PTR, REFUSED, ask, soon, upstream
from sandbox import World, require

LAB: dict[str, Any] = {
    "name": "names",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dns": True},
        "wan": {"subnet": "10.2.0.0/24", "dns": True},
        "vault": {"subnet": "10.3.0.0/24", "dns": True, "internal": True},
    },
    "nodes": {
        "a": {"networks": {"lan": None}, "extra_hosts": ["db:192.0.2.77", "machine=host-gateway"]},
        "b": {"networks": {"lan": {"aliases": ["web"]}, "wan": None}},
        "c": {"networks": {"lan": {"aliases": ["web", "c2"]}}},
        "w": {"networks": {"wan": None}},
        "safe": {"networks": {"vault": None}},
    },
}


def _servers(world: World) -> list[int]:
    own = os.readlink("/proc/thread-self/ns/net")
    found = []
    for entry in os.listdir("/proc"):
        try:
            if (
                Path(f"/proc/{entry}/comm").read_text() == "dnsmasq\n"
                and os.readlink(f"/proc/{entry}/ns/net") == own
            ):
                found.append(int(entry))
        except OSError:
            continue
    return sorted(found)


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    require("dnsmasq", "nft")
    made = Lab.from_data(LAB, world="host")
    yield made
    made.down()
    assert _servers(world) == []


def test_what_the_hosts_file_says(world: World) -> None:
    """Names, NODE.NETWORK and aliases of all; extra hosts of one node only, and Docker's word for
    the machine."""
    data = {
        **LAB,
        "networks": {
            name: {k: v for k, v in net.items() if k != "dns"}
            for name, net in LAB["networks"].items()
        },
    }
    made = Lab.from_data(data, world="host")
    made.up()

    def knows(node: str, name: str) -> set[str]:
        out = made.node(node).run(["getent", "ahosts", name], capture_output=True).stdout
        return {line.split()[0] for line in out.splitlines()}

    assert knows("a", "c") == {"10.1.0.4", "fd00:1::4"}
    assert knows("a", "b.wan") == {"10.2.0.2"}
    assert knows("a", "web") == {"10.1.0.3", "fd00:1::3", "10.1.0.4", "fd00:1::4"}
    assert knows("a", "db") == {"192.0.2.77"}
    assert knows("b", "db") == set()
    assert knows("a", "machine") == {"10.1.0.1", "fd00:1::1"}
    assert not made.plan()
    made.down()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_records(lab: Lab, tcp: bool) -> None:
    """A, AAAA and PTR; a name of two nodes answers with both; of several addresses of a node those
    near the client."""
    lab.up()
    assert not lab.plan()
    assert ask("a", "10.1.0.1", "c", tcp=tcp) == (NOERROR, {"10.1.0.4"})
    assert ask("a", "10.1.0.1", "c", AAAA, tcp) == (NOERROR, {"fd00:1::4"})
    assert ask("a", "fd00:1::1", "c.lan", AAAA, tcp) == (NOERROR, {"fd00:1::4"})
    assert ask("a", "10.1.0.1", "web", tcp=tcp) == (NOERROR, {"10.1.0.3", "10.1.0.4"})
    assert ask("a", "10.1.0.1", "4.0.1.10.in-addr.arpa", PTR, tcp) == (NOERROR, {"c"})
    assert ask("a", "10.1.0.1", "b", tcp=tcp) == (NOERROR, {"10.1.0.3"})
    assert ask("w", "10.2.0.1", "b", tcp=tcp) == (NOERROR, {"10.2.0.2"})
    assert ask("safe", "10.3.0.1", "safe", tcp=tcp) == (NOERROR, {"10.3.0.2"})
    assert (
        lab.node("a").run(["cat", "/etc/resolv.conf"], capture_output=True).stdout
        == "nameserver 10.1.0.1\nnameserver fd00:1::1\n"
    )
    assert (
        lab.node("safe").run(["cat", "/etc/resolv.conf"], capture_output=True).stdout
        == "nameserver 10.3.0.1\n"
    )


def test_nobody_else_is_answered(lab: Lab, world: World) -> None:
    """Not from another network of the lab; and not on other addresses."""
    lab.up()
    for tcp in (False, True):
        assert ask("w", "10.1.0.1", "c", tcp=tcp, seconds=0.5) is None
        assert ask("safe", "10.1.0.1", "c", tcp=tcp, seconds=0.5) is None
        assert ask("a", "10.2.0.1", "c", tcp=tcp, seconds=0.5) is None
    assert ask("", "10.1.0.1", "c") == (NOERROR, {"10.1.0.4"})  # the machine itself may
    assert ask("", "127.0.0.1", "c", seconds=0.5) is None


def test_other_questions_go_to_the_machines_servers(lab: Lab, world: World) -> None:
    """But not those of an internal network, and not names of one word."""
    with upstream(world) as heard:
        lab.up()
        assert ask("a", "10.1.0.1", "example.org") == (NOERROR, {"203.0.113.9"})
        assert set(heard) == {"example.org"}  # a busy machine may be asked twice
        assert ask("safe", "10.3.0.1", "secret.example.org") in (
            (REFUSED, set()),
            (NXDOMAIN, set()),
        )
        assert ask("a", "10.1.0.1", "nosuch") == (NXDOMAIN, set())
        time.sleep(0.1)
        assert set(heard) == {"example.org"}  # a busy machine may be asked twice
        lab.down()


def test_records_change_without_a_restart(lab: Lab, world: World) -> None:
    """Nodes come and go, and the server is the same process."""
    lab.up()
    before = _servers(world)
    assert len(before) == 2
    bascule(world, "node", "add", "late", "--network", "lan", "--lab", "names")
    soon(lambda: ask("a", "10.1.0.1", "late") == (NOERROR, {"10.1.0.5"}))
    bascule(world, "node", "rm", "c", "--lab", "names")
    soon(lambda: ask("a", "10.1.0.1", "c") == (NXDOMAIN, set()))
    soon(lambda: ask("a", "10.1.0.1", "web") == (NOERROR, {"10.1.0.3"}))
    assert _servers(world) == before


def test_a_killed_server_is_back_with_the_next_command(lab: Lab, world: World) -> None:
    """The plan shows it; files that somebody has removed or changed come back, too."""
    lab.up()
    for pid in _servers(world):
        os.kill(pid, signal.SIGKILL)
    soon(lambda: not _servers(world))
    assert [change.sign for change in lab.plan().changes] == ["+", "+"]
    lab.up()
    assert ask("a", "10.1.0.1", "c") == (NOERROR, {"10.1.0.4"})
    Path("/run/bascule/names/dns/out/hosts").write_text("10.9.9.9\tc\n")
    Path("/run/bascule/names/dns/out.pid").unlink()  # it is found without its note
    soon(lambda: ask("a", "10.1.0.1", "c") == (NOERROR, {"10.9.9.9"}))
    assert [change.sign for change in lab.plan().changes] == ["~"]
    lab.up()
    soon(lambda: ask("a", "10.1.0.1", "c") == (NOERROR, {"10.1.0.4"}))
    assert len(_servers(world)) == 2
    world.run("ip", "link", "del", "lan")
    lab.up()
    soon(lambda: ask("a", "10.1.0.1", "c") == (NOERROR, {"10.1.0.4"}))


def test_a_network_more_and_a_network_less(lab: Lab, world: World) -> None:
    """The server listens where it is asked to, and nothing is left of it."""
    before = machine.state()
    lab.up()
    bascule(
        world, "network", "create", "more", "--subnet", "10.4.0.0/24", "--dns", "--lab", "names"
    )
    bascule(world, "node", "add", "m", "--network", "more", "--lab", "names")
    soon(lambda: ask("m", "10.4.0.1", "m") == (NOERROR, {"10.4.0.2"}))
    assert ask("a", "10.1.0.1", "m") == (NOERROR, {"10.4.0.2"})
    lab.up()
    assert ask("a", "10.1.0.1", "m") == (NXDOMAIN, set())
    assert len(_servers(world)) == 2
    lab.down()
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("kind", ["host", "private"])
def test_on_by_itself_with_a_way_out(world: World, kind: str) -> None:
    """Where dnsmasq is installed; `dns: false` is obeyed. In both worlds, and the processes go with
    the lab."""
    require("dnsmasq", "nft")
    data: dict[str, Any] = {
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}},
        "nodes": {"a": ["lan"], "b": ["lan"]},
    }
    made = Lab.from_data(data, world=kind)
    made.up()
    assert not made.plan()
    command = ["dig", "+short", "+tries=1", "@10.1.0.1", "b.lan"]
    require("dig")
    assert made.node("a").run(command, capture_output=True).stdout == "10.1.0.3\n"
    data["networks"]["lan"]["dns"] = False
    Lab.from_data(data, world=kind).up()
    assert made.node("a").run(command, capture_output=True).returncode != 0
    made.down()


def test_a_firewall_that_lets_no_question_in(world: World) -> None:
    """`plan` says which packets are meant; with a rule for them there is an answer."""
    require("dnsmasq", "nft", "dig")
    world.run(
        "nft",
        (
            "add table inet fw; add chain inet fw input { type filter hook input priority 0; "
            "policy drop; }"
        ),
    )
    lan, bare = {"subnet": "10.1.0.0/24", "dns": True, "dhcp": True}, {"subnet": "10.2.0.0/24"}
    made = Lab.from_data(
        {"networks": {"lan": lan, "bare": bare}, "nodes": {"a": ["lan"]}}, world="host"
    )
    notes = [note for note in made.plan().notes if "inet fw input" in note]
    assert len(notes) == 1
    assert 'iifname "lan" udp dport 67 accept' in notes[0]
    made.up()
    command = ["dig", "+short", "+tries=1", "+timeout=1", "@10.1.0.1", "a.lan"]
    assert made.node("a").run(command, capture_output=True).returncode != 0
    world.run("nft", "add rule inet fw input iifname lan udp dport { 53, 67 } accept")
    assert made.node("a").run(command, capture_output=True).stdout == "10.1.0.2\n"
    made.down()


def test_mistakes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file, and of a machine without dnsmasq: before anything is touched."""
    with pytest.raises(TopologyError, match="a name server needs a bridge with an address"):
        Lab.from_data({"networks": {"lan": {"gateway": "none", "dns": True}}})
    with pytest.raises(TopologyError, match="'-x' is no host name"):
        Lab.from_data(
            {"networks": {"lan": {}}, "nodes": {"a": {"networks": {"lan": {"aliases": ["-x"]}}}}}
        )
    with pytest.raises(TopologyError, match="is no IP address"):
        Lab.from_data({"nodes": {"a": {"extra_hosts": ["db=here"]}}})
    before = machine.state()
    monkeypatch.setattr("bascule.host.process.path_of", lambda _program: None)
    with pytest.raises(InputError, match="`dns` needs dnsmasq; install the package dnsmasq-base"):
        Lab.from_data(LAB, world="host").up()
    assert machine.difference(before, machine.state()) == ""
    made = Lab.from_data(
        {"networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}}, "nodes": {"a": ["lan"]}},
        world="host",
    )
    made.up()
    assert _servers(world) == []
    made.down()


def test_a_taken_port_is_told_and_undone(world: World) -> None:
    """Somebody listens on all addresses: dnsmasq's own words, and the machine as it was."""
    require("dnsmasq", "nft")
    before = machine.state()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 53))  # noqa: S104
        done_before = machine.state()
        with pytest.raises(
            PlanFailed,
            match=r"failed to create listening socket for 10\.2\.0\.1: Address already in use",
        ):
            Lab.from_data(LAB, world="host").up()
        assert machine.difference(done_before, machine.state()) == ""
    assert machine.difference(before, machine.state()) == ""
