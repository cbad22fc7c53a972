"""The record of a lab: what it was asked to be, where it runs, and what in the kernel belongs to
it.

Two files of JSON in the lab's folder, each written whole (write, fsync, rename, fsync of the
folder):

* ``lab.json``: the record, as the last finished run left it.
* ``journal.json``: the record that a run is about to make true, written before the kernel is
  touched and gone when the run has finished. While it is there, what it names counts as the lab's
  own, whether or not it came to be.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from bascule import identity, syscalls
from bascule.errors import StateError
from bascule.state import folder
from bascule.state.record import JOURNAL, RECORD, Record, Stored, damaged, good_parts, parse, text

# What a write that failed means for the one who reads the error.
_UNTOUCHED = "nothing was changed in the kernel"
_BEGUN = "the kernel was changed already; mend this and run the command again"
_DONE = "all else is done; mend this and run the command again"
_MOST_BYTES = 1 << 28  # a lab of the greatest size has a tenth


def load(name: str) -> Stored:
    """What is stored of this lab, nothing of it where the machine has been started since. Raises
    :class:`StateError` for a damaged file."""
    # first: a run that ends meanwhile removes it when the record is written, not before
    journal = _read(name, JOURNAL)
    record = _read(name, RECORD)
    boot = boot_id()
    return Stored(
        *(None if r is None or r.boot not in ("", boot) else r for r in (record, journal))
    )


def salvage(name: str) -> dict[str, Any]:
    """What can be believed of this lab's files, whatever they are; the journal counts before the
    record. Raises :class:`StateError` where others may write there, and OSError."""
    found: dict[str, Any] = {}
    for place in (folder.root(), folder.lab(name)):
        folder.check(place)
    for file in (RECORD, JOURNAL):
        path = os.path.join(folder.lab(name), file)
        if not os.path.lexists(path) or not stat.S_ISREG(os.lstat(path).st_mode):
            continue
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(path, flags), "rb") as opened:
            found |= good_parts(opened.read(_MOST_BYTES))
    return found


def save(record: Record) -> None:
    """Make this the lab's record, and end the journal. Raises :class:`StateError`; what the record
    tells of is done by then."""
    _write(record, RECORD, _DONE)
    _remove_last(record.name, JOURNAL)


def begin(record: Record, begun: bool = False) -> None:
    """Write the journal of a run that is about to make this true, or has ``begun`` to. Raises
    :class:`StateError`."""
    _write(record, JOURNAL, _BEGUN if begun else _UNTOUCHED)


def forget(name: str) -> None:
    """Remove all that is stored of a lab but its lock. Raises :class:`StateError`; the lab itself
    is gone by then."""
    # a crash between the two leaves the journal: the lab is still ours to remove
    for file in (RECORD, JOURNAL):
        _remove_last(name, file)


def rollback(name: str) -> None:
    """End the journal of a run that undid itself."""
    _remove(name, JOURNAL)


def _remove_last(name: str, file: str) -> None:
    try:
        _remove(name, file)
    except OSError as error:
        raise StateError(f"{error.filename}: {error.strerror}; {_DONE}") from error


def _remove(name: str, file: str) -> None:
    """Remove a file, and what a killed run had begun to write in its place."""
    path = os.path.join(folder.lab(name), file)
    for each in (path, path + syscalls.UNFINISHED):
        if os.path.lexists(each):
            syscalls.unlink(each)


def boot_id() -> str:
    """The boot that records are of."""
    return identity.boot()


def _write(record: Record, file: str, otherwise: str) -> None:
    path = os.path.join(folder.lab(record.name), file)
    data = text(record).encode()
    try:
        syscalls.replace(path, data)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; {otherwise}") from error


def _read(name: str, file: str) -> Record | None:
    path = os.path.join(folder.lab(name), file)
    try:
        # O_NONBLOCK: a FIFO in its place is not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:
            for place in (folder.root(), folder.lab(name)):
                folder.check(place)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise damaged(path, "is no plain file")
            if status.st_size > _MOST_BYTES:
                raise damaged(path, f"is larger than {_MOST_BYTES >> 20} MiB")
            data = opened.read(_MOST_BYTES)
    except (
        FileNotFoundError,
        NotADirectoryError,
        folder.Gone,
    ):  # at any moment: another command takes the lab down
        return None
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    return parse(data, path, name)
