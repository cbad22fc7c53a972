"""The lab's own tables of rules (nft(8)): one transaction puts them there, whole, in the place of older ones.

There are two of one name, which come and go together: one of the family ``inet``, and where something is bound to a bridge's port
one of the family ``bridge``.

What nft prints of a table is not what was written: elements are sorted, words replaced. So a table is known to be as it was
left by a digest of both, its text and what nft printed right after, which the record keeps.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass, field

from bascule.kernel.op import WORLD, Effect, Fact, Indexes, Key, Op, RunNft

FAMILY, BRIDGE_FAMILY = "inet", "bridge"
FAMILIES = (FAMILY, BRIDGE_FAMILY)


def table_name(lab: str) -> str:
    """The name of a lab's table."""
    return f"bascule-{lab}"


def comment(lab: str) -> str:
    """What stands in the table and says whose it is."""
    return f"bascule lab {lab}"


def digest(text: str, listing: str) -> str:
    """What the record keeps."""
    return hashlib.sha256(f"{text}\0{listing}".encode()).hexdigest()


def families(text: str) -> tuple[str, ...]:
    """Of which families the tables in a text, or in what nft prints, are."""
    return tuple(re.findall(r"^table (\w+) ", text, re.MULTILINE))


def _removal(name: str, *texts: str) -> str:
    """The transaction that takes away the tables of all these texts. Deleting needs a table that is there: it is made first
    (`destroy` needs nft 1.0.7 and Linux 6.3)."""
    found = dict.fromkeys(family for text in texts for family in families(text))
    return "".join(f"table {family} {name}\ndelete table {family} {name}\n" for family in found)


@dataclass(frozen=True, slots=True)
class Table:
    """The tables NAME. ``text`` is what makes them, empty where the kernel has others than were left there. ``listing`` is what
    nft prints of them now; ``owned`` is False where one of them lacks our comment."""

    name: str
    text: str
    listing: str = field(default="", compare=False, repr=False)
    owned: bool = field(default=True, compare=False)

    @property
    def node(self) -> str:
        return WORLD

    @property
    def key(self) -> Key:
        return ("table", self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key,)

    def describe(self) -> str:
        return f"nft table {' and '.join(families(self.text or self.listing) or (FAMILY,))} {self.name}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetTable(self.name, self.text, ""),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteTable(self.name, self.listing or self.text),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (SetTable(self.name, self.text, old.listing if isinstance(old, Table) else ""),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ("its rules are others",)


@dataclass(frozen=True, slots=True)
class SetTable:
    """``nft -f -`` with the whole tables. ``old`` is what nft printed of those before."""

    name: str
    text: str
    old: str = field(repr=False)

    @property
    def node(self) -> str:
        return WORLD

    def script(self) -> str:
        """What nft reads."""
        return _removal(self.name, self.text, self.old) + self.text

    def effect(self) -> Effect:
        return RunNft(self.script(), self.name, self.text)

    def shell(self) -> tuple[str, ...]:
        return (f"nft -f - <<'END'\n{self.script()}END",)

    def undo(self) -> Op | None:
        return SetTable(self.name, self.old, self.text) if self.old else DeleteTable(self.name, self.text)


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """``nft delete table``"""

    name: str
    old: str = field(repr=False)

    @property
    def node(self) -> str:
        return WORLD

    def effect(self) -> Effect:
        return RunNft(_removal(self.name, self.old))

    def shell(self) -> tuple[str, ...]:
        return tuple(f"nft delete table {family} {shlex.quote(self.name)}" for family in families(self.old))

    def undo(self) -> Op | None:
        return SetTable(self.name, self.old, "") if self.old else None
