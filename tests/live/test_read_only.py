"""What only asks changes nothing, whatever state things are in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.cli.main import main
from helpers import bascule
from sandbox import World

LAB = """\
name: asked
networks: {lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true, dns: false}}
nodes: {a: {networks: [lan], ports: ["8080:80"]}, b: [lan]}
"""
OTHER = LAB.replace("b: [lan]", "c: [lan]").replace("nat: true", "mtu: 1400")
DRY = [
    line.split()
    for line in """
    up lab.yaml --dry-run
    up other.yaml --dry-run
    plan other.yaml
    plan other.yaml --json
    down asked --dry-run
    down --all --dry-run
    script other.yaml
    script lab.yaml --teardown
    script lab.yaml --classic
    ls
    ls --json
    show asked
    inspect asked
    inspect asked --yaml
    check other.yaml
    schema
    port a --lab asked
    network ls --lab asked
    network inspect lan --lab asked
    network create more --lab asked --dry-run
    network rm lan --force --lab asked --dry-run
    network connect lan b --lab asked --dry-run
    network prune --lab asked --dry-run
    network disconnect lan a --lab asked --dry-run
    node ls --lab asked
    node add n --lab asked --dry-run
    node rm a --lab asked --dry-run
    install-unit --print
    completion bash
    """.strip().splitlines()
]
_ASKING = ("list",)


def _gate(call: str, subject: Any) -> None:
    """Entering a namespace and coming back, nft's answers, and a child of one's own and its end
    change nothing."""
    asks = call == "run" and any(word in _ASKING for word in subject)
    if call not in ("setns", "fork", "kill") and not asks:
        raise AssertionError(f"{call} {subject}")


def _ask_all(capsys: pytest.CaptureFixture[str]) -> None:
    before, found = machine.state(), {}
    with syscalls.gated(_gate):
        for words in DRY:
            found[" ".join(words)] = main(words)
    assert {words: code for words, code in found.items() if code not in (0, 1, 2)} == {}
    assert machine.difference(before, machine.state()) == ""
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.parametrize("state", ["nothing", "up", "damaged", "after a reboot", "killed"])
def test_nothing_is_changed(
    world: World, kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the kernel, nor a file, nor what is kept over a reboot: each command that asks, and
    each with --dry-run."""
    for name, text in (("lab.yaml", LAB), ("other.yaml", OTHER)):
        Path(name).write_text(text)
    if state != "nothing":
        bascule(world, "up", "lab.yaml", "--world", kind)
    if state == "damaged" and kind == "host":
        world.run("ip", "link", "del", "veth-a")
        world.run("ip", "-n", "b", "address", "flush", "dev", "eth0")
        os.unlink("/etc/netns/a")
    elif state == "damaged":
        Lab("asked").node("a").run(["ip", "link", "del", "eth0"])
    elif state == "killed":
        shutil.copy("/run/bascule/asked/lab.json", "/run/bascule/asked/journal.json")
    elif state == "after a reboot" and kind == "host":
        Path("/run/bascule/asked/lab.json").rename("/run/record")
    _ask_all(capsys)
    if state == "after a reboot" and kind == "host":
        assert Path("/var/lib/bascule/asked.json").exists()
        done = bascule(world, "down", "asked", "--dry-run")
        assert done.stderr == (
            "bascule: asked is not up: nothing to do; `bascule down` forgets that it was "
            "up before a reboot\n"
        )
        Path("/run/record").rename("/run/bascule/asked/lab.json")
    known = state != "nothing"
    done = bascule(world, "down", "asked", check=False)
    assert done.returncode == (0 if known else 2)
    assert not Path("/var/lib/bascule").exists()
