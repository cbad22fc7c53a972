"""What is not refused, and yet not as one might think: for the reader of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from bascule.engine import firewalls
from bascule.engine.forecast import hosts_of_others
from bascule.host import abilities, dnsmasq, nft
from bascule.host.seen import Observation
from bascule.kernel.fact import Fact, only
from bascule.kernel.forwarding import Forwarding
from bascule.kernel.program import DNSMASQ
from bascule.kernel.ruleset import TO, WITHIN, ForwardAccept
from bascule.names import few
from bascule.plan.firewall import on_loopback
from bascule.plan.servers import serves_names
from bascule.plan.uplink import wants_uplink
from bascule.topology.model import Assigned, Network, Topology
from bascule.topology.ports import bound_to, families, port_text
from bascule.topology.six import has_ipv6, left_out

_COUNTS = {
    "hosts": "the lab's names are not in it",
    "resolv.conf": "the servers in it are asked, not the lab's",
}


def notes(lab: Assigned, seen: Observation, want: list[Fact]) -> Iterator[str]:
    """What is not refused, and yet not as one might think."""
    yield from _way_out(lab, seen)
    yield from _forwarding(lab, want, seen)
    for node, port in hosts_of_others(lab, seen):
        yield (
            f"port {port_text(port)} of {node} answers nobody: {port.host} is no address of "
            f"this machine any more"
        )
    yield from _chains(seen, {fact.way for fact in only(want, ForwardAccept)})
    yield from (each.line for each in firewalls.kept([lab], seen))
    yield from _loopback(lab, seen)
    yield from _etc(seen)
    if not seen.settable and seen.ipv6:
        yield f"{abilities.FIXED}: {abilities.UNQUIET}"
    yield from _resolving(lab, seen)
    if seen.without_flows:
        yield (
            f"flows that do not fit the lab any more go on until they are idle, as they can't "
            f"be seen: {seen.without_flows}"
        )
    for network in lab.networks:
        yield from _network(network, seen)


def of_ipv6(asked: Topology | None, current: Assigned | None) -> Iterator[str]:
    """What a lab without IPv6 is made without; and that it is to have some again."""
    if asked is None:
        return
    yield from left_out(asked)
    if asked.ipv6 and current is not None and not current.ipv6 and has_ipv6(asked):
        yield (
            f"{asked.name} was made without IPv6, and gets it now: --without-ipv6, or `ipv6: "
            f"false` in its file, leaves it out again"
        )


def _resolving(lab: Assigned, seen: Observation) -> Iterator[str]:
    """Names outside of the lab that nobody finds although there is a way out, and name servers that
    there can't be."""
    if seen.confined:
        yield f"no name servers: {dnsmasq.CONFINED}; {DNSMASQ.unreadable}"
    leaving = [
        network
        for network in lab.networks
        if network.nat and not (seen.private and seen.without_uplink)
    ]
    served = [network for network in leaving if serves_names(network, seen.dnsmasq)]
    asked = seen.upstream.file or seen.upstream.servers
    cut = [
        network.name for network in leaving if not (asked if network in served else seen.resolvers)
    ]
    if cut and seen.deaf_resolvers:
        why = (
            f"the machine's name servers ({few(seen.deaf_resolvers)}) hear only the machine itself"
        )
    else:
        why = "the machine knows no name server (/etc/resolv.conf)"
    if cut:
        yield (
            f"{why}: in {few(cut)} no names outside of the lab are found; nodes can have "
            f"other servers by `dns`"
        )


def _etc(seen: Observation) -> Iterator[str]:
    """What nodes have in place of the machine's /etc that is not as one might think."""
    if not seen.etc_writable:
        yield (
            "/etc can't be written to: `bascule exec` finds nodes' files in /run/etc-netns, "
            "and `ip netns exec` does not"
        )
    elif fixed := [node for node, folder in seen.users.items() if not folder.writable]:
        yield (
            f"/etc/netns/NODE of {few(fixed)} can't be written to: `ip netns exec` finds your "
            f"files there, and not the lab's"
        )
    for name, meaning in _COUNTS.items():
        if nodes := [node for node, folder in seen.users.items() if name in folder.taken]:
            yield f"{name} in /etc/netns/NODE of {few(nodes)} is yours and counts: {meaning}"
    yield from left_alone(seen)


