"""What is to be seen of a lab's world at one glance: its links and the names of its nodes, without
going anywhere. Of a private world that is what /proc and /sys tell of its keeper."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from bascule import identity
from bascule.host import namespaces
from bascule.host.inside import links
from bascule.wire import route as rt

_IFF_LOWER_UP = 0x10000  # linux/if.h


class Glimpse(NamedTuple):
    """A link: its index, what it is a port of, whether it is up, and whether its other end is, too.
    ``ifindex`` is None where no more is known than that it is there."""

    ifindex: int | None
    master: str = ""
    up: bool = True
    carrier: bool = True


def of_the_machine() -> dict[str, Glimpse]:
    """All links of the namespace that the thread is in."""
    found = {link.ifindex: link for link in links()}
    return {
        link.name: Glimpse(
            link.ifindex,
            found[link.master].name if link.master in found else "",
            link.up,
            bool(link.flags & _IFF_LOWER_UP),
        )
        for link in found.values()
    }


def of_a_keeper(keeper: int, names: Iterable[str]) -> dict[str, Glimpse]:
    """Those of the links with these names that are in the world of this process. Raises OSError
    where it has ended."""
    with open(f"/proc/{keeper}/net/dev") as file:
        there = {line.partition(":")[0].strip() for line in file}
    folder = f"/proc/{keeper}/root/sys/class/net"
    return {name: _seen(f"{folder}/{name}") for name in names if name in there}


def _seen(folder: str) -> Glimpse:
    """By sysfs, which may be another namespace's: then it has no such link, or one with another
    index."""
    try:
        index, flags = int(_read(f"{folder}/ifindex")), int(_read(f"{folder}/flags"), 16)
    except (OSError, ValueError):
        return Glimpse(None)
    master, carrier = "", False
    with suppress(OSError):
        master = os.path.basename(os.readlink(f"{folder}/master"))
    with suppress(OSError):  # EINVAL: it is down
        carrier = _read(f"{folder}/carrier").strip() == "1"
    return Glimpse(index, master, bool(flags & rt.IFF_UP), carrier)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def is_pinned(name: str, keeper: int | None = None) -> bool:
    """Whether there is a namespace of this name, on the machine or in the world of this keeper; yes
    where that may not be known."""
    root = f"/proc/{keeper}/root" if keeper else ""
    try:
        return os.stat(f"{root}{namespaces.pin_path(name)}").st_dev == identity.netns().device
    except PermissionError:
        return True
    except OSError:
        return False
