"""What a look finds besides facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bascule.kernel.fact import Fact
from bascule.kernel.file import UsersFolder
from bascule.kernel.flow import Unfit
from bascule.kernel.upstream import Upstream
from bascule.kernel.zone import TRUSTED
from bascule.wire import netfilter, rows


@dataclass(slots=True)
class Observation:
    """Facts, and what a plan has to know besides: indexes in use, the inodes of nodes' namespaces
    (namespaces(7)), prefixes that the world routes,
    chains on the way of what is forwarded, and those that drop what comes in, filter tables of
    iptables, what ``firewalld`` says where its rules are here; the IP versions whose packets the
    world passes on, all of its addresses, and
    the smallest MTU of its own interfaces; what is at the paths of nodes to adopt (``sources``),
    and the settings of others ``before`` they are adopted, and the interfaces in them that have an
    index of the lab's and no other end in the world (``strangers``); whether a program may become
    another user there, or is ``alone``; ``modes`` of the lab's files and folders that are wrong,
    each with the right one; ``strays``, which the user has put among them; nodes with a folder of
    the user's in /etc/netns (``users``), and whether links can be made there; the machine's name
    servers that nodes can ask, those that hear only the machine itself, and whom the lab's own ask
    (``upstream``); whether settings of the kernel can be changed, and whether dnsmasq is
    ``confined`` to where we don't write; whether settings of IPv6 are to be seen (``ipv6``),
    whether the kernel knows it at all, and by which setting an interface (node, name) has none all
    the same (``without_ipv6``); flows that do not fit (``unfit``), and why this kernel does not
    tell of them, if so."""

    facts: list[Fact] = field(default_factory=list)
    indexes: dict[tuple[str, str], int] = field(default_factory=dict)
    inodes: dict[str, int] = field(default_factory=dict)
    prefixes: list[str] = field(default_factory=list)
    forward_chains: list[netfilter.BaseChain] = field(default_factory=list)
    input_chains: list[Shut] = field(default_factory=list)
    old_firewalls: tuple[OldFirewall, ...] = ()
    firewalld: Firewalld | None = None
    bridge_nf: bool = False
    bridge_nf6: bool = False
    least_mtu: int = 0
    forwarding: frozenset[int] = frozenset()
    addresses: set[str] = field(default_factory=set)
    others: dict[str, Foreign] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    before: dict[tuple[str, str], str] = field(default_factory=dict)
    strangers: dict[str, list[rows.Link]] = field(default_factory=dict)
    ipv6: bool = True
    knows_ipv6: bool = True
    without_ipv6: dict[tuple[str, str], str] = field(default_factory=dict)
    dnsmasq: bool = False
    confined: bool = False
    resolvers: tuple[str, ...] = ()
    deaf_resolvers: tuple[str, ...] = ()
    upstream: Upstream = field(default_factory=Upstream)
    private: bool = False
    alone: bool = False
    without_uplink: str = ""
    modes: dict[str, tuple[int, int]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    users: dict[str, UsersFolder] = field(default_factory=dict)
    etc_writable: bool = True
    settable: bool = True
    unfit: tuple[Unfit, ...] = ()
    without_flows: str = ""


class OldFirewall(NamedTuple):
    """A filter table of iptables, for one IP version: its program, the chains that drop what no
    rule of theirs knows, and the rules that all packets pass in FORWARD and INPUT, as `iptables -S`
    would print those of the chain itself; nothing of it where the program has not ``looked``.
    ``ufw``: they are that program's."""

    version: int
    program: str
    dropping: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    looked: bool = False
    ufw: bool = False


class Shut(NamedTuple):
    """A chain that lets nothing in that it does not know, with the rules in it, as nft prints
    them."""

    chain: netfilter.BaseChain
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Firewalld:
    """What firewalld, whose rules are here, says of its zones: interfaces that are in one, each
    with it, and those for which its files say so (``kept``). ``silent``: why it does not answer, if
    so."""

    zones: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    silent: str = ""

    @property
    def placed(self) -> frozenset[str]:
        """Interfaces that somebody else has put where they are."""
        return frozenset(
            name for name, zone in self.zones.items() if zone != TRUSTED or name in self.kept
        )


@dataclass(frozen=True, slots=True)
class Foreign:
    """An interface of the machine that is to be a bridge port: whether it is up, its present
    bridge, whether it has addresses of its own, its MTU, and the first route by which the machine's
    way out goes through it (``way_out``); why it can't be one, if so (``unfit``)."""

    up: bool
    master: str
    addressed: bool
    mtu: int
    way_out: str
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What is at the ``path`` of a node to adopt: the ``place`` (device, inode) of a network
    namespace, or nothing; the user namespaces that it belongs to, the innermost first (``users``),
    its names in /run/netns (``pins``), and whether it plays the host."""

    path: str
    place: tuple[int, int] | None = None
    users: tuple[tuple[int, int], ...] = ()
    pins: tuple[str, ...] = ()
    is_host: bool = False
