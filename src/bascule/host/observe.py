"""What the kernel has, as facts. Reads only what a lab may own: names in the scope, and what hangs
on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_interface

from bascule.host import (
    adopted,
    files,
    flows,
    ipv6,
    namespaces,
    node_files,
    resolving,
    routes,
    service,
    surroundings,
    uplink,
)
from bascule.host.inside import Inside, look, main_routes
from bascule.host.netlink import Netlink
from bascule.host.paths import Paths
from bascule.host.routes import Way
from bascule.host.seen import Foreign, Observation, Scope
from bascule.host.sysctls import read_sysctl
from bascule.kernel.address import Address
from bascule.kernel.bridge import (
    AGEING,
    DEFAULTS,
    PROMISC,
    STP,
    UNKNOWN,
    Bridge,
    BridgeSetting,
    Uplink,
)
from bascule.kernel.link import Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Fact, Indexes
from bascule.kernel.port import HAIRPIN, ISOLATED, PortFlag
from bascule.kernel.route import LoopbackRoute, Route
from bascule.kernel.stray import Stray
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import FAMILY, Table
from bascule.kernel.veth import Veth
from bascule.names import WORLD_NETNS
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import ADDRESS_BYTES, AF_INET6

_LO = 1  # LOOPBACK_IFINDEX, net/flow.h
_PORT_FIELDS = rt.BRIDGE_PORT.numbers(ISOLATED, HAIRPIN)
_CHANGING = "topology_change"
_BRIDGE_FIELDS = rt.BRIDGE_INFO.numbers(STP, AGEING, _CHANGING)
_NODE_LO = 1  # LOOPBACK_IFINDEX, net/flow.h


def observe(scope: Scope, paths: Paths) -> Observation:
    """Look at the world and at each node of the scope."""
    seen = Observation()
    seen.sources = adopted.sources(scope.adopted)
    with namespaces.coming_back():
        with Netlink() as socket:
            world = look(socket, whole=True)
            world.tables = routes.tables(socket)
        seen.without_ipv6.update(ipv6.off_here(WORLD, scope.six.get(WORLD, ())))
        scope = _with_links_by_index(scope, world)
        surroundings.settings(seen, scope)
        interfaces = {
            link.name: index for index, link in world.links.items() if index not in Indexes.ALL
        }
        seen.facts.extend(surroundings.passing_on(WORLD, scope, interfaces))
        surroundings.forwarding(seen, scope)
        nodes: dict[str, Inside] = {}
        there = {link.name for link in world.links.values()}
        doubtful = {
            node
            for node, cables in scope.cables.items()
            for link, _peer, _mac in cables
            if link not in there
        }
        for name in scope.nodes:
            _enter_node(name, scope, seen, nodes, name in doubtful)
        for name, inside in nodes.items():
            seen.facts.extend(_strays(name, inside, world, scope))
        nodes = nodes if scope.inside else {}
    _conclude(seen, scope, world, nodes)
    if scope.flows is not None:
        lost = not any(isinstance(fact, Table) and FAMILY in fact.there for fact in seen.facts)
        seen.unfit, seen.without_flows = flows.look(scope.flows, world.routes, lost)
    node_files.look(seen, scope, paths)
    seen.facts.extend(
        found for prefix in scope.services if (found := service.running(prefix)) is not None
    )
    if paths.private and (way_out := uplink.running()) is not None:
        seen.facts.append(way_out)
    seen.confined = bool(scope.services) and service.is_confined()
    seen.dnsmasq = service.program() is not None and not seen.confined
    if not paths.private:
        resolving.on_the_machine(seen)
    seen.private, seen.alone = paths.private, paths.private or surroundings.is_one_user()
    return seen


def _with_links_by_index(scope: Scope, world: Inside) -> Scope:
    by_index = {link.name for index, link in world.links.items() if index in scope.indexes}
    return replace(scope, links=scope.links | by_index)


def _conclude(seen: Observation, scope: Scope, world: Inside, nodes: dict[str, Inside]) -> None:
    """What was dumped, as facts."""
    ways = list(routes.ways(world.routes, world.tables))
    _world_links(seen, scope, world, nodes)
    bridges = {link.ifindex for link in world.links.values() if link.name in scope.links}
    _addresses(seen, WORLD, world, bridges, list(main_routes(world)))
    seen.facts.extend(_loopback_routes(scope, world))
    seen.prefixes = list(_prefixes(bridges, ways))
    seen.addresses = {address.text for address in world.addresses if address.packed}
    own = [
        link.mtu
        for link in world.links.values()
        if link.up and link.ifindex != _LO and link.ifindex not in Indexes.ALL
    ]
    seen.least_mtu = min(own, default=0)
    seen.others = dict(_foreign(scope, world, ways))
    seen.ipv6 = files.is_there("/proc/sys/net/ipv6")
    seen.knows_ipv6 = seen.ipv6 or ipv6.is_known()
    ends = {
        link.ifindex
        for link in world.links.values()
        if link.name in scope.links and link.kind == "veth"
    }
    for name, inside in nodes.items():
        ours = {
            link.ifindex
            for link in inside.links.values()
            if (name, link.name) in scope.interfaces or link.peer in ends
        }
        decoded = list(main_routes(inside))
        _addresses(seen, name, inside, ours, decoded)
        seen.facts.extend(_routes(name, inside, ours, decoded))
    if scope.autoconf:
        seen.facts = [fact for fact in seen.facts if not _is_nodes_own(fact, scope)]


def _is_nodes_own(fact: Fact, scope: Scope) -> bool:
    if not isinstance(fact, (Address, Route)):
        return False
    version = 6 if ":" in (fact.address if isinstance(fact, Address) else fact.to) else 4
    return (fact.node, fact.device, version) in scope.autoconf


def _enter_node(
    name: str, scope: Scope, seen: Observation, nodes: dict[str, Inside], doubtful: bool
) -> None:
    descriptor = namespaces.open_pin(name)
    if descriptor is None:
        if os.path.lexists(namespaces.pin_path(name)):
            seen.facts.append(Namespace(name, alive=False))
        _before_adoption(name, scope, seen)
        return
    try:
        source = _source(descriptor, dict(scope.adopted).get(name, ""))
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
        seen.without_ipv6.update(
            ipv6.off_here(name, scope.six.get(name, ()) if scope.inside else ())
        )
        if scope.inside and name in nodes:
            seen.facts.extend(_passing_on(name, scope, nodes[name]))
    finally:
        os.close(descriptor)


def _passing_on(name: str, scope: Scope, inside: Inside) -> Iterator[Fact]:
    interfaces = {
        link.name: index
        for index, link in inside.links.items()
        if (name, link.name) not in scope.interfaces
    }
    return surroundings.passing_on(name, scope, interfaces)


def _before_adoption(name: str, scope: Scope, seen: Observation) -> None:
    """The settings of a namespace that the node is still to be: nobody can tell them once a run has
    changed them."""
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
            seen.facts.extend(_passing_on(name, scope, look(socket)))
    finally:
        os.close(descriptor)


def _source(descriptor: int, path: str) -> str:
    """The path that a node was adopted from, as long as the namespace of the pin is the one there,
    or there is none any more."""
    if not path:
        return ""
    status = os.fstat(descriptor)
    return (
        path
        if namespaces.place(path) in (None, (status.st_dev, status.st_ino))
        else "another namespace"
    )


def _settings(link: rows.Link) -> Iterator[BridgeSetting]:
    """A bridge's settings that are not as the kernel makes it."""
    found = rt.BRIDGE_INFO.decode_only(link.data, 0, _BRIDGE_FIELDS)
    found[PROMISC] = 1 if link.flags & rt.IFF_PROMISC else 0
    if found.pop(_CHANGING, 0):
        found[AGEING] = UNKNOWN
    for name, value in found.items():
        if value != DEFAULTS[name]:
            yield BridgeSetting(link.name, name, value)


