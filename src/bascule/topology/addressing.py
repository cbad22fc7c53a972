"""The choices that a lab file leaves open, made: subnets, addresses, gateways, MAC addresses.

Pure and deterministic: the same topology (and the same previous one, and the same busy prefixes)
gives the same result, whatever the order of dictionaries or the time of day. What the running lab
has stays wherever it still fits, so that an edit of the file never renumbers nodes that it does not
speak of.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

from bascule.errors import InputError
from bascule.topology.autoconf import is_slaac, slaac_address
from bascule.topology.check_addresses import limits, merged
from bascule.topology.defaults import attachment_mac, network_mac, with_attachments
from bascule.topology.link_choices import choose_links, is_for_links
from bascule.topology.model import (
    Assigned,
    Attachment,
    IPAddress,
    Network,
    Node,
    Pool,
    Prefix,
    Topology,
)
from bascule.topology.ranges import Range, gateways_of, range_of
from bascule.topology.space import Space, first_free, take

# Docker takes 172.17/12 and 192.168/16, Podman 10.88 to 10.89, libvirt 192.168.122, Kubernetes
# 10.42, 10.96, 10.244, offices 10.0 to 10.50 and 192.168. The last pool is for benchmarks (RFC
# 2544): it is free where a VPN takes all of 10/8.
DEFAULT_POOLS: tuple[Pool, ...] = (
    Pool(IPv4Network("10.213.0.0/16"), 24),
    Pool(IPv4Network("10.214.0.0/15"), 24),
    Pool(IPv4Network("198.18.0.0/15"), 24),
)


def assign(
    topology: Topology,
    previous: Assigned | None = None,
    busy: Iterable[Prefix] = (),
    pools: Sequence[Pool] = DEFAULT_POOLS,
) -> Assigned:
    """The topology with every choice made; an assigned topology comes back as it is.

    ``previous`` is what the running lab has. ``busy`` are prefixes that the machine routes; default
    routes do not count. ``pools`` count where the topology has none. Raises :class:`InputError`
    where the pools or a subnet have nothing left.
    """
    pools = topology.pools or pools
    wide = [pool for pool in pools if not is_for_links(pool)] or DEFAULT_POOLS
    space = Space()
    grounds = _subnets(topology, previous, list(busy), wide, space)
    stay = _previous_addresses(previous)
    wanted = _fixed_and_kept(topology, grounds, stay)
    nodes = tuple(_node(topology.name, node, grounds, wanted) for node in topology.nodes)
    networks = tuple(ground.network for ground in grounds.values())
    made = replace(topology, networks=networks, nodes=nodes)
    return Assigned(replace(made, links=choose_links(made, previous, space, pools)))


@dataclass(slots=True)
class _Pool:
    """The addresses of one subnet: which are taken, and where the search for a free one goes on."""

    range: Range
    next: int
    last: int = 0
    taken: set[int] = field(default_factory=set)
    reserved: list[tuple[int, int]] = field(default_factory=list)  # in order, none touching another

    def lowest(self, network: str, node: str) -> int:
        while True:
            end = self._end_of_reserved(self.next)
            if end is not None:
                self.next = end + 1
            elif self.next in self.taken:
                self.next += 1
            else:
                break
        if self.next > self.last:
            raise InputError(
                (
                    f"network {network}: no address is left in {self.range.subnet} for node "
                    f"{node}; choose a wider subnet"
                )
                + (", or a wider ip_range" if self.last != self.range.last or self.reserved else "")
            )
        self.taken.add(self.next)
        return self.next

    def _end_of_reserved(self, number: int) -> int | None:
        at = bisect_right(self.reserved, (number, self.range.high)) - 1
        return self.reserved[at][1] if at >= 0 and number <= self.reserved[at][1] else None

    def may_stay(self, number: int) -> bool:
        """Whether a node of the running lab can keep this address."""
        inside = self.range.first <= number <= self.range.last
        return inside and number not in self.taken and self._end_of_reserved(number) is None


@dataclass(slots=True)
class _Ground:
    """A network with its choices made, and the state of its allocation."""

    network: Network
    pools: tuple[_Pool, ...]
    macs: set[str]


# Subnets


def _subnets(
    topology: Topology,
    previous: Assigned | None,
    busy: list[Prefix],
    pools: Sequence[Pool],
    space: Space,
) -> dict[str, _Ground]:
    """All networks with subnets, gateways and MAC, in the order of the file."""
    had = {network.name: network.subnets for network in previous.networks} if previous else {}
    used = Counter(item.network for node in topology.nodes for item in node.attachments)
    for network in topology.networks:
        for subnet in network.subnets:
            take(space, range_of(subnet))
    chosen: dict[str, tuple[Prefix, ...]] = {}
    for network in topology.networks:
        ranges = (
            tuple(range_of(subnet) for subnet in had.get(network.name, ()))
            if not network.subnets
            else ()
        )
        if ranges and all(_keeps(each, network, used[network.name], space) for each in ranges):
            chosen[network.name] = had[network.name]
            for each in ranges:
                take(space, each)
    for prefix in busy:
        if prefix.prefixlen:
            take(space, range_of(prefix))
    grounds: dict[str, _Ground] = {}
    for network in topology.networks:
        subnets = network.subnets or chosen.get(network.name)
        if not subnets:
            versions = dict.fromkeys(pool.base.version for pool in pools)
            of_family = (
                [pool for pool in pools if pool.base.version == version] for version in versions
            )
            subnets = tuple(
                _free_subnet(network, used[network.name], space, each, busy) for each in of_family
            )
        grounds[network.name] = _ground(topology.name, network, subnets)
    return grounds


def _keeps(each: Range, network: Network, nodes: int, space: Space) -> bool:
    """Whether a network can stay on the subnet that it had: still free, and wide enough."""
    free = space.end_of_clash(each.version, each.low, each.high) is None
    return free and nodes + network.has_gateway <= each.last - each.first + 1


def _free_subnet(
    network: Network, nodes: int, space: Space, pools: Sequence[Pool], busy: list[Prefix]
) -> Prefix:
    """The first free subnet of the pools, which are of one family: of the pool's size, or wider
    where that many nodes need it."""
    for pool, usual in pools:
        bits = max(pool.max_prefixlen - usual, (nodes + network.has_gateway + 1).bit_length())
        found = first_free(space, pool, bits)
        if found is not None:
            return found
    taken = ", ".join(str(prefix) for prefix in busy[:8]) or "nothing"
    more = f" and {len(busy) - 8} more" if len(busy) > 8 else ""
    where = ", ".join(str(pool.base) for pool in pools)
    raise InputError(
        f"network {network.name}: no free subnet in {where} (this machine routes "
        f"{taken}{more}); give the network a `subnet`"
    )


def _ground(lab: str, network: Network, subnets: tuple[Prefix, ...]) -> _Ground:
    ranges = tuple(range_of(subnet) for subnet in subnets)
    gateways = gateways_of(network, ranges)
    mac = network.mac or network_mac(lab, network.name)
    made = replace(network, subnets=subnets, gateways=gateways, mac=mac)
    pools = tuple(_pool(network, each) for each in ranges)
    for gateway in gateways:
        for pool in pools:
            if gateway in pool.range:
                pool.taken.add(int(gateway))
    return _Ground(made, pools, {mac})


def _pool(network: Network, whole: Range) -> _Pool:
    low, high = limits(network, whole)
    return _Pool(whole, low, high, reserved=merged(network.reserved, whole, whole.low, whole.high))


# Addresses

# (node, network) → one number for each subnet, None: choose
_Wanted = dict[tuple[str, str], list[int | None]]


def _previous_addresses(previous: Assigned | None) -> dict[tuple[str, str], tuple[IPAddress, ...]]:
    if previous is None:
        return {}
    return {
        (node.name, item.network): item.addresses
        for node in previous.nodes
        for item in node.attachments
    }


def _fixed_and_kept(
    topology: Topology,
    grounds: dict[str, _Ground],
    stay: dict[tuple[str, str], tuple[IPAddress, ...]],
) -> _Wanted:
    """What is known before anything is chosen: all of the file's addresses first, then what the
    running lab has."""
    wanted: _Wanted = {}
    for node in topology.nodes:
        for item in node.attachments:
            ground = grounds[item.network]
            if item.mac:
                ground.macs.add(item.mac)
            if item.addresses:
                wanted[node.name, item.network] = _fixed(item.addresses, ground)
    if stay:
        for node in topology.nodes:
            for item in node.attachments:
                key = node.name, item.network
                if key in stay:
                    ground = grounds[item.network]
                    _keep(stay[key], ground, wanted.setdefault(key, [None] * len(ground.pools)))
    return wanted


def _fixed(addresses: tuple[IPAddress, ...], ground: _Ground) -> list[int | None]:
    """The file's addresses by subnet; they are taken from here on."""
    numbers: list[int | None] = [None] * len(ground.pools)
    for index, pool in enumerate(ground.pools):
        for address in addresses:
            if address in pool.range:
                numbers[index] = int(address)
                pool.taken.add(int(address))
                break
    return numbers


