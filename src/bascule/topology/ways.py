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
    """For each family the attachment and the gateway of the default route: the first network that leads anywhere."""
    given = set()
    for attachment in node.attachments:
        network = networks[attachment.network]
        for gateway, _prefix in () if network.internal else gateways(network):
            if gateway.version not in given:
                given.add(gateway.version)
                yield attachment, gateway
