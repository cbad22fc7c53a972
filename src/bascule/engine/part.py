"""Which nodes a change of a lab is about. The others are not looked into and not mended: that is
what `up` and `plan` are for. What is not in a node (bridges, rules, files and the links to them) is
looked at as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bascule.plan.desired import networks_of
from bascule.topology.links import ends_at
from bascule.topology.model import Assigned


def part_of(before: Assigned, after: Assigned) -> frozenset[str] | None:
    """The nodes that differ, or are on a network that does, be it by who else is on it; None for
    all."""
    if replace(before, networks=(), nodes=()) != replace(after, networks=(), nodes=()):
        return None
    networks = _different(networks_of(before), networks_of(after))
    nodes = _different(*({node.name: node for node in lab.nodes} for lab in (before, after)))
    for node in (*before.nodes, *after.nodes) if networks else ():
        if any(item.network in networks for item in node.attachments):
            nodes.add(node.name)
    # what is between two nodes is looked at with both
    return None if not nodes.isdisjoint(ends_at(after.links)) else frozenset(nodes)


def _different(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    """The names of what is in one of them only, or not the same in both."""
    return {name for name in before.keys() | after if before.get(name) != after.get(name)}
