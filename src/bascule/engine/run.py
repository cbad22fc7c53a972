"""Make it so: the one sequence behind `up`, `down` and every imperative command.

lock → load → edit → the work of :mod:`bascule.engine.work`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from bascule.engine import claims as claims_of
from bascule.engine import known, unseen, worlds
from bascule.engine.forecast import refuse_incapable
from bascule.engine.keeping import tidy
from bascule.engine.leaving import Leaving
from bascule.engine.notes import of_ipv6
from bascule.engine.options import Listener, Options, Outcome
from bascule.engine.prepare import Prepared, choose_all, prepare, stored_topology
from bascule.engine.work import Work, file_of
from bascule.errors import Conflict, Locked, WorldError, translated
from bascule.host.hands import Report
from bascule.host.world import HostWorld, World
from bascule.kernel.op import Indexes
from bascule.plan.diff import Plan
from bascule.state import lock, store
from bascule.state.record import Stored
from bascule.topology.model import Assigned, Topology

_LOOKS = 20
Edit = Callable[[Assigned | None], Topology | None]


@translated
def preview(name: str, edit: Edit, options: Options) -> Prepared:
    """The plan of a run, without the lock and without touching anything. Where another command
    changes the lab between the look at its record and the look at the kernel, the two do not fit:
    then both are looked at again."""
    for _attempt in range(_LOOKS):
        read = known.load(name)
        try:
            prepared = _preview(name, edit, options, worlds.without_lost(read))
        except (Conflict, WorldError):
            if known.load(name) == read:
                raise
            continue
        if known.load(name) == read:
            return prepared
    raise Locked(f"lab {name} changes all the time: other commands work on it; try again")


def _preview(name: str, edit: Edit, options: Options, stored: Stored) -> Prepared:
    current = stored_topology(stored.newest)
    unseen.refuse(stored, current)
    asked = edit(current)
    kind = worlds.choose(options.world, stored)
    world: World | None = worlds.existing(stored) or (HostWorld() if kind == "host" else None)
    others = claims_of.of_others(name) if kind == "host" else claims_of.Claims()
    if asked is not None:
        refuse_incapable(kind)
    target = choose_all(asked, current, world, others) if asked is not None else None
    if target is not None:
        file_of(stored, options, target != current)
        claims_of.refuse_clashes(target, others)
    slot = (
        stored.newest.slot if stored.newest else others.free_slot(target) if kind == "host" else 0
    )
    found = prepare(name, target, stored, current, world, Indexes(slot), others)
    return found.with_notes(of_ipv6(asked, current))


@translated
def apply(name: str, edit: Edit, options: Options, listener: Listener | None = None) -> Outcome:
    """Make the lab what ``edit`` makes of its present topology; None takes it away.

    Raises what checking raises before anything is touched, and :class:`PlanFailed` after a failed
    run was undone.
    """
    heard = listener or Listener()
    with lock.lab_lock(name, options.command, options.wait, heard.waiting):
        stored = _load(name)
        _refuse_held(stored, options)
        current = stored_topology(stored.newest)
        unseen.refuse(stored, current)
        asked = edit(current)
        if asked is None and stored.newest is None:
            store.forget(name)  # a private lab whose keeper has ended
            return Outcome(Plan(()), Report(), None, "", tidy(name) if os.geteuid() == 0 else ())
        if asked is None:
            leaving = Leaving(name, stored, options, heard)
            return leaving.log.follow(lambda: leaving.take_away(current))
        work = Work(name, stored, options, heard)
        return work.log.follow(lambda: work.make(asked, current))


@translated
def enter(asked: Topology, options: Options, listener: Listener | None = None) -> Outcome:
    """Build a lab that is the calling program's own, to whose ``hold`` it is bound. One that such a
    program has left when it was killed is taken away first: what still runs in its nodes is not to
    be met.

    Raises :class:`Locked` where another program has it, :class:`Conflict` where it is nobody's own,
    and what :func:`apply` does.
    """
    heard, name = listener or Listener(), asked.name
    assert options.hold is not None  # noqa: S101 (it is what this is about)
    with lock.lab_lock(name, options.command, options.wait, heard.waiting):
        options.hold.take()
        stored = _load(name)
        if stored.newest is not None:
            if not stored.newest.held:
                advice = (
                    f"`bascule down {name}` first, choose another name, or call up() and "
                    f"down() in place of `with`"
                )
                raise Conflict(f"lab {name} is up already, and stays when a program ends; {advice}")
            leaving = Leaving(name, stored, replace(options, world=None, kill=True), heard)
            leaving.log.follow(lambda: leaving.take_away(stored_topology(stored.newest)))
        work = Work(name, Stored(None, None), options, heard)
        return work.log.follow(lambda: work.make(asked, None))


def _load(name: str) -> Stored:
    """With the lab's lock held."""
    stored = known.load(name)
    worlds.end_headless(stored)
    return worlds.without_lost(stored)


def _refuse_held(stored: Stored, options: Options) -> None:
    """A lab that is a living program's own is changed and taken away by that program, and by what
    it has started."""
    record = stored.newest
    if (
        record is not None
        and record.held
        and options.hold is None
        and lock.is_held_by_others(record.name)
    ):
        raise lock.held(record.name)
