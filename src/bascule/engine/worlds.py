"""Which world a lab runs in, whether it is still there, and whether we are.

Of a lab of the host world the record says in which network namespace it was built, and of a private
one in which PID namespace its keeper has its number. Who runs in another one (inside a node, in a
container that shares /run) would look for it where it is not, and is told where it is.
"""

from __future__ import annotations

import os
from typing import Literal

from bascule import identity
from bascule.errors import Elsewhere, InputError
from bascule.host import keeper, lasting, namespaces, spawn
from bascule.host.lasting import Process
from bascule.host.world import HostWorld, PrivateWorld, World
from bascule.state import folder, kept
from bascule.state.record import Record, Stored

Kind = Literal["host", "private"]


def default_kind() -> Kind:
    """Root builds on the machine, anybody else in a private world."""
    return "host" if os.geteuid() == 0 else "private"


def kind_of(record: Record) -> Kind:
    """The kind of world that a lab has."""
    return "host" if record.world == "host" else "private"


def choose(asked: str | None, stored: Stored) -> Kind:
    """The world that a lab has, or is to have. Raises :class:`InputError` where it has another than
    the one asked for."""
    record = stored.newest
    if record is not None and has_world(record):
        if asked and asked != record.world:
            raise InputError(
                f"lab {record.name} runs in a {record.world} world; `bascule down "
                f"{record.name}` first"
            )
        return kind_of(record)
    kind: Kind = default_kind() if not asked else "host" if asked == "host" else "private"
    if kind == "host" and os.geteuid() != 0:
        raise InputError(
            "the host world is the machine's own network: run as root, or use --world private"
        )
    return kind


def has_world(record: Record) -> bool:
    """Whether the record's world exists: the host always does, a private one as long as its keeper
    and the first process of its nodes, without which nobody gets into these; and for all that can
    be told here where they are out of sight."""
    if record.world == "host" or _is_out_of_sight(record):
        return True
    return _is_kept(record) and not _is_headless(record)


def _is_kept(record: Record) -> bool:
    return record.keeper is not None and lasting.alive(
        Process(record.keeper.pid, record.keeper.start)
    )


def _is_headless(record: Record) -> bool:
    """Whether the first process of its nodes has ended, by a machine without memory or by
    somebody's hand."""
    first = Process(*record.keeper.first) if record.keeper is not None else Process(0, 0)
    return first.pid > 0 and not lasting.alive(first)


def end_headless(stored: Stored) -> None:
    """What is left of a private world that nobody can use any more goes before it is built again,
    or forgotten. Raises what :func:`bascule.host.keeper.end` raises."""
    for record in (stored.record, stored.journal):
        if (
            record is not None
            and not _is_out_of_sight(record)
            and _is_kept(record)
            and _is_headless(record)
        ):
            assert record.keeper is not None  # noqa: S101 (it is kept)
            keeper.end(Process(record.keeper.pid, record.keeper.start), spawn.Process.reap)


def _is_out_of_sight(record: Record) -> bool:
    """Whether the keeper's number is one of another PID namespace: nobody here can tell then
    whether it runs."""
    return record.keeper is not None and record.keeper.numbering not in ("", identity.numbering())


def is_here(record: Record, here: identity.Netns | None = None) -> bool:
    """Whether the lab's world can be worked in from where the calling thread is, or is ``here``."""
    if record.keeper is not None:
        return not _is_out_of_sight(record)
    return record.host is None or record.host.is_same(here or identity.netns())


def _refuse_elsewhere(record: Record) -> None:
    if is_here(record):
        return
    if record.keeper is not None:
        raise Elsewhere(
            f"lab {record.name} is in another PID namespace ({record.keeper.numbering}) than "
            f"this one ({identity.numbering()}); "
            f"run the command there; if it has ended (a container that was started anew), "
            f"remove {folder.lab(record.name)}"
        )
    here = identity.netns()
    assert record.host is not None  # noqa: S101 (else it is here)
    path = namespaces.way_to(record.host[:2])
    if path:
        advice = f"run the command there: nsenter --net={path} bascule …"
    else:
        advice = "from here nobody is to be seen in it"
        advice += (
            f"; if it has ended (a container that was started anew), remove "
            f"{folder.lab(record.name)}"
        )
    raise Elsewhere(
        f"lab {record.name} is in another network namespace ({record.host}) than this one "
        f"({here}); {advice}"
    )


def keeps() -> bool:
    """Whether what is up here comes back with the machine. What another network namespace plays the
    host for does not: it would be built on the machine itself. A folder that was chosen is
    believed."""
    here = identity.netns()
    return kept.is_chosen() or identity.is_machines_own((here.device, here.inode))


def existing(stored: Stored) -> World | None:
    """The world of a lab that has one. Raises :class:`Elsewhere`."""
    record = stored.newest
    if record is None or not has_world(record):
        return None
    _refuse_elsewhere(record)
    if record.keeper is None:
        return HostWorld()
    return PrivateWorld(
        Process(record.keeper.pid, record.keeper.start), Process(*record.keeper.first)
    )


def without_lost(stored: Stored) -> Stored:
    """What is stored, less what went with a private world whose keeper has ended. What can't be
    ended from here is not forgotten: :class:`Elsewhere` is raised for it when it is to be worked
    in."""
    kept = [
        record if record is not None and has_world(record) else None
        for record in (stored.record, stored.journal)
    ]
    return Stored(*kept)
