"""The power goes and comes back: namespaces, links and /run are gone; the disk, with /etc and maybe
the state folder, stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import look
from bascule.state import store
from helpers import SEED
from sandbox import World


def _reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.listdir("/run/netns"):
        subprocess.run(["ip", "netns", "del", name], check=True)
    for name, link in machine.links()[""].items():
        if link["kind"] in ("bridge", "veth"):  # a veth may have gone meanwhile, with its namespace
            subprocess.run(
                ["ip", "link", "del", name], check=link["kind"] == "bridge", capture_output=True
            )
    syscalls.umount("/run/netns")
    for place in ("/run/netns", "/run/bascule"):
        shutil.rmtree(place)
    monkeypatch.setattr(store, "boot_id", lambda: "another boot")


@pytest.mark.parametrize("state", ["/run/bascule", "disk"])
@pytest.mark.parametrize("then", ["up", "down", "another lab"])
def test_after_a_loss_of_power(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, then: str
) -> None:
    """Nothing is listed, `up` builds it again, and no link in /etc/netns that was left stands in
    anybody's way."""
    if state == "disk":
        monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "state"))
    lab = Lab.load(SEED, world="host")
    lab.up()
    clean = machine.state(False)
    _reboot(monkeypatch)
    assert os.path.islink("/etc/netns/ns1")
    assert look.labs() == []
    if then == "up":
        lab.up()
        assert machine.difference(clean, machine.state(False)) == ""
        assert (
            lab.node("ns1").run(["ping", "-qc1", "-W2", "ns2"], capture_output=True).returncode == 0
        )
    if then == "another lab":
        other = Lab.from_data(
            {"networks": {"lan": {}}, "nodes": {"ns1": ["lan"]}}, name="other", world="host"
        )
        other.up()
        assert (
            other.node("ns1").run(["getent", "hosts", "ns1"], capture_output=True).returncode == 0
        )
        other.down()
    lab.down()
    assert not os.path.exists("/run/netns")
    assert not os.path.exists("/run/bascule")
    assert os.listdir("/etc/netns") == []
