"""The old iptables beside nf_tables: what they drop is told, with the commands that let it pass."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bascule.api import Lab
from bascule.engine import doctor, legacy
from bascule.host import legacy as old
from bascule.host.seen import OldFirewall
from bascule.topology.addressing import assign
from bascule.topology.load import from_data
from helpers import bascule
from sandbox import World, require
from traffic import Ears, Outside, inside, patience, reach

DATA = {
    "name": "la",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "cut": {"subnet": "10.2.0.0/24"},
    },
    "nodes": {"a": ["lan"]},
}
PROGRAMS = {4: "iptables-legacy", 6: "ip6tables-legacy"}
# As iptables 1.8.9 prints it, with more than we ask for.
LISTED = """\
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-A INPUT -i lan -p udp -m udp --dport 53 -j ACCEPT
-A FORWARD -i lan -j ACCEPT
-A FORWARD -o lan -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
UNBRIDGED = {4: False, 6: False}


def _advice(text: str, bridged: bool = False, version: int = 4) -> list[str]:
    lab = assign(from_data(DATA))
    needs = list(legacy.needs(lab, {4: bridged, 6: bridged}, True))
    return [each.line for each in legacy.advice((old.read(version, text),), needs)]


def _commands(said: str) -> list[str]:
    return re.findall(r"`([^`]*)`", said)


def test_what_is_lacking() -> None:
    """Only that; each chain by itself; what stays on a bridge only where it passes, and nothing
    more lets it."""
    assert _advice(LISTED.replace("DROP", "ACCEPT")) == []
    assert _advice(LISTED) == [
        (
            "chain FORWARD of iptables-legacy drops what it does not know: what the lab passes on "
            "is lost, until you run "
            "`iptables-legacy -I FORWARD -o lan -j ACCEPT`"
        )
    ]
    assert [_commands(line) for line in _advice("-P FORWARD DROP\n", bridged=True)] == [
        [
            f"iptables-legacy -I FORWARD {words} -j ACCEPT"
            for words in ("-i lan", "-o lan", "-i cut -o cut")
        ]
    ]
    assert [_commands(line) for line in _advice(LISTED.replace("INPUT ACCEPT", "INPUT DROP"))][
        1
    ] == ["iptables-legacy -I INPUT -i lan -p tcp --dport 53 -j ACCEPT"]
    assert [_commands(line) for line in _advice("-P INPUT DROP", version=6)] == [
        [
            f"ip6tables-legacy -I INPUT -i lan -p {words} -j ACCEPT"
            for words in ("ipv6-icmp", "udp --dport 53", "tcp --dport 53")
        ]
    ]


@pytest.mark.parametrize(
    "text", ["", "-P", "-P FORWARD", "nonsense\n-P FORWARD\tDROP x", "\x00", "-A FORWARD"]
)
def test_any_listing_is_read(text: str) -> None:
    assert isinstance(old.read(4, text), OldFirewall)


# How a chain ends, with a policy of ACCEPT.
ENDS = {
    "-A FORWARD -i eth0 -j ACCEPT": False,
    "-A FORWARD -i eth0 -j DROP": False,
    "-A FORWARD -j DROP": True,
    '-A FORWARD -m comment --comment "no -j ACCEPT" -j REJECT --reject-with x': True,
    "-A FORWARD -j LOG\n-A FORWARD -j REJECT": True,
    "-A FORWARD -j ACCEPT\n-A FORWARD -j DROP": False,
    "-A FORWARD -j RETURN\n-A FORWARD -j DROP": False,
    "-A FORWARD -i eth0 -j RETURN\n-A FORWARD -j DROP": True,
    "-N X\n-A FORWARD -j X\n-A X -j DROP": True,
    "-N X\n-A FORWARD -g X\n-A FORWARD -j DROP": False,
    "-N X\n-A FORWARD -i eth0 -j X\n-A X -j DROP": False,
    # what is selected there, and not all
    "-N X\n-A FORWARD -j X\n-A X -i eth0 -j RETURN\n-A X -j DROP": False,
    "-N X\n-A FORWARD -j X\n-A FORWARD -j DROP\n-A X -i eth0 -j RETURN\n-A X -j DROP": True,
    "-N X\n-A FORWARD -j X\n-A X -j X": False,
}


@pytest.mark.parametrize("rules", ENDS)
def test_how_a_chain_ends(rules: str) -> None:
    """By a rule that asks nothing, also one that it leads to."""
    read = old.read(4, f"-P FORWARD ACCEPT\n{rules}\n")
    assert read.dropping == ({"FORWARD"} if ENDS[rules] else set())


