"""Files and folders that belong to a lab, and the folders that were made for them.

A folder that bascule makes (/run/netns, /etc/netns) is noted, so that `down` takes away exactly what was not there
before. The note is a file of one path a line, appended to before the folder is made; labs share it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from posixpath import dirname

from bascule import syscalls
from bascule.host import namespaces
from bascule.host.paths import Paths
from bascule.kernel.op import WriteFile, WriteSymlink

MADE = "/run/bascule/.made"


def make_directories(path: str, mode: int = 0o755) -> None:
    """Make this folder and those above it, noting each that was not there."""
    if os.path.isdir(path):
        return
    parent = dirname(path)
    if parent != path:
        make_directories(parent, mode)
    if path != dirname(MADE):
        _note(path)
    with suppress(FileExistsError):
        syscalls.mkdir(path, mode)


def _note(path: str) -> None:
    with suppress(FileExistsError):
        syscalls.mkdir(dirname(MADE), 0o700)
    descriptor = syscalls.create(MADE, os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        syscalls.write(descriptor, f"{path}\n".encode())
    finally:
        os.close(descriptor)


def ready_for_namespaces() -> None:
    """Make /run/netns what ip-netns(8) wants it to be."""
    make_directories(namespaces.DIRECTORY)
    if namespaces.share_directory():
        _note(f"mount {namespaces.DIRECTORY}")


def remove_made_directories() -> None:
    """Remove the noted folders that are empty now; those in use by another lab stay noted."""
    try:
        with open(MADE) as file:
            noted = list(dict.fromkeys(file.read().splitlines()))
    except FileNotFoundError:
        return
    kept = [line for line in noted if not _removed(line)]
    # The folder of a mount can go only after the mount, which stands in the line below it.
    kept = [line for line in kept if not _removed(line)]
    if kept:
        descriptor = syscalls.create(MADE, os.O_WRONLY, 0o600)
        try:
            syscalls.overwrite(descriptor, "".join(f"{line}\n" for line in kept).encode())
        finally:
            os.close(descriptor)
        return
    syscalls.unlink(MADE)
    with suppress(OSError):
        syscalls.rmdir(dirname(MADE))


def _removed(line: str) -> bool:
    mounted, _, mount_point = line.partition("mount ")
    try:
        if mount_point and not mounted:
            if os.listdir(mount_point):
                return False
            syscalls.umount(mount_point)
        else:
            syscalls.rmdir(line)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def write(effect: WriteFile, paths: Paths) -> None:
    """Carry the effect out. A file is written in place, whole before it is cut, so that no reader finds it empty."""
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


def link(effect: WriteSymlink, paths: Paths) -> None:
    """Carry the effect out. Raises FileExistsError where something else has the name."""
    path = paths.of(effect.path)
    if effect.target is None:
        with suppress(FileNotFoundError):
            syscalls.unlink(path)
        return
    try:
        syscalls.symlink(effect.target, path)
    except FileNotFoundError:
        make_directories(dirname(path))
        syscalls.symlink(effect.target, path)


def _prune(directory: str) -> None:
    """Remove a lab's folders below /run/bascule when their last file has gone."""
    while directory.startswith("/run/bascule/"):
        try:
            syscalls.rmdir(directory)
        except OSError:
            return
        directory = dirname(directory)
