"""Network namespaces pinned by name (network_namespaces(7), ip-netns(8))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import BESIDES, Beside, Claim, Fact, Op, Sought, WorldOp
from bascule.kernel.op import (
    DropNamespace,
    Effect,
    Indexes,
    Key,
    MakeNamespace,
    Settings,
    inside,
    ip,
)
from bascule.kernel.told import Kind


@dataclass(frozen=True, slots=True)
class Namespace(Fact):
    """A namespace exists under this name. ``cookie`` (SO_NETNS_COOKIE) tells it from another that
    later bears its name; ``alive`` is False for a pin in /run/netns without a namespace, which a
    crash can leave. ``source`` is the path of a namespace that somebody else has made, and that
    goes on without us. ``settings`` are sysctls that it is made with; whoever changes them later
    has his reasons."""

    noun: ClassVar[Kind] = "namespace"
    late: ClassVar[bool] = True
    section: ClassVar[tuple[int, int]] = (1, 0)
    order: ClassVar[int] = 0
    carries_flows: ClassVar[bool] = True

    name: str
    alive: bool = True
    source: str = ""
    cookie: int = field(default=0, compare=False)
    settings: Settings = field(default=(), compare=False, repr=False)

    @property
    def node(self) -> str:
        return self.name

    @property
    def key(self) -> Key:
        return ("namespace", self.name)

    @property
    def contains(self) -> tuple[Key, ...]:
        return () if self.source else (self.key,)

    @property
    def rank(self) -> int:
        return 0

    @property
    def frees(self) -> str:
        return self.name

    @property
    def can_come_back(self) -> bool:
        return self.alive

    def sought(self, scope: Sought) -> None:
        scope.nodes[self.name] = None
        if self.source:
            scope.adopted[self.name] = self.source

    def is_mine(self, claim: Claim) -> bool:
        """By its cookie, noted after it was made. While a run is under way none is known: then the
        name counts."""
        known = claim.namespaces.get(self.name)
        return known is not None and (not self.cookie or known in (0, self.cookie))

    def whole(self, made: Fact | None) -> Fact:
        return replace(self, settings=made.settings) if isinstance(made, Namespace) else self

    def describe(self) -> str:
        return f"namespace {self.name}" + (f", which is {self.source}" if self.source else "")

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (
            AttachNamespace(self.name, self.source)
            if self.source
            else AddNamespace(self.name, self.settings),
        )

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteNamespace(self.name, self.alive, self.source),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        if isinstance(old, Namespace) and old.source != self.source:
            return (f"is {old.source or 'a namespace of the lab'}",)
        return ("the pin is there, the namespace is not",)

    def by_hand(self, lab: Beside) -> Iterator[str]:
        made, *settings = (line for op in self.create(Indexes()) for line in op.shell())
        yield made
        yield from (f"{line}  {BESIDES} nobody tells it another way" for line in settings)

    def away_by_hand(self) -> Iterator[str]:
        yield f"ip netns del {shlex.quote(self.name)}"


@dataclass(frozen=True, slots=True)
class AddNamespace(WorldOp):
    """``ip netns add``, and ``sysctl -w`` in it."""

    name: str
    settings: Settings = ()

    @property
    def makes(self) -> str:
        return self.name

    def effect(self) -> Effect:
        return MakeNamespace(self.name, settings=self.settings)

    def shell(self) -> tuple[str, ...]:
        words = [f"{key}={value}" for key, value in self.settings]
        return (
            ip("", "netns", "add", self.name),
            *((inside(self.name, "sysctl", "-qw", *words),) if words else ()),
        )

    def undo(self) -> Op | None:
        return DeleteNamespace(self.name)


@dataclass(frozen=True, slots=True)
class AttachNamespace(WorldOp):
    """``ip netns attach``: the name for a namespace that is there already."""

    name: str
    source: str

    @property
    def makes(self) -> str:
        return self.name

    def effect(self) -> Effect:
        return MakeNamespace(self.name, self.source)

    def shell(self) -> tuple[str, ...]:
        words = self.source.split("/")
        if words[:2] == ["", "proc"] and words[3:] == ["ns", "net"]:
            if words[2] == "self":
                return (f"ip netns attach {self.name} $$",)
            return (ip("", "netns", "attach", self.name, words[2]),)
        pin = f"/run/netns/{self.name}"
        return (f"touch {pin} && mount --bind {shlex.quote(self.source)} {pin}",)

    def undo(self) -> Op | None:
        return DeleteNamespace(self.name, source=self.source)


@dataclass(frozen=True, slots=True)
class DeleteNamespace(WorldOp):
    """``ip netns del``. There is no way back: what was and what ran inside is gone, unless it is
    somebody else's (``source``)."""

    name: str
    alive: bool = True
    source: str = ""

    @property
    def drops(self) -> str:
        return "" if self.source else self.name

    @property
    def releases(self) -> str:
        return self.name if self.source else ""

    def effect(self) -> Effect:
        return DropNamespace(self.name, self.alive and not self.source)

    def shell(self) -> tuple[str, ...]:
        return (ip("", "netns", "del", self.name),)

    def undo(self) -> Op | None:
        return AttachNamespace(self.name, self.source) if self.source else None
