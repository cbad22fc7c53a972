"""Namespaces that nodes are to be, of other programs: what stands at their paths, by identity and
not by name.

A path says nothing of whose the namespace is: the machine's own has one below /proc for each of its
processes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress

from bascule.host import namespaces
from bascule.host.seen import Source
from bascule.names import WORLD_NETNS

_NS_GET_USERNS, _NS_GET_PARENT = 0xB701, 0xB702  # ioctl_ns(2)


def sources(adopted: tuple[tuple[str, str], ...]) -> dict[str, Source]:
    """What is at the paths of these nodes (name, path), but for those that are the world itself by
    their word."""
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
        return Source(
            path,
            place,
            tuple(_owners(descriptor)),
            tuple(pins.get(place, ())),
            namespaces.plays_host(place),
        )
    finally:
        os.close(descriptor)


def _owners(descriptor: int) -> Iterator[tuple[int, int]]:
    """Device and inode of the user namespace whose root the network namespace belongs to, and of
    those around it, as far as we may know."""
    step, held = _NS_GET_USERNS, os.dup(descriptor)
    try:
        with suppress(OSError):
            while True:
                # EPERM at the end, above the one that we are in
                lower, held = held, fcntl.ioctl(held, step)
                os.close(lower)
                status, step = os.fstat(held), _NS_GET_PARENT
                yield status.st_dev, status.st_ino
    finally:
        os.close(held)


def _pins() -> dict[tuple[int, int], list[str]]:
    """The names in /run/netns by what they are of."""
    found: dict[tuple[int, int], list[str]] = {}
    with suppress(OSError):
        for name in sorted(os.listdir(namespaces.DIRECTORY)):
            with suppress(OSError):
                status = os.stat(namespaces.pin_path(name))
                found.setdefault((status.st_dev, status.st_ino), []).append(name)
    return found
