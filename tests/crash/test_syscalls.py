"""`bascule up` of the tutorial's lab, stopped at each of its system calls by strace(1): what the
gate does not see is met too.

Killed there, or the call answered with an error. `make test` tries a sample, `make test-crash` each
after the lock was opened.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import machine
from bascule.api import Lab
from bascule.engine import look
from faults import _reap_orphans
from helpers import SEED
from sandbox import BASCULE, World, require

FULL = os.environ.get("CRASH") == "full"
EVERY = 1 if FULL else 250
_CALL = re.compile(r"^\d+ +(\w+)\((.*)")
# strace can't put a fault into these: they do not return, or it needs them itself.
_NOT_THESE = {"exit_group", "exit", "execve", "rt_sigreturn", "vfork"}
# By their manual pages; and close(2) closes, whatever it says.
_NEVER_FAIL = {"getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "close"}


def _calls(log: Path) -> Iterator[tuple[str, int]]:
    """Name and number (counted from 1, as strace does) of each system call after the lock was
    opened."""
    seen: Counter[str] = Counter()
    begun = False
    for line in log.read_text(errors="replace").splitlines():
        if found := _CALL.match(line):
            name = found[1]
            seen[name] += 1
            begun = begun or (name == "openat" and "/docker-bridge/lock" in found[2])
            if begun and name not in _NOT_THESE:
                yield name, seen[name]


def _up(*inject: str, output: Path) -> subprocess.CompletedProcess[str]:
    argv = ["strace", "-f", "-o", str(output), *inject, "--", BASCULE, "up", str(SEED)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=ENOMEM"])
def test_stopped_at_each_system_call(
    world: World, fault: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """`up` again gives the state of an undisturbed run, `down` the state before."""
    require("strace")
    log = tmp_path / "strace"
    lab = Lab.load(SEED)
    empty = machine.state()
    assert _up(output=log).returncode == 0
    clean = machine.state(False)
    calls = [call for call in _calls(log) if call[0] not in _NEVER_FAIL or "signal" in fault][
        ::EVERY
    ]
    lab.down()
    wrong = []
    for name, number in calls:
        for way in ("up and down", "down"):
            done = _up("-e", f"inject={name}:{fault}:when={number}", output=log)
            _reap_orphans()
            look.labs()
            rows = ""
            if way == "up and down":
                lab.up()
                rows = machine.difference(clean, machine.state(False))
            lab.down()
            rows = rows or machine.difference(empty, machine.state())
            if rows:
                wrong.append(
                    f"{name} number {number}, {way} (exit {done.returncode}): "
                    f"{done.stderr[-300:]}\n{rows}"
                )
    record_property("crash points, strace", len(calls))
    assert not wrong, f"{len(wrong)} of {len(calls)}:\n" + "\n".join(wrong[:10])
