"""Links: how they are read, what is filled in and chosen for them, and what does not fit.

A link's ends are told by NODE:INTERFACE; a name that is no node's is a network's, and then the end
is a port of its bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, count
from typing import Any

from bascule.names import WORLD_NETNS, host_interface_name, problem_with_interface_name
from bascule.topology import shaping, values
from bascule.topology.defaults import interface_name
from bascule.topology.model import (
    IPV6_MIN_MTU,
    Attachment,
    Link,
    LinkEnd,
    Node,
    Prefix,
    Shape,
    Topology,
)
from bascule.topology.ranges import range_of
from bascule.topology.scribe import Scribe
from bascule.topology.space import Space, take
from bascule.topology.tree import Path, Problem, Tree, kind_of, nearest, shown
from bascule.topology.word import Noun

NO_SUBNET = "none"
_TWO = "two ends, like [r1, r2] or [r1:eth1, r2:eth1]"
_FORM = f"must be {_TWO}, or a map like {{ends: [r1, r2], subnet: 10.9.0.0/31}}"


# Reading


def read(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> tuple[Link, ...] | None:
    """A list of links."""
    if tree.value is None:
        return ()
    if not isinstance(tree.value, list):
        scribe.wrong(tree, path, f"must be a list of links, like [[r1, r2]], not {kind_of(tree)}")
        return None
    found = [_link(noun, scribe, item, (*path, index)) for index, item in enumerate(tree.value)]
    return tuple(found) if None not in found else None  # type: ignore[arg-type] # none is None


def _link(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> Link | None:
    got: dict[str, Any] = {}
    if isinstance(tree.value, list):
        got["ends"] = noun.keys["ends"].form.read(scribe, tree, path)
    elif isinstance(tree.value, dict):
        mistakes = len(scribe.mistakes)
        got = noun.read(scribe, tree, path)
        if "ends" not in got and len(scribe.mistakes) == mistakes:
            scribe.wrong(tree, path, f"a link needs `ends`: {_TWO}")
    else:
        scribe.wrong(tree, path, f"{_FORM}, not {kind_of(tree)}")
    if not got.get("ends"):
        return None
    has_subnet, prefixes = got.pop("subnet", (True, ()))
    made: Link = noun.make(got, subnets=prefixes, has_subnet=has_subnet)
    return made


def ends(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> tuple[LinkEnd, LinkEnd] | None:
    """Two of them."""
    if not isinstance(tree.value, list) or len(tree.value) != 2:
        got = kind_of(tree) if not isinstance(tree.value, list) else f"{len(tree.value)}"
        scribe.wrong(tree, path, f"must be {_TWO}, not {got}")
        return None
    near, far = (_end(noun, scribe, item, (*path, index)) for index, item in enumerate(tree.value))
    return (near, far) if near is not None and far is not None else None


def _end(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> LinkEnd | None:
    if isinstance(tree.value, dict):
        mistakes = len(scribe.mistakes)
        got = noun.read(scribe, tree, path)
        if len(scribe.mistakes) > mistakes:
            return None
        if ("node" in got) == ("network" in got):
            scribe.wrong(tree, path, "an end is at one of `node` and `network`; give one of them")
            return None
        made: LinkEnd = noun.make(got)
        return made
    text = scribe.text(tree, path, "a node's name, or NODE:INTERFACE")
    if text is None:
        return None
    name, colon, interface = text.partition(":")
    problem = problem_with_interface_name(interface) if colon else None
    if problem or not name:
        scribe.wrong(
            tree, path, problem or f"'{shown(text)}' names no node; write NODE or NODE:INTERFACE"
        )
        return None
    return LinkEnd(node=name, interface=interface)


def subnets(scribe: Scribe, tree: Tree, path: Path) -> tuple[bool, tuple[Prefix, ...]] | None:
    """Whether the ends have addresses, and in which subnets."""
    if tree.value == NO_SUBNET:
        return False, ()
    found = scribe.some(tree, path, f"a subnet, `{NO_SUBNET}`,", values.link_subnet)
    return None if found is None else (True, found)


# Filling in


def resolve(
    scribe: Scribe, links: Iterable[Link], nodes: Iterable[str], networks: Iterable[str]
) -> dict[int, Link]:
    """The links with each end at the node or network that it names, by their places in the file;
    without those whose ends are unknown, which are noted."""
    known, bridges = set(nodes), set(networks)
    out: dict[int, Link] = {}
    for index, link in enumerate(links):
        found = []
        for position, end in enumerate(link.ends):
            name = end.place
            if end.network in bridges or end.node in known:
                found.append(end)
            elif end.node in bridges:
                found.append(replace(end, node="", network=name))
            else:
                hint = nearest(name, [*known, *bridges]) or "; define it under `nodes`"
                path: Path = ("links", index, "ends", position)
                scribe.wrong_at(path, f"no node or network '{shown(name)}'{hint}")
        if len(found) == 2:
            out[index] = replace(link, ends=(found[0], found[1]))
    return out


def fill_interfaces(
    links: Iterable[Link], nodes: Iterable[Node], networks: Iterable[str]
) -> tuple[Link, ...]:
    """The links with all interface names given: in a node the next free ones, after those of its
    networks; in the world, names that no other interface of the lab has."""
    links = tuple(links)
    if not links:
        return links
    taken: dict[str, set[str]] = {"": set(networks)}
    next_one: dict[str, int] = {}
    for node in nodes:
        taken[node.name] = {item.interface for item in node.attachments}
        next_one[node.name] = len(node.attachments)
        taken[""].update(item.host_interface for item in node.attachments)
    for link in links:
        for end in link.ends:
            if end.interface:
                taken.setdefault(end.node, set()).add(end.interface)
    return tuple(replace(link, ends=_filled(link.ends, taken, next_one)) for link in links)


def _filled(
    both: tuple[LinkEnd, LinkEnd], taken: Mapping[str, set[str]], next_one: dict[str, int]
) -> tuple[LinkEnd, LinkEnd]:
    made = []
    for end in both:
        key = end.node or f" {end.network}"  # no node is called so
        first = next_one.get(key, 0)
        next_one[key] = first + 1
        names: Callable[[int], str] = interface_name
        if end.network:
            names = lambda number, network=end.network: host_interface_name(network, number)  # type: ignore[misc] # noqa: E731
        name = end.interface
        if not name:
            name = next(each for each in map(names, count(first)) if each not in taken[end.node])
            taken[end.node].add(name)
        made.append(end if end.interface else replace(end, interface=name))
    return made[0], made[1]


def ends_at(links: Iterable[Link]) -> dict[str, list[tuple[LinkEnd, Link]]]:
    """By node, in the order of the links."""
    found: dict[str, list[tuple[LinkEnd, Link]]] = {}
    for link in links:
        for end in link.ends:
            if end.node:
                found.setdefault(end.node, []).append((end, link))
    return found


def joined(lab: Topology) -> tuple[Node, ...]:
    """The nodes, each with the ends of its links beside its attachments: as if each link were a
    network of two, called by :attr:`Link.name`, and its own addresses one of one."""
    if not lab.links and not any(node.loopback for node in lab.nodes):
        return lab.nodes
    found = ends_at(lab.links)
    return tuple(
        replace(
            node,
            attachments=(
                *_alone(node),
                *node.attachments,
                *(
                    Attachment(link.name, end.addresses, end.interface, mac=end.mac)
                    for end, link in found.get(node.name, ())
                ),
            ),
        )
        for node in lab.nodes
    )


def _alone(node: Node) -> Iterator[Attachment]:
    if node.loopback:
        yield Attachment(f"lo of {node.name}", tuple(each.ip for each in node.loopback))


def is_link(network: str) -> bool:
    """Whether that is what :func:`joined` calls a link, or a node's own."""
    return " " in network


