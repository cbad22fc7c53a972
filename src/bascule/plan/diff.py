"""Facts wanted and facts present → a plan: the list of changes, in the order in which they are to
be made.

1. What goes and may stand in the way of something new: rules, settings, addresses, routes, links.
2. What comes or changes, in the order of the wanted facts; for each node first what the world does,
   then what is done inside.
3. What goes and holds other things: files, bridges, namespaces.

What lies within something that goes (an address on a veth, a veth in a namespace) goes with it, and
needs no operation; but of a pair whose name is wanted again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bascule.kernel.fact import Fact, Op
from bascule.kernel.op import Indexes, Key

Sign = Literal["+", "~", "-"]


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that comes (+), changes (~) or goes (-), why, and what has to be done. No
    operations: it goes with another. ``old``: the fact that one that changes was before."""

    sign: Sign
    fact: Fact
    reason: str
    ops: tuple[Op, ...]
    old: Fact | None = None

    @property
    def before(self) -> Fact | None:
        """The fact as it was seen; None for one that comes."""
        return self.fact if self.sign == "-" else self.old

    @property
    def after(self) -> Fact | None:
        """The fact as it is to be; None for one that goes."""
        return None if self.sign == "-" else self.fact


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order of their making. ``notes`` are things seen that a reader of the plan
    should know. ``closing`` is what has to be done at the end of all, and belongs to no one
    change. ``lab`` is the name of the lab that it is for."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    closing: tuple[Op, ...] = ()
    lab: str = ""

    @property
    def ops(self) -> list[Op]:
        """All operations; those of one node together, the world's before those inside, so that they
        can be sent together."""
        ordered: list[Op] = []
        inside: list[Op] = []
        group = ""
        for change in self.changes:
            if change.fact.node != group:
                ordered.extend(inside)
                inside, group = [], change.fact.node
            for op in change.ops:
                (inside if op.node and change.sign != "-" else ordered).append(op)
        return [*ordered, *inside, *self.closing]

    def __bool__(self) -> bool:
        return bool(self.changes)


def diff(
    want: Sequence[Fact], have: Sequence[Fact], indexes: Indexes, known: Collection[Key] = ()
) -> Plan:
    """The changes that turn ``have`` into ``want``. ``known`` are the keys that the last run left
    true: a fact that is missing was lost if it is among them and is new otherwise, one too many has
    left the file or is a stranger."""
    wanted = {fact.key: fact for fact in want}
    present = {fact.key: fact for fact in have}
    leaving = _Leaving(wanted, present, indexes, known)
    indexes.forget([fact.frees for fact in have if fact.frees and fact.key in leaving.gone])
    coming = [change for fact in want for change in _coming(fact, present, leaving, indexes, known)]
    return Plan((*leaving.first, *leaving.early, *coming, *leaving.late))


class _Leaving:
    """What goes: ``first``, before what holds it does, ``early`` and ``late`` changes, the keys
    ``gone``, and the marks of what is gone."""

    def __init__(
        self,
        wanted: dict[Key, Fact],
        present: dict[Key, Fact],
        indexes: Indexes,
        known: Collection[Key],
    ) -> None:
        self.first: list[Change] = []
        self.early: list[Change] = []
        self.late: list[Change] = []
        self.gone: set[Key] = set()
        self._marks: set[Key] = set()
        taken = {mark for fact in wanted.values() for mark in fact.contains}
        for fact in _containers_first(present.values()):
            within_gone = not self._marks.isdisjoint(fact.within)
            wanted_fact = wanted.get(fact.key)
            replaced = wanted_fact is not None and _must_be_replaced(wanted_fact, fact, indexes)
            if not within_gone and wanted_fact is not None and not replaced:
                continue
            self.gone.add(fact.key)
            self._marks.update(fact.contains)
            if wanted_fact is None:
                # of a pair whose one end goes with a namespace the other may be in the way
                alone = within_gone and taken.isdisjoint(fact.contains)
                ops = () if alone else fact.remove(indexes)
                reason = "no longer in the lab" if fact.key in known else "nobody asked for it"
                change = Change(
                    "-", fact, "goes with what holds it" if within_gone else reason, ops
                )
                stays = self.first if within_gone else self.early
                (self.late if alone or fact.late else stays).append(change)
            elif not within_gone:
                self.early.append(Change("-", fact, "is replaced", fact.remove(indexes)))
            elif fact.lingers:
                # A namespace is freed after it is gone; till then the other end has the name.
                self.first.append(Change("-", fact, "is replaced", fact.remove(indexes)))


def _containers_first(facts: Iterable[Fact]) -> list[Fact]:
    """What holds things before the things: namespaces, then links, then the rest. Before all of
    them the world's forwarding, so that nothing is passed on when the rules go."""

    return sorted(facts, key=lambda fact: fact.rank)


def _must_be_replaced(wanted: Fact, present: Fact, indexes: Indexes) -> bool:
    return wanted != present and wanted.change_from(present, indexes) is None


def _coming(
    fact: Fact,
    present: dict[Key, Fact],
    leaving: _Leaving,
    indexes: Indexes,
    known: Collection[Key],
) -> list[Change]:
    there = present.get(fact.key)
    if there is None:
        return [
            Change("+", fact, "is missing" if fact.key in known else "new", fact.create(indexes))
        ]
    if fact.key in leaving.gone:
        differences = (
            "; ".join(fact.differences(there)) if there != fact else "what held it is replaced"
        )
        return [Change("+", fact, differences, fact.create(indexes))]
    if there == fact:
        return []
    ops = fact.change_from(there, indexes) or ()
    return [Change("~", fact, "; ".join(fact.differences(there)), ops, there)]
