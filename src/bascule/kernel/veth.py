"""Veth pairs (veth(4); RTM_NEWLINK in rtnetlink(7), linux/if_link.h).

One message makes a whole pair: both names, both MACs, the far end in its namespace
(IFLA_NET_NS_FD), the near one in its bridge and up. Only the far end's bridge and UP need messages
of their own, from inside: the kernel refuses the second in the first (ENOTCONN).
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import BESIDES, Beside, Cable, Claim, Fact, Known, Op, Place, Sought
from bascule.kernel.link import (
    ORDINARY_MTU,
    ChangeLink,
    DeleteLink,
    changes,
    made_with,
    settings_by_hand,
    told,
)
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun, Probe
from bascule.kernel.op import WORLD, Effect, Indexes, Key, Netlink, Settings, ip
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.attributes import Table, nest, text
from bascule.wire.inet import pack_mac
from bascule.wire.message import CREATE, EXCL, Request

_U32 = struct.Struct("=I")
_VETH = Table(kind=(1, text), data=(2, nest(rt.VETH_INFO)))
_LINK = Table(linkinfo=(18, nest(_VETH)))
# the descriptor is the last attribute of the last nest: the message's last four bytes
_NET_NS_FD_AT_END = 4


_UNKNOWN = (0,)  # IP versions, where nobody knows


@dataclass(frozen=True, slots=True)
class End:
    """One end of a pair: the interface ``name`` in ``node``, there a port of ``bridge`` if it has
    one, made with these sysctls. Of the IP versions of ``autoconf`` its addresses and routes are
    the node's own affair."""

    node: str
    name: str
    mtu: int
    mac: str
    bridge: str = ""
    up: bool = True
    settings: Settings = field(default=(), compare=False)
    autoconf: tuple[int, ...] = ()

    @property
    def place(self) -> Place:
        return (self.node, self.name)

    @property
    def key(self) -> Key:
        return ("link", *self.place)

    @property
    def as_made(self) -> End:
        """As it is made: up at once, unless it has settings, which come before."""
        return replace(self, up=self.up and not self.settings)

    def master(self, indexes: Indexes) -> int:
        return indexes.of(self.node, self.bridge) if self.bridge else 0

    def raised(self, indexes: Indexes, fresh: bool) -> tuple[Op, ...]:
        """Set before it is up: only then nothing has been done by the kernel's own settings."""
        up = ChangeLink(self.node, self.name, indexes.of(*self.place), "up", False, True)
        return (*made_with(self.node, self.settings, fresh), *((up,) if fresh else ()))

    def change_from(self, old: End, indexes: Indexes) -> Iterator[Op]:
        if self.up and not old.up:
            yield from self.raised(indexes, fresh=False)
        yield from changes(*self.place, indexes, old, self, ("mtu", "mac", "up"))
        if old.bridge != self.bridge:
            yield self.ported(old, indexes)

    def ported(self, old: End, indexes: Indexes) -> Op:
        masters = (old.master(indexes), self.master(indexes))
        index = indexes.of(*self.place)
        return ChangeLink(*self.place, index, "master", old.bridge, self.bridge, masters)

    def whole(self, made: End | None) -> End:
        if made is None:
            return self
        settings = tuple((renamed(key, self.name), value) for key, value in made.settings)
        return replace(self, settings=settings)


