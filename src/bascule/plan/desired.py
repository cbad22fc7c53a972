"""Topology → facts: what has to be true of the kernel for this lab. One row a noun.

The order of the facts is the order in which they are made: bridges, then each node whole, then what
spans nodes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bascule.kernel.address import Address
from bascule.kernel.bridge import AGEING, DEFAULTS, PROMISC, STP, Bridge, BridgeSetting
from bascule.kernel.fact import Fact
from bascule.kernel.forwarding import SWITCHES, Forwarding
from bascule.kernel.link import Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD
from bascule.kernel.port import HAIRPIN, ISOLATED, PortFlag
from bascule.kernel.qdisc import Qdisc
from bascule.kernel.route import Route
from bascule.kernel.ruleset import FROM, TO, WITHIN, ForwardAccept
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.uplink import Uplink
from bascule.kernel.upstream import Upstream
from bascule.kernel.veth import End, Veth
from bascule.kernel.without_ipv6 import IPv6Off
from bascule.kernel.zone import Zone
from bascule.names import derived_mac
from bascule.plan.firewall import Surroundings, guarded
from bascule.plan.names import Etc, names
from bascule.plan.passage import needs_rules, outline, passage, rules
from bascule.plan.servers import serves_names
from bascule.plan.uplink import world_uplink
from bascule.topology.autoconf import own_versions
from bascule.topology.check_addresses import INTERFACE_WORD
from bascule.topology.model import Assigned, Attachment, IPAddress, Network, Node, Shape
from bascule.topology.shaping import bucket
from bascule.topology.ways import gateways, is_apart, ways_out
from bascule.wire.netfilter import BaseChain

# What a node's namespace is made with: nobody tells it another way by ICMP (of IPv6 each interface
# has its own setting). One of `all` and the interface is enough for the kernel to listen, but in
# routers (IN_DEV_RX_REDIRECTS, linux/inetdevice.h).
_DEAF = tuple((f"net.ipv4.conf.{place}.accept_redirects", "0") for place in ("all", "default"))
_IPV6_METRIC = 1024  # IP6_RT_PRIO_USER, linux/ipv6_route.h


@dataclass(frozen=True, slots=True)
class Machine:
    """What the facts of a lab depend on beside the lab. ``own_forwarding``: the IP versions that
    the machine passes on by itself, not because a lab has turned it on; ``routers``: interfaces
    that do so where it does not. ``rules``: it can have some. ``chains``: other programs' chains on
    the FORWARD hook whose policy is to drop. ``bridged``: frames within a bridge pass that hook,
    too. ``ipv6``: the kernel knows IPv6. ``dnsmasq`` is installed. ``resolvers``: the machine's
    name servers that a node could reach; ``upstream``: whom the lab's own ask. ``private``: it is a
    private world, for which there is a way out (``pasta``). ``alone``: there is one user id only.
    ``least_mtu``: of the interfaces of its own, 0 where there are none. ``etc``: what is there of
    nodes' files. ``settable``: settings of the kernel can be changed. ``firewalld`` runs; bridges
    that others have ``placed`` in a zone of its."""

    rules: bool = True
    chains: tuple[BaseChain, ...] = ()
    bridged: bool = False
    ipv6: bool = True
    dnsmasq: bool = False
    resolvers: tuple[str, ...] = ()
    upstream: Upstream = field(default_factory=Upstream)
    private: bool = False
    pasta: bool = False
    alone: bool = False
    least_mtu: int = 0
    own_forwarding: frozenset[int] = frozenset()
    routers: tuple[str, ...] = ()
    etc: Etc = field(default_factory=Etc)
    settable: bool = True
    firewalld: bool = False
    placed: frozenset[str] = frozenset()


class Costly:
    """The facts of a lab that take time, which are the same for most machines: those in its nodes,
    and its rules. They are made once for all that ask. With a ``part`` only for these nodes."""

    def __init__(self, lab: Assigned, part: Collection[str] | None = None) -> None:
        self._lab = lab
        self._part = part
        self._networks = networks_of(lab)
        self._made: dict[tuple[bool, ...], list[Fact]] = {}
        self._rules: dict[Surroundings, list[Fact]] = {}

    def rules(self, around: Surroundings) -> list[Fact]:
        """The lab's tables, in these surroundings."""
        if around not in self._rules:
            self._rules[around] = list(rules(self._lab, around))
        return self._rules[around]

    def nodes(self, machine: Machine) -> list[Fact]:
        """On this machine."""
        key = machine.ipv6, machine.bridged, machine.settable  # all that they depend on
        if key not in self._made:
            part = self._lab.nodes
            if self._part is not None:
                part = tuple(node for node in part if node.name in self._part)
            made: list[Fact] = []
            for node in part:
                made += _node(self._lab.name, node, self._networks, machine)
                made += _off(node) if _turns_off(self._lab, machine) else ()
            self._made[key] = made
        return self._made[key]


