"""What is held or stopped by others: told or got round, and never waited for in silence."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from bascule.host import files
from helpers import bascule
from sandbox import World, require

LAB = "name: one\nnetworks: {lan: {subnet: 10.1.0.0/24}}\nnodes: {a: [lan]}\n"
OTHER = "name: other\nnetworks: {olan: {subnet: 10.2.0.0/24}}\nnodes: {b: [olan]}\n"


def test_no_wait_waits_for_no_lock_at_all(world: World) -> None:
    """Not for the one under which labs claim what they need, either; nothing is changed, and what
    only looks works."""
    for name, text in (("one.yaml", LAB), ("other.yaml", OTHER)):
        Path(name).write_text(text)
    bascule(world, "up", "one.yaml")
    with open("/run/bascule/.claims") as claims:
        fcntl.flock(claims, fcntl.LOCK_EX)
        begun = time.monotonic()
        for words in (
            ("up", "other.yaml"),
            ("up", "one.yaml"),
            ("down", "one"),
            ("node", "rm", "a", "--lab", "one"),
        ):
            done = bascule(world, *words, "--no-wait", check=False)
            assert done.returncode == 1, words
            assert f"(process {os.getpid()}); try again, or leave out --no-wait" in done.stderr
        assert "one " in bascule(world, "ls").stdout
        assert "to add" in bascule(world, "plan", "other.yaml").stdout
        assert time.monotonic() - begun < 10  # half a second each, on a busy machine
    assert not Lab.load("one.yaml").plan()
    bascule(world, "down", "one")


@pytest.mark.parametrize("verb", ["up", "down", "ls", "show"])
def test_a_state_directory_below_a_missing_folder(world: World, verb: str) -> None:
    """One line, and the end: nobody makes that folder by waiting."""
    Path("one.yaml").write_text(LAB)
    world.run("mount", "-t", "tmpfs", "none", "/mnt")
    for place in ("/mnt/no/where", "/proc/nowhere"):
        done = bascule(
            world, verb, *{"up": ["one.yaml"], "ls": []}.get(verb, ["one"]), check=False, timeout=20,  # noqa: E501
            env={**os.environ, "BASCULE_STATE_DIR": place},
        )  # fmt: skip
        if verb in ("up", "down"):
            advice = "set BASCULE_STATE_DIR to a folder that you can write to"
            assert done.stderr == f"bascule: {place}: No such file or directory; {advice}\n"
        assert done.returncode == {"up": 1, "down": 1, "ls": 0, "show": 2}[verb]
    world.run("umount", "/mnt")


def test_a_name_server_that_is_stopped_is_replaced(world: World) -> None:
    """SIGSTOP: it lives, and answers nobody. The plan says so, `up` starts another, `down` ends it
    without long waiting."""
    require("dnsmasq", "nft", "dig")
    data = {
        "name": "names",
        "networks": {"lan": {"subnet": "10.1.0.0/24", "dns": True}},
        "nodes": {"a": ["lan"], "b": ["lan"]},
    }
    lab = Lab.from_data(data, world="host")
    lab.up()
    note = Path("/run/bascule/names/dns/out.pid")
    stopped = int(note.read_text())
    os.kill(stopped, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOWAIT)
    assert [(change.sign, change.reason) for change in lab.plan().changes] == [("~", "is stopped")]
    lab.up()
    assert int(note.read_text()) != stopped
    asked = lab.node("a").run(
        ["dig", "+short", "+tries=1", "@10.1.0.1", "b.lan"], capture_output=True
    )
    assert asked.stdout == "10.1.0.3\n"
    os.kill(int(note.read_text()), signal.SIGSTOP)
    os.waitid(os.P_PID, int(note.read_text()), os.WSTOPPED | os.WNOWAIT)
    begun = time.monotonic()
    lab.down()
    assert time.monotonic() - begun < 2  # what one that can't hear is given before it is killed


def test_notes_of_folders_that_somebody_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands half-way is undone, and who holds them is told."""
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    Path("other.yaml").write_text(OTHER)
    os.mkdir("/run/bascule", 0o711)
    Path("/run/bascule/.made").touch(0o600)
    before = machine.state()
    with open("/run/bascule/.made") as notes:
        fcntl.flock(notes, fcntl.LOCK_EX)
        done = bascule(world, "up", "other.yaml", check=False)
    assert done.returncode == 1
    assert "/run/bascule/.made is in use by " in done.stderr
    assert f"(process {os.getpid()}), for longer than 0.1 s; try again" in done.stderr
    assert machine.difference(before, machine.state()) == ""
