"""A file at rest: closed by all who write it, and unchanged for a moment."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from bascule.host import settled
from bascule.host.inotify import along
from bascule.host.settled import Settled


def _read(file: Settled, seconds: float = 5) -> bytes | None:
    deadline = time.monotonic() + seconds
    while (data := file.read()) is None and time.monotonic() < deadline:
        assert file.waits
        time.sleep(0.01)
    assert file.waits is (data is None)
    return data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"one")
    return tmp_path / "file"


def test_what_nobody_writes_is_read(path: Path) -> None:
    """Not at the first look, which can't know; then at each."""
    file = Settled(str(path))
    assert file.read() is None
    assert _read(file) == b"one"
    assert file.read() == b"one"
    path.write_bytes(b"two")
    assert file.read() is None
    assert _read(file) == b"two"
    (path.parent / "new").write_bytes(b"three")
    os.replace(path.parent / "new", path)
    assert _read(file) == b"three"


def test_what_somebody_writes_is_not(path: Path) -> None:
    """As long as it is open for writing, by a descriptor or by memory; who only reads it does not
    count."""
    file = Settled(str(path))
    with open(path, "rb+") as writer, open(path, "rb"):
        assert _read(file, 0.4) is None
        writer.write(b"half")
        writer.flush()
        assert _read(file, 0.4) is None
        mapped = mmap.mmap(writer.fileno(), 4)
    assert _read(file, 0.4) is None
    mapped.close()
    assert _read(file) == b"half"


def test_a_file_that_changes_all_the_time_is_not(path: Path) -> None:
    """Opened and closed for each line of it."""
    file = Settled(str(path))
    for number in range(20):
        with open(path, "ab") as writer:
            writer.write(b"%d" % number)
        assert file.read() is None
        time.sleep(0.01)
    assert _read(file) == path.read_bytes()


@pytest.mark.parametrize("why", ["another user's", "no leases", "another machine's"])
def test_where_the_kernel_does_not_tell(
    path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It has to be unchanged for longer."""
    monkeypatch.setattr(settled, "_QUIET_UNKNOWN", 0.5)
    monkeypatch.setattr(
        settled, "_is_written", lambda _descriptor: why == "another machine's" or None
    )
    monkeypatch.setattr(settled, "_is_local", lambda _device: why != "another machine's")
    file = Settled(str(path))
    begun = time.monotonic()
    assert _read(file) == b"one"
    assert time.monotonic() - begun >= 0.5


def test_what_is_no_file(path: Path, tmp_path: Path) -> None:
    """Said as the system says it; a FIFO is not waited for."""
    os.mkfifo(tmp_path / "fifo")
    assert _read(Settled(str(tmp_path / "fifo"))) == b""
    for name, wrong in (("missing", FileNotFoundError), (".", IsADirectoryError)):
        with pytest.raises(wrong):
            Settled(str(tmp_path / name)).read()


def test_the_folders_on_the_way(tmp_path: Path) -> None:
    """Each link's own folder, and that of what it leads to; a circle ends."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "real" / "sub" / "file").touch()
    (tmp_path / "link").symlink_to("real/../real/sub")
    (tmp_path / "whole").symlink_to(tmp_path / "link")
    here = str(tmp_path.resolve())
    found = along(f"{here}/whole/./file")
    assert found[here] == {"whole", "link", "real"}
    assert found[f"{here}/real"] == {"sub"}
    assert found[f"{here}/real/sub"] == {"file"}
    assert found["/"] == {here.split("/")[1]}
    (tmp_path / "circle").symlink_to("circle")
    assert along(f"{here}/circle/x")[here] == {"circle"}
    assert along(f"{here}/no/where")[f"{here}/no"] == {"where"}
