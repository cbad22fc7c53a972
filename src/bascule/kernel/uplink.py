"""Interfaces of the machine that are ports of a lab's bridge, and those that can't be one
(br_add_if, net/bridge/br_if.c)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from bascule.kernel.fact import Fact, Known, Op, Place, Sought, WorldFact
from bascule.kernel.link import ChangeLink
from bascule.kernel.op import WORLD, Indexes, Key
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire import rows

# On these other interfaces stand, which take what comes in before a bridge could.
_STANDING = ("macvlan", "macvtap", "ipvlan", "ipvtap")
_NARROW = (rt.MACVLAN_MODE_PRIVATE, rt.MACVLAN_MODE_VEPA, rt.MACVLAN_MODE_BRIDGE)


def unfit(link: rows.Link, others: Iterable[rows.Link]) -> str:
    """Why an interface can't be the port of a bridge, or would be one by which nothing passes;
    empty where nothing is known against it. ``others`` are those of its namespace."""
    kind = link.kind or "no Ethernet"
    if link.kind == "bridge":
        return "is a bridge, and a bridge is no port of another"
    if link.kind == "vrf":
        return "is a VRF, by which no frames pass"
    if link.type == rt.ARPHRD_LOOPBACK:
        return "is the loopback interface, by which nothing leaves"
    if link.type != rt.ARPHRD_ETHER:
        return f"carries packets without Ethernet frames ({kind}), and a bridge passes frames"
    if link.kind in ("ipvlan", "ipvtap"):
        return f"is an {link.kind}, which passes packets of its own addresses only"
    if link.kind in ("macvlan", "macvtap") and _mode(link) in _NARROW:
        return f"is a {link.kind}, which takes frames to its own MAC only, unless in mode passthru"
    for other in others:
        if other.peer == link.ifindex and other.kind in _STANDING and not other.elsewhere:
            return f"has {other.name} on it, {_article(other.kind)}, which takes what comes in"
    return ""


def _mode(link: rows.Link) -> int:
    found: int = rt.MACVLAN_INFO.decode(link.data).get("mode", rt.MACVLAN_MODE_BRIDGE)
    return found


def _article(kind: str) -> str:
    return f"{'an' if kind.startswith('i') else 'a'} {kind}"


@dataclass(frozen=True, slots=True)
class Uplink(WorldFact):
    """The machine's interface ``name`` is a port of ``bridge``. It was made by somebody else, and
    is only lent. ``mtu`` is the bridge's: the kernel adapts it to the new port (br_mtu_auto_adjust,
    net/bridge/br_if.c), unless it was set once more."""

    noun: ClassVar[Kind] = "uplink"

    name: str
    bridge: str
    mtu: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        return ("uplink", self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", WORLD, self.bridge),)

    @property
    def ports(self) -> tuple[tuple[Place, str], ...]:
        return (((WORLD, self.bridge), self.name),)

    def sought(self, scope: Sought) -> None:
        scope.uplinks.add(self.name)

    def is_wanted(self, known: Known) -> bool:
        """An interface that the lab had, and that is not there any more, is given up: all else is
        mended."""
        return self.name in known.uplinks or self.key not in known.before

    def describe(self) -> str:
        return f"uplink {self.name} on {self.bridge}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._master(indexes, "", self.bridge), *self._keep_mtu(indexes))

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._master(indexes, self.bridge, ""),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (
            self._master(indexes, old.bridge if isinstance(old, Uplink) else "", self.bridge),
            *self._keep_mtu(indexes),
        )

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is on {old.bridge}",) if isinstance(old, Uplink) else ()

    def _master(self, indexes: Indexes, old: str, new: str) -> ChangeLink:
        numbers = tuple(indexes.of(WORLD, bridge) if bridge else 0 for bridge in (old, new))
        return ChangeLink(
            WORLD,
            self.name,
            indexes.of(WORLD, self.name),
            "master",
            old,
            new,
            (numbers[0], numbers[1]),
        )

    def _keep_mtu(self, indexes: Indexes) -> tuple[Op, ...]:
        if not self.mtu:
            return ()
        return (
            ChangeLink(
                WORLD, self.bridge, indexes.of(WORLD, self.bridge), "mtu", self.mtu, self.mtu
            ),
        )
