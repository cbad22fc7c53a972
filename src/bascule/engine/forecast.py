"""What can be known before anything is touched: what is refused, and what a reader of the plan should know."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_network

from bascule.engine import adoption, legacy
from bascule.engine.adoption import Owners
from bascule.errors import BasculeError, Conflict, InputError, KernelError, WorldError
from bascule.host import abilities, etc_links, namespaces, nft, service, surroundings, uplink
from bascule.host.seen import Observation
from bascule.host.world import World
from bascule.kernel.address import Address
from bascule.kernel.file import Symlink
from bascule.kernel.forwarding import SWITCH, Forwarding
from bascule.kernel.namespace import AddNamespace, Namespace
from bascule.kernel.op import Effect, Fact, WriteSysctl, WriteSysctls
from bascule.kernel.ruleset import TO, WITHIN, ForwardAccept
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import Table
from bascule.kernel.uplink import WorldUplink
from bascule.names import few
from bascule.plan.diff import Plan
from bascule.plan.firewall import on_loopback
from bascule.plan.servers import serves_names
from bascule.plan.uplink import wants_uplink
from bascule.topology.model import Assigned, IPAddress, Network, Port
from bascule.topology.ports import bound_to, families, port_text


def refuse_impossible(
    lab: Assigned | None, current: Assigned | None, want: list[Fact], seen: Observation, owners: Owners
) -> None:
    """What can be known to fail, before anything is touched: all of it at once. What the ``current`` lab has already is not
    refused: it has to be repairable, and the notes tell it. Raises one error as it is, and several as an :class:`InputError`
    with a line for each."""
    found = [*_impossible(lab, want, seen, owners, current), *_impossible_hosts(lab, current, seen)] if lab is not None else []
    if len(found) == 1:
        raise found[0]
    if found:
        raise InputError("\n".join(str(each) for each in found))


def refuse_incapable(kind: str) -> None:
    """What keeps this process from building anything on the machine. Raises :class:`WorldError` with all of it."""
    found = abilities.lacks() if kind == "host" else []
    if found:
        lines = [f"{lack.what}; {lack.advice}" for lack in found]
        raise WorldError("\n".join([*lines, "or use --world private, where user namespaces are allowed: see `bascule doctor`"]))


def refuse_settings(plan: Plan, world: World) -> None:
    """Where settings can't be changed (/proc/sys is read-only in a container), a lab can have those that are right by
    themselves. Raises :class:`InputError` with the others."""
    wanted = [each for op in plan.ops for each in _settings(op.effect())]
    new = {op.name for op in plan.ops if isinstance(op, AddNamespace)}
    keys = {effect.key for effect in wanted if effect.node in new}
    usual: dict[str, str] = world.call(surroundings.of_a_new_namespace, keys) if keys else {}
    wrong = [effect for effect in wanted if effect.node not in new or usual.get(effect.key) != effect.value]
    if wrong:
        lines = [f"{each.key} can't be set to {each.value}" + (f" in {each.node}" if each.node else "") for each in wrong]
        raise InputError("\n".join([*lines, f"{abilities.FIXED}: {abilities.SET_BEFORE}; {abilities.CONTAINER}"]))


def _settings(effect: Effect) -> list[WriteSysctl]:
    """What an effect sets, but for what it does to something new, and for what follows from turning forwarding on or off."""
    if isinstance(effect, WriteSysctls):
        return [each for each in effect.writes if each.key in SWITCH.values()]
    return [effect] if isinstance(effect, WriteSysctl) and not effect.fresh else []


def _impossible(
    lab: Assigned, want: list[Fact], seen: Observation, owners: Owners, current: Assigned | None
) -> Iterator[BasculeError]:
    if nft.program() is None and any(isinstance(fact, Table) for fact in want):
        yield KernelError("nft", errno.ENOENT, "nft is not installed", advice="the lab needs rules: install the package nftables")
    there = {fact.name for fact in seen.facts if isinstance(fact, Namespace) and fact.alive}
    coming = any(isinstance(fact, Namespace) and fact.name not in there for fact in want)
    if coming and not seen.private and namespaces.pass_with_the_command():
        yield InputError(
            "nodes made here would go with this command: it has a mount namespace of its own, as `ip netns exec` and a service's "
            "PrivateTmp make it; use `nsenter --net=/run/netns/NAME bascule …`, or take that setting out"
        )
    if any(isinstance(fact, WorldUplink) for fact in want):
        yield from _impossible_ports(lab)
    if not seen.private and any(isinstance(fact, Symlink) for fact in want) and etc_links.made(lab.name) == "beside":
        yield Conflict(
            f"lab {lab.name} is up in another mount namespace, which has a /run of its own and the same /etc/netns; choose "
            f"another name, or, if that has ended, remove {etc_links.path(lab.name)}"
        )
    yield from adoption.refused(lab, seen, owners)
    yield from _impossible_six(want, seen)
    had = {network.name: network for network in current.networks} if current is not None else {}
    for network in lab.networks:
        before = had.get(network.name)
        yield from _impossible_network(network, seen, before.outbound if before is not None else ())
        yield from _impossible_uplink(network, seen, before.uplink if before is not None else "")


def _impossible_six(want: list[Fact], seen: Observation) -> Iterator[BasculeError]:
    """IPv6 addresses where there is no IPv6: one line for each setting that says so."""
    enabled = {(fact.node, fact.name) for fact in want if isinstance(fact, Sysctl) and fact.value == "0"}
    off: dict[tuple[str, str], list[str]] = {}
    for fact in want:
        if isinstance(fact, Address) and ":" in fact.address:
            key = seen.without_ipv6.get((fact.node, fact.device), "") if seen.knows_ipv6 else "ipv6.disable"
            own = ((fact.node, f"net.ipv6.conf.{name}.disable_ipv6") for name in ("all", fact.device))
            if key and enabled.isdisjoint(own):
                off.setdefault(("" if key.startswith("ipv6.") else fact.node, key), []).append(f"{fact.address} on {fact.device}")
    for (node, key), addresses in off.items():
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        where, inside = (f"in node {node}", f"ip netns exec {node} ") if node else ("on this machine", "")
        how = "start the machine without it" if key.startswith("ipv6.") else f"`{inside}sysctl -w {key}=0`"
        yield InputError(
            f"{addresses[0]}{more}: IPv6 is disabled {where}, as {key} is 1; {how}, or take the IPv6 subnets out of the lab"
        )


def _impossible_ports(lab: Assigned) -> Iterator[BasculeError]:
    """What pasta can't listen on."""
    least = uplink.least_port()
    for node in lab.nodes:
        for port in node.ports:
            if port.published < least:
                yield InputError(
                    f"port {port.published} of {node.name}: from a private world ports below {least} can't be published "
                    "(net.ipv4.ip_unprivileged_port_start); choose a higher one"
                )
            if port.host is not None and not uplink.has_default_route(port.host.version):
                yield InputError(
                    f"port {port_text(port)} of {node.name}: from a private world nothing is published on IPv{port.host.version}"
                    ", as the machine has no default route of it; leave the address out, or add a route"
                )


