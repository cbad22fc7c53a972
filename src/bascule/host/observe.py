"""What the kernel has, as facts. Reads only what a lab may own: names in the scope, and what hangs on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_interface
from typing import Any

from bascule.host import adopted, files, flows, ipv6, namespaces, node_files, resolving, routes, service, surroundings, uplink
from bascule.host.netlink import Netlink
from bascule.host.paths import Paths
from bascule.host.routes import Way
from bascule.host.seen import Foreign, Observation, Scope
from bascule.host.sysctls import read_sysctl
from bascule.kernel.address import Address
from bascule.kernel.bridge import AGEING, DEFAULTS, PROMISC, STP, UNKNOWN, BridgeSetting, Uplink
from bascule.kernel.link import Bridge, Loopback, Veth
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Fact, Indexes
from bascule.kernel.port import HAIRPIN, ISOLATED, PortFlag
from bascule.kernel.route import LoopbackRoute, Route
from bascule.kernel.stray import Stray
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import FAMILY, Table
from bascule.names import WORLD_NETNS
from bascule.wire import route as rt
from bascule.wire.attributes import unpack_from
from bascule.wire.inet import ADDRESS_BYTES, AF_INET6, AF_UNSPEC, unpack_address, unpack_mac, unpack_prefix
from bascule.wire.message import Reply, Request

_LINKS = Request(rt.GETLINK, 0, rt.IFINFO.pack(AF_UNSPEC, 0, 0, 0, 0) + rt.LINK.encode({"ext_mask": rt.RTEXT_FILTER_SKIP_STATS}))
_ADDRESSES = Request(rt.GETADDR, 0, rt.IFADDR.pack(AF_UNSPEC, 0, 0, 0, 0))
_ROUTES = Request(rt.GETROUTE, 0, rt.RTMSG.pack(AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0))
_LINK_FIELDS = rt.LINK.numbers("ifname", "mtu", "address", "link", "master", "linkinfo")
_PORT_FIELDS = rt.BRIDGE_PORT.numbers(ISOLATED, HAIRPIN)
_CHANGING = "topology_change"
_BRIDGE_FIELDS = rt.BRIDGE_INFO.numbers(STP, AGEING, _CHANGING)
_NODE_LINK_FIELDS = rt.LINK.numbers("ifname", "mtu", "address", "link")
_ADDRESS_FIELDS = rt.ADDRESS.numbers("address", "local", "flags")
_LO = 1  # LOOPBACK_IFINDEX, net/flow.h
_ROUTE_FIELDS = rt.ROUTE.numbers("dst", "oif", "gateway", "priority", "table")


@dataclass(slots=True)
class _Link:
    index: int
    up: bool
    name: str
    mtu: int
    mac: str
    peer: int
    master: int
    kind: str
    flags: tuple[str, ...] = ()
    settings: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Inside:
    """What one namespace has. ``tables`` are those for routes that rules lead to, None for all."""

    links: dict[int, _Link] = field(default_factory=dict)
    addresses: list[Reply] = field(default_factory=list)
    routes: list[Reply] = field(default_factory=list)
    tables: set[int] | None = None


def observe(scope: Scope, paths: Paths) -> Observation:
    """Look at the world and at each node of the scope."""
    seen = Observation()
    seen.sources = adopted.sources(scope.adopted)
    with namespaces.coming_back():
        with Netlink() as socket:
            world = _look(socket, whole=True)
            world.tables = routes.tables(socket)
        seen.without_ipv6.update(ipv6.off_here(WORLD, scope.six.get(WORLD, ())))
        scope = _with_links_by_index(scope, world)
        surroundings.settings(seen, scope)
        interfaces = {link.name: index for index, link in world.links.items() if index not in Indexes.ALL}
        seen.facts.extend(surroundings.passing_on(WORLD, scope, interfaces))
        surroundings.forwarding(seen, scope)
        nodes: dict[str, _Inside] = {}
        there = {link.name for link in world.links.values()}
        doubtful = {node for node, cables in scope.cables.items() for link, _peer, _mac in cables if link not in there}
        for name in scope.nodes:
            _enter_node(name, scope, seen, nodes, name in doubtful)
        for name in nodes:
            seen.facts.extend(_strays(name, nodes[name], world, scope))
        nodes = nodes if scope.inside else {}
    _conclude(seen, scope, world, nodes)
    if scope.flows is not None:
        lost = not any(isinstance(fact, Table) and FAMILY in fact.there for fact in seen.facts)
        seen.unfit, seen.without_flows = flows.look(scope.flows, world.routes, lost)
    node_files.look(seen, scope, paths)
    seen.facts.extend(found for prefix in scope.services if (found := service.running(prefix)) is not None)
    if paths.private and (way_out := uplink.running()) is not None:
        seen.facts.append(way_out)
    seen.confined = bool(scope.services) and service.is_confined()
    seen.dnsmasq = service.program() is not None and not seen.confined
    if not paths.private:
        resolving.on_the_machine(seen)
    seen.private, seen.alone = paths.private, paths.private or surroundings.is_one_user()
    return seen


def interfaces() -> list[int]:
    """The indexes of all interfaces of the namespace that the thread is in."""
    with Netlink() as socket:
        return [unpack_from(rt.IFINFO, reply.body)[2] for reply in socket.dump(_LINKS)]


def addresses() -> frozenset[str]:
    """All addresses of the namespace that the thread is in."""
    with Netlink() as socket:
        return frozenset(_address_of(reply) for reply in socket.dump(_ADDRESSES))


def _with_links_by_index(scope: Scope, world: _Inside) -> Scope:
    by_index = {link.name for index, link in world.links.items() if index in scope.indexes}
    return replace(scope, links=scope.links | by_index)


def _conclude(seen: Observation, scope: Scope, world: _Inside, nodes: dict[str, _Inside]) -> None:
    """What was dumped, as facts."""
    ways = list(routes.ways(world.routes, world.tables))
    _world_links(seen, scope, world, nodes)
    bridges = {link.index for link in world.links.values() if link.name in scope.links}
    _addresses(seen, WORLD, world, bridges, list(_decoded_routes(world)))
    seen.facts.extend(_loopback_routes(scope, world))
    seen.prefixes = list(_prefixes(bridges, ways))
    seen.addresses = {text for reply in world.addresses if (text := _address_of(reply))}
    own = [link.mtu for link in world.links.values() if link.up and link.index != _LO and link.index not in Indexes.ALL]
    seen.least_mtu = min(own, default=0)
    seen.others = dict(_foreign(scope, world, ways))
    seen.ipv6 = files.is_there("/proc/sys/net/ipv6")
    seen.knows_ipv6 = seen.ipv6 or ipv6.is_known()
    ends = {link.index for link in world.links.values() if link.name in scope.links and link.kind == "veth"}
    for name, inside in nodes.items():
        ours = {link.index for link in inside.links.values() if (name, link.name) in scope.interfaces or link.peer in ends}
        decoded = list(_decoded_routes(inside))
        _addresses(seen, name, inside, ours, decoded)
        seen.facts.extend(_routes(name, inside, ours, decoded))
    if scope.autoconf:
        seen.facts = [fact for fact in seen.facts if not _is_nodes_own(fact, scope)]


def _is_nodes_own(fact: Fact, scope: Scope) -> bool:
    if not isinstance(fact, (Address, Route)):
        return False
    version = 6 if ":" in (fact.address if isinstance(fact, Address) else fact.to) else 4
    return (fact.node, fact.device, version) in scope.autoconf


def _enter_node(name: str, scope: Scope, seen: Observation, nodes: dict[str, _Inside], doubtful: bool) -> None:
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
                nodes[name] = _look(socket)
        for node, key in scope.sysctls:
            if node == name and scope.inside:
                with suppress(OSError):
                    seen.facts.append(Sysctl(name, key, read_sysctl(key)))
        seen.without_ipv6.update(ipv6.off_here(name, scope.six.get(name, ()) if scope.inside else ()))
        if scope.inside and name in nodes:
            seen.facts.extend(_passing_on(name, scope, nodes[name]))
    finally:
        os.close(descriptor)


def _passing_on(name: str, scope: Scope, inside: _Inside) -> Iterator[Fact]:
    interfaces = {link.name: index for index, link in inside.links.items() if (name, link.name) not in scope.interfaces}
    return surroundings.passing_on(name, scope, interfaces)


def _before_adoption(name: str, scope: Scope, seen: Observation) -> None:
    """The settings of a namespace that the node is still to be: nobody can tell them once a run has changed them."""
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
            seen.facts.extend(_passing_on(name, scope, _look(socket)))
    finally:
        os.close(descriptor)


def _source(descriptor: int, path: str) -> str:
    """The path that a node was adopted from, as long as the namespace of the pin is the one there, or there is none any more."""
    if not path:
        return ""
    status = os.fstat(descriptor)
    return path if namespaces.place(path) in (None, (status.st_dev, status.st_ino)) else "another namespace"


def _look(socket: Netlink, whole: bool = False) -> _Inside:
    inside = _Inside()
    for reply in socket.dump(_LINKS):
        link = _link(reply, _LINK_FIELDS if whole else _NODE_LINK_FIELDS)
        inside.links[link.index] = link
    inside.addresses = socket.dump(_ADDRESSES)
    inside.routes = socket.dump(_ROUTES)
    return inside


def _link(reply: Reply, fields: dict[int, str]) -> _Link:
    _family, _type, index, flags, _change = unpack_from(rt.IFINFO, reply.body)
    found = rt.LINK.decode_only(reply.body, rt.IFINFO.size, fields)
    info = found.get("linkinfo", {})
    return _Link(
        index=index,
        up=bool(flags & rt.IFF_UP),
        name=found.get("ifname", ""),
        mtu=found.get("mtu", 0),
        mac=unpack_mac(found.get("address", b"")),
        peer=found.get("link", 0),
        master=found.get("master", 0),
        kind=info.get("kind", ""),
        flags=_port_flags(info),
        settings=_settings(flags, info) if info.get("kind") == "bridge" else (),
    )


def _settings(flags: int, info: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """A bridge's settings that are not as the kernel makes it."""
    found = rt.BRIDGE_INFO.decode_only(info.get("data", b""), 0, _BRIDGE_FIELDS)
    found[PROMISC] = 1 if flags & rt.IFF_PROMISC else 0
    if found.pop(_CHANGING, 0):
        found[AGEING] = UNKNOWN
    return tuple((name, value) for name, value in found.items() if value != DEFAULTS[name])


