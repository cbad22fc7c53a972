"""Where state lives, and that nobody else can write there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from bascule import syscalls
from bascule.errors import InputError, StateError
from bascule.state import folder, lock


def test_the_place_that_was_asked_for(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one counts from the current folder, now."""
    assert folder.root() == str(state)
    monkeypatch.setenv("BASCULE_STATE_DIR", "here/../there")
    assert folder.root() == f"{os.getcwd()}/there"


def test_the_place_by_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/run for root; for others the session's folder, and one in /tmp where that is not there."""
    monkeypatch.setenv("BASCULE_STATE_DIR", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert folder.root() == "/run/bascule"
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    assert folder.root() == f"{tmp_path}/bascule"
    monkeypatch.setattr("tempfile.tempdir", "/tmp/elsewhere")
    for missing in (str(tmp_path / "missing"), ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", missing)
        assert folder.root() == "/tmp/elsewhere/bascule-1234"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folder.root() == "/tmp/elsewhere/bascule-1234"


def test_every_shell_finds_the_session_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was not told of it (su, cron), and one that was told of another where something is
    built already."""
    monkeypatch.delenv("BASCULE_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setattr(folder, "_SESSIONS", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", "/tmp/elsewhere")
    assert folder.root() == "/tmp/elsewhere/bascule-1234"
    (tmp_path / "1234").mkdir()
    assert folder.root() == f"{tmp_path}/1234/bascule"
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
    assert folder.root() == f"{tmp_path}/other/bascule"
    (tmp_path / "1234" / "bascule").mkdir()
    assert folder.root() == f"{tmp_path}/1234/bascule"


def test_only_its_owner_reads_and_writes_a_folder(state: Path) -> None:
    """And synced into the folder above, so that a loss of power does not take it; a second time
    nothing happens."""
    calls: list[tuple[str, object]] = []
    with syscalls.gated(lambda call, subject: calls.append((call, subject))):
        folder.ensure(str(state))
        assert state.stat().st_mode & 0o7777 == 0o711
        assert [call for call, _ in calls] == ["mkdir", "fsync"]
        folder.ensure(str(state))
    assert len(calls) == 2


def test_a_folder_is_made_where_syncing_is_not_possible(state: Path) -> None:
    """Not every file system can."""

    def gate(call: str, subject: object) -> None:
        if call == "fsync":
            raise OSError(22, "Invalid argument")

    with syscalls.gated(gate):
        folder.ensure(str(state))
    assert state.is_dir()


def test_a_folder_that_cannot_be_made_is_said_with_the_way_out(state: Path) -> None:
    """The system's words, and the variable that chooses another place."""
    path = f"{state}/no/where"
    for check in (folder.ensure, folder.check):
        with pytest.raises(StateError) as caught:
            check(path)
        assert str(caught.value) == (
            f"{path}: No such file or directory; set BASCULE_STATE_DIR to a folder that "
            f"you can write to"
        )


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(state: Path, mode: int) -> None:
    """Whoever can put files there decides what a command of ours does."""
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(StateError) as caught:
        folder.ensure(str(state))
    assert str(caught.value) == (
        f"{state} belongs to user 0 or others may write to it (mode {mode:o}); remove it, or "
        f"set BASCULE_STATE_DIR"
    )


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_others_may_read(state: Path, mode: int) -> None:
    """Nothing secret is stored."""
    state.mkdir()
    state.chmod(mode)
    folder.ensure(str(state))


def test_a_folder_of_somebody_else_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nobody but its owner may write."""
    folder.ensure(str(state))
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    with pytest.raises(
        StateError, match=r"belongs to user 0 or others may write to it \(mode 711\)"
    ):
        folder.check(str(state))


def test_what_is_no_folder_is_refused(state: Path, tmp_path: Path) -> None:
    """A file; and a link, even to a good folder: somebody may turn it."""
    state.write_text("")
    other = tmp_path / "link"
    other.symlink_to(tmp_path)
    for path in (state, other):
        with pytest.raises(StateError) as caught:
            folder.ensure(str(path))
        assert str(caught.value) == f"{path} is not a folder; remove it, or set BASCULE_STATE_DIR"


def test_labs_are_folders_with_a_good_name(state: Path) -> None:
    """Sorted; locks and strange things beside them are none."""
    assert folder.labs() == []
    state.mkdir(0o700)
    for name in ("b", "a", "a b", ".hidden", "c"):
        (state / name).mkdir()
    (state / "file").touch()
    assert folder.labs() == ["a", "b", "c"]
    state.chmod(0o777)
    with pytest.raises(StateError, match="others may write to it"):
        folder.labs()


@pytest.mark.parametrize("name", ["../x", "", ".claims", "a/b"])
def test_a_name_that_leads_elsewhere_is_no_lab(name: str) -> None:
    """It is the caller's mistake, and nothing is touched."""
    with pytest.raises(InputError):
        folder.lab(name)
    assert folder.lab("a").endswith("/state/a")


def test_the_last_lab_takes_the_state_directory_along(state: Path) -> None:
    """A folder that still holds something stays."""
    for name in ("a", "b"):
        (state / name).mkdir(parents=True)
    folder.remove("a")
    assert os.listdir(state) == ["b"]
    (state / "b" / "lock").touch()
    folder.remove("b")
    assert (state / "b" / "lock").exists()
    (state / "b" / "lock").unlink()
    folder.remove("b")
    assert not state.exists()


def test_a_state_directory_that_goes_between_two_looks_holds_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's last lab takes it along at any moment: between the listing and the check,
    too."""
    real = os.listdir

    def vanishing(path: str) -> list[str]:
        found = real(path)
        state.rmdir()
        return found

    state.mkdir(0o700)
    monkeypatch.setattr("os.listdir", vanishing)
    assert folder.labs() == []
    monkeypatch.undo()
    with pytest.raises(folder.Gone):
        folder.check(str(state))


@pytest.mark.parametrize("place", ["a mount", "a folder with something in it"])
def test_a_folder_that_is_not_ours_alone_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """BASCULE_STATE_DIR may name anything, and so may a typing mistake: no mode of another's folder
    is changed."""
    if place == "a mount":
        chosen = Path("/proc")
    else:
        chosen = tmp_path / "full"
        (chosen / "something").mkdir(parents=True)
        chosen.chmod(0o555)
    before = chosen.stat().st_mode
    monkeypatch.setenv("BASCULE_STATE_DIR", str(chosen))
    with suppress(StateError, OSError), lock.lab_lock("one", "up"):
        pass
    assert chosen.stat().st_mode == before


def test_an_empty_folder_that_nobody_may_use_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was killed between mkdir(2) and chmod(2)."""
    chosen = tmp_path / "empty"
    chosen.mkdir()
    chosen.chmod(0)
    monkeypatch.setenv("BASCULE_STATE_DIR", str(chosen))
    folder.ensure(str(chosen))
    assert chosen.stat().st_mode & 0o7777 == 0o711


def test_what_nodes_are_not_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole state directory; but where somebody has his home in it, no more than the lab's own
    folder."""
    monkeypatch.setenv("HOME", "/home/me")
    for state, hidden in (
        ("/home/me/state", "/home/me/state"),
        ("/home", "/home/lab"),
        ("/home/me", "/home/me/lab"),
    ):
        monkeypatch.setenv("BASCULE_STATE_DIR", state)
        assert folder.not_for_nodes("lab") == (hidden,)
