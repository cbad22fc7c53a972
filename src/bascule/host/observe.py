"""What the kernel has, as facts. Reads only what a lab may own: names in the scope, and what hangs
on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from bascule.host import (
    adopted,
    dnsmasq,
    files,
    flows,
    ipv6,
    namespaces,
    node_files,
    process,
    resolving,
    routes,
    surroundings,
)
from bascule.host.inside import look
from bascule.host.netlink import Netlink
from bascule.host.paths import Paths
from bascule.host.routes import Way
from bascule.host.seen import Foreign, Observation
from bascule.host.sysctls import read_sysctl
from bascule.kernel.fact import Fact, only
from bascule.kernel.look import Look, Scope, Space, look_of
from bascule.kernel.namespace import Namespace
from bascule.kernel.nouns import NOUNS
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.program import DNSMASQ, WAY_OUT
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import FAMILY, Table
from bascule.kernel.uplink import unfit
from bascule.names import WORLD_NETNS

_LO = 1  # LOOPBACK_IFINDEX, net/flow.h


def observe(scope: Scope, paths: Paths) -> Observation:
    """Look at the world and at each node of the scope."""
    seen = Observation()
    seen.sources = adopted.sources(scope.adopted)
    with namespaces.coming_back() as home:
        status = os.fstat(home)
        here = status.st_dev, status.st_ino
        with Netlink() as socket:
            world = look(socket)
            world.tables = routes.tables(socket)
        ipv6.look(WORLD, scope.six.get(WORLD, ()), seen)
        scope = _with_links_by_index(scope, world)
        surroundings.settings(seen, scope)
        interfaces = {
            link.name: index for index, link in world.links.items() if index not in Indexes.ALL
        }
        seen.facts.extend(surroundings.passing_on(WORLD, scope, interfaces))
        surroundings.forwarding(seen, scope)
        nodes: dict[str, Space] = {}
        there = {(WORLD, link.name) for link in world.links.values()}
        doubtful = {
            node
            for node, cables in scope.cables.items()
            if any(cable.other not in there for cable in cables)
        }
        for name in scope.nodes:
            _enter_node(name, scope, seen, nodes, name in doubtful, here)
    ends = {(link.peer, link.ifindex) for link in world.links.values()}
    for name, links in seen.strangers.items():
        seen.strangers[name] = [link for link in links if (link.ifindex, link.peer) not in ends]
    _conclude(seen, look_of(scope, world, nodes if scope.inside else {}, nodes))
    if scope.flows is not None:
        lost = not any(FAMILY in fact.there for fact in only(seen.facts, Table))
        seen.unfit, seen.without_flows = flows.look(scope.flows, world.routes, lost)
    node_files.look(seen, scope, paths)
    serving = dict.fromkeys((*scope.processes, WAY_OUT) if paths.private else scope.processes)
    seen.facts.extend(found for at in serving if (found := process.running(at)) is not None)
    served = any(at.program == DNSMASQ for at in scope.processes)
    seen.confined = served and dnsmasq.is_confined()
    seen.dnsmasq = process.path_of(DNSMASQ) is not None and not seen.confined
    if not paths.private:
        resolving.on_the_machine(seen)
    seen.private, seen.alone = paths.private, paths.private or surroundings.is_one_user()
    return seen


def _with_links_by_index(scope: Scope, world: Space) -> Scope:
    by_index = {(WORLD, link.name) for index, link in world.links.items() if index in scope.indexes}
    return replace(scope, links=scope.links | by_index)


def _conclude(seen: Observation, found: Look) -> None:
    """What was dumped, as facts, and what else it tells."""
    scope, world = found.scope, found.world
    for node, space in found.spaces:
        seen.indexes |= {(node, link.name): link.ifindex for link in space.links.values()}
    for noun in NOUNS:
        seen.facts.extend(noun.read(found))
    ways = list(routes.ways(world.routes, world.tables))
    seen.prefixes = list(_prefixes(found.own[WORLD], ways))
    seen.addresses = {address.text for address in world.addresses if address.packed}
    others = [link for link in world.links.values() if link.ifindex not in Indexes.ALL]
    real = (each.mtu for each in others if each.up and each.ifindex != _LO)
    seen.least_mtu = min(real, default=0)
    seen.others = dict(_foreign(scope, world, ways))
    seen.ipv6 = files.is_there("/proc/sys/net/ipv6")
    seen.knows_ipv6 = seen.ipv6 or ipv6.is_known()


def _enter_node(
    name: str,
    scope: Scope,
    seen: Observation,
    nodes: dict[str, Space],
    doubtful: bool,
    here: tuple[int, int],
) -> None:
    descriptor = namespaces.open_pin(name)
    if descriptor is None:
        if os.path.lexists(namespaces.pin_path(name)):
            seen.facts.append(Namespace(name, alive=False))
        _before_adoption(name, scope, seen)
        return
    try:
        source = _source(descriptor, dict(scope.adopted).get(name, ""), here)
        seen.inodes[name] = os.fstat(descriptor).st_ino
        if not namespaces.enter(descriptor):
            seen.facts.append(Namespace(name, alive=False))
            return
        with Netlink() as socket:
            seen.facts.append(Namespace(name, cookie=socket.cookie(), source=source))
            if (scope.inside or doubtful) and source != WORLD_NETNS:
                nodes[name] = look(socket)
        for node, key in scope.sysctls:
            if node == name and scope.inside:
                with suppress(OSError):
                    seen.facts.append(Sysctl(name, key, read_sysctl(key)))
        ipv6.look(name, scope.six.get(name, ()) if scope.inside else (), seen)
        if scope.inside and name in nodes:
            seen.facts.extend(_passing_on(name, scope, nodes[name]))
    finally:
        os.close(descriptor)


def _passing_on(name: str, scope: Scope, inside: Space) -> Iterator[Fact]:
    interfaces = {
        link.name: index
        for index, link in inside.links.items()
        if (name, link.name) not in scope.interfaces
    }
    return surroundings.passing_on(name, scope, interfaces)


def _before_adoption(name: str, scope: Scope, seen: Observation) -> None:
    """The settings of a namespace that the node is still to be: nobody can tell them once a run has
    changed them. And whether it has interfaces that would count as the lab's."""
    path = dict(scope.adopted).get(name, WORLD_NETNS)
    descriptor = namespaces.open_source(path) if path != WORLD_NETNS else None
    if descriptor is None:
        seen.without_ipv6.update(ipv6.off_in_new(name, scope.six.get(name, ())))
        return
    try:
        if not namespaces.enter(descriptor):
            return
        for node, key in scope.sysctls:
            if node == name:
                with suppress(OSError):
                    seen.before[name, key] = read_sysctl(key)
        seen.without_ipv6.update(ipv6.off_here(name, scope.six.get(name, ())))
        with Netlink() as socket:
            inside = look(socket)
        seen.facts.extend(_passing_on(name, scope, inside))
        seen.strangers[name] = [
            link for index, link in inside.links.items() if index in scope.all_indexes
        ]
    finally:
        os.close(descriptor)


