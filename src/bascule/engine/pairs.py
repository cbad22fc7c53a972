"""Who pings whom."""

from __future__ import annotations

from itertools import permutations

from bascule.errors import NotFound
from bascule.host.icmp import Target
from bascule.names import shown
from bascule.topology.model import Assigned
from bascule.wire.inet import AF_INET, AF_INET6


def targets(lab: Assigned, node: str, networks: frozenset[str] | None = None) -> list[Target]:
    """The addresses of a node, on these networks only where given."""
    return [
        Target(node, str(address), AF_INET if address.version == 4 else AF_INET6)
        for item in lab.nodes
        if item.name == node
        for attachment in item.attachments
        if networks is None or attachment.network in networks
        for address in attachment.addresses
    ]


def all_pairs(lab: Assigned) -> list[tuple[str, Target]]:
    """Every ordered pair of nodes on a common network: one target an address family there."""
    places = {node.name: frozenset(a.network for a in node.attachments) for node in lab.nodes}
    by_node = {
        node.name: [
            (
                attachment.network,
                Target(node.name, str(address), AF_INET if address.version == 4 else AF_INET6),
            )
            for attachment in node.attachments
            for address in attachment.addresses
        ]
        for node in lab.nodes
    }
    pairs = []
    for source, target in permutations(places, 2):
        families = set()
        for network, found in by_node[target]:
            if network in places[source] and found.family not in families:
                families.add(found.family)
                pairs.append((source, found))
    return pairs


def chosen(lab: Assigned, source: str, target: str | None) -> list[tuple[str, Target]]:
    """The pairs from one node: to all that it shares a network with, to one of them, or to an
    address. Raises NotFound."""
    names = [node.name for node in lab.nodes]
    if source not in names:
        raise NotFound(f"no node {shown(source)} in lab {lab.name}")
    if target is None:
        return [pair for pair in all_pairs(lab) if pair[0] == source]
    if target in names:
        near = next(
            frozenset(a.network for a in node.attachments)
            for node in lab.nodes
            if node.name == source
        )
        found = targets(lab, target, near) or targets(lab, target)
        if not found:
            raise NotFound(f"node {target} has no address")
        return [(source, one) for one in {one.family: one for one in reversed(found)}.values()]
    from ipaddress import ip_address

    try:
        address = ip_address(target)
    except ValueError:
        raise NotFound(
            f"{shown(target)} is neither a node of lab {lab.name} nor an address"
        ) from None
    return [(source, Target(source, str(address), AF_INET if address.version == 4 else AF_INET6))]
