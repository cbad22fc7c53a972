"""A netlink socket that tells on standard error what passes through it (BASCULE_DEBUG=netlink)."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from bascule.wire import telling


class Traced(socket.socket):
    """As the socket that it is, and each message is told: ``>`` to the kernel, ``<`` from it."""

    def send(self, data: bytes, /) -> int:  # type: ignore[override]  # no flags are asked for
        _tell(self.proto, ">", data)
        return super().send(data)

    def recv(self, size: int, /) -> bytes:  # type: ignore[override]  # as above
        data = super().recv(size)
        _tell(self.proto, "<", data)
        return data


def _tell(protocol: int, way: str, data: bytes) -> None:
    """All of a datagram at once: processes of several worlds may tell at the same time."""
    who = f"netlink {os.getpid()} {way}"
    text = "".join(f"{who} {line}\n" for line in telling.told(protocol, data))
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # that nobody reads it is no error
            sys.stderr.write(text)
            sys.stderr.flush()