def test_rules_that_a_chain_leads_to_count() -> None:
    """As ufw has them: behind a chain from which some return. Others do not."""
    text = (
        "-P INPUT DROP\n-N ufw-before-input\n-N not-local\n-N user\n-N other\n"
        "-A INPUT -j ufw-before-input\n-A INPUT -i eth0 -j other\n"
        "-A ufw-before-input -j not-local\n-A ufw-before-input -j user\n"
        "-A not-local -m addrtype --dst-type LOCAL -j RETURN\n-A not-local -j DROP\n"
        "-A user -i lan -p udp -m udp --dport 53 -j ACCEPT\n"
    )
    ports = "-A {} -i lan -p tcp -m tcp --dport 53 -j ACCEPT\n"
    assert [_commands(line) for line in _advice(text + ports.format("other"))] == [
        ["ufw allow in on lan to any port 53"]
    ]
    assert _advice(text + ports.format("user")) == []


@pytest.fixture
def firewall(world: World) -> World:
    """Both old firewalls drop what is passed on and what comes in."""
    require("nft", "dnsmasq", "iptables-legacy")
    for program in PROGRAMS.values():
        if (
            subprocess.run(
                [program, "-P", "FORWARD", "DROP"], capture_output=True, check=False
            ).returncode
            != 0
        ):
            pytest.skip("this kernel has no old iptables")
        world.run(program, "-P", "INPUT", "DROP")
    # the neighbours on the cable
    world.run("ip6tables-legacy", "-A", "INPUT", "-i", "up0", "-p", "ipv6-icmp", "-j", "ACCEPT")
    for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        path.write_text("0")
    return world


def test_the_advice_is_right(firewall: World) -> None:
    """What is told to be lost is lost; once the commands were run it is not, and nothing is told
    any more."""
    with Outside(firewall) as outside, Ears() as ears, Lab.from_data(DATA, world="host"):
        servers = ears.on(outside.name, 7)

        def passes() -> list[bool]:
            return [
                reach("a", address, 7, server) is not None
                for address, server in zip(outside.there, servers, strict=True)
            ]

        said = [
            note for note in Lab.from_data(DATA, world="host").plan().notes if "-legacy" in note
        ]
        assert [note.split(" drops")[0] for note in said] == [
            f"chain {chain} of {program}"
            for program in PROGRAMS.values()
            for chain in ("FORWARD", "INPUT")
        ]
        findings = [each for each in doctor.examine() if each.what in PROGRAMS.values()]
        assert [each.verdict for each in findings] == ["note", "note"]
        assert "; ".join(each.advice for each in findings) == "; ".join(said)
        assert passes() == [False, False]
        assert not _is_answered()
        for command in (command for note in said for command in _commands(note)):
            firewall.run(*command.split())
        # a node that has found no gateway waits before it asks again
        deadline = time.monotonic() + 10
        while passes() != [True, True]:
            assert time.monotonic() < deadline
        assert _is_answered()
        assert not [
            note for note in Lab.from_data(DATA, world="host").plan().notes if "-legacy" in note
        ]
        assert [each.verdict for each in doctor.examine() if each.what in PROGRAMS.values()] == [
            "ok",
            "ok",
        ]


def _is_answered() -> bool:
    """Whether the lab's name server hears the node, by both protocols and families."""
    query = b"\x12\x67\x01\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"
    return all(
        _answer(address, kind, query)
        for address in ("10.1.0.1", "fd00:1::1")
        for kind in ("udp", "tcp")
    )


def _answer(address: str, kind: str, query: bytes) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        inside("a"),
        socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(patience())
        try:
            client.connect((address, 53))
            client.send(query if kind == "udp" else len(query).to_bytes(2) + query)
            return bool(client.recv(100))
        except OSError:
            return False


def test_up_tells_it(firewall: World) -> None:
    """As it begins, in one line each; a lab that passes nothing on hears of nothing."""
    Path("la.yaml").write_text(
        "networks: {lan: {subnet: 10.1.0.0/24, nat: true, dns: false}}\nnodes: {a: [lan]}\n"
    )
    Path("plain.yaml").write_text(
        "networks: {own: {subnet: 10.9.0.0/24, dns: false}}\nnodes: {b: [own]}\n"
    )
    assert (
        "`iptables-legacy -I FORWARD -i lan -j ACCEPT`" in bascule(firewall, "up", "la.yaml").stderr
    )
    assert "legacy" not in bascule(firewall, "up", "plain.yaml").stderr


def test_without_the_program_it_is_said_so(
    firewall: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As there is a table, and nobody can tell what it does."""
    monkeypatch.setattr(old, "shutil", SimpleNamespace(which=lambda _name, path: None))
    notes = Lab.from_data(DATA, world="host").plan().notes
    said = next(note for note in notes if "-legacy" in note)
    assert said.startswith(
        "iptables-legacy is not there to look at the old filter table: if its chain FORWARD "
        "drops, what the lab"
    )
    assert _commands(said) == [
        f"iptables-legacy -I FORWARD {way} lan -j ACCEPT" for way in ("-i", "-o")
    ]


def test_a_machine_without_the_old_table_gets_none(world: World) -> None:
    """Asking for it would make one."""
    lab = Lab.from_data(DATA, world="host")
    lab.plan()
    list(doctor.examine())
    for name in ("ip_tables_names", "ip6_tables_names"):
        path = Path("/proc/thread-self/net", name)
        assert not path.exists() or path.read_text() == ""
