"""Internet addresses on interfaces (ip-address(8); RTM_NEWADDR in rtnetlink(7),
linux/if_addr.h)."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_interface
from typing import ClassVar

from bascule.kernel.fact import Beside, Fact, Op, Sought
from bascule.kernel.link import LOOPBACK, LOOPBACK_INDEX
from bascule.kernel.look import Look
from bascule.kernel.noun import Noun
from bascule.kernel.op import WORLD, Effect, Indexes, Key, Netlink, ip
from bascule.kernel.told import Kind
from bascule.wire import route as rt
from bascule.wire.inet import ADDRESS_BYTES, AF_INET6, family_of, pack_address
from bascule.wire.message import CREATE, EXCL, Request


@dataclass(frozen=True, slots=True)
class Address(Fact):
    """``address``/``prefix`` is on ``device`` in ``node``. IPv6 ones go without duplicate address
    detection: the plan hands out each address once, and a second of waiting for every node buys
    nothing (RFC 4862 section 5.4). ``routed`` is False where somebody has taken away the route to
    its prefix, which the kernel made with the address and makes with nothing else."""

    noun: ClassVar[Kind] = "address"
    section: ClassVar[tuple[int, int]] = (0, 0)
    order: ClassVar[int] = 3
    disturbs: ClassVar[str] = "~-"
    moves: ClassVar[bool] = True
    carries_flows: ClassVar[bool] = True

    node: str
    device: str
    address: str
    prefix: int
    routed: bool = True

    @property
    def key(self) -> Key:
        return ("address", self.node, self.device, self.address)

    @property
    def within(self) -> tuple[Key, ...]:
        if self.device == LOOPBACK:
            return (("namespace", self.node),)
        return (("link", self.node, self.device),)

    @property
    def interface(self) -> str:
        return self.device

    def sought(self, scope: Sought) -> None:
        if ":" in self.address:
            scope.six.setdefault(self.node, set()).add(self.device)

    def comparable(self) -> Fact:
        return replace(self, routed=True)  # the kernel makes an address's route anew

    def describe(self) -> str:
        place = f" in {self.node}" if self.node else ""
        return f"address {self.address}/{self.prefix} on {self.device}{place}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeAddress(self, self._index(indexes), add=True),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (ChangeAddress(self, self._index(indexes), add=False),)

    def _index(self, indexes: Indexes) -> int:
        return LOOPBACK_INDEX if self.device == LOOPBACK else indexes.of(self.node, self.device)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return None  # the kernel can't change a prefix length in place

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, Address) or old.prefix == self.prefix:
            return ("the route to its prefix is missing",)
        return (f"prefix length is {old.prefix}, should be {self.prefix}",)

    def by_hand(self, lab: Beside) -> Iterator[str]:
        prefix = f"ip netns exec {shlex.quote(self.node)} " if self.node else ""
        nodad = " nodad" if ":" in self.address else ""
        device = shlex.quote(self.device)
        yield f"{prefix}ip a add {self.address}/{self.prefix} dev {device}{nodad}"


@dataclass(frozen=True, slots=True)
class ChangeAddress(Op):
    """``ip address add`` or, with ``add`` False, ``ip address del``."""

    address: Address
    index: int
    add: bool

    @property
    def node(self) -> str:
        return self.address.node

    def effect(self) -> Effect:
        a = self.address
        family = family_of(a.address)
        packed = pack_address(a.address)
        flags = rt.IFA_F_NODAD if family == AF_INET6 and self.add else 0
        body = rt.IFADDR.pack(family, a.prefix, flags, 0, self.index) + rt.ADDRESS.encode(
            {"local": packed, "address": packed}
        )
        request = (
            Request(rt.NEWADDR, CREATE | EXCL, body) if self.add else Request(rt.DELADDR, 0, body)
        )
        gone = () if self.add else (errno.ENODEV, errno.EADDRNOTAVAIL)
        return Netlink(a.node, request, gone=gone)

    def shell(self) -> tuple[str, ...]:
        a = self.address
        nodad = ("nodad",) if self.add and ":" in a.address else ()
        return (
            ip(
                a.node,
                "address",
                "add" if self.add else "del",
                f"{a.address}/{a.prefix}",
                "dev",
                a.device,
                *nodad,
            ),
        )

    def undo(self) -> Op | None:
        return ChangeAddress(self.address, self.index, not self.add)


def _read(look: Look) -> Iterator[Fact]:
    """Those that somebody gave, not those that the kernel makes (link-local) or learns
    (dynamic)."""
    adopted = dict(look.scope.adopted)
    for node, space in look.spaces:
        ours = look.own[node]
        connected = {
            (each.oif, each.to) for each in look.routes[node] if each.protocol == rt.RTPROT_KERNEL
        }
        for found in space.addresses:
            # lo is a node's own, unless the namespace is another program's
            own_lo = found.ifindex == LOOPBACK_INDEX and node != WORLD and node not in adopted
            known = (found.ifindex in ours or own_lo) and found.family in ADDRESS_BYTES
            if not known or not found.permanent or found.is_link_local:
                continue
            if own_lo and ip_address(found.text).is_loopback:
                continue
            address, prefix, link = found.text, found.prefix, space.links[found.ifindex]
            version = 6 if found.family == AF_INET6 else 4
            if (node, link.name, version) in look.scope.autoconf:
                continue
            # The kernel takes the routes of a link that is down, and brings them back with it. One
            # address alone has none but the local one.
            alone = prefix == 8 * ADDRESS_BYTES[found.family]
            place = link.ifindex, _network_of(address, prefix)
            routed = not link.up or alone or place in connected
            yield Address(node, link.name, address, prefix, routed)


@lru_cache(1024)
def _network_of(address: str, prefix: int) -> str:
    return str(ip_interface(f"{address}/{prefix}").network)


NOUN = Noun("address", _read, groups=(5, 9))  # RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
