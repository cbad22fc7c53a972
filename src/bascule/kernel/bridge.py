"""Bridges and their own settings (ip-link(8), IFLA_BR_* in linux/if_link.h)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import (
    BESIDES,
    Beside,
    Claim,
    Fact,
    Known,
    Op,
    Place,
    Sought,
)
from bascule.kernel.link import (
    ORDINARY_MTU,
    ChangeLink,
    DeleteLink,
    changes,
    differences,
    made_with,
    settings_by_hand,
)
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun, Probe
from bascule.kernel.op import WORLD, Effect, Indexes, Key, Netlink, Settings, ip
from bascule.kernel.told import Kind
from bascule.kernel.uplink import Uplink
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import pack_mac
from bascule.wire.message import CREATE, EXCL, Request

STP, AGEING, PROMISC = "stp_state", "ageing_time", "promisc"
# Nobody asks for these two: where ports are in other VLANs than the bridge nodes can't speak. The
# second can only be changed while the first is off (br_vlan_set_default_pvid, br_vlan.c).
VLANS, PVID = "vlan_filtering", "vlan_default_pvid"
UNKNOWN = -1
# ageing in hundredths of a second: BR_DEFAULT_AGEING_TIME, linux/if_bridge.h
DEFAULTS = {STP: 0, AGEING: 30_000, PROMISC: 0, VLANS: 0, PVID: 1}


@dataclass(frozen=True, slots=True)
class BridgeSetting(Fact):
    """A setting of a bridge that is not as the kernel makes it. The ageing time is UNKNOWN as long
    as the spanning tree changes: the kernel then counts with twice the forward delay and tells that
    (__br_set_topology_change, net/bridge/br_stp.c)."""

    noun: ClassVar[Kind] = "bridge_setting"

    node: str
    bridge: str
    name: str
    value: int

    @property
    def key(self) -> Key:
        return ("bridge", self.node, self.bridge, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", self.node, self.bridge),)

    def settled(self, known: Known) -> Fact | None:
        """While the spanning tree changes, the ageing time is what the last run has set."""
        return self if self.value != UNKNOWN else next(iter(known.before.get(self.key, ())), None)

    def describe(self) -> str:
        return f"{self.name} {self.value} on {self.bridge}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set(indexes, self.value, DEFAULTS[self.name]),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set(indexes, DEFAULTS[self.name], self.value),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        was = old.value if isinstance(old, BridgeSetting) else DEFAULTS[self.name]
        return (self._set(indexes, self.value, was),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is {old.value}",) if isinstance(old, BridgeSetting) else ()

    def _set(self, indexes: Indexes, value: int, was: int) -> SetBridge:
        index = indexes.of(self.node, self.bridge)
        return SetBridge(self.node, self.bridge, index, self.name, value, was)


@dataclass(frozen=True, slots=True)
class SetBridge(Op):
    """``ip link set dev BRIDGE type bridge SETTING VALUE``, or ``promisc on|off``"""

    node: str
    bridge: str
    index: int
    name: str
    value: int
    old: int

    def effect(self) -> Effect:
        if self.name == PROMISC:
            flags = rt.IFF_PROMISC if self.value else 0
            return Netlink(
                self.node,
                Request(rt.NEWLINK, 0, rt.IFINFO.pack(0, 0, self.index, flags, rt.IFF_PROMISC)),
            )
        info = {"kind": "bridge", "data": rt.BRIDGE_INFO.encode({self.name: self.value})}
        body = rt.IFINFO.pack(0, 0, self.index, 0, 0) + rt.LINK.encode({"linkinfo": info})
        return Netlink(self.node, Request(rt.NEWLINK, 0, body))

    def shell(self) -> tuple[str, ...]:
        if self.name == PROMISC:
            return (
                ip(
                    self.node,
                    "link",
                    "set",
                    "dev",
                    self.bridge,
                    "promisc",
                    "on" if self.value else "off",
                ),
            )
        words = ("type", "bridge", self.name, str(self.value))
        return (ip(self.node, "link", "set", "dev", self.bridge, *words),)

    def undo(self) -> Op | None:
        return SetBridge(self.node, self.bridge, self.index, self.name, self.old, self.value)


_BRIDGE = {"kind": "bridge"}


@dataclass(frozen=True, slots=True)
class Bridge(Fact):
    """A bridge. ``settings`` are sysctls that it is made with; whoever changes them
    later has his reasons. ``master``: what it is in, a VRF, where it is in none: it would have the
    machine's routes no more."""

    noun: ClassVar[Kind] = "bridge"
    late: ClassVar[bool] = True
    section: ClassVar[tuple[int, int]] = (2, 0)
    order: ClassVar[int] = 1
    disturbs: ClassVar[str] = "~"
    moves: ClassVar[bool] = True
    carries_flows: ClassVar[bool] = True

    node: str
    name: str
    mtu: int
    mac: str
    up: bool = True
    settings: Settings = field(default=(), compare=False)
    master: str = ""

    @property
    def key(self) -> Key:
        return ("link", self.node, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),) if self.node else ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key,)

    @property
    def taken(self) -> Place:
        return (self.node, self.name)

    @property
    def macs(self) -> Mapping[Place, str]:
        return {self.taken: self.mac}

    def sought(self, scope: Sought) -> None:
        scope.links.add(self.taken)

    def is_mine(self, claim: Claim) -> bool:
        return claim.seen.get(self.taken) in claim.indexes

    def whole(self, made: Fact | None) -> Fact:
        return replace(self, settings=made.settings) if isinstance(made, Bridge) else self

    def describe(self) -> str:
        return f"bridge {self.name} mtu {self.mtu}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        index = indexes.renew(*self.taken)
        ops: list[Op] = [AddBridge(replace(self, up=self.up and not self.settings), index)]
        if self.mtu != ORDINARY_MTU:
            # Set once more, it counts as the user's wish: the kernel no longer adapts it to the
            # ports (br_mtu_auto_adjust).
            ops.append(ChangeLink(*self.taken, index, "mtu", self.mtu, self.mtu))
        ops += made_with(self.node, self.settings)
        # last, so that one that is up has them, also where a run was killed in between
        if self.up and self.settings:
            ops.append(ChangeLink(*self.taken, index, "up", False, True))
        return tuple(ops)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        # with settings it is raised when it has them
        back = replace(self, up=self.up and not self.settings)
        index = indexes.of(*self.taken)
        return (DeleteLink(*self.taken, index, AddBridge(back, index)),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Bridge):
            return None
        raised = made_with(self.node, self.settings, fresh=False) if self.up and not old.up else ()
        out = (self._out_of(old.master, indexes),) if old.master else ()
        return (*raised, *out, *changes(*self.taken, indexes, old, self, ("mtu", "mac", "up")))

    def _out_of(self, master: str, indexes: Indexes) -> Op:
        numbers = (indexes.of(self.node, master), 0)
        return ChangeLink(*self.taken, indexes.of(*self.taken), "master", master, "", numbers)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return differences(self, old)

    def by_hand(self, lab: Beside) -> Iterator[str]:
        name = shlex.quote(self.name)
        inside = f"ip netns exec {shlex.quote(self.node)} " if self.node else ""
        yield f"{inside}brctl addbr {name}"
        yield from settings_by_hand(self.node, self.settings)
        yield f"{inside}ip link set dev {name} address {self.mac}  {BESIDES} a MAC that stays"
        if self.mtu != ORDINARY_MTU:
            yield f"{inside}ip link set dev {name} mtu {self.mtu}"
        yield from lab.lines(*self.taken)
        yield f"{inside}ip link set dev {name} up"

    def away_by_hand(self) -> Iterator[str]:
        if self.node:  # it goes with its namespace
            return
        name = shlex.quote(self.name)
        yield from (f"ip link set dev {name} down", f"brctl delbr {name}")


