"""Flags of bridge ports (bridge(8), IFLA_BRPORT_* in linux/if_link.h).

``isolated``: the port exchanges frames only with ports that are not isolated, and with the bridge
itself. ``hairpin``: a frame may leave by the port that it came by, which a node needs to reach
itself by an address that is translated on the bridge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from bascule.kernel.fact import Fact, Op
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import Effect, Indexes, Key, Netlink, ip
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire.message import Request

ISOLATED, HAIRPIN = "isolated", "hairpin"


@dataclass(frozen=True, slots=True)
class PortFlag(Fact):
    """The bridge port ``name`` has this flag."""

    noun: ClassVar[Kind] = "port_flag"

    node: str
    name: str
    flag: str

    @property
    def key(self) -> Key:
        return ("port", self.node, self.name, self.flag)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", self.node, self.name),)

    def describe(self) -> str:
        return f"{self.flag} on port {self.name}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set(indexes, True),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (self._set(indexes, False),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()

    def _set(self, indexes: Indexes, on: bool) -> SetPortFlag:
        index = indexes.of(self.node, self.name)
        return SetPortFlag(self.node, self.name, index, self.flag, on)


@dataclass(frozen=True, slots=True)
class SetPortFlag(Op):
    """``ip link set dev PORT type bridge_slave FLAG on|off``"""

    node: str
    name: str
    index: int
    flag: str
    on: bool

    def effect(self) -> Effect:
        info = {"slave_kind": "bridge", "slave_data": rt.BRIDGE_PORT.encode({self.flag: self.on})}
        body = rt.IFINFO.pack(0, 0, self.index, 0, 0) + rt.LINK.encode({"linkinfo": info})
        return Netlink(self.node, Request(rt.NEWLINK, 0, body))

    def shell(self) -> tuple[str, ...]:
        return (
            ip(
                self.node,
                "link",
                "set",
                "dev",
                self.name,
                "type",
                "bridge_slave",
                self.flag,
                "on" if self.on else "off",
            ),
        )

    def undo(self) -> Op | None:
        return SetPortFlag(self.node, self.name, self.index, self.flag, not self.on)


_FIELDS = rt.BRIDGE_PORT.numbers(ISOLATED, HAIRPIN)


def _read(look: Look) -> Iterator[Fact]:
    for node, link in look.named():
        if link.kind == "veth" and link.port_of == "bridge":
            found = rt.BRIDGE_PORT.decode_only(link.port, 0, _FIELDS)
            yield from (PortFlag(node, link.name, flag) for flag, value in found.items() if value)


NOUN = Noun("port", _read, groups=(1,))  # RTNLGRP_LINK