def left_alone(seen: Observation) -> Iterator[str]:
    """What the user has put into a folder that nodes share, through the link of one of them."""
    if seen.strays:
        yield (
            f"{few(seen.strays)}: yours, and left alone; all nodes with this view see it, "
            f"until the power goes. For one node "
            "alone, and for good, put a folder of your own in the place of its link in /etc/netns"
        )


def _way_out(lab: Assigned, seen: Observation) -> Iterator[str]:
    if seen.private and wants_uplink(lab):
        if seen.without_uplink:
            yield f"no way out of the private world, and no way in: {seen.without_uplink}"
        elif any(port.protocol == "sctp" for node in lab.nodes for port in node.ports):
            yield "pasta carries no sctp: such ports are published inside the private world only"


def _forwarding(lab: Assigned, want: list[Fact], seen: Observation) -> Iterator[str]:
    """What becomes of others' packets."""
    new = [
        f"IPv{fact.version}"
        for fact in only(want, Forwarding)
        if not fact.node and fact.on and fact.version not in seen.forwarding
    ]
    if new and not seen.private:
        yield (
            f"the machine will forward {' and '.join(new)} for labs only: nothing passes "
            f"between its other interfaces, as now; "
            "to be a router for others, too, it has to be one before the first lab comes"
        )
    if lab.networks and not seen.private and nft.program() is None:
        yield (
            "nft is not installed: nothing keeps the lab apart from others once the machine "
            "forwards; install nftables"
        )


def _chains(seen: Observation, passed: set[str]) -> Iterator[str]:
    for chain in seen.forward_chains:
        where = f"chain {chain.place} drops what it does not know"
        if chain.drops and seen.bridge_nf:
            how = "nodes of one network reach each other through a rule at its head"
            if WITHIN not in passed:
                how = (
                    "nodes can't reach each other, as the rule at its head that they need "
                    "can't be made; install nftables"
                )
            yield f"net.bridge.bridge-nf-call-iptables is 1 and {where}: {how}"
        if chain.drops and TO in passed:
            yield f"{where}: what the lab lets out and in passes by rules at its head"


def _loopback(lab: Assigned, seen: Observation) -> Iterator[str]:
    """Bridged frames get their addresses back too early then: IPv6 takes none to ::1 from a link
    (ip6_rcv_core)."""
    meant = on_loopback(lab, 6) if seen.bridge_nf6 and not seen.private else []
    for node in lab.nodes if meant else ():
        for port in node.ports:
            address = bound_to(port)
            if 6 in families(port) and (address is None or address.is_loopback):
                yield (
                    f"port {port_text(port)} of {node.name} does not answer on ::1 as long as "
                    "net.bridge.bridge-nf-call-ip6tables is 1; set it to 0, or use 127.0.0.1"
                )


def _network(network: Network, seen: Observation) -> Iterator[str]:
    for address in network.outbound:
        if str(address) not in seen.addresses:
            yield (
                f"{address}, outbound_address of {network.name}, is no address of this "
                f"machine any more: nothing comes back"
            )
    port = seen.others.get(network.uplink)
    if network.uplink and port is None:
        yield (
            f"{network.uplink}, uplink of {network.name}, is not there any more: `bascule up` "
            f"when it is"
        )
    if port is not None and not port.up:
        yield f"{network.uplink} is down: nothing passes to {network.name} by it until it is up"
    if port is not None and port.mtu < network.mtu:
        yield (
            f"{network.uplink} has an MTU of {port.mtu} and {network.name} one of "
            f"{network.mtu}: longer frames do not pass it; "
            f"`mtu: {port.mtu}` for the network avoids that"
        )
    if port is not None and port.addressed:
        yield (
            f"{network.uplink} has addresses of its own, which do not answer while it is a "
            f"port of {network.name}"
        )
    for subnet in network.subnets:
        for text in seen.prefixes:
            routed = ip_network(text, strict=False)
            if routed.version == subnet.version and routed.overlaps(subnet):
                yield (
                    f"{subnet} of {network.name} overlaps {text}, which this machine routes already"
                )
