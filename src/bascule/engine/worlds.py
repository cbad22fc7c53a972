"""Which world a lab runs in, and whether it is still there."""

from __future__ import annotations

import os
from typing import Literal

from bascule.errors import InputError
from bascule.host import keeper
from bascule.host.world import HostWorld, PrivateWorld, World
from bascule.state.store import Record, Stored

Kind = Literal["host", "private"]


def default_kind() -> Kind:
    """Root builds on the machine, anybody else in a private world."""
    return "host" if os.geteuid() == 0 else "private"


def choose(asked: str | None, stored: Stored) -> Kind:
    """The world that a lab has, or is to have. Raises :class:`InputError` where it has another than the one asked for."""
    record = stored.newest
    if record is not None and has_world(record):
        if asked and asked != record.world:
            raise InputError(f"lab {record.name} runs in a {record.world} world; `bascule down {record.name}` first")
        return "host" if record.world == "host" else "private"
    kind: Kind = default_kind() if not asked else "host" if asked == "host" else "private"
    if kind == "host" and os.geteuid() != 0:
        raise InputError("the host world is the machine's own network: run as root, or use --world private")
    return kind


def has_world(record: Record) -> bool:
    """Whether the record's world exists: the host always does, a private one as long as its keeper."""
    if record.world == "host":
        return True
    return record.keeper is not None and keeper.alive(record.keeper.pid, record.keeper.start)


def existing(stored: Stored) -> World | None:
    """The world of a lab that has one."""
    record = stored.newest
    if record is None or not has_world(record):
        return None
    if record.keeper is None:
        return HostWorld()
    return PrivateWorld(record.keeper.pid, record.keeper.start)


def without_lost(stored: Stored) -> Stored:
    """What is stored, less what went with a private world whose keeper has ended."""
    kept = [record if record is not None and has_world(record) else None for record in (stored.record, stored.journal)]
    return Stored(*kept)
