"""Through which of its networks a node reaches the world, and is reached from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bascule.topology.model import Attachment, IPAddress, Network, Node


def gateways(network: Network) -> list[tuple[IPAddress, int]]:
    """Each address of the bridge with its prefix length."""
    return [
        (gateway, subnet.prefixlen)
        for gateway in network.gateways
        for subnet in network.subnets
        if gateway.version == subnet.version and gateway in subnet
    ]


def ways_out(node: Node, networks: Mapping[str, Network]) -> Iterator[tuple[Attachment, IPAddress]]:
    """For each family the attachment and the gateway of the default route: the one with the highest priority whose network leads
    anywhere, and of equals the first."""
    given = set()
    for attachment in sorted(node.attachments, key=lambda item: -item.gateway_priority):
        network = networks[attachment.network]
        for gateway, _prefix in () if network.internal else gateways(network):
            if gateway.version not in given:
                given.add(gateway.version)
                yield attachment, gateway
