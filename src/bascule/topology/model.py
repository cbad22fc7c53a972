"""What the user asks for: the lab file's nouns as frozen values.

A :class:`Topology` is as the file says it: an empty tuple or empty string means "choose for me". An
:data:`Assigned` topology is the same with every choice made
(:func:`bascule.topology.addressing.assign`): each network has its subnets and MAC, each attachment
one address per subnet, both interface names and its MAC. Only an assigned topology can become
facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple, NewType

IPAddress = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface  # an address with its prefix length

BRIDGE_PORTS = 1023  # BR_MAX_PORTS less the reserved port 0, net/bridge/br_private.h
DEFAULT_MTU = 1500
IPV6_MIN_MTU = 1280  # RFC 8200 section 5


class Span(NamedTuple):
    """All addresses from ``first`` to ``last``, of one family."""

    first: IPAddress
    last: IPAddress


class Pool(NamedTuple):
    """Where subnets are chosen from: parts of ``base`` with the prefix length ``size``."""

    base: Prefix
    size: int


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge. ``subnets`` empty: a free one is chosen. ``gateways`` empty: the first address of
    each subnet, unless ``has_gateway`` is False (``gateway: none``), where the bridge gets no
    address at all.

    ``nat``: what leaves the machine gets the machine's address, or that of ``outbound`` for its
    family. ``internal``: nothing passes between this network and any other. ``icc`` False: nodes of
    this network don't reach each other (inter-container communication, Docker's word). ``guard``:
    each node sends with its own MAC and addresses only; None: where ``icc`` is False. ``reach``:
    networks of this lab to which connections may be opened.

    ``ranges``: within each of these nodes without an address of their own get one, but for the
    ``reserved`` ones. ``stp``, ``ageing`` (seconds, -1: the kernel's 300) and ``promiscuous`` are
    the bridge's own settings; ``uplink`` is an interface of the machine that is to be a port of the
    bridge. ``dns``: whether a name server answers on the bridge's address; None: where there is a
    use for it. ``dhcp``: nodes may ask for their addresses; ``ra``: the bridge announces itself as
    their IPv6 router.
    """

    name: str
    subnets: tuple[Prefix, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    has_gateway: bool = True
    mtu: int = DEFAULT_MTU
    mac: str = ""
    nat: bool = False
    outbound: tuple[IPAddress, ...] = ()
    internal: bool = False
    icc: bool = True
    guard: bool | None = None
    reach: tuple[str, ...] = ()
    ranges: tuple[Prefix, ...] = ()
    reserved: tuple[Span, ...] = ()
    stp: bool = False
    ageing: int = -1
    promiscuous: bool = False
    uplink: str = ""
    dns: bool | None = None
    dhcp: bool = False
    ra: bool = False
    cost: int = 1
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """How fast an interface sends: ``rate`` in bits a second, 0 for as fast as it can; ``burst`` in
    bytes that may pass at once, ``latency`` in microseconds that a packet waits at most; 0: chosen
    by the rate."""

    rate: int = 0
    burst: int = 0
    latency: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's interface on a network: one veth pair. ``interface`` is the end in the node,
    ``host_interface`` the bridge port. ``addresses`` holds what the file fixes, at most one per
    subnet, and one per subnet once assigned.

    The default route leads through the attachment with the highest ``gateway_priority``. ``mtu`` 0
    is the network's. ``sysctls`` are settings of the interface, whose name stands as ``IFNAME`` in
    the key. ``autoconf``: the node sets itself what the network's ``dhcp`` and ``ra`` serve.

    ``rate``, ``burst`` and ``latency`` are those of a :class:`Shape`, for what the node sends and
    for what it gets; ``egress`` and ``ingress`` that of one of these alone."""

    network: str
    addresses: tuple[IPAddress, ...] = ()
    interface: str = ""
    host_interface: str = ""
    mac: str = ""
    gateway_priority: int = 0
    mtu: int = 0
    sysctls: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    autoconf: bool = False
    rate: int = 0
    burst: int = 0
    latency: int = 0
    egress: Shape | None = None
    ingress: Shape | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a node's main table (ip-route(8)). ``to`` of prefix length 0 is the default
    route. At least one of ``via`` and ``interface`` is given. ``metric`` 0 means the kernel's
    default (0 for IPv4, 1024 for IPv6)."""

    to: Prefix
    via: IPAddress | None = None
    interface: str = ""
    metric: int = 0


PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Port:
    """``count`` ports of a node from ``target`` on, published as the host's ports from
    ``published`` on (0: choose free ones). ``host`` None: on all addresses of the host; ``0.0.0.0``
    or ``::``: on all of that family."""

    protocol: str
    target: int
    published: int = 0
    count: int = 1
    host: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace. ``sysctls`` are pairs of a dotted key below ``net.`` and its value as
    text. ``extra_hosts`` are names with the addresses that only this node knows for them.
    ``hostname`` empty: it is called as the node. ``dns``, ``dns_search`` and ``dns_opt`` are the
    lines of its resolv.conf(5); without ``dns`` it asks the lab's servers.

    ``loopback`` are addresses of its lo, beside those that each has. ``forward``: it passes packets
    on from one interface to another.

    ``netns``: the path of a namespace that somebody else has made, which the node is then;
    ``/proc/self/ns/net`` is the world's own.
    """

    name: str
    attachments: tuple[Attachment, ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()
    netns: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    dns: tuple[IPAddress, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    loopback: tuple[IPInterface, ...] = ()
    forward: bool = False


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One end of a link: an interface of ``node`` or, of an extra cable, a port of the bridge of
    ``network``. ``addresses``, ``mac`` and ``egress`` are as those of an :class:`Attachment`."""

    node: str = ""
    network: str = ""
    interface: str = ""
    addresses: tuple[IPAddress, ...] = ()
    mac: str = ""
    egress: Shape | None = None

    @property
    def place(self) -> str:
        """What it is an end at."""
        return self.node or self.network


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair without a bridge. ``subnets`` empty: one is chosen where both ends are in nodes,
    unless ``has_subnet`` is False (``subnet: none``). ``rate``, ``burst`` and ``latency`` are those
    of a :class:`Shape`, for both directions."""

    ends: tuple[LinkEnd, LinkEnd]
    subnets: tuple[Prefix, ...] = ()
    has_subnet: bool = True
    mtu: int = DEFAULT_MTU
    rate: int = 0
    burst: int = 0
    latency: int = 0
    cost: int = 1
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """For messages, and for who looks for it: its ends."""
        return " -- ".join(
            f"{end.place}:{end.interface}" if end.interface else end.place for end in self.ends
        )

    @property
    def is_addressed(self) -> bool:
        """Whether its ends have addresses."""
        return self.has_subnet and bool(self.subnets or all(end.node for end in self.ends))


@dataclass(frozen=True, slots=True)
class Topology:
    """One lab: its name, its networks, its nodes and its links, in the order of the file.
    ``pools``: where subnets are chosen from. ``ipv6`` False: what it says of IPv6 is left out
    (:mod:`.six`). ``routing`` "static": each node gets its routes (:mod:`.routing`), for which
    links and networks have a ``cost``."""

    name: str
    networks: tuple[Network, ...] = field(default=())
    nodes: tuple[Node, ...] = field(default=())
    pools: tuple[Pool, ...] = field(default=())
    labels: tuple[tuple[str, str], ...] = field(default=())
    ipv6: bool = True
    links: tuple[Link, ...] = ()
    routing: str = ""


Assigned = NewType("Assigned", Topology)
