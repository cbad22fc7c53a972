"""Where firewalld runs, a lab's bridges are in its zone `trusted` as long as the lab is up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from faults import Fault, attempt
from firewalls import Firewalld, Traffic, advice, commands, follow, notes
from helpers import bascule, changes
from sandbox import World, require
from traffic import Ears, Outside, reach

TRUSTED = "firewall-cmd --zone=trusted --change-interface=lan"
LOST = {"neighbours", "nat", "names"}
# Beside it: what is apart stays apart.
APART = """\
name: lb
networks:
  dmz: {subnet: [10.2.0.0/24, "fd00:2::/64"], reach: [other]}
  other: {subnet: [10.3.0.0/24, "fd00:3::/64"]}
  vault: {subnet: [10.4.0.0/24, "fd00:4::/64"], internal: true}
  guests: {subnet: [10.5.0.0/24, "fd00:5::/64"], icc: false, nat: true}
nodes: {d: [dmz], o: [other], v: [vault], g1: [guests], g2: [guests]}
"""
BRIDGES = ("dmz", "other", "vault", "guests")


@pytest.fixture
def lab(world: World) -> Iterator[str]:
    require("nft", "dnsmasq")
    Path("la.yaml").write_text(Traffic.LAB)
    yield "la.yaml"
    bascule(world, "down", "--all", check=False)


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_all_passes_and_goes_again(world: World, lab: str, backend: str) -> None:
    """Neighbours (also where frames within a bridge pass the firewall), `nat`, ports and names; and
    without the zone they do not."""
    with Firewalld(world, backend) as firewalld, Outside(world) as outside, Ears() as ears:
        assert "+ lan in firewalld's zone trusted" in changes(world, lab)
        said = bascule(world, "up", lab, "--explain")
        assert TRUSTED in said.stdout + said.stderr
        assert firewalld.zone("lan") == "trusted"
        assert changes(world, lab) == commands(notes(world, lab)) == []
        traffic = Traffic(world, ears, outside)
        assert traffic.lost() == set()
        firewalld.firewall_cmd("--zone=trusted", "--remove-interface=lan")
        bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        passes = bridged.exists() and bridged.read_text().strip() == "1"
        assert traffic.lost() == LOST - ({"neighbours"} if not passes else set())
        world.run("bash", "-e", input=bascule(world, "script", lab).stdout.splitlines()[-1])
        assert firewalld.zone("lan") == "trusted"
        bascule(world, "down", "la")
        assert firewalld.zone("lan") in ("", "no zone")
        # what firewalld has made for the zone as a whole stays, empty
        assert '"lan"' not in world.run("nft", "list", "ruleset").stdout


def test_what_is_apart_stays_apart(world: World, lab: str) -> None:
    """That a zone lets all pass is no word against the lab's own rules."""
    Path("lb.yaml").write_text(APART)
    with Firewalld(world) as firewalld, Outside(world) as outside, Ears() as ears:
        for file in (lab, "lb.yaml"):
            bascule(world, "up", file)
        assert all(firewalld.zone(bridge) == "trusted" for bridge in BRIDGES)

        def reaches(client: str, node: str, address: str) -> bool:
            server = ears.on(node, 7)[":" in address]
            return reach(client, address, 7, server) is not None

        for number in (1, 5):
            outside.routes(f"10.{number}.0.0/24")
            outside.routes(f"fd00:{number}::/64")
        for address in ("10.3.0.2", "fd00:3::2"):
            assert reaches("d", "o", address)
        for address in outside.there:
            assert reaches("g1", outside.name, address)
        # in either IP version: the rules for both are the same
        assert not reaches("o", "d", "10.2.0.2")
        assert not reaches("d", "v", "fd00:4::2")
        assert not reaches("v", "o", "10.3.0.2")
        assert not reaches("d", "a", "fd00:1::2")
        assert not reaches("a", "d", "10.2.0.2")
        assert not reaches("g1", "g2", "fd00:5::3")
        assert not reaches("v", outside.name, "192.0.2.2")
        assert not reaches(outside.name, "a", "10.1.0.2")
        assert not reaches(outside.name, "g1", "fd00:5::2")


