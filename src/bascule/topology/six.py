"""A lab without IPv6: what of it stays, and what is left out.

For machines whose kernel has none, or has it turned off. The choice is a word of the lab, so that
it is stored with it and counts for each later change; it is made before anything is chosen, so that
nothing below knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TypeVar

from bascule.errors import InputError
from bascule.names import few
from bascule.topology.defaults import with_attachments
from bascule.topology.load import judge
from bascule.topology.model import Attachment, Link, Network, Node, Port, Route, Topology
from bascule.topology.ports import port_text

T = TypeVar("T")


def has_ipv6(topology: Topology) -> bool:
    """Whether it says anything that needs IPv6."""
    return replace(topology, ipv6=False) != stripped(topology)


def without_ipv6(topology: Topology) -> Topology:
    """The topology as it is to be made: itself, or, where its ``ipv6`` is False, without all that
    needs IPv6. Networks that have nothing else go with all that is on them. Raises
    :class:`InputError` where no network would be left, and :class:`TopologyError` where what is
    left does not fit together."""
    if topology.ipv6:
        return topology
    found = stripped(topology)
    if topology.networks and not found.networks:
        raise InputError(
            f"lab {topology.name}: {few([each.name for each in topology.networks])} "
            f"{'has' if len(topology.networks) == 1 else 'have'} IPv6 only, so that without IPv6 "
            f"nothing would be left; give a network an IPv4 `subnet`, or none at all"
        )
    judge(found, topology.name, "or make the lab with IPv6")
    return found


def stripped(topology: Topology) -> Topology:
    """The same of any topology, as little as may be left of it."""
    return _without(topology, _Left())


def left_out(topology: Topology) -> tuple[str, ...]:
    """What :func:`without_ipv6` leaves out: a sentence for each kind of thing. Raises what it
    does."""
    left = _Left()
    if not without_ipv6(topology).ipv6:
        _without(topology, left)
    return tuple(left.sentences())


@dataclass(slots=True)
class _Left:
    """What is left out, by kind."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, what: str) -> None:
        self.found.setdefault(kind, []).append(what)

    def keep(self, kind: str, items: Iterable[T], is_six: Callable[[T], bool], of: str) -> list[T]:
        """Those that stay; of the others it is noted that they are of ``of``."""
        kept = []
        for item in items:
            if is_six(item):
                self.note(kind, f"{_text(item)} of {of}")
            else:
                kept.append(item)
        return kept

    def sentences(self) -> Iterator[str]:
        for kind, items in self.found.items():
            yield f"without IPv6, left out: {kind} {few(items)}"


def _without(topology: Topology, left: _Left) -> Topology:
    gone = {network.name for network in topology.networks if _is_six_only(network)}
    for name in sorted(gone):
        left.note("networks that have nothing else:", name)
    networks = tuple(
        _network(network, gone, left) for network in topology.networks if network.name not in gone
    )
    leased = {network.name for network in networks if network.dhcp}
    nodes = tuple(_node(node, gone, leased, left) for node in topology.nodes)
    pools = tuple(
        left.keep("pools", topology.pools, lambda pool: pool.base.version == 6, topology.name)
    )
    links = tuple(_link(link, left) for link in topology.links if not _ends_at(link, gone))
    return replace(topology, ipv6=False, networks=networks, nodes=nodes, pools=pools, links=links)


def _ends_at(link: Link, gone: set[str]) -> bool:
    return any(end.network in gone for end in link.ends)


def _link(link: Link, left: _Left) -> Link:
    """A link that has nothing else stays, without addresses."""
    subnets = tuple(left.keep("subnets", link.subnets, _is_six, f"link {link.name}"))
    near, far = (
        replace(end, addresses=tuple(each for each in end.addresses if not _is_six(each)))
        for end in link.ends
    )
    has_subnet = link.has_subnet and (bool(subnets) or not link.subnets)
    return replace(link, subnets=subnets, has_subnet=has_subnet, ends=(near, far))


def _is_six_only(network: Network) -> bool:
    return bool(network.subnets) and all(subnet.version == 6 for subnet in network.subnets)


def _is_six(item: object) -> bool:
    return getattr(item, "version", 4) == 6


def _network(network: Network, gone: set[str], left: _Left) -> Network:
    name = network.name
    if network.ra:
        left.note("router advertisements (`ra`) of", name)
    return replace(
        network,
        subnets=tuple(left.keep("subnets", network.subnets, _is_six, name)),
        gateways=tuple(each for each in network.gateways if not _is_six(each)),
        ranges=tuple(each for each in network.ranges if not _is_six(each)),
        reserved=tuple(span for span in network.reserved if not _is_six(span.first)),
        outbound=tuple(left.keep("outbound addresses", network.outbound, _is_six, name)),
        reach=tuple(other for other in network.reach if other not in gone),
        ra=False,
    )


def _node(node: Node, gone: set[str], leased: set[str], left: _Left) -> Node:
    stay = [item for item in node.attachments if item.network not in gone]
    lost = {item.interface for item in node.attachments if item.network in gone}
    if lost and not stay:
        left.note("all networks of", node.name)
    attachments = [_attachment(node.name, item, leased, left) for item in stay]
    if len(stay) == len(node.attachments):
        node = with_attachments(node, attachments)  # most nodes stay what they are
    else:
        node = replace(node, attachments=tuple(attachments))
    ports = node.ports
    if lost and not stay:
        for port in ports:
            left.note("ports", f"{port_text(port)} of {node.name}")
        ports = ()

    def is_out(route: Route) -> bool:
        return _is_six(route.to) or _is_six(route.via) or route.interface in lost

    kept = replace(
        node,
        ports=tuple(left.keep("ports", ports, lambda port: _is_six(port.host), node.name)),
        routes=tuple(left.keep("routes", node.routes, is_out, node.name)),
        sysctls=tuple(left.keep("settings", node.sysctls, _is_setting, node.name)),
        loopback=tuple(left.keep("addresses of lo", node.loopback, _is_six, node.name)),
        dns=tuple(left.keep("name servers", node.dns, _is_six, node.name)),
        extra_hosts=tuple(left.keep("extra hosts", node.extra_hosts, _is_host, node.name)),
    )
    return node if kept == node else kept


def _attachment(node: str, item: Attachment, leased: set[str], left: _Left) -> Attachment:
    where = f"{node} on {item.network}"
    kept = replace(
        item,
        addresses=tuple(each for each in item.addresses if not _is_six(each)),
        sysctls=tuple(left.keep("settings", item.sysctls, _is_setting, where)),
        autoconf=item.autoconf and item.network in leased,
    )
    return item if kept == item else kept


def _is_setting(row: tuple[str, str]) -> bool:
    """A setting of IPv6, but for one that turns it off."""
    words = row[0].replace("/", ".").split(".")
    is_off = words[-1] == "disable_ipv6" and row[1].strip() != "0"
    return words[1:2] == ["ipv6"] and not is_off


def _is_host(row: tuple[str, str]) -> bool:
    try:
        return ip_address(row[1]).version == 6
    except ValueError:  # the machine's own, whichever that is
        return False


def _text(item: object) -> str:
    """As a reader of the lab file knows it."""
    if isinstance(item, Port):
        return port_text(item)
    if isinstance(item, Route):
        return str(item.to)
    if isinstance(item, tuple):
        return str(item[0])
    return str(item)
