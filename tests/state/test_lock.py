"""One command at a time works on a lab; locks leave nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bascule import syscalls
from bascule.errors import Locked, StateError
from bascule.state import folder, lock

HERE = f"(process {os.getpid()})"


def test_a_lock_comes_and_goes(state: Path) -> None:
    """With its folder, the lab's and the one of all labs; the file says who holds it."""
    with lock.lab_lock("lab", "bascule up"):
        held = state / "lab" / "lock"
        assert held.read_text() == f"`bascule up` {HERE}"
        assert held.stat().st_mode & 0o777 == 0o600
        assert state.stat().st_mode & 0o777 == held.parent.stat().st_mode & 0o777 == 0o711
    assert not state.exists()


def test_what_was_stored_meanwhile_stays(state: Path) -> None:
    """And the lock with it: the lab is there."""
    with lock.lab_lock("lab", "a long command, the first"):
        (state / "lab" / "lab.json").touch()
    assert sorted(os.listdir(state / "lab")) == ["lab.json", "lock"]
    with lock.lab_lock("lab", "x"):
        assert (state / "lab" / "lock").read_text() == f"`x` {HERE}"


def test_a_second_command_that_does_not_wait_is_told_who_holds_it(state: Path) -> None:
    """Another lab is free. Where the holder's name could not be written, it is another command."""
    with lock.lab_lock("lab", "bascule up"):
        with pytest.raises(Locked) as caught, lock.lab_lock("lab", "bascule down", wait=False):
            pass
        assert (
            str(caught.value)
            == f"lab lab is in use by `bascule up` {HERE}; try again, or leave out --no-wait"
        )
        assert (state / "lab" / "lock").read_text() == f"`bascule up` {HERE}"
        with lock.lab_lock("other", "bascule up", wait=False):
            pass
        (state / "lab" / "lock").write_text("")
        with (
            pytest.raises(Locked, match="in use by another command; try again"),
            lock.lab_lock("lab", "x", wait=False),
        ):
            pass
        (state / "lab" / "lock").write_bytes(b"\xff" + b"x" * 500)
        with pytest.raises(Locked) as caught, lock.lab_lock("lab", "x", wait=False):
            pass
        assert (
            str(caught.value)
            == f"lab lab is in use by \ufffd{'x' * 399}; try again, or leave out --no-wait"
        )
    assert not state.exists()


def _second(hold: Callable[[threading.Event], None]) -> list[str]:
    """What a second command meets that comes while ``hold`` holds the lock until the event is
    set."""
    met: list[str] = []
    waits = threading.Event()

    def waiting(text: str) -> None:
        met.append(text)
        waits.set()

    def second() -> None:
        with lock.lab_lock("lab", "second", waiting=waiting):
            met.append(Path(os.environ["BASCULE_STATE_DIR"], "lab", "lock").read_text())

    thread = threading.Thread(target=second)
    with lock.lab_lock("lab", "first"):
        thread.start()
        assert waits.wait(20)
        hold(waits)
    thread.join(20)
    assert not thread.is_alive()
    return met


@pytest.mark.parametrize("stays", [True, False])
def test_a_second_command_waits_and_says_so_once(state: Path, stays: bool) -> None:
    """Its lock is the lab's, also where the first took the lab away and its folder went: then it is
    made anew."""

    def work(_: threading.Event) -> None:
        if stays:
            (state / "lab" / "lab.json").touch()

    assert _second(work) == [
        f"waiting for `first` {HERE}, which works on lab lab",
        f"`second` {HERE}",
    ]
    assert state.exists() is stays


def test_who_is_not_asked_waits_in_silence(state: Path) -> None:
    """``waiting`` may be left out."""
    done = threading.Event()

    def second() -> None:
        with lock.lab_lock("lab", "second"):
            done.set()

    with lock.lab_lock("lab", "first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.1)
    thread.join(20)
    assert done.is_set()


def test_a_lock_is_given_back_however_the_work_ends(state: Path) -> None:
    """An exception passes through, and what was empty goes."""
    with pytest.raises(ZeroDivisionError), lock.lab_lock("lab", "x"):
        raise ZeroDivisionError
    assert not state.exists()


def test_a_full_disk_keeps_nobody_from_working(state: Path) -> None:
    """The name of the holder is only told to who waits."""

    def gate(call: str, subject: object) -> None:
        if call == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with syscalls.gated(gate), lock.lab_lock("lab", "x"):
        assert (state / "lab" / "lock").read_text() == ""
    assert not state.exists()


def test_a_lock_that_cannot_be_made_leaves_no_folders(state: Path) -> None:
    """The file is named, with the system's words."""

    def gate(call: str, subject: object) -> None:
        if call == "open":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with syscalls.gated(gate), pytest.raises(StateError) as caught, lock.lab_lock("lab", "x"):
        pass
    assert str(caught.value) == f"{state}/lab/lock: Read-only file system"
    assert not state.exists()


@pytest.mark.parametrize("vanishing", ["mkdir", "open"])
def test_folders_that_another_command_removes_meanwhile_are_made_again(
    state: Path, vanishing: str
) -> None:
    """The last lab takes the state directory along at any moment."""
    vanished: list[object] = []

    def gate(call: str, subject: object) -> None:
        if call == vanishing and str(subject).startswith(f"{state}/lab") and not vanished:
            vanished.append(subject)
            for path in (state / "lab", state):
                if path.exists():
                    path.rmdir()

    with syscalls.gated(gate), lock.lab_lock("lab", "x"):
        assert (state / "lab" / "lock").exists()
    assert vanished


def test_a_lock_that_is_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    """Somebody could have planted it; the lab that is there stays."""
    (state / "lab").mkdir(0o700, parents=True)
    state.chmod(0o700)
    (state / "lab" / "lock").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(StateError, match="Too many levels of symbolic links"),
        lock.lab_lock("lab", "x"),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()
    assert (state / "lab" / "lock").is_symlink()


def test_a_state_directory_of_others_is_refused(state: Path) -> None:
    """Before anything is made in it."""
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StateError, match="others may write to it"), lock.lab_lock("lab", "x"):
        pass
    assert os.listdir(state) == []


