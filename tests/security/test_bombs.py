"""Files made to exhaust: each is refused, or read, within bounds of time and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import World

MEMORY = 600 << 20
SECONDS = 20


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + f"\nnodes: *a{levels - 1}\n"


# Made when they are needed: a test process with all of them in its memory would be slow to fork.
BOMBS: dict[str, tuple[str, Callable[[], str]]] = {
    "billion laughs": ("yaml", lambda: _laughs(12)),
    "deep list": ("yaml", lambda: "[" * 100_000),
    "deep mapping": ("yaml", lambda: "".join(" " * n + f"k{n}:\n" for n in range(3000))),
    "deep json": ("json", lambda: '{"a":' * 100_000),
    "deep toml": ("toml", lambda: "a = " + "[" * 100_000),
    "100,000 keys": (
        "yaml",
        lambda: "nodes:\n" + "".join(f"  n{n}: [lan]\n" for n in range(100_000)),
    ),
    "100,000 unknown keys": (
        "json",
        lambda: "{" + ",".join(f'"k{n}": {n}' for n in range(100_000)) + "}",
    ),
    "one long key": ("yaml", lambda: "k" * 10_000_000 + ": 1\n"),
    "a huge number": ("yaml", lambda: "networks: {lan: {mtu: " + "9" * 1_000_000 + "}}\n"),
    "a huge count": ("yaml", lambda: "nodes: {n: {count: 1000000000, networks: [lan]}}\n"),
    "merge keys": ("yaml", lambda: "a: &a {x: 1}\nnodes: {n: {" + "<<: *a, " * 20_000 + "}}\n"),
    "100 MB": ("yaml", lambda: "# " + "x" * (100 << 20) + "\n"),
}


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_or_read_within_bounds(world: World, bomb: str) -> None:
    """CWE-400, CWE-776: no traceback, no end by a signal; 600 MB and 20 s of one core are enough to
    say what is wrong."""
    suffix, text = BOMBS[bomb]
    place = Path(f"lab.{suffix}")
    place.write_text(text())
    start = time.monotonic()
    argv = [sys.executable, "-m", "bascule.cli.main", "check", str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=_bounded, check=False)
    assert done.returncode in (0, 2), (
        done.returncode,
        done.stderr[-500:],
        time.monotonic() - start,
    )
    assert "Traceback" not in done.stderr
    assert len(done.stdout) + len(done.stderr) < 1 << 20


@pytest.mark.parametrize("place", ["/dev/zero", "/proc/self/mem", "/dev/full", "/"])
def test_what_is_no_file(world: World, place: str) -> None:
    """A device without end, a folder, the memory of the process: refused, not read for ever."""
    argv = [sys.executable, "-m", "bascule.cli.main", "check", place]
    done = subprocess.run(
        argv, capture_output=True, text=True, preexec_fn=_bounded, check=False, timeout=60
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
