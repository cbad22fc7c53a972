"""The plan as a shell script for an empty machine, and the way back."""

from __future__ import annotations

from bascule.engine import claims, known, unseen, worlds
from bascule.engine.forwarding import memories, of_the_world
from bascule.engine.prepare import choose_all, machine_of, prepare, stored_topology
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.host.world import HostWorld
from bascule.kernel.fact import Fact, Memory
from bascule.kernel.look import Scope
from bascule.kernel.op import Indexes
from bascule.plan import classic, render
from bascule.plan.desired import desired
from bascule.plan.diff import Plan, diff
from bascule.plan.given import Machine
from bascule.topology.model import Topology


def script(topology: Topology, by_hand: bool, teardown: bool) -> str:
    """The script of a topology: what `up` does, or with ``teardown`` the way back; ``by_hand`` in
    the classic spelling."""
    stored = worlds.without_lost(known.load(topology.name))
    others = claims.of_others(topology.name)
    lab = choose_all(topology, stored_topology(stored.newest), HostWorld(), others)
    facts = desired(lab, _machine(others.forwarding | of_the_world(memories(stored))))
    if teardown:
        plain = render.script(lab.name, diff([], facts, _indexes(facts)).ops, "the way back")
        return (classic.teardown(lab.name, facts) if by_hand else plain) + _stays(facts)
    if by_hand:
        return classic.classic(lab.name, facts)
    return render.script(lab.name, diff(facts, [], Indexes()).ops, "the whole lab")


def _stays(facts: list[Fact]) -> str:
    return "".join(f"{line}\n" for fact in facts for line in fact.stays())


def _machine(known: dict[int, Memory]) -> Machine:
    """Chains of this machine that would cut the nodes off: the script has to deal with them as `up`
    does."""
    return machine_of(observe(Scope(), Paths()), known)


def _indexes(facts: list[Fact]) -> Indexes:
    """Indexes for a lab that is only thought of."""
    indexes = Indexes()
    for fact in facts:
        fact.create(indexes)
    return indexes


def teardown_plan(name: str) -> Plan:
    """What `down` would do."""
    stored = worlds.without_lost(known.load(name))
    current = stored_topology(stored.newest)
    world = worlds.existing(stored)
    unseen.refuse(stored, current)
    slot = stored.newest.slot if stored.newest else 0
    others = claims.around(name, world)
    return prepare(name, None, stored, current, world, Indexes(slot), others).plan
