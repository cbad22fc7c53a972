"""Attachments that configure themselves: what the network serves them, and the address that follows
from a MAC."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.topology.model import Attachment, IPAddress, Network, Node, Topology
from bascule.topology.ranges import Range, range_of
from bascule.topology.tree import Path, Problem

_SLAAC_LENGTH = 64
_LOCAL_BIT = 0x02


def own_versions(item: Attachment, network: Network) -> tuple[int, ...]:
    """The IP versions whose addresses and routes the node gives the interface itself: IPv4 by DHCP,
    IPv6 by what a router announces."""
    served = ((4, network.dhcp), (6, network.ra))
    return tuple(version for version, serves in served if serves and item.autoconf)


def is_slaac(item: Attachment, network: Network) -> bool:
    """Whether its IPv6 addresses follow from its MAC (stateless address autoconfiguration, RFC
    4862)."""
    return item.autoconf and network.ra and not network.dhcp


def slaac_address(home: Range, mac: str) -> IPAddress:
    """The subnet with the interface identifier of a MAC (modified EUI-64, RFC 4291 appendix A), as
    Linux makes it unless told otherwise (addr_gen_mode 0)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ _LOCAL_BIT,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return home.address(home.low + int.from_bytes(identifier, "big"))


def check_autoconf(topology: Topology) -> Iterator[Problem]:
    """All problems of this kind."""
    networks = {network.name: network for network in topology.networks}
    for network in topology.networks:
        yield from _network(network)
    for node in topology.nodes:
        attached = [
            (item, networks[item.network]) for item in node.attachments if item.network in networks
        ]
        for item, network in attached:
            yield from _attachment(item, network, ("nodes", node.name, "networks", network.name))
        yield from _routes(node, attached)


def _network(network: Network) -> Iterator[Problem]:
    path: Path = ("networks", network.name)
    for key, asked in (("dhcp", network.dhcp), ("ra", network.ra)):
        if asked and not network.has_gateway:
            yield (
                (*path, key),
                "needs a bridge with an address: its server answers there; remove `gateway: none`",
            )
    six = [subnet for subnet in network.subnets if subnet.version == 6]
    if network.ra and not six:
        yield (*path, "ra"), "announces IPv6 prefixes: give the network an IPv6 `subnet`"
    elif (
        network.ra and not network.dhcp and any(subnet.prefixlen != _SLAAC_LENGTH for subnet in six)
    ):
        message = (
            f"nodes make themselves addresses in a /{_SLAAC_LENGTH} only; give the network "
            f"one, or `dhcp: true`, too"
        )
        yield (*path, "ra"), message
    if network.dhcp and not network.ra and network.subnets and len(six) == len(network.subnets):
        yield (
            (*path, "dhcp"),
            "serves IPv4, which the network has not; give it an IPv4 `subnet`, or `ra: true`, too",
        )


def _attachment(item: Attachment, network: Network, path: Path) -> Iterator[Problem]:
    if item.autoconf and not (network.dhcp or network.ra):
        yield (
            (*path, "autoconf"),
            f"nobody would answer: give network {network.name} `dhcp: true` or `ra: true`",
        )
    if not is_slaac(item, network):
        return
    for index, address in enumerate(item.addresses):
        home = next(
            (
                range_of(subnet)
                for subnet in network.subnets
                if address.version == 6 and address in subnet
            ),
            None,
        )
        if home is not None and (not item.mac or slaac_address(home, item.mac) != address):
            message = (
                f"{address} is not for the file to say: it follows from the MAC address; remove it"
            )
            yield (*path, "address", index), message


def _routes(node: Node, attached: list[tuple[Attachment, Network]]) -> Iterator[Problem]:
    for index, route in enumerate(node.routes):
        for item, network in attached:
            through = (
                route.interface == item.interface if route.interface else _leads(route.via, network)
            )
            if through and route.to.version in own_versions(item, network):
                message = (
                    f"the node gives {item.interface or network.name} its "
                    f"IPv{route.to.version} routes itself; remove the route"
                )
                yield ("nodes", node.name, "routes", index), message


def _leads(via: IPAddress | None, network: Network) -> bool:
    return (
        any(via.version == subnet.version and via in subnet for subnet in network.subnets)
        if via is not None
        else False
    )
