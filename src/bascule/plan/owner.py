"""Whose is it? A namespace, link or file that bascule did not make for this lab is never taken over
and never removed.

A link of the world tells by its index: a lab takes its indexes from a range of its own that the
kernel's counting does not reach. A namespace tells by its cookie, noted after it was made (none is
known while a run is under way: then the name counts). A link in /etc/netns tells by where it points
to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import Fact
from bascule.kernel.file import Symlink
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.table import Table
from bascule.kernel.veth import Veth

_STATE = "/run/bascule/"


def split(
    lab: str,
    facts: Iterable[Fact],
    namespaces: Mapping[str, int],
    indexes: Indexes,
    seen: Mapping[tuple[str, str], int],
) -> tuple[list[Fact], list[Fact]]:
    """The observed facts that are the lab's own, and those that are somebody else's."""
    own: list[Fact] = []
    foreign: list[Fact] = []
    strangers: set[tuple[str, ...]] = set()
    ordered = sorted(facts, key=lambda fact: not isinstance(fact, (Namespace, Bridge, Veth)))
    for fact in ordered:
        where = (*fact.within, ("namespace", fact.node))
        mine = _is_own(lab, fact, namespaces, indexes, seen) and strangers.isdisjoint(where)
        (own if mine else foreign).append(fact)
        if not mine:
            strangers.update(fact.contains)
    return own, foreign


def _is_own(
    lab: str,
    fact: Fact,
    namespaces: Mapping[str, int],
    indexes: Indexes,
    seen: Mapping[tuple[str, str], int],
) -> bool:
    match fact:
        case Namespace(name=name, cookie=cookie):
            return name in namespaces and (not cookie or namespaces[name] in (0, cookie))
        case Bridge(name=name) | Veth(name=name):
            return seen.get((WORLD, name)) in indexes.range
        case Table(owned=owned):
            return owned
        case Symlink(target=target, stale=stale):
            return stale or target.startswith(f"{_STATE}{lab}/")
    return True


def conflicts(
    want: Sequence[Fact],
    own: Iterable[Fact],
    foreign: Iterable[Fact],
    seen: Mapping[tuple[str, str], int],
    owners: Mapping[tuple[str, str], str],
) -> list[str]:
    """One sentence for each wanted thing that somebody else has. ``owners`` names the lab by (kind,
    name)."""
    strange = {fact.key: fact for fact in foreign}
    mine = {fact.key for fact in own}
    found = []
    for fact in want:
        there = strange.get(fact.key)
        if there is not None and fact.contains:
            found.append(_sentence(there.describe(), fact.key, owners))
        elif there is not None and isinstance(fact, Symlink):
            found.append(_link_sentence(fact.path, there))
        elif fact.key[0] == "link" and fact.key not in mine and (WORLD, fact.key[2]) in seen:
            found.append(_sentence(f"interface {fact.key[2]}", fact.key, owners))
    return found


def _link_sentence(path: str, there: Fact) -> str:
    if isinstance(there, Symlink) and there.target.startswith(_STATE):
        lab = there.target.removeprefix(_STATE).partition("/")[0]
        return (
            f"{path} leads to files of lab {lab}, which is up where /run is another; choose "
            f"another name, or remove what it left"
        )
    return f"{path} is there already and bascule did not make it; move it away"


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
