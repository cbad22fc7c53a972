"""Topology → facts: what has to be true of the kernel for this lab. One row a noun.

The order of the facts is the order in which they are made: bridges, then each node whole, then what
spans nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bascule.kernel.address import Address
from bascule.kernel.bridge import AGEING, DEFAULTS, PROMISC, STP, Bridge, BridgeSetting
from bascule.kernel.fact import Fact
from bascule.kernel.op import WORLD
from bascule.kernel.ruleset import FROM, TO, WITHIN, ForwardAccept
from bascule.kernel.uplink import Uplink
from bascule.kernel.without_ipv6 import IPv6Off
from bascule.kernel.zone import Zone
from bascule.plan.firewall import Surroundings, guarded
from bascule.plan.given import Machine, OfNetwork
from bascule.plan.names import names
from bascule.plan.node import cables, can_quiet, inside, made_node, off, quiet_settings, turns_off
from bascule.plan.passage import needs_rules, outline, passage, rules
from bascule.plan.servers import serves_names
from bascule.plan.uplink import world_uplink
from bascule.topology import routing
from bascule.topology.links import ends_at
from bascule.topology.model import (
    Assigned,
    Network,
    Node,
)
from bascule.topology.ways import gateways, is_apart


class Costly:
    """The facts of a lab that take time, which are the same for most machines: those in its nodes,
    and its rules. They are made once for all that ask. With a ``part`` only for these nodes."""

    def __init__(self, lab: Assigned, part: Collection[str] | None = None) -> None:
        self._lab = lab
        self._part = part
        self._networks = networks_of(lab)
        self._ends = ends_at(lab.links)
        self._ways = routing.ways(lab)
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
            rows = [self._node(node, machine) for node in part]
            wires = cables(self._lab, self._networks, machine) if self._ends else ()
            later = [self._set(node, machine) for node in part if node.name in self._ends]
            self._made[key] = [fact for row in (*rows, wires, *later) for fact in row]
        return self._made[key]

    def _node(self, node: Node, machine: Machine) -> Iterator[Fact]:
        yield from made_node(self._lab.name, node, self._networks, machine)
        if node.name not in self._ends:
            yield from self._set(node, machine)

    def _set(self, node: Node, machine: Machine) -> Iterator[Fact]:
        """What its interfaces have: of one with links when these are there."""
        ends = self._ends.get(node.name, ())
        yield from inside(node, self._networks, machine, ends, self._ways[node.name])
        if turns_off(self._lab, machine):
            yield from off(node, ends)


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
        if turns_off(lab, machine):
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
        settings=quiet_settings(network.name, six) if can_quiet(machine) else (),
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
