"""A lab goes: on the host fact by fact, a private world as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack

from bascule.engine import claims as claims_of
from bascule.engine import forwarding, keeping, worlds
from bascule.engine.notes import left_alone
from bascule.engine.options import Outcome
from bascule.engine.prepare import (
    Prepared,
    prepare,
)
from bascule.engine.work import Work, told
from bascule.errors import (
    KernelError,
    WorldError,
    unfinished,
)
from bascule.host import (
    etc_links,
    files,
    keeper,
    process,
    settle,
)
from bascule.host.execute import execute
from bascule.host.hands import Report
from bascule.host.paths import Paths
from bascule.host.spawn import Process
from bascule.host.world import PrivateWorld, World
from bascule.kernel.op import WORLD, Indexes
from bascule.plan.diff import Plan
from bascule.plan.servers import servers_folder
from bascule.state import lock, store
from bascule.state.record import Record
from bascule.topology.model import Assigned


class Leaving(Work):
    """A run that takes a lab away."""

    def take_away(self, current: Assigned | None) -> Outcome:
        """Down. A private world goes with its keeper; on the host every fact is taken back."""
        record = self.stored.newest
        world = worlds.existing(self.stored)
        assert record is not None  # noqa: S101 (apply() has looked)
        if world is None:  # it has ended since apply() has looked
            store.forget(self.name)
            return Outcome(Plan(()), Report(), None, "")
        with ExitStack() as held:
            others, leaving = self._leave(record, world, held)
            remarks = keeping.forget(self.name) if self.kind == "host" else ()
            try:
                prepared = prepare(
                    self.name, None, self.stored, current, world, Indexes(record.slot), others
                )
            except WorldError:
                if isinstance(world, PrivateWorld):  # it is ending, or nobody can go in any more
                    return self._end(world, Plan(()))
                raise
            self.heard.planned(prepared.plan)
            if isinstance(world, PrivateWorld):
                return self._end(world, prepared.plan)
            noted = dataclasses.replace(
                leaving, forwarding=forwarding.noted(leaving, *told(prepared))
            )
            if noted != leaving:
                store.begin(noted)
            return self._all_away(prepared, record, world, held, remarks)

    def _end(self, world: PrivateWorld, plan: Plan) -> Outcome:
        """A private world goes as a whole: all ends with the keeper."""
        remarks = self.see_off(world, plan) if self.options.kill else ()
        keeper.end(world.keeper, Process.reap)
        self.heard.progress(len(plan.ops))
        store.forget(self.name)
        return Outcome(plan, Report(done=len(plan.ops)), None, "private", remarks)

    def _leave(
        self, record: Record, world: World, held: ExitStack
    ) -> tuple[claims_of.Claims, Record]:
        """The journal that gives up every claim, and what the others claim. Of several labs that
        leave at once, the last puts back what all of them needed, and keeps others waiting
        (``held``) until that is done."""
        with ExitStack() as claiming:
            claiming.enter_context(lock.claims_lock(self.options.wait, self.heard.waiting))
            others = claims_of.around(self.name, world)
            leaving = dataclasses.replace(
                record,
                command=self.options.command,
                settings=[],
                forwarding=forwarding.as_data(forwarding.memories(self.stored)),
            )
            store.begin(leaving)
            if self.kind == "host" and forwarding.turns(leaving, self.stored, others.forwarders):
                held.push(claiming.pop_all())
        return others, leaving

    def _all_away(
        self,
        prepared: Prepared,
        record: Record,
        world: World,
        held: ExitStack,
        remarks: tuple[str, ...],
    ) -> Outcome:
        remarks += (*self.see_off(world, prepared.plan), *left_alone(prepared.seen))
        Process.reap()
        indexes = [index for (node, _), index in prepared.seen.indexes.items() if node == WORLD]
        shared = sum(len(change.ops) for change in prepared.plan.changes if change.fact.is_shared)

        def progress(count: int) -> None:
            if count >= shared:  # they come first
                held.close()
            self.heard.progress(count)

        try:
            report = world.watch(_take_away, progress, prepared.plan.ops, world.paths)
            settle.links_gone({WORLD: indexes}, Indexes(record.slot).range)
            process.forget_ended(servers_folder(self.name))
            files.remove_empty(self.name)
            etc_links.remove_stale(self.name)
            files.remove_made_directories()
            store.forget(self.name)
        except (KernelError, OSError) as error:
            raise unfinished(error) from error
        return Outcome(prepared.plan, report, None, "host", remarks)


def _take_away(ops: list[object], paths: Paths, progress: Callable[[int], None]) -> Report:
    return execute(ops, paths, progress, onward=True)  # type: ignore[arg-type]
