"""Records and locks in a folder of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import StateError
from bascule.state import folder, lock, store
from bascule.state.store import Keeper, Record
from sandbox import World


@pytest.fixture(autouse=True)
def _own_state(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A world as well: code that is wrong about its folder must not find the machine's own /run."""
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "state"))


def _record(name: str = "lab") -> Record:
    return Record(name, "private", 3, {"name": name}, keeper=Keeper(7, 8), namespaces={"a": 1}, priors=[("a", "net.x", "0")])


def test_what_is_saved_is_loaded() -> None:
    """A record, and a journal beside it, which counts first."""
    with lock.lab_lock("lab", "test"):
        store.save(_record())
        store.begin(Record("lab", "private", 3, None, namespaces={"b": 0}))
        stored = store.load("lab")
        assert stored.record == _record()
        assert stored.newest is stored.journal
        assert stored.namespaces == {"a": 1, "b": 0}
        store.save(_record())
        assert store.load("lab").journal is None
        store.forget("lab")
        assert store.load("lab").newest is None
    assert not os.path.exists(folder.root())


def test_a_record_from_before_the_last_boot_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it describes has gone with the boot."""
    with lock.lab_lock("lab", "test"):
        store.save(Record("lab", "host", 0, None, boot="another boot"))
        assert store.load("lab").newest is None
        store.forget("lab")


@given(data=st.binary(max_size=60) | st.just(b'{"version": 1, "name": "lab", "world": "moon", "slot": 0, "topology": {}}'))
def test_anything_in_a_record_is_a_state_error(data: bytes) -> None:
    """Whatever stands there: no other exception, and the file is named."""
    os.makedirs(folder.lab("lab"), 0o700, exist_ok=True)
    path = Path(folder.lab("lab"), "lab.json")
    path.write_bytes(data)
    with pytest.raises(StateError, match=str(path)):
        store.load("lab")


def test_a_linked_record_is_not_followed(tmp_path: Path) -> None:
    """Somebody could have planted it."""
    os.makedirs(folder.lab("lab"), 0o700)
    (tmp_path / "elsewhere").write_text("{}")
    os.symlink(tmp_path / "elsewhere", os.path.join(folder.lab("lab"), "lab.json"))
    with pytest.raises(StateError, match="symbolic links"):
        store.load("lab")
