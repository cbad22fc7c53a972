"""Names that are paths, and what others may have put where bascule looks: each an attack, tried."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from bascule.errors import BasculeError
from helpers import SEED, bascule
from sandbox import NOBODY, World, started_by_root

BAD = (
    "../x",
    "/etc/passwd",
    "..",
    ".",
    "-n",
    "--help",
    "a b",
    "a;reboot",
    "$(reboot)",
    "\x1b[31m",
    "a\nb",
)
PATHS = ("../../tmp/evil", "/tmp/evil", "..", ".", "a/../../b", "a/b", "evil\0", "")


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("command", ["up", "down", "show", "exec"])
def test_a_lab_s_name_is_no_path(world: World, command: str, name: str) -> None:
    """CWE-22: `..` and absolute paths for a lab's name lead nowhere, not even to a record that lies
    there ready."""
    if "\0" in name:
        with pytest.raises(BasculeError):
            Lab(name)
        return
    evil = Path("/run/evil")
    evil.mkdir()
    (evil / "lab.json").write_text(
        json.dumps({"version": 1, "name": "evil", "world": "host", "slot": 0, "topology": {}})
    )
    arguments = {
        "up": ("up", SEED, "--name", name or ".."),
        "down": ("down", name or ".."),
        "show": ("show", name or ".."),
        "exec": ("exec", "--lab", name or "..", "ns1", "true"),
    }
    before = machine.state()
    done = bascule(world, *arguments[command], check=False)
    assert done.returncode in ((125,) if command == "exec" else (1, 2)), done
    assert "Traceback" not in done.stderr
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("kind", ["node", "network", "interface", "host_interface"])
@pytest.mark.parametrize("name", BAD)
def test_no_name_in_a_file_is_a_path_or_an_option(world: World, kind: str, name: str) -> None:
    """CWE-22, CWE-88: refused before anything is touched, and shown without what a terminal would
    obey."""
    attachment = {"address": "10.1.0.2", **({kind: name} if "interface" in kind else {})}
    data = {
        "networks": {name if kind == "network" else "lan": {"subnet": "10.1.0.0/24"}},
        "nodes": {
            name if kind == "node" else "n": {
                "networks": {name if kind == "network" else "lan": attachment}
            }
        },
    }
    Path("lab.json").write_text(json.dumps(data))
    before = machine.state()
    done = bascule(world, "up", "lab.json", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize(
    "planted", ["/run/bascule", "/run/bascule/docker-bridge", "/run/bascule/docker-bridge/lock"]
)
def test_a_link_where_the_state_should_be(world: World, planted: str) -> None:
    """CWE-59: links in place of the state directory, the lab's folder or the lock are not
    followed."""
    target = Path("/run/elsewhere")
    target.mkdir()
    os.makedirs(os.path.dirname(planted), 0o700, exist_ok=True)
    os.symlink(target / "file" if planted.endswith("lock") else target, planted)
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert planted in done.stderr
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("file", ["lab.json", "journal.json", "journal.json.new"])
def test_a_link_where_a_record_should_be(world: World, file: str) -> None:
    """CWE-59: a record is neither read from nor written to where a link leads."""
    target = Path("/run/elsewhere")
    target.write_text("precious")
    os.makedirs("/run/bascule/docker-bridge", 0o700)
    os.chmod("/run/bascule", 0o700)
    os.symlink(target, f"/run/bascule/docker-bridge/{file}")
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert target.read_text() == "precious"


def test_a_link_where_a_namespace_should_be(world: World) -> None:
    """CWE-59: a link in /run/netns is somebody else's, and nothing is mounted on what it leads
    to."""
    target = Path("/run/elsewhere")
    target.write_text("precious")
    os.mkdir("/run/netns")
    os.symlink(target, "/run/netns/ns1")
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert "ns1" in done.stderr
    assert "Traceback" not in done.stderr
    assert target.read_text() == "precious"
    assert not os.path.ismount(target)


@pytest.mark.parametrize("name", ["hosts", "resolv.conf"])
def test_a_link_where_a_node_s_file_should_be(world: World, name: str) -> None:
    """CWE-59: what an administrator keeps in /etc/netns/NODE (ip-netns(8)) is not replaced, nor
    written to where it leads."""
    target = Path("/run/elsewhere")
    target.write_text("precious")
    os.makedirs("/etc/netns/ns1")
    Path(f"/etc/netns/ns1/{name}").symlink_to(target)
    bascule(world, "up", SEED)
    bascule(world, "down", "docker-bridge")
    assert target.read_text() == "precious"
    assert os.readlink(f"/etc/netns/ns1/{name}") == str(target)


@pytest.mark.parametrize(
    "command",
    [("ls",), ("show", "evil"), ("exec", "n", "true"), ("down", "evil"), ("up", str(SEED))],
)
def test_a_state_directory_of_another_user(world: World, command: tuple[str, ...]) -> None:
    """CWE-282, CWE-377: a folder that another user made beforehand is not believed, whatever stands
    in it."""
    if not started_by_root():
        pytest.skip("needs two user ids")
    state = Path("/run/tmp/bascule-0")
    (state / "evil").mkdir(parents=True)
    record = {
        "version": 1,
        "name": "evil",
        "world": "host",
        "slot": 0,
        "topology": {"nodes": {"n": {}}},
        "namespaces": {"n": 0},
    }
    (state / "evil" / "lab.json").write_text(json.dumps(record))
    for place in (state, state / "evil", state / "evil" / "lab.json"):
        os.chown(place, NOBODY, NOBODY)
    done = bascule(
        world, *command, check=False, env={**os.environ, "BASCULE_STATE_DIR": str(state)}
    )
    assert done.returncode == (125 if command[0] == "exec" else 1)
    assert f"{state} belongs to user {NOBODY}" in done.stderr


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_state_directory_that_others_may_write_to(world: World, mode: int) -> None:
    """CWE-732"""
    os.mkdir("/run/bascule")
    os.chmod("/run/bascule", mode)
    for command in (("up", SEED), ("ls",)):
        done = bascule(world, *command, check=False)
        assert done.returncode == 1
        assert "others may write to it" in done.stderr
