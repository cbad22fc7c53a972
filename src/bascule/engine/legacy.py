"""What the old iptables would keep from a lab, and what to do: for `plan`, `up` and `doctor`.

We make no rules there: the program that does may be missing, or undo them at its next reload.
Whoever runs it adds them once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bascule.host.legacy import PROGRAM
from bascule.host.seen import OldFirewall
from bascule.kernel.ruleset import FROM, TO, WITHIN
from bascule.plan.desired import passing
from bascule.plan.servers import serves_names
from bascule.topology.model import Assigned

FORWARD, INPUT = "FORWARD", "INPUT"
_WAYS = {WITHIN: "-i {0} -o {0}", FROM: "-i {0}", TO: "-o {0}"}


class Need(NamedTuple):
    """A rule of the old iptables that a lab needs where the chain drops: its words for the command
    line, and as it is listed."""

    version: int
    chain: str
    words: str
    listed: str


def needs(lab: Assigned, bridged: dict[int, bool], dnsmasq: bool) -> Iterator[Need]:
    """All that a lab may need. ``bridged``: the IP versions of which frames within a bridge pass
    the firewall."""
    ways: dict[tuple[int, str], list[str]] = {}
    for version, through in bridged.items():
        for name, way in passing(lab, through):
            ways.setdefault((version, name), []).append(way)
    for network in lab.networks:
        for version in sorted({subnet.version for subnet in network.subnets}):
            yield from forward(version, network.name, ways.get((version, network.name), []))
        yield from _input(
            network.name,
            {each.version for each in network.gateways},
            serves_names(network, dnsmasq),
            network.dhcp,
        )


def forward(version: int, bridge: str, ways: Sequence[str]) -> Iterator[Need]:
    """For what is passed on. Who lets in all that comes from a bridge has let in what stays on
    it."""
    for way in ways:
        if way != WITHIN or FROM not in ways:
            words = f"{_WAYS[way].format(shlex.quote(bridge))} -j ACCEPT"
            yield Need(version, FORWARD, words, words)


def _input(bridge: str, versions: set[int], names: bool, leases: bool) -> Iterator[Need]:
    """For what nodes ask the machine itself: names, leases and, of IPv6, even its MAC."""
    ports = [("udp", 53), ("tcp", 53)] if names else []
    for version in sorted(versions):
        if version == 6:
            words = f"-i {shlex.quote(bridge)} -p ipv6-icmp -j ACCEPT"
            yield Need(version, INPUT, words, words)
        for protocol, port in [*ports, *([("udp", 67 if version == 4 else 547)] if leases else [])]:
            start = f"-i {shlex.quote(bridge)} -p {protocol}"
            end = f"--dport {port} -j ACCEPT"
            yield Need(version, INPUT, f"{start} {end}", f"{start} -m {protocol} {end}")


_LOST = {
    FORWARD: "what the lab passes on is lost",
    INPUT: "what nodes ask the machine (names, leases, IPv6 neighbours) is lost",
}


def advice(old: Sequence[OldFirewall], wanted: Sequence[Need]) -> Iterator[str]:
    """One line for each chain that keeps something, with the commands that let it pass."""
    for firewall in old:
        for chain in (FORWARD, INPUT):
            lacking = [
                each for each in wanted if (each.version, each.chain) == (firewall.version, chain)
            ]
            lacking = [
                each for each in lacking if f"-A {chain} {each.listed}" not in firewall.rules
            ]
            if not lacking or (firewall.looked and chain not in firewall.dropping):
                continue
            program = PROGRAM[firewall.version]
            commands = ", ".join(f"`{program} -I {chain} {each.words}`" for each in lacking)
            why = f"chain {chain} of {program} drops what it does not know:"
            if not firewall.looked:
                why = (
                    f"{program} is not there to look at the old filter table: if its chain "
                    f"{chain} drops,"
                )
            yield f"{why} {_LOST[chain]}, until you run {commands}"
