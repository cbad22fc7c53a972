"""Whom a lab's name servers ask."""

from __future__ import annotations

from typing import NamedTuple

RESOLV_CONF = "/etc/resolv.conf"
NAMES = 53


class Upstream(NamedTuple):
    """Whom a lab's servers ask what they don't know: those that ``file`` (resolv.conf(5)) names
    just then, and these ``servers``. ``door``: the server is the machine's own, on its loopback,
    and this port of a private world's leads there by pasta; 0: it is none."""

    file: str = RESOLV_CONF
    servers: tuple[str, ...] = ()
    door: int = 0
