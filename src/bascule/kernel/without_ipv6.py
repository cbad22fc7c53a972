"""Interfaces on which IPv6 is turned off, or half of it (disable_ipv6, addr_gen_mode,
ip-sysctl.rst).

A lab without IPv6 wants it so on all of its own. On an interface that is to have IPv6 addresses it
is a change by somebody else (NetworkManager does that to what it takes over), and is put back: as
long as an interface that is made now would have IPv6. Where it would not, the machine's owner has
decided so, and a lab with IPv6 is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bascule.kernel.fact import Fact, Known, Op, Sought
from bascule.kernel.op import Indexes, Key
from bascule.kernel.sysctl import SetSysctl
from bascule.kernel.told import Kind


@dataclass(frozen=True, slots=True)
class IPv6Off(Fact):
    """The interface ``name`` has no IPv6. ``usual``: nor has one that is made beside it now."""

    noun: ClassVar[Kind] = "ipv6_off"
    section: ClassVar[tuple[int, int]] = (0, 0)  # with its interface

    node: str
    name: str
    usual: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        return ("ipv6", self.node, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", self.node, self.name),)

    @property
    def interface(self) -> str:
        return self.name

    def sought(self, scope: Sought) -> None:
        scope.six.setdefault(self.node, set()).add(self.name)

    def settled(self, known: Known) -> Fact | None:
        """Where it is usual, nothing is changed but for what the lab itself has turned off."""
        return None if self.usual and self.key not in known.want else self

    def describe(self) -> str:
        return f"no IPv6 on {self.name}" + (f" in {self.node}" if self.node else "")

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set("1", "0"),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set("0", "1"),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()

    def _set(self, value: str, old: str) -> SetSysctl:
        return _setting(self.node, self.name, "disable_ipv6", value, old)


@dataclass(frozen=True, slots=True)
class LinkLocalOff(Fact):
    """The interface ``name`` makes itself no link-local address (addr_gen_mode 1), as one that is
    made beside it now would, in the mode ``usual``. Nobody ever wants that: without it a bridge
    announces itself to nobody."""

    noun: ClassVar[Kind] = "link_local_off"

    node: str
    name: str
    usual: str = field(default="0", compare=False)

    @property
    def key(self) -> Key:
        return ("link-local", self.node, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", self.node, self.name),)

    def describe(self) -> str:
        return f"no link-local address on {self.name}"

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (_setting(self.node, self.name, "addr_gen_mode", self.usual, "1"),)


def _setting(node: str, interface: str, name: str, value: str, old: str) -> SetSysctl:
    mark = "/" if "." in interface else "."  # as in sysctl(8)
    key = mark.join(("net", "ipv6", "conf", interface, name))
    return SetSysctl(node, key, value, old, own=True)
