"""The way out of a private world: pasta (passt(1)), a process that carries its packets over sockets
of the machine.

It is on neither side of the fence alone: it belongs to the world, and with its keeper it ends; but
its sockets are the machine's, so that it is started from outside. A published port is one that it
listens on.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import pairwise

from bascule.kernel.fact import Fact, Op, WorldFact, WorldOp
from bascule.kernel.op import Effect, EndUplink, Indexes, Key, RunUplink

PROGRAM = "pasta"


@dataclass(frozen=True, slots=True)
class WorldUplink(WorldFact):
    """A pasta serves the world, with these options for its ports."""

    options: tuple[str, ...]

    @property
    def key(self) -> Key:
        return ("world", "uplink")

    def describe(self) -> str:
        following = pairwise(self.options)
        ports = sum(option in ("-t", "-u") and value != "none" for option, value in following)
        return "way out of the private world" + (
            f", with {ports} published ports or ranges" if ports else ""
        )

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StartUplink(self.options),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StopUplink(self.options),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (*old.remove(indexes), *self.create(indexes))

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ("other ports are published: connections through it break",)


@dataclass(frozen=True, slots=True)
class StartUplink(WorldOp):
    """pasta, which puts itself into the background when it is ready."""

    options: tuple[str, ...]

    def effect(self) -> Effect:
        return RunUplink(self.options)

    def shell(self) -> tuple[str, ...]:
        return (
            (
                f"{PROGRAM} {shlex.join(self.options)} $KEEPER  # outside: from the machine's own "
                f"namespaces"
            ),
        )

    def undo(self) -> Op | None:
        return StopUplink(self.options)


@dataclass(frozen=True, slots=True)
class StopUplink(WorldOp):
    """SIGTERM"""

    options: tuple[str, ...]

    def effect(self) -> Effect:
        return EndUplink()

    def shell(self) -> tuple[str, ...]:
        return (f"pkill -f '{PROGRAM} --config-net'  # outside",)

    def undo(self) -> Op | None:
        return StartUplink(self.options)
