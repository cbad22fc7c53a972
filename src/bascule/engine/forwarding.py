"""What labs remember of the machine's settings from before it passed packets on for them, and who
of them puts these back.

Each lab for which it was turned on has the whole memory in its record: the last one needs it,
whichever that is. A lab on a machine that passes packets on by itself has none, and puts nothing
back. Which lab is the last is found out under the lock of all labs' claims, and whoever turns
anything on or off holds that lock until it is done: else another lab could take for settled what is
just changing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

from bascule.host.seen import Observation
from bascule.host.surroundings import setting
from bascule.kernel.fact import Fact, Memory, only
from bascule.kernel.forwarding import ALL, FORWARDING, SWITCH, Forwarding
from bascule.kernel.op import WORLD
from bascule.plan.diff import Plan
from bascule.state.record import Record, Stored

Memories = dict[tuple[str, int], Memory]  # by node, or the world, and IP version


def remembered(record: Record | None) -> Memories:
    """What a record has: of a node that was made with it no more than whether it was on."""
    if record is None:
        return {}
    versions = {key: version for version, key in SWITCH.items()}
    found = {
        (node, versions[key]): Memory({ALL: {FORWARDING: value}})
        for node, key, value in record.priors
        # of the world: a record by an earlier version
        if key in versions and (node or value == "0")
    }
    for node, kept in record.forwarding.items():
        found |= {(node, int(version)): Memory(**memory) for version, memory in kept.items()}
    return found


def memories(stored: Stored) -> Memories:
    """What a lab has: the journal knows best."""
    return remembered(stored.record) | remembered(stored.journal)


def of_the_world(known: Memories) -> dict[int, Memory]:
    """The machine's own, by IP version."""
    return {version: memory for (node, version), memory in known.items() if not node}


def as_data(known: Memories) -> dict[str, Any]:
    """For the record."""
    data: dict[str, Any] = {}
    for (node, version), memory in known.items():
        data.setdefault(node, {})[str(version)] = asdict(memory)
    return data


def kept(record: Record) -> dict[str, Any]:
    """What a lab has to remember when its run has ended, and has put back what it no longer
    needs."""
    needed = {version for version, key in SWITCH.items() if key in record.settings}
    return as_data(
        {
            (node, version): replace(memory, back={})
            for (node, version), memory in remembered(record).items()
            if (node in record.namespaces and not memory.back) or (not node and version in needed)
        }
    )


def noted(
    record: Record,
    plan: Plan,
    want: Iterable[Fact],
    seen: Iterable[Fact],
    part: Collection[str] | None,
) -> dict[str, Any]:
    """What has to stand in the journal before a plan is carried out: what was there before the
    first write, and what is to be there after the last. Of nodes that are in no ``part`` of what
    was looked at it is what it was."""
    there = {fact.key: fact.now for fact in only(seen, Forwarding)}
    wanted = {(fact.node, fact.version) for fact in only(want, Forwarding)}
    known = {
        place: replace(memory, back={})
        for place, memory in remembered(record).items()
        if place in wanted or not place[0] or (part is not None and place[0] not in part)
    }
    for fact in only((change.fact for change in plan.changes), Forwarding):
        place, now = (fact.node, fact.version), there.get(fact.key)
        if place not in wanted and fact.back is not None:
            known[place] = replace(remembered(record)[place], back=fact.back)
        elif place not in known and now is not None:
            known[place] = Memory(now.values, dict(now.interfaces))
    return as_data(known)


def turns(record: Record, before: Stored, elsewhere: Collection[int]) -> bool:
    """Whether a run that makes this record true turns something on or off for the machine."""
    off = {version for version, key in SWITCH.items() if setting(key) == "0"}
    needed = {version for version, key in SWITCH.items() if key in record.settings}
    return bool(needed & off or set(of_the_world(memories(before))) - needed - set(elsewhere))


def routers(seen: Observation, memory: Memory | None) -> tuple[str, ...]:
    """Interfaces that passed IPv4 on before any lab came, though the machine as a whole did not, by
    their present names."""
    there = [
        fact.now for fact in only(seen.facts, Forwarding) if (fact.node, fact.version) == (WORLD, 4)
    ]
    if memory is not None:
        values, interfaces = memory.before, memory.interfaces
    elif there and there[0] is not None and there[0].values.get(ALL, {}).get(FORWARDING) == "0":
        values, interfaces = there[0].values, there[0].interfaces
    else:
        return ()
    indexes = {
        index
        for name, index in interfaces.items()
        if values.get(name, {}).get(FORWARDING, "0") != "0"
    }
    return tuple(
        sorted(
            name for (node, name), index in seen.indexes.items() if not node and index in indexes
        )
    )
