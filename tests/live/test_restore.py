"""After a reboot: what is gone, what is kept, and the unit that brings it back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import boot
from helpers import as_json, bascule, lasting, reboot
from sandbox import BASCULE, World, own_folder

KEPT = Path("/var/lib/bascule")
LAB = """\
name: back
networks: {lan: {subnet: 10.1.0.0/24}}
nodes: {a: [lan], b: [lan]}
"""


def test_what_was_up_comes_back(world: World) -> None:
    """With the addresses that it had, changes of the command line too; what was down stays down."""
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml")
    bascule(world, "node", "add", "c", "--network", "lan", "--lab", "back")
    bascule(world, "node", "rm", "a", "--lab", "back")
    bascule(world, "network", "create", "other", "--lab", "gone", "--world", "host")
    bascule(world, "down", "gone")
    shown = as_json(world, "show", "back")
    Path("lab.yaml").unlink()
    reboot(world)
    (line,) = as_json(world, "ls")
    assert (line["name"], line["state"], line["names"]) == ("back", "kept", ["b", "c", "lan"])
    done = bascule(world, "restore")
    assert "back is up" in done.stderr
    assert lasting(as_json(world, "show", "back")) == lasting(shown)
    assert not Lab.attach("back").plan()
    assert all(echo.seconds is not None for echo in Lab.attach("back").ping())
    assert "nothing to restore" in bascule(world, "restore").stderr
    bascule(world, "down", "back")
    assert not KEPT.exists()
    assert "nothing to restore" in bascule(world, "restore").stderr


def test_nothing_is_kept_of_a_private_lab(world: World) -> None:
    """It ends with the machine."""
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml", "--world", "private")
    assert not KEPT.exists()
    bascule(world, "down", "back")


@pytest.mark.parametrize(
    "damage",
    ["{", "{}", '{"version": 1, "topology": {"nodes": 7}}', '{"version": 1, "topology": []}'],
)
def test_a_damaged_one_is_told_and_the_others_come(world: World, damage: str) -> None:
    """With the file's name."""
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml")
    reboot(world)
    (KEPT / "a-bad-one.json").write_text(damage)
    done = bascule(world, "restore", check=False)
    assert done.returncode in (1, 2)
    assert "a-bad-one" in done.stderr
    assert "back is up" in done.stderr
    assert bascule(world, "restore", "nosuch", check=False).returncode != 0
    bascule(world, "down", "back")


def test_a_folder_that_others_write_to_is_not_believed(world: World) -> None:
    """Whoever can put a file there would decide what root builds."""
    KEPT.mkdir(mode=0o777)
    KEPT.chmod(0o777)
    (KEPT / "evil.json").write_text(
        json.dumps({"version": 1, "topology": {"nodes": {"evil": None}}, "source": ""})
    )
    done = bascule(world, "restore", check=False)
    assert done.returncode != 0
    assert "others may write to it" in done.stderr
    assert not os.path.exists("/run/netns/evil")


def test_a_lab_that_cannot_be_kept_is_up_all_the_same(world: World) -> None:
    """And says so."""
    KEPT.write_text("in the way")
    Path("lab.yaml").write_text(LAB)
    done = bascule(world, "up", "lab.yaml")
    assert "will not bring back back after a reboot" in done.stderr
    assert bascule(world, "ping").returncode == 0
    bascule(world, "down", "back")
    assert KEPT.read_text() == "in the way"