def _port_flags(info: dict[str, Any]) -> tuple[str, ...]:
    data = info.get("slave_data", b"") if info.get("slave_kind") == "bridge" else b""
    return tuple(flag for flag, value in rt.BRIDGE_PORT.decode_only(data, 0, _PORT_FIELDS).items() if value)


def _world_links(seen: Observation, scope: Scope, world: _Inside, nodes: dict[str, _Inside]) -> None:
    """Bridges, and veth pairs with the other end looked up: the index of each end names the other."""
    ends = {}
    adopted = {name for name, _source in scope.adopted}
    for name, inside in nodes.items():
        for link in inside.links.values():
            seen.indexes[name, link.name] = link.index
            if link.index == _LO and link.up and name not in adopted:  # whose lo is its owner's affair
                seen.facts.append(Loopback(name))
            if link.peer:
                ends[link.peer, link.index] = (name, link)
    for link in world.links.values():
        seen.indexes[WORLD, link.name] = link.index
        master = world.links.get(link.master)
        if link.name in scope.uplinks and master and master.name in scope.links:
            seen.facts.append(Uplink(link.name, master.name))
        if link.name not in scope.links:
            continue
        if link.kind == "bridge":
            seen.facts.append(Bridge(link.name, link.mtu, link.mac, link.up))
            seen.facts.extend(BridgeSetting(link.name, name, value) for name, value in link.settings)
        elif link.kind == "veth":
            seen.facts.append(_veth(link, master.name if master else "", ends.get((link.index, link.peer))))
            seen.facts.extend(PortFlag(link.name, flag) for flag in link.flags)