def _source(descriptor: int, path: str, here: tuple[int, int]) -> str:
    """The path that a node was adopted from, as long as the namespace of the pin is the one there,
    or there is none any more. ``here`` is the world, whose path leads elsewhere from a node."""
    if not path:
        return ""
    status = os.fstat(descriptor)
    return (
        path
        if (here if path == WORLD_NETNS else namespaces.place(path))
        in (None, (status.st_dev, status.st_ino))
        else "another namespace"
    )


def _prefixes(own: frozenset[int], ways: list[Way]) -> Iterator[str]:
    """What the world already routes or has as an address, apart from the lab's own networks. What
    leads out is no neighbour."""
    for way in ways:
        if own.isdisjoint(way.interfaces) and not way.leads_out and not way.to.startswith("fe80:"):
            yield way.to


def _foreign(scope: Scope, world: Space, ways: list[Way]) -> Iterator[tuple[str, Foreign]]:
    addressed = {each.ifindex for each in world.addresses if not each.text.startswith("fe80:")}
    leaving = {index: way.to for way in reversed(ways) if way.leads_out for index in way.interfaces}
    for link in world.links.values() if scope.uplinks else ():
        if link.name in scope.uplinks:
            master = world.links.get(link.master)
            bridge, way_out = master.name if master else "", leaving.get(link.ifindex, "")
            why_not = unfit(link, world.links.values())
            addresses = link.ifindex in addressed
            yield link.name, Foreign(link.up, bridge, addresses, link.mtu, way_out, why_not)
