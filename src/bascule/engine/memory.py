"""What is known of the facts beside what the kernel tells: from the records of earlier runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from bascule.host import nft
from bascule.host.world import World
from bascule.kernel.bridge import UNKNOWN, BridgeSetting
from bascule.kernel.fact import Fact
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Key
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import Table, noted
from bascule.kernel.veth import Veth
from bascule.state.record import Stored


def believed(facts: list[Fact], before: list[Fact]) -> list[Fact]:
    """For taking away nobody looks into the nodes: the other end of a veth pair is believed to be
    where the lab put it, as long as that node is there. One that is not is found when the links do
    not go with the namespaces (:mod:`bascule.host.settle`)."""
    known = {fact.key: fact for fact in before if isinstance(fact, Veth)}
    there = {fact.name for fact in facts if isinstance(fact, Namespace) and fact.alive}
    return [
        known[fact.key] if fact.key in known and known[fact.key].node in there else fact
        for fact in facts
    ]


def with_autoconf(facts: list[Fact], before: list[Fact]) -> list[Fact]:
    """Whether an interface configures itself is nothing that the kernel tells: made so or not, by
    what the lab was. Where a killed run has changed that, nobody knows, and it is made again."""
    known: dict[Key, set[tuple[int, ...]]] = {}
    for fact in before:
        if isinstance(fact, Veth):
            known.setdefault(fact.key, set()).add(fact.autoconf)
    if not any(len(found) > 1 or () not in found for found in known.values()):
        return facts
    sure = {key: next(iter(found)) if len(found) == 1 else _UNKNOWN for key, found in known.items()}
    return [
        replace(fact, autoconf=sure.get(fact.key, ())) if isinstance(fact, Veth) else fact
        for fact in facts
    ]


_UNKNOWN = (0,)


def with_ageing(seen: list[Fact], before: list[Fact]) -> list[Fact]:
    """While the spanning tree changes, the ageing time of a bridge is what the last run has set."""
    known = {fact.key: fact for fact in before}
    told = (
        known.get(fact.key) if isinstance(fact, BridgeSetting) and fact.value == UNKNOWN else fact
        for fact in seen
    )
    return [fact for fact in told if fact is not None]


def with_texts(
    have: list[Fact], stored: Stored, want: list[Fact], world: World | None
) -> list[Fact]:
    """A table of which the kernel tells the same as when it was made has the text that it was made
    of. Of another one only nft can say how to make it again; it is asked in the ``world``."""
    texts = {fact.name: fact.text for fact in want if isinstance(fact, Table)}
    known = stored.newest.tables if stored.newest else {}

    def told(table: Table) -> Fact:
        text = texts.get(table.name, "")
        if table.image and known.get(table.name) == noted(text, table.image):
            return replace(table, text=text)
        return (
            replace(table, listing=world.call(nft.listing, table.name, table.there))
            if world is not None
            else table
        )

    return [told(fact) if isinstance(fact, Table) else fact for fact in have]


def with_priors(
    own: list[Fact], stored: Stored, wanted: set[tuple[str, ...]], shared: Collection[str]
) -> list[Fact]:
    """A sysctl counts as the lab's own only where the lab wants it or has changed it; then it knows
    the value before."""
    priors = {
        (node, key): value
        for r in (stored.record, stored.journal)
        if r
        for node, key, value in r.priors
    }
    have: list[Fact] = []
    for fact in own:
        if (
            isinstance(fact, Sysctl)
            and not fact.node
            and fact.name in shared
            and fact.key not in wanted
        ):
            continue
        if isinstance(fact, Sysctl):
            prior = priors.get((fact.node, fact.name), "")
            if fact.key in wanted or (prior and prior != fact.value):
                have.append(Sysctl(fact.node, fact.name, fact.value, prior))
        else:
            have.append(fact)
    return have
