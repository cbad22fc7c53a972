"""What every fact and every operation answers, and the empty answers.

The rest of the house asks these questions and names no noun. A noun (one file here) answers those
for which it has something to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from bascule.kernel.op import WORLD, Effect, Indexes, Key

Place = tuple[str, str]  # a namespace, and the name of something in it


class Op:
    """One change: in which namespace, what it does, the lines of sh that do the same, and the way
    back, None where there is none."""

    __slots__ = ()

    if TYPE_CHECKING:  # a field, or a property: what stood here would count as a field's default

        @property
        def node(self) -> str: ...

    def effect(self) -> Effect:
        """What is done, as data."""
        raise NotImplementedError

    def shell(self) -> tuple[str, ...]:
        """The lines of sh that do the same."""
        raise NotImplementedError

    def undo(self) -> Op | None:
        """What takes it back."""
        return None


class Fact:
    """One thing that is true of the kernel.

    ``within`` holds the marks of the things that take this fact with them when they go;
    ``contains`` the marks that this fact gives to others.
    """

    __slots__ = ()

    late: ClassVar[bool] = False  # it goes after all that is new has come: it may hold that
    section: ClassVar[int] = 5  # of a script in the classic spelling (:mod:`bascule.plan.classic`)

    @property
    def key(self) -> Key:
        """What tells it from all others; the first word is the noun's."""
        raise NotImplementedError

    if TYPE_CHECKING:

        @property
        def node(self) -> str: ...

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return ()

    @property
    def at(self) -> str:
        """The interface in ``node`` that it is at; empty where it is at none."""
        return ""

    @property
    def rank(self) -> int:
        """Its place among what goes: 0 before all, 1 what holds things, 2 the rest."""
        return 1 if self.contains else 2

    @property
    def frees(self) -> str:
        """The node whose interfaces go with it, so that their indexes are free again."""
        return ""

    def describe(self) -> str:
        """In a few words, for a person."""
        raise NotImplementedError

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        """What makes it."""
        return ()

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        """What takes it away."""
        return ()

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        """What makes it of another one with its key; None where the kernel can't change one into
        the other: then the old one is removed and this one created."""
        return None

    def differences(self, old: Fact) -> tuple[str, ...]:
        """What is not as it should be, each in a few words."""
        return ()

    def sought(self, scope: Scope) -> None:
        """Add to the scope of a look where it is to be found."""

    def is_mine(self, claim: Claim) -> bool:
        """Whether it is the lab's own, as far as it tells by itself."""
        return True

    def settled(self, known: Known) -> Fact | None:
        """As it is with what earlier runs know of it; None where it is nothing of the lab's."""
        return self

    def clash(self, there: Fact) -> str:
        """What is in its way, which is ``there`` and somebody else's; empty where it is not."""
        return there.describe() if self.contains else ""

    def by_hand(self, on: Mapping[Place, list[Fact]]) -> Iterator[str]:
        """The lines that a person writes for it. ``on``: the facts at each interface."""
        for op in self.create(Indexes()):
            yield from op.shell()

    def shown(self) -> str:
        """What `show` says of it at its interface; empty for what is shown otherwise."""
        return ""


class WorldFact(Fact):
    """One of the world's namespace."""

    __slots__ = ()

    @property
    def node(self) -> str:
        return WORLD


class WorldOp(Op):
    """One in the world's namespace."""

    __slots__ = ()

    @property
    def node(self) -> str:
        return WORLD


@dataclass(slots=True)
class Scope:
    """Where to look."""


class Claim(NamedTuple):
    """What tells whose something is: the ``lab``, the cookies of its namespaces by name (0: not
    known), its interface ``indexes``, and those that were ``seen`` by (namespace, name)."""

    lab: str
    namespaces: Mapping[str, int]
    indexes: range
    seen: Mapping[Place, int]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside what the kernel tells."""