def _impossible_hosts(lab: Assigned, current: Assigned | None, seen: Observation) -> Iterator[BasculeError]:
    """A port of an address that is not this machine's would be nobody's, or somebody else's."""
    had = set(_hosts_of_others(current, seen)) if current is not None else set()
    for node, port in _hosts_of_others(lab, seen):
        if (node, port) not in had:
            yield InputError(
                f"port {port_text(port)} of {node}: {port.host} is no address of this machine; add it first, or leave it out"
            )


def _hosts_of_others(lab: Assigned, seen: Observation) -> Iterator[tuple[str, Port]]:
    """Ports of addresses that the machine has not, nor will have by the lab. In a private world it is pasta that listens."""
    own = {str(gateway) for network in lab.networks for gateway in network.gateways} | seen.addresses
    for node in lab.nodes:
        for port in node.ports:
            address = bound_to(port)
            if address is not None and not address.is_loopback and str(address) not in own and not seen.private:
                yield node.name, port


def _impossible_network(network: Network, seen: Observation, had: tuple[IPAddress, ...]) -> Iterator[BasculeError]:
    for key, asked in (("dns", network.dns), ("dhcp", network.dhcp), ("ra", network.ra)):
        if asked and seen.confined:
            yield InputError(f"network {network.name}: `{key}` needs dnsmasq, and {service.CONFINED}; {service.LET_IT}")
        elif asked and not seen.dnsmasq:
            yield InputError(f"network {network.name}: `{key}` needs dnsmasq; install the package dnsmasq-base, or remove it")
    for address in network.outbound:
        if str(address) not in seen.addresses and address not in had:
            yield InputError(f"network {network.name}: outbound_address {address} is no address of this machine; add it first")


