"""Kernel settings of one network namespace (sysctl(8), Documentation/networking/ip-sysctl.rst)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import Fact, Known, Op, Sought
from bascule.kernel.op import Effect, Indexes, Key, WriteSysctl, inside
from bascule.kernel.told import Kind


@dataclass(frozen=True, slots=True)
class Sysctl(Fact):
    """``key`` (dotted, below ``net.``) has this value in ``node``. ``prior`` is what stood there
    before bascule."""

    noun: ClassVar[Kind] = "sysctl"
    disturbs: ClassVar[str] = "~-"

    node: str
    name: str
    value: str
    prior: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return ("sysctl", self.node, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        words = self.name.split("/" if "/" in self.name else ".")
        interface = (
            words[3] if words[2:3] == ["conf"] and words[3] not in ("all", "default") else ""
        )
        return (("namespace", self.node), *((("link", self.node, interface),) if interface else ()))

    def sought(self, scope: Sought) -> None:
        scope.sysctls.add((self.node, self.name))

    def settled(self, known: Known) -> Fact | None:
        """It counts as the lab's own only where the lab wants it or has changed it; then it knows
        the value before."""
        wanted = self.key in known.want
        if not wanted and not self.node and self.name in known.shared:
            return None
        prior = known.priors.get((self.node, self.name), "")
        if wanted or (prior and prior != self.value):
            return replace(self, prior=prior)
        return None

    def describe(self) -> str:
        return f"sysctl {self.name}={self.value}" + (f" in {self.node}" if self.node else "")

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetSysctl(self.node, self.name, self.value, ""),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetSysctl(self.node, self.name, self.prior, self.value),) if self.prior else ()

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        was = old.value if isinstance(old, Sysctl) else ""
        return (SetSysctl(self.node, self.name, self.value, was),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is {old.value}",) if isinstance(old, Sysctl) else ()


@dataclass(frozen=True, slots=True)
class SetSysctl(Op):
    """``sysctl -w``. ``old`` is empty where it is not known. ``fresh``: of a link that was just
    made, which takes it along; ``own``: of one that the lab made before."""

    node: str
    name: str
    value: str
    old: str = ""
    fresh: bool = False
    own: bool = False

    def effect(self) -> Effect:
        return WriteSysctl(self.node, self.name, self.value, self.fresh, self.own)

    def shell(self) -> tuple[str, ...]:
        return (inside(self.node, "sysctl", "-qw", f"{self.name}={self.value}"),)

    def undo(self) -> Op | None:
        return SetSysctl(self.node, self.name, self.old, self.value) if self.old else None
