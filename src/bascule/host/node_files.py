"""The files of a lab as they stand: what its nodes have in place of the machine's /etc, what its servers read, and who may."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from posixpath import dirname

from bascule.host import files
from bascule.host.paths import Paths
from bascule.host.seen import Observation, Scope
from bascule.kernel.file import NODE_FILES, Symlink, TextFile, mended
from bascule.kernel.op import Fact

_MOST_BYTES = 1 << 24
_STATE = "/run/bascule"
_NOTE = ".pid"  # a server's own note, which goes with it


def look(seen: Observation, scope: Scope, paths: Paths) -> None:
    """Files and links as facts, what of the files is the user's, and the permissions that are not what they have to be."""
    folders, ours = _lab(scope, seen)
    for path in dict.fromkeys((*scope.files, *ours)):
        with suppress(FileNotFoundError, NotADirectoryError):  # it may go between one look and the next
            seen.facts.append(_file(path, paths.of(path)))
    made = files.noted_folders() if scope.folders else []
    seen.modes = dict(_wrong_modes((*_above(scope), *made, *folders, *ours)))


def _lab(scope: Scope, seen: Observation) -> tuple[list[str], list[str]]:
    """The folders and files of the lab's own. In a view of /etc, what is not called as one of ours was put there by the user,
    through the link of a node (:mod:`bascule.plan.names`)."""
    folders, ours = [scope.views] if scope.views else [], list[str]()
    for top in scope.folders:
        for place, _folders, names in os.walk(top):
            folders.append(place)
            ours += [f"{place}/{name}" for name in names if not name.endswith(_NOTE)]
    for view in _names_in(scope.views):
        folders.append(view)
        entries = _names_in(view)
        ours += [path for path in entries if os.path.basename(path) in NODE_FILES]
        seen.strays += [path for path in entries if os.path.basename(path) not in NODE_FILES]
    return folders, ours


def _names_in(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))] if folder else []
    except OSError:
        return []


def _file(path: str, place: str) -> Fact:
    status = os.lstat(place)
    if stat.S_ISLNK(status.st_mode):
        return Symlink(path, os.readlink(place), files.is_stale(place))
    if stat.S_ISREG(status.st_mode) and status.st_size < _MOST_BYTES:
        with open(place, encoding="utf-8", errors="backslashreplace") as file:
            return TextFile(path, file.read())
    return Symlink(path, "")  # a folder or a device: nothing that may be replaced


def _above(scope: Scope) -> Iterator[str]:
    """The folders between /run and the lab's own."""
    for top in (*scope.folders, scope.views):
        while (top := dirname(top)).startswith(_STATE):
            yield top


def _wrong_modes(paths: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The mode that is, and the one that has to be."""
    for path in dict.fromkeys(paths):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        is_folder, mode = stat.S_ISDIR(status.st_mode), stat.S_IMODE(status.st_mode)
        if (is_folder or stat.S_ISREG(status.st_mode)) and mode != (right := mended(path, mode, is_folder)):
            yield path, (mode, right)
