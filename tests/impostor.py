"""A process of somebody else's that calls itself what it likes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import NOBODY, require_python_for_everybody, started_by_root

# A process whose command line and name are what it likes: the words are written over those that it
# was started with (proc(5)).
_IMPOSTOR = """
import ctypes, os, signal, sys
words = b"\\0".join(word.encode() for word in sys.argv[1:]) + b"\\0"
start, end = (int(field) for field in open("/proc/self/stat").read().rpartition(")")[2].split()[45:47])
ctypes.memset(start, 0, end - start)
ctypes.memmove(start, words, len(words))
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print("ready", flush=True)
signal.pause()
"""  # noqa: E501


@contextmanager
def impostor(*words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Somebody else's process that calls itself so; root's tests have another user for it."""
    if started_by_root():
        require_python_for_everybody()
    become = (
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        if started_by_root()
        else []
    )
    argv = [*become, sys.executable, "-c", _IMPOSTOR, *words, " " * 200]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, cwd="/", env={**os.environ, **(env or {})}
    ) as made:
        assert made.stdout is not None
        assert made.stdout.readline() == "ready\n"
        assert Path(f"/proc/{made.pid}/cmdline").read_bytes().startswith("\0".join(words).encode())
        yield made
        made.kill()