def _strays(node: str, inside: _Inside, world: _Inside, scope: Scope) -> Iterator[Stray]:
    """Ends in a node of pairs whose other end is not in the world. That they are the lab's the other end's index tells
    (IFLA_LINK) or, where it has got another one in its new place, their own name and MAC."""
    ours = {(peer, mac) for _link, peer, mac in scope.cables.get(node, ())}
    for link in inside.links.values():
        other = world.links.get(link.peer)
        is_apart = link.peer and (other is None or other.peer != link.index)
        if is_apart and (link.peer in scope.indexes or (link.name, link.mac) in ours):
            yield Stray(node, link.name, link.index)


def _veth(link: _Link, bridge: str, end: tuple[str, _Link] | None) -> Veth:
    if end is None:
        return Veth(link.name, "", "", bridge, link.mtu, link.mac, "", link.up, False)
    node, peer = end
    peer_mtu = peer.mtu if peer.mtu != link.mtu else 0
    return Veth(link.name, node, peer.name, bridge, link.mtu, link.mac, peer.mac, link.up, peer.up, peer_mtu)


_Decoded = tuple[dict[str, Any], str, int]  # a route's attributes, destination, protocol


def _addresses(seen: Observation, node: str, inside: _Inside, ours: set[int], routes: list[_Decoded]) -> None:
    """Addresses that somebody gave, not those that the kernel makes (link-local) or learns (dynamic)."""
    connected = {(found.get("oif", 0), to) for found, to, protocol in routes if protocol == rt.RTPROT_KERNEL}
    for reply in inside.addresses:
        family, prefix, _flags, scope, index = unpack_from(rt.IFADDR, reply.body)
        if index not in ours or family not in ADDRESS_BYTES:
            continue
        found = rt.ADDRESS.decode_only(reply.body, rt.IFADDR.size, _ADDRESS_FIELDS)
        dynamic = not found.get("flags", 0) & rt.IFA_F_PERMANENT
        if dynamic or (family == AF_INET6 and scope == rt.RT_SCOPE_LINK):
            continue
        address = unpack_prefix(family, found.get("local") or found.get("address", b""), prefix)
        link = inside.links[index]
        # The kernel takes the routes of a link that is down, and brings them back with it.
        routed = not link.up or (index, _network_of(address, prefix)) in connected
        seen.facts.append(Address(node, link.name, address, prefix, routed))


