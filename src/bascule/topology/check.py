"""What can't be built, however well it is written: pure checks of a whole topology.

Each check yields problems, pairs of a path into the topology and a sentence: what is wrong, what to
do. Costs grow with the number of nodes, never with the size of a subnet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bascule.topology import shaping
from bascule.topology.autoconf import check_autoconf
from bascule.topology.check_addresses import check_addresses
from bascule.topology.check_names import check_names
from bascule.topology.check_passage import check_passage
from bascule.topology.links import check_links, ends_at
from bascule.topology.model import (
    BRIDGE_PORTS,
    IPV6_MIN_MTU,
    Attachment,
    IPAddress,
    Link,
    LinkEnd,
    Network,
    Node,
    Route,
    Shape,
    Topology,
)
from bascule.topology.ranges import Range, gateways_of, range_of
from bascule.topology.tree import Path, Problem
from bascule.topology.values import route_text

_Ends = Sequence[tuple[LinkEnd, Link]]  # of links, in one node


@dataclass(slots=True)
class _Ground:
    """A network as the checks of its attachments need it."""

    network: Network
    ranges: tuple[Range, ...]
    bridge: frozenset[tuple[int, int]]  # the bridge's own addresses
    # (family, number) → node that has it
    addresses: dict[tuple[int, int], str] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)


def check(topology: Topology, unreadable: frozenset[str] = frozenset()) -> list[Problem]:
    """All problems of a topology. Addresses on ``unreadable`` networks (known to be wrong already)
    are not judged."""
    grounds = {network.name: _ground(network) for network in topology.networks}
    problems: list[Problem] = []
    for name, ground in grounds.items():
        if name not in unreadable:
            problems += _network(ground)
    problems += _overlaps([ground for name, ground in grounds.items() if name not in unreadable])
    problems += _room(topology, grounds, unreadable)
    problems += _host_interfaces(topology, grounds)
    problems += check_passage(topology)
    problems += check_addresses(topology, unreadable)
    problems += check_autoconf(topology)
    problems += check_names(topology)
    problems += check_links(topology)
    ends = ends_at(topology.links)
    for node in topology.nodes:
        problems += _node(node, grounds, unreadable, ends.get(node.name, ()))
    return problems


def _ground(network: Network) -> _Ground:
    ranges = tuple(range_of(subnet) for subnet in network.subnets)
    bridge = frozenset((address.version, int(address)) for address in gateways_of(network, ranges))
    ground = _Ground(network, ranges, bridge)
    if network.mac:
        ground.macs[network.mac] = "the bridge itself"
    return ground


def _network(ground: _Ground) -> Iterator[Problem]:
    network = ground.network
    path: Path = ("networks", network.name)
    if any(each.version == 6 for each in ground.ranges) and network.mtu < IPV6_MIN_MTU:
        yield (*path, "mtu"), f"{network.mtu} is too small for IPv6; write at least {IPV6_MIN_MTU}"
    if network.gateways and not network.subnets:
        yield (
            (*path, "gateway"),
            f"{network.gateways[0]} is in no subnet: give the network one with `subnet`",
        )
        return
    used: set[Range] = set()
    for index, gateway in enumerate(network.gateways):
        here: Path = (*path, "gateway", index)
        home = next((each for each in ground.ranges if gateway in each), None)
        if home is None:
            yield here, f"{gateway} is outside {_listed(ground)}; choose an address inside"
            continue
        if home in used:
            yield here, f"{gateway} is a second gateway in {home.subnet}; keep one for each subnet"
        used.add(home)
        reserved = _reserved(gateway, home)
        if reserved:
            yield here, reserved


def _listed(ground: _Ground) -> str:
    return f"{' and '.join(str(each.subnet) for each in ground.ranges)} of {ground.network.name}"


def _reserved(address: IPAddress, home: Range) -> str | None:
    number = int(address)
    if home.first <= number <= home.last:
        return None
    if number == home.low:
        kind = (
            "the network's own address"
            if home.version == 4
            else "the subnet-router anycast address"
        )
    else:
        kind = "the broadcast address"
    return (
        f"{address} is {kind} of {home.subnet}; choose one from {home.address(home.first)} to "
        f"{home.address(home.last)}"
    )


def _overlaps(grounds: list[_Ground]) -> Iterator[Problem]:
    """Sorted by their first address, a range overlaps an earlier one only if it begins before the
    farthest end so far."""
    every = [
        (each.version, each.low, order, index, each, ground.network.name)
        for order, ground in enumerate(grounds)
        for index, each in enumerate(ground.ranges)
    ]
    farthest: tuple[int, int, Range, str] | None = None
    for _, _, order, index, each, name in sorted(every, key=lambda row: row[:4]):
        if farthest is not None and farthest[2].overlaps(each):
            other_order, other_index, other, other_name = farthest
            # the one that is written later is to blame
            if (order, index) < (other_order, other_index):
                yield _overlap(other_name, other_index, other, name, each)
            else:
                yield _overlap(name, index, each, other_name, other)
        if farthest is None or farthest[2].version != each.version or each.high > farthest[2].high:
            farthest = (order, index, each, name)


def _overlap(name: str, index: int, each: Range, other_name: str, other: Range) -> Problem:
    where = (
        f"{other.subnet} of {other_name}"
        if other_name != name
        else f"{other.subnet} of the same network"
    )
    return (
        "networks",
        name,
        "subnet",
        index,
    ), f"{each.subnet} overlaps {where}; choose another subnet"


def _room(
    topology: Topology, grounds: dict[str, _Ground], unreadable: frozenset[str]
) -> Iterator[Problem]:
    ports = Counter(item.network for node in topology.nodes for item in node.attachments)
    for name, number in ports.items():
        if number > BRIDGE_PORTS:
            message = (
                f"{number:,} attachments, but a Linux bridge takes {BRIDGE_PORTS:,}; use "
                f"several networks"
            )
            yield ("networks", name), message
        if name not in grounds or name in unreadable:
            continue
        for index, each in enumerate(grounds[name].ranges):
            room = each.last - each.first + 1 - (1 if grounds[name].network.has_gateway else 0)
            if number > room:
                nodes = f"{room:,} node" + ("" if room == 1 else "s")
                message = (
                    f"{each.subnet} has room for {nodes}, but {number:,} are attached; choose "
                    f"a wider subnet"
                )
                yield ("networks", name, "subnet", index), message


def _host_interfaces(topology: Topology, grounds: dict[str, _Ground]) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for node in topology.nodes:
        for item in node.attachments:
            name = item.host_interface
            if not name:
                continue
            path: Path = ("nodes", node.name, "networks", item.network, "host_interface")
            if name in grounds:
                yield path, f"'{name}' is the name of a network's bridge; choose another"
            elif name in owners:
                yield (
                    path,
                    (
                        f"'{name}' is taken by node {owners[name]}; each host interface needs its "
                        f"own name"
                    ),
                )
            owners.setdefault(name, node.name)


def _node(
    node: Node, grounds: dict[str, _Ground], unreadable: frozenset[str], ends: _Ends
) -> Iterator[Problem]:
    interfaces: dict[str, str] = {}
    attached: set[str] = set()
    for item in node.attachments:
        path: Path = ("nodes", node.name, "networks", item.network)
        if item.network in attached:
            yield path, "the node is attached to this network twice; keep one"
            continue
        attached.add(item.network)
        if item.interface and item.interface in interfaces:
            message = (
                f"'{item.interface}' is the interface on {interfaces[item.interface]} "
                f"already; choose another name"
            )
            yield (*path, "interface"), message
        interfaces.setdefault(item.interface, item.network)
        ground = grounds.get(item.network)
        if ground is None:
            yield path, f"unknown network '{item.network}'"
        else:
            yield from _mac(node, item, ground, path)
            yield from _shapes(item, ground.network, path)
            if item.network not in unreadable:
                yield from _addresses(node, item, ground, path)
    if node.routes and not attached & unreadable:
        yield from _routes(node, grounds, ends)


def _shapes(item: Attachment, network: Network, path: Path) -> Iterator[Problem]:
    """What may pass at once, and wait, follows from how fast it goes."""
    usual = Shape(item.rate, item.burst, item.latency)
    for below, shape in (((), usual), (("egress",), item.egress), (("ingress",), item.ingress)):
        for word, problem in shaping.problems(shape, network.mtu) if shape is not None else ():
            yield (*path, *below, word), problem


def _mac(node: Node, item: Attachment, ground: _Ground, path: Path) -> Iterator[Problem]:
    if not item.mac:
        return
    if item.mac in ground.macs:
        yield (
            (*path, "mac"),
            (
                f"{item.mac} is taken by {ground.macs[item.mac]}; each interface on a network "
                f"needs its own"
            ),
        )
    ground.macs.setdefault(item.mac, f"node {node.name}")


def _addresses(node: Node, item: Attachment, ground: _Ground, path: Path) -> Iterator[Problem]:
    used: set[Range] = set()
    for index, address in enumerate(item.addresses):
        here = (*path, "address", index)
        home = next((each for each in ground.ranges if address in each), None)
        if not ground.ranges:
            yield (
                here,
                f"network {ground.network.name} has no subnet: give it one that holds {address}",
            )
        elif home is None:
            yield (
                here,
                (
                    f"{address} is outside {_listed(ground)}; choose an address inside, or leave "
                    f"it out"
                ),
            )
        elif home in used:
            yield here, f"{address} is a second address in {home.subnet}; keep one for each subnet"
        else:
            used.add(home)
            problem = _reserved(address, home) or _taken(address, ground)
            if problem:
                yield here, problem
        ground.addresses.setdefault((address.version, int(address)), node.name)


def _taken(address: IPAddress, ground: _Ground) -> str | None:
    key = address.version, int(address)
    if key in ground.bridge:
        how = (
            "its gateway"
            if address in ground.network.gateways
            else "its gateway by default, which `gateway` changes"
        )
        return (
            f"{address} belongs to the bridge {ground.network.name} ({how}); choose another address"
        )
    if key in ground.addresses:
        return f"{address} is taken by node {ground.addresses[key]}; choose another address"
    return None


def _routes(node: Node, grounds: dict[str, _Ground], ends: _Ends) -> Iterator[Problem]:
    seen: set[tuple[object, int]] = set()
    for index, route in enumerate(node.routes):
        path: Path = ("nodes", node.name, "routes", index)
        if (route.to, route.metric) in seen:
            yield (
                (*path, "to"),
                f"{route.to} is routed above already; keep one, or give them different metrics",
            )
        seen.add((route.to, route.metric))
        yield from _route(node, route, grounds, ends, path)


def _route(
    node: Node, route: Route, grounds: dict[str, _Ground], ends: _Ends, path: Path
) -> Iterator[Problem]:
    known = [item.interface for item in node.attachments]
    known += [end.interface for end, _link in ends]
    if route.interface and route.interface not in known:
        names = (
            f"its interfaces are {', '.join(known)}"
            if known
            else "it has none: attach it to a network"
        )
        yield (*path, "interface"), f"the node has no interface '{route.interface}'; {names}"
        return
    through = [
        item
        for item in node.attachments
        if not route.interface or item.interface == route.interface
    ]
    ranges = [
        each for item in through if item.network in grounds for each in grounds[item.network].ranges
    ]
    cables = [row for row in ends if route.interface in ("", row[0].interface)]
    ranges += [range_of(subnet) for _end, link in cables for subnet in link.subnets]
    if (
        not route.metric
        and route.to.version == 4
        and any(each.subnet == route.to for each in ranges)
    ):
        yield (
            (*path, "to"),
            (
                f"{route.to} is the node's own subnet, which the kernel routes by itself; remove "
                f"the route"
            ),
        )
    if route.via is not None:
        own = {each for item in through for each in item.addresses}
        own |= {each for end, _link in cables for each in end.addresses}
        yield from _next_hop(route, route.via, ranges, own, path)


def _next_hop(
    route: Route, via: IPAddress, ranges: list[Range], own: set[IPAddress], path: Path
) -> Iterator[Problem]:
    """Whether there can be one at this address, seen from interfaces with these ranges and
    addresses."""
    if via.version != route.to.version:
        yield (
            (*path, "via"),
            f"{via} is no IPv{route.to.version} address, but {route.to} is IPv{route.to.version}",
        )
    elif not any(via in each for each in ranges):
        subnets = (
            ", ".join(str(each.subnet) for each in ranges)
            or "none is known: give its network a `subnet`"
        )
        message = (
            f"the next hop of {route_text(route)} is in none of the node's subnets "
            f"({subnets}); choose one that is"
        )
        yield (*path, "via"), message
    elif via.version == 4 and any(
        not each.first <= int(via) <= each.last for each in ranges if via in each
    ):
        yield (
            (*path, "via"),
            f"{via} is the first or last address of its subnet, which no node has; choose another",
        )
    elif via in own:
        yield (
            (*path, "via"),
            f"{via} is the node's own address; a next hop is another node or the bridge",
        )
