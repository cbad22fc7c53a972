"""Whose is it? A namespace, link or file that bascule did not make for this lab is never taken over
and never removed.

A link of the world tells by its index: a lab takes its indexes from a range of its own that the
kernel's counting does not reach. A namespace tells by its cookie, noted after it was made (none is
known while a run is under way: then the name counts). A link in /etc/netns tells by where it points
to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from bascule.kernel.fact import Claim, Fact, Place
from bascule.kernel.op import Key


def split(claim: Claim, facts: Iterable[Fact]) -> tuple[list[Fact], list[Fact]]:
    """The observed facts that are the lab's own, and those that are somebody else's: what lies in
    something of theirs is theirs, too."""
    own: list[Fact] = []
    foreign: list[Fact] = []
    strangers: set[tuple[str, ...]] = set()
    for fact in sorted(facts, key=lambda fact: fact.rank):
        where = (*fact.within, ("namespace", fact.node))
        mine = fact.is_mine(claim) and strangers.isdisjoint(where)
        (own if mine else foreign).append(fact)
        if not mine:
            strangers.update(fact.contains)
    return own, foreign


def conflicts(
    want: Sequence[Fact],
    own: Iterable[Fact],
    foreign: Iterable[Fact],
    seen: Mapping[Place, int],
    owners: Mapping[Place, str],
) -> list[str]:
    """One sentence for each wanted thing that somebody else has. ``owners`` names the lab by (kind,
    name)."""
    strange = {fact.key: fact for fact in foreign}
    mine = {mark for fact in own for mark in fact.contains}
    found = []
    for fact in want:
        there = strange.get(fact.key)
        words = fact.refusal(there) if there is not None else ""
        if words:
            found.append(words)
        elif there is not None and fact.contains:
            found.append(_sentence(there.describe(), fact.key, owners))
        elif fact.taken is not None and _is_in_the_way(fact.taken, seen, mine):
            found.append(_sentence(f"interface {fact.taken[1]}", fact.key, owners))
    return found


def _is_in_the_way(taken: Place, seen: Mapping[Place, int], mine: Collection[Key]) -> bool:
    """Whether there is an interface in a place that is to be taken, and no end of ours."""
    return taken in seen and ("link", *taken) not in mine


def _sentence(what: str, key: tuple[str, ...], owners: Mapping[tuple[str, str], str]) -> str:
    owner = owners.get((key[0], key[-1]))
    if owner:
        return (
            f"{what} belongs to lab {owner}; choose another name, or `bascule down {owner}` first"
        )
    return (
        f"{what} is there already and bascule did not make it; choose another name, or remove "
        f"it first"
    )
