"""Topology → one nft table: what passes between networks, and which ports of the host lead to nodes. docs/firewall.md explains
each rule.

Nothing in it grows with the number of networks or ports but sets and maps, so that a packet costs a fixed number of look-ups.
Interfaces of all labs are told from the machine's by their index (:class:`bascule.kernel.op.Indexes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bascule.kernel.op import WORLD, Fact, Indexes
from bascule.kernel.route import LoopbackRoute
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import FAMILY, Table, comment, table_name
from bascule.plan.servers import serves_names
from bascule.topology.model import PROTOCOLS, Assigned, IPAddress, Network, Node, Port
from bascule.topology.ports import bound_to, families
from bascule.topology.ways import ways_out

_IP = {4: "ip", 6: "ip6"}
_ADDR = {4: "ipv4_addr", 6: "ipv6_addr"}
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_LABS = f"{Indexes.ALL.start}-{Indexes.ALL.stop - 1}"


_BRIDGED = "0"  # in postrouting, frames that pass the firewall within a bridge have come from nowhere (br_nf_post_routing)


def is_needed(lab: Assigned, forwards: bool) -> bool:
    """Whether the lab asks for something that takes rules, or has networks that the machine would connect: ``forwards`` says that
    it passes packets on already."""
    with_gateway = [network for network in lab.networks if network.has_gateway]
    asked = any(_asks(network) for network in lab.networks)
    return asked or any(node.ports for node in lab.nodes) or len(with_gateway) > 1 or (forwards and bool(with_gateway))


def _asks(network: Network) -> bool:
    return network.nat or network.internal or bool(network.reach) or serves_names(network, dnsmasq=True) or not network.icc


def forwarded_families(lab: Assigned) -> set[int]:
    """The IP versions for which the machine has to pass packets on."""
    versions = {subnet.version for network in lab.networks if network.nat or network.reach for subnet in network.subnets}
    return versions | {version for _port, version, _target in _published(lab)}


def passage(lab: Assigned, forwards: bool, private: bool = False, narrow: bool = False) -> Iterator[Fact]:
    """The table, and the settings without which its rules lead nowhere. The rules come first, before anything is passed on."""
    if not is_needed(lab, forwards):
        return
    yield Table(table_name(lab.name), ruleset(lab, private, narrow))
    for version in sorted(forwarded_families(lab)):
        yield Sysctl(WORLD, FORWARDING[version], "1")
    # Answers to connections that 127.0.0.1 and ::1 opened come back on the bridge; ip-sysctl.rst, route_localnet.
    for network in _from_loopback(lab, 4):
        yield Sysctl(WORLD, f"net/ipv4/conf/{network}/route_localnet", "1")
    for network in _from_loopback(lab, 6):
        yield LoopbackRoute(network)


def _published(lab: Assigned) -> Iterator[tuple[Port, int, IPAddress]]:
    """Each port, for each family in which its node can be reached, with the node's address."""
    networks = {network.name: network for network in lab.networks}
    for node in lab.nodes:
        if node.ports:
            yield from _of_node(node, networks)


def _of_node(node: Node, networks: Mapping[str, Network]) -> Iterator[tuple[Port, int, IPAddress]]:
    reached = {}
    for attachment, gateway in ways_out(node, networks):
        reached[gateway.version] = next(address for address in attachment.addresses if address.version == gateway.version)
    for port in node.ports:
        for version in families(port):
            if version in reached:
                yield port, version, reached[version]


def _from_loopback(lab: Assigned, version: int) -> list[str]:
    """Networks with nodes whose ports 127.0.0.1, or ::1, has too."""
    targets = [target for port, family, target in _published(lab) if family == version and _is_on_loopback(port)]
    return [
        network.name
        for network in lab.networks
        if any(target in subnet for subnet in network.subnets if subnet.version == version for target in targets)
    ]


def _is_on_loopback(port: Port) -> bool:
    address = bound_to(port)
    return address is None or address.is_loopback


def ruleset(lab: Assigned, private: bool = False, narrow: bool = False) -> str:
    """The table's text. Sets and maps without elements are left out, and with them the rules that would look there. In a
    ``private`` world all that its way out listens on comes to the world's own address. ``narrow``: an interface of the machine
    takes smaller packets than the lab's networks."""
    sets = [each for each in (*_sets(lab), *_maps(lab, private)) if each.elements or each.name.startswith("inside")]
    names = {each.name for each in sets}
    whole = _chains(narrow)
    chains = [each._replace(rules=tuple(rule for rule in each.rules if names.issuperset(_used(rule)))) for each in whole]
    jumped = {each.name for each in chains if each.rules}
    chains = [each._replace(rules=_without_jumps(each.rules, jumped)) for each in chains]
    lines = [f"table {FAMILY} {table_name(lab.name)} {{", f'\tcomment "{comment(lab.name)}"']
    for block in (*(each.lines() for each in sets), *(each.lines() for each in chains if each.rules)):
        lines += ["", *(f"\t{line}" for line in block)]
    return "\n".join([*lines, "}", ""])


