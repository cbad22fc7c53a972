"""What the user asks for: the lab file's nouns as frozen values.

A :class:`Topology` is as the file says it: an empty tuple or empty string means "choose for me". An :data:`Assigned`
topology is the same with every choice made (:func:`bascule.topology.addressing.assign`): each network has its subnets
and MAC, each attachment one address per subnet, both interface names and its MAC. Only an assigned topology can become facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NewType

IPAddress = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

BRIDGE_PORTS = 1023  # BR_MAX_PORTS less the reserved port 0, net/bridge/br_private.h
DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge. ``subnets`` empty: a free one is chosen. ``gateways`` empty: the first address of each subnet,
    unless ``has_gateway`` is False (``gateway: none``), where the bridge gets no address at all."""

    name: str
    subnets: tuple[Prefix, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    has_gateway: bool = True
    mtu: int = DEFAULT_MTU
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's interface on a network: one veth pair. ``interface`` is the end in the node, ``host_interface`` the
    bridge port. ``addresses`` holds what the file fixes, at most one per subnet, and one per subnet once assigned."""

    network: str
    addresses: tuple[IPAddress, ...] = ()
    interface: str = ""
    host_interface: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a node's main table (ip-route(8)). ``to`` of prefix length 0 is the default route. At least one of
    ``via`` and ``interface`` is given. ``metric`` 0 means the kernel's default (0 for IPv4, 1024 for IPv6)."""

    to: Prefix
    via: IPAddress | None = None
    interface: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace. ``sysctls`` are pairs of a dotted key below ``net.`` and its value as text."""

    name: str
    attachments: tuple[Attachment, ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """One lab: its name, its networks and its nodes, in the order of the file."""

    name: str
    networks: tuple[Network, ...] = field(default=())
    nodes: tuple[Node, ...] = field(default=())


Assigned = NewType("Assigned", Topology)
