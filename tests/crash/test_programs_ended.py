"""A program fails when it has done something all the same: what it has done goes with the rest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.errors import BasculeError
from sandbox import World, require

LAB = {
    "name": "ended",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dns": True}},
    "nodes": {"a": ["lan"]},
}
# $real does the work; $count is how often the program was called.
WAYS = {
    "nft, ended after its transaction": (
        "nft",
        '"$real" "$@" || exit\n[ $count != 1 ] || kill -KILL $$',
        "nft: was ended by signal 9; run the command again",
    ),
    "nft, whose third part fails": (
        "nft",
        (
            'no() { echo "$1 Could not process rule: $2" >&2; exit 1; }\n'
            '[ $count != 1 ] || no "netlink: Error:" "Message too long"\n'
            '[ $count != 3 ] || no "/dev/stdin:2:1-9: Error:" "No such device"\n'
            'exec "$real" "$@"'
        ),
        "nft chain .*: Could not process rule: No such device; run the command again",
    ),
    "nft, that is refused": (
        "nft",
        '[ $count != 1 ] || { echo "/dev/stdin:1:1-2: Error: no" >&2; exit 1; }\nexec "$real" "$@"',
        r"nft create table inet bascule-ended [^\n]*: no; run the command again",
    ),
    "dnsmasq, ended when it serves": (
        "dnsmasq",
        '"$real" "$@" || exit\n[ $count != 1 ] || kill -KILL $$',
        "dnsmasq: was ended by signal 9; run the command again",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_done_is_undone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The run fails, says why in a line, and leaves nothing; the next one builds the lab."""
    name, does, says = WAYS[way]
    require(name)
    real = shutil.which(name, path=syscalls.SYSTEM_PATH) or shutil.which(name)
    fake = tmp_path / name
    calls = tmp_path / "calls"
    fake.write_text(f"#!/bin/sh\nreal={real}\necho >> {calls}\ncount=$(wc -l < {calls})\n{does}\n")
    fake.chmod(0o755)
    before = machine.state()
    monkeypatch.setattr(syscalls, "SYSTEM_PATH", f"{tmp_path}{os.pathsep}{syscalls.SYSTEM_PATH}")
    lab = Lab.from_data(LAB, world="host")
    with pytest.raises(BasculeError, match=says) as raised:
        lab.up()
    assert calls.exists()
    assert all(len(line) < 200 for line in str(raised.value).splitlines())
    assert machine.difference(before, machine.state()) == ""
    monkeypatch.undo()
    lab.up()
    assert not lab.plan()
    lab.down()
    assert machine.difference(before, machine.state()) == ""
