"""What is written down of a lab: the record of the last finished run, and the journal of one that
did not finish. State files are input like any other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bascule.errors import StateError
from bascule.identity import Netns
from bascule.names import problem_with_node_name
from bascule.state import folder

VERSION = 1


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that keeps a private world alive. ``start`` (field 22 of proc_pid_stat(5)) tells
    it from a later process with the same number; ``numbering`` is the PID namespace in which that
    is its number. ``first`` (number, start) is the first process of the namespaces in which
    commands of nodes live."""

    pid: int
    start: int
    first: tuple[int, int] = (0, 0)
    numbering: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """``topology`` is the lab file's data with every choice made, None for a lab that is (being)
    taken away, ``killed`` those of runs that were killed before this one and that nothing else
    tells of. ``namespaces`` maps a name to the cookie of the namespace (0: made or about to be
    made, cookie not known). ``priors`` are (node, sysctl, value before bascule). ``tables`` maps a
    table's name to its digest (:mod:`bascule.kernel.table`). ``settings`` are sysctls of the world
    that the lab needs. ``forwarding`` has by node ("" is the world) and IP version what was there
    before it was turned on (:class:`bascule.kernel.forwarding.Memory`). ``slot`` numbers the lab's
    range of interface indexes. ``placed`` are the links that were put into folders of the user's
    (:mod:`bascule.kernel.file`). ``host`` is the network namespace that a lab of the host world was
    built in; None: not noted. One that is ``held`` was built by a program for itself, and goes with
    it (:class:`bascule.state.lock.Hold`)."""

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
    placed: list[str] = field(default_factory=list)
    host: Netns | None = None
    held: bool = False
    forwarding: dict[str, Any] = field(default_factory=dict)
    killed: list[dict[str, Any]] = field(default_factory=list)
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a lab: the record of the last finished run, and the journal of one that did
    not finish."""

    record: Record | None
    journal: Record | None

    @property
    def newest(self) -> Record | None:
        """The journal where there is one, else the record."""
        return self.journal or self.record

    @property
    def namespaces(self) -> dict[str, int]:
        """All namespaces that are the lab's own. The journal counts before the record: the run that
        wrote it may have put a new namespace, whose cookie nobody has noted yet, in the place of
        one that had gone."""
        known: dict[str, int] = {}
        for record in (self.record, self.journal):
            if record is not None:
                known.update(record.namespaces)
        return known

    @property
    def placed(self) -> tuple[str, ...]:
        """All links that may be ours in folders of the user's."""
        return tuple(
            dict.fromkeys(
                path
                for record in (self.record, self.journal)
                if record is not None
                for path in record.placed
            )
        )


def text(record: Record) -> str:
    """The record as it stands in a file."""
    # asdict() would copy the topology
    values = {item.name: getattr(record, item.name) for item in fields(Record)}
    values["keeper"] = asdict(record.keeper) if record.keeper else None
    for unsaid in ("host", "held"):
        if not values[unsaid]:
            del values[unsaid]
    return json.dumps(values, separators=(",", ":"))


def parse(read: bytes, path: str, name: str) -> Record:
    """The record of this lab in what was read from ``path``. Raises :class:`StateError`: state
    files are input like any other, and nothing of a record is used before all of it has been looked
    at."""
    try:
        data = json.loads(read)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "is no JSON") from error
    if not isinstance(data, dict):
        raise damaged(path, "holds no object")
    if data.get("version") != VERSION:
        raise StateError(
            f"{path} has version {str(data.get('version'))[:20]} and this bascule knows version "
            f"{VERSION}; use the bascule that wrote it to take the lab down, or: {_advice(path)}"
        )
    lacking = [key for key in ("name", "world", "slot", "topology") if key not in data]
    if lacking:
        raise damaged(path, f"lacks {' and '.join(lacking)}")
    wrong = [key for key, is_good in _GOOD.items() if key in data and not is_good(data[key])]
    if wrong:
        raise damaged(path, f"has wrong {' and '.join(wrong)}")
    if data["name"] != name:
        raise damaged(path, "does not describe this lab")
    values = {key: data[key] for key in (*_GOOD, "version") if key in data}
    if values.get("keeper") is not None:
        told = data["keeper"]
        pid, start = told.get("first", (0, 0))
        values["keeper"] = Keeper(
            told["pid"], told["start"], (pid, start), told.get("numbering", "")
        )
    values["host"] = Netns(*data["host"]) if values.get("host") else None
    values["priors"] = [(node, key, value) for node, key, value in values.get("priors", ())]
    return Record(**values)


