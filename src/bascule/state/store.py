"""The record of a lab: what it was asked to be, where it runs, and what in the kernel belongs to it.

Two files of JSON in the lab's folder, each written whole (write, fsync, rename, fsync of the folder):

* ``lab.json``: the record, as the last finished run left it.
* ``journal.json``: the record that a run is about to make true, written before the kernel is touched and gone when the
  run has finished. While it is there, what it names counts as the lab's own, whether or not it came to be.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bascule import syscalls
from bascule.errors import StateError
from bascule.state import folder

VERSION = 1
_RECORD, _JOURNAL = "lab.json", "journal.json"
_UNFINISHED = ".new"


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that keeps a private world alive. ``start`` (field 22 of proc_pid_stat(5)) tells it from a later
    process with the same number."""

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Record:
    """``topology`` is the lab file's data with every choice made, None for a lab that is (being) taken away.
    ``namespaces`` maps a name to the cookie of the namespace (0: made or about to be made, cookie not known).
    ``priors`` are (node, sysctl, value before bascule). ``tables`` maps a table's name to its digest
    (:mod:`bascule.kernel.table`). ``settings`` are sysctls of the world that the lab needs. ``slot`` numbers the lab's range of
    interface indexes."""

    name: str
    world: str
    slot: int
    topology: dict[str, Any] | None
    source: str = ""
    command: str = ""
    boot: str = ""
    keeper: Keeper | None = None
    namespaces: dict[str, int] = field(default_factory=dict)
    priors: list[tuple[str, str, str]] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a lab: the record of the last finished run, and the journal of one that did not finish."""

    record: Record | None
    journal: Record | None

    @property
    def newest(self) -> Record | None:
        """The journal where there is one, else the record."""
        return self.journal or self.record

    @property
    def namespaces(self) -> dict[str, int]:
        """All namespaces that are the lab's own. The journal counts before the record: the run that wrote it may have put a
        new namespace, whose cookie nobody has noted yet, in the place of one that had gone."""
        known: dict[str, int] = {}
        for record in (self.record, self.journal):
            if record is not None:
                known.update(record.namespaces)
        return known


def load(name: str) -> Stored:
    """What is stored of this lab, nothing of it where the machine has been started since. Raises :class:`StateError`
    for a damaged file."""
    journal = _read(name, _JOURNAL)  # first: a run that ends meanwhile removes it when the record is written, not before
    record = _read(name, _RECORD)
    boot = boot_id()
    return Stored(*(None if r is None or r.boot not in ("", boot) else r for r in (record, journal)))


def save(record: Record) -> None:
    """Make this the lab's record, and end the journal."""
    _write(record, _RECORD)
    _remove(record.name, _JOURNAL)


def begin(record: Record) -> None:
    """Write the journal of a run that is about to make this true."""
    _write(record, _JOURNAL)


def forget(name: str) -> None:
    """Remove all that is stored of a lab but its lock."""
    for file in (_RECORD, _JOURNAL):  # a crash between the two leaves the journal: the lab is still ours to remove
        _remove(name, file)


def rollback(name: str) -> None:
    """End the journal of a run that undid itself."""
    _remove(name, _JOURNAL)


def _remove(name: str, file: str) -> None:
    """Remove a file, and what a killed run had begun to write in its place."""
    path = os.path.join(folder.lab(name), file)
    for each in (path, path + _UNFINISHED):
        if os.path.lexists(each):
            syscalls.unlink(each)


def boot_id() -> str:
    """The kernel's random number for this boot (random(4))."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def _write(record: Record, file: str) -> None:
    directory = folder.lab(record.name)
    path = os.path.join(directory, file)
    values = {item.name: getattr(record, item.name) for item in fields(Record)}  # asdict() would copy the topology
    values["keeper"] = asdict(record.keeper) if record.keeper else None
    data = json.dumps(values, separators=(",", ":")).encode()
    try:
        descriptor = syscalls.create(path + _UNFINISHED, os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            syscalls.write(descriptor, data)
            syscalls.fsync(descriptor)
        finally:
            os.close(descriptor)
        syscalls.rename(path + _UNFINISHED, path)
        syscalls.sync_folder(directory)
    except OSError as error:
        with suppress(OSError):
            syscalls.unlink(path + _UNFINISHED)
        raise StateError(f"{path}: {error.strerror}; nothing was changed in the kernel") from error


def _read(name: str, file: str) -> Record | None:
    path = os.path.join(folder.lab(name), file)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        for place in (folder.root(), folder.lab(name)):
            folder.check(place)
        with open(descriptor, "rb") as opened:
            data = json.loads(opened.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(path, "is no JSON") from error
    return _record(data, path, name)


def _record(data: object, path: str, name: str) -> Record:
    if not isinstance(data, dict):
        raise _damaged(path, "holds no object")
    if data.get("version") != VERSION:
        raise StateError(
            f"{path} has version {data.get('version')!r} and this bascule knows version {VERSION}; "
            "use the bascule that wrote it to take the lab down"
        )
    known = {item.name for item in fields(Record)}
    try:
        values = {key: value for key, value in data.items() if key in known}
        keeper = values.get("keeper")
        values["keeper"] = Keeper(int(keeper["pid"]), int(keeper["start"])) if keeper else None
        values["priors"] = [(str(a), str(b), str(c)) for a, b, c in values.get("priors", [])]
        values["tables"] = {str(k): str(v) for k, v in values.get("tables", {}).items()}
        values["settings"] = [str(key) for key in values.get("settings", [])]
        values["namespaces"] = {str(k): int(v) for k, v in values.get("namespaces", {}).items()}
        record = Record(**values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, f"lacks something ({error})") from error
    if record.name != name or record.world not in ("host", "private") or not isinstance(record.slot, int):
        raise _damaged(path, "does not describe this lab")
    return record


def _damaged(path: str, what: str) -> StateError:
    return StateError(
        f"{path} {what}: it is damaged. To go on, remove that file, then run `bascule up` with the lab's file "
        "and `bascule down`, or remove by hand what `ip netns` and `ip link` still show of the lab"
    )
