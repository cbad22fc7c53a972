"""Records and locks in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import World


@pytest.fixture(autouse=True)
def state(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, not made yet. A world as well: code that is wrong about it must not find
    the machine's own /run."""
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"