def _port_flags(link: rows.Link) -> Iterator[PortFlag]:
    data = link.port if link.port_of == "bridge" else b""
    for flag, value in rt.BRIDGE_PORT.decode_only(data, 0, _PORT_FIELDS).items():
        if value:
            yield PortFlag(link.name, flag)


def _world_links(seen: Observation, scope: Scope, world: Inside, nodes: dict[str, Inside]) -> None:
    """Bridges, and veth pairs with the other end looked up: the index of each end names the
    other."""
    ends = {}
    adopted = {name for name, _source in scope.adopted}
    for name, inside in nodes.items():
        for link in inside.links.values():
            seen.indexes[name, link.name] = link.ifindex
            # whose lo is its owner's affair
            if link.ifindex == _LO and link.up and name not in adopted:
                seen.facts.append(Loopback(name))
            if link.peer:
                ends[link.peer, link.ifindex] = (name, link)
    for link in world.links.values():
        seen.indexes[WORLD, link.name] = link.ifindex
        master = world.links.get(link.master)
        if link.name in scope.uplinks and master and master.name in scope.links:
            seen.facts.append(Uplink(link.name, master.name))
        if link.name not in scope.links:
            continue
        if link.kind == "bridge":
            seen.facts.append(Bridge(link.name, link.mtu, link.mac, link.up))
            seen.facts.extend(_settings(link))
        elif link.kind == "veth":
            seen.facts.append(
                _veth(link, master.name if master else "", ends.get((link.ifindex, link.peer)))
            )
            seen.facts.extend(_port_flags(link))


