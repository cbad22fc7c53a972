"""What is still to be done when a failed run has been undone: the way back leads to what was seen
before, and not to what should have been.

The kernel takes more along than it is told to: a link that was replaced is back, and the addresses
and routes on it are not. What somebody had changed or removed before the run is left as he made it:
the run that was to mend it has failed.
"""

from __future__ import annotations

from dataclasses import replace

from bascule.engine.claims import Claims
from bascule.engine.prepare import Prepared, look_again
from bascule.host.world import World
from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.file import Mode
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Fact, Indexes, Key
from bascule.kernel.process import Process
from bascule.kernel.stray import Stray
from bascule.kernel.table import Table
from bascule.kernel.veth import Veth
from bascule.plan.desired import desired
from bascule.plan.diff import Plan, diff
from bascule.state.record import Stored
from bascule.topology.model import Assigned

_ORDER = ("namespace", "link", "address", "route")


def way_back(
    before: Prepared, stored: Stored, current: Assigned, world: World, slot: int, others: Claims
) -> Plan | None:
    """The plan that leads to what ``before`` was made from. None where nothing does: a pair whose
    other end is elsewhere can't be made again."""
    indexes = Indexes(slot)
    now = [
        _comparable(fact) for fact in look_again(before, stored, current, world, indexes, others)
    ]
    there = {fact.key for fact in now}
    if any(
        isinstance(fact, (Stray, Veth)) and not _can_be_made(fact) and fact.key not in there
        for fact in before.have
    ):
        return None
    known = {fact.key: fact for fact in desired(current)}
    wanted = sorted(filter(_can_be_made, before.have), key=_place)
    return diff(
        [_whole(_comparable(fact), known) for fact in wanted],
        list(filter(_can_be_made, now)),
        indexes,
    )


def _place(fact: Fact) -> tuple[int, bool]:
    """What holds things before the things, and what needs others after them."""
    kind = fact.key[0]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER), isinstance(fact, Veth)


def _can_be_made(fact: Fact) -> bool:
    """Not so a pair without its other end, nor a name in /run/netns without a namespace or wrong
    permissions, which nobody misses."""
    if isinstance(fact, Veth):
        return bool(fact.node)
    return not isinstance(fact, (Mode, Stray)) and not (
        isinstance(fact, Namespace) and not fact.alive
    )


def _whole(fact: Fact, known: dict[Key, Fact]) -> Fact:
    """With what a look does not tell: the settings that something was made with, also where it was
    changed or renamed since."""
    made = known.get(fact.key)
    if isinstance(fact, (Bridge, Namespace)) and isinstance(made, (Bridge, Namespace)):
        return replace(fact, settings=made.settings)
    if isinstance(fact, Veth) and isinstance(made, Veth):
        return replace(
            fact, settings=tuple((_renamed(key, fact.peer), value) for key, value in made.settings)
        )
    return fact


def _renamed(key: str, interface: str) -> str:
    """A key of sysctl(8) below net.ipv6.conf. for another interface; with slashes where the name
    holds a dot."""
    words = key.split("/" if "/" in key else ".")
    return ("/" if "." in interface else ".").join((*words[:3], interface, *words[4:]))


def _comparable(fact: Fact) -> Fact:
    """A table that others made is what nft prints of it: nobody knows of what text. The kernel
    makes an address's route anew."""
    if isinstance(fact, Table):
        return replace(fact, text=fact.text or fact.listing)
    if isinstance(fact, Process):
        return fact.comparable()
    return replace(fact, routed=True) if isinstance(fact, Address) else fact
