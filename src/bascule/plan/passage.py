"""Topology → what has to be true of the kernel so that the lab's rules hold and lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.kernel.fact import Fact
from bascule.kernel.forwarding import Forwarding
from bascule.kernel.op import WORLD
from bascule.kernel.route import LoopbackRoute
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import Table, table_name
from bascule.plan.firewall import Surroundings, forwarded_families, on_loopback, ruleset
from bascule.plan.servers import serves_names
from bascule.topology.model import Assigned, Network
from bascule.topology.ways import is_guarded_port


def asks(lab: Assigned) -> bool:
    """Whether the lab asks for something that can't be had without rules."""
    return any(_asks(network) for network in lab.networks) or any(node.ports for node in lab.nodes)


def _asks(network: Network) -> bool:
    served = serves_names(network, dnsmasq=True)
    lent = bool(network.uplink) and (network.dhcp or network.ra)
    return (
        network.nat
        or network.internal
        or bool(network.reach)
        or served
        or is_guarded_port(network)
        or lent
        or not network.icc
    )


def needs_rules(lab: Assigned, private: bool, possible: bool) -> bool:
    """Whether there are to be rules. ``possible`` False: this machine can't have any, and a lab
    that asks for none does without them."""
    alone = private and len([network for network in lab.networks if network.has_gateway]) < 2
    return bool(lab.networks) and (asks(lab) or (possible and not alone))


def rules(lab: Assigned, around: Surroundings) -> Iterator[Fact]:
    """The lab's tables. They come first, before anything is passed on."""
    yield Table(table_name(lab.name), ruleset(lab, around))


def outline(lab: Assigned) -> Iterator[Fact]:
    """The same without their text."""
    yield Table(table_name(lab.name), "")


def passage(lab: Assigned) -> Iterator[Fact]:
    """The settings without which the rules lead nowhere."""
    for version in sorted(forwarded_families(lab)):
        yield Forwarding(version)
    # Answers to connections that 127.0.0.1 and ::1 opened come back on the bridge; ip-sysctl.rst,
    # route_localnet.
    for network in on_loopback(lab, 4):
        yield Sysctl(WORLD, f"net/ipv4/conf/{network}/route_localnet", "1")
    for network in on_loopback(lab, 6):
        yield LoopbackRoute(network)