def _keep(addresses: tuple[IPAddress, ...], ground: _Ground, numbers: list[int | None]) -> None:
    """Fill in what the running lab has, where the file fixes nothing and nobody else has taken
    it."""
    for index, pool in enumerate(ground.pools):
        if numbers[index] is not None:
            continue
        for address in addresses:
            number = int(address)
            if address in pool.range and pool.may_stay(number):
                numbers[index] = number
                pool.taken.add(number)
                break


def _node(lab: str, node: Node, grounds: dict[str, _Ground], wanted: _Wanted) -> Node:
    if not node.attachments:
        return node
    made: list[Attachment] = []
    for item in node.attachments:
        ground = grounds[item.network]
        known = wanted.get((node.name, item.network))
        by_mac = is_slaac(item, ground.network)
        chosen = [
            None
            if by_mac and pool.range.version == 6
            else pool.range.address(
                number
                if known and (number := known[index]) is not None
                else pool.lowest(item.network, node.name)
            )
            for index, pool in enumerate(ground.pools)
        ]
        mac = item.mac or _free_mac(
            lab, node.name, item.interface, tuple(filter(None, chosen)), ground
        )
        addresses = tuple(
            address if address is not None else slaac_address(pool.range, mac)
            for pool, address in zip(ground.pools, chosen, strict=True)
        )
        given = (item.addresses, item.mac) == (addresses, mac)
        made.append(item if given else replace(item, addresses=addresses, mac=mac))
    return with_attachments(node, made)


def _free_mac(
    lab: str, node: str, interface: str, addresses: tuple[IPAddress, ...], ground: _Ground
) -> str:
    """The derived MAC; in the rare case that two addresses hash alike, one more part tells them
    apart."""
    first = str(addresses[0]) if addresses else ""
    mac = attachment_mac(lab, node, interface, first)
    salt = 0
    while mac in ground.macs:
        salt += 1
        mac = attachment_mac(lab, node, interface, f"{first} {salt}")
    ground.macs.add(mac)
    return mac
