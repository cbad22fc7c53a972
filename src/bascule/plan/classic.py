"""The plan in the spelling and the order of people who do it by hand: ``ip netns add``, ``brctl
addbr``, one step a line.

Each attachment in five steps (pair, bridge port, up, into the namespace, up there), its address,
and at the end the routes. What bascule does besides (lo, fixed MACs, host names) bears a comment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bascule.kernel.fact import Beside, Fact, Place

_SECTIONS = (
    "the network namespaces",
    "the bridges",
    "a veth pair for each attachment",
    "the routes",
    "settings and names",
)
_REST = len(_SECTIONS)
_HOLDING = (1, 2)  # namespaces and bridges, with which most of the rest goes


def classic(lab: str, facts: Sequence[Fact]) -> str:
    """The whole script for an empty machine, from the facts of a lab."""
    lines = ["#!/usr/bin/env bash", f"# Lab {lab}, step by step. Run it as root.", "set -e", ""]
    beside = _beside(facts)
    ordered = sorted(facts, key=lambda fact: fact.section)
    for number, title in enumerate(_SECTIONS, 1):
        part = (fact for fact in ordered if fact.section[0] == number)
        found = [line for fact in part for line in fact.by_hand(beside)]
        if number == _REST:  # where one folder is made for several files
            found = list(dict.fromkeys(found))
        if found:
            lines += [f"# {number}. {title}", *found, ""]
    return "\n".join(lines)


def teardown(lab: str, facts: Sequence[Fact]) -> str:
    """The way back, in the same spelling."""
    lines = ["#!/usr/bin/env bash", f"# Lab {lab}: the way back. Run it as root.", "set -e"]
    holding = [fact for fact in facts if fact.section[0] in _HOLDING]
    rest = [fact for fact in reversed(facts) if fact.section[0] not in _HOLDING]
    for fact in (*sorted(holding, key=lambda fact: fact.section), *rest):
        lines += fact.away_by_hand()
    return "\n".join(lines) + "\n"


def _beside(facts: Iterable[Fact]) -> Beside:
    at: dict[Place, list[Fact]] = {}
    for fact in facts:
        if fact.interface:
            at.setdefault((fact.node, fact.interface), []).append(fact)
    return Beside(at, Counter(_nodes(facts)))


def _nodes(facts: Iterable[Fact]) -> Iterator[str]:
    """The node of each interface."""
    for fact in facts:
        yield from (node for node, _name in fact.macs if node)
