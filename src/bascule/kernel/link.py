"""Links of any kind: lo, and what can be done to each (ip-link(8); RTM_NEWLINK in rtnetlink(7),
linux/if_link.h)."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from bascule.kernel.fact import BESIDES, Beside, Fact, Op
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import Effect, Indexes, Key, Netlink, Settings, ip
from bascule.kernel.sysctl import SetSysctl
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire.inet import pack_mac
from bascule.wire.message import Request

LOOPBACK, LOOPBACK_INDEX = "lo", 1  # LOOPBACK_IFINDEX, net/flow.h
ORDINARY_MTU = 1500


@dataclass(frozen=True, slots=True)
class Loopback(Fact):
    """``lo`` of a node is up: without it a node can't reach its own addresses."""

    noun: ClassVar[Kind] = "loopback"
    section: ClassVar[tuple[int, int]] = (1, 1)
    disturbs: ClassVar[str] = "~"

    node: str
    up: bool = True

    @property
    def key(self) -> Key:
        return ("loopback", self.node)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),)

    def describe(self) -> str:
        return f"lo of {self.node}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLink(self.node, "lo", 1, "up", False, True),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeLink(self.node, "lo", 1, "up", True, False),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return self.create(indexes)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return differences(self, old)

    def by_hand(self, lab: Beside) -> Iterator[str]:
        name = shlex.quote(self.node)
        yield f"ip netns exec {name} ip link set lo up  {BESIDES} a node reaches its own addresses"
        yield from lab.lines(self.node, LOOPBACK)


_WHY = {
    ("accept_ra", "0"): "nobody announces himself as its router",
    ("accept_ra", "2"): (
        "its router is the one that announces itself, also where it passes packets on"
    ),
    ("accept_redirects", "0"): "nobody tells it another way",
    ("accept_dad", "0"): "no waiting for IPv6: each address is given once",
}


def settings_by_hand(node: str, settings: Settings) -> Iterator[str]:
    """The lines that a person writes for what a link is made with, each with its reason."""
    for key, value in settings:
        why = next(
            text for (word, meant), text in _WHY.items() if key.endswith(word) and value == meant
        )
        yield from (f"{line}  {BESIDES} {why}" for line in SetSysctl(node, key, value, "").shell())


def made_with(node: str, settings: Settings, fresh: bool = True) -> tuple[Op, ...]:
    """What a link is made with, to be set before it is up: just now (``fresh``), or by an earlier
    run."""
    return tuple(SetSysctl(node, key, value, fresh=fresh, own=not fresh) for key, value in settings)


def changes(
    node: str, name: str, indexes: Indexes, old: object, new: object, names: tuple[str, ...]
) -> tuple[Op, ...]:
    """One operation for each field that differs."""
    pairs = ((field, getattr(old, field), getattr(new, field)) for field in names)
    return tuple(
        ChangeLink(node, name, indexes.of(node, name), field, was, wanted)
        for field, was, wanted in pairs
        if was != wanted
    )


def differences(new: Fact, old: Fact) -> tuple[str, ...]:
    """``mtu 1400 -> 1500`` for each field that differs; nothing where the kinds differ."""
    if type(new) is not type(old):
        return ("another kind",)
    names = (each.name for each in fields(new) if each.compare)  # type: ignore[arg-type]
    return tuple(told(new, old, {name: name for name in names}))


def told(new: object, old: object, names: Mapping[str, str]) -> Iterator[str]:
    """Each of these fields that differs, by the name that it is told by."""
    for field, name in names.items():
        was, wanted = getattr(old, field), getattr(new, field)
        if was != wanted:
            yield f"{name} is {_word(was)}, should be {_word(wanted)}"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " and ".join(f"IPv{version}" for version in value if version) or "none"
    return str(value) or "none"


@dataclass(frozen=True, slots=True)
class DeleteLink(Op):
    """``ip link del``. A veth end takes its peer along, wherever that is."""

    node: str
    name: str
    index: int
    back: Op | None = None

    def effect(self) -> Effect:
        request = Request(rt.DELLINK, 0, rt.IFINFO.pack(0, 0, self.index, 0, 0))
        return Netlink(self.node, request, gone=(errno.ENODEV,))

    def shell(self) -> tuple[str, ...]:
        return (ip(self.node, "link", "del", "dev", self.name),)

    def undo(self) -> Op | None:
        return self.back


@dataclass(frozen=True, slots=True)
class ChangeLink(Op):
    """``ip link set``: one field. ``masters`` are the indexes of the old and the new bridge, 0 for
    none."""

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
        return ChangeLink(
            self.node,
            self.name,
            self.index,
            self.field,
            self.new,
            self.old,
            (self.masters[1], self.masters[0]),
        )


def _read(look: Look) -> Iterator[Fact]:
    adopted = {name for name, _source in look.scope.adopted}  # whose lo is its owner's affair
    for node, space in look.nodes.items():
        lo = space.links.get(LOOPBACK_INDEX)
        if lo is not None and lo.up and node not in adopted:
            yield Loopback(node)


NOUN = Noun("lo", _read, groups=(1,))  # RTNLGRP_LINK
