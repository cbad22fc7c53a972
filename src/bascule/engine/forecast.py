"""What is refused before anything is touched."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from bascule.engine import adoption
from bascule.engine.adoption import Owners
from bascule.errors import BasculeError, Conflict, InputError, KernelError, WorldError
from bascule.host import abilities, dnsmasq, etc_links, namespaces, nft, pasta, surroundings
from bascule.host.seen import Observation
from bascule.host.world import World
from bascule.kernel.address import Address
from bascule.kernel.fact import Fact, only
from bascule.kernel.file import Symlink
from bascule.kernel.forwarding import SWITCH
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Effect, WriteSysctl, WriteSysctls
from bascule.kernel.program import DNSMASQ, WAY_OUT
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import Table
from bascule.plan.diff import Plan
from bascule.topology.model import Assigned, IPAddress, Network, Port
from bascule.topology.ports import bound_to, port_text


def refuse_impossible(
    lab: Assigned | None,
    current: Assigned | None,
    want: list[Fact],
    seen: Observation,
    owners: Owners,
) -> None:
    """What can be known to fail, before anything is touched: all of it at once. What the
    ``current`` lab has already is not refused: it has to be repairable, and the notes tell it.
    Raises one error as it is, and several as an :class:`InputError` with a line for each."""
    found = (
        [*_impossible(lab, want, seen, owners, current), *_impossible_hosts(lab, current, seen)]
        if lab is not None
        else []
    )
    if len(found) == 1:
        raise found[0]
    if found:
        raise InputError("\n".join(str(each) for each in found))


def refuse_incapable(kind: str) -> None:
    """What keeps this process from building anything on the machine. Raises :class:`WorldError`
    with all of it."""
    found = abilities.lacks() if kind == "host" else []
    if found:
        lines = [f"{lack.what}; {lack.advice}" for lack in found]
        raise WorldError(
            "\n".join(
                [
                    *lines,
                    (
                        "or use --world private, where user namespaces are allowed: see `bascule "
                        "doctor`"
                    ),
                ]
            )
        )


def refuse_settings(plan: Plan, world: World) -> None:
    """Where settings can't be changed (/proc/sys is read-only in a container), a lab can have those
    that are right by themselves. Raises :class:`InputError` with the others."""
    wanted = [each for op in plan.ops for each in _settings(op.effect())]
    new = {op.makes for op in plan.ops if op.makes}
    keys = {effect.key for effect in wanted if effect.node in new}
    usual: dict[str, str] = world.call(surroundings.of_a_new_namespace, keys) if keys else {}
    wrong = [
        effect
        for effect in wanted
        if effect.node not in new or usual.get(effect.key) != effect.value
    ]
    if wrong:
        lines = [
            f"{each.key} can't be set to {each.value}" + (f" in {each.node}" if each.node else "")
            for each in wrong
        ]
        raise InputError(
            "\n".join([*lines, f"{abilities.FIXED}: {abilities.SET_BEFORE}; {abilities.CONTAINER}"])
        )


def _settings(effect: Effect) -> list[WriteSysctl]:
    """What an effect sets, but for what it does to something new, and for what follows from turning
    forwarding on or off."""
    if isinstance(effect, WriteSysctls):
        return [each for each in effect.writes if each.key in SWITCH.values()]
    return [effect] if isinstance(effect, WriteSysctl) and not effect.fresh else []


def _impossible(
    lab: Assigned, want: list[Fact], seen: Observation, owners: Owners, current: Assigned | None
) -> Iterator[BasculeError]:
    if nft.program() is None and any(only(want, Table)):
        yield KernelError(
            "nft",
            errno.ENOENT,
            "nft is not installed",
            advice="the lab needs rules: install the package nftables",
        )
    there = {fact.name for fact in only(seen.facts, Namespace) if fact.alive}
    coming = any(fact.name not in there for fact in only(want, Namespace))
    if coming and not seen.private and namespaces.pass_with_the_command():
        yield InputError(
            "nodes made here would go with this command: it has a mount namespace of its own, "
            "as `ip netns exec` and a service's "
            "PrivateTmp make it; use `nsenter --net=/run/netns/NAME bascule …`, or take that "
            "setting out"
        )
    if any(fact.key == WAY_OUT.key for fact in want):
        yield from _impossible_ports(lab)
    if not seen.private and any(only(want, Symlink)) and etc_links.made(lab.name) == "beside":
        yield Conflict(
            f"lab {lab.name} is up in another mount namespace, which has a /run of its own "
            f"and the same /etc/netns; choose "
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
    enabled = {(fact.node, fact.name) for fact in only(want, Sysctl) if fact.value == "0"}
    off: dict[tuple[str, str], list[str]] = {}
    for fact in only(want, Address):
        if ":" in fact.address:
            key = (
                seen.without_ipv6.get((fact.node, fact.device), "")
                if seen.knows_ipv6
                else "ipv6.disable"
            )
            own = (
                (fact.node, f"net.ipv6.conf.{name}.disable_ipv6") for name in ("all", fact.device)
            )
            if key and enabled.isdisjoint(own):
                off.setdefault(("" if key.startswith("ipv6.") else fact.node, key), []).append(
                    f"{fact.address} on {fact.device}"
                )
    for (node, key), addresses in off.items():
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        where, inside = (
            (f"in node {node}", f"ip netns exec {node} ") if node else ("on this machine", "")
        )
        how = (
            "start the machine without it"
            if key.startswith("ipv6.")
            else f"`{inside}sysctl -w {key}=0`"
        )
        yield InputError(
            f"{addresses[0]}{more}: IPv6 is disabled {where}, as {key} is 1; {how}, or leave "
            f"IPv6 out of the lab: --without-ipv6, or `ipv6: false` in its file"
        )


def _impossible_ports(lab: Assigned) -> Iterator[BasculeError]:
    """What pasta can't listen on."""
    least = pasta.least_port()
    for node in lab.nodes:
        for port in node.ports:
            if port.published < least:
                yield InputError(
                    f"port {port.published} of {node.name}: from a private world ports below "
                    f"{least} can't be published "
                    "(net.ipv4.ip_unprivileged_port_start); choose a higher one"
                )
            if port.host is not None and not pasta.has_default_route(port.host.version):
                yield InputError(
                    f"port {port_text(port)} of {node.name}: from a private world nothing is "
                    f"published on IPv{port.host.version}"
                    ", as the machine has no default route of it; leave the address out, or "
                    "add a route"
                )


