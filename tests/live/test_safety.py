"""Nothing is taken over, nothing is lost: foreign objects, locks, failures half-way, kills, damaged
state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.api import Lab
from helpers import SEED, STATE, as_json, bascule
from sandbox import BASCULE, World, difference

FOREIGN = {
    "namespace": ("ip netns add ns2", "namespace ns2 is there already and bascule did not make it"),
    "bridge": (
        "ip link add mydocker0 type bridge",
        "bridge mydocker0 mtu 1500 is there already and bascule did not make it",
    ),
    "link": ("ip link add veth2 type veth peer name x", "veth2"),
    "another kind of link": (
        "ip link add mydocker0 type ifb",
        "interface mydocker0 is there already",
    ),
    "file": (
        "mkdir -p /etc/netns && touch /etc/netns/ns1",
        "/etc/netns/ns1 is there already and bascule did not make it",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_objects_are_never_taken_over(world: World, kind: str) -> None:
    """The error names it; nothing is touched; it is never removed."""
    command, message = FOREIGN[kind]
    world.run("sh", "-ec", command)
    before = world.snapshot(exclude=())
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    bascule(world, "down", "docker-bridge", check=False)
    assert difference(before, world.snapshot(exclude=())) == ""


def test_a_namespace_that_was_made_anew_by_hand_is_foreign(world: World) -> None:
    """The name is the lab's, the namespace is not: its cookie tells."""
    bascule(world, "up", SEED)
    world.run("sh", "-ec", "ip netns del ns1; ip netns add ns1")
    done = bascule(world, "up", SEED, check=False)
    assert "namespace ns1 is there already and bascule did not make it" in done.stderr
    bascule(world, "down", "docker-bridge")
    assert [line.split()[0] for line in world.run("ip", "netns", "list").stdout.splitlines()] == [
        "ns1"
    ]


def test_the_owner_is_named_where_it_is_known(world: World) -> None:
    """Two labs want the same names and the same subnet: the second gets a clear error, the first is
    untouched."""
    bascule(world, "up", SEED)
    before = world.snapshot(exclude=())
    done = bascule(world, "up", SEED, "--name", "second", check=False)
    assert done.returncode == 1
    assert (
        "subnet 172.16.0.0/16 of mydocker0 overlaps 172.16.0.0/16 of mydocker0 in lab docker-bridge"
        in done.stderr
    )
    assert "namespace ns1 belongs to lab docker-bridge" in done.stderr
    assert difference(before, world.snapshot(exclude=())) == ""