@dataclass(frozen=True, slots=True)
class Veth(Fact):
    """A veth pair. The ``near`` end is in the world where one of them is. The ``far`` one is None
    where it was not seen: it is in a namespace of others."""

    noun: ClassVar[Kind] = "veth"
    section: ClassVar[tuple[int, int]] = (3, 0)
    order: ClassVar[int] = 2
    disturbs: ClassVar[str] = "~"
    moves: ClassVar[bool] = True
    carries_flows: ClassVar[bool] = True

    near: End
    far: End | None

    @property
    def ends(self) -> tuple[End, ...]:
        return (self.near, self.far) if self.far is not None else (self.near,)

    @property
    def pair(self) -> tuple[End, End]:
        """Both ends, of one that is to be made."""
        assert self.far is not None  # noqa: S101 (nobody wants half a pair)
        return self.near, self.far

    @property
    def node(self) -> str:
        return self.ends[-1].node

    @property
    def key(self) -> Key:
        return self.near.key

    @property
    def within(self) -> tuple[Key, ...]:
        return tuple(("namespace", end.node) for end in self.ends if end.node != WORLD)

    @property
    def contains(self) -> tuple[Key, ...]:
        return tuple(end.key for end in self.ends)

    @property
    def ports(self) -> tuple[tuple[Place, str], ...]:
        return tuple(((end.node, end.bridge), end.name) for end in self.ends if end.bridge)

    def seen_from_nodes(self) -> Iterator[tuple[End, End]]:
        """Each end that is in a node, with the other one."""
        if self.far is not None:
            both = ((self.near, self.far), (self.far, self.near))
            yield from ((end, other) for end, other in both if end.node != WORLD)

    @property
    def taken(self) -> Place:
        return self.near.place

    @property
    def macs(self) -> Mapping[Place, str]:
        return {end.place: end.mac for end in self.ends if end.node != WORLD}

    @property
    def lingers(self) -> tuple[Place, ...]:
        if self.near.node == WORLD:  # the other one's namespace is what goes
            return (self.near.place,)
        return tuple(end.place for end in self.ends)

    @property
    def can_come_back(self) -> bool:
        return self.far is not None  # without its other end there is no pair to bring back

    @property
    def is_irreplaceable(self) -> bool:
        return self.far is None

    def sought(self, scope: Sought) -> None:
        scope.links.add(self.near.place)
        for end in self.ends:
            scope.interfaces.add(end.place)
            scope.autoconf.update((*end.place, version) for version in end.autoconf)
        for end, other in self.seen_from_nodes():
            cable = Cable(other.place, end.name, end.mac)
            scope.cables.setdefault(end.node, set()).add(cable)

    def is_mine(self, claim: Claim) -> bool:
        return claim.seen.get(self.near.place) in claim.indexes

    def settled(self, known: Known) -> Fact | None:
        """For taking away nobody looks into nodes: the other end is believed to be where the lab
        put it, as long as that node is there. One that is not is found when the links do not go
        with the namespaces (:mod:`bascule.host.settle`).

        Whether an interface configures itself is nothing that the kernel tells: made so or not, by
        what the lab was. Where a killed run has changed that, nobody knows, and it is made
        again."""
        before = [fact for fact in known.before.get(self.key, ()) if isinstance(fact, Veth)]
        if known.leaving:
            believed = before[-1] if before else None
            there = believed is not None and all(
                end.node == WORLD or end.node in known.nodes for end in believed.ends
            )
            return believed if there else self
        ends = [_remembered(end, before) for end in self.ends]
        return Veth(ends[0], ends[1] if self.far is not None else None)

    def whole(self, made: Fact | None) -> Fact:
        if not isinstance(made, Veth):
            return self
        far = self.far.whole(made.far) if self.far is not None else None
        return Veth(self.near.whole(made.near), far)

    def describe(self) -> str:
        # unseen, in a namespace of others
        end = f" to {self.far.name} ({self.far.node})" if self.far is not None else ""
        where = self.near.node or self.near.bridge or "no bridge"
        return f"veth {self.near.name} ({where}){end}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        near, far = self.pair
        index, far_index = indexes.renew(*near.place), indexes.renew(*far.place)
        add = AddVeth(Veth(near.as_made, far), index, far_index, near.master(indexes))
        return (
            add,
            *(near.raised(indexes, fresh=True) if near.settings else ()),
            *((far.ported(replace(far, bridge=""), indexes),) if far.bridge else ()),
            *far.raised(indexes, fresh=True),
        )

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        index = indexes.of(*self.near.place)
        back = None  # the other end is not where it should be: there is no pair to bring back
        if self.far is not None:
            back = AddVeth(self, index, indexes.of(*self.far.place), self.near.master(indexes))
        return (DeleteLink(*self.near.place, index, back),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Veth) or old.far is None:
            return None
        pairs = list(zip(old.ends, self.ends, strict=True))
        if any((was.place, was.autoconf) != (end.place, end.autoconf) for was, end in pairs):
            return None
        return tuple(op for was, end in pairs for op in end.change_from(was, indexes))

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, Veth):
            return ("another kind",)
        if old.far is None or self.far is None:
            return ("its other end is not to be seen",) if self.far != old.far else ()
        near = {name: name for name in ("mtu", "mac", "bridge", "up", "autoconf")}
        peer = {name: f"peer {name}" for name in near}
        if (old.near.mtu, self.near.mtu) == (old.far.mtu, self.far.mtu):  # said of both at once
            del peer["mtu"]
        names = {"node": "node", "name": "peer"} | peer
        return (*told(self.near, old.near, near), *told(self.far, old.far, names))

    def by_hand(self, lab: Beside) -> Iterator[str]:
        ends = self.pair
        host, peer = (shlex.quote(end.name) for end in ends)
        yield f"ip link add {host} type veth peer name {peer}"
        for end, name in zip(ends, (host, peer), strict=True):
            yield f"ip link set dev {name} address {end.mac}  {BESIDES} a MAC that stays"
        for end, name in zip(ends, (host, peer), strict=True):
            if end.mtu != ORDINARY_MTU:
                yield f"ip link set dev {name} mtu {end.mtu}"
        for end in ends:
            yield from _placed_by_hand(end, lab)