def test_claims_are_made_one_after_the_other(state: Path) -> None:
    """By whatever lab; the lock stays as long as there is one."""
    order: list[str] = []

    def second() -> None:
        with lock.claims_lock():
            order.append("second")

    thread = threading.Thread(target=second)
    with lock.lab_lock("lab", "x"):
        with lock.claims_lock():
            assert (state / ".claims").stat().st_mode & 0o777 == 0o600
            thread.start()
            thread.join(0.1)
            order.append("first")
        thread.join(20)
        assert order == ["first", "second"]
        with lock.lab_lock("other", "x"):
            pass
        assert (state / ".claims").exists()
    assert not state.exists()


def test_the_lock_of_all_is_not_removed_under_who_holds_it(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lab goes, and has seen no other, while the next one comes: else two would hold it,
    and claim the same."""
    with lock.lab_lock("comes", "x"), lock.claims_lock():
        held = (state / ".claims").stat().st_ino
        with monkeypatch.context() as late:
            late.setattr(folder, "labs", list)
            with lock.lab_lock("goes", "x"):
                pass
        assert (state / ".claims").stat().st_ino == held
    assert not state.exists()


def test_claims_by_the_last_lab_s_end_are_made_under_a_new_lock(state: Path) -> None:
    """Who waited on the removed file begins again: two must never hold two files."""
    met: list[bool] = []

    def second() -> None:
        with lock.claims_lock():
            met.append((state / ".claims").exists())

    thread = threading.Thread(target=second)
    with lock.claims_lock():
        thread.start()
        thread.join(0.1)
        (state / ".claims").unlink()
        state.rmdir()
    thread.join(20)
    assert met == [True]


def test_a_claims_lock_that_cannot_be_made(state: Path) -> None:
    """The same words."""
    state.mkdir(0o700)
    (state / ".claims").mkdir()
    with pytest.raises(StateError, match=r"/state/\.claims: Is a directory"), lock.claims_lock():
        pass


def test_who_only_asks_takes_nothing(state: Path, tmp_path: Path) -> None:
    """A lock that is held is seen in /proc/locks; another lab's, another kind of lock and a link to
    a held one do not count."""
    assert not lock.is_held("lab")
    with lock.lab_lock("lab", "test"):
        assert lock.is_held("lab")
        assert not lock.is_held("other")
        with lock.lab_lock("other", "test", wait=False):
            assert lock.is_held("other")
            (state / "other" / "lab.json").touch()  # so that its lock stays
        assert not lock.is_held("other")
        (state / "third").mkdir()
        (state / "third" / "lock").symlink_to(state / "lab" / "lock")
        assert not lock.is_held("third")
        with open(state / "other" / "lock", "r+") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX)  # fcntl(2)'s kind of lock, of the same file
            assert not lock.is_held("other")
    assert not lock.is_held("lab")


@pytest.mark.parametrize(
    "place", ["missing/below", "/proc", "/proc/self/below", "file/below", "dangling"]
)
def test_a_place_where_nothing_can_be_made_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A folder above that is not there is nothing that comes back by itself: nobody tries for
    ever."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / place))
    for hold in (lambda: lock.lab_lock("lab", "x"), lock.claims_lock):
        with pytest.raises(StateError, match="set BASCULE_STATE_DIR"), hold():
            pass
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file"]


def test_a_lock_that_always_goes_is_told(state: Path) -> None:
    """Whatever it is that takes it away."""

    def gate(call: str, subject: object) -> None:
        if call == "open":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), subject)

    told = pytest.raises(StateError, match=r"/lock: it goes whenever it was made")
    with syscalls.gated(gate), told, lock.lab_lock("lab", "x"):
        pass


def test_claims_that_somebody_holds_for_long(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not wait is told who it is; who waits is told, too, and goes on then."""
    monkeypatch.setattr(lock, "_PATIENCE", 0.02)
    state.mkdir(0o700)
    told: list[str] = []
    with open(state / ".claims", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked) as caught, lock.claims_lock(wait=False):
            pass
        said = str(caught.value)
        assert said.startswith("the claims of all labs are in use by ")
        assert said.endswith(f" (process {os.getpid()}); try again, or leave out --no-wait")
        waits = threading.Event()

        def waiting(text: str) -> None:
            told.append(text)
            waits.set()

        done: list[bool] = []

        def second() -> None:
            with lock.claims_lock(waiting=waiting):
                done.append(True)

        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(20)
        assert not done
    thread.join(20)
    assert done
    assert told[0].startswith("waiting for ") and told[0].endswith(
        "which holds the claims of all labs"
    )
