"""Which world a lab runs in, whether it is still there, and whether we are.

Of a lab of the host world the record says in which network namespace it was built. Who runs in another one (inside a node, in a
container that shares /run) would look for it where it is not, and is told where it is.
"""

from __future__ import annotations

import os
from typing import Literal

from bascule import identity
from bascule.errors import Elsewhere, InputError
from bascule.host import keeper, namespaces
from bascule.host.world import HostWorld, PrivateWorld, World
from bascule.state import folder, kept
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


def is_here(record: Record, here: identity.Netns | None = None) -> bool:
    """Whether the lab's world can be worked in from where the calling thread is, or is ``here``."""
    return record.host is None or record.host.is_same(here or identity.netns())


def _refuse_elsewhere(record: Record) -> None:
    if record.host is None or is_here(record):
        return
    here = identity.netns()
    path = namespaces.way_to(record.host[:2])
    if path:
        advice = f"run the command there: nsenter --net={path} bascule …"
    else:
        advice = "from here nobody is to be seen in it"
        advice += f"; if it has ended (a container that was started anew), remove {folder.lab(record.name)}"
    raise Elsewhere(f"lab {record.name} is in another network namespace ({record.host}) than this one ({here}); {advice}")


def keeps() -> bool:
    """Whether what is up here comes back with the machine. What another network namespace plays the host for does not: it would
    be built on the machine itself. A folder that was chosen is believed."""
    here = identity.netns()
    return kept.is_chosen() or identity.is_machines_own((here.device, here.inode))


def existing(stored: Stored) -> World | None:
    """The world of a lab that has one. Raises :class:`Elsewhere`."""
    record = stored.newest
    if record is None or not has_world(record):
        return None
    if record.keeper is None:
        _refuse_elsewhere(record)
        return HostWorld()
    return PrivateWorld(record.keeper.pid, record.keeper.start)


def without_lost(stored: Stored) -> Stored:
    """What is stored, less what went with a private world whose keeper has ended."""
    kept = [record if record is not None and has_world(record) else None for record in (stored.record, stored.journal)]
    return Stored(*kept)
