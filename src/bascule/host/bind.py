"""A node's own files in the place of the machine's /etc, for one command: what ``ip netns exec`` does with /etc/netns/NODE.

The command has a mount namespace of its own by then: what is mounted here is seen there alone. The machine's /etc is only read:
where it has nothing that a file could be mounted on, the command gets an /etc with an empty one more (overlayfs).
Imports little: `exec` is the command that people wait for.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from bascule import syscalls
from bascule.host.paths import Paths
from bascule.syscalls import MS_BIND

_STATE = "/run/bascule/"
_ETC, _SCRATCH = "/etc", "/sys"
_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


def bind_etc(node: str, paths: Paths) -> None:
    """Mount each file and folder of the node's on the one of its name in /etc. What fits on nothing is left out, as ``ip netns
    exec`` does it. Raises OSError where the kernel forbids it."""
    sources = _sources(node, paths)
    missing = [name for name in sources if not os.path.lexists(f"{_ETC}/{name}")]
    if missing:
        with suppress(OSError):  # without overlayfs, or on too many of them
            _make_places(sources, missing)
    for name, source in sources.items():
        try:
            _bind(source, f"{_ETC}/{name}")
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise


def _sources(node: str, paths: Paths) -> dict[str, str]:
    """By name in /etc. The later folder counts; but a link of ours that could not be replaced, in an /etc that has become
    read-only, does not."""
    found: dict[str, str] = {}
    for folder in paths.of_node(node):
        try:
            if found and os.path.islink(folder) and os.readlink(folder).startswith(_STATE):
                continue
            names = os.listdir(folder)
        except OSError:
            continue
        found.update({name: f"{folder}/{name}" for name in names if os.path.exists(f"{folder}/{name}")})
    return found


def _bind(source: str, target: str) -> None:
    if os.path.islink(target) and not os.path.exists(target):
        # It leads to nothing, as systemd-resolved's into /run does in a private world. Without these calls it stays so.
        with suppress(OSError):
            syscalls.cover_link(source, target)
    else:
        syscalls.mount(source, target, "none", MS_BIND)


def _make_places(sources: dict[str, str], missing: list[str]) -> None:
    """Lay an /etc with something to mount on over the machine's. It is read-only: whoever writes to it is told, and not left in
    the belief that the machine's had changed."""
    syscalls.mount("tmpfs", _SCRATCH, "tmpfs", 0, "mode=755")
    try:
        for name in missing:
            place = f"{_SCRATCH}/{name}"
            if os.path.isdir(sources[name]):
                syscalls.mkdir(place, 0o755)
            else:
                os.close(syscalls.create(place, os.O_WRONLY, 0o644))
        syscalls.mount("overlay", _ETC, "overlay", 0, f"lowerdir={_SCRATCH}:{_ETC}")
    finally:
        syscalls.umount(_SCRATCH)