def test_what_can_not_be_forgotten_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab goes all the same, and the next `down` tries again."""
    lab = Lab.from_data(
        {"name": "back", "networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}},
        world="host",
    )
    lab.up()
    real = syscalls.unlink

    def refuse(path: str) -> None:
        if path.startswith(str(KEPT)):
            raise OSError(errno.EROFS, "Read-only file system", path)
        real(path)

    monkeypatch.setattr(syscalls, "unlink", refuse)
    advice = (
        "Read-only file system: `bascule restore` would bring back back after a reboot; "
        "`bascule down back` again"
    )
    assert lab.down().remarks == (f"{KEPT}/back.json: {advice}",)
    assert not Path("/run/netns/a").exists()
    monkeypatch.undo()
    assert bascule(world, "down", "back").stderr == "bascule: back is not up: nothing to do\n"
    assert not KEPT.exists()


def test_the_unit(world: World) -> None:
    """It is written, names this command, and goes again; somebody else's is left alone."""
    own_folder("/etc/systemd")
    os.mkdir("/etc/systemd/system")
    before = machine.state()
    printed = bascule(world, "install-unit", "--print").stdout
    assert "ExecStart=/" in printed
    assert printed.rstrip().splitlines()[-1] == "WantedBy=multi-user.target"
    unit = Path("/etc/systemd/system/bascule.service")
    bascule(world, "install-unit")
    assert unit.read_text() == printed
    program = (
        next(line for line in printed.splitlines() if line.startswith("ExecStart="))
        .removeprefix("ExecStart=")
        .split()
    )
    assert world.run(program[0], "--version").returncode == 0
    assert program[1:] == ["restore", "--wait", "60"]
    after = {
        word
        for line in printed.splitlines()
        if line.startswith("After=")
        for word in line.removeprefix("After=").split()
    }
    assert {
        "network-online.target",
        "nftables.service",
        "firewalld.service",
        "docker.service",
        "libvirtd.service",
    } <= after
    assert "Wants=network-online.target" in printed.splitlines()
    bascule(world, "install-unit")
    bascule(world, "install-unit", "--remove")
    assert not unit.exists()
    unit.write_text("[Unit]\n")
    assert bascule(world, "install-unit", check=False).returncode == 2
    assert unit.read_text() == "[Unit]\n"
    unit.unlink()
    assert machine.difference(before, machine.state()) == ""


def test_the_unit_of_a_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is enabled as it is, by the program that it starts; another program writes its own."""
    own_folder("/etc/systemd")
    os.mkdir("/etc/systemd/system")
    unit = Path("/etc/systemd/system/bascule.service")
    packaged = Path("packaged.service").absolute()
    monkeypatch.setattr(boot, "PACKAGED", str(packaged))
    printed = bascule(world, "install-unit", "--print").stdout
    packaged.write_text(printed)
    assert f"{packaged} is there" in bascule(world, "install-unit").stderr
    assert not unit.exists()
    assert "there is no unit" not in bascule(world, "install-unit", "--remove").stderr
    packaged.write_text("[Service]\nExecStart=/usr/bin/another restore --wait 60\n")
    bascule(world, "install-unit")
    assert unit.read_text() == printed
    bascule(world, "install-unit", "--remove")
    assert not unit.exists()


OUT = """\
name: back
networks: {lan: {subnet: 10.1.0.0/24, nat: true, dns: false, outbound_address: 192.0.2.1}}
nodes: {a: [lan], b: [lan]}
"""


def test_what_comes_later_than_we_is_waited_for(world: World) -> None:
    """An address that is not there yet when the machine starts: it is told, and with --wait the lab
    comes with it."""
    address = ("192.0.2.1/24", "dev", "lo")
    world.run("ip", "address", "add", *address)
    Path("lab.yaml").write_text(OUT)
    bascule(world, "up", "lab.yaml")
    reboot(world)
    world.run("ip", "address", "del", *address)
    done = bascule(world, "restore", check=False)
    said = (
        "bascule: back: network lan: outbound_address 192.0.2.1 is no address of this "
        "machine; add it first\n"
    )
    assert (done.returncode, done.stderr) == (2, said)
    assert bascule(world, "restore", "--wait", "0.1", check=False).stderr == said
    for wrong in ("-1", "nan", "inf", "1e9"):
        assert bascule(world, "restore", "--wait", wrong, check=False).returncode == 2
    with subprocess.Popen(
        [BASCULE, "restore", "--wait", "60"], stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        world.run("ip", "address", "add", *address)
        assert "back is up" in waiting.stderr.read()
        assert waiting.wait() == 0
    assert all(echo.seconds is not None for echo in Lab.attach("back").ping())
    bascule(world, "down", "back")
