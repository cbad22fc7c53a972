"""What every target has in common: a case is bytes, made from a seed and a number, and running it
either returns or is a crasher.

The first line of a case names the *door* that the rest goes in by, so that corpus and crashers can
be read and edited.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Protocol

HERE = Path(__file__).parent
SECONDS = 5.0  # for one case


class Target(Protocol):
    """One kind of input, and how many cases of it are worth the time."""

    name: str
    cases: int

    def make(self, random: Random) -> bytes:
        """A case."""

    def run(self, case: bytes) -> None:
        """Feed it in. Whatever is not allowed to happen comes out as an exception."""


class Broken(AssertionError):
    """Bascule kept from falling over, but did what it promises not to do."""


class Hang(BaseException):
    """A case took longer than its time; no handler of Exception may swallow it."""


class Touched(BaseException):
    """A case did more than compute."""


def promise(kept: bool, what: str) -> None:
    """Raise :class:`Broken` where a promise is not kept."""
    if not kept:
        raise Broken(what)


@contextmanager
def time_bound(seconds: float = SECONDS) -> Iterator[None]:
    """Raise :class:`Hang` in what takes longer."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Guard:
    """``with GUARD:`` nothing but computing may happen: every other event of Python's audit
    (sys.audit: files, processes, sockets, imports, code) is a crasher. Works once :meth:`hook` is
    installed; late imports have to be past by then."""

    _FORBIDDEN = (
        "open",
        "os.",
        "subprocess.",
        "socket.",
        "shutil.",
        "exec",
        "import",
        "pty.",
        "ctypes.",
        "tempfile.",
        "glob.",
    )

    _READS = ("open", "os.listdir", "os.scandir", "os.walk")

    def __init__(self) -> None:
        self._armed = False
        self.readable: tuple[str, ...] = ()  # folders in which a case may look around

    def __enter__(self) -> None:
        self._armed = True

    def __exit__(self, *_: object) -> None:
        self._armed = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For sys.addaudithook()."""
        if self._armed and event.startswith(self._FORBIDDEN):
            place = arguments[0]
            # a number: opened before
            seen = isinstance(place, int) or (
                self.readable and str(place).startswith(self.readable)
            )
            if event in self._READS and seen and not _writes(event, arguments):
                return
            self._armed = False
            raise Touched(f"{event}{arguments!r:.200}")


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and bool(arguments[2] & (os.O_ACCMODE | os.O_CREAT | os.O_TRUNC))


GUARD = Guard()


def corpus(name: str) -> list[bytes]:
    """What mutation starts from."""
    return [path.read_bytes() for path in sorted((HERE / "corpus" / name).iterdir())]


def crashers(name: str) -> dict[str, bytes]:
    """What once broke something, by file name."""
    folder = HERE / "crashers" / name
    return (
        {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        if folder.is_dir()
        else {}
    )


def door_of(case: bytes, doors: Mapping[str, Any]) -> tuple[str, bytes]:
    """The name of the door and what goes in by it."""
    word, _, rest = case.partition(b"\n")
    name = word.decode()
    if name not in doors:
        raise LookupError(f"no door {name!r}: there are {', '.join(doors)}")
    return name, rest