def good_parts(read: bytes) -> dict[str, Any]:
    """What can be believed of a record that is damaged, or of another version: the values that have
    the form of theirs. Of one that is no JSON any more, the number of its range."""
    try:
        data = json.loads(read)
    except (ValueError, RecursionError):
        found = re.search(rb'"slot": ?(\d{1,9})\b', read)
        data = {"slot": int(found[1])} if found else {}
    if not isinstance(data, dict):
        return {}
    return {key: data[key] for key, is_good in _GOOD.items() if key in data and is_good(data[key])}


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_topology(value: object) -> bool:
    """Whether it has the form of a topology: lists of labs, `exec` and the claims of other labs go
    by no more than that."""
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    groups = [value.get(key, {}) for key in ("networks", "nodes")]
    items = [
        item
        for group in groups
        if isinstance(group, dict)
        for item in group.values()
        if item is not None
    ]
    whole = all(isinstance(each, dict) for each in (*groups, *items))
    return whole and all(isinstance(item.get("networks", {}), dict) for item in items)


def _is_keeper(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not _is_text(value.get("numbering", "")):
        return False
    first = value.get("first", [0, 0])
    whole = isinstance(first, list) and len(first) == 2
    return whole and all(
        _is_process(*each) for each in ((value.get("pid"), value.get("start")), first)
    )


def _is_process(pid: object, start: object) -> bool:
    return _is_number(pid, _MOST_PID) and _is_number(start, _MOST_U64)


def _is_netns(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_number(each, _MOST_U64) for each in value)
    )


def _are_namespaces(value: object) -> bool:
    """A name is a file in /run/netns, which `down` removes."""
    return isinstance(value, dict) and all(
        problem_with_node_name(name) is None and _is_number(cookie, _MOST_U64)
        for name, cookie in value.items()
    )


def _are_priors(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(prior, list) and len(prior) == 3 and all(isinstance(word, str) for word in prior)
        for prior in value
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_forwarding(value: object) -> bool:
    rows = list(value.values()) if isinstance(value, dict) else [None]
    return all(
        isinstance(row, dict) and set(row) <= {"4", "6"} and all(map(_is_memory, row.values()))
        for row in rows
    )


def _is_memory(value: object) -> bool:
    if (
        not isinstance(value, dict)
        or set(value) != {"before", "interfaces", "back"}
        or not isinstance(value["interfaces"], dict)
    ):
        return False
    settings = (value["before"], value["back"])
    return all(_is_number(index, _MOST_INDEX) for index in value["interfaces"].values()) and all(
        map(_are_settings, settings)
    )


def _are_settings(value: object) -> bool:
    """Numbers, by interface and name. They are compared with what is there, and written only where
    the kernel has such a one."""
    rows = list(value.values()) if isinstance(value, dict) else [None]
    return all(
        isinstance(row, dict)
        and all(isinstance(text, str) and _INT.match(text) for text in row.values())
        for row in rows
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_GOOD: dict[str, Callable[[object], bool]] = {
    "name": _is_text,
    "world": lambda value: value in ("host", "private"),
    "slot": lambda value: _is_number(value, _MOST_SLOT),
    "topology": _is_topology,
    "source": _is_text,
    "command": _is_text,
    "boot": _is_text,
    "keeper": _is_keeper,
    "host": _is_netns,
    "held": lambda value: isinstance(value, bool),
    "namespaces": _are_namespaces,
    "priors": _are_priors,
    "tables": lambda value: (
        isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    ),
    "settings": _are_texts,
    "placed": _are_texts,
    "forwarding": _is_forwarding,
    "killed": lambda value: (
        isinstance(value, list)
        and all(isinstance(each, dict) and _is_topology(each) for each in value)
    ),
}


def damaged_topology(name: str, why: str) -> StateError:
    """What to say where the topology of the newest record, which is not looked into here, turns out
    to be none."""
    journal, record = (os.path.join(folder.lab(name), file) for file in (JOURNAL, RECORD))
    return damaged(journal if os.path.lexists(journal) else record, f"holds no topology ({why})")


def damaged(path: str, what: str) -> StateError:
    """The error for a file that is not what was written, with what to do."""
    return StateError(f"{path} {what}: it is damaged; {_advice(path)}")


def _advice(path: str) -> str:
    lab = os.path.basename(os.path.dirname(path))
    return f"`bascule down --force {lab}` takes away what is to be seen of the lab"


RECORD, JOURNAL = "lab.json", "journal.json"


_MOST_PID, _MOST_U64 = 1 << 22, (1 << 64) - 1  # PID_MAX_LIMIT, linux/threads.h


_INT = re.compile(r"-?[0-9]{1,10}\Z")


_MOST_INDEX = (1 << 31) - 1


_MOST_SLOT = 2_499  # kernel/op.py: Indexes.SLOTS
