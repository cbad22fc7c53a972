"""Whom a lab's name servers ask."""

from __future__ import annotations

from typing import NamedTuple

RESOLV_CONF = "/etc/resolv.conf"


class Upstream(NamedTuple):
    """Whom a lab's servers ask what they don't know: those that ``file`` (resolv.conf(5)) names
    just then, and these ``servers``. ``through``: the server is the machine's own, on its loopback,
    and pasta leads there."""

    file: str = RESOLV_CONF
    servers: tuple[str, ...] = ()
    through: bool = False
