"""What a run writes down of a lab: what it claims before it touches anything, and what the kernel
has answered after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bascule import identity
from bascule.engine import forwarding
from bascule.engine.claims import Claims
from bascule.engine.prepare import Prepared
from bascule.host.hands import Report
from bascule.host.keeper import Starting
from bascule.kernel.fact import only
from bascule.kernel.forwarding import SWITCH, Forwarding
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD
from bascule.kernel.sysctl import Sysctl
from bascule.plan.diff import Plan
from bascule.plan.passage import passage
from bascule.state import store
from bascule.state.record import Keeper, Record, Stored
from bascule.topology.dump import to_data
from bascule.topology.model import Assigned


def claimed(
    name: str, kind: str, slot: int, target: Assigned, stored: Stored, others: Claims
) -> Record:
    """Every choice made, with what is known of the settings of the world that the lab needs from
    before any lab came."""
    old = stored.newest
    needed = list(passage(target))
    settings = sorted(fact.name for fact in only(needed, Sysctl))
    priors = {
        (node, key): value
        for node, key, value in (old.priors if old else [])
        if key not in SWITCH.values()
    }
    for key in settings:
        if key in others.priors:  # whichever lab goes last puts it back
            priors.setdefault((WORLD, key), others.priors[key])
    versions = sorted(fact.version for fact in only(needed, Forwarding))
    known = {
        (WORLD, version): others.forwarding[version]
        for version in versions
        if version in others.forwarding
    }
    return Record(
        name=name,
        world=kind,
        slot=slot,
        topology=to_data(target),
        boot=store.boot_id(),
        namespaces=stored.namespaces,
        priors=[(*place, value) for place, value in priors.items()],
        tables=old.tables if old else {},
        settings=settings + [SWITCH[version] for version in versions],
        placed=old.placed if old else [],
        forwarding=forwarding.as_data(known | forwarding.memories(stored)),
        killed=_killed(stored.journal),
    )


def _killed(journal: Record | None) -> list[dict[str, Any]]:
    """What killed runs were about to make: of the newest one tells the journal, which this run is
    about to write over."""
    if journal is None:
        return []
    return [
        *journal.killed,
        *(each for each in (journal.topology,) if each is not None and each not in journal.killed),
    ]


def keeper_of(started: Starting) -> Keeper:
    """The process that keeps a private world, as it is written down."""
    return Keeper(started.keeper.pid, started.keeper.start, started.first, identity.numbering())


def present(prepared: Prepared, stored: Stored) -> dict[str, int]:
    """The namespaces that stay, with the cookies they have, or had where nobody has looked."""
    wanted = [fact.name for fact in only(prepared.want, Namespace)]
    seen = {fact.name: fact.cookie for fact in only(prepared.seen.facts, Namespace)}
    found = {name: seen[name] for name in wanted if name in seen and name in stored.namespaces}
    if prepared.part is not None and prepared.lab is not None:
        others = {node.name for node in prepared.lab.nodes} - prepared.part
        found |= {name: cookie for name, cookie in stored.namespaces.items() if name in others}
    return found


def made(plan: Plan) -> dict[str, int]:
    """The namespaces that a plan makes, with no cookie yet."""
    return {op.makes: 0 for op in plan.ops if op.makes}


def finished(record: Record, report: Report) -> Record:
    """The record with what the kernel answered: cookies, and sysctls as they were before the first
    change."""
    priors = {(node, key): value for node, key, value in record.priors}
    for place, value in report.priors.items():
        priors.setdefault(place, value)
    kept = [
        (node, key, value)
        for (node, key), value in priors.items()
        if not node or node in record.namespaces
    ]
    return replace(
        record,
        namespaces={**record.namespaces, **report.cookies},
        priors=[(node, key, value) for node, key, value in kept if key not in SWITCH.values()],
        tables={**record.tables, **report.tables},
        forwarding=forwarding.kept(replace(record, priors=kept)),
        killed=[],
    )
