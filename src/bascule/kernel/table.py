"""The lab's own table of rules (nft(8)): one transaction puts it there, whole, in the place of an older one.

What nft prints of a table is not what was written: elements are sorted, words replaced. So a table is known to be as it was
left by a digest of both, its text and what nft printed right after, which the record keeps.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, field

from bascule.kernel.op import WORLD, Effect, Fact, Indexes, Key, Op, RunNft

FAMILY = "inet"


def table_name(lab: str) -> str:
    """The name of a lab's table."""
    return f"bascule-{lab}"


def comment(lab: str) -> str:
    """What stands in the table and says whose it is."""
    return f"bascule lab {lab}"


def digest(text: str, listing: str) -> str:
    """What the record keeps."""
    return hashlib.sha256(f"{text}\0{listing}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Table:
    """The table ``inet NAME``. ``text`` is what makes it, empty where the kernel has another than was left there. ``listing`` is
    what nft prints of it now; ``owned`` is False without our comment."""

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
        return f"nft table {FAMILY} {self.name}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetTable(self.name, self.text, ""),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteTable(self.name, self.listing),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (SetTable(self.name, self.text, old.listing if isinstance(old, Table) else ""),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ("its rules are others",)


@dataclass(frozen=True, slots=True)
class SetTable:
    """``nft -f -`` with the whole table. ``old`` is what nft printed of the one before."""

    name: str
    text: str
    old: str = field(repr=False)

    @property
    def node(self) -> str:
        return WORLD

    def script(self) -> str:
        """Deleting needs a table that is there: it is made first (`destroy` needs nft 1.0.7 and Linux 6.3)."""
        return f"table {FAMILY} {self.name}\ndelete table {FAMILY} {self.name}\n{self.text}"

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
        return RunNft(f"table {FAMILY} {self.name}\ndelete table {FAMILY} {self.name}\n")

    def shell(self) -> tuple[str, ...]:
        return (f"nft delete table {FAMILY} {shlex.quote(self.name)}",)

    def undo(self) -> Op | None:
        return SetTable(self.name, self.old, "") if self.old else None
