"""Wait until the kernel has really let go.

A namespace is freed by a worker of the kernel after its last user has gone; until then the other
ends of its veth pairs are still to be seen. Who takes a lab away and builds the next one at once
must not meet them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping

from bascule.host import namespaces
from bascule.host.netlink import Netlink
from bascule.kernel.op import WORLD
from bascule.wire import route as rt
from bascule.wire.message import Failure, Request

_SECONDS = 10.0
_PATIENCE = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.004


def links_gone(places: Mapping[str, Iterable[int]], ours: Collection[int]) -> bool:
    """Wait until no link has any of these indexes, by namespace. Links that stay for half a second,
    because a process still uses the namespace at their other end, are deleted. False where some are
    left after ten seconds all the same."""
    start = time.monotonic()
    found = True
    with namespaces.coming_back():
        for node, indexes in sorted(places.items()):  # the world first
            descriptor = namespaces.enter_pin(node) if node else None
            if descriptor is not None:
                os.close(descriptor)
            if descriptor is not None or node == WORLD:
                found &= _gone_here([index for index in indexes if index in ours], start)
    return found


def _gone_here(waiting: list[int], start: float) -> bool:
    pause = _FIRST_PAUSE
    patient = True
    with Netlink() as socket:
        while waiting and time.monotonic() < start + _SECONDS:
            # One question a look: each waits for the lock that the kernel's worker needs.
            while waiting and not _is_there(socket, waiting[-1]):
                waiting.pop()
            if waiting and patient and time.monotonic() > start + _PATIENCE:
                patient = False
                socket.batch([_delete(index) for index in waiting])
            elif waiting:
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
    return not waiting


def _delete(index: int) -> Request:
    return Request(rt.DELLINK, 0, rt.IFINFO.pack(0, 0, index, 0, 0))


def _is_there(socket: Netlink, index: int) -> bool:
    return not isinstance(
        socket.get(Request(rt.GETLINK, 0, rt.IFINFO.pack(0, 0, index, 0, 0))), Failure
    )
