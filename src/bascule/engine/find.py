"""Find a node's lab and world by the stored records alone: the fast way of `exec`, which checks no
topology."""

from __future__ import annotations

import os
from collections.abc import Iterator

from bascule.engine import known, worlds
from bascule.errors import BasculeError, NotFound, StateError, translated
from bascule.host.world import World
from bascule.names import HOSTNAME_BYTES, shown
from bascule.state import folder, store
from bascule.state.record import Record, Stored
from bascule.topology.outline import Outline


def world_of(record: Record) -> World:
    """The world of a record that has one. Raises :class:`NotFound`."""
    world = worlds.existing(Stored(record, None))
    if world is None:
        raise NotFound(f"the world of lab {record.name} has ended; run `bascule up` again")
    return world


def given_lab(name: str | None = None) -> str | None:
    """The lab that was named, here or for all commands of a shell (``$BASCULE_LAB``)."""
    return name or os.environ.get("BASCULE_LAB") or None


def hostname_of(record: Record, node: str) -> str:
    """What a node's own programs take for the name of their machine."""
    return Outline(record.topology).hostname(node)


def has_node(record: Record, node: str) -> bool:
    """Whether the lab of this record has the node."""
    return Outline(record.topology).has_node(node)


@translated
def find_node(node: str, lab: str | None = None) -> Record:
    """The record of the lab that has this node. Raises :class:`NotFound` where none or more than
    one has."""
    found = [record for record in _recorded(lab) if has_node(record, node)]
    if not found:
        found = [record for record in known.unrecorded(lab or "") if has_node(record, node)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(
            f"several labs have a node {shown(node)}; choose with --lab: "
            f"{', '.join(r.name for r in found)}"
        )
    raise NotFound(_no_such_node(node, lab))


def _recorded(lab: str | None) -> Iterator[Record]:
    for name in [lab] if lab else folder.labs():
        try:
            record = store.load(name).newest
        except BasculeError:
            if lab:
                raise
            continue
        if record is not None:
            yield record


def _no_such_node(node: str, lab: str | None) -> str:
    import difflib

    from bascule.engine import others  # not needed by who finds one

    if lab and not store.load(lab).newest and (advice := others.advice(lab)):
        return f"no lab {shown(lab)} of this user; {advice}"
    known = sorted(
        {name for info in folder.labs() for name in _node_names(info) if lab in (None, info)}
    )
    near = difflib.get_close_matches(node[:HOSTNAME_BYTES], known, 1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"there are: {', '.join(known[:20])}"
        if known
        else "no lab is up"
    )
    return f"no node {shown(node)}" + (f" in lab {shown(lab)}" if lab else "") + f"; {hint}"


def _node_names(lab: str) -> tuple[str, ...]:
    try:
        record = store.load(lab).newest
    except StateError:
        return ()
    return Outline(record.topology).nodes if record else ()
