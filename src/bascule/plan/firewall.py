"""Topology → the lab's own table of rules: what passes between networks, and which ports of the
host lead to nodes. docs/firewall.md explains each rule.

The theory
==========

*Where a packet comes from and where it goes is judged first, each packet anew.* That a flow is
known to the connection tracking says nothing: whoever guesses the numbers of somebody else's flow
would pass by it.

1. **From a node to the machine.** Every frame that a bridge hands to the machine's own stack passes
   ``entering``, before anything else looks at it (the ingress hook of the bridge's device; frames
   that the bridge only passes on are not seen there). What has a source that is not at home on that
   bridge ends there. So from here on a packet's interface tells its network, and so does its
   address: a packet from network A can belong to a flow of A only.

2. **From one interface to another.** A packet goes the way of its flow's opener (*original*), or
   comes back (*reply*; conntrack tells which). Going, the pair of interfaces has to be one for
   which the file lets connections be opened. Coming back, it has to be such a pair the other way
   round, and the flow one that was opened so: it was translated on its way (to a published port;
   out by ``nat``), or both of its addresses are at home in networks of the lab, or it bears a
   label. An error message (ICMP) has addresses of its own: it may go between the networks at the
   ends of the flow that it is about, and then is judged as that flow.

3. **What belongs to no flow** (INVALID, untracked) gets nowhere.

4. **Labs are apart from the start.** Each lab has its table as soon as it has a network, whoever
   turns forwarding on later. Where the machine does not pass packets on but for labs, what is
   neither from nor to a lab is dropped: the other interfaces stay as far apart as they were.

5. **What leaves with `nat` is translated, or does not leave.**

Nothing grows with the number of networks or ports but sets and maps, so that a packet costs a fixed
number of look-ups. Interfaces of all labs are told from the machine's by their index
(:class:`bascule.kernel.op.Indexes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bascule.kernel.table import FAMILY, comment, table_name
from bascule.plan.bound import bound
from bascule.plan.chains import Traffic, chains
from bascule.plan.rules import ADDR, Elements, quoted, table
from bascule.plan.servers import serves_names
from bascule.topology.model import PROTOCOLS, Assigned, IPAddress, Network, Node, Port
from bascule.topology.ports import bound_to, families
from bascule.topology.ways import answering, gateways, is_apart, is_shut

_DNS = 53
LEASES = {4: 67, 6: 547}  # the ports of servers for addresses: DHCP and DHCPv6


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules depend on beside the lab. ``open``: the IP versions that the machine itself
    passes on, not for labs only. ``routers``: its interfaces that did so by themselves where the
    machine as a whole did not. ``private``: all that the world's way out listens on comes to the
    world's own address. ``bridged``: frames within a bridge pass the IP firewall. ``narrow``: an
    interface of the machine takes smaller packets than the lab's networks."""

    open: frozenset[int] = frozenset()
    routers: tuple[str, ...] = ()
    private: bool = False
    bridged: bool = False
    narrow: bool = False


def forwarded_families(lab: Assigned) -> set[int]:
    """The IP versions for which the machine has to pass packets on."""
    versions = {
        subnet.version
        for network in lab.networks
        if network.nat or network.reach
        for subnet in network.subnets
    }
    return versions | {version for _port, version, _target in published(lab)}


def guarded(lab: Assigned) -> set[str]:
    """The networks whose nodes the outside reaches by published ports only: where addresses are
    translated, and where ports are published."""
    translated = {network.name for network in lab.networks if network.nat}
    return translated.union(
        item.network for node in lab.nodes if node.ports for item in node.attachments
    )


def published(lab: Assigned) -> Iterator[tuple[Port, int, IPAddress]]:
    """Each port, for each family in which its node can be reached, with the node's address."""
    networks = {network.name: network for network in lab.networks}
    for node in lab.nodes:
        if node.ports:
            yield from _of_node(node, networks)


def _of_node(node: Node, networks: Mapping[str, Network]) -> Iterator[tuple[Port, int, IPAddress]]:
    reached = {}
    for attachment, gateway in answering(node, networks):
        reached[gateway.version] = next(
            address for address in attachment.addresses if address.version == gateway.version
        )
    for port in node.ports:
        for version in families(port):
            if version in reached:
                yield port, version, reached[version]


def on_loopback(lab: Assigned, version: int) -> list[str]:
    """Networks with nodes whose ports 127.0.0.1, or ::1, has too."""
    targets = [
        target
        for port, family, target in published(lab)
        if family == version and _is_on_loopback(port)
    ]
    return [
        network.name
        for network in lab.networks
        if any(
            target in subnet
            for subnet in network.subnets
            if subnet.version == version
            for target in targets
        )
    ]


def _is_on_loopback(port: Port) -> bool:
    address = bound_to(port)
    return address is None or address.is_loopback


def ruleset(lab: Assigned, around: Surroundings) -> str:
    """The text of the lab's tables: its own, and one at the bridges' ports where something is bound
    to a port."""
    name, words = table_name(lab.name), comment(lab.name)
    bridges = [network for network in lab.networks if not network.uplink]
    alone = frozenset(forwarded_families(lab) - around.open)
    ports = frozenset(version for _port, version, _target in published(lab))
    nat = any(network.nat for network in lab.networks)
    served = {version: _served(lab, version) for version in (4, 6)}
    sets = [*_sets(lab, around, bool(alone)), *_maps(lab, around.private)]
    traffic = Traffic(bridges, alone, ports, served, nat, around.narrow)
    return table(FAMILY, name, words, sets, chains(traffic)) + bound(lab, around.bridged)