# Checking


def check_links(topology: Topology) -> Iterator[Problem]:
    """All problems of links."""
    nodes = {node.name: node for node in topology.nodes}
    taken: dict[tuple[str, str], str] = {
        ("", name): f"the bridge of network {name}" for name in (n.name for n in topology.networks)
    }
    for node in topology.nodes:
        for item in node.attachments:
            taken[node.name, item.interface] = f"its interface on {item.network}"
            taken["", item.host_interface] = f"the port of node {node.name}"
    for index, link in enumerate(topology.links):
        path: Path = ("links", index)
        for position, end in enumerate(link.ends):
            here: Path = (*path, "ends", position)
            yield from _place(end, nodes, taken, here)
            yield from _addresses(end, link, here)
        if _same_place(link):
            yield (*path, "ends"), "both ends are at the same place; a link joins two"
        yield from _subnets(link, path)
        yield from _shapes(link, path)
    yield from _overlaps(topology)


def _same_place(link: Link) -> bool:
    near, far = link.ends
    return bool(near.network) and near.network == far.network


def _place(
    end: LinkEnd, nodes: Mapping[str, Node], taken: dict[tuple[str, str], str], here: Path
) -> Iterator[Problem]:
    node = nodes.get(end.node)
    if node is not None and node.netns == WORLD_NETNS:
        yield here, f"{end.node} is the machine itself; use a network, or `uplink`"
    key = (end.node, end.interface)
    if end.interface and key in taken:
        yield here, f"'{end.interface}' is {taken[key]} already; choose another name"
    if end.interface:
        taken.setdefault(key, "an end of a link")
    if end.network and end.addresses:
        yield here, "a port of a bridge has no address; the network's `gateway` is the bridge's own"


