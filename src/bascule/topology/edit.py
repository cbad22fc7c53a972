"""Edits of a topology, for commands that change a lab that is up. Pure: each gives a new, checked
topology.

The way back through the lab file's words means that an edit can say nothing that a file could not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from bascule.errors import InputError, NotFound
from bascule.names import few
from bascule.topology.dump import to_data
from bascule.topology.load import from_data
from bascule.topology.model import Attachment, Node, Topology
from bascule.topology.tree import nearest, shown
from bascule.topology.words.node import ATTACHMENT

_SOURCE = "edit"


def add_network(topology: Topology, name: str, fields: Mapping[str, object]) -> Topology:
    """The topology with one more entry of ``networks``, in the lab file's words. Raises
    :class:`InputError` where its name is taken or the fields are wrong."""
    _absent("network", name, (each.name for each in topology.networks))
    data = to_data(topology)
    data["networks"][name] = dict(fields)
    return from_data(data, _SOURCE)


def remove_network(topology: Topology, *names: str, force: bool = False) -> Topology:
    """The topology without these networks, and with ``force`` without the attachments to them.

    Raises :class:`NotFound`, and :class:`InputError` where nodes are attached and ``force`` is not
    given, or where a node's routes lead through one of them.
    """
    wrong = list[str]()
    for name in names:
        _present("network", name, [each.name for each in topology.networks])
        attached = [
            node.name
            for node in topology.nodes
            if any(item.network == name for item in node.attachments)
        ]
        if attached and not force:
            wrong.append(
                f"network {name} has nodes attached ({few(attached)}); disconnect them first, or "
                f"use force"
            )
    if wrong:
        raise InputError("\n".join(wrong))
    networks = tuple(each for each in topology.networks if each.name not in names)
    nodes = tuple(_without(node, *names) for node in topology.nodes)
    return _checked(replace(topology, networks=networks, nodes=nodes))


def prune_networks(topology: Topology) -> Topology:
    """The topology without the networks to which no node is attached. Raises :class:`InputError`
    where a node's routes lead through one."""
    used = {attachment.network for node in topology.nodes for attachment in node.attachments}
    for network in topology.networks:
        if network.name not in used:
            topology = remove_network(topology, network.name)
    return topology


def add_node(topology: Topology, node: Node) -> Topology:
    """The topology with one more node. Raises :class:`InputError` where its name is taken or it
    does not fit."""
    return add_node_data(topology, node.name, _words(topology, node))


def add_node_data(topology: Topology, name: str, fields: Mapping[str, object]) -> Topology:
    """The topology with one more entry of ``nodes``, in the lab file's words (``count`` makes
    several nodes of it).

    Raises :class:`InputError` where a name is taken or the fields are wrong.
    """
    _absent("node", name, (each.name for each in topology.nodes))
    return _with(topology, topology.nodes, {name: dict(fields)})


def remove_node(topology: Topology, *names: str) -> Topology:
    """The topology without these nodes, and without their links. Raises :class:`NotFound`."""
    for name in names:
        _present("node", name, [each.name for each in topology.nodes])
    links = tuple(each for each in topology.links if not any(e.node in names for e in each.ends))
    topology = replace(topology, links=links)
    return _with(topology, (each for each in topology.nodes if each.name not in names), {})


def connect(topology: Topology, node: str, attachment: Attachment) -> Topology:
    """The topology with a node attached to one more network; empty names are filled in with the
    next free ones.

    Raises :class:`NotFound` for the node or the network, :class:`InputError` where the attachment
    does not fit.
    """
    return connect_data(topology, node, attachment.network, ATTACHMENT.write(attachment))


def connect_data(
    topology: Topology, node: str, network: str, fields: Mapping[str, object]
) -> Topology:
    """:func:`connect`, with the attachment in the lab file's words."""
    _present("node", node, [each.name for each in topology.nodes])
    _present("network", network, [each.name for each in topology.networks])
    old = next(each for each in topology.nodes if each.name == node)
    words = _words(topology, old)
    attached = words.setdefault("networks", {})
    if network in attached:
        raise InputError(f"node {node} is attached to network {network} already")
    attached[network] = dict(fields)
    return _instead(topology, node, words)


def disconnect(topology: Topology, node: str, network: str) -> Topology:
    """The topology with a node no longer attached to a network.

    Raises :class:`NotFound`, and :class:`InputError` where the node's own routes lead through the
    network.
    """
    _present("node", node, [each.name for each in topology.nodes])
    old = next(each for each in topology.nodes if each.name == node)
    names = [item.network for item in old.attachments]
    if network not in names:
        _present("network", network, [each.name for each in topology.networks])
        raise NotFound(
            f"node {node} is not attached to network {network}; it is on "
            f"{', '.join(names) or 'none'}"
        )
    return _instead(topology, node, _words(topology, _without(old, network)))


def _checked(topology: Topology) -> Topology:
    return from_data(to_data(topology), _SOURCE)


def _words(topology: Topology, node: Node) -> dict[str, Any]:
    """The node in the lab file's words."""
    words: dict[str, Any] = to_data(replace(topology, nodes=(node,)))["nodes"][node.name]
    return words


def _with(topology: Topology, kept: Iterable[Node], nodes: Mapping[str, object]) -> Topology:
    """The topology of nodes that stay as they are and of some that are read: only these cost time,
    however large the lab is."""
    data = to_data(replace(topology, nodes=()))
    return from_data({**data, "nodes": nodes}, _SOURCE, kept=kept)


def _instead(topology: Topology, name: str, words: Mapping[str, object]) -> Topology:
    """The topology with another node in a node's place."""
    others = (each for each in topology.nodes if each.name != name)
    edited = _with(topology, others, {name: words})
    return _replaced(topology, edited.nodes[-1])


def _replaced(topology: Topology, node: Node) -> Topology:
    return replace(
        topology, nodes=tuple(node if each.name == node.name else each for each in topology.nodes)
    )


def _without(node: Node, *networks: str) -> Node:
    kept = tuple(item for item in node.attachments if item.network not in networks)
    return node if kept == node.attachments else replace(node, attachments=kept)


def _absent(noun: str, name: str, names: Iterable[str]) -> None:
    if name in names:
        raise InputError(
            f"{noun} {shown(name)} is there already; choose another name, or remove it first"
        )


def _present(noun: str, name: str, names: list[str]) -> None:
    if name not in names:
        hint: Any = nearest(name, names) or (
            f"; there are {', '.join(names[:8])}" if names else "; there are none"
        )
        raise NotFound(f"no {noun} {shown(name)}{hint}")