def _placed_by_hand(end: End, lab: Beside) -> Iterator[str]:
    """The lines that put an end where it belongs."""
    name, node = shlex.quote(end.name), shlex.quote(end.node)
    inside = f"ip netns exec {node} " if end.node else ""
    if end.node:
        yield f"ip link set {name} netns {node}"
    yield from settings_by_hand(end.node, end.settings)
    if end.bridge:
        yield f"{inside}brctl addif {shlex.quote(end.bridge)} {name}"
    yield f"{inside}ip link set {name} up"
    yield from lab.lines(*end.place)


def _remembered(end: End, before: list[Veth]) -> End:
    """With what the kernel does not tell."""
    ways = {was.autoconf for fact in before for was in fact.ends if was.place == end.place}
    return replace(end, autoconf=_UNKNOWN if len(ways) > 1 else next(iter(ways), ()))


@dataclass(frozen=True, slots=True)
class AddVeth(Op):
    """``ip link add … type veth peer …``: the whole pair in one message, from where the near end
    is."""

    veth: Veth
    index: int
    far_index: int
    master: int

    @property
    def node(self) -> str:
        return self.veth.near.node

    def effect(self) -> Effect:
        near, far = self.veth.pair
        other: dict[str, object] = {
            "ifname": far.name,
            "mtu": far.mtu,
            "address": pack_mac(far.mac),
        }
        if far.node != near.node:
            other["net_ns_fd"] = 0
        peer = rt.IFINFO.pack(0, 0, self.far_index, 0, 0) + rt.LINK.encode(other)
        values: dict[str, object] = {
            "ifname": near.name,
            "mtu": near.mtu,
            "address": pack_mac(near.mac),
        }
        if self.master:
            values["master"] = self.master
        flags = rt.IFF_UP if near.up else 0
        # The pair's own attributes go last, so that the descriptor's place is known: the end.
        body = (
            rt.IFINFO.pack(0, 0, self.index, flags, flags)
            + rt.LINK.encode(values)
            + _link_info(peer)
        )
        request = Request(rt.NEWLINK, CREATE | EXCL, body)
        if far.node == near.node:
            return Netlink(near.node, request)
        return Netlink(near.node, request, len(body) - _NET_NS_FD_AT_END, far.node)

    def shell(self) -> tuple[str, ...]:
        near, far = self.veth.pair
        master = ("master", near.bridge) if self.master else ()
        up = ("up",) if near.up else ()
        one = ("dev", near.name, "address", near.mac, "mtu", str(near.mtu), *master, *up)
        place = ("netns", far.node) if far.node != near.node else ()
        other = ("name", far.name, "address", far.mac, "mtu", str(far.mtu), *place)
        return (ip(near.node, "link", "add", *one, "type", "veth", "peer", *other),)

    def undo(self) -> Op | None:
        return DeleteLink(*self.veth.near.place, self.index, self)


def _link_info(peer: bytes) -> bytes:
    return _LINK.encode({"linkinfo": {"kind": "veth", "data": {"peer": peer}}})


def renamed(key: str, interface: str) -> str:
    """A key of sysctl(8) below net.ipv6.conf. for another interface; with slashes where the name
    holds a dot."""
    words = key.split("/" if "/" in key else ".")
    return ("/" if "." in interface else ".").join((*words[:3], interface, *words[4:]))


def _read(look: Look) -> Iterator[Fact]:
    """The index of each end names the other."""
    ends: dict[tuple[int, int], list[tuple[str, rows.Link]]] = {}
    for node, space in look.spaces:
        for link in space.links.values():
            if link.peer and link.kind == "veth":
                ends.setdefault((link.peer, link.ifindex), []).append((node, link))
    told: set[Place] = set()
    for node, link in look.named():
        if link.kind == "veth" and (node, link.name) not in told:
            other = _other(look, (node, link.name), ends.get((link.ifindex, link.peer), ()))
            far = _end(look, *other) if other is not None else None
            told.update(((node, link.name), *((far.place,) if far is not None else ())))
            yield Veth(_end(look, node, link), far)


def _other(
    look: Look, near: Place, ends: Sequence[tuple[str, rows.Link]]
) -> tuple[str, rows.Link] | None:
    """Of several with the right two numbers the one that is where the lab has put it."""
    for node, link in ends if len(ends) > 1 else ():
        if any(each[:2] == (near, link.name) for each in look.scope.cables.get(node, ())):
            return node, link
    return ends[0] if ends else None


def _end(look: Look, node: str, link: rows.Link) -> End:
    return End(node, link.name, link.mtu, link.mac, look.master_of(node, link), link.up)


def _probe() -> Op:
    near = End(WORLD, "doctor1", ORDINARY_MTU, "02:00:00:00:00:02", "doctor0")
    far = End("x", "doctor2", ORDINARY_MTU, "02:00:00:00:00:03")
    return AddVeth(Veth(near, far), 901, 902, 900)


NOUN = Noun("veth", _read, groups=(1,), probe=Probe(_probe, "veth"))  # RTNLGRP_LINK
