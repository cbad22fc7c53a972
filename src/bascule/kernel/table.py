"""The lab's own tables of rules (nft(8)): one transaction puts them there, whole, in the place of
older ones.

There are two of one name, which come and go together: one of the family ``inet``, and where
something is bound to a bridge's port one of the family ``bridge``.

What the kernel tells of a table is not what was written. So a table is known to be as it was left
by two digests, of its text and of what the kernel told right after (its image), which the record
keeps.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import Claim, Fact, Known, Op, WorldFact, WorldOp
from bascule.kernel.noun import Noun
from bascule.kernel.op import Effect, Indexes, Key, RunNft
from bascule.kernel.told import Kind

FAMILY, BRIDGE_FAMILY = "inet", "bridge"
FAMILIES = (FAMILY, BRIDGE_FAMILY)


def table_name(lab: str) -> str:
    """The name of a lab's table."""
    return f"bascule-{lab}"


def comment(lab: str) -> str:
    """What stands in the table and says whose it is."""
    return f"bascule lab {lab}"


def noted(text: str, image: str) -> str:
    """What the record keeps."""
    return f"{hashlib.sha256(text.encode()).hexdigest()} {image}"


def families(text: str) -> tuple[str, ...]:
    """Of which families the tables in a text, or in what nft prints, are."""
    return tuple(re.findall(r"^table (\w+) ", text, re.MULTILINE))


def _removal(name: str, there: Iterable[str]) -> str:
    """The transaction that takes away the tables of these families. Deleting needs a table that is
    there: it is made first (`destroy` needs nft 1.0.7 and Linux 6.3)."""
    return "".join(
        f"table {family} {name}\ndelete table {family} {name}\n" for family in dict.fromkeys(there)
    )


def _creation(name: str, text: str) -> str:
    """What makes the transaction fail where there is such a table already, which the text would be
    added to. A comment counts only where a table is made."""
    found = re.findall(r"^table (\w+) .*\n\s*(comment .*)", text, re.MULTILINE)
    return "".join(f"create table {family} {name} {{ {comment}; }}\n" for family, comment in found)


@dataclass(frozen=True, slots=True)
class Table(WorldFact):
    """The tables NAME. ``text`` is what makes them, empty where the kernel has others than were
    left there. Of those that are ``there`` now (their families), ``image`` is what tells them from
    others, and ``listing`` what nft prints of them, where that was asked for; ``owned`` is False
    where one of them lacks our comment."""

    noun: ClassVar[Kind] = "table"
    judges_flows: ClassVar[bool] = True

    name: str
    text: str
    image: str = field(default="", compare=False, repr=False)
    there: tuple[str, ...] = field(default=(), compare=False)
    listing: str = field(default="", compare=False, repr=False)
    owned: bool = field(default=True, compare=False)

    @property
    def key(self) -> Key:
        return ("table", self.name)

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key,)

    def is_mine(self, claim: Claim) -> bool:
        return self.owned

    def settled(self, known: Known) -> Fact | None:
        """Of which the kernel tells the same as when it was made, it has the text that it was made
        of. Of another one only nft can say how to make it again."""
        wanted = known.want.get(self.key)
        text = wanted.text if isinstance(wanted, Table) else ""
        if self.image and known.tables.get(self.name) == noted(text, self.image):
            return replace(self, text=text)
        if known.listing is None or not self.owned:
            return self
        return replace(self, listing=known.listing(self.name, self.there))

    def comparable(self) -> Fact:
        """One that others made is what nft prints of it: nobody knows of what text."""
        return replace(self, text=self.text or self.listing)

    def describe(self) -> str:
        return (
            f"nft table {' and '.join(families(self.text) or self.there or (FAMILY,))} {self.name}"
        )

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetTable(self.name, self.text),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteTable(self.name, self.there or families(self.text), self.listing),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        there, listing = (old.there, old.listing) if isinstance(old, Table) else ((), "")
        return (SetTable(self.name, self.text, there, listing),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ("its rules are others",)


@dataclass(frozen=True, slots=True)
class SetTable(WorldOp):
    """``nft -f -`` with the whole tables, in the place of those ``there`` (their families), of
    which nft printed ``old``."""

    name: str
    text: str
    there: tuple[str, ...] = ()
    old: str = field(default="", repr=False)

    def script(self) -> str:
        """What nft reads. To take tables away costs the kernel a grace period or two (some 12 ms):
        so not where none is."""
        if not self.there:
            return _creation(self.name, self.text) + self.text
        return _removal(self.name, (*families(self.text), *self.there)) + self.text

    def effect(self) -> Effect:
        return RunNft(self.script(), self.name, self.text)

    def shell(self) -> tuple[str, ...]:
        return (f"nft -f - <<'END'\n{self.script()}END",)

    def undo(self) -> Op | None:
        made = families(self.text)
        return (
            SetTable(self.name, self.old, made, self.text)
            if self.old
            else DeleteTable(self.name, made, self.text)
        )


@dataclass(frozen=True, slots=True)
class DeleteTable(WorldOp):
    """``nft delete table`` for each of those ``there``, of which nft printed ``old``."""

    name: str
    there: tuple[str, ...]
    old: str = field(default="", repr=False)

    def effect(self) -> Effect:
        return RunNft(_removal(self.name, self.there))

    def shell(self) -> tuple[str, ...]:
        return tuple(f"nft delete table {family} {shlex.quote(self.name)}" for family in self.there)

    def undo(self) -> Op | None:
        return SetTable(self.name, self.old) if self.old else None


# Read over a socket of its own (bascule.host.tables).
NOUN = Noun("table", rules=(7,))  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
