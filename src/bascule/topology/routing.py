"""`routing: static`: the routes of every node over the whole lab, by the lowest cost.

Nodes that pass packets on (`forward: true`) are routers; links and networks cost what their `cost`
says. Each family is computed by itself, over what has addresses of it. Where several ways cost the
same, a route has several next hops. A node with one way to everything has a default route.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import ip_network
from typing import NamedTuple

from bascule.names import WORLD_NETNS
from bascule.topology.links import joined
from bascule.topology.model import Assigned, IPAddress, Link, Network, Node, Prefix

STATIC = "static"
_FORWARDING = {
    4: ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
    6: ("net.ipv6.conf.all.forwarding",),
}
_EVERYTHING: dict[int, Prefix] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Hop(NamedTuple):
    """Where a packet is handed to next: the neighbour's address, and the interface towards it."""

    via: IPAddress
    interface: str


@dataclass(frozen=True, slots=True)
class Way:
    """A computed route: ``to`` by these next hops, which are equally good."""

    to: Prefix
    hops: tuple[Hop, ...]


class _Edge(NamedTuple):
    """From a node to a neighbour, over a link or a network."""

    neighbour: str
    cost: int
    hop: Hop


@dataclass(slots=True)
class _Family:
    """What one family sees: neighbours, through whom each prefix is reached, and each node's
    own."""

    edges: dict[str, list[_Edge]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[Prefix, set[str]] = field(default_factory=lambda: defaultdict(set))
    own: dict[str, set[Prefix]] = field(default_factory=lambda: defaultdict(set))


def forwards(node: Node, version: int) -> bool:
    """Whether the node passes packets of this IP version on."""
    given = {key.replace("/", "."): value.strip() for key, value in node.sysctls}
    return node.forward or any(given.get(key) == "1" for key in _FORWARDING[version])


def ways(lab: Assigned) -> dict[str, list[Way]]:
    """By node, all routes but those to its own subnets; nothing where the lab does not ask for
    them."""
    found: dict[str, list[Way]] = {node.name: [] for node in lab.nodes}
    for version in (4, 6) if lab.routing == STATIC else ():
        routers = {node.name for node in lab.nodes if forwards(node, version)}
        routes = _routes(_family(lab, version, routers), routers)
        for node in lab.nodes:
            found[node.name] += _shortened(node, routes[node.name], lab, version)
    return found


def _family(lab: Assigned, version: int, routers: set[str]) -> _Family:
    """A subnet is reached through routers alone, an address of lo through the node that has it."""
    family = _Family()
    for node in lab.nodes:
        for own in node.loopback:
            if own.version == version:
                family.owners[own.network].add(node.name)
                family.own[node.name].add(own.network)
    for place, members in _members(lab, version).items():
        prefixes = [prefix for prefix in place.subnets if prefix.version == version]
        for name, interface, _address in members:
            family.own[name].update(prefixes)
            family.edges[name] += [
                _Edge(other, place.cost, Hop(address, interface))
                for other, _, address in members
                if other != name
            ]
        for prefix in prefixes:
            family.owners[prefix].update({name for name, *_rest in members} & routers)
    return family


def _members(lab: Assigned, version: int) -> dict[Network | Link, list[tuple[str, str, IPAddress]]]:
    """Who is on each network and link, by which interface, with which address."""
    places: dict[str, Network | Link] = {network.name: network for network in lab.networks}
    places.update({link.name: link for link in lab.links})
    found: dict[Network | Link, list[tuple[str, str, IPAddress]]] = defaultdict(list)
    for node in joined(lab):
        for item in node.attachments if node.netns != WORLD_NETNS else ():
            if item.network in places:
                found[places[item.network]] += [
                    (node.name, item.interface, address)
                    for address in item.addresses
                    if address.version == version
                ]
    return found


def _routes(family: _Family, routers: set[str]) -> Mapping[str, list[Way]]:
    """For each set of owners once: several prefixes may be the same nodes'."""
    found: dict[str, list[Way]] = defaultdict(list)
    by_owners: dict[frozenset[str], list[Prefix]] = defaultdict(list)
    for prefix, those in family.owners.items():
        by_owners[frozenset(those)].append(prefix)
    for owners, prefixes in by_owners.items():
        distances = _distances(family, owners, routers)
        leading = routers | owners
        for node, edges in family.edges.items():
            if node in owners or node not in distances:
                continue
            hops = tuple(
                dict.fromkeys(
                    edge.hop
                    for edge in edges
                    if edge.neighbour in leading
                    and edge.neighbour in distances
                    and distances[edge.neighbour] + edge.cost == distances[node]
                )
            )
            own = family.own[node]
            found[node] += [Way(prefix, hops) for prefix in prefixes if hops and prefix not in own]
    return found


def _distances(family: _Family, owners: frozenset[str], routers: set[str]) -> Mapping[str, int]:
    """Dijkstra's algorithm, from the owners outwards: edges cost the same both ways. Only owners
    and routers lead further."""
    distances = dict.fromkeys(owners, 0)
    queue = [(0, owner) for owner in sorted(owners)]
    while queue:
        distance, node = heappop(queue)
        if distance > distances[node] or not (node in owners or node in routers):
            continue
        for edge in family.edges.get(node, ()):
            far = distance + edge.cost
            if far < distances.get(edge.neighbour, far + 1):
                distances[edge.neighbour] = far
                heappush(queue, (far, edge.neighbour))
    return distances


def _shortened(node: Node, routes: list[Way], lab: Assigned, version: int) -> Iterator[Way]:
    """One default route where all lead to the same neighbour, and the node has no other."""
    leading = {each.name for each in lab.networks if each.has_gateway and not each.internal}
    has_default = any(item.network in leading for item in node.attachments)
    has_default |= any(route.to == _EVERYTHING[version] for route in node.routes)
    hops = {way.hops for way in routes}
    if len(hops) == 1 and not has_default and not forwards(node, version):
        yield Way(_EVERYTHING[version], hops.pop())
        return
    given = {route.to for route in node.routes}
    yield from sorted((way for way in routes if way.to not in given), key=_by_prefix)


def _by_prefix(way: Way) -> tuple[int, int]:
    return int(way.to.network_address), way.to.prefixlen
