"""Checks of how addresses are given out (`ip_range`, `reserved`), and of single interfaces and
nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bascule.names import WORLD_NETNS
from bascule.topology.model import (
    IPV6_MIN_MTU,
    Attachment,
    IPAddress,
    Network,
    Node,
    Prefix,
    Span,
    Topology,
)
from bascule.topology.ranges import Range, gateways_of, range_of
from bascule.topology.tree import Path, Problem

INTERFACE_WORD = "IFNAME"  # stands for the interface's name in an attachment's settings


def check_addresses(topology: Topology, unreadable: frozenset[str]) -> Iterator[Problem]:
    """All problems of this kind."""
    networks = {network.name: network for network in topology.networks}
    seekers: Counter[tuple[str, int]] = Counter()
    fixed: dict[str, list[IPAddress]] = {}
    for node in topology.nodes:
        for item in node.attachments:
            fixed.setdefault(item.network, []).extend(item.addresses)
            for version in (4, 6):
                seekers[item.network, version] += all(
                    address.version != version for address in item.addresses
                )
    for network in topology.networks:
        if network.name not in unreadable:
            yield from _ranges(network)
            yield from _reserved(network)
            yield from _room(network, fixed.get(network.name, []), seekers)
    yield from _uplinks(topology)
    yield from _adopted(topology)
    for node in topology.nodes:
        yield from _own(node)
        for item in node.attachments:
            if item.network in networks and item.network not in unreadable:
                yield from _attachment(node, item, networks[item.network])


def _ranges(network: Network) -> Iterator[Problem]:
    used: set[Prefix] = set()
    for index, inner in enumerate(network.ranges):
        path: Path = ("networks", network.name, "ip_range", index)
        home = _home(inner, network)
        if home is None:
            what = (
                "no subnet that is given with `subnet`"
                if not network.subnets
                else " and ".join(map(str, network.subnets))
            )
            yield path, f"{inner} must be a part of the network's subnet, which is {what}"
        elif home in used:
            yield path, f"{inner} is a second range in {home}; keep one for each subnet"
        else:
            used.add(home)


def _home(inner: Prefix, network: Network) -> Prefix | None:
    mine = range_of(inner)
    for subnet in network.subnets:
        whole = range_of(subnet)
        if whole.version == mine.version and whole.low <= mine.low and mine.high <= whole.high:
            return subnet
    return None


def _reserved(network: Network) -> Iterator[Problem]:
    for index, span in enumerate(network.reserved):
        if not any(span.first in subnet and span.last in subnet for subnet in network.subnets):
            text = str(span.first) if span.first == span.last else f"{span.first}-{span.last}"
            message = f"{text} is in no subnet of the network; remove it, or give the subnet"
            yield ("networks", network.name, "reserved", index), message


def is_reserved(address: IPAddress, spans: tuple[Span, ...]) -> bool:
    """Whether the address lies in one of these."""
    return any(
        span.first.version == address.version and int(span.first) <= int(address) <= int(span.last)
        for span in spans
    )


def _room(
    network: Network, fixed: list[IPAddress], seekers: Counter[tuple[str, int]]
) -> Iterator[Problem]:
    """Whether what is left of a subnet, with ranges and reservations, is enough for the nodes
    without an address of their own."""
    if not network.ranges and not network.reserved:
        return
    for index, subnet in enumerate(network.subnets):
        whole = range_of(subnet)
        low, high = limits(network, whole)
        taken = {
            int(address)
            for address in (*fixed, *gateways_of(network, (whole,)))
            if address in subnet
        }
        free = (
            high
            - low
            + 1
            - sum(
                low <= number <= high and not is_reserved(whole.address(number), network.reserved)
                for number in taken
            )
        )
        free -= sum(last - first + 1 for first, last in merged(network.reserved, whole, low, high))
        number = seekers[network.name, whole.version]
        if number > free:
            where = (
                "the ip_range and what is reserved leave"
                if network.ranges
                else "what is reserved leaves"
            )
            count = f"{number:,} nodes need one" if number > 1 else "a node needs one"
            message = f"{where} {max(free, 0):,} addresses of {subnet}, but {count}; leave more"
            yield ("networks", network.name, "subnet", index), message


def limits(network: Network, whole: Range) -> tuple[int, int]:
    """The first and the last address of a subnet that are given to nodes, reserved ones not
    counted."""
    for inner in network.ranges:
        part = range_of(inner)
        if part.version == whole.version and whole.low <= part.low <= whole.high:
            return max(part.low, whole.first), min(part.high, whole.last)
    return whole.first, whole.last


def merged(spans: tuple[Span, ...], whole: Range, low: int, high: int) -> list[tuple[int, int]]:
    """The reserved parts of ``low`` to ``high`` in a subnet, in order, none touching another."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(
        (int(span.first), int(span.last)) for span in spans if span.first.version == whole.version
    ):
        first, last = max(begin, low), min(end, high)
        if first > last:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def _attachment(node: Node, item: Attachment, network: Network) -> Iterator[Problem]:
    path: Path = ("nodes", node.name, "networks", item.network)
    for index, address in enumerate(item.addresses):
        if is_reserved(address, network.reserved):
            yield (
                (*path, "address", index),
                f"{address} is reserved on {network.name}; choose another, or reserve less",
            )
    if item.mtu > network.mtu:
        yield (
            (*path, "mtu"),
            f"{item.mtu} is more than the network's {network.mtu}; raise `mtu` of {network.name}",
        )
    elif (
        item.mtu
        and item.mtu < IPV6_MIN_MTU
        and any(subnet.version == 6 for subnet in network.subnets)
    ):
        yield (*path, "mtu"), f"{item.mtu} is too small for IPv6; write at least {IPV6_MIN_MTU}"
    places = [(*path, "sysctls")] * len(item.sysctls) + [("nodes", node.name, "sysctls")] * len(
        node.sysctls
    )
    for place, (key, value) in zip(places, (*item.sysctls, *node.sysctls), strict=True):
        if _takes_six(key, value, item.interface) and any(
            subnet.version == 6 for subnet in network.subnets
        ):
            message = f"{key} takes the IPv6 addresses away that {network.name} gives"
            yield place, f"{message}; leave it out, or use a network without an IPv6 subnet"
    for key, _value in item.sysctls:
        if INTERFACE_WORD not in key.replace("/", ".").split("."):
            message = (
                f"{key} does not name the interface; write {INTERFACE_WORD} in its place, or "
                f"move it to the node"
            )
            yield (*path, "sysctls"), message


