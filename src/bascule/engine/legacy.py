"""What other programs' chains keep from a lab where we make no rule in them, and the commands that
let it pass: for `plan`, `up` and `doctor`.

Of the old iptables both chains are left alone: the program that does may be missing, or undo them
at its next reload. Of what comes to the machine itself (INPUT) all are: whom a machine hears is its
owner's to say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bascule.host.legacy import FORWARD, INPUT
from bascule.host.seen import OldFirewall, Shut
from bascule.kernel.ruleset import FROM, TO, WITHIN, is_plain
from bascule.plan.desired import passing
from bascule.plan.servers import serves_names
from bascule.topology.model import Assigned

_WAYS = {WITHIN: "-i {0} -o {0}", FROM: "-i {0}", TO: "-o {0}"}
_ICMP6 = "ipv6-icmp"
_VERSIONS = {"ip": {4}, "ip6": {6}, "inet": {4, 6}}


class Need(NamedTuple):
    """Something that has to pass a chain. ``way``: of FORWARD, from or to the ``bridge``; of INPUT
    it comes from there, by this ``protocol`` and to this ``port``, 0 for all."""

    version: int
    chain: str
    bridge: str
    way: str = ""
    protocol: str = ""
    port: int = 0

    @property
    def words(self) -> str:
        """The rule for the command line of iptables."""
        return self._spelt("")

    @property
    def listed(self) -> frozenset[str]:
        """Rules by which it passes, as iptables lists them: this one, and wider ones."""
        bridge = shlex.quote(self.bridge)
        wide = {f"-i {bridge} -j ACCEPT"} if self.way != TO else set()
        if self.chain == INPUT:
            wide.add(self._spelt(f"-m {self.protocol} ").removeprefix(f"-i {bridge} "))
        return frozenset({self._spelt(f"-m {self.protocol} "), self.words, *wide})

    def _spelt(self, match: str) -> str:
        bridge = shlex.quote(self.bridge)
        if self.chain == FORWARD:
            return f"{_WAYS[self.way].format(bridge)} -j ACCEPT"
        port = f" {match}--dport {self.port}" if self.port else ""
        return f"-i {bridge} -p {self.protocol}{port} -j ACCEPT"

    @property
    def nft(self) -> str:
        """The same for nft(8), which may print it so."""
        what = f"{self.protocol} dport {self.port}" if self.port else f"meta l4proto {_ICMP6}"
        return f'iifname "{self.bridge}" {what} accept'

    @property
    def nft_listed(self) -> re.Pattern[str]:
        """Rules by which it passes, as nft prints them."""

        def among(word: str, kind: str = r"[^}]*") -> str:
            return rf"({word}|\{{ ({kind}, )?{word}(, {kind})? \}})"

        name = among(re.escape(f'"{self.bridge}"'))
        ports = rf"({self.protocol}|th) dport {among(str(self.port))}"
        icmp = rf"(meta l4proto {among(_ICMP6)}|.*\bnd-neighbor-solicit\b.*)"
        what = ports if self.port else icmp
        kind = rf"(meta l4proto {among(self.protocol)} |meta nfproto ipv{self.version} )?"
        end = (
            r"(ct state [^}]*\bnew\b[^}]*)?(counter packets \d+ bytes \d+ )?accept( comment .*)?\Z"
        )
        return re.compile(rf"(iifname {name} )?{kind}{what} {end}|iifname {name} {end}")


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
            yield Need(version, FORWARD, bridge, way)


def _input(bridge: str, versions: set[int], names: bool, leases: bool) -> Iterator[Need]:
    """For what nodes ask the machine itself: names, leases and, of IPv6, even its MAC."""
    ports = [("udp", 53), ("tcp", 53)] if names else []
    for version in sorted(versions):
        if version == 6:
            yield Need(version, INPUT, bridge, FROM, _ICMP6)
        for protocol, port in [*ports, *([("udp", 67 if version == 4 else 547)] if leases else [])]:
            yield Need(version, INPUT, bridge, FROM, protocol, port)


_LOST = {
    FORWARD: "what the lab passes on is lost",
    INPUT: "what nodes ask the machine (names, leases, IPv6 neighbours) is lost",
}


class Kept(NamedTuple):
    """What another program keeps from labs: its name, or that of its chain, and a line with the
    commands that help."""

    program: str
    line: str


def advice(old: Iterable[OldFirewall], wanted: Sequence[Need]) -> Iterator[Kept]:
    """One line for each chain of iptables that keeps something, with the commands that let it
    pass. What ufw is told for both IP versions at once is said once."""
    said: set[str] = set()
    for firewall in old:
        for chain in (FORWARD, INPUT):
            if (firewall.looked or firewall.dropping) and chain not in firewall.dropping:
                continue
            lacking = [
                each
                for each in wanted
                if (each.version, each.chain) == (firewall.version, chain)
                and firewall.rules.isdisjoint(f"-A {chain} {rule}" for rule in each.listed)
            ]
            commands = list(dict.fromkeys(_command(firewall, each) for each in lacking))
            commands = [command for command in commands if command and command not in said]
            said.update(commands)
            if commands:
                line = f"{_why(firewall, chain)} {_until(chain, commands)}"
                yield Kept(firewall.program, line)


def _command(firewall: OldFirewall, need: Need) -> str:
    """ufw has rules of its own for IPv6 neighbours, and writes those for both versions at once."""
    if not firewall.ufw or need.chain == FORWARD:
        return f"{firewall.program} -I {need.chain} {need.words}"
    port = f"{need.port}" if need.port == 53 else f"{need.port} proto {need.protocol}"
    words = f"ufw allow in on {shlex.quote(need.bridge)} to any port {port}"
    return words if need.port else ""


def _why(firewall: OldFirewall, chain: str) -> str:
    if firewall.looked or firewall.dropping:
        return f"chain {chain} of {firewall.program} drops what it does not know:"
    return (
        f"{firewall.program} is not there to look at the old filter table: if its chain {chain} "
        "drops,"
    )


def _until(chain: str, commands: Iterable[str]) -> str:
    return f"{_LOST[chain]}, until you run {', '.join(f'`{each}`' for each in commands)}"


def advice_of_nft(shut: Iterable[Shut], wanted: Sequence[Need]) -> Iterator[Kept]:
    """The same for chains that are nobody's but nft's."""
    for chain, rules in shut:
        lacking = [
            need
            for need in wanted
            if need.chain == INPUT
            and need.version in _VERSIONS[chain.family]
            and not any(need.nft_listed.match(rule) for rule in rules)
        ]
        texts = dict.fromkeys(need.nft for need in lacking)
        lost = _LOST[INPUT]
        if is_plain(chain.table) and is_plain(chain.name):
            lost = _until(
                INPUT,
                [f"nft {shlex.quote(f'insert rule {chain.place} {text}')}" for text in texts],
            )
        if texts:
            yield Kept(chain.place, f"chain {chain.place} drops what it does not know: {lost}")