HOLD = """
import sys, time
from bascule.state import lock
with lock.lab_lock("docker-bridge", "bascule up"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_command_waits_and_says_for_what(world: World) -> None:
    """--no-wait fails at once."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        refused = bascule(world, "up", SEED, "--no-wait", check=False)
        assert refused.returncode == 1
        assert (
            f"lab docker-bridge is in use by `bascule up` (process {holder.pid})" in refused.stderr
        )
        with subprocess.Popen([BASCULE, "up", SEED], stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr is not None
            assert f"waiting for `bascule up` (process {holder.pid})" in waiting.stderr.readline()
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert waiting.wait(20) == 0


def test_a_failure_half_way_is_undone(world: World) -> None:
    """The kernel says no in the middle: what was acknowledged is undone, and the error says so."""
    Path("lab.yaml").write_text(
        "name: half\nnetworks: {lan: {subnet: 10.3.0.0/24}}\n"
        "nodes: {a: [lan], b: {networks: [lan], sysctls: {net.ipv4.no_such_setting: 1}}, c: "
        "[lan]}\n"
    )
    before = world.snapshot(exclude=())
    done = bascule(world, "up", "lab.yaml", check=False)
    assert done.returncode == 1
    assert "sysctl -qw net.ipv4.no_such_setting=1" in done.stderr
    assert "undone: " in done.stderr
    assert bascule(world, "ls", "--json").stdout.strip() == "[]"
    after = world.snapshot(exclude=())
    assert difference(before, after) == ""


def test_a_failed_change_leaves_the_lab_as_it_was(world: World) -> None:
    """A run that fails on a lab that is up gives back what that lab had."""
    Path("lab.yaml").write_text(
        "name: half\nnetworks: {lan: {subnet: 10.3.0.0/24}}\nnodes: {a: [lan], b: [lan]}\n"
    )
    bascule(world, "up", "lab.yaml")
    before = world.snapshot(exclude=STATE)
    Path("bad.yaml").write_text(
        "name: half\nnetworks: {lan: {subnet: 10.3.0.0/24}}\n"
        "nodes: {a: [lan], d: {networks: [lan], sysctls: {net.ipv4.no_such_setting: 1}}}\n"
    )
    assert bascule(world, "up", "bad.yaml", check=False).returncode == 1
    assert difference(before, world.snapshot(exclude=STATE)) == ""
    assert "nothing to do" in bascule(world, "up", "lab.yaml").stderr


def test_an_interrupt_undoes_and_says_130(world: World) -> None:
    """Ctrl-C in the middle of `up`."""
    before = world.snapshot(exclude=())
    Path("lab.yaml").write_text(
        "name: big\nnetworks: {lan: {subnet: 10.4.0.0/16}}\nnodes: {n: {count: 150, networks: "
        "[lan]}}\n"
    )
    with subprocess.Popen(
        [BASCULE, "up", "--explain", "lab.yaml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as up:
        assert up.stdout is not None
        for _line in range(30):
            up.stdout.readline()
        up.send_signal(signal.SIGINT)
        _out, error = up.communicate(timeout=60)
    assert up.returncode == 130
    assert b"interrupted; undone:" in error
    assert difference(before, world.snapshot(exclude=())) == ""


DAMAGED = {
    "cut short": '{"version":1,"na',
    "another version": '{"version": 99}',
    "not an object": "[]",
    "lacking": '{"version":1}',
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_record_gives_an_error_that_says_how_to_go_on(world: World, damage: str) -> None:
    """No traceback, and `ls` still lists the lab."""
    bascule(world, "up", SEED)
    Path("/run/bascule/docker-bridge/lab.json").write_text(DAMAGED[damage])
    for command in (("up", SEED), ("down", "docker-bridge"), ("show", "docker-bridge")):
        done = bascule(world, *command, check=False)
        assert done.returncode == 1
        assert "/run/bascule/docker-bridge/lab.json" in done.stderr
        assert "Traceback" not in done.stderr
    assert [row["state"] for row in as_json(world, "ls")] == ["damaged"]


@pytest.mark.parametrize("why", ["damaged", "elsewhere"])
def test_a_lab_that_nobody_can_tell_of_keeps_what_it_has(world: World, why: str) -> None:
    """Its record is damaged, or in another state directory: the next lab does not take its indexes
    for its own."""
    bascule(world, "up", SEED)
    environment = dict(os.environ)
    if why == "damaged":
        Path("/run/bascule/docker-bridge/lab.json").write_text("{")
    else:
        environment["BASCULE_STATE_DIR"] = "/run/other"
    links = _links(world)
    Path("/run/next.yaml").write_text(
        "networks: {lan: {subnet: 10.77.0.0/24}}\nnodes: {a: [lan]}\n"
    )
    bascule(world, "up", "/run/next.yaml", env=environment)
    assert links < (now := _links(world))
    assert {row[1] for row in now - links} == {"lan", "veth-a"}
    bascule(world, "down", "next", env=environment)
    assert _links(world) == links


def _links(world: World) -> set[tuple[int, str, str]]:
    return {(row["ifindex"], row["ifname"], row.get("master", "")) for row in world.ip_json("link")}


def test_state_files_are_private_and_whole(world: World) -> None:
    """Mode 0600 in a folder of mode 0700, with a version."""
    bascule(world, "up", SEED)
    folder = Path("/run/bascule/docker-bridge")
    record = folder / "lab.json"
    assert record.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o711
    assert json.loads(record.read_text())["version"] == 1


def test_a_state_directory_of_somebody_else_is_refused(world: World) -> None:
    """World-writable, or a link that somebody planted."""
    os.mkdir("/run/bascule", 0o777)
    os.chmod("/run/bascule", 0o777)  # noqa: S103 (the point of the test)
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert "others may write to it" in done.stderr
    os.rmdir("/run/bascule")
    os.symlink("/tmp", "/run/bascule")
    assert "/run/bascule is not a folder" in bascule(world, "up", SEED, check=False).stderr


def test_a_state_directory_that_is_full_or_read_only_fails_before_the_kernel(world: World) -> None:
    """The error comes first, and nothing was touched."""
    os.makedirs("/run/ro")
    world.run("mount", "-t", "tmpfs", "-o", "ro", "none", "/run/ro")
    before = world.snapshot(exclude=())
    done = bascule(
        world, "up", SEED, check=False, env={**os.environ, "BASCULE_STATE_DIR": "/run/ro/state"}
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert difference(before, world.snapshot(exclude=())) == ""


def test_what_the_machine_lacks_is_told_all_at_once(world: World, tmp_path: Path) -> None:
    """One line for each, before anything is touched."""
    file = tmp_path / "lab.yaml"
    file.write_text(
        """
        networks:
          a: {subnet: 10.1.0.0/24, nat: true, outbound_address: 192.0.2.9, uplink: up9}
          b: {subnet: 10.2.0.0/24, uplink: port9}
        nodes:
          n: {netns: /run/netns/nobodys}
          m: [a]
        """
    )
    world.run(
        "sh",
        "-ec",
        (
            "ip link add theirs type bridge; ip link add port9 type veth peer name x; ip link set "
            "port9 master theirs"
        ),
    )
    before = world.snapshot(exclude=())
    done = bascule(world, "up", str(file), check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        (
            "bascule: node n: there is no network namespace at /run/netns/nobodys; does the "
            "process still run?"
        ),
        (
            "bascule: network a: outbound_address 192.0.2.9 is no address of this machine; add it "
            "first"
        ),
        "bascule: network a: the machine has no interface up9 for its uplink; see `ip -br link`",
        "bascule: network b: port9 is a port of theirs already; choose another uplink",
    ]
    assert difference(before, world.snapshot(exclude=())) == ""


def test_what_took_the_place_of_the_labs_own_stays_and_is_told(world: World) -> None:
    """By `down`: a bridge of the same name that somebody else has made, or a bascule that numbered
    its links otherwise."""
    lab = Lab.from_data({"name": "lab", "networks": {"lan": {}}, "nodes": {"a": ["lan"]}})
    lab.up()
    world.run("ip", "link", "del", "lan")
    world.run("ip", "link", "add", "lan", "type", "bridge")
    said = bascule(world, "down", "lab").stderr
    assert "bridge lan mtu 1500 stays: it is not the lab's" in said
    assert "veth" not in said
    assert [link["ifname"] for link in world.ip_json("link", "show", "type", "bridge")] == ["lan"]
    world.run("ip", "link", "del", "lan")
