"""Names that would mean two things. What nodes are called by is a host name, which knows no case
(RFC 1035 section 2.3.3).

A node's own names are its name and NODE.NETWORK for each of its networks: each is nobody else's.
What the file gives besides (`aliases`, `hostname`) several nodes may share, as with Docker; it must
not be another node's own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bascule.topology.model import Node, Topology
from bascule.topology.tree import Path, Problem


class _Own(NamedTuple):
    """Whose name it is, how it is written, and the network in it."""

    node: str
    name: str
    network: str = ""

    def __str__(self) -> str:
        return (
            f"what node {self.node} is called on network {self.network}"
            if self.network
            else f"the name of node {self.node}"
        )


def check_names(topology: Topology) -> Iterator[Problem]:
    """Names that differ by case only, or that are another node's."""
    own: dict[str, _Own] = {}
    for node in topology.nodes:
        path: Path = ("nodes", node.name)
        other = own.setdefault(node.name.lower(), _Own(node.name, node.name))
        if other.node != node.name:
            yield (
                path,
                (
                    f"'{node.name}' and '{other.name}' differ by case only, which host names do "
                    f"not know; rename one"
                ),
            )
    for node in topology.nodes:
        yield from _on_networks(node, own)
    for node in topology.nodes:
        for path, name in _given(node):
            taken = own.get(name.lower())
            if taken is not None and taken.node != node.name:
                yield path, f"'{name}' is {taken}, so that it would mean both; choose another name"


def _on_networks(node: Node, own: dict[str, _Own]) -> Iterator[Problem]:
    """NODE.NETWORK of each network."""
    for item in node.attachments:
        full = f"{node.name}.{item.network}"
        mine = _Own(node.name, full, item.network)
        other = own.setdefault(full.lower(), mine)
        if other == mine or (other.node != node.name and other.node.lower() == node.name.lower()):
            continue  # in the second case the nodes' names themselves have been told
        if other.network:
            yield (
                ("nodes", node.name, "networks", item.network),
                f"'{full}' would be {mine}, and is {other}; rename one of them",
            )
        else:
            yield ("nodes", other.node), f"'{other.name}' is also {mine}; rename one of the two"


def _given(node: Node) -> Iterator[tuple[Path, str]]:
    """Where it stands, and the name. A line of a node's own hosts file does not take the place of
    the lab's: both would count."""
    for item in node.attachments:
        for index, name in enumerate(item.aliases):
            yield ("nodes", node.name, "networks", item.network, "aliases", index), name
    if node.hostname:
        yield ("nodes", node.name, "hostname"), node.hostname
    for index, (name, _address) in enumerate(node.extra_hosts):
        yield ("nodes", node.name, "extra_hosts", index), name