def _addresses(end: LinkEnd, link: Link, here: Path) -> Iterator[Problem]:
    versions = set[int]()
    if end.addresses and not link.has_subnet:
        yield (*here, "address"), "the link has `subnet: none`; remove one of the two"
        return
    for index, address in enumerate(end.addresses):
        path: Path = (*here, "address", index)
        home = next((range_of(each) for each in link.subnets if address in each), None)
        if home is None and link.subnets:
            listed = " and ".join(map(str, link.subnets))
            yield path, f"{address} is outside {listed}; choose an address inside"
        elif home is None and not end.network:
            yield path, f"{address} is in no subnet: give the link one with `subnet`"
        elif address.version in versions:
            yield path, f"{address} is a second IPv{address.version} address; keep one"
        elif home is not None and not home.first <= int(address) <= home.last:
            yield (
                path,
                (
                    f"{address} is the first or last address of {home.subnet}, which no interface "
                    f"has; choose another"
                ),
            )
        versions.add(address.version)
        others = [other.addresses for other in link.ends if other is not end]
        if any(address in each for each in others) and end is link.ends[1]:
            yield path, f"{address} is the other end's address; each end needs its own"


def _subnets(link: Link, path: Path) -> Iterator[Problem]:
    for index, (one, other) in enumerate(combinations(link.subnets, 2)):
        if one.version == other.version:
            yield (
                (*path, "subnet", index + 1),
                f"{other} is a second IPv{one.version} subnet; keep one",
            )
    if link.mtu < IPV6_MIN_MTU and any(each.version == 6 for each in link.subnets):
        yield (*path, "mtu"), f"{link.mtu} is too small for IPv6; write at least {IPV6_MIN_MTU}"


def _shapes(link: Link, path: Path) -> Iterator[Problem]:
    usual = Shape(link.rate, link.burst, link.latency)
    for word, problem in shaping.problems(usual, link.mtu):
        yield (*path, word), problem
    for position, end in enumerate(link.ends):
        for word, problem in (
            shaping.problems(end.egress, link.mtu) if end.egress is not None else ()
        ):
            yield (*path, "ends", position, "egress", word), problem


def _overlaps(topology: Topology) -> Iterator[Problem]:
    """Subnets of links are their own; two interfaces of a node in one subnet would be told apart by
    nobody."""
    seen = [
        (range_of(subnet), f"network {network.name}")
        for network in topology.networks
        for subnet in network.subnets
    ]
    space = Space()  # that there is a clash is found at once, and only then with whom
    for each, _owner in seen:
        take(space, each)
    for index, link in enumerate(topology.links):
        for position, subnet in enumerate(link.subnets):
            mine = range_of(subnet)
            if space.end_of_clash(mine.version, mine.low, mine.high) is not None:
                clash = next(
                    f"{each.subnet} of {owner}" for each, owner in seen if each.overlaps(mine)
                )
                path: Path = ("links", index, "subnet", position)
                yield path, f"{subnet} overlaps {clash}; choose another subnet"
            seen.append((mine, f"link {link.name}"))
            take(space, mine)
