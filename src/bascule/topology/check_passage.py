"""Checks of what passes between networks: `nat`, `internal`, `reach` and published ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bascule.topology.model import Network, Node, Prefix, Topology
from bascule.topology.ports import Taken, families, port_text
from bascule.topology.ranges import gateways_of, range_of
from bascule.topology.tree import Path, Problem, nearest, shown
from bascule.topology.ways import answering


def check_passage(topology: Topology) -> Iterator[Problem]:
    """All problems of this kind."""
    networks = {network.name: network for network in topology.networks}
    for network in topology.networks:
        yield from _network(network, networks)
    taken = Taken()
    for node in topology.nodes:
        if node.ports:
            yield from _ports(node, networks, taken)


def _network(network: Network, networks: dict[str, Network]) -> Iterator[Problem]:
    path: Path = ("networks", network.name)
    for key, asked in (("nat", network.nat), ("reach", network.reach)):
        if asked and network.internal:
            yield (
                (*path, key),
                "the network is `internal`: nothing passes to others; remove one of the two",
            )
        elif asked and not network.has_gateway:
            yield (
                (*path, key),
                (
                    "needs a bridge with an address: what leaves goes through it; remove "
                    "`gateway: none`"
                ),
            )
    if network.internal and network.uplink:
        yield (
            (*path, "uplink"),
            (
                "the network is `internal`, and an uplink joins it to what is outside; remove one "
                "of the two"
            ),
        )
    if network.dns and not network.has_gateway:
        yield (*path, "dns"), "a name server needs a bridge with an address; remove `gateway: none`"
    subnets = [subnet for each in networks.values() for subnet in each.subnets]
    yield from _outbound(network, (*path, "outbound_address"), subnets)
    for index, name in enumerate(network.reach):
        here: Path = (*path, "reach", index)
        other = networks.get(name)
        if other is None:
            yield here, f"unknown network '{shown(name)}'{nearest(name, networks) or ''}"
        elif name == network.name:
            yield here, "a network reaches itself, as long as `icc` is not false; remove it"
        elif other.internal or not other.has_gateway:
            why = (
                "is `internal`"
                if other.internal
                else "has no gateway that its nodes could answer through"
            )
            yield here, f"{name} {why}; remove one of the two"


def _outbound(network: Network, path: Path, subnets: list[Prefix]) -> Iterator[Problem]:
    if network.outbound and not network.nat:
        yield path, "means something only with `nat: true`"
    for address in network.outbound:
        local = address.is_loopback or (address.version == 6 and address.is_link_local)
        if local or address.is_unspecified or address.is_multicast:
            yield (
                path,
                (
                    f"{address} is no address that anybody could answer to; write one of the "
                    f"machine's, or leave it out"
                ),
            )
        elif any(address in subnet for subnet in subnets if subnet.version == address.version):
            yield (
                path,
                (
                    f"{address} is in a subnet of the lab itself; write an address that the "
                    f"machine has without it"
                ),
            )
    if len({address.version for address in network.outbound}) < len(network.outbound):
        yield path, "gives two addresses of one family; keep one"


def _ports(node: Node, networks: dict[str, Network], taken: Taken) -> Iterator[Problem]:
    leading = [networks[item.network] for item in node.attachments if item.network in networks]
    leading = [network for network in leading if network.has_gateway and not network.internal]
    elsewhere = _answers_elsewhere(node, networks)
    for index, port in enumerate(node.ports):
        path: Path = ("nodes", node.name, "ports", index)
        owner = taken.owner_of(port)
        if owner:
            yield (
                path,
                f"port {owner[0]} of the host is published by {owner[1]} already; choose another",
            )
        elif port.published:
            taken.add(port, f"node {node.name}")
        if not leading:
            yield (
                path,
                (
                    "can't be reached: the node is on no network that has a gateway and is not "
                    "`internal`"
                ),
            )
        elif all(network.subnets for network in leading):
            versions = {
                subnet.version for network in leading for subnet in network.subnets
            }.intersection(families(port))
            if not versions:
                family = f"IPv{families(port)[0]}"
                yield (
                    path,
                    (
                        f"{port_text(port)} is {family}, and the node has no {family} address; "
                        f"give its network such a `subnet`"
                    ),
                )
            elif elsewhere.keys() >= versions:
                there = elsewhere[min(versions)]
                yield (
                    path,
                    (
                        f"would not be answered: the node's default route leads to {there}, and "
                        f"not to a bridge"
                    ),
                )


def _answers_elsewhere(node: Node, networks: dict[str, Network]) -> dict[int, str]:
    """By IP version, where the node's own default route leads that is no way through a bridge of
    the lab. A gateway that is still to be chosen can't be judged."""
    mine = {
        item.network: networks[item.network]
        for item in node.attachments
        if item.network in networks
    }
    if len(mine) < len(node.attachments) or any(not network.subnets for network in mine.values()):
        return {}
    found = {
        name: gateways_of(network, tuple(map(range_of, network.subnets)))
        for name, network in mine.items()
    }
    chosen = {name: replace(network, gateways=found[name]) for name, network in mine.items()}
    answered = {gateway.version for _item, gateway in answering(node, chosen)}
    return {
        route.to.version: str(route.via or route.interface)
        for route in node.routes
        if route.to.prefixlen == 0 and route.to.version not in answered
    }
