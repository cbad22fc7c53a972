"""The zone of firewalld(1) that a bridge is in.

Where firewalld runs, every packet passes its chains besides ours, and an interface that is in no
zone gets the default one, which rejects what nodes send: to each other, where frames within a
bridge pass the firewall, to the outside and to the lab's own name servers. So a lab's bridges go to
the zone ``trusted``, whose chains let everything pass: what may pass is judged by the lab's own
table (:mod:`bascule.plan.firewall`), with firewalld and without. A zone of our own would say no
more, and could only be had by a change of firewalld's files and a reload, which takes from
everybody what he has set since the last one.

It is firewalld's setting for as long as it runs (no file is written), so a reload or a restart
loses it: it is missing then, and `up` puts it back. Whoever wants a bridge in another zone puts it
there; that is left alone.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import ClassVar

from bascule.kernel.fact import Claim, Fact, Known, Op, WorldFact, WorldOp
from bascule.kernel.noun import Noun
from bascule.kernel.op import ChangeZone, Effect, Indexes, Key
from bascule.kernel.told import Kind

TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class Zone(WorldFact):
    """The bridge is in the zone. ``kept``: firewalld's files say so, too."""

    noun: ClassVar[Kind] = "zone"

    bridge: str
    zone: str = TRUSTED
    kept: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        return ("zone", self.bridge)

    @property
    def is_others(self) -> bool:
        """Whether somebody else has put it there: where we would not, or for good."""
        return self.kept or self.zone != TRUSTED

    def settled(self, known: Known) -> Fact | None:
        """What others have put there is theirs."""
        return None if self.is_others else self

    def is_mine(self, claim: Claim) -> bool:
        """A bridge of that name that is somebody else's is in his zone."""
        index = claim.seen.get(("", self.bridge))
        return index is None or index in claim.indexes

    def describe(self) -> str:
        return f"{self.bridge} in firewalld's zone {self.zone}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetZone(self.bridge, self.zone),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetZone(self.bridge, self.zone, leave=True),)


@dataclass(frozen=True, slots=True)
class SetZone(WorldOp):
    """``firewall-cmd --change-interface``, or ``--remove-interface``; nothing where firewalld has
    ended since, as its rules have gone with it."""

    bridge: str
    zone: str
    leave: bool = False

    def effect(self) -> Effect:
        return ChangeZone(self.bridge, self.zone, self.leave)

    def shell(self) -> tuple[str, ...]:
        what = "remove" if self.leave else "change"
        words = ("firewall-cmd", f"--zone={self.zone}", f"--{what}-interface={self.bridge}")
        return (shlex.join(words),)

    def undo(self) -> Op | None:
        return SetZone(self.bridge, self.zone, not self.leave)


def command(bridge: str) -> str:
    """What puts a bridge into our zone, in sh."""
    return SetZone(bridge, TRUSTED).words


# Asked of firewalld itself (bascule.host.firewalld); a reload of it changes nf_tables, and is heard
# there.
NOUN = Noun("zone")
