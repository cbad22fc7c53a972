"""Which network namespace is the host: a lab is worked on where it was built, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule import identity
from bascule.api import Lab
from bascule.errors import Elsewhere
from helpers import as_json, bascule
from sandbox import BASCULE, World
from traffic import inside

KEPT = Path("/var/lib/bascule")
LAB = """\
name: home
networks: {lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true, dns: false}}
nodes: {a: {networks: {lan: {host_interface: cable}}, ports: ["8080:80"]}, b: [lan]}
"""
COMMANDS = (
    ("down", "home"), ("down", "home", "--dry-run"), ("down", "--all"), ("up", "lab.yaml"), ("up", "lab.yaml", "--dry-run"),  # noqa: E501
    ("plan", "lab.yaml"), ("show", "home"), ("inspect", "a"), ("exec", "a", "--", "true"), ("ping", "a", "b"), ("port", "a"),  # noqa: E501
    ("network", "ls", "--lab", "home"), ("network", "create", "more", "--lab", "home"), ("network", "prune", "--lab", "home"),  # noqa: E501
    ("node", "add", "c", "--lab", "home"), ("node", "rm", "a", "--lab", "home"), ("node", "ls", "--lab", "home"),  # noqa: E501
)  # fmt: skip


@pytest.fixture
def up(world: World) -> World:
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml", "--world", "host")
    return world


def test_from_inside_a_node_every_command_is_told_where_the_lab_is(up: World) -> None:
    """And nothing is changed or forgotten, in the kernel, in the record, in what is kept over a
    reboot. The way that is told leads there."""
    before = machine.state()
    here = os.readlink("/proc/thread-self/ns/net")
    with subprocess.Popen(["sleep", "60"]) as resident, inside("a"):
        there = os.readlink("/proc/thread-self/ns/net")
        for words in COMMANDS:
            done = bascule(up, *words, check=False)
            assert done.returncode == (125 if words[0] == "exec" else 2), words
            assert (
                f"lab home is in another network namespace ({here}) than this one ({there}); run"
                in done.stderr
            ), words
            assert done.stdout == ""
        way = done.stderr.partition("there: ")[2].split(" bascule")[0].split()
        assert as_json(up, "ls")[0]["state"] == "elsewhere"
        assert up.run(*way, "readlink", "/proc/self/ns/net").stdout.strip() == here
        assert up.run(*way, BASCULE, "ping").returncode == 0
        with pytest.raises(Elsewhere):
            Lab("home").node("a").run(["true"])
        resident.kill()
    assert machine.difference(before, machine.state()) == ""
    assert not Lab.load("lab.yaml").plan()
    bascule(up, "down", "home")


def _other_host(world: World) -> None:
    world.run("ip", "netns", "add", "host2")
    world.run("ip", "-n", "host2", "link", "set", "lo", "up")


def _ping(world: World, node: str, address: str) -> int:
    return world.run(
        "ip", "netns", "exec", node, "ping", "-qc1", "-W2", address, check=False
    ).returncode


def test_two_hosts_that_share_run_do_not_meet(up: World) -> None:
    """Bridge, interfaces, subnets, ports, settings: each has its own. What /run/netns holds is
    shared, and refused."""
    _other_host(up)
    empty = machine.state()
    first = os.stat("/run/netns/a").st_ino
    Path("lab2.yaml").write_text(
        LAB.replace("name: home", "name: away").replace("a:", "a2:").replace("b:", "b2:")
    )
    with inside("host2"):
        clash = bascule(up, "up", "lab.yaml", "--name", "away", check=False)
        assert clash.returncode == 1
        assert "namespace a belongs to lab home" in clash.stderr
        assert (
            "link" not in clash.stderr
            and "overlaps" not in clash.stderr
            and "published" not in clash.stderr
        )
        bascule(up, "up", "lab2.yaml")
        assert {row["name"]: row["state"] for row in as_json(up, "ls")} == {
            "home": "elsewhere",
            "away": "up",
        }
        assert not Lab.load("lab2.yaml").plan()
    assert {row["name"]: row["state"] for row in as_json(up, "ls")} == {
        "home": "up",
        "away": "elsewhere",
    }
    for node in ("a", "a2"):
        assert _ping(up, node, "10.1.0.3") == _ping(up, node, "fd00:1::3") == 0
    assert bascule(up, "down", "away", check=False).returncode == 2
    with inside("host2"):
        bascule(up, "down", "away")
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
    assert machine.difference(empty, machine.state()) == ""
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert os.stat("/run/netns/a").st_ino == first
    assert not Lab.load("lab.yaml").plan()
    bascule(up, "down", "home")


def test_only_the_machines_own_labs_come_back_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/var/lib is shared by more than one network namespace; that of process 1 is the machine's.
    `down` elsewhere forgets none, and `restore` builds none elsewhere."""
    monkeypatch.delenv("BASCULE_KEEP_DIR")
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml", "--world", "host")
    assert list(KEPT.glob("*.json")) == []
    bascule(world, "down", "home")
    started = (
        "unshare", "--pid", "--fork", "--mount-proc", "sh", "-ec",
        (
            f"{BASCULE} up lab.yaml --world host; cp -r {KEPT} kept; {BASCULE} down home; test ! "
            f"-e {KEPT}; cp -r kept {KEPT}"
        ),
    )  # fmt: skip
    world.run(*started)
    assert [path.name for path in KEPT.glob("*.json")] == ["home.json"]
    done = bascule(world, "restore", check=False)
    assert done.returncode == 2
    assert (
        "this is another one; run it there: nsenter --net=/proc/1/ns/net bascule restore"
        in done.stderr
    )
    assert bascule(world, "down", "home", check=False).returncode == 2
    bascule(world, "up", "lab.yaml", "--world", "host")
    assert bascule(world, "down", "home").returncode == 0
    assert [path.name for path in KEPT.glob("*.json")] == ["home.json"]


