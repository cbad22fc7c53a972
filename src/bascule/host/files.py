"""Files and folders that belong to a lab, and the folders that were made for them.

A folder that bascule makes (/run/netns, /etc/netns) is noted, so that `down` takes away exactly
what was not there before. The note is a file of one path a line, appended to before the folder is
made; labs share it.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from posixpath import dirname

from bascule import identity, syscalls
from bascule.errors import StateError
from bascule.host import namespaces
from bascule.host.etc_links import STATE
from bascule.host.paths import Paths
from bascule.kernel.op import ChangeMode, WriteFile, WriteSymlink

MADE = f"{STATE}.made"
_MOST_NOTES = 1 << 20
_MADE_FOLDER = re.compile(r"(mount )?/(run/netns|etc/netns|run/etc-netns)(/[^\0]*)?\Z")
_ATTEMPTS, _PAUSE = 20, 0.005
# seconds: notes are taken in milliseconds, so that who holds them for longer is stuck
_PATIENCE = 10


def make_directories(path: str, mode: int = 0o755) -> None:
    """Make this folder and those above it, noting each that was not there."""
    if is_there(path):
        return
    parent = dirname(path)
    if parent != path:
        make_directories(parent, mode)
    if f"{path}/".startswith(STATE):
        _make(path, mode)
    else:
        _note(path, lambda: _make(path, mode))


def _make(path: str, mode: int) -> None:
    with suppress(FileExistsError):
        syscalls.mkdir(path, mode)


def is_there(path: str) -> bool:
    """Unlike os.path.exists(), sure of it: an error is not an absence."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _note(line: str, make: Callable[[], object]) -> None:
    """Write down what is about to be made, and make it before another lab can read that: it would
    find nothing there to remove, and strike it out."""
    with _made() as descriptor:
        is_new = not os.fstat(descriptor).st_size
        os.lseek(descriptor, 0, os.SEEK_END)
        syscalls.write(descriptor, f"{line}\n".encode())
        syscalls.fsync(descriptor)
        if is_new:
            syscalls.sync_folder(dirname(MADE))
        make()


@contextmanager
def _made() -> Iterator[int]:
    """The file of notes, made if it is missing, open and locked: labs that come and go at the same
    time share it."""
    while True:
        if not os.path.isdir(dirname(MADE)):
            with suppress(FileExistsError):
                syscalls.mkdir(dirname(MADE), 0o711)
        try:
            descriptor = syscalls.create(MADE, os.O_RDWR, 0o600)
        except FileNotFoundError:
            continue  # the last lab has just taken the folder away
        try:
            if not syscalls.lock(descriptor, _PATIENCE):
                there = os.fstat(descriptor)
                holder = identity.holder(there.st_dev, there.st_ino) or "another command"
                raise StateError(
                    f"{MADE} is in use by {holder}, for longer than {_PATIENCE} s; try again"
                )
            if os.path.exists(MADE) and os.path.samestat(os.fstat(descriptor), os.stat(MADE)):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def ready_for_namespaces() -> None:
    """Make /run/netns what ip-netns(8) wants it to be."""
    in_folder(namespaces.DIRECTORY, _share)


def _share() -> None:
    if not namespaces.share_directory():
        _note(f"mount {namespaces.DIRECTORY}", _mount)


def _mount() -> None:
    if not namespaces.share_directory():  # another lab may have been first
        namespaces.mount_directory()
        namespaces.share_directory()


def make_namespace(
    name: str, prepare: Callable[[], None], maker: namespaces.Maker | None = None
) -> None:
    """A namespace with its pin in /run/netns, which it gets when ``prepare`` has been called in it.
    The thread is inside afterwards."""
    try:
        namespaces.make(name, prepare, maker)
    except FileNotFoundError:
        ready_for_namespaces()
        in_folder(namespaces.DIRECTORY, lambda: namespaces.make(name, prepare, maker))


def attach_namespace(name: str, source: str) -> None:
    """A pin in /run/netns for a namespace of somebody else. The thread is inside afterwards."""
    in_folder(namespaces.DIRECTORY, lambda: namespaces.attach(name, source))


def remove_empty(lab: str) -> None:
    """Remove the folders of a lab's nodes that are empty: a run that was killed may have left
    some."""
    for place, _folders, _names in os.walk(f"{STATE}{lab}", topdown=False):
        with suppress(OSError):
            syscalls.rmdir(place)


