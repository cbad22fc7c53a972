"""Veth pairs (veth(4); RTM_NEWLINK in rtnetlink(7), linux/if_link.h).

One message makes a whole veth pair: both names, both MACs, the peer in its namespace
(IFLA_NET_NS_FD), the host's end in its bridge and up. Only the peer's UP needs a second message,
from inside: the kernel refuses it in the first (ENOTCONN).
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import BESIDES, Beside, Claim, Fact, Known, Op, Place, Sought, WorldOp
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
class Veth(Fact):
    """A veth pair: ``name`` in the world, a port of ``bridge``; ``peer`` in ``node``, made with
    these sysctls."""

    section: ClassVar[tuple[int, int]] = (3, 0)
    order: ClassVar[int] = 2
    disturbs: ClassVar[str] = "~"
    moves: ClassVar[bool] = True
    carries_flows: ClassVar[bool] = True

    name: str
    node: str
    peer: str
    bridge: str
    mtu: int
    mac: str
    peer_mac: str
    up: bool = True
    peer_up: bool = True
    peer_mtu: int = 0  # 0: like mtu
    settings: Settings = field(default=(), compare=False)
    # IP versions whose addresses and routes are the node's own affair
    autoconf: tuple[int, ...] = ()

    @property
    def key(self) -> Key:
        return ("link", WORLD, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),)

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key, ("link", self.node, self.peer))

    @property
    def port_of(self) -> str:
        return self.bridge

    @property
    def taken(self) -> Place:
        return (WORLD, self.name)

    @property
    def macs(self) -> Mapping[Place, str]:
        return {(self.node, self.peer): self.peer_mac}

    @property
    def lingers(self) -> str:
        return self.name

    @property
    def can_come_back(self) -> bool:
        return bool(self.node)  # without its other end there is no pair to bring back

    @property
    def is_irreplaceable(self) -> bool:
        return not self.node

    def sought(self, scope: Sought) -> None:
        scope.links.add(self.name)
        scope.interfaces.add((self.node, self.peer))
        scope.autoconf.update((self.node, self.peer, version) for version in self.autoconf)
        scope.cables.setdefault(self.node, set()).add((self.name, self.peer, self.peer_mac))

    def is_mine(self, claim: Claim) -> bool:
        return claim.seen.get((WORLD, self.name)) in claim.indexes

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
            return believed if believed is not None and believed.node in known.nodes else self
        ways = {fact.autoconf for fact in before}
        return replace(self, autoconf=_UNKNOWN if len(ways) > 1 else next(iter(ways), ()))

    def whole(self, made: Fact | None) -> Fact:
        if not isinstance(made, Veth):
            return self
        settings = tuple((renamed(key, self.peer), value) for key, value in made.settings)
        return replace(self, settings=settings)

    def describe(self) -> str:
        # unseen, in a namespace of others
        end = f" to {self.peer} ({self.node or 'nowhere'})" if self.peer else ""
        return f"veth {self.name} ({self.bridge or 'no bridge'}){end}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        master = indexes.of(WORLD, self.bridge) if self.bridge else 0
        add = AddVeth(
            self, indexes.renew(WORLD, self.name), indexes.renew(self.node, self.peer), master
        )
        # Set before it is up: only then nothing has been done by the kernel's own ones.
        return (
            add,
            *made_with(self.node, self.settings),
            ChangeLink(self.node, self.peer, add.peer_index, "up", False, True),
        )

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        index = indexes.of(WORLD, self.name)
        if not self.node:  # the other end is not where it should be: there is no pair to bring back
            return (DeleteLink(index, self.name),)
        master = indexes.of(WORLD, self.bridge) if self.bridge else 0
        back = AddVeth(self, index, indexes.of(self.node, self.peer), master)
        return (DeleteLink(index, self.name, back),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Veth) or (old.node, old.peer, old.autoconf) != (
            self.node,
            self.peer,
            self.autoconf,
        ):
            return None
        ops = list(changes(WORLD, self.name, indexes, old, self, ("mtu", "mac", "up")))
        if old.bridge != self.bridge:
            numbers = tuple(
                indexes.of(WORLD, bridge) if bridge else 0 for bridge in (old.bridge, self.bridge)
            )
            master = ChangeLink(
                WORLD,
                self.name,
                indexes.of(WORLD, self.name),
                "master",
                old.bridge,
                self.bridge,
                (numbers[0], numbers[1]),
            )
            ops.append(master)
        ends = (
            _Peer(old.peer_mtu or old.mtu, old.peer_mac, old.peer_up),
            _Peer(self.peer_mtu or self.mtu, self.peer_mac, self.peer_up),
        )
        if self.peer_up and not old.peer_up:
            ops.extend(made_with(self.node, self.settings, fresh=False))
        ops.extend(changes(self.node, self.peer, indexes, *ends, ("mtu", "mac", "up")))
        return tuple(ops)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return differences(self, old)

    def by_hand(self, lab: Beside) -> Iterator[str]:
        host, peer, node = (shlex.quote(name) for name in (self.name, self.peer, self.node))
        yield f"ip link add {host} type veth peer name {peer}"
        yield f"ip link set dev {host} address {self.mac}  {BESIDES} a MAC that stays"
        yield f"ip link set dev {peer} address {self.peer_mac}  {BESIDES} a MAC that stays"
        if self.mtu != ORDINARY_MTU:
            yield from (f"ip link set dev {name} mtu {self.mtu}" for name in (host, peer))
        if self.bridge:
            yield f"brctl addif {shlex.quote(self.bridge)} {host}"
        yield f"ip link set {host} up"
        yield from lab.lines(WORLD, self.name)
        yield f"ip link set {peer} netns {node}"
        yield from settings_by_hand(self.node, self.settings)
        yield f"ip netns exec {node} ip link set {peer} up"
        yield from lab.lines(self.node, self.peer)


@dataclass(frozen=True, slots=True)
class _Peer:
    mtu: int
    mac: str
    up: bool


@dataclass(frozen=True, slots=True)
class AddVeth(WorldOp):
    """``ip link add … type veth peer …``: the whole pair in one message."""

    veth: Veth
    index: int
    peer_index: int
    master: int

    def effect(self) -> Effect:
        v = self.veth
        peer = rt.IFINFO.pack(0, 0, self.peer_index, 0, 0) + rt.LINK.encode(
            {
                "ifname": v.peer,
                "mtu": v.peer_mtu or v.mtu,
                "address": pack_mac(v.peer_mac),
                "net_ns_fd": 0,
            }
        )
        values: dict[str, object] = {"ifname": v.name, "mtu": v.mtu, "address": pack_mac(v.mac)}
        if self.master:
            values["master"] = self.master
        flags = rt.IFF_UP if v.up else 0
        # The pair's own attributes go last, so that the descriptor's place is known: the end.
        body = (
            rt.IFINFO.pack(0, 0, self.index, flags, flags)
            + rt.LINK.encode(values)
            + _link_info(peer)
        )
        return Netlink(
            WORLD, Request(rt.NEWLINK, CREATE | EXCL, body), len(body) - _NET_NS_FD_AT_END, v.node
        )

    def shell(self) -> tuple[str, ...]:
        v = self.veth
        master = ("master", v.bridge) if self.master else ()
        up = ("up",) if v.up else ()
        host = ("dev", v.name, "address", v.mac, "mtu", str(v.mtu), *master, *up)
        peer = (
            "name",
            v.peer,
            "address",
            v.peer_mac,
            "mtu",
            str(v.peer_mtu or v.mtu),
            "netns",
            v.node,
        )
        return (ip("", "link", "add", *host, "type", "veth", "peer", *peer),)

    def undo(self) -> Op | None:
        return DeleteLink(self.index, self.veth.name, self)


def _link_info(peer: bytes) -> bytes:
    return _LINK.encode({"linkinfo": {"kind": "veth", "data": {"peer": peer}}})


def renamed(key: str, interface: str) -> str:
    """A key of sysctl(8) below net.ipv6.conf. for another interface; with slashes where the name
    holds a dot."""
    words = key.split("/" if "/" in key else ".")
    return ("/" if "." in interface else ".").join((*words[:3], interface, *words[4:]))


def _read(look: Look) -> Iterator[Fact]:
    """The index of each end names the other."""
    ends = {
        (link.peer, link.ifindex): (node, link)
        for node, space in look.nodes.items()
        for link in space.links.values()
        if link.peer
    }
    for link in look.world.links.values():
        if link.name in look.scope.links and link.kind == "veth":
            master = look.world.links.get(link.master)
            bridge = master.name if master else ""
            yield _pair(link, bridge, ends.get((link.ifindex, link.peer)))


def _pair(link: rows.Link, bridge: str, end: tuple[str, rows.Link] | None) -> Veth:
    if end is None:
        return Veth(link.name, "", "", bridge, link.mtu, link.mac, "", link.up, False)
    node, peer = end
    own = peer.mtu if peer.mtu != link.mtu else 0
    macs = (link.mac, peer.mac)
    return Veth(link.name, node, peer.name, bridge, link.mtu, *macs, link.up, peer.up, own)


def _probe() -> Op:
    macs = ("02:00:00:00:00:02", "02:00:00:00:00:03")
    return AddVeth(Veth("doctor1", "x", "doctor2", "doctor0", 1500, *macs), 901, 902, 900)


NOUN = Noun("veth", _read, groups=(1,), probe=Probe(_probe, "veth"))  # RTNLGRP_LINK
