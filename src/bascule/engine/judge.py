"""Whether the kernel still has what a lab stands on.

A glance is for lists: bridges, the cables to the nodes and the nodes' namespaces, all of the
machine's in one dump. A thorough look is the one of `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from bascule.engine import claims, known, worlds
from bascule.engine.prepare import drift, stored_topology
from bascule.engine.views import State
from bascule.errors import BasculeError
from bascule.host import glance
from bascule.host.glance import Glimpse
from bascule.kernel.op import Indexes
from bascule.state.record import Record
from bascule.topology.outline import Outline

Verdict = tuple[State, str]
_MOST = 3  # things amiss that are named


class Judge:
    """Judges labs by their records; ``thorough``: each by the plan that would mend it."""

    def __init__(self, thorough: bool = False) -> None:
        self._thorough = thorough

    @cached_property
    def _links(self) -> dict[str, Glimpse]:
        return glance.of_the_machine()

    def of(self, record: Record) -> Verdict:
        """State and problem of a lab whose world is here."""
        try:
            faults = list(self._faults(record))
        except OSError:
            if record.keeper is None:
                raise
            return "lost", "its world has ended just now"
        gone = [text for text, is_gone in faults if is_gone]
        if faults:
            texts = gone or [text for text, _is_gone in faults]
            return "broken" if gone else "drifted", _listed(texts)
        return self._by_plan(record) if self._thorough else ("up", "")

    def _faults(self, record: Record) -> Iterator[tuple[str, bool]]:
        """What is gone (True), or not as it was made."""
        outline = Outline(record.topology)
        keeper = record.keeper.pid if record.keeper else None
        names = outline.links()
        there = glance.of_a_keeper(keeper, names) if keeper else self._links
        own = Indexes(record.slot).range
        links = {
            name: link
            for name, link in there.items()
            if link.ifindex is None or link.ifindex in own
        }
        for name in outline.networks:
            if name not in links:
                also = ", and another has its name" if name in there else ""
                yield f"bridge {name} is gone{also}", True
            elif not links[name].up:
                yield f"bridge {name} is down", False
        for name in outline.nodes:
            if not glance.is_pinned(name, keeper):
                yield f"node {name} is gone", True
        for node, network, interface in outline.cables():
            link = links.get(interface)
            if link is None:
                yield f"{interface}, the cable of {node} to {network}, is gone", True
            elif link.ifindex is not None and link.master != network:
                yield f"{interface}, the cable of {node}, is no port of {network}", False
            elif not (link.up and link.carrier):
                yield f"{interface}, the cable of {node} to {network}, is down", False

    def _by_plan(self, record: Record) -> Verdict:
        """As `plan` sees it."""
        try:
            stored = known.load(record.name)
            lab, world = stored_topology(stored.newest), worlds.existing(stored)
            if lab is None or world is None:
                return "lost", "it goes just now"
            others = claims.around(record.name, world)
            _facts, plan = drift(record.name, lab, stored, world, Indexes(record.slot), others)
        except BasculeError as error:
            return "broken", str(error)
        if not plan:
            return "up", ""
        texts = [f"{each.sign} {each.fact.describe()}" for each in plan.changes]
        return "drifted", f"{_listed(texts)}; `bascule up {record.name}` mends it"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST
    return "; ".join(texts[:_MOST]) + (f"; and {more} more" if more > 0 else "")
