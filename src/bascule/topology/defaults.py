"""Interface names that the file leaves out, and the MAC addresses that follow from the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

from bascule.names import derived_mac, host_interface_name
from bascule.topology.model import Attachment, Node


def interface_name(position: int) -> str:
    """The name in the node of its attachment at this position."""
    return f"eth{position}"


def fill_interfaces(networks: Iterable[str], nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes with all interface names given.

    Names in the file come first; a derived name that is taken gives way to the next, so that none
    ever clashes. Host interfaces share the world with the bridges, so the networks' names count as
    taken.
    """
    nodes = tuple(nodes)
    on_host = set(networks)
    on_host.update(
        item.host_interface for node in nodes for item in node.attachments if item.host_interface
    )
    return tuple(_filled(node, on_host) for node in nodes)


def _filled(node: Node, on_host: set[str]) -> Node:
    if not node.attachments:
        return node
    inside = {item.interface for item in node.attachments if item.interface}
    filled: list[Attachment] = []
    for position, item in enumerate(node.attachments):
        inner = item.interface or _free(interface_name, position, inside)
        outer = item.host_interface
        if not outer:
            outer = host_interface_name(node.name, position)
            if outer in on_host:
                outer = _free(
                    lambda number: host_interface_name(node.name, number), position + 1, on_host
                )
            on_host.add(outer)
        given = (item.interface, item.host_interface) == (inner, outer)
        filled.append(item if given else replace(item, interface=inner, host_interface=outer))
    return with_attachments(node, filled)


def with_attachments(node: Node, made: list[Attachment]) -> Node:
    """The node with these; itself where they are its own."""
    same = all(new is old for new, old in zip(made, node.attachments, strict=True))
    return node if same else replace(node, attachments=tuple(made))


def _free(name_of: Callable[[int], str], first: int, taken: set[str]) -> str:
    name = next(name for name in map(name_of, count(first)) if name not in taken)
    taken.add(name)
    return name


def network_mac(lab: str, network: str) -> str:
    """A bridge's MAC, where the file gives none."""
    return derived_mac(lab, network)


def attachment_mac(lab: str, node: str, interface: str, address: str) -> str:
    """An attachment's MAC, where the file gives none: from its first address, so that a rebuilt
    node is met under the MAC that its peers know; from its names where it has no address."""
    return derived_mac(lab, address) if address else derived_mac(lab, node, interface)
