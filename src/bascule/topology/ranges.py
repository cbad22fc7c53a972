"""Subnets as ranges of integers: all arithmetic on addresses happens here, and nothing ever
enumerates a /64."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from bascule.topology.model import IPAddress, Network, Prefix


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """A subnet: the integers ``low`` to ``high``, of which hosts may have ``first`` to ``last``.

    IPv4 keeps the network's and the broadcast address (RFC 1122 section 3.2.1.3); IPv6 only the
    first one, the subnet-router anycast address (RFC 4291 section 2.6.1). A subnet of two addresses
    keeps none (RFC 3021, RFC 6164).
    """

    subnet: Prefix
    version: int
    low: int
    high: int
    first: int
    last: int

    def __contains__(self, address: IPAddress) -> bool:
        return address.version == self.version and self.low <= int(address) <= self.high

    def overlaps(self, other: Range) -> bool:
        """Whether one address is in both."""
        return self.version == other.version and self.low <= other.high and other.low <= self.high

    def address(self, number: int) -> IPAddress:
        """The integer as an address."""
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)


def range_of(subnet: Prefix) -> Range:
    """The range of a subnet."""
    low = int(subnet.network_address)
    high = low + (1 << (subnet.max_prefixlen - subnet.prefixlen)) - 1
    if subnet.prefixlen == subnet.max_prefixlen - 1:
        return Range(subnet, subnet.version, low, high, low, high)
    return Range(
        subnet, subnet.version, low, high, low + 1, high - 1 if subnet.version == 4 else high
    )


def gateways_of(network: Network, ranges: tuple[Range, ...]) -> tuple[IPAddress, ...]:
    """One gateway a subnet: what the file gives, else the first address for hosts. None with
    ``gateway: none``."""
    if not network.has_gateway:
        return ()
    found: list[IPAddress] = []
    for each in ranges:
        given = next((address for address in network.gateways if address in each), None)
        found.append(given if given is not None else each.address(each.first))
    return tuple(found)
