"""Changes of files, told by the kernel (inotify(7)): folders are watched, not files, because
editors and we put a new file in the place of the old one."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress

from bascule import syscalls

# struct inotify_event { int wd; uint32_t mask, cookie, len; char name[]; }
_EVENT = struct.Struct("=iIII")
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ONLY_FOLDERS = 0x4000, 0x8000, 0x01000000
_BYTES = 1 << 16
_MOST_LINKS = 40  # of one path: MAXSYMLINKS, linux/namei.h
_READS = 64  # of one drain: who writes faster than that is answered by the next look

# What is watched: folders, each with the names that matter there; None for all.
Folders = Mapping[str, frozenset[str] | None]


class Inotify:
    """One inotify instance. Raises OSError (EMFILE) where the user has too many."""

    def __init__(self) -> None:
        self.descriptor = syscalls.inotify()
        self._names: dict[int, frozenset[str] | None] = {}

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    def learn(self, watches: Mapping[int, frozenset[str] | None]) -> None:
        """Take what :func:`watch` gave for all that is watched."""
        self._names = dict(watches)

    def drain(self) -> bool:
        """Read all that is there to be read. Whether any of it matters."""
        matters = False
        for _read in range(_READS):
            try:
                data = os.read(self.descriptor, _BYTES)
            except BlockingIOError:
                break
            for number, mask, name in _events(data):
                names = self._names.get(number, frozenset())
                matters |= bool(mask & (_OVERFLOW | _IGNORED)) or names is None or name in names
        return matters


def watch(descriptor: int, folders: Folders) -> dict[int, frozenset[str] | None]:
    """Watch these folders, those that are there, as the calling process sees them. Again is
    nothing."""
    watches: dict[int, frozenset[str] | None] = {}
    for path, names in folders.items():
        with suppress(OSError):  # missing, or too many: a look at regular times has to do
            mask = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_FOLDERS
            number = syscalls.inotify_watch(descriptor, path, mask)
            before = watches.get(number, frozenset())
            watches[number] = None if names is None or before is None else names | before
    return watches


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 0
    while at + _EVENT.size <= len(data):
        number, mask, _cookie, size = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield number, mask, os.fsdecode(data[at : at + size].rstrip(b"\0"))
        at += size


def along(path: str) -> dict[str, frozenset[str] | None]:
    """The folders on the way to a file, each with the names that the way goes on by, through
    whatever links: whatever makes the path mean another file happens in one of them."""
    names: dict[str, set[str]] = {}
    place, to_go, links = "/", path.split("/")[::-1], 0
    while to_go and links <= _MOST_LINKS:
        name = to_go.pop()
        if name == "..":
            place = os.path.dirname(place)
        elif name not in ("", "."):
            names.setdefault(place, set()).add(name)
            whole = os.path.join(place, name)
            try:
                target = os.readlink(whole)
            except OSError:  # no link, or not there
                place = whole
                continue
            links += 1
            to_go += target.split("/")[::-1]
            place = "/" if target.startswith("/") else place
    return {folder: frozenset(found) for folder, found in names.items()}
