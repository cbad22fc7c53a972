"""Which nodes a change of a lab is about. The others are neither looked at nor mended: that is what
`up` and `plan` are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

from bascule.topology.model import Assigned


class Named(Protocol):
    """Something that has a name among its like."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def part_of(before: Assigned, after: Assigned) -> frozenset[str] | None:
    """The nodes that differ, or are on a network that does; None for all."""
    if replace(before, networks=(), nodes=()) != replace(after, networks=(), nodes=()):
        return None
    networks = {network.name for network in _different(before.networks, after.networks)}
    nodes = {node.name for node in _different(before.nodes, after.nodes)}
    if networks:
        for node in (*before.nodes, *after.nodes):
            if any(item.network in networks for item in node.attachments):
                nodes.add(node.name)
    return frozenset(nodes)


def _different(before: Iterable[N], after: Iterable[N]) -> Iterator[N]:
    """What is in one of them only, or not the same in both."""
    old = {each.name: each for each in before}
    for each in after:
        if old.pop(each.name, None) != each:
            yield each
    yield from old.values()