class OfNetwork(NamedTuple):
    """All that the facts in a node depend on of a network that it is on."""

    network: Network
    is_apart: bool  # neighbours reach each other by published ports alone


def networks_of(lab: Assigned) -> dict[str, OfNetwork]:
    """By name. With the node itself and the lab's name it is all that the facts in a node are made
    of, so that who compares these knows which nodes a change is about."""
    return {network.name: OfNetwork(network, is_apart(network, lab)) for network in lab.networks}


def places(lab: Assigned, made: Costly | None = None) -> list[Fact]:
    """All facts that a lab could have, with every tool and setting that a machine may have: to know
    where to look. Its rules have no text."""
    return desired(lab, Machine(dnsmasq=True, firewalld=True), made, texts=False)


def desired(
    lab: Assigned, machine: Machine | None = None, made: Costly | None = None, texts: bool = True
) -> list[Fact]:
    """All facts of a lab. Some may be ``made`` before, for another machine."""
    machine, made = machine or Machine(), made or Costly(lab)
    facts: list[Fact] = []
    for network in lab.networks:
        facts.extend(_network(network, machine))
        if _turns_off(lab, machine):
            facts.append(IPv6Off(WORLD, network.name))
    narrow = any(0 < machine.least_mtu < network.mtu for network in lab.networks)
    around = Surroundings(
        machine.own_forwarding, machine.routers, machine.private, machine.bridged, narrow
    )
    if needs_rules(lab, around.private, machine.rules):
        facts.extend(made.rules(around) if texts else outline(lab))
    facts.extend(passage(lab))
    facts.extend(made.nodes(machine))
    servers = (machine.dnsmasq, machine.resolvers, machine.alone, machine.upstream)
    facts.extend(names(lab, *servers, machine.etc))
    facts.extend(past_firewalls(lab, machine))
    if machine.private and machine.pasta:
        asks = any(
            serves_names(network, machine.dnsmasq) and not network.internal
            for network in lab.networks
        )
        facts.extend(world_uplink(lab, machine.upstream.door if asks else 0))
    return facts


def _network(network: Network, machine: Machine) -> Iterator[Fact]:
    six = any(subnet.version == 6 for subnet in network.subnets)
    yield Bridge(
        WORLD,
        network.name,
        network.mtu,
        network.mac,
        settings=_quiet(network.name, six) if _can_quiet(machine) else (),
    )
    settings = (
        (STP, int(network.stp)),
        (AGEING, network.ageing * 100),
        (PROMISC, int(network.promiscuous)),
    )
    for name, value in settings:
        if value >= 0 and value != DEFAULTS[name]:
            yield BridgeSetting(WORLD, network.name, name, value)
    if network.uplink:
        yield Uplink(network.uplink, network.name, network.mtu)
    for gateway, prefix in gateways(network):
        yield Address(WORLD, network.name, str(gateway), prefix)