def _impossible_hosts(
    lab: Assigned, current: Assigned | None, seen: Observation
) -> Iterator[BasculeError]:
    """A port of an address that is not this machine's would be nobody's, or somebody else's."""
    had = set(hosts_of_others(current, seen)) if current is not None else set()
    for node, port in hosts_of_others(lab, seen):
        if (node, port) not in had:
            yield InputError(
                f"port {port_text(port)} of {node}: {port.host} is no address of this "
                f"machine; add it first, or leave it out"
            )


def hosts_of_others(lab: Assigned, seen: Observation) -> Iterator[tuple[str, Port]]:
    """Ports of addresses that the machine has not, nor will have by the lab. In a private world it
    is pasta that listens."""
    own = {
        str(gateway) for network in lab.networks for gateway in network.gateways
    } | seen.addresses
    for node in lab.nodes:
        for port in node.ports:
            address = bound_to(port)
            if (
                address is not None
                and not address.is_loopback
                and str(address) not in own
                and not seen.private
            ):
                yield node.name, port


def _impossible_network(
    network: Network, seen: Observation, had: tuple[IPAddress, ...]
) -> Iterator[BasculeError]:
    for key, asked in (("dns", network.dns), ("dhcp", network.dhcp), ("ra", network.ra)):
        if asked and seen.confined:
            yield InputError(
                f"network {network.name}: `{key}` needs dnsmasq, and {dnsmasq.CONFINED}; "
                f"{DNSMASQ.unreadable}"
            )
        elif asked and not seen.dnsmasq:
            yield InputError(
                f"network {network.name}: `{key}` needs dnsmasq; install the package "
                f"dnsmasq-base, or remove it"
            )
    for address in network.outbound:
        if str(address) not in seen.addresses and address not in had:
            yield InputError(
                f"network {network.name}: outbound_address {address} is no address of this "
                f"machine; add it first"
            )


def _impossible_uplink(network: Network, seen: Observation, had: str) -> Iterator[BasculeError]:
    name = network.uplink
    there = seen.others.get(name)
    if name and there is None and name != had:
        yield InputError(
            f"network {network.name}: the machine has no interface {name} for its uplink; see "
            f"`ip -br link`"
        )
    elif there is not None and there.master not in ("", network.name):
        yield Conflict(
            f"network {network.name}: {name} is a port of {there.master} already; choose "
            f"another uplink"
        )
    elif there is not None and there.unfit and there.master != network.name:
        yield InputError(f"network {network.name}: {name} {there.unfit}; choose another uplink")
    elif there is not None and there.way_out and there.master != network.name:
        way = "default route" if there.way_out.endswith("/0") else f"way out, {there.way_out},"
        yield Conflict(
            f"network {network.name}: the machine's {way} goes through {name}: as a bridge "
            f"port it would cut the machine off; "
            "choose another uplink"
        )