def _used(rule: str) -> list[str]:
    return re.findall(r"@(\w+)", rule)


def _without_jumps(rules: tuple[str, ...], chains: set[str]) -> tuple[str, ...]:
    """Nothing is left of a chain that only led to one that has no rules."""
    jumps = [rule for rule in rules if "jump " in rule]
    return () if jumps and not all(rule.rpartition("jump ")[2] in chains for rule in jumps) else rules


class Elements(NamedTuple):
    """A set or a map (``kind`` holds a colon) with its elements. An interval one takes prefixes."""

    name: str
    kind: str
    elements: tuple[str, ...]
    interval: bool = False

    def lines(self) -> list[str]:
        """One element a line."""
        flags = ["\tflags interval"] if self.interval else []
        rows = ["\telements = {", *(f"\t\t{element}," for element in self.elements), "\t}"] if self.elements else []
        return [f"{'map' if ':' in self.kind else 'set'} {self.name} {{", f"\ttype {self.kind}", *flags, *rows, "}"]


class Chain(NamedTuple):
    """A chain, on a hook or, where that is empty, to be jumped to."""

    name: str
    hook: str
    rules: tuple[str, ...]

    def lines(self) -> list[str]:
        hook = [f"\ttype {self.hook}; policy accept;"] if self.hook else []
        return [f"chain {self.name} {{", *hook, *(f"\t{rule}" for rule in self.rules), "}"]


def _sets(lab: Assigned) -> Iterator[Elements]:
    def names(networks: Iterable[Network]) -> tuple[str, ...]:
        return tuple(f'"{network.name}"' for network in networks)

    yield Elements("ours", "ifname", names(lab.networks))
    yield Elements("internal", "ifname", names(network for network in lab.networks if network.internal))
    yield Elements("guarded", "ifname", names(network for network in lab.networks if is_guarded(network, lab)))
    within = (f'"{each.name}" . "{each.name}" : {"accept" if each.icc else "drop"}' for each in lab.networks)
    yield Elements("within", "ifname . ifname : verdict", tuple(within))
    reach = (f'"{each.name}" . "{other}"' for each in lab.networks for other in each.reach)
    yield Elements("reach", "ifname . ifname", tuple(reach))
    for version in (4, 6):
        inside = [(network, subnet) for network in lab.networks for subnet in network.subnets if subnet.version == version]
        elements = (f'"{network.name}" . {subnet}' for network, subnet in inside)
        yield Elements(f"inside{version}", f"ifname . {_ADDR[version]}", tuple(elements), interval=True)
        served = (gateway for network in lab.networks if serves_names(network, dnsmasq=True) for gateway in network.gateways)
        yield Elements(f"dns{version}", _ADDR[version], tuple(str(each) for each in served if each.version == version))
        translated = (str(subnet) for network, subnet in inside if network.nat)
        yield Elements(f"nat{version}", _ADDR[version], tuple(translated), interval=True)
        chosen = (
            f"{subnet} : {address}"
            for network, subnet in inside
            for address in network.outbound
            if network.nat and address.version == version
        )
        yield Elements(f"outbound{version}", f"{_ADDR[version]} : {_ADDR[version]}", tuple(chosen), interval=True)


def is_guarded(network: Network, lab: Assigned) -> bool:
    """Whether the outside reaches this network's nodes by published ports only: where addresses are translated, and where ports
    are published. Others are as open as the machine's own routing makes them."""
    published = any(node.ports and any(item.network == network.name for item in node.attachments) for node in lab.nodes)
    return network.nat or published


