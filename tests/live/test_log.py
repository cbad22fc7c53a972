"""A log of what was done to the machine: who did what to which lab, before it is done and after."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bascule.api import Lab
from bascule.errors import BasculeError
from bascule.host import log
from helpers import bascule
from sandbox import World

FILE = "name: web\nnetworks: {lan: {subnet: 10.8.0.0/24}}\nnodes: {a: [lan]}\n"


@pytest.fixture
def file(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log, and a lab file in this folder."""
    Path("web.yaml").write_text(FILE)
    path = Path("bascule.log").absolute()
    monkeypatch.setenv("BASCULE_LOG", "bascule.log")
    return path


def _said(file: Path) -> list[str]:
    return [line.partition("]: ")[2] for line in file.read_text().splitlines()]


def test_each_run_is_told(world: World, file: Path) -> None:
    """Before it is done, with each change, and what came of it; what changes nothing is not."""
    bascule(world, "up", "web.yaml", "--world", "host")
    first = _said(file)
    assert first[0].startswith(f"lab web: bascule up by {log.user()} begins: ")
    assert first[0].endswith(f": {len(first) - 2} changes")
    assert "lab web: + namespace a" in first
    assert first[-1] == "lab web: bascule up is done"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_text().splitlines()[0].startswith("20")
    for words in ("up web.yaml", "plan web.yaml", "ls", "show web"):
        bascule(world, *words.split())
    assert _said(file) == first
    bascule(world, "node", "add", "b")
    assert "lab web: + namespace b" in _said(file)
    bascule(world, "down", "web")
    assert "lab web: - namespace a" in _said(file)
    assert _said(file)[-1] == "lab web: bascule down is done"


def test_what_failed_is_told(world: World, file: Path) -> None:
    """And why."""
    world.run("ip", "link", "add", "full", "type", "bridge")
    lab = Lab.load("web.yaml", world="host")
    lab.add_node("c", sysctls={"net.ipv4.ip_forward": "no number"})
    with pytest.raises(BasculeError):
        lab.up()
    assert _said(file)[-1].startswith("lab web: bascule up failed: ")


def test_what_cannot_be_told_is_done_all_the_same(
    world: World, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, no such folder, a link, a FIFO that nobody reads."""
    Path("full").mkdir()
    world.run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", "full")
    Path("full/log").write_text("x" * 4096)
    world.run("mkfifo", "fifo")
    Path("link").symlink_to("/etc/shadow")
    for path in ("full/log", "/nowhere/log", "link", "fifo", "/", "/dev/null"):
        monkeypatch.setenv("BASCULE_LOG", path)
        bascule(world, "up", "web.yaml", "--world", "host")
        bascule(world, "down", "web")
    assert not file.exists()


def test_private_worlds_are_not_told(world: World, file: Path) -> None:
    """They change nothing of the machine's."""
    with Lab.load("web.yaml", world="private"):
        pass
    assert not file.exists()


def test_the_systems_log(world: World, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is asked for; by itself only of the machine's own network, which this is not. One
    that does not read is not waited for."""
    Path("dev").mkdir()
    for name in ("null", "urandom"):
        Path("dev", name).touch()
        world.run("mount", "--bind", f"/dev/{name}", f"dev/{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("dev/log")
        server.settimeout(10)
        world.run("mount", "--rbind", "dev", "/dev")
        monkeypatch.setenv("BASCULE_LOG", "syslog")
        bascule(world, "up", "web.yaml", "--world", "host")
        told = server.recv(4096).decode()
        assert told.startswith("<29>")  # daemon, notice (RFC 3164, 4.1.1)
        assert (
            f"bascule[{told.partition('[')[2].partition(']')[0]}]: lab web: bascule up by" in told
        )
        monkeypatch.setenv("BASCULE_LOG", "off")
        bascule(world, "down", "web")
        monkeypatch.delenv("BASCULE_LOG")
        assert log.place() == ""
