"""Network namespaces pinned by name (network_namespaces(7), ip-netns(8))."""

from __future__ import annotations

from dataclasses import dataclass, field

from bascule.kernel.op import DropNamespace, Effect, Fact, Indexes, Key, MakeNamespace, Op, ip


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace exists under this name. ``cookie`` (SO_NETNS_COOKIE) tells it from another that later bears its name;
    ``alive`` is False for a pin in /run/netns without a namespace, which a crash can leave."""

    name: str
    alive: bool = True
    cookie: int = field(default=0, compare=False)

    @property
    def node(self) -> str:
        return self.name

    @property
    def key(self) -> Key:
        return ("namespace", self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key,)

    def describe(self) -> str:
        return f"namespace {self.name}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (AddNamespace(self.name),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteNamespace(self.name, self.alive),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return None

    def differences(self, old: Fact) -> tuple[str, ...]:
        return ("the pin is there, the namespace is not",)


@dataclass(frozen=True, slots=True)
class AddNamespace:
    """``ip netns add``"""

    name: str

    @property
    def node(self) -> str:
        return ""

    def effect(self) -> Effect:
        return MakeNamespace(self.name)

    def shell(self) -> tuple[str, ...]:
        return (ip("", "netns", "add", self.name),)

    def undo(self) -> Op | None:
        return DeleteNamespace(self.name)


@dataclass(frozen=True, slots=True)
class DeleteNamespace:
    """``ip netns del``. There is no way back: what was and what ran inside is gone."""

    name: str
    alive: bool = True

    @property
    def node(self) -> str:
        return ""

    def effect(self) -> Effect:
        return DropNamespace(self.name, self.alive)

    def shell(self) -> tuple[str, ...]:
        return (ip("", "netns", "del", self.name),)

    def undo(self) -> Op | None:
        return None