def _impossible_uplink(network: Network, seen: Observation, had: str) -> Iterator[BasculeError]:
    name = network.uplink
    there = seen.others.get(name)
    if name and there is None and name != had:
        yield InputError(f"network {network.name}: the machine has no interface {name} for its uplink; see `ip -br link`")
    elif there is not None and there.master not in ("", network.name):
        yield Conflict(f"network {network.name}: {name} is a port of {there.master} already; choose another uplink")
    elif there is not None and there.way_out and there.master != network.name:
        way = "default route" if there.way_out.endswith("/0") else f"way out, {there.way_out},"
        yield Conflict(
            f"network {network.name}: the machine's {way} goes through {name}: as a bridge port it would cut the machine off; "
            "choose another uplink"
        )


def notes(lab: Assigned | None, seen: Observation, want: list[Fact]) -> Iterator[str]:
    """What is not refused, and yet not as one might think."""
    if lab is None:
        return
    yield from _way_out(lab, seen)
    yield from _forwarding(lab, want, seen)
    for node, port in _hosts_of_others(lab, seen):
        yield f"port {port_text(port)} of {node} answers nobody: {port.host} is no address of this machine any more"
    yield from _chains(seen, {fact.way for fact in want if isinstance(fact, ForwardAccept)})
    yield from legacy.advice(seen.old_firewalls, list(legacy.needs(lab, {4: seen.bridge_nf, 6: seen.bridge_nf6}, seen.dnsmasq)))
    yield from _questions(lab, seen)
    yield from _loopback(lab, seen)
    yield from _etc(seen)
    if not seen.settable and seen.ipv6:
        yield f"{abilities.FIXED}: {abilities.UNQUIET}"
    yield from _resolving(lab, seen)
    if seen.without_flows:
        yield f"flows that do not fit the lab any more go on until they are idle, as they can't be seen: {seen.without_flows}"
    for network in lab.networks:
        yield from _network(network, seen)


def _resolving(lab: Assigned, seen: Observation) -> Iterator[str]:
    """Names outside of the lab that nobody finds although there is a way out, and name servers that there can't be."""
    if seen.confined:
        yield f"no name servers: {service.CONFINED}; {service.LET_IT}"
    leaving = [network for network in lab.networks if network.nat and not (seen.private and seen.without_uplink)]
    served = [network for network in leaving if serves_names(network, seen.dnsmasq)]
    asked = seen.upstream.file or seen.upstream.servers
    cut = [network.name for network in leaving if not (asked if network in served else seen.resolvers)]
    if cut and seen.deaf_resolvers:
        why = f"the machine's name servers ({few(seen.deaf_resolvers)}) hear only the machine itself"
    else:
        why = "the machine knows no name server (/etc/resolv.conf)"
    if cut:
        yield f"{why}: in {few(cut)} no names outside of the lab are found; nodes can have other servers by `dns`"


def _etc(seen: Observation) -> Iterator[str]:
    """What nodes have in place of the machine's /etc that is not as one might think."""
    if not seen.etc_writable:
        yield "/etc can't be written to: `bascule exec` finds nodes' files in /run/etc-netns, and `ip netns exec` does not"
    elif fixed := [node for node, folder in seen.users.items() if not folder.writable]:
        yield f"/etc/netns/NODE of {few(fixed)} can't be written to: `ip netns exec` finds your files there, and not the lab's"
    for name, meaning in _COUNTS.items():
        if nodes := [node for node, folder in seen.users.items() if name in folder.taken]:
            yield f"{name} in /etc/netns/NODE of {few(nodes)} is yours and counts: {meaning}"
    yield from left_alone(seen)


