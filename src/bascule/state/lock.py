"""Locks (flock(2)): one a lab, and a short one over all labs for handing out names, prefixes and
indexes.

The kernel gives a lock back when its holder ends, however it ends. The file says who holds it, for
whoever waits.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bascule import identity, syscalls
from bascule.errors import Locked, StateError
from bascule.state import folder

Waiting = Callable[[str], None]
# the last lab takes folder and lock along, at any moment; as often as that in a row it is something
# else
_ATTEMPTS = 1000
# seconds: claims are made in milliseconds, so that who holds them for longer is stuck
_PATIENCE = 0.5


FILE = "lock"  # in the lab's folder


@contextmanager
def lab_lock(
    name: str, command: str, wait: bool = True, waiting: Waiting | None = None
) -> Iterator[None]:
    """Hold the lock of a lab. A second command waits, after telling ``waiting`` for what; with
    ``wait`` False it raises :class:`Locked`. The folder of the lab is made, and goes again with the
    lock if nothing else was put into it."""
    held = False
    try:
        with _holding(name, command, wait, waiting):
            held = True
            try:
                yield
            finally:
                _clear_if_empty(name)
    finally:
        if held:
            _clear_claims()


@contextmanager
def _holding(name: str, command: str, wait: bool, waiting: Waiting | None) -> Iterator[None]:
    path = os.path.join(folder.lab(name), FILE)
    for _attempt in range(_ATTEMPTS):
        descriptor = _open(path, folder.root(), folder.lab(name))
        try:
            _take(descriptor, name, wait, waiting)
            if not _same_file(descriptor, path):
                continue  # the holder before us took the lab away: its lock is no longer the lab's
            # a full disk does not keep anybody from working: it is only told to who waits
            with suppress(OSError):
                syscalls.overwrite(descriptor, f"`{command}` (process {os.getpid()})".encode())
            yield
            return
        finally:
            os.close(descriptor)
    raise _restless(path)


def _restless(path: str) -> StateError:
    return StateError(
        f"{path}: it goes whenever it was made; set BASCULE_STATE_DIR to a folder that you "
        f"can write to"
    )


def _open(path: str, *folders: str) -> int:
    """The lock file, made with its folders. Another command may at any moment remove them, with the
    last lab: then again. Raises :class:`StateError` where they can't be made."""
    why = _restless(path)
    for _attempt in range(_ATTEMPTS):
        try:
            return _made(path, folders)
        except FileNotFoundError:
            continue
        except StateError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            why = error
    raise why


def _made(path: str, folders: tuple[str, ...]) -> int:
    safe: list[str] = []
    try:
        for each in folders:
            folder.ensure(each)
            safe.append(each)
        return syscalls.create(path, os.O_RDWR, 0o600)
    except FileNotFoundError:
        raise
    except (StateError, OSError) as error:
        for each in reversed(safe):
            with suppress(OSError):
                syscalls.rmdir(each)
        if isinstance(error, OSError):
            raise StateError(f"{path}: {error.strerror}") from error
        raise


def _take(descriptor: int, name: str, wait: bool, waiting: Waiting | None) -> None:
    if syscalls.lock(descriptor):
        return
    holder = os.pread(descriptor, 400, 0).decode("utf-8", "replace") or "another command"
    if not wait:
        raise Locked(f"lab {name} is in use by {holder}; try again, or leave out --no-wait")
    if waiting:
        waiting(f"waiting for {holder}, which works on lab {name}")
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _same_file(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def is_held(name: str) -> bool:
    """Whether a command works on the lab just now. It is read and not tried: who tries to take a
    lock keeps others from it. Holders in other PID namespaces are not seen."""
    try:
        there = os.stat(os.path.join(folder.lab(name), FILE), follow_symlinks=False)
    except OSError:
        return False
    return bool(identity.holder(there.st_dev, there.st_ino))


def _clear_if_empty(name: str) -> None:
    """With the lock held: where it is the last file of the lab, remove it and the folder."""
    with suppress(OSError):
        if os.listdir(folder.lab(name)) == [FILE]:
            syscalls.unlink(os.path.join(folder.lab(name), FILE))
            folder.remove(name)


@contextmanager
def claims_lock(wait: bool = True, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the lock under which labs claim names, prefixes and indexes: for milliseconds, and over
    a run only where that turns something on or off for the whole machine. Who holds it for longer
    is told to ``waiting``; with ``wait`` False :class:`Locked` is raised then."""
    path = os.path.join(folder.root(), ".claims")
    for _attempt in range(_ATTEMPTS):
        descriptor = _open(path, folder.root())
        try:
            _take_claims(descriptor, wait, waiting)
            # else the last lab has just gone, and the file with it
            if _same_file(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
    raise _restless(path)


def _take_claims(descriptor: int, wait: bool, waiting: Waiting | None) -> None:
    if syscalls.lock(descriptor, _PATIENCE):
        return
    there = os.fstat(descriptor)
    holder = identity.holder(there.st_dev, there.st_ino) or "another command"
    if not wait:
        raise Locked(
            f"the claims of all labs are in use by {holder}; try again, or leave out --no-wait"
        )
    if waiting:
        waiting(f"waiting for {holder}, which holds the claims of all labs")
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _clear_claims() -> None:
    """Remove the claims lock and the state directory where no lab is left. Who holds the lock
    meanwhile is a lab that comes: removed under its hands, the file would be made again, and two
    would hold it."""
    path = os.path.join(folder.root(), ".claims")
    if folder.labs():
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if syscalls.lock(descriptor) and _same_file(descriptor, path) and not folder.labs():
                syscalls.unlink(path)
        finally:
            os.close(descriptor)
    with suppress(OSError):
        syscalls.rmdir(folder.root())


class Hold:
    """The right to keep a lab as one wants it, for as long as one runs: that of `up --watch`, or of
    a program whose lab goes with it. It is a lock (flock(2)) of the lab's folder, which no command
    needs, and goes with the folder."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._descriptor = -1

    def take(self) -> None:
        """Have it, or still have it: of the folder that is there now, if there is one. Raises
        :class:`Locked`."""
        path = folder.lab(self._name)
        if self._descriptor >= 0 and _same_file(self._descriptor, path):
            return
        self.release()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        if not syscalls.lock(descriptor):
            os.close(descriptor)
            raise held(self._name)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def held(name: str) -> Locked:
    """What to say of a lab that somebody holds."""
    holder = ""
    with suppress(OSError):  # it may just be taken down
        there = os.stat(folder.lab(name), follow_symlinks=False)
        holder = identity.holder(there.st_dev, there.st_ino)
    return Locked(
        f"lab {name} is held by {holder or 'another program'}; end that one first, or choose "
        f"another name"
    )


def has_holder(name: str) -> bool:
    """Whether somebody holds the lab. With its lock held: it is tried, for an instant in which
    nobody else can begin to."""
    hold = Hold(name)
    try:
        hold.take()
    except Locked:
        return True
    hold.release()
    return False


def is_held_by_others(name: str) -> bool:
    """Whether a program holds the lab that is neither this one nor one that has started it. With
    the lab's lock held."""
    if not has_holder(name):
        return False
    there = os.stat(folder.lab(name), follow_symlinks=False)
    return identity.holding(there.st_dev, there.st_ino) not in identity.ancestry()
