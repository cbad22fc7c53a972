"""What people and programs read of a lab that is up."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from helpers import bascule
from sandbox import BASCULE, World

SEED = Path(__file__).parents[2] / "examples" / "docker-bridge.yaml"


@pytest.fixture
def up(world: World) -> World:
    """The tutorial's lab is up."""
    world.run(BASCULE, "up", str(SEED))
    return world


def _bascule(world: World, *arguments: str) -> str:
    return bascule(world, *arguments).stdout


def test_show_is_a_table_in_a_pipe(up: World) -> None:
    """One table for `ip a`, `brctl show` and `route -n`."""
    text = _bascule(up, "show")
    assert text.splitlines()[1].split() == [
        "mydocker0",
        "up",
        "1500",
        "172.16.1.254/16",
        "veth1",
        "veth2",
    ]
    assert "default via 172.16.1.254 dev veth1p" in text
    assert "\x1b" not in text


def test_show_is_a_tree_on_a_terminal(up: World) -> None:
    """In colour, and without where NO_COLOR is set."""
    controller, terminal = pty.openpty()
    subprocess.run(
        [BASCULE, "show"],
        stdout=terminal,
        check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    text = os.read(controller, 65536).decode()
    os.close(controller)
    assert "└" in text
    assert "ns1" in text
    assert "\x1b[" in text


def test_json_of_everything_that_reads(up: World) -> None:
    """Programs get data."""
    shown = json.loads(_bascule(up, "show", "--json"))
    assert shown["nodes"][0]["interfaces"][0]["addresses"] == ["172.16.1.1/16"]
    assert json.loads(_bascule(up, "ls", "--json"))[0]["name"] == "docker-bridge"
    assert json.loads(_bascule(up, "network", "ls", "--json"))[0]["bridge_ports"] == [
        "veth1",
        "veth2",
    ]
    assert len(json.loads(_bascule(up, "network", "inspect", "mydocker0"))["attached"]) == 2
    assert json.loads(_bascule(up, "node", "ls", "--json"))[1]["name"] == "ns2"
    assert json.loads(_bascule(up, "inspect", "mydocker0"))["up"] is True
    assert json.loads(_bascule(up, "ping", "--json"))[0]["milliseconds"] > 0
    plan = {"lab": "docker-bridge", "changes": [], "notes": []}
    assert json.loads(_bascule(up, "plan", str(SEED), "--json")) == plan
    assert {
        item["what"] for item in json.loads(up.run(BASCULE, "doctor", "--json", check=False).stdout)
    } >= {
        *("kernel", "nft", "rules", "rules of bridges", "flows"),
    }


def test_inspect_yaml_is_a_file_that_up_accepts(up: World, tmp_path: Path) -> None:
    """And nothing is left to do."""
    (tmp_path / "again.yaml").write_text(_bascule(up, "inspect", "--yaml"))
    assert "nothing to do" in _bascule(up, "plan", str(tmp_path / "again.yaml"))


def test_explain_prints_the_commands_as_they_are_done(world: World, tmp_path: Path) -> None:
    """On up, on imperative commands and on down; run as a script they build the same."""
    done = _bascule(world, "up", "--explain", str(SEED))
    assert "ip netns add ns1" in done
    assert done.splitlines()[0].startswith("ip link add dev mydocker0 ")
    assert "ip netns add ns3" in _bascule(world, "node", "add", "ns3", "--explain")
    assert "ip link del dev mydocker0" in _bascule(world, "down", "docker-bridge", "--explain")


def test_dry_run_touches_nothing(world: World) -> None:
    """On up, down and imperative commands."""
    assert "+ namespace ns1" in _bascule(world, "up", "--dry-run", str(SEED))
    assert world.run("ip", "netns", "list").stdout == ""
    world.run(BASCULE, "up", str(SEED))
    assert "- namespace ns1" in _bascule(world, "down", "--dry-run")
    assert "- namespace ns1" in _bascule(world, "node", "rm", "ns1", "--dry-run")
    assert "+ namespace ns9" in _bascule(world, "node", "add", "ns9", "--dry-run")
    assert len(world.run("ip", "netns", "list").stdout.splitlines()) == 2


def test_ping_prints_a_matrix_or_counts(world: World, tmp_path: Path) -> None:
    """Up to 20 nodes a matrix; above, counts and the failures; code 1 where one fails."""
    world.run(BASCULE, "up", str(SEED))
    assert _bascule(world, "ping").splitlines()[0].split()[-2:] == ["ns1", "ns2"]
    world.run(BASCULE, "down", "--all")
    (tmp_path / "many.yaml").write_text("nodes: {n: {count: 21, networks: [lan]}}\n")
    world.run(BASCULE, "up", "many.yaml")
    assert _bascule(world, "ping") == "420 pairs, 420 answered, 0 failed\n"
    world.run("ip", "-n", "n7", "link", "set", "eth0", "down")
    done = world.run(BASCULE, "ping", "--timeout", "0.3", check=False)
    assert done.returncode == 1
    assert "420 pairs, 380 answered, 40 failed" in done.stdout
    assert "n1 -> n7 " in done.stdout


def test_imperative_verbs(world: World) -> None:
    """create, add, connect, disconnect, rm, prune, and what they refuse."""
    for line in (
        "network create lan --subnet 10.8.0.0/24",
        "network create wan --subnet 10.9.0.0/24",
        "node add a --network lan",
        "node add b --network lan --sysctl net.ipv4.ip_forward=1",
        "network connect wan b",
    ):
        world.run(BASCULE, *line.split())
    assert "2 pairs, 2 answered" in _bascule(world, "ping")
    assert "10.9.0.2" in _bascule(world, "node", "ls")
    refused = world.run(BASCULE, "network", "rm", "lan", check=False)
    assert refused.returncode == 2
    assert "a, b" in refused.stderr
    assert world.run(BASCULE, "node", "rm", "c", check=False).returncode == 2
    world.run(BASCULE, "network", "disconnect", "wan", "b")
    world.run(BASCULE, "network", "prune")
    assert [n["name"] for n in json.loads(_bascule(world, "network", "ls", "--json"))] == ["lan"]
    world.run(BASCULE, "network", "rm", "lan", "--force")
    world.run(BASCULE, "node", "rm", "a")
    assert [n["name"] for n in json.loads(_bascule(world, "node", "ls", "--json"))] == ["b"]
    world.run(BASCULE, "down")
    assert world.run("ip", "netns", "list").stdout == ""


@pytest.mark.parametrize(
    ("code", "script"), [(0, "true"), (3, "exit 3"), (127, None), (143, "kill -TERM $$")]
)
def test_exec_gives_the_commands_own_code(up: World, code: int, script: str | None) -> None:
    """Also where it was killed, as a shell counts, or not found."""
    argv = ["sh", "-c", script] if script else ["no-such-program"]
    done = up.run("sh", "-c", '"$0" exec ns1 -- "$@"; exit $?', BASCULE, *argv, check=False)
    assert done.returncode == code


def test_a_bar_from_fifty_nodes_on(world: World, tmp_path: Path) -> None:
    """On a terminal only."""
    (tmp_path / "many.yaml").write_text("name: many\nnodes: {n: {count: 50, networks: [lan]}}\n")
    controller, terminal = pty.openpty()
    subprocess.run(
        [BASCULE, "up", "many.yaml"],
        stderr=terminal,
        check=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    # a slow machine draws more than one read gives
    text = os.read(controller, 65536).decode(errors="replace")
    os.close(controller)
    assert "━" in text