_COUNTS = {"hosts": "the lab's names are not in it", "resolv.conf": "the servers in it are asked, not the lab's"}


def left_alone(seen: Observation) -> Iterator[str]:
    """What the user has put into a folder that nodes share, through the link of one of them."""
    if seen.strays:
        yield (
            f"{few(seen.strays)}: yours, and left alone; all nodes with this view see it, until the power goes. For one node "
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
    new = [f"IPv{fact.version}" for fact in want if isinstance(fact, Forwarding) and fact.version not in seen.forwarding]
    if new and not seen.private:
        yield (
            f"the machine will forward {' and '.join(new)} for labs only: nothing passes between its other interfaces, as now; "
            "to be a router for others, too, it has to be one before the first lab comes"
        )
    if lab.networks and not seen.private and nft.program() is None:
        yield "nft is not installed: nothing keeps the lab apart from others once the machine forwards; install nftables"


def _chains(seen: Observation, passed: set[str]) -> Iterator[str]:
    for chain in seen.forward_chains:
        where = f"chain {chain.family} {chain.table} {chain.name} drops what it does not know"
        if chain.policy == "drop" and seen.bridge_nf:
            how = "nodes of one network reach each other through a rule at its head"
            if WITHIN not in passed:
                how = "nodes can't reach each other, as the rule at its head that they need can't be made; install nftables"
            yield f"net.bridge.bridge-nf-call-iptables is 1 and {where}: {how}"
        if chain.policy == "drop" and TO in passed:
            yield f"{where}: what the lab lets out and in passes by rules at its head"


def _questions(lab: Assigned, seen: Observation) -> Iterator[str]:
    """What nodes ask the servers comes to the machine itself. Rules of the chain may let it in; only the policy is known."""
    names = {network.name: serves_names(network, seen.dnsmasq) for network in lab.networks}
    asked = [network for network in lab.networks if names[network.name] or network.dhcp]
    ports = ["53"] * any(names.values()) + ["67"] * any(network.dhcp for network in asked)
    ports += ["547"] * any(network.dhcp and network.ra for network in asked)
    if asked:
        for chain in seen.input_chains:
            yield (
                f"chain {chain.family} {chain.table} {chain.name} drops what it does not know: unless a rule of it lets in udp "
                f"{' and '.join(ports)} from {', '.join(network.name for network in asked)}, nobody is answered there; "
                f"with ufw: {', '.join(f'`ufw allow in on {network.name}`' for network in asked)}"
            )


def _loopback(lab: Assigned, seen: Observation) -> Iterator[str]:
    """Bridged frames get their addresses back too early then: IPv6 takes none to ::1 from a link (ip6_rcv_core)."""
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
            yield f"{address}, outbound_address of {network.name}, is no address of this machine any more: nothing comes back"
    port = seen.others.get(network.uplink)
    if network.uplink and port is None:
        yield f"{network.uplink}, uplink of {network.name}, is not there any more: `bascule up` when it is"
    if port is not None and not port.up:
        yield f"{network.uplink} is down: nothing passes to {network.name} by it until it is up"
    if port is not None and port.mtu < network.mtu:
        yield (
            f"{network.uplink} has an MTU of {port.mtu} and {network.name} one of {network.mtu}: longer frames do not pass it; "
            f"`mtu: {port.mtu}` for the network avoids that"
        )
    if port is not None and port.addressed:
        yield f"{network.uplink} has addresses of its own, which do not answer while it is a port of {network.name}"
    for subnet in network.subnets:
        for text in seen.prefixes:
            routed = ip_network(text, strict=False)
            if routed.version == subnet.version and routed.overlaps(subnet):
                yield f"{subnet} of {network.name} overlaps {text}, which this machine routes already"
