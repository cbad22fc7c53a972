"""Firewall rules (nft(8)).

Where net.bridge.bridge-nf-call-iptables is 1, the kernel sends frames that only cross a bridge through the FORWARD hook of
the machine's IP firewall, and a policy of drop there (Docker's habit) cuts nodes of one network from each other. Accepting in a
table of our own does not help: a packet has to pass every base chain of the hook. Turning the sysctl off would change
the machine for everybody. So one rule goes to the head of the chain that drops, for frames that come from and go to this
very bridge; a comment marks it as ours, and `down` takes out that rule and nothing else. The same for what comes from a bridge or
goes to it where the lab asks for a way out or in: its own table (:mod:`bascule.plan.firewall`) has judged that already.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace

from bascule.kernel.op import WORLD, DropRule, Effect, Fact, Indexes, Key, Op, RunNft

COMMENT = "bascule: "  # what begins the comments of our rules
WITHIN, FROM, TO = "within", "from", "to"
_VERBS = {WITHIN: "stays on", FROM: "comes from", TO: "goes to"}
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/.\\-]*\Z")


def is_plain(name: str) -> bool:
    """Whether nft takes the name of a table or a chain as it stands."""
    return _PLAIN.match(name) is not None


@dataclass(frozen=True, slots=True)
class ForwardAccept:
    """A foreign base chain lets pass what stays ``within`` the bridge, comes ``from`` it or goes ``to`` it. ``handle`` is the
    kernel's number of the rule."""

    family: str
    table: str
    chain: str
    bridge: str
    way: str = WITHIN
    handle: int = field(default=0, compare=False)

    @property
    def node(self) -> str:
        return WORLD

    @property
    def key(self) -> Key:
        return ("forward", self.family, self.table, self.chain, self.bridge, self.way)

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return ()

    @property
    def comment(self) -> str:
        return f"{COMMENT}{self.way} {self.bridge}"

    def place(self) -> str:
        """The chain in nft's words. nft takes no quotes here, so that only plain names can be dealt with (:func:`is_plain`)."""
        return f"{self.family} {self.table} {self.chain}"

    def describe(self) -> str:
        return f"rule in {self.family} {self.table} {self.chain}: accept what {_VERBS[self.way]} {self.bridge}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (InsertRule(self),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteRule(self),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class InsertRule:
    """``nft insert rule``. ``back``: it undoes a deletion that may not have been made."""

    rule: ForwardAccept
    back: bool = False

    @property
    def node(self) -> str:
        return WORLD

    def text(self) -> str:
        r = self.rule
        come, go = f'iifname "{r.bridge}" ' * (r.way != TO), f'oifname "{r.bridge}" ' * (r.way != FROM)
        return f'insert rule {r.place()} {come}{go}counter accept comment "{r.comment}"'

    def effect(self) -> Effect:
        r = self.rule
        return RunNft(self.text() + "\n", unless=(r.family, r.table, r.chain, r.comment) if self.back else None)

    def shell(self) -> tuple[str, ...]:
        return (f"nft {shlex.quote(self.text())}",)

    def undo(self) -> Op | None:
        return None if self.rule.handle else DeleteRule(self.rule)


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """``nft delete rule``; the handle is looked up by the comment where it is not known."""

    rule: ForwardAccept

    @property
    def node(self) -> str:
        return WORLD

    def effect(self) -> Effect:
        r = self.rule
        return DropRule(r.family, r.table, r.chain, r.comment, r.handle)

    def shell(self) -> tuple[str, ...]:
        r = self.rule
        chain = f"nft -a list chain {r.family} {shlex.quote(r.table)} {shlex.quote(r.chain)}"
        find = f"sed -n 's/.*\"{r.comment}\".* # handle //p'"
        delete = f"xargs -r nft delete rule {r.family} {shlex.quote(r.table)} {shlex.quote(r.chain)} handle"
        return (f"{chain} | {find} | {delete}",)

    def undo(self) -> Op | None:
        return InsertRule(replace(self.rule, handle=0), back=True)
