"""Routes of the main table, and ::1 on a bridge (ip-route(8); RTM_NEWROUTE in rtnetlink(7),
linux/rtnetlink.h)."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from bascule.kernel.fact import Beside, Fact, Op, WorldFact, WorldOp
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import WORLD, Effect, Indexes, Key, Netlink, ip
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import AF_INET, AF_INET6, family_of, pack_address, unpack_address
from bascule.wire.message import CREATE, EXCL, REPLACE, Request

IPV6_METRIC = 1024  # IP6_RT_PRIO_USER, linux/ipv6_route.h


@dataclass(frozen=True, slots=True)
class Hop:
    """One of several next hops: the higher its ``weight`` (1 to 256), the more flows it gets."""

    via: str
    device: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route(Fact):
    """``to`` (text, ``10.0.0.0/8``) is reached through ``via`` (empty: directly) on ``device``, or
    through several ``hops``, in order; then there is no ``via`` and no ``device``.

    ``metric`` is the kernel's priority: 0 where none was given for IPv4, 1024 for IPv6
    (IP6_RT_PRIO_USER).
    """

    noun: ClassVar[Kind] = "route"
    section: ClassVar[tuple[int, int]] = (4, 0)
    order: ClassVar[int] = 4
    disturbs: ClassVar[str] = "~-"

    node: str
    to: str
    via: str
    device: str
    metric: int = 0
    hops: tuple[Hop, ...] = ()

    @property
    def key(self) -> Key:
        return ("route", self.node, self.to, str(self.metric))

    @property
    def devices(self) -> tuple[str, ...]:
        """Those that it leads to."""
        return tuple(hop.device for hop in self.hops) or (self.device,)

    @property
    def called(self) -> str:
        return self.to

    @property
    def within(self) -> tuple[Key, ...]:
        return tuple(("link", self.node, device) for device in self.devices)

    def words(self) -> tuple[str, ...]:
        """The route in ip(8)'s words."""
        to = "default" if self.to in {"0.0.0.0/0", "::/0"} else self.to
        via = ("via", self.via) if self.via else ()
        ordinary = 0 if family_of(self.to) == AF_INET else 1024
        metric = ("metric", str(self.metric)) if self.metric != ordinary else ()
        if self.hops:
            return (to, *metric, *(word for hop in self.hops for word in _hop_words(hop)))
        return (to, *via, "dev", self.device, *metric)

    def describe(self) -> str:
        return f"route {' '.join(self.words())}" + (f" in {self.node}" if self.node else "")

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeRoute("add", self, self.indexes(indexes)),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeRoute("del", self, self.indexes(indexes)),)

    def indexes(self, indexes: Indexes) -> tuple[int, ...]:
        """Of the interfaces that it leads to."""
        return tuple(indexes.of(self.node, device) for device in self.devices)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Route):
            return None
        numbers = (self.indexes(indexes), old.indexes(indexes))
        return (ChangeRoute("replace", self, numbers[0], old, numbers[1]),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is {' '.join(old.words())}",) if isinstance(old, Route) else ()

    def by_hand(self, lab: Beside) -> Iterator[str]:
        words = list(self.words())
        if self.via and not self.hops and lab.interfaces.get(self.node, 0) < 2:
            # By hand one leaves the device to the kernel, which finds it by the next hop.
            at = words.index("dev")
            del words[at : at + 2]
        six = " -6" if ":" in self.to else ""
        yield f"ip netns exec {shlex.quote(self.node)} ip{six} route add {shlex.join(words)}"


def _hop_words(hop: Hop) -> tuple[str, ...]:
    via = ("via", hop.via) if hop.via else ()
    weight = ("weight", str(hop.weight)) if hop.weight != 1 else ()
    return ("nexthop", *via, "dev", hop.device, *weight)


_KINDS = {
    "add": (rt.NEWROUTE, CREATE | EXCL),
    "replace": (rt.NEWROUTE, CREATE | REPLACE),
    "del": (rt.DELROUTE, 0),
}
_GONE = (errno.ENODEV, errno.ESRCH)
_REVERSE = {"add": "del", "del": "add"}


@dataclass(frozen=True, slots=True)
class ChangeRoute(Op):
    """``ip route add|replace|del``, by the indexes of the interfaces that it leads to. ``old`` is
    what a replacement takes the place of."""

    verb: str
    route: Route
    indexes: tuple[int, ...]
    old: Route | None = None
    old_indexes: tuple[int, ...] = ()

    @property
    def node(self) -> str:
        return self.route.node

    def effect(self) -> Effect:
        r = self.route
        network, length = r.to.split("/")
        family = family_of(network)
        kind, flags = _KINDS[self.verb]
        if kind == rt.DELROUTE:
            # what ip(8) sends: whatever protocol and scope it has
            protocol, scope = 0, rt.RT_SCOPE_NOWHERE
        else:
            direct = family == AF_INET and not r.via and not r.hops
            protocol, scope = rt.RTPROT_BOOT, rt.RT_SCOPE_LINK if direct else rt.RT_SCOPE_UNIVERSE
        header = rt.RTMSG.pack(
            family, int(length), 0, 0, rt.RT_TABLE_MAIN, protocol, scope, rt.RTN_UNICAST, 0
        )
        values: dict[str, object] = {}
        if length != "0":
            values["dst"] = pack_address(network)
        if r.via:
            values["gateway"] = pack_address(r.via)
        if not r.hops:
            (values["oif"],) = self.indexes
        if r.metric:
            values["priority"] = r.metric
        if r.hops:
            values["multipath"] = rt.pack_next_hops(
                rt.NextHop(index, pack_address(hop.via) if hop.via else b"", hop.weight)
                for index, hop in zip(self.indexes, r.hops, strict=True)
            )
        gone = _GONE if kind == rt.DELROUTE else ()
        return Netlink(r.node, Request(kind, flags, header + rt.ROUTE.encode(values)), gone=gone)

    def shell(self) -> tuple[str, ...]:
        family = ("-6",) if ":" in self.route.to else ()
        command = ip(self.node, "route", self.verb, *self.route.words())
        return (command.replace("ip ", "ip -6 ", 1) if family else command,)

    def undo(self) -> Op | None:
        if self.old is not None:
            return ChangeRoute("replace", self.old, self.old_indexes, self.route, self.indexes)
        return ChangeRoute(_REVERSE[self.verb], self.route, self.indexes)


_LOOPBACK = "::1"


@dataclass(frozen=True, slots=True)
class LoopbackRoute(WorldFact):
    """::1 is this machine's on ``device``, too, so that answers to connections that it has opened
    may come in there: a loopback address is looked up strictly by interface (rt6_need_strict,
    net/ipv6/route.c). IPv4 has a setting for it, route_localnet.

    Two routes to one address need two metrics, and the interface's index is one that no other has;
    all are higher than that of the kernel's own on lo, which stays the way to it."""

    noun: ClassVar[Kind] = "loopback_route"

    device: str

    @property
    def key(self) -> Key:
        return ("loopback route", self.device)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", WORLD, self.device),)

    def describe(self) -> str:
        return f"answers to {_LOOPBACK} by {self.device}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLoopbackRoute(self.device, indexes.of(WORLD, self.device), add=True),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLoopbackRoute(self.device, indexes.of(WORLD, self.device), add=False),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()


@dataclass(frozen=True, slots=True)
class ChangeLoopbackRoute(WorldOp):
    """``ip -6 route add|del local ::1 dev … table local``"""

    device: str
    index: int
    add: bool

    def effect(self) -> Effect:
        kind, flags = _KINDS["add" if self.add else "del"]
        protocol, scope = (
            (rt.RTPROT_BOOT, rt.RT_SCOPE_UNIVERSE) if self.add else (0, rt.RT_SCOPE_NOWHERE)
        )
        header = rt.RTMSG.pack(
            AF_INET6, 128, 0, 0, rt.RT_TABLE_LOCAL, protocol, scope, rt.RTN_LOCAL, 0
        )
        values: dict[str, object] = {"dst": pack_address(_LOOPBACK), "oif": self.index}
        if self.add:
            values["priority"] = self.index
        gone = () if self.add else _GONE
        request = Request(kind, flags, header + rt.ROUTE.encode(values))
        return Netlink(WORLD, request, gone=gone)

    def shell(self) -> tuple[str, ...]:
        verb, device = "add" if self.add else "del", shlex.quote(self.device)
        metric = f" metric {self.index}" if self.add else ""
        return (f"ip -6 route {verb} local {_LOOPBACK} dev {device} table local{metric}",)

    def undo(self) -> Op | None:
        return ChangeLoopbackRoute(self.device, self.index, not self.add)


def _read(look: Look) -> Iterator[Fact]:
    yield from _loopback(look)
    for node, space in look.nodes.items():
        for found in look.routes[node]:
            # Set by a person or a program like ip(8), not by the kernel, nor by a routing daemon.
            given = found.protocol in (rt.RTPROT_BOOT, rt.RTPROT_STATIC)
            if not given or not look.own[node].issuperset(found.interfaces):
                continue
            names = [space.links[index].name for index in found.interfaces]
            version = 6 if found.family == AF_INET6 else 4
            if any((node, name, version) in look.scope.autoconf for name in names):
                continue
            if found.multipath:
                gateways = (
                    unpack_address(hop.gateway) if hop.gateway else "" for hop in found.hops
                )
                weights = (hop.weight for hop in found.hops)
                hops = tuple(Hop(*row) for row in zip(gateways, names, weights, strict=True))
                yield Route(node, found.to, "", "", found.priority, hops)
            elif names:
                yield Route(node, found.to, found.via, names[0], found.priority)


def _loopback(look: Look) -> Iterator[LoopbackRoute]:
    """Where ::1 is at home beside lo."""
    for reply in look.world.routes:
        head = rows.route_head(reply)
        local = head.kind == rt.RTN_LOCAL and head.table == rt.RT_TABLE_LOCAL
        if head.family == AF_INET6 and local:
            found = rows.decode_route(reply, head)
            if found.oif in look.own[WORLD] and found.to == "::1/128":
                yield LoopbackRoute(look.world.links[found.oif].name)


NOUN = Noun("route", _read, groups=(7, 11))  # RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE
