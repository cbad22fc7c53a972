"""Who pings whom, and who is not meant to be answered.

A lab says of some pairs that they do not reach each other: by `icc: false`, by networks that are
apart. Of these silence is right, and an answer is a hole. Where nodes may lead packets another way
(routes of their own, a node that passes packets on), a lab says nothing of the pair, and nobody
sends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

from bascule.errors import InputError, KernelError, NotFound
from bascule.host import icmp
from bascule.host.icmp import Echo, Target
from bascule.host.world import World
from bascule.names import shown
from bascule.topology import routing
from bascule.topology.links import joined
from bascule.topology.model import Assigned, Attachment, IPAddress, Network, Node
from bascule.topology.routing import Way
from bascule.topology.ways import ways_out
from bascule.wire.inet import AF_INET, AF_INET6

_LONGEST = 3600  # seconds
_SILENCE, _ATTEMPTS = 0.5, 2  # how long an answer that is not to come is waited for
_FEW_NODES = 20  # of more, not every pair is tried that is not meant to: who stands for the others


class Pair(NamedTuple):
    """Who sends to which address. ``barred``: why no answer is meant to come, empty where one
    is."""

    source: str
    target: Target
    barred: str = ""


def ping(
    lab: Assigned,
    world: World,
    source: str | None,
    target: str | None,
    timeout: float,
    strangers: bool,
) -> list[Echo]:
    """What comes of :func:`all_pairs`, or of :func:`chosen`. Raises :class:`NotFound`,
    :class:`InputError` for a ``timeout`` that is none, :class:`KernelError`."""
    if not 0 <= timeout <= _LONGEST:
        raise InputError(f"a timeout of {timeout:g} s; give a number from 0 to {_LONGEST}")
    pairs = all_pairs(lab, strangers) if source is None else chosen(lab, source, target)
    silent = source is None or target is None  # who names both wants to know
    meant = [pair for pair in pairs if not (pair.barred and silent)]
    barred = [pair for pair in pairs if pair.barred and silent]
    try:
        found = _sent(world, meant, timeout, icmp.ATTEMPTS)
        found += _sent(world, barred, min(timeout, _SILENCE), _ATTEMPTS)
    except OSError as error:
        number = error.errno or 0
        advice = icmp.ADVICE.get(number, "")
        raise KernelError("ping", number, os.strerror(number), advice=advice) from error
    if silent:
        told = [replace(echo, barred=pair.barred) for echo, pair in _along(found, meant, barred)]
    else:
        told = [_explained(echo, pair.barred) for echo, pair in _along(found, meant, barred)]
    order = {pair[:2]: number for number, pair in enumerate(pairs)}
    return sorted(told, key=lambda echo: order[echo.source, echo.target])


def _sent(world: World, pairs: list[Pair], timeout: float, attempts: int) -> list[Echo]:
    if not pairs:
        return []
    return world.call(icmp.ping, [pair[:2] for pair in pairs], timeout, attempts)


def _along(found: list[Echo], meant: list[Pair], barred: list[Pair]) -> Iterator[tuple[Echo, Pair]]:
    return zip(found, [*meant, *barred], strict=True)


def _explained(echo: Echo, barred: str) -> Echo:
    if echo.seconds is not None or not barred:
        return echo
    return replace(echo, why=f"{echo.why}; not meant to, as {barred}")


def targets(lab: Assigned, node: str, networks: frozenset[str] | None = None) -> list[Target]:
    """The addresses of a node, on these networks only where given."""
    return [
        _target(item.name, address)
        for item in joined(lab)
        if item.name == node
        for attachment in item.attachments
        if networks is None or attachment.network in networks
        for address in attachment.addresses
    ]


def _target(node: str, address: IPAddress) -> Target:
    return Target(node, str(address), AF_INET if address.version == 4 else AF_INET6)


def all_pairs(lab: Assigned, strangers: bool = False) -> list[Pair]:
    """Every ordered pair of nodes on a common network or link, one target an address family there:
    on a network where they may speak, if there is one; and those whose routes the lab has computed.
    With ``strangers`` others as well, as far as the lab says something of them."""
    networks = _places(lab)
    nodes = joined(lab)
    known = {node.name: {item.network for item in node.attachments} for node in nodes}
    sample, routed, reach = _Sample(lab), _routed(lab), _Reach(lab)
    found = []
    for source, target in permutations(nodes, 2):
        common = known[source.name] & known[target.name]
        if common:
            rows = _near(source, target, networks, common)
        elif lab.routing:
            rows = reach.to(source, target)
        elif strangers and not routed & (known[source.name] | known[target.name]):
            rows = _far(source, target, networks)
        else:
            continue
        found += [pair for pair in rows if not pair.barred or sample.takes(pair, bool(common))]
    return found


def _places(lab: Assigned) -> dict[str, Network]:
    """Networks, and what else :func:`joined` has: a link is as a network without a bridge."""
    found = {network.name: network for network in lab.networks}
    for node in joined(lab):
        for item in node.attachments:
            found.setdefault(item.network, Network(item.network, has_gateway=False))
    return found


class _Reach:
    """Who is reached over routers (:mod:`bascule.topology.routing`)."""

    def __init__(self, lab: Assigned) -> None:
        # by what its addresses begin with
        self._ways: dict[str, dict[tuple[int, int, int], Way]] = {}
        lengths: dict[int, set[int]] = {4: set(), 6: set()}
        for node, ways in routing.ways(lab).items():
            rows = self._ways[node] = {}
            for way in ways:
                lengths[way.to.version].add(way.to.prefixlen)
                rows[_beginning(way.to.network_address, way.to.prefixlen)] = way
        self._lengths = {version: sorted(each, reverse=True) for version, each in lengths.items()}

    def to(self, source: Node, target: Node) -> Iterator[Pair]:
        """One address a family, of those that a route leads to, and one back."""
        families = set[int]()
        for item in target.attachments:
            for address in item.addresses:
                if address.version not in families and self._meet(source, target, address):
                    families.add(address.version)
                    yield Pair(source.name, _target(target.name, address))

    def _meet(self, source: Node, target: Node, address: IPAddress) -> bool:
        out = self._way(source, address)
        if out is None:
            return False
        own = [
            each
            for item in source.attachments
            if item.interface in {hop.interface for hop in out.hops}
            for each in item.addresses
            if each.version == address.version
        ]
        return bool(own) and all(self._way(target, each) is not None for each in own)

    def _way(self, node: Node, address: IPAddress) -> Way | None:
        rows = self._ways[node.name]
        keys = (_beginning(address, length) for length in self._lengths[address.version])
        return next((rows[key] for key in keys if key in rows), None)


def _beginning(address: IPAddress, length: int) -> tuple[int, int, int]:
    return address.version, length, int(address) >> (address.max_prefixlen - length)


def _routed(lab: Assigned) -> set[str]:
    """The networks from which nodes may lead packets further, also by routes that they learn: those
    with a node that passes packets on, and those without the machine."""
    found = {network.name for network in _places(lab).values() if not network.has_gateway}
    for node in joined(lab):
        if node.forward or any(_passes_on(*row) for row in node.sysctls):
            found.update(item.network for item in node.attachments)
    return found


def _passes_on(key: str, value: str) -> bool:
    word = key.replace("/", ".").rpartition(".")[2]
    return word in ("ip_forward", "forwarding") and value.strip() != "0"


class _Sample:
    """Which of the pairs that are not meant to reach each other are tried. Each node with its
    neighbours in the file, which tries each port; each network with each other one. In a small lab
    all of them."""

    def __init__(self, lab: Assigned) -> None:
        self._all = len(lab.nodes) <= _FEW_NODES
        names = [node.name for node in lab.nodes]
        self._next = dict(zip(names, [*names[1:], *names[:1]], strict=True))
        self._tried: set[tuple[str, int]] = set()

    def takes(self, pair: Pair, near: bool) -> bool:
        if self._all:
            return True
        if near:
            ends = pair.source, pair.target.node
            return self._next[ends[0]] == ends[1] or self._next[ends[1]] == ends[0]
        key = pair.barred, pair.target.family
        new = key not in self._tried
        self._tried.add(key)
        return new


def _near(
    source: Node, target: Node, networks: Mapping[str, Network], common: set[str]
) -> Iterator[Pair]:
    """Neighbours."""
    families = set()
    items = [item for item in target.attachments if item.network in common]
    for item in sorted(items, key=lambda item: not networks[item.network].icc):
        barred = "" if networks[item.network].icc else f"icc is false on {item.network}"
        for address in item.addresses:
            if address.version in families:
                continue
            families.add(address.version)
            if not (barred and _is_led(source, address)):
                yield Pair(source.name, _target(target.name, address), barred)


def _far(source: Node, target: Node, networks: Mapping[str, Network]) -> Iterator[Pair]:
    """Nodes without a common network: they meet through the machine, or not at all."""
    if any(node.netns or node.routes for node in (source, target)):
        return  # others have their say there, or routes lead where the machine would not
    touched = [networks[item.network] for node in (source, target) for item in node.attachments]
    if any(network.uplink for network in touched):
        return  # a router outside may lead from one to the other
    out = {gateway.version: item for item, gateway in ways_out(source, networks)}
    back = {gateway.version: item for item, gateway in ways_out(target, networks)}
    own = {address.version for item in source.attachments for address in item.addresses}
    for version in sorted(own):
        rows = [
            (item, address)
            for item in target.attachments
            for address in item.addresses
            if address.version == version
        ]
        near = out.get(version)
        open_ones = [row for row in rows if near and row[0].network in networks[near.network].reach]
        for item, address in (open_ones or rows)[:1]:
            barred = "" if open_ones else _why_not(source, near, networks[item.network], networks)
            if barred or back.get(version) == item:  # else it answers by another way
                yield Pair(source.name, _target(target.name, address), barred)


def _why_not(
    source: Node, near: Attachment | None, there: Network, networks: Mapping[str, Network]
) -> str:
    name = near.network if near is not None else source.attachments[0].network
    for network in (networks[name], there):
        if network.internal:
            return f"{network.name} is internal"
    return f"{name} does not reach {there.name}"


def _is_led(node: Node, address: IPAddress) -> bool:
    """Whether a route of the node's own leads to this address."""
    return any(
        route.to.version == address.version and route.to.prefixlen and address in route.to
        for route in node.routes
    )


def chosen(lab: Assigned, source: str, target: str | None) -> list[Pair]:
    """The pairs from one node: to all that it shares a network with, to one of them, or to an
    address. Raises NotFound."""
    names = [node.name for node in lab.nodes]
    if source not in names:
        raise NotFound(f"no node {shown(source)} in lab {lab.name}")
    if target is None:
        return [pair for pair in all_pairs(lab) if pair.source == source]
    if target in names:
        return _to_node(lab, source, target)
    from ipaddress import ip_address

    try:
        address = ip_address(target)
    except ValueError:
        raise NotFound(
            f"{shown(target)} is neither a node of lab {lab.name} nor an address"
        ) from None
    return [Pair(source, _target(source, address))]


def _to_node(lab: Assigned, source: str, target: str) -> list[Pair]:
    near = next(
        frozenset(a.network for a in node.attachments)
        for node in joined(lab)
        if node.name == source
    )
    found = targets(lab, target, near) or targets(lab, target)
    if not found:
        raise NotFound(f"node {target} has no address")
    ends = {node.name: node for node in joined(lab)}
    networks = _places(lab)
    barred = {}
    if source != target:
        common = near & {item.network for item in ends[target].attachments}
        touched = near | {item.network for item in ends[target].attachments}
        rows: Iterator[Pair] = iter(())
        if common:
            rows = _near(ends[source], ends[target], networks, set(common))
        elif not touched & _routed(lab):
            rows = _far(ends[source], ends[target], networks)
        barred = {pair.target: pair for pair in rows}
        if common and barred:  # those that :func:`all_pairs` takes
            return list(barred.values())
    one = {each.family: each for each in reversed(found)}.values()
    return [Pair(source, each, barred[each].barred if each in barred else "") for each in one]
