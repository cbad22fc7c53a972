"""What is known of the facts beside what the kernel tells: from the records of earlier runs, and
from what was seen around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bascule.engine.claims import Claims
from bascule.engine.forwarding import memories
from bascule.host.seen import Observation
from bascule.kernel.fact import Fact, Known, only
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Key
from bascule.plan import filed
from bascule.state.record import Stored


def recall(
    lab: str,
    before: Iterable[Fact],
    want: Iterable[Fact],
    seen: Observation,
    stored: Stored,
    others: Claims,
    listing: Callable[[str, tuple[str, ...]], str] | None,
    leaving: bool,
) -> Known:
    """All of it. ``before`` is what earlier runs made true, the last one last."""
    left: dict[Key, list[Fact]] = {}
    for fact in before:
        left.setdefault(fact.key, []).append(fact)
    wanted = {fact.key: fact for fact in want}
    records = [record for record in (stored.record, stored.journal) if record is not None]
    return Known(
        before=left,
        want=wanted,
        nodes={fact.name for fact in only(seen.facts, Namespace) if fact.alive},
        leaving=leaving,
        tables=stored.newest.tables if stored.newest else {},
        listing=listing,
        priors={(node, key): value for each in records for node, key, value in each.priors},
        shared=others.settings,
        killed=stored.journal is not None,
        strays=seen.strays,
        deaf=filed.unread(lab, seen.modes),
        forwarding=memories(stored),
        elsewhere=others.forwarders,
        uplinks=seen.others,
    )