def _node(lab: str, node: Node, of: Mapping[str, OfNetwork], machine: Machine) -> Iterator[Fact]:
    networks = {item.network: of[item.network].network for item in node.attachments}
    given = {key.replace("/", ".") for key, _value in node.sysctls}
    deaf = (
        tuple(row for row in _DEAF if row[0] not in given and machine.settable)
        if not node.netns
        else ()
    )
    yield Namespace(node.name, source=node.netns, settings=deaf)
    for attachment in node.attachments:
        yield _veth(lab, node, attachment, networks[attachment.network], machine)
        yield from _shaping(node, attachment, networks[attachment.network])
    for attachment in node.attachments:
        network = networks[attachment.network]
        # there, the rules know more than a port can
        if not network.icc and not (machine.bridged and of[network.name].is_apart):
            yield PortFlag(WORLD, attachment.host_interface, ISOLATED)
        if machine.bridged and node.ports:
            yield PortFlag(WORLD, attachment.host_interface, HAIRPIN)
    if not node.netns:
        yield Loopback(node.name)
    settings = [Sysctl(node.name, key, value) for key, value in _settings(node).items()]
    yield from filter(_lets_six_in, settings)
    for attachment in node.attachments:
        for address, prefix in _addresses(attachment, networks[attachment.network]):
            yield Address(node.name, attachment.interface, str(address), prefix)
    yield from _routes(node, networks)
    yield from _set(node, machine.settable)


def _turns_off(lab: Assigned, machine: Machine) -> bool:
    """Whether the kernel is to be told that the lab has no IPv6."""
    return not lab.ipv6 and _can_quiet(machine)


def _off(node: Node) -> Iterator[Fact]:
    for item in node.attachments:
        yield from (IPv6Off(WORLD, item.host_interface), IPv6Off(node.name, item.interface))


