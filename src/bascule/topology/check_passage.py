"""Checks of what passes between networks: `nat`, `internal`, `reach` and published ports."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.topology.model import Network, Node, Topology
from bascule.topology.ports import Taken, families, port_text
from bascule.topology.tree import Path, Problem, nearest, shown


def check_passage(topology: Topology) -> Iterator[Problem]:
    """All problems of this kind."""
    networks = {network.name: network for network in topology.networks}
    for network in topology.networks:
        yield from _network(network, networks)
    taken = Taken()
    for node in topology.nodes:
        yield from _ports(node, networks, taken)


def _network(network: Network, networks: dict[str, Network]) -> Iterator[Problem]:
    path: Path = ("networks", network.name)
    for key, asked in (("nat", network.nat), ("reach", network.reach)):
        if asked and network.internal:
            yield (*path, key), "the network is `internal`: nothing passes to others; remove one of the two"
        elif asked and not network.has_gateway:
            yield (*path, key), "needs a bridge with an address: what leaves goes through it; remove `gateway: none`"
    if network.dns and not network.has_gateway:
        yield (*path, "dns"), "a name server needs a bridge with an address; remove `gateway: none`"
    yield from _outbound(network, (*path, "outbound_address"))
    for index, name in enumerate(network.reach):
        here: Path = (*path, "reach", index)
        other = networks.get(name)
        if other is None:
            yield here, f"unknown network '{shown(name)}'{nearest(name, networks) or ''}"
        elif name == network.name:
            yield here, "a network reaches itself, as long as `icc` is not false; remove it"
        elif other.internal or not other.has_gateway:
            why = "is `internal`" if other.internal else "has no gateway that its nodes could answer through"
            yield here, f"{name} {why}; remove one of the two"


def _outbound(network: Network, path: Path) -> Iterator[Problem]:
    if network.outbound and not network.nat:
        yield path, "means something only with `nat: true`"
    if len({address.version for address in network.outbound}) < len(network.outbound):
        yield path, "gives two addresses of one family; keep one"


def _ports(node: Node, networks: dict[str, Network], taken: Taken) -> Iterator[Problem]:
    leading = [networks[item.network] for item in node.attachments if item.network in networks]
    leading = [network for network in leading if network.has_gateway and not network.internal]
    for index, port in enumerate(node.ports):
        path: Path = ("nodes", node.name, "ports", index)
        owner = taken.owner_of(port)
        if owner:
            yield path, f"port {owner[0]} of the host is published by {owner[1]} already; choose another"
        elif port.published:
            taken.add(port, f"node {node.name}")
        if not leading:
            yield path, "can't be reached: the node is on no network that has a gateway and is not `internal`"
        elif all(network.subnets for network in leading):
            versions = {subnet.version for network in leading for subnet in network.subnets}
            if versions.isdisjoint(families(port)):
                family = f"IPv{families(port)[0]}"
                yield (
                    path,
                    f"{port_text(port)} is {family}, and the node has no {family} address; give its network such a `subnet`",
                )