@lru_cache(1024)
def _network_of(address: str, prefix: int) -> str:
    return str(ip_interface(f"{address}/{prefix}").network)


def _decoded_routes(inside: _Inside) -> Iterator[_Decoded]:
    """Unicast routes of the main table: attributes, destination, protocol. Other families (MPLS, Phonet) have such routes too."""
    for reply in inside.routes:
        family, length, _, _, table, protocol, _scope, kind, _flags = unpack_from(rt.RTMSG, reply.body)
        if kind != rt.RTN_UNICAST or table != rt.RT_TABLE_MAIN or family not in ADDRESS_BYTES:
            continue
        found = rt.ROUTE.decode_only(reply.body, rt.RTMSG.size, _ROUTE_FIELDS)
        network = unpack_prefix(family, found.get("dst", bytes(ADDRESS_BYTES[family])), length)
        yield found, f"{network}/{length}", protocol


def _routes(node: str, inside: _Inside, ours: set[int], routes: list[_Decoded]) -> Iterator[Route]:
    """Routes that a person or a program like ip(8) set; not the kernel's own, nor a routing daemon's."""
    for found, to, protocol in routes:
        if protocol in (rt.RTPROT_BOOT, rt.RTPROT_STATIC) and found.get("oif", 0) in ours:
            via = unpack_address(found["gateway"]) if "gateway" in found else ""
            yield Route(node, to, via, inside.links[found["oif"]].name, found.get("priority", 0))


def _loopback_routes(scope: Scope, world: _Inside) -> Iterator[LoopbackRoute]:
    """Where ::1 is at home beside lo."""
    for reply in world.routes:
        family, _length, _, _, table, _protocol, _scope, kind, _flags = unpack_from(rt.RTMSG, reply.body)
        if family == AF_INET6 and kind == rt.RTN_LOCAL and table == rt.RT_TABLE_LOCAL:
            found = rt.ROUTE.decode_only(reply.body, rt.RTMSG.size, _ROUTE_FIELDS)
            link = world.links.get(found.get("oif", 0))
            if link is not None and link.name in scope.links and unpack_address(found.get("dst", bytes(16))) == "::1":
                yield LoopbackRoute(link.name)


def _prefixes(own: set[int], ways: list[Way]) -> Iterator[str]:
    """What the world already routes or has as an address, apart from the lab's own networks. What leads out is no neighbour."""
    for way in ways:
        if own.isdisjoint(way.interfaces) and not way.leads_out and not way.to.startswith("fe80:"):
            yield way.to


def _foreign(scope: Scope, world: _Inside, ways: list[Way]) -> Iterator[tuple[str, Foreign]]:
    addressed = {unpack_from(rt.IFADDR, reply.body)[4] for reply in world.addresses if not _is_link_local(reply)}
    leaving = {index: way.to for way in reversed(ways) if way.leads_out for index in way.interfaces}
    for link in world.links.values() if scope.uplinks else ():
        if link.name in scope.uplinks:
            master = world.links.get(link.master)
            bridge, way_out = master.name if master else "", leaving.get(link.index, "")
            yield link.name, Foreign(link.up, bridge, link.index in addressed, link.mtu, way_out)


def _is_link_local(reply: Reply) -> bool:
    return _address_of(reply).startswith("fe80:")


def _address_of(reply: Reply) -> str:
    found = rt.ADDRESS.decode_only(reply.body, rt.IFADDR.size, _ADDRESS_FIELDS)
    packed = found.get("local") or found.get("address")
    return unpack_address(packed) if packed else ""
