"""What is left of labs that nobody knows any more: found, and taken away. `bascule system prune`.

A lab whose record is damaged or gone is known by its folder, its nodes' links in /etc/netns or its
rules; interfaces of which nothing tells the lab, by their index alone. A lab whose record stands in
another state directory is not left over: its note says so (:mod:`bascule.host.etc_links`). One that
has made no node has no note, so that what only an index or a table tells of is taken away only
where that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from bascule.engine import claims, known, look, rescue, run
from bascule.engine.options import Listener, Options, Outcome
from bascule.errors import StateError, translated
from bascule.host import etc_links, inside, namespaces, process, tables
from bascule.host.hands import Report
from bascule.kernel.op import Indexes
from bascule.names import few
from bascule.plan.diff import Plan
from bascule.state import folder, lock, store


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is left of a lab: its ``name`` ("leftover-N" where nothing tells it), ``why`` it is
    nobody's, and what there is of it. One that is not ``sure`` may be of a lab in another state
    directory. ``slot`` is the range of indexes that its interfaces have, where only that tells;
    ``process`` the number of a program that served a lab (PROGRAM-PID), else 0."""

    name: str
    why: str
    things: tuple[str, ...] = ()
    sure: bool = True
    slot: int | None = None
    process: int = 0


@translated
def leftovers() -> list[Leftover]:
    """All that is to be seen from here. Touches nothing. Raises :class:`StateError`."""
    found = list(_of_records())
    if os.geteuid() == 0:
        found.extend(_of_the_machine({each.name for each in found}))
    return found


def _of_records() -> Iterator[Leftover]:
    for info in look.labs():
        if info.state == "lost":
            yield Leftover(info.name, "its private world has ended", ("record",))
        elif info.state == "damaged":
            yield Leftover(info.name, info.problem, tuple(_of_nodes(info.name)))
    known_here = {record.name for record in known.unrecorded()}
    for name in folder.labs():
        if name not in known_here and _is_without_record(name) and not _is_elsewhere(name):
            things = ("files", *_of_nodes(name))
            yield Leftover(name, "its record is gone", things, _is_ours(name))


def _is_without_record(name: str) -> bool:
    """And nobody works on it: who does has not written one yet, or has just removed it."""
    try:
        stored = store.load(name)
    except StateError:
        return False  # it is told as damaged
    return stored.newest is None and rescue.has_files(name) and not lock.is_held(name)


def _is_elsewhere(name: str) -> bool:
    """Whether its record stands in another state directory. On the machine labs have files in
    /run/bascule, wherever that is."""
    state = etc_links.state_of(name) if etc_links.made(name) == "here" else ""
    return bool(state) and state != folder.root() and os.path.lexists(os.path.join(state, name))


def _is_ours(name: str) -> bool:
    """Whether that is known; of private worlds it is."""
    return os.geteuid() != 0 or bool(etc_links.state_of(name))


def _of_nodes(name: str) -> Iterator[str]:
    if etc_links.made(name) == "here":
        nodes = [node for node in etc_links.nodes_of(name) if namespaces.is_pinned(node)]
        if nodes:
            yield f"namespaces {few(nodes)}"


def _of_the_machine(told: set[str]) -> Iterator[Leftover]:
    """Of labs that have no folder in the state directory."""
    others = claims.of_others("")
    recorded = {info.name for info in look.labs()}
    away = set[str]()
    for name in etc_links.labs():
        if name in told | recorded or etc_links.made(name) != "here":
            continue
        if _is_elsewhere(name):
            away.add(name)
        else:
            yield Leftover(name, "its record is gone", tuple(_of_nodes(name)), _is_ours(name))
            told.add(name)
    for name in tables.labs():
        if name not in told | recorded | away:
            yield Leftover(name, "nothing but its rules is known", ("rules",), sure=False)
    known_slots = {slot for name in told | away for slot in _slots_of(name)}
    yield from _of_indexes(others.slots | known_slots)
    for program, found in process.unmarked():
        why = "it serves a lab that has no files any more"
        at = f"{program.name}-{found.pid}"
        yield Leftover(at, why, (f"process {found.pid}",), process=found.pid)


def _slots_of(name: str) -> set[int]:
    """The ranges of the interfaces in its nodes, and the one that its record tells."""
    nodes = etc_links.nodes_of(name) if etc_links.made(name) == "here" else []
    has = [index for node in nodes for index in inside.made_at(namespaces.pin_path(node))]
    found = {Indexes.slot_of(index) for index in has if index in Indexes.ALL}
    if name in folder.labs():
        found |= {store.salvage(name).get("slot", -1)}
    return found


def _of_indexes(known_slots: set[int]) -> Iterator[Leftover]:
    found: dict[int, list[str]] = {}
    for link in inside.of_labs():
        found.setdefault(Indexes.slot_of(link.ifindex), []).append(link.name)
    nodes: dict[int, list[str]] = {}
    for node in namespaces.pinned():
        has = inside.made_at(namespaces.pin_path(node))
        for slot in {Indexes.slot_of(index) for index in has if index in Indexes.ALL}:
            nodes.setdefault(slot, []).append(node)
    for slot in sorted({*found, *nodes} - known_slots):
        things = [f"interfaces {few(found[slot])}"] if slot in found else []
        things += [f"namespaces {few(nodes[slot])}"] if slot in nodes else []
        why = "nothing tells whose it is"
        yield Leftover(f"leftover-{slot}", why, tuple(things), sure=False, slot=slot)


def prune(what: Leftover, listener: Listener | None = None, *, wait: bool = True) -> Outcome:
    """Take it away. Raises what :func:`bascule.engine.run.apply` raises; the outcome's ``remarks``
    tell what is not known any more."""
    if what.process:
        process.end_unmarked(what.process)
        return Outcome(Plan(()), Report(), None, "host")
    remarks = rescue.rescue(what.name, wait, what.slot)
    options = Options(None, wait, "bascule system prune")
    outcome = run.apply(what.name, lambda _current: None, options, listener)
    return Outcome(outcome.plan, outcome.report, None, outcome.world, (*remarks, *outcome.remarks))
