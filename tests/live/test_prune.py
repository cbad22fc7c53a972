"""`system prune`: what is left of labs that nobody knows any more goes, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import machine
from bascule.api import Lab, leftovers
from bascule.host import etc_links
from helpers import EXAMPLES, bascule
from sandbox import BASCULE, World, require

WEB = next(path for path in EXAMPLES if path.stem == "web")
STATE = Path("/run/bascule")


def _forget_links() -> None:
    """What a lab without its links in /etc/netns is known by are its interfaces and its rules."""
    for link in Path("/etc/netns").iterdir():
        if "/web/" in os.readlink(link):
            link.unlink()
    shutil.rmtree(STATE / "web")
    Path("/var/lib/bascule/web.links").unlink()


LOSSES: dict[str, Callable[[], object]] = {
    "damaged": lambda: (STATE / "web/lab.json").write_text("{"),
    "its record": (STATE / "web/lab.json").unlink,
    "its folder": lambda: shutil.rmtree(STATE / "web"),
    "folder and links": _forget_links,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_has_lost_its_record_goes(world: World, loss: str) -> None:
    """Whatever still tells of it; not the lab beside it, nor what the machine has."""
    require("nft", "dnsmasq")
    world.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    world.run("ip", "netns", "add", "stranger")
    world.run("ip", "link", "add", "mine", "type", "bridge")
    other = Lab.from_data({"name": "other", "nodes": {"o": ["o-lan"], "p": ["o-lan"]}})
    other.up()
    assert leftovers() == []
    before = machine.state()
    bascule(world, "up", str(WEB), "--world", "host")
    LOSSES[loss]()
    assert leftovers()
    bascule(world, "system", "prune", "--force", *(["--all"] if "links" in loss else []))
    assert leftovers() == []
    assert not other.plan()
    assert machine.difference(before, machine.state()) == ""
    other.down()


def test_a_lab_of_another_state_directory_is_not_left_over(world: World) -> None:
    """Its note says where its record stands; without nodes it has none, and is left unless all is
    asked for."""
    other = {**os.environ, "BASCULE_STATE_DIR": "/run/others"}
    Path("other.yaml").write_text("name: theirs\nnodes: {o: [o-lan]}\n")
    Path("empty.yaml").write_text("name: empty\nnetworks: {e-lan: {}}\n")
    bascule(world, "up", "other.yaml", "--world", "host", env=other)
    bascule(world, "up", "empty.yaml", "--world", "host", env=other)
    assert etc_links.state_of("theirs") == "/run/others"
    before = machine.state()
    said = bascule(world, "system", "prune", "--force").stderr
    assert "theirs" not in said
    assert "e-lan" in said
    assert "--all" in said
    assert machine.difference(before, machine.state()) == ""
    seen = bascule(world, "system", "prune", "--all", "--dry-run").stdout
    assert ("e-lan" in seen, "o-lan" in seen) == (True, False)
    shutil.rmtree("/run/others/theirs")  # now nobody knows it
    bascule(world, "system", "prune", "--force")
    assert [link["ifname"] for link in world.ip_json("link", "show", "type", "bridge")] == ["e-lan"]
    bascule(world, "down", "empty", env=other)


def test_rules_in_the_chains_of_others_go(world: World) -> None:
    """Which let pass what comes from a bridge of the lab's."""
    require("nft")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    world.run(
        "nft",
        "add table ip filter; add chain ip filter FORWARD "
        "{ type filter hook forward priority 0; policy drop; }",
    )
    before = machine.state()
    lab = Lab.from_data(
        {"name": "web", "networks": {"lan": {"nat": True}}, "nodes": {"a": ["lan"]}}
    )
    lab.up()
    (STATE / "web/lab.json").write_text("garbage")
    assert "lan" in world.run("nft", "list", "table", "ip", "filter").stdout
    bascule(world, "system", "prune", "--force")
    assert "lan" not in world.run("nft", "list", "table", "ip", "filter").stdout
    assert machine.difference(before, machine.state()) == ""


def test_a_private_world_that_has_ended_is_forgotten(world: World) -> None:
    """One that lives without its record is a lab, and stays."""
    for name in ("ended", "living"):
        Lab.from_data({"name": name, "nodes": {"a": ["lan"]}}, world="private").up()
    told = json.loads((STATE / "ended/lab.json").read_text())
    os.kill(told["keeper"]["pid"], 9)
    (STATE / "living/lab.json").unlink()
    deadline = time.monotonic() + 20  # what it held ends by and by
    while not (found := leftovers()) and time.monotonic() < deadline:
        pass
    assert [each.name for each in found] == ["ended"]
    bascule(world, "system", "prune", "--force")
    assert [row["name"] for row in json.loads(bascule(world, "ls", "--json").stdout)] == ["living"]
    Lab("living").down()


def test_it_asks_first(world: World) -> None:
    """Where nobody can be asked, nothing is done."""
    require("script")
    Lab.from_data({"name": "web", "nodes": {"a": ["lan"]}}, world="host").up()
    (STATE / "web/lab.json").write_text("{")
    before = machine.state()
    refused = world.run(BASCULE, "system", "prune", check=False, input="y\n")
    assert (refused.returncode, "give --force" in refused.stderr) == (2, True)
    for answer, code in (("n", 1), ("", 1)):
        words = ["script", "-qec", f"{BASCULE} system prune", "/dev/null"]
        done = world.run(*words, check=False, input=f"{answer}\n")
        assert (done.returncode, "Take this away? [y/N]" in done.stdout) == (code, True)
        assert machine.difference(before, machine.state()) == ""
    told = json.loads(bascule(world, "system", "prune", "--dry-run", "--json").stdout)
    assert [(each["name"], each["sure"]) for each in told] == [("web", True)]
    done = world.run("script", "-qec", f"{BASCULE} system prune", "/dev/null", input="y\n")
    assert "web is gone" in done.stdout
    assert leftovers() == []
