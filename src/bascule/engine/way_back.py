"""What is still to be done when a failed run has been undone: the way back leads to what was seen
before, and not to what should have been.

The kernel takes more along than it is told to: a link that was replaced is back, and the addresses
and routes on it are not. What somebody had changed or removed before the run is left as he made it:
the run that was to mend it has failed.
"""

from __future__ import annotations

from bascule.engine.claims import Claims
from bascule.engine.prepare import Prepared, look_again
from bascule.host.world import World
from bascule.kernel.fact import Fact
from bascule.kernel.op import Indexes
from bascule.plan.desired import desired
from bascule.plan.diff import Plan, diff
from bascule.state.record import Stored
from bascule.topology.model import Assigned


def way_back(
    before: Prepared, stored: Stored, current: Assigned, world: World, slot: int, others: Claims
) -> Plan | None:
    """The plan that leads to what ``before`` was made from. None where nothing does: a pair whose
    other end is elsewhere can't be made again."""
    indexes = Indexes(slot)
    seen = look_again(before, stored, current, world, indexes, others)
    now = [fact.comparable() for fact in seen]
    there = {fact.key for fact in now}
    if any(fact.is_irreplaceable and fact.key not in there for fact in before.have):
        return None
    known = {fact.key: fact for fact in desired(current)}
    wanted = sorted((fact for fact in before.have if fact.can_come_back), key=_order)
    then = [fact.comparable().whole(known.get(fact.key)) for fact in wanted]
    return diff(then, [fact for fact in now if fact.can_come_back], indexes)


def _order(fact: Fact) -> int:
    """What holds things before the things, and what needs others after them."""
    return fact.order
