"""Firewall rules (nft(8)).

Where net.bridge.bridge-nf-call-iptables is 1, the kernel sends frames that only cross a bridge
through the FORWARD hook of the machine's IP firewall, and a policy of drop there (Docker's habit)
cuts nodes of one network from each other. Accepting in a table of our own does not help: a packet
has to pass every base chain of the hook. Turning the sysctl off would change the machine for
everybody. So one rule goes to the head of the chain that drops, for frames that come from and go to
this very bridge; a comment marks it as ours, and `down` takes out that rule and nothing else. The
same for what comes from a bridge or goes to it where the lab asks for a way out or in: its own
table (:mod:`bascule.plan.firewall`) has judged that already.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import ClassVar

from bascule.kernel.fact import Fact, Op, WorldFact, WorldOp
from bascule.kernel.op import DropRule, Effect, Indexes, Key, RunNft
from bascule.kernel.told import Kind

COMMENT = "bascule: "  # what begins the comments of our rules
WITHIN, FROM, TO = "within", "from", "to"
_VERBS = {WITHIN: "stays on", FROM: "comes from", TO: "goes to"}
_SPECIAL = re.compile(r'[^A-Za-z0-9 "_-]')
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/.\\-]*\Z")


def is_plain(name: str) -> bool:
    """Whether nft takes the name of a table or a chain as it stands."""
    return _PLAIN.match(name) is not None


@dataclass(frozen=True, slots=True)
class ForwardAccept(WorldFact):
    """A foreign base chain lets pass what stays ``within`` the bridge, comes ``from`` it or goes
    ``to`` it. The rule is there ``copies`` times; ``handles`` are the kernel's numbers of them."""

    noun: ClassVar[Kind] = "forward_accept"

    family: str
    table: str
    chain: str
    bridge: str
    way: str = WITHIN
    copies: int = 1
    handles: tuple[int, ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return ("forward", self.family, self.table, self.chain, self.bridge, self.way)

    @property
    def called(self) -> str:
        return self.bridge

    @property
    def comment(self) -> str:
        return f"{COMMENT}{self.way} {self.bridge}"

    def place(self) -> str:
        """The chain in nft's words. nft takes no quotes here, so that only plain names can be dealt
        with (:func:`is_plain`)."""
        return f"{self.family} {self.table} {self.chain}"

    def matches(self) -> str:
        """What it asks of a packet, in nft's words."""
        asked = {"iifname": self.way != TO, "oifname": self.way != FROM}
        return " ".join(f'{name} "{self.bridge}"' for name, is_asked in asked.items() if is_asked)

    def describe(self) -> str:
        return (
            f"rule in {self.family} {self.table} {self.chain}: accept what {_VERBS[self.way]} "
            f"{self.bridge}"
        )

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (InsertRule(self),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return tuple(DeleteRule(self, handle) for handle in self.handles) or (DeleteRule(self),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (
            tuple(DeleteRule(self, handle) for handle in old.handles[1:])
            if isinstance(old, ForwardAccept)
            else ()
        )

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is there {old.copies} times",) if isinstance(old, ForwardAccept) else ()


@dataclass(frozen=True, slots=True)
class InsertRule(WorldOp):
    """``nft insert rule``. ``back``: it undoes a deletion that may not have been made, or not of
    the last one."""

    rule: ForwardAccept
    back: bool = False

    def text(self) -> str:
        r = self.rule
        return f'insert rule {r.place()} {r.matches()} counter accept comment "{r.comment}"'

    def effect(self) -> Effect:
        return RunNft(self.text() + "\n", unless=self.rule.key if self.back else None)

    def shell(self) -> tuple[str, ...]:
        return (f"nft {shlex.quote(self.text())}",)

    def undo(self) -> Op | None:
        return None if self.back else DeleteRule(self.rule)


@dataclass(frozen=True, slots=True)
class DeleteRule(WorldOp):
    """``nft delete rule``; 0: as often as it is there."""

    rule: ForwardAccept
    handle: int = 0

    def effect(self) -> Effect:
        return DropRule(self.rule.key, self.handle)

    def shell(self) -> tuple[str, ...]:
        r = self.rule
        place = f"{r.family} {shlex.quote(r.table)} {shlex.quote(r.chain)}"
        if self.handle:
            return (f"nft delete rule {place} handle {self.handle}",)
        # As nft lists it, with its comment, without, or with one of iptables, whose text it does
        # not show before 1.1.
        xt = f'(xt match "comment" +|comment "{COMMENT}[^"]*" +)?'
        counter = "(counter packets [0-9]+ bytes [0-9]+ +)?"
        matches = _SPECIAL.sub(r"\\\g<0>", r.matches())
        line = f'^\\s*{matches} +{xt}{counter}accept( comment "{COMMENT}[^"]*")? # handle ([0-9]+)$'
        find = shlex.quote(f"s/{line}/\\4/p")
        return (
            (
                f"nft -a list chain {place} | sed -nE {find} | xargs -rn1 nft delete rule {place} "
                f"handle"
            ),
        )

    def undo(self) -> Op | None:
        return InsertRule(self.rule, back=True)
