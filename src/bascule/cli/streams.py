"""Standard output and error as the caller left them: closed, full, slow, or with few characters.

* What can't be written to standard output is one error, :class:`Unwritten`, raised where Python
  notices it: in the midst of printing, or in :func:`finish`. What comes after it is dropped.
* That standard error can't be written is no error: nobody could be told.
* A character that the stream does not have is spelt in those that it has.

All that is printed passes here, because ``sys.stdout`` and ``sys.stderr`` are ours: also what
argparse and rich print.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from bascule.errors import BasculeError

_SPELT = {"…": "...", "←": "<-"}
_HANDLER = "bascule.spelt"


class Unwritten(BasculeError):
    """What a command printed did not arrive, and why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")


class _Output(io.FileIO):
    """Standard output. The first failure is raised, as :class:`Unwritten`, or as BrokenPipeError
    where nobody reads any more."""

    failed = False

    def write(self, data: Any) -> int:
        if self.failed:
            return len(data)
        try:
            return _patiently(self, data)
        except BrokenPipeError:
            self.failed = True
            raise
        except OSError as error:
            self.failed = True
            raise Unwritten(error) from error

    def close_check(self) -> None:
        """Some file systems say only to close(2) that there was no room. All descriptors of a file
        are asked alike."""
        if not self.failed:
            try:
                os.close(os.dup(1))
            except OSError as error:
                raise Unwritten(error) from error


class _Error(io.FileIO):
    """Standard error. What can't be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return _patiently(self, data)
        except OSError:
            return len(data)


def _patiently(file: io.FileIO, data: Any) -> int:
    """Wait where the file can't take anything now: that it does not block (O_NONBLOCK) is the wish
    of another who has it open."""
    while (written := io.FileIO.write(file, data)) is None:
        import select

        poll = select.poll()
        poll.register(file.fileno(), select.POLLOUT)
        poll.poll()
    return written


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """For codecs.register_error(): our own signs in ASCII, whatever else as an escape sequence."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 (the handler of a stream that is written to)
    unknown = error.object[error.start : error.end]
    return "".join(
        _SPELT.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in unknown
    ), error.end


@contextmanager
def ours() -> Iterator[None]:
    """``sys.stdout`` and ``sys.stderr`` as said above. Those that somebody else has put there, who
    wants to hear what is printed, are left alone."""
    codecs.register_error(_HANDLER, _spelt)
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.flush()  # what a program that calls us has printed comes first
    try:
        if sys.stdout is sys.__stdout__:
            sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
        if sys.stderr is sys.__stderr__:
            sys.stderr = _text(_Error(2, "w", closefd=False), sys.stderr)
        yield
    finally:
        sys.stdout, sys.stderr = before


def _text(raw: io.FileIO, old: TextIO | None) -> TextIO:
    encoding = old.encoding if old is not None else "utf-8"  # None: it was closed
    lines = raw.isatty() or isinstance(raw, _Error)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, _HANDLER, newline="\n", line_buffering=lines
    )


def finish() -> None:
    """Write what is still to be written. Raises :class:`Unwritten` and BrokenPipeError."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.close_check()
