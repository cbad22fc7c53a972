"""What changes in the labs that are up: the difference between two looks, one whenever the kernel
says that something happened.

A lab that a command works on is not looked at before that command has ended, so that both looks are
at a lab at rest, and what it deviates in is nobody's work but somebody else's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bascule.engine import claims, worlds
from bascule.engine.asked import checked_name
from bascule.engine.options import Listener
from bascule.engine.prepare import drift, stored_topology
from bascule.engine.views import Event
from bascule.errors import BasculeError, StateError
from bascule.host.monitor import Bell, Files, Monitor, wait
from bascule.host.world import World
from bascule.kernel.fact import Fact
from bascule.kernel.op import Indexes, Key
from bascule.plan.diff import Plan, Sign
from bascule.state import folder, lock, store
from bascule.state.record import Record, Stored
from bascule.topology.model import Assigned

# seconds between looks where nothing was heard: for settings, of which the kernel does not tell
_REGULAR = 5.0
_SHARE = 20  # at most one part in so many of the time is spent on regular looks
# seconds until a lab that a command works on is looked at again, if nothing is heard of it
_AT_WORK = 0.2
_TRIES = 20
_STATE_FILES = frozenset({"lab.json", "journal.json", "lock"})


@dataclass(slots=True)
class Seen:
    """One lab at the last look. ``plan`` is what it deviates in."""

    record: Record
    topology: Assigned
    facts: dict[Key, Fact]
    plan: Plan


@dataclass(slots=True)
class Watcher:
    """Looks, and sleeps between looks. ``names`` are the labs that matter; empty for all."""

    names: Sequence[str] = ()
    reader: int = -1
    seen: dict[str, Seen] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    _monitors: dict[str, Monitor] = field(default_factory=dict)
    _state: Files = field(default_factory=Files)
    _pause: float = _REGULAR

    def close(self) -> None:
        """Close all that listens."""
        for monitor in self._monitors.values():
            monitor.close()
        self._monitors.clear()
        self._state.close()

    def look(self) -> list[Event]:
        """Look at all labs: what has changed since the last look."""
        begun = time.monotonic()
        now = [name for name in folder.labs() if not self.names or name in self.names]
        self._watch_state(now)
        events: list[Event] = []
        self._pause = _REGULAR
        for name in [*(name for name in self.seen if name not in now), *now]:
            if lock.is_held(name):
                self._pause = _AT_WORK
                continue
            events.extend(self._look(name))
        self._close_unused()
        self._pause = max(self._pause, (time.monotonic() - begun) * _SHARE)
        return events

    def wait(self, more: dict[int, Bell] | None = None, seconds: float = _REGULAR) -> bool:
        """Sleep until another look may find something. Whether a bell rang that is heard."""
        bells = dict(more or {})
        bells |= self._state.bells()
        for monitor in self._monitors.values():
            bells |= monitor.bells()
        return wait(bells, min(seconds, self._pause), self.reader)

    def _look(self, name: str) -> Iterator[Event]:
        try:
            found = self._compare(name)
            self.problems.pop(name, None)
        except (
            BasculeError,
            OSError,
        ) as error:  # a world may end at any moment: then the next look knows
            self.problems[name] = str(error)
            return
        before = self.seen.pop(name, None)
        if found is not None:
            self.seen[name] = found
        moment = datetime.now(UTC)
        if before is None and found is not None:
            yield Event(moment, name, "+", "lab", f"lab {name}", "", "", False, name)
        yield from _differences(name, before, found, moment)
        if before is not None and found is None:
            lost = store.load(name).newest is not None
            yield Event(
                moment,
                name,
                "-",
                "lab",
                f"lab {name}",
                "",
                "the keeper has ended" if lost else "",
                lost,
                name,
            )

    def _compare(self, name: str) -> Seen | None:
        """The lab now; None for one that is not there. Raises what reading its record raises."""
        for _try in range(_TRIES):
            read = store.load(name)
            stored = worlds.without_lost(read)
            record, world = stored.newest, worlds.existing(stored)
            known = self.seen.get(name)
            same = known is not None and known.record == record
            lab = known.topology if known is not None and same else stored_topology(record)
            if record is None or world is None or lab is None:
                return None
            found = self._facts(name, lab, stored, record, world)
            if store.load(name) == read:
                return found
        raise StateError(f"lab {name} changes all the time: other commands work on it; try again")

    def _facts(
        self, name: str, lab: Assigned, stored: Stored, record: Record, world: World
    ) -> Seen:
        # before the look: what happens during it is heard
        monitor = self._monitor(name, record, world)
        facts, plan = drift(
            name, lab, stored, world, Indexes(record.slot), claims.around(name, world)
        )
        paths = [path for fact in facts for path in fact.files]
        folders: dict[str, frozenset[str] | None] = {
            os.path.dirname(world.paths.of(path)): None for path in paths
        }
        monitor.watch(
            {
                "/run": frozenset({"netns"}),
                "/run/netns": None,
                "/etc": frozenset({"netns"}),
                **folders,
            }
        )
        return Seen(record, lab, {fact.key: fact for fact in facts}, plan)

    def _monitor(self, name: str, record: Record, world: World) -> Monitor:
        """One for all labs of the host, one for each private world."""
        place = _place(name, record)
        known = self._monitors.get(place)
        if known is not None and known.world.kind == "private" and repr(known.world) != repr(world):
            known.close()
            known = None
        if known is None:
            known = self._monitors[place] = Monitor(world)
        return known

    def _close_unused(self) -> None:
        used = {_place(name, seen.record) for name, seen in self.seen.items()}
        for place in [
            place for place, monitor in self._monitors.items() if place not in used or monitor.ended
        ]:
            self._monitors.pop(place).close()

    def _watch_state(self, labs: Sequence[str]) -> None:
        root = folder.root()
        folders: dict[str, frozenset[str] | None] = {
            os.path.dirname(root): frozenset({os.path.basename(root)}),
            root: None,
        }
        self._state.watch({**folders, **{os.path.join(root, name): _STATE_FILES for name in labs}})


def events(
    labs: Sequence[str] = (), listener: Listener | None = None, reader: int = -1
) -> Generator[Event, None, None]:
    """What changes in these labs, or in all, until the iterator is closed. Once nobody reads any
    more from the pipe or socket whose other end is the descriptor ``reader``, BrokenPipeError is
    raised. Raises :class:`InputError` where no lab can be called that."""
    names = tuple(checked_name(name) for name in labs)
    return _events(names, listener or Listener(), reader)


def _events(names: Sequence[str], listener: Listener, reader: int) -> Generator[Event, None, None]:
    told: dict[str, str] = {}
    with closing(Watcher(names, reader)) as watcher:
        watcher.look()
        listener.watching(tuple(watcher.seen))
        while True:
            for name, problem in watcher.problems.items():
                if told.get(name) != problem:
                    listener.problem(problem)
            told = dict(watcher.problems)
            watcher.wait()
            yield from watcher.look()


def _place(name: str, record: Record) -> str:
    return "" if record.world == "host" else name


def _differences(
    name: str, before: Seen | None, now: Seen | None, moment: datetime
) -> Iterator[Event]:
    old = before.facts if before is not None else {}
    new = now.facts if now is not None else {}
    deviations = (
        {change.fact.key: change.reason for change in now.plan.changes} if now is not None else {}
    )
    if now is None and store.load(name).newest is not None:
        deviations = dict.fromkeys(old, "the keeper has ended")

    def event(sign: Sign, before: Fact | None, after: Fact | None) -> Event:
        fact = after or before
        assert fact is not None  # noqa: S101 (one of them is there)
        reason = deviations.get(fact.key)
        told = (fact.noun, fact.describe(), fact.node, reason or "", reason is not None)
        return Event(moment, name, sign, *told, fact.called, before, after)

    for key, fact in old.items():
        if key not in new:
            yield event("-", fact, None)
    for key, fact in new.items():
        if key not in old:
            yield event("+", None, fact)
        elif fact != old[key]:
            yield event("~", old[key], fact)
