"""Links → facts: a veth pair between two namespaces, and what is at its ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bascule.kernel.address import Address
from bascule.kernel.fact import Fact
from bascule.kernel.op import WORLD, Settings
from bascule.kernel.qdisc import Qdisc
from bascule.kernel.route import IPV6_METRIC, Hop, Route
from bascule.kernel.veth import End, Veth
from bascule.topology.model import Link, LinkEnd, Network, Prefix, Shape
from bascule.topology.routing import Way
from bascule.topology.shaping import bucket

Quiet = Callable[[str, str, bool], Settings]  # node, interface, IPv6 → what it is made with
Ends = Mapping[str, Sequence[tuple[LinkEnd, Link]]]  # by node


def cables(links: Sequence[Link], networks: Mapping[str, Network], quiet: Quiet) -> Iterator[Fact]:
    """The pairs, and what their ends have to pass. The near end is in the world where one is."""
    for link in links:
        near, far = link.ends[::-1] if link.ends[1].network else link.ends
        yield Veth(_end(near, link, networks, quiet), _end(far, link, networks, quiet))
        usual = Shape(link.rate, link.burst, link.latency)
        for end in (near, far):
            shape = end.egress or usual
            if shape.rate:
                burst, limit = bucket(shape, link.mtu)
                place = end.node or WORLD, end.interface
                yield Qdisc(*place, rate=shape.rate // 8, burst=burst, limit=limit)


def _end(end: LinkEnd, link: Link, networks: Mapping[str, Network], quiet: Quiet) -> End:
    if end.network:
        bridge = networks[end.network].name
        return End(WORLD, end.interface, link.mtu, end.mac, bridge=bridge)
    six = any(subnet.version == 6 for subnet in link.subnets)
    settings = quiet(end.node, end.interface, six)
    return End(end.node, end.interface, link.mtu, end.mac, settings=settings)


def addresses(ends: Sequence[tuple[LinkEnd, Link]]) -> Iterator[Address]:
    """Those of the ends in one node."""
    for end, link in ends:
        for address in end.addresses:
            prefix = _home(address.version, link.subnets).prefixlen
            yield Address(end.node, end.interface, str(address), prefix)


def _home(version: int, subnets: Sequence[Prefix]) -> Prefix:
    return next(subnet for subnet in subnets if subnet.version == version)


def computed(node: str, ways: Sequence[Way]) -> Iterator[Route]:
    """The routes that were computed for it."""
    for way in ways:
        metric = 0 if way.to.version == 4 else IPV6_METRIC
        hops = tuple(Hop(str(hop.via), hop.interface) for hop in way.hops)
        if len(hops) > 1:
            yield Route(node, str(way.to), "", "", metric, hops)
        else:
            yield Route(node, str(way.to), hops[0].via, hops[0].device, metric)
