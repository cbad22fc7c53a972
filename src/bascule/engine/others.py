"""Labs of other users, for root: to be seen, and not to be worked on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from bascule.engine import known
from bascule.errors import WorldError
from bascule.host import users
from bascule.state import folder


def advice(name: str) -> str:
    """Where root names a lab that other users have: what to do. Empty else, and for others."""
    having = []
    for one in _all():
        with suppress(WorldError):
            if users.seen_by(one, _names).split(b"\0").count(name.encode()):
                having.append(one.name)
    if not having:
        return ""
    whose = having[0]
    return f"user {whose} has a lab of that name: `sudo -u {whose} bascule …` works on it"


def each(look: Callable[[], bytes], problem: Callable[[str], None]) -> list[tuple[str, bytes]]:
    """What each other user would see: the user's name, and the answer. What can't be looked at is
    a problem."""
    found = []
    for one in _all():
        try:
            found.append((one.name, users.seen_by(one, look)))
        except (WorldError, OSError) as error:
            problem(str(error))
    return found


def _all() -> list[users.User]:
    return users.others() if os.geteuid() == 0 else []


def _names() -> bytes:
    """Of all labs of the calling user, whatever their state directory."""
    names = {*folder.labs(), *(record.name for record in known.unrecorded())}
    names.update(record.name for record, _directory in known.foreign())
    return b"\0".join(each.encode() for each in names)