def test_whose_network_namespace_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of process 1; where that is hidden the first of the kernel, by its threads or by its
    number."""
    monkeypatch.setattr(identity, "_is_kernel_thread", lambda _pid: True)
    places: dict[str, Any] = {"/proc/1/ns/net": os.stat("/"), "/proc/2/ns/net": os.stat("/proc")}
    real = os.stat

    def stat(path: str, **options: Any) -> os.stat_result:
        if path not in ("/proc/1/ns/net", "/proc/2/ns/net"):
            return real(path, **options)
        if path not in places:
            raise PermissionError
        found: os.stat_result = places[path]
        return found

    monkeypatch.setattr("os.stat", stat)
    for path in list(places):
        for other in ("/", "/proc", "/sys"):
            place = real(other).st_dev, real(other).st_ino
            assert identity.is_machines_own(place) == (
                place == (places[path].st_dev, places[path].st_ino)
            )
        del places[path]
    assert identity.is_machines_own((4, 0xEFFFFFF9))
    assert not identity.is_machines_own((4, 4026532179))


def test_a_namespace_that_has_ended_is_not_taken_for_this_one(up: World) -> None:
    """Inodes are given out again, cookies are not; what to do about such a lab is told. A record of
    an older version says nothing, and is believed."""
    record = Path("/run/bascule/home/lab.json")
    data = json.loads(record.read_text())
    right = data["host"]
    data["host"][2] += 1_000_000
    record.write_text(json.dumps(data))
    done = bascule(up, "down", "home", check=False)
    assert done.returncode == 2
    assert "lab home is in another network namespace" in done.stderr
    data["host"] = [4, 1, 0]
    record.write_text(json.dumps(data))
    done = bascule(up, "down", "home", check=False)
    assert (
        "if it has ended (a container that was started anew), remove /run/bascule/home"
        in done.stderr
    )
    del data["host"]
    record.write_text(json.dumps(data))
    bascule(up, "up", "lab.yaml")
    assert json.loads(record.read_text())["host"][:2] == right[:2]
    bascule(up, "down", "home")


def test_nodes_that_would_go_with_the_command_are_refused(world: World) -> None:
    """`ip netns exec` gives the command a copy of the mounts, and what is pinned there nobody else
    sees; nsenter does not."""
    Path("lab.yaml").write_text(LAB)
    _other_host(world)
    before = machine.state()
    for made in (
        ("ip", "netns", "exec", "host2"),
        ("ip", "netns", "exec", "host2", "timeout", "60"),
        ("unshare", "-m"),
    ):
        done = world.run(*made, BASCULE, "up", "lab.yaml", "--world", "host", check=False)
        assert done.returncode == 2, made
        assert "nodes made here would go with this command" in done.stderr
        assert machine.difference(before, machine.state()) == ""
    way = ("nsenter", "--net=/run/netns/host2")
    world.run(*way, BASCULE, "up", "lab.yaml", "--world", "host")
    assert _ping(world, "a", "10.1.0.3") == 0
    # What only takes away may well do so from there.
    world.run("ip", "netns", "exec", "host2", BASCULE, "down", "home")
    assert machine.difference(before, machine.state()) == ""