@dataclass(frozen=True, slots=True)
class AddBridge(Op):
    """``ip link add NAME type bridge``, up in the same message."""

    bridge: Bridge
    index: int

    @property
    def node(self) -> str:
        return self.bridge.node

    def effect(self) -> Effect:
        attributes = rt.LINK.encode(
            {
                "ifname": self.bridge.name,
                "mtu": self.bridge.mtu,
                "address": pack_mac(self.bridge.mac),
                "linkinfo": _BRIDGE,
            }
        )
        flags = rt.IFF_UP if self.bridge.up else 0
        header = rt.IFINFO.pack(0, 0, self.index, flags, flags)
        return Netlink(self.node, Request(rt.NEWLINK, CREATE | EXCL, header + attributes))

    def shell(self) -> tuple[str, ...]:
        b = self.bridge
        up = ("up",) if b.up else ()
        return (
            ip(
                b.node,
                "link",
                "add",
                "dev",
                b.name,
                "address",
                b.mac,
                "mtu",
                str(b.mtu),
                *up,
                "type",
                "bridge",
            ),
        )

    def undo(self) -> Op | None:
        return DeleteLink(*self.bridge.taken, self.index, self)


_CHANGING = "topology_change"
_FIELDS = rt.BRIDGE_INFO.numbers(STP, AGEING, _CHANGING, VLANS, PVID)


def _read(look: Look) -> Iterator[Fact]:
    for link in look.world.links.values():
        bridge = look.master_of(WORLD, link)
        if link.name in look.scope.uplinks and (WORLD, bridge) in look.scope.links:
            yield Uplink(link.name, bridge)
    for node, link in look.named():
        if link.kind == "bridge":
            master = look.master_of(node, link)
            yield Bridge(node, link.name, link.mtu, link.mac, link.up, master=master)
            yield from _settings(node, link)


def _settings(node: str, link: rows.Link) -> Iterator[BridgeSetting]:
    """Those that are not as the kernel makes it."""
    found = rt.BRIDGE_INFO.decode_only(link.data, 0, _FIELDS)
    found[PROMISC] = 1 if link.flags & rt.IFF_PROMISC else 0
    if found.pop(_CHANGING, 0):
        found[AGEING] = UNKNOWN
    for name, usual in DEFAULTS.items():
        if (value := found.get(name, usual)) != usual:
            yield BridgeSetting(node, link.name, name, value)


def _probe() -> Op:
    return AddBridge(Bridge(WORLD, "doctor0", 1500, "02:00:00:00:00:01"), 900)


NOUN = Noun("bridge", _read, groups=(1,), probe=Probe(_probe, "bridge"))  # RTNLGRP_LINK
