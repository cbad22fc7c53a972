"""The choices that links leave open, made: subnets, addresses, MAC addresses. Part of
:mod:`.addressing`, and as pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from bascule.errors import InputError
from bascule.topology.defaults import attachment_mac
from bascule.topology.model import Assigned, IPAddress, Link, LinkEnd, Pool, Prefix, Topology
from bascule.topology.ranges import range_of
from bascule.topology.space import Space, first_free, take

# Beside those of networks; the other is a Unique Local prefix (RFC 4193).
DEFAULT_LINK_POOLS: tuple[Pool, ...] = (
    Pool(IPv4Network("10.212.0.0/16"), 31),
    Pool(IPv6Network("fdb5:ca5c:01e0::/64"), 127),
)


def is_for_links(pool: Pool) -> bool:
    """Whether its parts are too small for a network."""
    return pool.size == pool.base.max_prefixlen - 1


def choose_links(
    topology: Topology, previous: Assigned | None, space: Space, pools: Sequence[Pool]
) -> tuple[Link, ...]:
    """All links with subnets and addresses. One that the running lab has stays as it is."""
    had = {link.name: link.subnets for link in previous.links} if previous else {}
    for link in topology.links:
        for subnet in link.subnets:
            take(space, range_of(subnet))
    kept: dict[str, tuple[Prefix, ...]] = {}
    for link in topology.links:
        ranges = [range_of(subnet) for subnet in had.get(link.name, ())]
        free = all(space.end_of_clash(each.version, each.low, each.high) is None for each in ranges)
        if ranges and free and link.is_addressed and not link.subnets:
            kept[link.name] = had[link.name]
            for each in ranges:
                take(space, each)
    own = [pool for pool in pools if is_for_links(pool)] or DEFAULT_LINK_POOLS
    six = topology.ipv6 and any(prefix.version == 6 for prefix in _prefixes(topology))
    made = []
    for link in topology.links:
        subnets = link.subnets or kept.get(link.name, ())
        if not subnets and link.is_addressed:
            versions = (4, 6) if six else (4,)
            of_family = [[pool for pool in own if pool.base.version == each] for each in versions]
            subnets = tuple(_free_part(link.name, space, each) for each in of_family if each)
        made.append(addressed(topology.name, link, subnets))
    return tuple(made)


def _prefixes(topology: Topology) -> Iterator[Prefix]:
    for network in topology.networks:
        yield from network.subnets
    for link in topology.links:
        yield from link.subnets


def _free_part(name: str, space: Space, pools: Sequence[Pool]) -> Prefix:
    for base, size in pools:
        found = first_free(space, base, base.max_prefixlen - size)
        if found is not None:
            return found
    where = ", ".join(str(pool.base) for pool in pools)
    raise InputError(f"link {name}: no free subnet in {where}; give the link a `subnet`")


def addressed(lab: str, link: Link, prefixes: tuple[Prefix, ...]) -> Link:
    """The link with these subnets, and each end with an address in each of them and a MAC."""
    made = [replace(end, addresses=(), mac=end.mac) for end in link.ends]
    for prefix in prefixes:
        given = [_given(end, prefix) for end in link.ends]
        whole = range_of(prefix)
        numbers = range(whole.first, whole.first + 4)  # two are enough, and two may be given
        free = (each for each in map(whole.address, numbers) if each not in given)
        for position, address in enumerate(given):
            mine = (*made[position].addresses, address or next(free))
            made[position] = replace(made[position], addresses=mine)
    near, far = (_with_mac(lab, end) for end in made)
    return replace(link, subnets=prefixes, ends=(near, far))


def _given(end: LinkEnd, prefix: Prefix) -> IPAddress | None:
    return next((each for each in end.addresses if each.version == prefix.version), None)


def _with_mac(lab: str, end: LinkEnd) -> LinkEnd:
    first = str(end.addresses[0]) if end.addresses else ""
    return replace(end, mac=end.mac or attachment_mac(lab, end.place, end.interface, first))
