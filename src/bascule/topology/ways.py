"""Through which of its networks a node reaches the world, and is reached from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bascule.topology.model import Attachment, IPAddress, Network, Node, Route, Topology


def gateways(network: Network) -> list[tuple[IPAddress, int]]:
    """Each address of the bridge with its prefix length."""
    return [
        (gateway, subnet.prefixlen)
        for gateway in network.gateways
        for subnet in network.subnets
        if gateway.version == subnet.version and gateway in subnet
    ]


def ways_out(node: Node, networks: Mapping[str, Network]) -> Iterator[tuple[Attachment, IPAddress]]:
    """For each family the attachment and the gateway of the default route: the one with the highest
    priority whose network leads anywhere, and of equals the first."""
    given = set()
    for attachment in sorted(node.attachments, key=lambda item: -item.gateway_priority):
        network = networks[attachment.network]
        for gateway, _prefix in () if network.internal else gateways(network):
            if gateway.version not in given:
                given.add(gateway.version)
                yield attachment, gateway


def answering(
    node: Node, networks: Mapping[str, Network]
) -> Iterator[tuple[Attachment, IPAddress]]:
    """For each family the attachment and the gateway through which the node answers who is far
    away: those of its default route, which its own routes may lead elsewhere. Nothing for a family
    whose default route leads to another node."""
    own: dict[int, Route] = {}
    for route in sorted(node.routes, key=lambda each: each.metric):
        if route.to.prefixlen == 0:
            own.setdefault(route.to.version, route)
    for route in own.values():
        for attachment in node.attachments:
            if route.via in networks[attachment.network].gateways and route.interface in (
                "",
                attachment.interface,
            ):
                yield attachment, route.via
    for attachment, gateway in ways_out(node, networks):
        if gateway.version not in own:
            yield attachment, gateway


def is_shut(network: Network) -> bool:
    """Whether nothing passes between this network and others, nor to the machine but by its address
    on this bridge: a bridge without an address is nobody's way."""
    return network.internal or not network.has_gateway


def is_apart(network: Network, lab: Topology) -> bool:
    """Whether nodes of this network don't reach each other but by published ports."""
    return not network.icc and any(node.ports and _is_on(node, network) for node in lab.nodes)


def _is_on(node: Node, network: Network) -> bool:
    return any(item.network == network.name for item in node.attachments)


def is_guarded_port(network: Network) -> bool:
    """Whether MAC and addresses are bound to each port: where the file says so, and where nodes
    shall not reach each other."""
    return not network.icc if network.guard is None else network.guard
