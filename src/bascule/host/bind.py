"""A node's own files in the place of the machine's /etc, for one command: what ``ip netns exec``
does with /etc/netns/NODE.

The command has a mount namespace of its own by then: what is mounted here is seen there alone. The
machine's /etc is only read: where it has nothing that a file could be mounted on, the command gets
an /etc with an empty one more (overlayfs). Imports little: `exec` is the command that people wait
for.
"""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext, suppress
from typing import NamedTuple

from bascule import syscalls
from bascule.host.paths import Paths
from bascule.syscalls import MS_BIND

_STATE = "/run/bascule/"
_ETC, _SCRATCH = "/etc", "/sys"
_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


class Source(NamedTuple):
    """What is to be mounted: its path, and in a private world, where commands see no such path, a
    mount of it that is nowhere yet (:func:`syscalls.clone_mount`)."""

    path: str
    is_folder: bool
    mounted: int | None


def take(node: str, paths: Paths) -> dict[str, Source]:
    """Each file and folder of the node's, by its name in /etc. Raises OSError where the kernel
    forbids it."""
    found: dict[str, Source] = {}
    for name, path in _paths(node, paths).items():
        with suppress(FileNotFoundError):  # it may just be taken away
            found[name] = Source(
                path, os.path.isdir(path), syscalls.clone_mount(path) if paths.private else None
            )
    return found


def put(sources: dict[str, Source]) -> None:
    """Mount each on the one of its name in /etc. What fits on nothing is left out, as ``ip netns
    exec`` does it. Raises OSError where the kernel forbids it."""
    missing = [name for name in sources if not os.path.lexists(f"{_ETC}/{name}")]
    if missing:
        with suppress(OSError):  # without overlayfs, or on too many of them
            _make_places(sources, missing)
    for name, source in sources.items():
        try:
            _put_one(source, f"{_ETC}/{name}")
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise


def _paths(node: str, paths: Paths) -> dict[str, str]:
    """By name in /etc. The later folder counts; but a link of ours that could not be replaced, in
    an /etc that has become read-only, does not."""
    found: dict[str, str] = {}
    for folder in paths.of_node(node):
        try:
            if found and os.path.islink(folder) and os.readlink(folder).startswith(_STATE):
                continue
            names = os.listdir(folder)
        except OSError:
            continue
        found.update(
            {name: f"{folder}/{name}" for name in names if os.path.exists(f"{folder}/{name}")}
        )
    return found


def _put_one(source: Source, target: str) -> None:
    # It may lead to nothing, as systemd-resolved's into /run does in a private world. Without newer
    # calls it stays so.
    leads_nowhere = os.path.islink(target) and not os.path.exists(target)
    if source.mounted is None and not leads_nowhere:
        syscalls.mount(source.path, target, "none", MS_BIND)
        return
    with suppress(OSError) if leads_nowhere else nullcontext():
        mounted = syscalls.clone_mount(source.path) if source.mounted is None else source.mounted
        try:
            syscalls.move_mount(mounted, target, leads_nowhere)
        finally:
            os.close(mounted)


def _make_places(sources: dict[str, Source], missing: list[str]) -> None:
    """Lay an /etc with something to mount on over the machine's. It is read-only: whoever writes to
    it is told, and not left in the belief that the machine's had changed."""
    syscalls.mount("tmpfs", _SCRATCH, "tmpfs", 0, "mode=755")
    try:
        for name in missing:
            place = f"{_SCRATCH}/{name}"
            if sources[name].is_folder:
                syscalls.mkdir(place, 0o755)
            else:
                os.close(syscalls.create(place, os.O_WRONLY, 0o644))
        syscalls.mount("overlay", _ETC, "overlay", 0, f"lowerdir={_SCRATCH}:{_ETC}")
    finally:
        syscalls.umount(_SCRATCH)
