"""One run under the lab's lock: open the world → choose and claim → observe and plan → journal →
execute → save.

A run that is killed leaves its journal; the next run takes what it names for the lab's own and
finishes or removes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from bascule import identity
from bascule.engine import claims as claims_of
from bascule.engine import forwarding, keeping, origin, records, worlds
from bascule.engine import known as known_labs
from bascule.engine.forecast import refuse_incapable
from bascule.engine.log import Log
from bascule.engine.notes import of_ipv6
from bascule.engine.options import Listener, Options, Outcome
from bascule.engine.part import part_of
from bascule.engine.prepare import (
    Prepared,
    choose_all,
    foreseen,
    leaving_links,
    moved_addresses,
    prepare,
)
from bascule.engine.way_back import way_back
from bascule.errors import (
    BasculeError,
    Interrupted,
    KernelError,
    PlanFailed,
    unfinished,
)
from bascule.host import (
    etc_links,
    files,
    flows,
    namespaces,
    process,
    processes,
    settle,
)
from bascule.host.announce import announce
from bascule.host.execute import execute
from bascule.host.hands import Report
from bascule.host.keeper import Starting
from bascule.host.paths import Paths
from bascule.host.world import HostWorld, PrivateWorld, World
from bascule.kernel.fact import Fact
from bascule.kernel.op import Indexes
from bascule.plan.diff import Change, Plan
from bascule.plan.flows import passages
from bascule.plan.names import placed_links
from bascule.state import folder, lock, store
from bascule.state.record import Record, Stored
from bascule.topology.model import Assigned, Topology

_PASSES = 3


class Work:
    """One run under the lab's lock."""

    def __init__(self, name: str, stored: Stored, options: Options, heard: Listener) -> None:
        self.name = name
        self.stored = stored
        self.options = options
        self.kind = worlds.choose(options.world, stored)
        self.log = Log(name, options.command, self.kind)
        self.heard = self.log.hearing(heard)
        self.source = ""  # the file that the lab is of, then
        self.prepared: Prepared | None = None
        self.others = claims_of.Claims()
        self.begun = self.done = False  # the plan, in a world that outlives a failure
        self.tried: Assigned | None = None
        self.remarks: tuple[str, ...] = ()
        self.part: frozenset[str] | None = None

    def make(self, asked: Topology, current: Assigned | None) -> Outcome:
        """Up, and every change of a lab that stays."""
        refuse_incapable(self.kind)
        with self._world() as (world, started), ExitStack() as held:
            target, record, indexes, others = self._claim(asked, current, world, started, held)
            try:
                self.part = self._part(target, current, started)
                prepared = self._prepare(target, self.stored, current, world, indexes, others)
                prepared = prepared.with_notes(of_ipv6(asked, current))
                self.prepared, self.others = prepared, others
                self.heard.planned(prepared.plan)
                noted = keeping.note_links(self.name, self.kind, prepared.want)
                if not prepared.plan and self.stored.record == record:
                    remarks = noted + keeping.keep(record)
                    return Outcome(prepared.plan, Report(), target, self.kind, remarks)
                record, unnoted = self._begin(record, prepared)
                self.begun, self.tried = started is None, target
                self.remarks = self.see_off(world, prepared.plan)
                report = self._carry_out(world, prepared.plan)
                self.done = True
                if any(_has_side_effects(change) for change in prepared.plan.changes):
                    self._settle(target, record, report, world, indexes, others)
                _conclude(prepared, current, target, world, indexes)
                if started is not None:
                    started.go()
            except BaseException as error:
                # The namespaces may stay, and who was ended does not come back.
                for remark in self.remarks if self.options.kill else ():
                    self.heard.waiting(remark)
                if self._back_out(error, current, world) or not worlds.has_world(record):
                    raise
                raise unfinished(error) from error
            record = records.finished(record, report)
            store.save(record)
            unnoted = known_labs.note(record) or unnoted
            remarks = (*self.remarks, *noted, *keeping.keep(record), *unnoted)
            return Outcome(prepared.plan, report, target, self.kind, remarks)

    def _prepare(
        self,
        target: Assigned,
        stored: Stored,
        current: Assigned | None,
        world: World,
        indexes: Indexes,
        others: claims_of.Claims,
    ) -> Prepared:
        return prepare(self.name, target, stored, current, world, indexes, others, self.part)

    def _part(
        self, target: Assigned, current: Assigned | None, started: Starting | None
    ) -> frozenset[str] | None:
        """What to look at; all after a run that was killed, and in a world that is new."""
        if current is None or started is not None or self.stored.journal is not None:
            return None
        return part_of(current, target) if self.options.partial else None

    def _begin(self, record: Record, prepared: Prepared) -> tuple[Record, tuple[str, ...]]:
        """Write the journal. Returns the record that is to be, and what could not be noted."""
        stays = records.present(prepared, self.stored)
        record = dataclasses.replace(
            record,
            namespaces={**stays, **records.made(prepared.plan)},
            placed=placed_links(prepared.want),
        )
        known = {**self.stored.namespaces, **record.namespaces}
        placed = sorted({*self.stored.placed, *record.placed})
        memory = forwarding.noted(record, *told(prepared))
        record = dataclasses.replace(record, forwarding=memory)
        priors = foreseen(record, prepared)
        journal = dataclasses.replace(record, namespaces=known, priors=priors, placed=placed)
        store.begin(journal)
        return record, known_labs.note(journal)

    def _carry_out(self, world: World, plan: Plan) -> Report:
        """All operations. What a private world can't do itself comes first, and is undone where the
        rest fails."""
        outer = [op for change in plan.changes if change.fact.is_outside for op in change.ops]
        if not outer or not isinstance(world, PrivateWorld):
            return world.watch(_execute, self.heard.progress, plan.ops, world.paths)
        within = tuple(change for change in plan.changes if not change.fact.is_outside)
        inside = dataclasses.replace(plan, changes=within).ops
        try:
            process.carry_out([op.effect() for op in outer], world)
            return world.watch(_execute, self.heard.progress, inside, world.paths)
        except BaseException as error:
            with suppress(BasculeError, OSError):
                backs = [back.effect() for op in reversed(outer) if (back := op.undo())]
                process.carry_out(backs, world)
            if isinstance(error, KernelError):
                raise PlanFailed(error, (), ()) from error
            raise

    def _settle(
        self,
        target: Assigned,
        record: Record,
        report: Report,
        world: World,
        indexes: Indexes,
        others: claims_of.Claims,
    ) -> None:
        """Put back what the kernel took along with something that was removed or changed: with the
        last address of an interface go its routes, with a primary address its secondaries
        (fib_frontend.c, devinet.c)."""
        for _pass in range(_PASSES):
            stored = Stored(records.finished(record, report), None)
            fresh = Indexes.of_range(indexes.range)
            again = self._prepare(target, stored, target, world, fresh, others)
            if not again.plan:
                return
            self.heard.planned(again.plan)
            made = records.made(again.plan)
            # somebody else has just taken away what is made again: the cookies that are noted are
            # the old ones'
            if made:
                report.cookies.update(made)
                store.begin(records.finished(record, report), begun=True)
            report.add(self._carry_out(world, again.plan))

    def see_off(self, world: World, plan: Plan) -> tuple[str, ...]:
        """Before namespaces go: what has to be said of the processes in them, which are ended if
        that was asked for."""
        removing = (op for change in plan.changes if change.sign == "-" for op in change.ops)
        names = [op.drops for op in removing if op.drops]
        places = world.call(namespaces.places, names) if names else {}
        left = "its namespace lives on, nameless, until it ends"
        if not self.options.kill:
            return tuple(
                f"{at.command} (process {at.pid}) still runs in {at.node}: {left}"
                for at in processes.within(places)
            )
        ended, unmoved = processes.end(places)
        return (
            *(f"{found} was ended" for found in ended),
            *(f"{found} could not be ended: {left}" for found in unmoved),
        )

    @contextmanager
    def _world(self) -> Iterator[tuple[World, Starting | None]]:
        """The lab's world, made now if it has none."""
        world = worlds.existing(self.stored)
        if world is not None or self.kind == "host":
            yield world or HostWorld(), None
            return
        with Starting(folder.not_for_nodes(self.name)) as started:
            yield PrivateWorld(started.keeper, started.first), started

    def _claim(
        self,
        asked: Topology,
        current: Assigned | None,
        world: World,
        started: Starting | None,
        held: ExitStack,
    ) -> tuple[Assigned, Record, Indexes, claims_of.Claims]:
        """Every choice made, and written down before another lab can choose the same. What turns
        something on or off for the whole machine keeps the others waiting (``held``) until it is
        done."""
        if self.kind == "private":
            others = claims_of.Claims()
            target = choose_all(asked, current, world, others)
            self.source = file_of(self.stored, self.options, target != current)
            return target, self._record(target, 0, started, others), Indexes(0), others
        with ExitStack() as claiming:
            claiming.enter_context(lock.claims_lock(self.options.wait, self.heard.waiting))
            others = claims_of.of_others(self.name)
            target = choose_all(asked, current, world, others)
            self.source = file_of(self.stored, self.options, target != current)
            claims_of.refuse_clashes(target, others)
            slot = self.stored.newest.slot if self.stored.newest else others.free_slot(target)
            record = self._record(target, slot, started, others)
            if record != self.stored.record:
                store.begin(record)
            if forwarding.turns(record, self.stored, others.forwarders):
                held.push(claiming.pop_all())
        return target, record, Indexes(slot), others

    def _record(
        self, target: Assigned, slot: int, started: Starting | None, others: claims_of.Claims
    ) -> Record:
        old = self.stored.newest
        return dataclasses.replace(
            records.claimed(self.name, self.kind, slot, target, self.stored, others),
            source=self.source,
            keeper=records.keeper_of(started) if started else old.keeper if old else None,
            host=identity.netns() if self.kind == "host" else None,
            held=self.options.hold is not None
            or (old is not None and old.held and lock.has_holder(self.name)),
        )

    def _back_out(self, error: BaseException, current: Assigned | None, world: World) -> bool:
        """End the journal where the kernel is as it was: nothing was done, or all was undone. Else
        the next run has to know. Returns whether it is."""
        undone = isinstance(error, Interrupted) or (
            isinstance(error, PlanFailed) and not error.left
        )
        if self.begun:
            if self.done or not undone or not self._put_back(current, world):
                return False
            self._end_flows(current, world)
        if self.stored.journal is not None:
            store.begin(self.stored.journal)
            return True
        store.rollback(self.name)
        if self.kind == "host" and self.stored.record is None:
            files.remove_empty(self.name)
            etc_links.remove_stale(self.name)
            files.remove_made_directories()
        return True

    def _end_flows(self, current: Assigned | None, world: World) -> None:
        """After the undoing: under rules that stood for a moment flows may have begun that do not
        fit the old ones."""
        own = Indexes(self.stored.newest.slot if self.stored.newest else 0).range
        # they are seen by the next look, and end by themselves
        with suppress(BasculeError, OSError):
            world.call(
                flows.end_unfit, passages(current, (self.tried,), self.kind == "private", own)
            )

    def _put_back(self, current: Assigned | None, world: World) -> bool:
        """After the undoing: make again what went with something that was undone. Whether all is as
        it was seen before."""
        noted = self.stored.newest
        if noted is None or current is None or self.prepared is None:
            return True
        try:
            plan = way_back(self.prepared, self.stored, current, world, noted.slot, self.others)
            if plan:
                noted = dataclasses.replace(
                    noted, namespaces={**noted.namespaces, **records.made(plan)}
                )
                store.begin(noted)
                report = self._carry_out(world, plan)
                report.tables.clear()  # they are as they were, and noted so
                self.stored = self._renewed(records.finished(noted, report))
        except (BasculeError, OSError):
            return False
        return plan is not None

    def _renewed(self, noted: Record) -> Stored:
        """What is stored, with the namespaces that had to be made again."""
        if self.stored.journal is not None:
            return Stored(self.stored.record, noted)
        store.save(noted)
        return Stored(noted, None)