def _strays(node: str, inside: Inside, world: Inside, scope: Scope) -> Iterator[Stray]:
    """Ends in a node of pairs whose other end is not in the world. That they are the lab's the
    other end's index tells (IFLA_LINK) or, where it has got another one in its new place, their own
    name and MAC."""
    ours = {(peer, mac) for _link, peer, mac in scope.cables.get(node, ())}
    for link in inside.links.values():
        other = world.links.get(link.peer)
        is_apart = link.peer and (other is None or other.peer != link.ifindex)
        if is_apart and (link.peer in scope.indexes or (link.name, link.mac) in ours):
            yield Stray(node, link.name, link.ifindex)


def _veth(link: rows.Link, bridge: str, end: tuple[str, rows.Link] | None) -> Veth:
    if end is None:
        return Veth(link.name, "", "", bridge, link.mtu, link.mac, "", link.up, False)
    node, peer = end
    peer_mtu = peer.mtu if peer.mtu != link.mtu else 0
    return Veth(
        link.name, node, peer.name, bridge, link.mtu, link.mac, peer.mac, link.up, peer.up, peer_mtu
    )


def _addresses(
    seen: Observation, node: str, inside: Inside, ours: set[int], routes: list[rows.Route]
) -> None:
    """Addresses that somebody gave, not those that the kernel makes (link-local) or learns
    (dynamic)."""
    connected = {(each.oif, each.to) for each in routes if each.protocol == rt.RTPROT_KERNEL}
    for found in inside.addresses:
        known = found.ifindex in ours and found.family in ADDRESS_BYTES
        if not known or not found.permanent or found.is_link_local:
            continue
        address, prefix, link = found.text, found.prefix, inside.links[found.ifindex]
        # The kernel takes the routes of a link that is down, and brings them back with it.
        routed = not link.up or (link.ifindex, _network_of(address, prefix)) in connected
        seen.facts.append(Address(node, link.name, address, prefix, routed))


@lru_cache(1024)
def _network_of(address: str, prefix: int) -> str:
    return str(ip_interface(f"{address}/{prefix}").network)


def _routes(node: str, inside: Inside, ours: set[int], routes: list[rows.Route]) -> Iterator[Route]:
    """Routes that a person or a program like ip(8) set; not the kernel's own, nor a routing
    daemon's."""
    for found in routes:
        if found.protocol in (rt.RTPROT_BOOT, rt.RTPROT_STATIC) and found.oif in ours:
            device = inside.links[found.oif].name
            yield Route(node, found.to, found.via, device, found.priority)


def _loopback_routes(scope: Scope, world: Inside) -> Iterator[LoopbackRoute]:
    """Where ::1 is at home beside lo."""
    for reply in world.routes:
        head = rows.route_head(reply)
        local = head.kind == rt.RTN_LOCAL and head.table == rt.RT_TABLE_LOCAL
        if head.family == AF_INET6 and local:
            found = rows.decode_route(reply, head)
            link = world.links.get(found.oif)
            if link is not None and link.name in scope.links and found.to == "::1/128":
                yield LoopbackRoute(link.name)


def _prefixes(own: set[int], ways: list[Way]) -> Iterator[str]:
    """What the world already routes or has as an address, apart from the lab's own networks. What
    leads out is no neighbour."""
    for way in ways:
        if own.isdisjoint(way.interfaces) and not way.leads_out and not way.to.startswith("fe80:"):
            yield way.to


def _foreign(scope: Scope, world: Inside, ways: list[Way]) -> Iterator[tuple[str, Foreign]]:
    addressed = {each.ifindex for each in world.addresses if not each.text.startswith("fe80:")}
    leaving = {index: way.to for way in reversed(ways) if way.leads_out for index in way.interfaces}
    for link in world.links.values() if scope.uplinks else ():
        if link.name in scope.uplinks:
            master = world.links.get(link.master)
            bridge, way_out = master.name if master else "", leaving.get(link.ifindex, "")
            yield link.name, Foreign(link.up, bridge, link.ifindex in addressed, link.mtu, way_out)
