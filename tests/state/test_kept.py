"""What a reboot must not take: written whole or not at all, and read with suspicion."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.errors import InputError, StateError
from bascule.state import kept

TOPOLOGY: dict[str, Any] = {"name": "lab", "networks": {}, "nodes": {"a": {"networks": {}}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASCULE_KEEP_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept.directory() == str(folder)
    for value in ("", None):
        monkeypatch.delenv("BASCULE_KEEP_DIR", raising=False)
        if value is not None:
            monkeypatch.setenv("BASCULE_KEEP_DIR", value)
        assert kept.directory() == "/var/lib/bascule"


def test_what_is_kept_comes_back_and_is_forgotten(folder: Path) -> None:
    """One file a lab, for its owner only; the folder goes with the last."""
    assert kept.names() == []
    kept.keep("b", TOPOLOGY, "/etc/b.yaml")
    kept.keep("a", {**TOPOLOGY, "name": "a"}, "")
    assert kept.names() == ["a", "b"]
    assert sorted(entry.name for entry in folder.iterdir()) == ["a.json", "b.json"]
    assert json.loads((folder / "b.json").read_text()) == {
        "version": 1,
        "topology": TOPOLOGY,
        "source": "/etc/b.yaml",
    }
    assert " " not in (folder / "b.json").read_text()
    assert ((folder / "b.json").stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (
        0o600,
        0o711,
    )
    assert kept.load("b") == (TOPOLOGY, "/etc/b.yaml")
    assert kept.load("a") == ({**TOPOLOGY, "name": "a"}, "")
    kept.forget("b")
    assert kept.names() == ["a"]
    (folder / "a.json.new").write_text("half")
    kept.forget("a")
    kept.forget("a")
    assert not folder.exists()


def test_it_is_synced_before_it_has_its_name(folder: Path) -> None:
    """A loss of power leaves the old file or the new one; what is kept like this already is not
    written again."""
    calls: list[tuple[str, str]] = []

    def gate(call: str, subject: object) -> None:
        calls.append((call, str(subject)))

    with syscalls.gated(gate):
        kept.keep("a", TOPOLOGY, "")
    assert [call for call, _subject in calls] == [
        "mkdir",
        "fsync",
        "open",
        "write",
        "fsync",
        "rename",
        "fsync",
    ]
    calls.clear()
    with syscalls.gated(gate):
        kept.keep("a", TOPOLOGY, "")
    assert calls == []
    with syscalls.gated(gate):
        kept.keep("a", TOPOLOGY, "elsewhere")
    assert "rename" in [call for call, _subject in calls]
    assert kept.load("a") == (TOPOLOGY, "elsewhere")


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_disk_that_says_no(folder: Path, call: str) -> None:
    """The old file stays, nothing half is left, and the error names the file and what the kernel
    said."""
    kept.keep("a", TOPOLOGY, "")

    def refuse(name: str, subject: object) -> None:
        if name == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with syscalls.gated(refuse), pytest.raises(StateError) as caught:
        kept.keep("a", TOPOLOGY, "new")
    assert str(caught.value) == f"{folder}/a.json: No space left on device"
    assert kept.load("a") == (TOPOLOGY, "")
    assert [entry.name for entry in folder.iterdir()] == ["a.json"]


def test_what_can_not_be_removed_is_told(folder: Path) -> None:
    kept.keep("a", TOPOLOGY, "")

    def refuse(name: str, subject: object) -> None:
        if name == "unlink":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with (
        syscalls.gated(refuse),
        pytest.raises(StateError, match=f"^{folder}/a.json: Read-only file system$"),
    ):
        kept.forget("a")
    assert kept.names() == ["a"]


DAMAGE = {
    "torn": (
        '{"version":1,"topo',
        "damaged, it is no JSON; remove it, and `bascule up` the lab's file",
    ),
    "not text": (b"\xff\xfe", "damaged, it is no JSON; remove it, and `bascule up` the lab's file"),
    "deep": ("[" * 100_000, "damaged, it is no JSON; remove it, and `bascule up` the lab's file"),
    "a list": ("[]", "damaged, it holds no topology; remove it, and `bascule up` the lab's file"),
    "another version": (
        '{"version":2,"topology":{}}',
        "damaged, it holds no topology; remove it, and `bascule up` the lab's file",
    ),
    "no version": (
        '{"topology":{}}',
        "damaged, it holds no topology; remove it, and `bascule up` the lab's file",
    ),
    "no topology": (
        '{"version":1}',
        "damaged, it holds no topology; remove it, and `bascule up` the lab's file",
    ),
    "a topology of text": (
        '{"version":1,"topology":"x"}',
        "damaged, it holds no topology; remove it, and `bascule up` the lab's file",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file(folder: Path, kind: str) -> None:
    data, message = DAMAGE[kind]
    kept.keep("a", TOPOLOGY, "")
    (folder / "a.json").write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(StateError) as caught:
        kept.load("a")
    assert str(caught.value) == f"{folder}/a.json: {message}"


def test_a_source_that_is_no_text_is_none(folder: Path) -> None:
    kept.keep("a", TOPOLOGY, "")
    (folder / "a.json").write_text('{"version":1,"topology":{"x":1},"source":7}')
    assert kept.load("a") == ({"x": 1}, "")
    (folder / "a.json").write_text('{"version":1,"topology":{"x":1}}')
    assert kept.load("a") == ({"x": 1}, "")


def test_what_is_no_file_of_ours(folder: Path) -> None:
    """A folder, a FIFO (which is not waited for), a link, a file larger than any lab; a name that
    leads elsewhere."""
    kept.keep("a", TOPOLOGY, "")
    os.mkdir(folder / "d.json")
    os.mkfifo(folder / "f.json")
    (folder / "l.json").symlink_to(folder / "a.json")
    with open(folder / "big.json", "wb") as large:
        large.truncate((64 << 20) + 1)
    for name in ("d", "f", "big"):
        with pytest.raises(
            StateError, match=rf"^{folder}/{name}\.json: is no file of ours; remove it$"
        ):
            kept.load(name)
    with pytest.raises(StateError, match=rf"^{folder}/l\.json: Too many levels of symbolic links$"):
        kept.load("l")
    with pytest.raises(StateError, match=rf"^{folder}/none\.json: No such file or directory$"):
        kept.load("none")
    for call in (kept.load, kept.forget):
        with pytest.raises(InputError):
            call("../a")
    with pytest.raises(InputError):
        kept.keep("../a", TOPOLOGY, "")


def test_names_are_those_of_labs(folder: Path) -> None:
    kept.keep("a", TOPOLOGY, "")
    for stray in ("a.json.new", "notes.txt", "-x.json", ".json", "..json"):
        (folder / stray).write_text("{}")
    assert kept.names() == ["a"]


def test_a_folder_that_others_may_write_to_is_not_believed(folder: Path) -> None:
    kept.keep("a", TOPOLOGY, "")
    folder.chmod(0o777)
    for call in (kept.names, lambda: kept.load("a"), lambda: kept.keep("b", TOPOLOGY, "")):
        with pytest.raises(StateError, match="others may write to it"):
            call()


def test_a_folder_that_goes_between_two_looks_keeps_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last lab that another process takes down."""
    real = os.listdir

    def vanishing(path: str) -> list[str]:
        kept.forget("a")
        return real(path)

    kept.keep("a", TOPOLOGY, "")
    monkeypatch.setattr("os.listdir", vanishing)
    assert kept.names() == []
    assert kept.names() == []


def test_another_place_is_advised_by_its_own_variable(folder: Path) -> None:
    """BASCULE_STATE_DIR would not help."""
    folder.write_text("")
    for call in (lambda: kept.keep("a", TOPOLOGY, ""), kept.names):
        with pytest.raises(
            StateError, match=r"is not a folder; remove it, or set BASCULE_KEEP_DIR$"
        ):
            call()
