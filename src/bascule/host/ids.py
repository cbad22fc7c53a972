"""Which user and group ids a private world has (user_namespaces(7)).

Root keeps all ids that it has. Anybody else becomes root inside, and may have more ids where the
machine grants some: rows of /etc/subuid and /etc/subgid (subuid(5)), which the setuid programs
newuidmap and newgidmap put in force. Without them there is one id, and a program that wants to
become another user can't.
"""

from __future__ import annotations

import os
import pwd
import shutil
from contextlib import suppress
from typing import NamedTuple

from bascule import syscalls
from bascule.host import programs

_SECONDS = 10
_HELPERS = {"uid_map": ("newuidmap", "/etc/subuid"), "gid_map": ("newgidmap", "/etc/subgid")}
# UID_GID_MAP_MAX_EXTENTS, linux/user_namespace.h; less than a page is written
_MOST_ROWS, _MOST_BYTES = 340, 4095
_HIGHEST = (1 << 32) - 2  # the last number is none (credentials(7))


class Row(NamedTuple):
    """``size`` ids, from ``inside`` on in the new namespace, are those from ``outside`` on in the
    one around it."""

    inside: int
    outside: int
    size: int


def write(pid: int) -> None:
    """Write the maps of the user namespace that the process has just made. Raises OSError."""
    if os.geteuid() == 0:
        for kind in _HELPERS:
            pass_on(str(pid), kind)
        return
    # The group first: where its helper has denied setgroups(2) nothing, ours does.
    if not _by_helper(pid, "gid_map", os.getegid()):
        syscalls.put(f"/proc/{pid}/setgroups", "deny")
        syscalls.put(f"/proc/{pid}/gid_map", f"0 {os.getegid()} 1\n")
    if not _by_helper(pid, "uid_map", os.geteuid()):
        syscalls.put(f"/proc/{pid}/uid_map", f"0 {os.geteuid()} 1\n")


def pass_on(entry: str, kind: str) -> None:
    """Give the namespace of a process all ids that this one has, under the same numbers."""
    syscalls.put(
        f"/proc/{entry}/{kind}",
        "".join(f"{row.inside} {row.inside} {row.size}\n" for row in own(kind)),
    )


def own(kind: str = "uid_map") -> list[Row]:
    """The ids of this process's user namespace."""
    with open(f"/proc/self/{kind}") as file:
        return [Row(*map(int, line.split())) for line in file]


def highest(kind: str) -> int:
    """The greatest id of this process's user namespace."""
    return max(row.inside + row.size - 1 for row in own(kind))


def granted(kind: str, user: int) -> list[Row]:
    """The ids that the machine grants this user beside its own, numbered from 1 on; none where
    there is no helper."""
    program, file = _HELPERS[kind]
    own_id = user if kind == "uid_map" else os.getegid()
    return (
        _rows(_ranges_of(file, user), own_id)
        if shutil.which(program, path=syscalls.SYSTEM_PATH)
        else []
    )


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _ranges_of(file: str, user: int) -> list[range]:
    names = {str(user), _name_of(user)}
    found = []
    with suppress(OSError), open(file) as opened:
        for line in opened:
            owner, _, numbers = line.strip().partition(":")
            first, _, count = numbers.partition(":")
            if owner in names and first.isdecimal() and count.isdecimal():
                found.append(range(int(first), min(int(first) + int(count), _HIGHEST + 1)))
    return found


def _rows(ranges: list[range], own_id: int) -> list[Row]:
    """The kernel takes no map in which an id stands twice, and rows of the user's name and of its
    number often say the same. Nor does it take one that is too long."""
    taken, rows = [range(own_id, own_id + 1)], list[Row]()
    inside, room = 1, _MOST_BYTES - len(f"0 {own_id} 1\n")
    for each in ranges:
        for part in _without(each, taken):
            row = Row(inside, part.start, len(part))
            room -= max(
                len(f"{inside} {outside} {row.size}\n") for outside in (inside, row.outside)
            )  # the inner map, and this one
            if room < 0 or len(rows) == _MOST_ROWS - 1:
                return rows
            rows.append(row)
            inside += len(part)
        taken.append(each)
    return rows


def _without(given: range, taken: list[range]) -> list[range]:
    """What is left of a range, in its order."""
    parts = [given]
    for other in taken:
        below = [range(part.start, min(part.stop, other.start)) for part in parts]
        above = [range(max(part.start, other.stop), part.stop) for part in parts]
        parts = [part for part in (*below, *above) if part]
    return sorted(parts, key=lambda part: part.start)


def how_to_get_more() -> str:
    """What an ordinary user with one id has to do."""
    steps = []
    if any(
        shutil.which(program, path=syscalls.SYSTEM_PATH) is None
        for program, _file in _HELPERS.values()
    ):
        steps.append("apt install uidmap")
    if not all(any(_ranges_of(file, os.geteuid())) for _program, file in _HELPERS.values()):
        steps.append(
            f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
            f"{_name_of(os.geteuid())}"
        )
    return (
        "as root: " + " && ".join(steps)
        if steps
        else "newuidmap may not: it has to be setuid (nosuid, no_new_privs)"
    )


def _by_helper(pid: int, kind: str, own_id: int) -> bool:
    """Whether the helper has written the map. It does not where it can't be setuid: below
    no_new_privs, on a nosuid mount."""
    rows = granted(kind, os.geteuid())
    found = shutil.which(_HELPERS[kind][0], path=syscalls.SYSTEM_PATH)
    if not rows or found is None:
        return False
    words = [str(number) for row in (Row(0, own_id, 1), *rows) for number in row]
    try:
        return programs.run([found, str(pid), *words], "", _SECONDS).code == 0
    except OSError:
        return False
