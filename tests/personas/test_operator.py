"""Who keeps a machine: it reboots, its firewall is reloaded, bascule is upgraded and uninstalled,
and a lab is up all the while."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import machine
from helpers import as_json, bascule, changes, lasting, reboot
from sandbox import BASCULE, World, require

TOOLS = Path(__file__).parents[2] / "tools"
# one of each version that wrote another than the one before
RECORDS = sorted((Path(__file__).parent / "records").glob("*.json"))
# what is another number on each machine, where a record has it
OF_THE_MACHINE = ("boot", "namespaces", "host", "keeper", "slot", "source")
LAB = """\
name: kept
networks:
  front: {subnet: 10.61.0.0/24, nat: true, dns: false}
  back: {subnet: [10.62.0.0/24, "fd00:62::/64"]}
nodes:
  web:
    networks: {front: {address: 10.61.0.5}, back: }
    ports: ["8061:80"]
  db: [back]
"""
RULES = """\
flush ruleset
table inet own {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 23 drop
	}
}
"""


@pytest.fixture
def kept(world: World) -> World:
    """The lab is up, on the machine itself."""
    require("nft")
    Path("lab.yaml").write_text(LAB)
    Path("own.nft").write_text(RULES)
    world.run("nft", "-f", "own.nft")
    return world


def _answers(world: World) -> None:
    assert bascule(world, "exec", "db", "--", "ping", "-qc1", "-W5", "web.back").returncode == 0


def test_the_firewall_is_reloaded_and_the_machine_rebooted(kept: World) -> None:
    """The reload takes the lab's rules along: `plan` says so, `up` puts back these, and the
    machine's own are as the file has them. After the reboot it is one command."""
    own = kept.run("nft", "list", "table", "inet", "own").stdout
    bascule(kept, "up", "lab.yaml", "--world", "host")
    kept.run("nft", "-f", "own.nft")
    assert any("nft table" in change for change in changes(kept, "lab.yaml"))
    assert bascule(kept, "plan", "kept", "--exit-code", check=False).returncode == 3
    bascule(kept, "up", "kept")
    assert bascule(kept, "plan", "kept", "--exit-code").returncode == 0
    assert kept.run("nft", "list", "table", "inet", "own").stdout == own
    _answers(kept)

    shown = as_json(kept, "show", "kept")["nodes"]
    kept.run("nft", "-f", "own.nft")
    reboot(kept)
    (lab,) = as_json(kept, "ls")
    assert (lab["name"], lab["state"]) == ("kept", "kept")
    bascule(kept, "restore")
    assert lasting(as_json(kept, "show", "kept")["nodes"]) == lasting(shown)
    assert bascule(kept, "plan", "kept", "--exit-code").returncode == 0
    _answers(kept)
    bascule(kept, "down", "kept")
    assert [link["ifname"] for link in kept.ip_json("link", "show")] == ["lo"]
    assert kept.run("nft", "list", "ruleset").stdout == own


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_an_upgrade_reads_what_an_older_version_wrote(kept: World, path: Path) -> None:
    """The record of a lab that is up, as the bascule of that day wrote it: the lab is listed, stays
    as it is but for its rules, is changed, and goes without a trace."""
    before = machine.state()
    bascule(kept, "up", "lab.yaml", "--world", "host")
    place = Path("/run/bascule/kept/lab.json")
    old: dict[str, Any] = json.loads(path.read_text())
    now = json.loads(place.read_text())
    assert old["topology"]["networks"] == now["topology"]["networks"]
    place.write_text(json.dumps({**old, **{key: now[key] for key in OF_THE_MACHINE if key in old}}))

    (lab,) = as_json(kept, "ls")
    assert (lab["name"], lab["state"]) == ("kept", "up")
    _answers(kept)
    assert {change.split()[1] for change in changes(kept, "lab.yaml")} <= {"nft"}
    bascule(kept, "up", "lab.yaml")
    assert bascule(kept, "plan", "lab.yaml", "--exit-code").returncode == 0
    bascule(kept, "node", "add", "more", "--network", "back")
    bascule(kept, "exec", "more", "--", "ping", "-qc1", "-W5", "db")
    bascule(kept, "down", "kept")
    assert machine.difference(before, machine.state()) == ""


def test_uninstalled_while_a_lab_is_up(kept: World) -> None:
    """It is refused, with the lab's name; the lab may be left, and goes once bascule is back."""
    prefix = Path("prefix").absolute()
    (prefix / "lib/bascule").mkdir(parents=True)
    (prefix / "bin").mkdir()
    program = prefix / "bin/bascule"
    program.symlink_to(BASCULE)
    before = machine.state()
    bascule(kept, "up", "lab.yaml", "--world", "host")
    install = str(TOOLS / "install.sh")
    refused = kept.run(install, "--remove", str(prefix), check=False)
    assert refused.returncode == 1
    assert "kept" in refused.stderr
    assert "bascule down --all" in refused.stderr
    assert program.exists()
    said = kept.run(install, "--remove", "--leave", str(prefix)).stdout
    assert "left as they are: kept" in said
    assert not [path for path in prefix.rglob("*") if "bascule" in path.name]
    kept.run("ip", "netns", "exec", "db", "ping", "-qc1", "-W5", "10.62.0.2")
    bascule(kept, "down", "--all")
    assert machine.difference(before, machine.state()) == ""