def remove_made_directories() -> None:
    """Remove the noted folders that are empty now; those in use by another lab stay noted."""
    if not os.path.exists(MADE):
        return
    with _made() as descriptor:
        noted = _notes(os.pread(descriptor, _MOST_NOTES, 0))
        kept = [line for line in noted if not _removed(line)]
        # The folder of a mount can go only after the mount, which stands in the line below it.
        kept = [line for line in kept if not _removed(line)]
        if kept:
            syscalls.overwrite(descriptor, "".join(f"{line}\n" for line in kept).encode())
        else:
            syscalls.unlink(MADE)
    if not kept:
        with suppress(OSError):
            syscalls.rmdir(dirname(MADE))


def noted_folders() -> list[str]:
    """The folders that are noted as made by us."""
    try:
        with open(MADE, "rb") as file:
            return [
                line for line in _notes(file.read(_MOST_NOTES)) if not line.startswith("mount ")
            ]
    except OSError:
        return []


def _notes(data: bytes) -> list[str]:
    """The notes that are believed, each once: a torn or damaged file names nothing but folders that
    bascule makes."""
    lines = data.decode("utf-8", "replace").split("\n")
    return [
        line
        for line in dict.fromkeys(lines)
        if _MADE_FOLDER.match(line) and not {"..", ".", ""} & {*line.split("/")[1:]}
    ]


def _removed(line: str) -> bool:
    mounted, _, mount_point = line.partition("mount ")
    is_mount = bool(mount_point) and not mounted
    try:
        if is_mount:
            if os.listdir(mount_point):
                return False
            _unmount(mount_point)
        else:
            syscalls.rmdir(line)
    except FileNotFoundError:
        return True
    except OSError as error:
        return is_mount and error.errno == errno.EINVAL  # noted, and killed before it was mounted
    return True


def _unmount(path: str) -> None:
    """Whoever looks at the folder in this moment makes it busy."""
    for _attempt in range(_ATTEMPTS):
        try:
            return syscalls.umount(path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(_PAUSE)
    syscalls.umount(path)


def carry_out(effect: WriteFile | WriteSymlink | ChangeMode, paths: Paths) -> None:
    """Write, link, or change who may. Raises FileExistsError where something else has the name of a
    link."""
    match effect:
        case WriteFile():
            _write(effect, paths)
        case WriteSymlink():
            _link(effect, paths)
        case ChangeMode(path, mode):
            syscalls.chmod(path, mode)


def _write(effect: WriteFile, paths: Paths) -> None:
    """A file is written in place, whole before it is cut, so that no reader finds it empty."""
    path = paths.of(effect.path)
    if effect.content is None:
        with suppress(FileNotFoundError):
            syscalls.unlink(path)
        _prune(dirname(path))
        return
    make_directories(dirname(path))
    descriptor = syscalls.create(path, os.O_WRONLY, 0o644)
    try:
        syscalls.overwrite(descriptor, effect.content.encode())
    finally:
        os.close(descriptor)


def _link(effect: WriteSymlink, paths: Paths) -> None:
    """What stands there instead of the link that is to go has been put there meanwhile, and is left
    alone."""
    path = paths.of(effect.path)
    if effect.target is None:
        if _leads_to(path, effect.old):
            with suppress(FileNotFoundError):
                syscalls.unlink(path)
        return
    target = effect.target
    in_folder(dirname(path), lambda: syscalls.symlink(target, path))


def _leads_to(path: str, target: str) -> bool:
    try:
        return os.readlink(path) == target
    except OSError:
        return False


def in_folder(path: str, make: Callable[[], object]) -> None:
    """Make something in a shared folder, which is made where it is missing. The `down` of another
    lab may take an empty one away at any moment: then again."""
    for _attempt in range(_ATTEMPTS):
        try:
            make()
        except FileNotFoundError:
            make_directories(path)
        else:
            return
    make()


def _prune(directory: str) -> None:
    """Remove a lab's folders below /run/bascule when their last file has gone."""
    while directory.startswith(STATE):
        try:
            syscalls.rmdir(directory)
        except OSError:
            return
        directory = dirname(directory)
