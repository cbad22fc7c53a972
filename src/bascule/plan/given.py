"""What the facts of a lab, and those in a node, depend on besides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bascule.kernel.upstream import Upstream
from bascule.plan.names import Etc
from bascule.topology.model import Network
from bascule.wire.netfilter import BaseChain


@dataclass(frozen=True, slots=True)
class Machine:
    """What the facts of a lab depend on beside the lab. ``own_forwarding``: the IP versions that
    the machine passes on by itself, not because a lab has turned it on; ``routers``: interfaces
    that do so where it does not. ``rules``: it can have some. ``chains``: other programs' chains on
    the FORWARD hook whose policy is to drop. ``bridged``: frames within a bridge pass that hook,
    too. ``ipv6``: the kernel knows IPv6. ``dnsmasq`` is installed. ``resolvers``: the machine's
    name servers that a node could reach; ``upstream``: whom the lab's own ask. ``private``: it is a
    private world, for which there is a way out (``pasta``). ``alone``: there is one user id only.
    ``least_mtu``: of the interfaces of its own, 0 where there are none. ``etc``: what is there of
    nodes' files. ``settable``: settings of the kernel can be changed. ``firewalld`` runs; bridges
    that others have ``placed`` in a zone of its."""

    rules: bool = True
    chains: tuple[BaseChain, ...] = ()
    bridged: bool = False
    ipv6: bool = True
    dnsmasq: bool = False
    resolvers: tuple[str, ...] = ()
    upstream: Upstream = field(default_factory=Upstream)
    private: bool = False
    pasta: bool = False
    alone: bool = False
    least_mtu: int = 0
    own_forwarding: frozenset[int] = frozenset()
    routers: tuple[str, ...] = ()
    etc: Etc = field(default_factory=Etc)
    settable: bool = True
    firewalld: bool = False
    placed: frozenset[str] = frozenset()


class OfNetwork(NamedTuple):
    """All that the facts in a node depend on of a network that it is on."""

    network: Network
    is_apart: bool  # neighbours reach each other by published ports alone
