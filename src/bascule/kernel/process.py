"""A program serves the lab, with this configuration.

Which of all processes is ours tells a mark, a random word in its environment; which of ours, its
place; and with what it runs, its command line, where the name of a configuration holds a digest of
the text, so that another text is another configuration. (:class:`bascule.kernel.program.Instance`)
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from posixpath import dirname
from typing import ClassVar

from bascule.kernel.fact import Fact, Known, Op, Sought, WorldFact, WorldOp
from bascule.kernel.op import Effect, EndProcess, Indexes, Key, RunProcess, TellProcess
from bascule.kernel.program import Instance
from bascule.kernel.told import UNTOLD, Kind


@dataclass(frozen=True, slots=True)
class Process(WorldFact):
    """The program of ``at`` runs there with these arguments. ``deaf``: it could not read its files
    when it was started, and does not look again. ``stopped`` (SIGSTOP): it answers nobody.
    ``listens``: it can be told others while it runs."""

    noun: ClassVar[Kind] = "process"

    at: Instance = field(metadata=UNTOLD)
    arguments: tuple[str, ...]
    deaf: bool = False
    stopped: bool = False
    listens: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        return self.at.key

    def comparable(self) -> Process:
        """What of it can be made again."""
        return replace(self, deaf=False, stopped=False)

    @property
    def is_outside(self) -> bool:
        return self.at.program.outside

    def sought(self, scope: Sought) -> None:
        scope.processes.add(self.at)

    def settled(self, known: Known) -> Fact | None:
        """What can't read its files did not read them when it was started either."""
        ours = bool(known.deaf) and dirname(self.at.place) == known.deaf
        return replace(self, deaf=ours)

    def describe(self) -> str:
        return self.at.program.title(self.arguments)

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StartProcess(self.at, self.arguments),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StopProcess(self.at, self.arguments),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if isinstance(old, Process) and old.deaf:
            # ended before what it reads is put right: who is killed in between finds none, and
            # starts one
            return None
        if isinstance(old, Process) and self._can_be_told(old):
            return (ChangeProcess(self.at, self.arguments, old.arguments),)
        return (*old.remove(indexes), *self.create(indexes))

    def _can_be_told(self, old: Process) -> bool:
        kept = self.at.program.untold
        same = self.arguments[:kept] == old.arguments[:kept]
        return old.listens and not old.stopped and same

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, Process):
            return ()
        if old.deaf or old.stopped:
            return ("can't read its files" if old.deaf else "is stopped",)
        program = self.at.program
        if self._can_be_told(old):
            return ("other ports are published",)
        return (program.differs.format(program.configuration(old.arguments)),)


@dataclass(frozen=True, slots=True)
class StartProcess(WorldOp):
    """Which puts itself into the background when it answers."""

    at: Instance
    arguments: tuple[str, ...]

    def effect(self) -> Effect:
        return RunProcess(self.at, self.arguments)

    def shell(self) -> tuple[str, ...]:
        command = shlex.join((self.at.program.name, *self.arguments))
        where = " $KEEPER  # outside: from the machine's own namespaces"
        return (f"{command}{where}" if self.at.program.outside else command,)

    def undo(self) -> Op | None:
        return StopProcess(self.at, self.arguments)


@dataclass(frozen=True, slots=True)
class ChangeProcess(WorldOp):
    """Which goes on, with other arguments than the ``old`` ones."""

    at: Instance
    arguments: tuple[str, ...]
    old: tuple[str, ...]

    def effect(self) -> Effect:
        return TellProcess(self.at, self.arguments)

    def shell(self) -> tuple[str, ...]:
        program = self.at.program
        told = self.arguments[program.untold :]
        command = shlex.join((program.teller, *told, self.at.socket))
        return (f"{command}  # from the world",)

    def undo(self) -> Op | None:
        return ChangeProcess(self.at, self.old, self.arguments)


@dataclass(frozen=True, slots=True)
class StopProcess(WorldOp):
    """SIGTERM, and SIGKILL for one that does not listen."""

    at: Instance
    arguments: tuple[str, ...]

    def effect(self) -> Effect:
        return EndProcess(self.at)

    def shell(self) -> tuple[str, ...]:
        program, note = self.at.program, self.at.note
        if program.noted:
            return (f"kill $(cat {note}); rm -f {note}",)
        command = f"pkill -f '{shlex.join((program.name, *self.arguments[:1]))}'"
        return (f"{command}  # outside" if program.outside else command,)

    def undo(self) -> Op | None:
        return StartProcess(self.at, self.arguments)