def _maps(lab: Assigned, private: bool) -> Iterator[Elements]:
    """One map for each protocol and family, keyed by port, and one for ports of a single address, keyed by both."""
    rows: dict[tuple[str, int, bool], list[str]] = {}
    for port, version, target in _published(lab):
        address = bound_to(port)
        if private and address is not None and not address.is_loopback:
            address = None
        before = "" if address is None else f"{address} . "
        found = rows.setdefault((port.protocol, version, address is not None), [])
        found += [f"{before}{port.published + step} : {target} . {port.target + step}" for step in range(port.count)]
    for protocol in PROTOCOLS:
        for version in (4, 6):
            kind = f"inet_service : {_ADDR[version]} . inet_service"
            name = f"{protocol}{version}"
            yield Elements(name, kind, tuple(rows.get((protocol, version, False), ())))
            yield Elements(f"{name}_at", f"{_ADDR[version]} . {kind}", tuple(rows.get((protocol, version, True), ())))


def _chains(narrow: bool) -> Iterator[Chain]:
    # The lab's own name servers stay reachable where port 53 is published. Few packets are for it: the port is asked first.
    publish = [f"{name} dport 53 {_IP[version]} daddr @dns{version} return" for version in (4, 6) for name in ("tcp", "udp")]
    for protocol in PROTOCOLS:
        for version in (4, 6):
            ip, name = _IP[version], f"{protocol}{version}"
            publish.append(f"dnat {ip} to {ip} daddr . {protocol} dport map @{name}_at")
            publish.append(f"fib daddr type local dnat {ip} to {protocol} dport map @{name}")
    yield Chain("publish", "", tuple(publish))
    # A port of 127.0.0.1 is not for a neighbour who routes 127.0.0.1 to this machine: here, everything has come from outside.
    returns = [f"{_IP[version]} daddr {_LOOPBACK[version]} return" for version in (4, 6)]
    yield Chain("prerouting", "nat hook prerouting priority dstnat", (*returns, "jump publish"))
    yield Chain("output", "nat hook output priority -100", ("oif lo jump publish",))
    inside = [
        f"iifname @internal {_IP[version]} daddr != {{ {_ALWAYS_INSIDE[version]} }} "
        f"iifname . {_IP[version]} daddr != @inside{version} drop"
        for version in (4, 6)
    ]
    loopback = [
        f"{_IP[version]} daddr {_LOOPBACK[version]} iifname @ours ct state new,invalid,untracked drop" for version in (4, 6)
    ]
    inside = [*loopback, *inside]
    for version in (4, 6):
        inside += [
            f"{_IP[version]} daddr @dns{version} iif != lo iifname . {_IP[version]} daddr != @inside{version} "
            f"meta l4proto {{ tcp, udp }} th dport 53 drop"
        ]
    yield Chain("input", "filter hook input priority filter", tuple(inside))
    clamps = (f"{side} {_LABS} tcp option maxseg size set rt mtu" for side in ("iif", "oif") if narrow)
    yield Chain("clamp", "", tuple(clamps))
    yield Chain("leaving", "", tuple(_leaving()))
    yield Chain("forward", "filter hook forward priority filter", tuple(_forward(narrow)))
    yield Chain("postrouting", "nat hook postrouting priority srcnat", tuple(_postrouting()))


# What a node says to whoever is on its link: DHCP, neighbour discovery, router solicitation.
_ALWAYS_INSIDE = {4: "224.0.0.0/4, 255.255.255.255", 6: "fe80::/10, ff00::/8"}


def _forward(narrow: bool) -> Iterator[str]:
    """What is cheap and frequent comes first: most packets belong to a connection that was let through."""
    if narrow:
        yield "tcp flags syn / fin,syn,rst jump clamp"
    yield "ct state established,related accept"
    yield f"iif {_LABS} jump leaving"
    yield "oifname @internal drop"
    yield "ct status dnat accept"
    yield "oifname @guarded drop"


def _leaving() -> Iterator[str]:
    """What comes from a bridge of this lab or of another one."""
    yield "iifname . oifname vmap @within"
    for version in (4, 6):
        yield f"iifname @ours iifname . {_IP[version]} saddr != @inside{version} drop"
    yield "iifname . oifname @reach accept"
    yield "iifname @internal drop"
    yield "oifname @internal drop"
    yield "oifname @ours ct status dnat accept"
    yield f"iifname @ours oif {_LABS} drop"
    yield "oifname @ours drop"


def _postrouting() -> Iterator[str]:
    for version in (4, 6):
        ip = _IP[version]
        for source in (_LABS, _BRIDGED):
            yield f"iif {source} ct status dnat oifname . {ip} saddr @inside{version} masquerade"
        yield f"{ip} saddr {_LOOPBACK[version]} ct status dnat oifname @ours masquerade"
        yield f"oif != {_LABS} snat {ip} to {ip} saddr map @outbound{version}"
        yield f"oif != {_LABS} {ip} saddr @nat{version} masquerade"
