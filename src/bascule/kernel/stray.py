"""A veth pair of the lab's whose end in the world somebody has moved into another namespace (`ip
link set DEV netns NAME`).

The end is not to be known there: its index is a lab's only in the world, and may be another now.
But the other one still is in its node; and who deletes one end deletes both.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from bascule.kernel.fact import Fact, Op
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import Effect, Indexes, Key, Netlink, ip
from bascule.wire import route as rt
from bascule.wire.message import Request


@dataclass(frozen=True, slots=True)
class Stray(Fact):
    """``name`` in ``node`` is the end of a pair of the lab's whose other end is not in the world.
    Nobody ever wants one. It is no part of the namespace that it is in: what a process keeps of
    that when the lab goes would still hold the other end."""

    node: str
    name: str
    index: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        return ("stray", self.node, self.name)

    @property
    def contains(self) -> tuple[Key, ...]:
        return (("link", self.node, self.name),)

    @property
    def can_come_back(self) -> bool:
        return False

    @property
    def is_irreplaceable(self) -> bool:
        return True

    def describe(self) -> str:
        return f"veth {self.name} in {self.node}, whose other end was moved away"

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DropStray(self.node, self.name, self.index),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()


@dataclass(frozen=True, slots=True)
class DropStray(Op):
    """``ip -n NODE link del``, which takes the other end along, wherever that is."""

    node: str
    name: str
    index: int

    def effect(self) -> Effect:
        return Netlink(
            self.node,
            Request(rt.DELLINK, 0, rt.IFINFO.pack(0, 0, self.index, 0, 0)),
            gone=(errno.ENODEV,),
        )

    def shell(self) -> tuple[str, ...]:
        return (ip(self.node, "link", "del", "dev", self.name),)


def _read(look: Look) -> Iterator[Fact]:
    """Ends in a node of pairs whose other end is not in the world. That they are the lab's the
    other end's index tells (IFLA_LINK) or, where it has got another one in its new place, their own
    name and MAC."""
    scope, world = look.scope, look.world
    for node, space in look.glimpsed.items():
        ours = {(peer, mac) for _link, peer, mac in scope.cables.get(node, ())}
        for link in space.links.values():
            other = world.links.get(link.peer)
            is_apart = link.peer and (other is None or other.peer != link.ifindex)
            if is_apart and (link.peer in scope.indexes or (link.name, link.mac) in ours):
                yield Stray(node, link.name, link.ifindex)


NOUN = Noun("stray", _read, groups=(1,))  # RTNLGRP_LINK