def _shaping(node: Node, item: Attachment, network: Network) -> Iterator[Fact]:
    """What the node sends is shaped at its own end, and what it gets at the bridge's."""
    usual = Shape(item.rate, item.burst, item.latency)
    for place, shape in (
        ((node.name, item.interface), item.egress or usual),
        ((WORLD, item.host_interface), item.ingress or usual),
    ):
        if shape.rate:
            burst, limit = bucket(shape, network.mtu)
            yield Qdisc(*place, rate=shape.rate // 8, burst=burst, limit=limit)


def _lets_six_in(setting: Sysctl) -> bool:
    """Without it there would be no IPv6 addresses: it comes before them."""
    return setting.name.endswith("disable_ipv6") and setting.value == "0"


def _veth(lab: str, node: Node, item: Attachment, network: Network, machine: Machine) -> Veth:
    six = any(subnet.version == 6 for subnet in network.subnets)
    given = _settings(node)
    own = own_versions(item, network)
    quiet = (
        [row for row in _quiet(item.interface, six, 6 in own) if row[0] not in given]
        if _can_quiet(machine)
        else ()
    )
    host = derived_mac(lab, node.name, item.host_interface)
    near = End(WORLD, item.host_interface, network.mtu, host, bridge=network.name)
    far = End(
        node.name,
        item.interface,
        item.mtu or network.mtu,
        item.mac,
        settings=tuple(quiet),
        autoconf=own,
    )
    return Veth(near, far)


def _can_quiet(machine: Machine) -> bool:
    return machine.ipv6 and machine.settable


def _quiet(interface: str, six: bool, announced: bool = False) -> tuple[tuple[str, str], ...]:
    """What an interface is made with: nobody on the link makes himself its router, unless that is
    ``announced``, nor tells it another way. And with IPv6 addresses each is given once, so that
    there is nothing to detect: until its own link-local address is past that second, a bridge can't
    even ask for a node's MAC (RFC 4862 section 5.4; ndisc_solicit, net/ipv6/ndisc.c)."""
    names = (
        ("accept_ra", "accept_redirects", "accept_dad")
        if six
        else ("accept_ra", "accept_redirects")
    )
    # 2: also in a node that passes packets on
    values = {"accept_ra": "2" if announced else "0", "accept_redirects": "0", "accept_dad": "0"}
    return tuple(
        (_of_interface(f"net.ipv6.conf.{INTERFACE_WORD}.{name}", interface), values[name])
        for name in names
    )


def _set(node: Node, settable: bool) -> Iterator[Fact]:
    """The settings of the file: first whether packets are passed on, which changes others, where
    that can be changed."""
    settings = _settings(node)
    found = settings if settable else ()
    switches = {
        key: SWITCHES[name]
        for key in found
        if (name := key.replace("/", ".")) in SWITCHES and settings[key] in "01"
    }
    for version, on in {version: settings[key] == "1" for key, version in switches.items()}.items():
        yield Forwarding(version, on, node.name)
    rest = {key: value for key, value in settings.items() if key not in switches}
    facts = (Sysctl(node.name, key, value) for key, value in rest.items())
    yield from (fact for fact in facts if not _lets_six_in(fact))


def _settings(node: Node) -> dict[str, str]:
    """The file's settings of a node and of its interfaces."""
    found = {key: " ".join(value.split()) for key, value in node.sysctls}
    for item in node.attachments:
        for key, value in item.sysctls:
            found.setdefault(_of_interface(key, item.interface), " ".join(value.split()))
    return found


def _of_interface(key: str, interface: str) -> str:
    """The key with the interface's name in it; with slashes where the name holds a dot, as in
    sysctl(8)."""
    mark = "/" if "/" in key or "." in interface else "."
    return mark.join(
        interface if part == INTERFACE_WORD else part
        for part in re.split("/" if "/" in key else r"\.", key)
    )


def _addresses(attachment: Attachment, network: Network) -> list[tuple[IPAddress, int]]:
    return [
        (address, subnet.prefixlen)
        for address in attachment.addresses
        for subnet in network.subnets
        if address.version == subnet.version
        and address in subnet
        and address.version not in own_versions(attachment, network)
    ]


def _routes(node: Node, networks: dict[str, Network]) -> Iterator[Route]:
    """The routes that the file gives, and the default route of each family through the first
    network with a gateway."""
    given = set()
    for route in node.routes:
        if route.to.prefixlen == 0:
            given.add(route.to.version)
        ordinary = 0 if route.to.version == 4 else _IPV6_METRIC
        device = route.interface or _device_towards(route.via, node, networks)
        via = str(route.via) if route.via else ""
        yield Route(node.name, str(route.to), via, device, route.metric or ordinary)
    for attachment, gateway in ways_out(node, networks):
        if gateway.version not in (*given, *own_versions(attachment, networks[attachment.network])):
            everything, metric = (
                ("0.0.0.0/0", 0) if gateway.version == 4 else ("::/0", _IPV6_METRIC)
            )
            yield Route(node.name, everything, str(gateway), attachment.interface, metric)


def _device_towards(via: IPAddress | None, node: Node, networks: dict[str, Network]) -> str:
    """The interface whose subnet holds the next hop; checked topologies have one."""
    return next(
        item.interface
        for item in node.attachments
        if any(via in each for each in networks[item.network].subnets)
    )


def passing(lab: Assigned, bridged: bool) -> Iterator[tuple[str, str]]:
    """What has to pass other programs' chains, by network and way: where ``bridged`` frames pass
    them, what stays within one; and what the lab's own table lets through."""
    through = guarded(lab).union(network.name for network in lab.networks if network.reach)
    through |= {other for network in lab.networks for other in network.reach}
    for network in lab.networks:
        within = [WITHIN] if bridged else []
        out_and_in = [FROM, TO] if network.name in through else []
        yield from ((network.name, way) for way in (*within, *out_and_in))


def past_firewalls(lab: Assigned, machine: Machine) -> Iterator[Fact]:
    """Ways past other programs' chains that drop."""
    for network in lab.networks if machine.firewalld else ():
        if network.name not in machine.placed:
            yield Zone(network.name)
    for chain in machine.chains:
        for bridge, way in passing(lab, machine.bridged):
            yield ForwardAccept(chain.family, chain.table, chain.name, bridge, way)
