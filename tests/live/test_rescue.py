"""`down --force`: a lab whose record can't be read is taken away by what is to be seen of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from bascule.engine import look
from bascule.errors import NotFound
from helpers import EXAMPLES, bascule
from sandbox import BASCULE, World, require

WEB = next(path for path in EXAMPLES if path.stem == "web")
RECORD = Path("/run/bascule/web/lab.json")


def _newer() -> None:
    data = json.loads(RECORD.read_text())
    RECORD.write_text(json.dumps({**data, "version": 2, "what": "nobody knows"}))


def _wrong_topology() -> None:
    data = json.loads(RECORD.read_text())
    RECORD.write_text(json.dumps({**data, "topology": {"nodes": {"database": {"networks": 1}}}}))


def _in_place_of_the_file() -> None:
    RECORD.unlink()
    subprocess.run(["mkfifo", RECORD], check=True)


DAMAGES: dict[str, Callable[[], object]] = {
    "garbage": lambda: RECORD.write_text("garbage"),
    "cut": lambda: RECORD.write_text(RECORD.read_text()[:500]),
    "empty": lambda: RECORD.write_text(""),
    "gone": RECORD.unlink,
    "another version": _newer,
    "a topology that is none": _wrong_topology,
    "no plain file": _in_place_of_the_file,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lab_without_its_record_goes(world: World, damage: str) -> None:
    """Bridges, namespaces, rules, name servers and files; nothing of the lab beside it, and nothing
    of the machine's own."""
    require("nft", "dnsmasq")
    # what only the record knows is not tried here
    world.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    world.run("ip", "netns", "add", "stranger")
    world.run("ip", "link", "add", "mine", "type", "bridge")
    other = Lab.from_data({"name": "other", "nodes": {"o": ["o-lan"], "p": ["o-lan"]}})
    other.up()
    before = machine.state()
    bascule(world, "up", str(WEB), "--world", "host")
    DAMAGES[damage]()
    done = bascule(world, "down", "--force", "web")
    assert done.stderr.endswith("bascule: web is down\n")
    assert machine.difference(before, machine.state()) == ""
    assert not other.plan()
    bascule(world, "up", str(WEB), "--world", "host")
    bascule(world, "down", "web")
    assert machine.difference(before, machine.state()) == ""
    other.down()


def test_two_that_nothing_tells_apart_but_their_nodes(world: World) -> None:
    """Each by the interfaces in its own."""
    labs = [
        Lab.from_data({"name": name, "nodes": {f"{name}-a": [f"{name}-lan"]}}, world="host")
        for name in ("one", "two")
    ]
    before = machine.state()
    for lab in labs:
        lab.up()
        Path(f"/run/bascule/{lab.name}/lab.json").write_text("{")
    assert [info.state for info in look.labs()] == ["damaged", "damaged"]
    bascule(world, "down", "--force", "two")
    assert [link["ifname"] for link in world.ip_json("link", "show", "type", "bridge")] == [
        "one-lan"
    ]
    bascule(world, "down", "--all", "--force")
    assert machine.difference(before, machine.state()) == ""


def test_a_namespace_that_somebody_made_since_is_left(world: World) -> None:
    """It bears the name of a node, and has an interface of its own."""
    lab = Lab.from_data({"name": "lab", "nodes": {"a": ["lan"], "b": ["lan"]}}, world="host")
    lab.up()
    world.run("ip", "netns", "del", "a")
    world.run("ip", "netns", "add", "a")
    world.run("ip", "-n", "a", "link", "add", "theirs", "type", "bridge")
    Path("/run/bascule/lab/lab.json").write_text("{")
    said = bascule(world, "down", "--force", "lab").stderr
    assert "not the lab's by their interfaces, and left: namespaces a" in said
    assert world.run("ip", "netns", "list").stdout.split()[0] == "a"
    assert world.ip_json("link", "show", "type", "bridge") == []
    world.run("ip", "netns", "del", "a")


def test_what_another_lab_has_is_never_taken(world: World) -> None:
    """By whatever a damaged record says: its range, its nodes, or that it was in a private world
    that has ended, or in another boot."""
    other = Lab.from_data({"name": "other", "nodes": {"a": ["lan"], "b": ["lan"]}}, world="host")
    other.up()
    before = machine.state()
    data = json.loads(Path("/run/bascule/other/lab.json").read_text())
    wrong = [
        {**data, "name": "web", "version": 2},
        {**data, "name": "web", "version": 2, "world": "private"},
        {**data, "name": "web", "version": 2, "boot": "another"},
        {"name": "web", "slot": data["slot"], "namespaces": {"a": 0}},
    ]
    for each in wrong:
        RECORD.parent.mkdir(mode=0o700)
        RECORD.write_text(json.dumps(each))
        bascule(world, "down", "--force", "web")
        assert not RECORD.parent.exists(), each
        assert machine.difference(before, machine.state()) == ""
    assert not other.plan()
    other.down()


def test_interfaces_that_nothing_tells_apart_are_left_and_told(world: World) -> None:
    """A lab of another state directory has such ones, too."""
    other = {**os.environ, "BASCULE_STATE_DIR": "/run/others"}
    Path("other.yaml").write_text(
        "networks: {o-lan: {subnet: 10.77.0.0/24}}\nnodes: {o: [o-lan]}\n"
    )
    bascule(world, "up", "other.yaml", "--world", "host", env=other)
    before = machine.state()
    RECORD.parent.mkdir(parents=True, mode=0o700)
    RECORD.write_text("garbage")
    said = bascule(world, "down", "--force", "web").stderr
    assert "nothing tells which interfaces were the lab's" in said
    Path("/run/bascule/.claims").unlink()  # the lock of this state directory, which is not empty
    assert machine.difference(before, machine.state()) == ""
    bascule(world, "down", "--all", env=other)


def test_from_another_network_namespace_it_is_left(world: World) -> None:
    """Its record says where it is."""
    lab = Lab.from_data({"name": "web", "nodes": {"a": ["lan"]}}, world="host")
    lab.up()
    RECORD.write_text(json.dumps({**json.loads(RECORD.read_text()), "version": 2}))
    before = machine.state()
    world.run("ip", "netns", "add", "host2")
    words = ("nsenter", "--net=/run/netns/host2", BASCULE, "down", "--force", "web")
    done = world.run(*words, check=False)
    assert (done.returncode, "in another network namespace" in done.stderr) == (2, True)
    world.run("ip", "netns", "del", "host2")
    assert machine.difference(before, machine.state()) == ""
    bascule(world, "down", "--force", "web")


def test_a_private_world_is_found_by_its_note(world: World) -> None:
    """Its keeper has one."""
    lab = Lab.from_data({"name": "web", "nodes": {"a": ["lan"]}}, world="private")
    before = machine.state()
    lab.up()
    RECORD.write_text("{")
    assert bascule(world, "down", "--force", "web").stderr.endswith("bascule: web is down\n")
    assert machine.difference(before, machine.state()) == ""


def test_nothing_to_be_seen_of_it(world: World) -> None:
    """A name that nobody knows is a mistake; of a lab that is whole --force changes nothing."""
    before = machine.state()
    with pytest.raises(NotFound, match="nothing is to be seen of a lab none"):
        Lab("none").rescue()
    assert bascule(world, "down", "--force", "none", check=False).returncode == 2
    assert machine.difference(before, machine.state()) == ""
    lab = Lab.from_data({"name": "web", "nodes": {"a": ["lan"]}}, world="host")
    lab.up()
    assert lab.rescue() == ()
    bascule(world, "down", "--force", "web")
    assert machine.difference(before, machine.state()) == ""
