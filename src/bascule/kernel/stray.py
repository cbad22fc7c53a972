"""A veth pair of the lab's of which somebody has moved one end into another namespace (`ip link set
DEV netns NAME`).

The end is not to be found there. But the other one still is in its node; and who deletes one end
deletes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from bascule.kernel.fact import Fact, Op
from bascule.kernel.link import DeleteLink
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import WORLD, Indexes, Key
from bascule.kernel.told import Kind


@dataclass(frozen=True, slots=True)
class Stray(Fact):
    """``name`` in ``node`` is the end of a pair of the lab's whose other end is not in the world.
    Nobody ever wants one. It is no part of the namespace that it is in: what a process keeps of
    that when the lab goes would still hold the other end."""

    noun: ClassVar[Kind] = "stray"

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
        return (DeleteLink(self.node, self.name, self.index),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()


def _read(look: Look) -> Iterator[Fact]:
    """Ends in a node of pairs whose other end was not found where it should be. That they are the
    lab's an index tells, their own or the other end's (IFLA_LINK), or, where it has got another one
    in its new place, their own name and MAC."""
    scope, spaces = look.scope, {WORLD: look.world, **look.glimpsed}
    ends = {
        (link.ifindex, link.peer)
        for space in spaces.values()
        for link in space.links.values()
        if link.peer
    }
    for node, space in look.glimpsed.items():
        ours = {
            (cable.name, cable.mac)
            for cable in scope.cables.get(node, ())
            if cable.other[0] in spaces
        }
        for link in (link for link in space.links.values() if link.kind == "veth"):
            is_apart = (link.peer, link.ifindex) not in ends
            by_index = link.ifindex in scope.indexes or link.peer in scope.indexes
            if is_apart and (by_index or (link.name, link.mac) in ours):
                yield Stray(node, link.name, link.ifindex)


NOUN = Noun("stray", _read, groups=(1,))  # RTNLGRP_LINK