def test_a_reload_loses_it(world: World, lab: str) -> None:
    """And so does a restart: `plan` and `doctor` tell, `up` puts it back, and so does the command
    that `doctor` names."""
    with Firewalld(world) as firewalld:
        bascule(world, "up", lab)
        firewalld.firewall_cmd("--reload")
        assert firewalld.zone("lan") != "trusted"
        assert changes(world, lab) == ["+ lan in firewalld's zone trusted"]
        said = [line for line in advice(world) if "firewalld" in line]
        assert len(said) == 1
        assert follow(world, said) == [TRUSTED]
        assert changes(world, lab) == []
        firewalld.end("firewalld")
        assert changes(world, lab) == []  # nothing is kept from the lab then
        firewalld.start()
        bascule(world, "up", lab)
        assert firewalld.zone("lan") == "trusted"


def test_where_others_have_put_it_it_stays(world: World, lab: str) -> None:
    """In another zone: told, with the command that helps, by `plan`, `up` and `doctor`. In the same
    one by firewalld's own files: not taken out by `down`."""
    with Firewalld(world) as firewalld:
        firewalld.firewall_cmd("--zone=dmz", "--change-interface=lan")
        up = bascule(world, "up", lab).stderr
        assert firewalld.zone("lan") == "dmz"
        told = notes(world, lab)
        assert commands(told) == [TRUSTED]
        assert f"`{TRUSTED}`" in up
        assert any(f"`{TRUSTED}`" in line for line in advice(world))
        assert changes(world, lab) == []
        follow(world, told)
        assert commands(notes(world, lab)) == []
        bascule(world, "down", "la")
        assert firewalld.zone("lan") != "trusted"
        firewalld.firewall_cmd("--permanent", "--zone=trusted", "--add-interface=lan")
        firewalld.firewall_cmd("--reload")
        bascule(world, "up", lab)
        assert changes(world, lab) == []
        bascule(world, "down", "la")
        assert firewalld.zone("lan") == "trusted"


def test_one_that_does_not_answer(world: World, lab: str) -> None:
    """Its rules are there, and it is not: said, with what helps; the lab is built and goes."""
    with Firewalld(world) as firewalld:
        firewalld.kill()
        up = bascule(world, "up", lab).stderr
        told = "\n".join(notes(world, lab))
        found = "\n".join(advice(world))
        for said in (up, told, found):
            assert "firewalld's rules are here, and there is no system bus" in said
            assert f"`{TRUSTED}`" in said
        firewalld.start()
        assert changes(world, lab) == ["+ lan in firewalld's zone trusted"]
        bascule(world, "up", lab)
        assert firewalld.zone("lan") == "trusted"
        firewalld.kill()
        bascule(world, "down", "la")
        assert "lan" not in world.run("ip", "-br", "link").stdout


def test_a_run_that_is_stopped_there(world: World) -> None:
    """Refused there or later, it is undone; killed before or after, `up` finishes it, and `down`
    takes it away."""
    require("nft", "iptables-nft")
    made = Lab.from_data(
        {"networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}}}, world="host"
    )
    world.run("iptables-nft", "-P", "FORWARD", "DROP")  # so that a rule is still to come
    with Firewalld(world) as firewalld:
        names = attempt(made.up, Fault(0)).names
        at = names.index("ask")
        Lab("lab").down()
        before = machine.state()
        for fault in (Fault(at, "error"), Fault(names.index("run", at), "error")):
            ended = attempt(made.up, fault)
            assert (ended.how, ended.hit) == ("error", True)
            assert machine.difference(before, machine.state()) == ""
        for point in (at, at + 1):
            assert attempt(made.up, Fault(point, "kill")).how == "killed"
            if point == at:
                made.up()
                assert firewalld.zone("lan") == "trusted"
            Lab("lab").down()
            assert machine.difference(before, machine.state()) == ""


def test_where_it_does_not_run_nothing_is_asked(world: World, lab: str) -> None:
    """Nor is the library for it read."""
    code = "import sys; from bascule.cli.main import main; main(); print('jeepney' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", lab], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