def _served(lab: Assigned, version: int) -> list[int]:
    """The ports of the lab's own servers."""
    return list(
        dict.fromkeys(
            port for network in lab.networks for _protocol, port in _services(network, version)
        )
    )


def _sets(lab: Assigned, around: Surroundings, alone: bool) -> Iterator[Elements]:
    def names(name: str, networks: Iterator[Network]) -> Elements:
        return Elements(name, "ifname", quoted(network.name for network in networks))

    yield names("ours", iter(lab.networks))
    yield names("shut", (network for network in lab.networks if is_shut(network)))
    yield names("natted", (network for network in lab.networks if network.nat))
    yield names(
        "apart", (network for network in lab.networks if around.bridged and is_apart(network, lab))
    )
    yield names("uplinked", (network for network in lab.networks if network.uplink))
    yield Elements("routers", "ifname", quoted(around.routers))
    yield Elements("same", "iface_index . iface_index", (), "dynamic", kept=alone)
    for name, icc in (("within", True), ("strangers", False)):
        pairs = (f'"{each.name}" . "{each.name}"' for each in lab.networks if each.icc is icc)
        yield Elements(name, "ifname . ifname", tuple(pairs))
    reach = (f'"{each.name}" . "{other}"' for each in lab.networks for other in each.reach)
    yield Elements("reach", "ifname . ifname", tuple(reach))
    closed = guarded(lab)
    for version in (4, 6):
        yield from _of_version(lab, version)
        free = [each for each in lab.networks if not is_shut(each) and version in around.open]
        yield names(
            f"outward{version}", (each for each in lab.networks if each.nat or each in free)
        )
        yield names(f"inward{version}", (each for each in free if each.name not in closed))
        yield names(
            f"bare{version}", (each for each in free if each.name in closed and not each.nat)
        )


def _of_version(lab: Assigned, version: int) -> Iterator[Elements]:
    inside = [
        (network, subnet)
        for network in lab.networks
        for subnet in network.subnets
        if subnet.version == version
    ]
    elements = (f'"{network.name}" . {subnet}' for network, subnet in inside)
    yield Elements(
        f"inside{version}", f"ifname . {ADDR[version]}", tuple(elements), "interval", kept=True
    )
    yield Elements(
        f"home{version}",
        ADDR[version],
        tuple(dict.fromkeys(str(subnet) for _network, subnet in inside)),
        "interval",
    )
    own = [
        (network, address)
        for network in lab.networks
        for address, _length in gateways(network)
        if address.version == version
    ]
    yield Elements(f"own{version}", ADDR[version], tuple(str(address) for _network, address in own))
    served = [
        (address, protocol, port)
        for network, address in own
        for protocol, port in _services(network, version)
    ]
    kind = f"{ADDR[version]} . inet_proto . inet_service"
    yield Elements(
        f"served{version}",
        kind,
        tuple(f"{address} . {protocol} . {port}" for address, protocol, port in served),
    )
    homes = dict.fromkeys(
        f'"{network.name}" . {address}'
        for network, address in own
        if any(_services(network, version))
    )
    yield Elements(f"servers{version}", f"ifname . {ADDR[version]}", tuple(homes))
    itself = dict.fromkeys(f"{address} : {address}" for address, _protocol, _port in served)
    yield Elements(f"itself{version}", f"{ADDR[version]} : {ADDR[version]}", tuple(itself))
    chosen = (
        f"{subnet} : {address}"
        for network, subnet in inside
        for address in network.outbound
        if network.nat and address.version == version
    )
    yield Elements(
        f"outbound{version}", f"{ADDR[version]} : {ADDR[version]}", tuple(chosen), "interval"
    )


def _services(network: Network, version: int) -> Iterator[tuple[str, int]]:
    """What the lab's servers answer on the bridge's own addresses."""
    if serves_names(network, dnsmasq=True):
        yield from (("tcp", _DNS), ("udp", _DNS))
    if network.dhcp and (version == 4 or network.ra):
        yield "udp", LEASES[version]


def _maps(lab: Assigned, private: bool) -> Iterator[Elements]:
    """One map for each protocol and family, keyed by port, and one for ports of a single address,
    keyed by both."""
    rows: dict[tuple[str, int, bool], list[str]] = {}
    for port, version, target in published(lab):
        address = bound_to(port)
        if private and address is not None and not address.is_loopback:
            address = None
        before = "" if address is None else f"{address} . "
        found = rows.setdefault((port.protocol, version, address is not None), [])
        found += [
            f"{before}{port.published + step} : {target} . {port.target + step}"
            for step in range(port.count)
        ]
    for protocol in PROTOCOLS:
        for version in (4, 6):
            kind = f"inet_service : {ADDR[version]} . inet_service"
            name = f"{protocol}{version}"
            yield Elements(name, kind, tuple(rows.get((protocol, version, False), ())))
            yield Elements(
                f"{name}_at",
                f"{ADDR[version]} . {kind}",
                tuple(rows.get((protocol, version, True), ())),
            )
