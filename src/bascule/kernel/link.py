"""Links: bridges, veth pairs and lo (ip-link(8), veth(4); RTM_NEWLINK in rtnetlink(7), linux/if_link.h).

One message makes a whole veth pair: both names, both MACs, the peer in its namespace (IFLA_NET_NS_FD), the host's end
in its bridge and up. Only the peer's UP needs a second message, from inside: the kernel refuses it in the first (ENOTCONN).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields, replace

from bascule.kernel.op import WORLD, Effect, Fact, Indexes, Key, Netlink, Op, Settings, ip
from bascule.kernel.sysctl import SetSysctl
from bascule.wire import route as rt
from bascule.wire.attributes import Table, nest, text
from bascule.wire.inet import pack_mac
from bascule.wire.message import CREATE, EXCL, Request

_U32 = struct.Struct("=I")
_BRIDGE = {"kind": "bridge"}
_VETH = Table(kind=(1, text), data=(2, nest(rt.VETH_INFO)))
_ORDINARY_MTU = 1500
_NET_NS_FD_AT_END = 4  # the descriptor is the last attribute of the last nest: the message's last four bytes


@dataclass(frozen=True, slots=True)
class Loopback:
    """``lo`` of a node is up: without it a node can't reach its own addresses."""

    node: str
    up: bool = True

    @property
    def key(self) -> Key:
        return ("loopback", self.node)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),)

    @property
    def contains(self) -> tuple[Key, ...]:
        return ()

    def describe(self) -> str:
        return f"lo of {self.node}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLink(self.node, "lo", 1, "up", False, True),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLink(self.node, "lo", 1, "up", True, False),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return self.create(indexes)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return _differences(self, old)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge in the world. ``settings`` are sysctls that it is made with; whoever changes them later has his reasons."""

    name: str
    mtu: int
    mac: str
    up: bool = True
    settings: Settings = field(default=(), compare=False)

    @property
    def node(self) -> str:
        return WORLD

    @property
    def key(self) -> Key:
        return ("link", WORLD, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key,)

    def describe(self) -> str:
        return f"bridge {self.name} mtu {self.mtu}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        index = indexes.renew(WORLD, self.name)
        ops: list[Op] = [AddBridge(replace(self, up=self.up and not self.settings), index)]
        if self.mtu != _ORDINARY_MTU:
            # Set once more, it counts as the user's wish: the kernel no longer adapts it to the ports (br_mtu_auto_adjust).
            ops.append(ChangeLink(WORLD, self.name, index, "mtu", self.mtu, self.mtu))
        ops += _set(WORLD, self.settings)
        if self.up and self.settings:  # last, so that one that is up has them, also where a run was killed in between
            ops.append(ChangeLink(WORLD, self.name, index, "up", False, True))
        return tuple(ops)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        back = replace(self, up=self.up and not self.settings)  # with settings it is raised when it has them
        return (DeleteLink(indexes.of(WORLD, self.name), AddBridge(back, indexes.of(WORLD, self.name))),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Bridge):
            return None
        raised = _set(WORLD, self.settings, fresh=False) if self.up and not old.up else ()
        return (*raised, *_changes(WORLD, self.name, indexes, old, self, ("mtu", "mac", "up")))

    def differences(self, old: Fact) -> tuple[str, ...]:
        return _differences(self, old)


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair: ``name`` in the world, a port of ``bridge``; ``peer`` in ``node``, made with these sysctls."""

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
    autoconf: tuple[int, ...] = ()  # IP versions whose addresses and routes are the node's own affair

    @property
    def key(self) -> Key:
        return ("link", WORLD, self.name)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),)

    @property
    def contains(self) -> tuple[Key, ...]:
        return (self.key, ("link", self.node, self.peer))

    def describe(self) -> str:
        end = f" to {self.peer} ({self.node or 'nowhere'})" if self.peer else ""  # unseen, in a namespace of others
        return f"veth {self.name} ({self.bridge or 'no bridge'}){end}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        master = indexes.of(WORLD, self.bridge) if self.bridge else 0
        add = AddVeth(self, indexes.renew(WORLD, self.name), indexes.renew(self.node, self.peer), master)
        # Set before it is up: only then nothing has been done by the kernel's own ones.
        return (add, *_set(self.node, self.settings), ChangeLink(self.node, self.peer, add.peer_index, "up", False, True))

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        index = indexes.of(WORLD, self.name)
        if not self.node:  # the other end is not where it should be: there is no pair to bring back
            return (DeleteLink(index, None, self.name),)
        master = indexes.of(WORLD, self.bridge) if self.bridge else 0
        return (DeleteLink(index, AddVeth(self, index, indexes.of(self.node, self.peer), master)),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if not isinstance(old, Veth) or (old.node, old.peer, old.autoconf) != (self.node, self.peer, self.autoconf):
            return None
        ops = list(_changes(WORLD, self.name, indexes, old, self, ("mtu", "mac", "up")))
        if old.bridge != self.bridge:
            numbers = tuple(indexes.of(WORLD, bridge) if bridge else 0 for bridge in (old.bridge, self.bridge))
            master = ChangeLink(
                WORLD, self.name, indexes.of(WORLD, self.name), "master", old.bridge, self.bridge, (numbers[0], numbers[1])
            )
            ops.append(master)
        ends = (
            _Peer(old.peer_mtu or old.mtu, old.peer_mac, old.peer_up),
            _Peer(self.peer_mtu or self.mtu, self.peer_mac, self.peer_up),
        )
        if self.peer_up and not old.peer_up:
            ops.extend(_set(self.node, self.settings, fresh=False))
        ops.extend(_changes(self.node, self.peer, indexes, *ends, ("mtu", "mac", "up")))
        return tuple(ops)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return _differences(self, old)


@dataclass(frozen=True, slots=True)
class _Peer:
    mtu: int
    mac: str
    up: bool


def _set(node: str, settings: Settings, fresh: bool = True) -> tuple[Op, ...]:
    """What a link is made with, to be set before it is up: just now (``fresh``), or by an earlier run."""
    return tuple(SetSysctl(node, key, value, fresh=fresh, own=not fresh) for key, value in settings)


def _changes(node: str, name: str, indexes: Indexes, old: object, new: object, names: tuple[str, ...]) -> tuple[Op, ...]:
    """One operation for each field that differs."""
    pairs = ((field, getattr(old, field), getattr(new, field)) for field in names)
    return tuple(
        ChangeLink(node, name, indexes.of(node, name), field, was, wanted) for field, was, wanted in pairs if was != wanted
    )


def _differences(new: Fact, old: Fact) -> tuple[str, ...]:
    """``mtu 1400 -> 1500`` for each field that differs; nothing where the kinds differ."""
    if type(new) is not type(old):
        return ("another kind",)
    shown = []
    for each in fields(new):  # type: ignore[arg-type]
        was, wanted = getattr(old, each.name), getattr(new, each.name)
        if each.compare and was != wanted:
            name = each.name.replace("_", " ")
            shown.append(f"{name} is {_word(was)}, should be {_word(wanted)}")
    return tuple(shown)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " and ".join(f"IPv{version}" for version in value if version) or "none"
    return str(value) or "none"


@dataclass(frozen=True, slots=True)
class AddBridge:
    """``ip link add NAME type bridge``, up in the same message."""

    bridge: Bridge
    index: int

    @property
    def node(self) -> str:
        return WORLD

    def effect(self) -> Effect:
        attributes = rt.LINK.encode(
            {"ifname": self.bridge.name, "mtu": self.bridge.mtu, "address": pack_mac(self.bridge.mac), "linkinfo": _BRIDGE}
        )
        flags = rt.IFF_UP if self.bridge.up else 0
        header = rt.IFINFO.pack(0, 0, self.index, flags, flags)
        return Netlink(WORLD, Request(rt.NEWLINK, CREATE | EXCL, header + attributes))

    def shell(self) -> tuple[str, ...]:
        b = self.bridge
        up = ("up",) if b.up else ()
        return (ip("", "link", "add", "dev", b.name, "address", b.mac, "mtu", str(b.mtu), *up, "type", "bridge"),)

    def undo(self) -> Op | None:
        return DeleteLink(self.index, self)


@dataclass(frozen=True, slots=True)
class AddVeth:
    """``ip link add … type veth peer …``: the whole pair in one message."""

    veth: Veth
    index: int
    peer_index: int
    master: int

    @property
    def node(self) -> str:
        return WORLD

    def effect(self) -> Effect:
        v = self.veth
        peer = rt.IFINFO.pack(0, 0, self.peer_index, 0, 0) + rt.LINK.encode(
            {"ifname": v.peer, "mtu": v.peer_mtu or v.mtu, "address": pack_mac(v.peer_mac), "net_ns_fd": 0}
        )
        values: dict[str, object] = {"ifname": v.name, "mtu": v.mtu, "address": pack_mac(v.mac)}
        if self.master:
            values["master"] = self.master
        flags = rt.IFF_UP if v.up else 0
        # The pair's own attributes go last, so that the descriptor's place is known: the end.
        body = rt.IFINFO.pack(0, 0, self.index, flags, flags) + rt.LINK.encode(values) + _link_info(peer)
        return Netlink(WORLD, Request(rt.NEWLINK, CREATE | EXCL, body), len(body) - _NET_NS_FD_AT_END, v.node)

    def shell(self) -> tuple[str, ...]:
        v = self.veth
        master = ("master", v.bridge) if self.master else ()
        up = ("up",) if v.up else ()
        host = ("dev", v.name, "address", v.mac, "mtu", str(v.mtu), *master, *up)
        peer = ("name", v.peer, "address", v.peer_mac, "mtu", str(v.peer_mtu or v.mtu), "netns", v.node)
        return (ip("", "link", "add", *host, "type", "veth", "peer", *peer),)

    def undo(self) -> Op | None:
        return DeleteLink(self.index, self)


_LINK_WITH_VETH = Table(linkinfo=(18, nest(_VETH)))


def _link_info(peer: bytes) -> bytes:
    return _LINK_WITH_VETH.encode({"linkinfo": {"kind": "veth", "data": {"peer": peer}}})


@dataclass(frozen=True, slots=True)
class DeleteLink:
    """``ip link del``. A veth end takes its peer along."""

    index: int
    back: AddBridge | AddVeth | None
    name: str = ""

    @property
    def node(self) -> str:
        return WORLD

    @property
    def link_name(self) -> str:
        if self.back is None:
            return self.name
        return self.back.bridge.name if isinstance(self.back, AddBridge) else self.back.veth.name

    def effect(self) -> Effect:
        return Netlink(WORLD, Request(rt.DELLINK, 0, rt.IFINFO.pack(0, 0, self.index, 0, 0)))

    def shell(self) -> tuple[str, ...]:
        return (ip("", "link", "del", "dev", self.link_name),)

    def undo(self) -> Op | None:
        return self.back


@dataclass(frozen=True, slots=True)
class ChangeLink:
    """``ip link set``: one field. ``masters`` are the indexes of the old and the new bridge, 0 for none."""

    node: str
    name: str
    index: int
    field: str
    old: str | int | bool
    new: str | int | bool
    masters: tuple[int, int] = (0, 0)

    def effect(self) -> Effect:
        flags = change = 0
        values: dict[str, object] = {}
        if self.field == "up":
            flags, change = rt.IFF_UP if self.new else 0, rt.IFF_UP
        elif self.field == "mac":
            values["address"] = pack_mac(str(self.new))
        elif self.field == "master":
            values["master"] = self.masters[1]
        else:
            values["mtu"] = int(self.new)
        body = rt.IFINFO.pack(0, 0, self.index, flags, change) + rt.LINK.encode(values)
        return Netlink(self.node, Request(rt.NEWLINK, 0, body))

    def shell(self) -> tuple[str, ...]:
        if self.field == "up":
            words: tuple[str, ...] = ("up" if self.new else "down",)
        elif self.field == "master":
            words = ("master", str(self.new)) if self.new else ("nomaster",)
        else:
            words = ("address" if self.field == "mac" else self.field, str(self.new))
        return (ip(self.node, "link", "set", "dev", self.name, *words),)

    def undo(self) -> Op | None:
        return ChangeLink(self.node, self.name, self.index, self.field, self.new, self.old, (self.masters[1], self.masters[0]))
