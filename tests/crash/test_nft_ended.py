"""nft is ended when its transaction is done: nobody tells that it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.errors import BasculeError
from helpers import SEED
from sandbox import World


def test_what_was_done_is_undone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails and leaves nothing, though the table was there."""
    real = shutil.which("nft", path=syscalls.SYSTEM_PATH) or shutil.which("nft")
    once = tmp_path / "once"
    fake = tmp_path / "nft"
    fake.write_text(
        f'#!/bin/sh\n{real} "$@" || exit\n[ -e {once} ] || {{ : > {once}; kill -KILL $$; }}\n'
    )
    fake.chmod(0o755)
    before = machine.state()
    monkeypatch.setattr(syscalls, "SYSTEM_PATH", f"{tmp_path}{os.pathsep}{syscalls.SYSTEM_PATH}")
    with pytest.raises(BasculeError, match="ended by signal 9"):
        Lab.load(SEED).up()
    assert once.exists()
    assert machine.difference(before, machine.state()) == ""