def _own(node: Node) -> Iterator[Problem]:
    """Addresses of lo."""
    path: Path = ("nodes", node.name, "loopback")
    if node.loopback and node.netns:
        yield path, "the namespace is another program's, and so is its lo; remove one of the two"
    seen = set[IPAddress]()
    for index, each in enumerate(node.loopback):
        if each.ip in seen:
            yield (*path, index), f"{each.ip} is given twice; keep one"
        seen.add(each.ip)


def _takes_six(key: str, value: str, interface: str) -> bool:
    """Whether a setting turns IPv6 off on this interface."""
    words = key.split("/" if "/" in key else ".")
    names = ("all", INTERFACE_WORD, interface)
    return (
        words[1:3] == ["ipv6", "conf"]
        and words[4:] == ["disable_ipv6"]
        and words[3] in names
        and value.strip() != "0"
    )


def _uplinks(topology: Topology) -> Iterator[Problem]:
    bridges = {network.name for network in topology.networks}
    ours = {item.host_interface for node in topology.nodes for item in node.attachments}
    seen: dict[str, str] = {}
    for network in topology.networks:
        path: Path = ("networks", network.name, "uplink")
        if network.uplink and network.uplink in bridges | ours:
            yield (
                path,
                (
                    f"'{network.uplink}' is made by the lab itself; an uplink is an interface "
                    f"that the machine has"
                ),
            )
        elif network.uplink in seen:
            yield (
                path,
                (
                    f"'{network.uplink}' is the uplink of {seen[network.uplink]} already; it can "
                    f"be a port of one bridge"
                ),
            )
        if network.uplink:
            seen.setdefault(network.uplink, network.name)


def _adopted(topology: Topology) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    own = {node.name for node in topology.nodes if not node.netns}
    for node in topology.nodes:
        if node.netns == WORLD_NETNS and node.attachments:
            yield (
                ("nodes", node.name, "netns"),
                "is the machine's own: write `network_mode: host`, without networks",
            )
        elif node.netns and node.netns != WORLD_NETNS and node.netns in seen:
            yield ("nodes", node.name, "netns"), f"is node {seen[node.netns]} already; keep one"
        elif node.netns and node.netns.removeprefix("/var").removeprefix("/run/netns/") in own:
            yield ("nodes", node.name, "netns"), "is a node of this lab; write its networks there"
        if node.netns:
            seen.setdefault(node.netns, node.name)