def file_of(stored: Stored, options: Options, changed: bool) -> str:
    """The file that the lab is of after the run. Raises :class:`InputError` where it is of another
    one than that of ``options``, which says something else (``changed``)."""
    old = stored.newest
    if old is None or options.named or not origin.is_other(old.source, options.source):
        return options.source or (old.source if old else "")
    if changed:
        advice = (
            f"give one of them another name (`name:` in the file, or --name), or `bascule "
            f"down {old.name}` first"
        )
        raise origin.refusal(
            old.name,
            old.source,
            options.source,
            f"{advice}; with --name {old.name} this file takes its place",
        )
    return old.source


def told(
    prepared: Prepared,
) -> tuple[Plan, list[Fact], list[Fact], frozenset[str] | None]:
    """What the memory of settings is made of."""
    return prepared.plan, prepared.want, prepared.seen.facts, prepared.part


def _conclude(
    prepared: Prepared, current: Assigned | None, target: Assigned, world: World, indexes: Indexes
) -> None:
    """Wait until the kernel has taken away what goes, and tell neighbours of what has moved."""
    leaving = leaving_links(prepared)
    if leaving:
        world.call(settle.links_gone, leaving, indexes.range)
    if current is not None or any(network.uplink for network in target.networks):
        moved = moved_addresses(prepared)
        if moved:
            world.call(announce, moved)


def _has_side_effects(change: Change) -> bool:
    """Whether the kernel may take something else along with it, or lose something by it."""
    return bool(change.ops) and change.sign in change.fact.disturbs


def _execute(ops: list[object], paths: Paths, progress: Callable[[int], None]) -> Report:
    return execute(ops, paths, progress)  # type: ignore[arg-type]
