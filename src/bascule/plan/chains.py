"""The chains of a lab's table. Which of their rules stand in a table follows from its sets: a rule
that looks where nothing is is left out. The theory is in :mod:`bascule.plan.firewall`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bascule.plan.rules import IP, LABS, MARK, OTHERS, Chain
from bascule.topology.model import PROTOCOLS, Network
from bascule.topology.ways import gateways, is_shut

# The label of flows that were let out without a translation that would tell of it
# (connlabel.conf(5) names none so high).
OUTSIDE = 120
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}
# whence in postrouting the machine's own packets come, and frames that stay within a bridge
# (br_nf_post_routing)
_NOWHERE = "0"
# What a node says before it has an address, and to whoever is on its link: DHCP, neighbour
# discovery, router solicitation.
_NOBODY = {4: ("0.0.0.0",), 6: ("::", "fe80::/10")}  # noqa: S104 (nothing is bound)
_EVERYBODY = {4: ("224.0.0.0/4", "255.255.255.255"), 6: ("fe80::/10", "ff00::/8")}


class Traffic(NamedTuple):
    """What the rules have to deal with. ``bridges`` are judged where packets come in. ``alone``:
    the IP versions that the machine passes on for labs only. ``ports``: those for which ports are
    published. ``served``: the ports of the lab's own servers, by IP version. Addresses are
    translated (``nat``). ``narrow``: connections have to be told of a smaller link."""

    bridges: Sequence[Network]
    alone: frozenset[int]
    ports: frozenset[int]
    served: Mapping[int, Sequence[int]]
    nat: bool
    narrow: bool


def chains(traffic: Traffic) -> Iterator[Chain]:
    """All chains."""
    alone, ports, narrow = traffic.alone, traffic.ports, traffic.narrow
    for network in traffic.bridges:
        hook = f'filter hook ingress device "{network.name}" priority filter'
        yield Chain(f"from-{network.name}", hook, tuple(entering(network)))
    yield from _translation(ports, traffic.served)
    yield Chain("input", "filter hook input priority filter", tuple(_input(bool(ports))))
    yield Chain("errors", "", tuple(_errors()))
    yield Chain("unplaced", "", tuple(_unplaced(bool(ports) or traffic.nat)))
    yield Chain("forward", "filter hook forward priority filter", tuple(_forward(alone)))
    yield Chain(
        "clamp",
        "",
        tuple(
            f"{side} {LABS} tcp option maxseg size set rt mtu" for side in ("iif", "oif") if narrow
        ),
    )
    yield Chain("translated", "", tuple(_translated()))
    yield Chain("leaving", "", tuple(_leaving()))
    yield Chain("peers", "", ("ct state invalid,related drop", "ct status dnat accept", "drop"))
    yield Chain("opening", "", tuple(_opening()))
    yield Chain("coming", "", tuple(_coming()))
    yield Chain(
        "claiming",
        "",
        tuple(f"{IP[each]} saddr @home{each} fib saddr . iif oif missing drop" for each in (4, 6)),
    )
    yield Chain("calling", "", tuple(_calling()))
    yield Chain("about", "", ("ct direction original jump there", "ct direction reply jump back"))
    yield Chain("there", "", tuple(_about("original", "reply")))
    yield Chain("back", "", tuple(_about("reply", "original")))
    for version in sorted(alone):
        yield Chain(f"others{version}", "", tuple(_others(version)))


def entering(network: Network) -> Iterator[str]:
    """What nodes of a network may say to the machine."""
    inside = {
        version: [str(subnet) for subnet in network.subnets if subnet.version == version]
        for version in (4, 6)
    }
    own = {
        version: [str(each) for each, _length in gateways(network) if each.version == version]
        for version in (4, 6)
    }
    if not is_shut(network) and own[4]:  # most of it
        others = " ".join(f"ip saddr != {address}" for address in own[4])
        yield from (
            f"meta l4proto != icmp ip saddr {subnet} {others} accept" for subnet in inside[4]
        )
    # or the bridge's table would ask for the type in the frame, a tag's
    yield "meta protocol ip icmp type redirect drop"
    yield "meta protocol ip6 icmpv6 type nd-redirect drop"
    for version in (4, 6):
        yield from (f"{IP[version]} saddr {address} drop" for address in own[version])
        yield _outside(f"{IP[version]} saddr", (*inside[version], *_NOBODY[version]))
        if is_shut(network):
            yield _outside(f"{IP[version]} daddr", (*inside[version], *_EVERYBODY[version]))


def _outside(field: str, prefixes: Sequence[str]) -> str:
    return " ".join((*(f"{field} != {prefix}" for prefix in prefixes), "drop"))


def _translation(ports: frozenset[int], served: Mapping[int, Sequence[int]]) -> Iterator[Chain]:
    """Addresses: published ports, and what leaves."""
    itself = tuple(
        # most is told from it by its port
        f"th dport {port} {IP[version]} daddr . meta l4proto . th dport @served{version} "
        f"dnat {IP[version]} to {IP[version]} daddr map @itself{version}"
        for version in (4, 6)
        for port in served.get(version, ())
    )
    yield Chain("served", "nat hook prerouting priority dstnat - 1", itself)
    yield Chain("asked", "nat hook output priority -101", itself)
    maps = [
        (protocol, version, f"{protocol}{version}") for protocol in PROTOCOLS for version in (4, 6)
    ]
    chosen = (
        f"dnat {IP[version]} to {IP[version]} daddr . {protocol} dport map @{name}_at"
        for protocol, version, name in maps
    )
    yield Chain("chosen", "", tuple(chosen))
    yield Chain(
        "published",
        "",
        tuple(
            f"dnat {IP[version]} to {protocol} dport map @{name}"
            for protocol, version, name in maps
        ),
    )
    yield Chain("prerouting", "nat hook prerouting priority dstnat", tuple(_arriving(ports)))
    yield Chain("marking", "filter hook prerouting priority dstnat + 1", tuple(_marking()))
    yield Chain(
        "output",
        "nat hook output priority -100",
        ("oif != lo return", "jump chosen", "jump published"),
    )
    yield Chain(
        "postrouting", "nat hook postrouting priority srcnat", tuple(_postrouting(bool(ports)))
    )
    yield Chain("round", "", tuple(_round()))
    yield Chain("out", "", tuple(_out()))


def _arriving(versions: frozenset[int]) -> Iterator[str]:
    """Published ports, from other machines and from nodes."""
    for version in sorted(versions):
        # A port of 127.0.0.1 is not for a neighbour who routes 127.0.0.1 to this machine: here,
        # everything has come from outside.
        yield f"{IP[version]} daddr {_LOOPBACK[version]} return"
    yield "fib daddr type != local return"
    # Nobody could answer from elsewhere: such a source is not passed on (RFC 4291 section 2.5.6).
    if 6 in versions:
        yield "ip6 daddr fe80::/10 return"
    yield "jump chosen"
    yield f"iif {LABS} iifname != @ours fib daddr . iif type local return"
    yield "jump published"


def _marking() -> Iterator[str]:
    """With br_netfilter a frame whose address becomes a neighbour's stays within the bridge, where
    ports are kept apart."""
    for version in (4, 6):
        yield (
            f"iifname @apart ct status dnat iifname . {IP[version]} daddr @inside{version} "
            f"meta mark set meta mark | {MARK:#x}"
        )


def _postrouting(ports: bool) -> Iterator[str]:
    if ports:
        yield f"iif {LABS} oif {LABS} ct status dnat jump round"
        yield f"iif {_NOWHERE} ct status dnat jump round"
    yield f"iif {LABS} iifname @natted oif {OTHERS} jump out"


def _round() -> Iterator[str]:
    """To a published port, by way of the machine, from the node's own bridge or the machine's
    loopback address: so that the answer comes by the machine, too."""
    for version in (4, 6):
        yield f"oifname . {IP[version]} saddr @inside{version} masquerade"
        yield f"{IP[version]} saddr {_LOOPBACK[version]} oifname @ours masquerade"


def _out() -> Iterator[str]:
    for version in (4, 6):
        yield f"snat {IP[version]} to {IP[version]} saddr map @outbound{version}"
    yield "masquerade"


def _input(ports: bool) -> Iterator[str]:
    """To the machine itself."""
    yield "iifname @ours meta l4proto { icmp, icmpv6 } ct state invalid,related jump errors"
    # Answers to connections of the machine's 127.0.0.1 to published ports have it as destination
    # here, and nothing else of a node's may.
    if ports:
        yield (
            f"iifname @ours ip daddr {_LOOPBACK[4]} ct state established ct direction reply "
            f"ct status dnat accept"
        )
    yield f"iifname @ours ip daddr {_LOOPBACK[4]} drop"
    yield f"iif {OTHERS} iif != lo jump claiming"
    yield f"iifname @uplinked fib saddr oif {LABS} fib saddr . iif oif missing drop"
    for version in (4, 6):
        ip = IP[version]
        yield (
            f"{ip} daddr . meta l4proto . th dport @served{version} iif != lo iifname . {ip} "
            f"daddr != @servers{version} drop"
        )
    yield f"iif {OTHERS} meta l4proto tcp ct state invalid jump unplaced"


def _unplaced(translating: bool) -> Iterator[str]:
    """What the connection tracking can't place may be a node's; the machine, which knows nothing of
    it, would end that connection (a reset). What one of its own sockets waits for is its own."""
    if translating:
        yield "socket transparent { 0, 1 } accept"
        yield "drop"


def _errors() -> Iterator[str]:
    """Of flows that have an end in the network from which the message comes."""
    for end in ("reply", "original"):
        for version in (4, 6):
            yield f"iifname . ct {end} {IP[version]} saddr @inside{version} accept"
    yield "drop"


def _forward(alone: frozenset[int]) -> Iterator[str]:
    """Most packets belong to a flow that was let out or in by a translation: they come first."""
    yield "iifname @shut oifname != @shut drop"
    yield "oifname @shut iifname != @shut drop"
    yield "tcp flags syn / fin,syn,rst jump clamp"
    yield "iifname @uplinked jump leaving"
    yield "ct state established ct status snat,dnat jump translated"
    yield "iifname @ours jump leaving"
    yield "oifname @ours jump coming"
    for version in sorted(alone):
        yield f"iif {OTHERS} oif {OTHERS} meta nfproto ipv{version} jump others{version}"


def _translated() -> Iterator[str]:
    """With the outside: both addresses are those of the flow, and tell that it is the one that was
    let through. Two nodes have such flows as well; nobody outside has an address of theirs."""
    yield f"iif {LABS} oif {OTHERS} accept"
    for version in (4, 6):
        yield f"iif {OTHERS} {IP[version]} saddr != @home{version} accept"


def _leaving() -> Iterator[str]:
    """From a network of this lab."""
    # Two sets and no map: a table's replacement makes a map empty at once for packets that are on
    # their way through it (nft_map_deactivate in the kernel), and what is not found here ends.
    yield "iifname . oifname @within accept"
    yield "iifname . oifname @strangers jump peers"
    yield "ct state invalid,untracked drop"
    yield "iifname @shut drop"
    yield "ct state related jump about"
    for version in (4, 6):
        yield f"iifname @uplinked iifname . {IP[version]} saddr != @inside{version} drop"
    yield "ct direction original jump opening"
    yield "ct status dnat accept"
    yield "oifname . iifname @reach accept"
    for version in (4, 6):
        yield f"oif {OTHERS} meta nfproto ipv{version} iifname @inward{version} accept"
    yield "drop"


def _opening() -> Iterator[str]:
    """What a node of this lab opens."""
    yield "iifname . oifname @reach accept"
    yield f"oif {LABS} ct status dnat accept"
    yield f"oif {LABS} drop"
    # The first packet of a flow is translated further on; one that is not the first is so already,
    # or never will be.
    yield "iifname @natted ct status snat accept"
    yield "iifname @natted ct status confirmed drop"
    for version in (4, 6):
        yield f"meta nfproto ipv{version} iifname @bare{version} ct label set {OUTSIDE} accept"
        yield f"meta nfproto ipv{version} iifname @outward{version} accept"
    yield "drop"


def _coming() -> Iterator[str]:
    """From elsewhere to a network of this lab."""
    yield f"ct state new iif {OTHERS} fib saddr oif {LABS} fib saddr . iif oif missing drop"
    for version in (4, 6):
        yield f"ct state new ct status dnat {IP[version]} saddr != @home{version} accept"
    yield "ct state invalid,untracked drop"
    yield f"iif {OTHERS} jump claiming"
    yield "ct state related jump about"
    yield "ct direction original jump calling"
    yield f"iif {LABS} ct status dnat accept"
    yield f"iif {LABS} drop"
    yield "oifname @natted ct status snat accept"
    for version in (4, 6):
        yield f"meta nfproto ipv{version} oifname @bare{version} ct label {OUTSIDE} accept"
        yield f"meta nfproto ipv{version} oifname @inward{version} accept"
    yield "drop"


def _calling() -> Iterator[str]:
    """What somebody opens to a node of this lab."""
    yield "ct status dnat accept"
    yield f"iif {LABS} drop"
    for version in (4, 6):
        yield f"meta nfproto ipv{version} oifname @inward{version} accept"
    yield "drop"


def _about(one: str, other: str) -> Iterator[str]:
    """An error message has addresses of its own. It may go between the networks at the two ends of
    the flow that it is about, and between no others: ``one`` end is where it comes from, the
    ``other`` where it goes."""
    for version in (4, 6):
        ends = (
            ("iif", f"ct {one} {IP[version]} saddr"),
            ("oif", f"ct {other} {IP[version]} saddr"),
        )
        for side, end in ends:
            yield f"{side}name @ours {side}name . {end} != @inside{version} drop"
            yield f"{side} {OTHERS} {end} @home{version} drop"


def _others(version: int) -> Iterator[str]:
    """What bridges pass on within themselves comes by here where br_netfilter is on, and is not
    forwarding. There is no way to ask whether two interfaces are one but this: the pair of an
    interface and itself is put into a set, and the pair looked for there."""
    yield "add @same { iif . iif }"
    yield "iif . oif @same accept"
    # IPv6 asks the machine as a whole, and IPv4 the interface by which a packet comes
    # (IN_DEV_FORWARD)
    if version == 4:
        yield "iifname @routers accept"
    yield "drop"
