"""Programs that are run to their end."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from bascule.host import programs


def test_what_is_read_and_written() -> None:
    """More than a pipe holds, both ways, and bytes that are no text."""
    text = "".join(f"{number}\n" for number in range(50_000)) + "\udcff"
    assert programs.run(["/bin/sh", "-c", "cat; echo no >&2; exit 3"], text, 10) == (
        3,
        text,
        "no\n",
    )


def test_a_signal_is_a_negative_code() -> None:
    """As with subprocess."""
    assert programs.run(["/bin/sh", "-c", "kill -9 $$"], "", 10).code == -signal.SIGKILL


def test_who_does_not_end_is_killed() -> None:
    """And leaves no zombie."""
    with pytest.raises(TimeoutError):
        programs.run(["/bin/sleep", "600"], "", 0.05)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_daemon_that_keeps_the_descriptors_holds_nobody_up() -> None:
    """dnsmasq goes on in the background; who waits for the end of its output would wait for
    ever."""
    done = programs.run(["/bin/sh", "-c", "sleep 600 & echo $!"], "", 10)
    os.kill(int(done.stdout), signal.SIGKILL)


def test_nothing_is_left_open() -> None:
    """Nor where it fails, nor in a thread."""
    before = len(os.listdir("/proc/self/fd"))

    def both() -> None:
        programs.run(["/bin/true"], "x", 10)
        with pytest.raises(FileNotFoundError):
            programs.run(["/no/such/program"], "", 10)

    thread = threading.Thread(target=both)
    thread.start()
    both()
    thread.join()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_environment_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells programs where to look for things, and may be anybody's."""
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET", "x")
    done = programs.run([sys.executable, "-c", "import os; print(sorted(os.environ))"], "", 10)
    assert "SECRET" not in done.stdout
    assert "LC_ALL" in done.stdout
