"""The files of a lab as they stand: what its nodes have in place of the machine's /etc, what its
servers read, and who may."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from posixpath import dirname

from bascule.host import abilities, etc_links, files
from bascule.host.paths import ETC, RUN, Paths
from bascule.host.seen import Observation
from bascule.kernel.fact import Fact
from bascule.kernel.file import NODE_FILES, Symlink, TextFile, UsersFolder, mended
from bascule.kernel.look import Scope
from bascule.kernel.program import MARK, NOTE

_MOST_BYTES = 1 << 24
_STATE = "/run/bascule"
_NOTES = (NOTE, MARK)  # which go with the server


def look(seen: Observation, scope: Scope, paths: Paths) -> None:
    """Files and links as facts, what of the files is the user's, and the permissions that are not
    what they have to be."""
    folders, ours = _lab(scope, seen)
    seen.etc_writable = paths.private or abilities.has_etc()
    for path in dict.fromkeys((*scope.files, *ours)):
        # it may go between one look and the next
        with suppress(FileNotFoundError, NotADirectoryError):
            node = path.removeprefix(f"{ETC}/") if dirname(path) == ETC else ""
            seen.facts.extend(
                _of_node(node, path, paths, seen) if node else [_file(path, paths.of(path))]
            )
    known = {fact.key for fact in seen.facts}
    seen.facts.extend(
        link for path in scope.placed if (link := _ours(path)) is not None and link.key not in known
    )
    made = files.noted_folders() if scope.folders else []
    seen.modes = dict(_wrong_modes((*_above(scope), *made, *folders, *ours)))


def _of_node(node: str, path: str, paths: Paths, seen: Observation) -> Iterator[Fact]:
    """The node's link in /etc/netns, or what is there in its place; and the one that it has where
    that can't be made."""
    if not paths.private and (link := _ours(f"{RUN}/{node}")) is not None:
        yield link
    place = paths.of(path)
    link = _ours(place)
    if link is not None:
        if seen.etc_writable:  # else it can't be taken away, and does not count
            yield replace(link, path=path)
    elif os.path.isdir(place):
        seen.users[node] = folder = _users(
            path if not os.path.islink(place) else os.path.realpath(place), paths
        )
        for name in NODE_FILES:
            if (link := _ours(paths.of(f"{folder.path}/{name}"))) is not None and folder.writable:
                yield replace(link, path=f"{folder.path}/{name}")
    elif os.path.lexists(place):
        yield Symlink(path, "")  # whatever it is, it is not ours


def _users(path: str, paths: Paths) -> UsersFolder:
    place = paths.of(path)
    his = [
        name
        for name in NODE_FILES
        if os.path.lexists(f"{place}/{name}") and _ours(f"{place}/{name}") is None
    ]
    return UsersFolder(path, frozenset(his), os.access(place, os.W_OK))


def _ours(place: str) -> Symlink | None:
    """A link into some lab's files; nobody else makes such a one."""
    try:
        target = os.readlink(place)
    except OSError:
        return None
    return (
        Symlink(place, target, etc_links.is_stale(place))
        if target.startswith(f"{_STATE}/")
        else None
    )


def _lab(scope: Scope, seen: Observation) -> tuple[list[str], list[str]]:
    """The folders and files of the lab's own. In a view of /etc, what is no file of ours was put
    there by the user, through the link of a node (:mod:`bascule.plan.names`)."""
    folders, ours = [scope.views] if scope.views else [], list[str]()
    for top in scope.folders:
        for place, _folders, names in os.walk(top):
            folders.append(place)
            ours += [f"{place}/{name}" for name in names if not name.endswith(_NOTES)]
    for view in _names_in(scope.views):
        if not os.path.isdir(view):
            seen.strays.append(view)
            continue
        folders.append(view)
        for path in _names_in(view):
            (
                ours if os.path.basename(path) in NODE_FILES and _is_plain(path) else seen.strays
            ).append(path)
    return folders, ours


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _names_in(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder))] if folder else []
    except OSError:
        return []


def _file(path: str, place: str) -> Fact:
    status = os.lstat(place)
    if stat.S_ISLNK(status.st_mode):
        return Symlink(path, os.readlink(place), etc_links.is_stale(place))
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
        if (is_folder or stat.S_ISREG(status.st_mode)) and mode != (
            right := mended(path, mode, is_folder)
        ):
            yield path, (mode, right)
