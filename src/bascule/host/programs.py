"""Programs that are run to their end. What they read and write are files in memory: nft writes each
word by itself, and a reader at a pipe would wake up for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from typing import NamedTuple

from bascule import syscalls
from bascule.host import lasting

_MFD_NOEXEC_SEAL = 0x8  # linux/memfd.h


class Ended(NamedTuple):
    """The exit code, negative for a signal, and what was written."""

    code: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str], text: str, seconds: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a program with ``text`` as input and nothing of our environment, but what is given.
    Raises OSError, and TimeoutError where it does not end within ``seconds``; it is killed then."""
    with _in_memory(text) as given, _in_memory() as out, _in_memory() as said:
        process = syscalls.run(argv, given, out, said, environment)
        try:
            if not _has_ended(process.pid, seconds):
                raise TimeoutError(f"{argv[0]} has not ended in {seconds} s")
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Ended(process.wait(), _from_start(out), _from_start(said))


def _in_memory(text: str = "") -> FileIO:
    """A file without a name (memfd_create(2)), sealed against being run where the kernel can do so
    (Linux 6.3)."""
    try:
        descriptor = os.memfd_create("bascule", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError:
        descriptor = os.memfd_create("bascule", os.MFD_CLOEXEC)
    file = FileIO(descriptor, "w+")
    file.write(text.encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file


def _from_start(file: FileIO) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")


def _has_ended(pid: int, seconds: float) -> bool:
    with suppress(ProcessLookupError):  # it has, and whoever called us ignores SIGCHLD
        descriptor = os.pidfd_open(pid)
        try:
            return lasting.ended(descriptor, int(seconds * 1000))
        finally:
            os.close(descriptor)
    return True
