"""Namespaces that nodes are to be, of other programs: what stands at their paths, by identity and not by name.

A path says nothing of whose the namespace is: the machine's own has one below /proc for each of its processes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from bascule.host import namespaces
from bascule.host.seen import Source
from bascule.names import WORLD_NETNS

_NS_GET_USERNS = 0xB701  # ioctl_ns(2)


def sources(adopted: tuple[tuple[str, str], ...]) -> dict[str, Source]:
    """What is at the paths of these nodes (name, path), but for those that are the world itself by their word."""
    paths = {name: path for name, path in adopted if path != WORLD_NETNS}
    pins = _pins() if paths else {}
    return {name: _source(path, pins) for name, path in paths.items()}


def _source(path: str, pins: dict[tuple[int, int], list[str]]) -> Source:
    descriptor = namespaces.open_source(path)
    if descriptor is None:
        return Source(path)
    try:
        status = os.fstat(descriptor)
        place = status.st_dev, status.st_ino
        return Source(path, place, _owner(descriptor), tuple(pins.get(place, ())), namespaces.plays_host(place))
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> tuple[int, int] | None:
    """Device and inode of the user namespace whose root the network namespace belongs to; None where we may not know."""
    with suppress(OSError):
        user = fcntl.ioctl(descriptor, _NS_GET_USERNS)
        try:
            status = os.fstat(user)
        finally:
            os.close(user)
        return status.st_dev, status.st_ino
    return None


def _pins() -> dict[tuple[int, int], list[str]]:
    """The names in /run/netns by what they are of."""
    found: dict[tuple[int, int], list[str]] = {}
    with suppress(OSError):
        for name in sorted(os.listdir(namespaces.DIRECTORY)):
            with suppress(OSError):
                status = os.stat(namespaces.pin_path(name))
                found.setdefault((status.st_dev, status.st_ino), []).append(name)
    return found
