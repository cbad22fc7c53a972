"""The plan in the spelling and the order of people who do it by hand: ``ip netns add``, ``brctl
addbr``, one step a line.

Each attachment in five steps (pair, bridge port, up, into the namespace, up there), its address,
and at the end the routes. What bascule does besides (lo, fixed MACs, host names) bears a comment.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import Fact
from bascule.kernel.link import Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.route import Route
from bascule.kernel.sysctl import SetSysctl
from bascule.kernel.veth import Veth
from bascule.topology.model import DEFAULT_MTU

BESIDES = "# bascule:"


def classic(lab: str, facts: Sequence[Fact]) -> str:
    """The whole script for an empty machine, from the facts of a lab."""
    lines = ["#!/usr/bin/env bash", f"# Lab {lab}, step by step. Run it as root.", "set -e", ""]
    sections = (
        ("1. the network namespaces", _namespaces(facts)),
        ("2. the bridges", _bridges(facts)),
        ("3. a veth pair for each attachment", _veths(facts)),
        ("4. the routes", _routes(facts)),
        ("5. settings and names", _rest(facts)),
    )
    for title, section in sections:
        found = list(section)
        if found:
            lines += [f"# {title}", *found, ""]
    return "\n".join(lines)


def teardown(lab: str, facts: Sequence[Fact]) -> str:
    """The way back, in the same spelling."""
    lines = ["#!/usr/bin/env bash", f"# Lab {lab}: the way back. Run it as root.", "set -e"]
    lines += [f"ip netns del {_q(fact.name)}" for fact in facts if isinstance(fact, Namespace)]
    for fact in facts:
        if isinstance(fact, Bridge):
            lines += [f"ip link set dev {_q(fact.name)} down", f"brctl delbr {_q(fact.name)}"]
    special = (Namespace, Bridge, Veth, Loopback, Address, Route)
    for fact in reversed(facts):
        if not isinstance(fact, special) and not fact.within:
            lines += [line for op in fact.remove(Indexes()) for line in op.shell()]
    return "\n".join(lines) + "\n"


def _namespaces(facts: Sequence[Fact]) -> Iterable[str]:
    spaces = [fact for fact in facts if isinstance(fact, Namespace)]
    for fact in spaces:
        made, *settings = (line for op in fact.create(Indexes()) for line in op.shell())
        yield made
        yield from (f"{line}  {BESIDES} nobody tells it another way" for line in settings)
    up = {fact.node for fact in facts if isinstance(fact, Loopback)}
    names = [_q(fact.name) for fact in spaces if fact.name in up]
    yield from (
        f"ip netns exec {name} ip link set lo up  {BESIDES} a node reaches its own addresses"
        for name in names
    )


def _bridges(facts: Sequence[Fact]) -> Iterable[str]:
    for fact in facts:
        if isinstance(fact, Bridge):
            name = _q(fact.name)
            yield f"brctl addbr {name}"
            yield from _settings(fact, WORLD)
            yield f"ip link set dev {name} address {fact.mac}  {BESIDES} a MAC that stays"
            if fact.mtu != DEFAULT_MTU:
                yield f"ip link set dev {name} mtu {fact.mtu}"
            yield from (
                _address(other)
                for other in facts
                if isinstance(other, Address) and _on(other, "", fact.name)
            )
            yield f"ip link set dev {name} up"


_WHY = {
    ("accept_ra", "0"): "nobody announces himself as its router",
    (
        "accept_ra",
        "2",
    ): "its router is the one that announces itself, also where it passes packets on",
    ("accept_redirects", "0"): "nobody tells it another way",
    ("accept_dad", "0"): "no waiting for IPv6: each address is given once",
}


def _settings(fact: Bridge | Veth, node: str) -> Iterable[str]:
    """What a link is made with."""
    for key, value in fact.settings:
        why = next(
            text for (word, meant), text in _WHY.items() if key.endswith(word) and value == meant
        )
        yield from (f"{line}  {BESIDES} {why}" for line in SetSysctl(node, key, value, "").shell())


def _veths(facts: Sequence[Fact]) -> Iterable[str]:
    for fact in facts:
        if isinstance(fact, Veth):
            host, peer, node = _q(fact.name), _q(fact.peer), _q(fact.node)
            yield f"ip link add {host} type veth peer name {peer}"
            yield f"ip link set dev {host} address {fact.mac}  {BESIDES} a MAC that stays"
            yield f"ip link set dev {peer} address {fact.peer_mac}  {BESIDES} a MAC that stays"
            if fact.mtu != DEFAULT_MTU:
                yield from (f"ip link set dev {name} mtu {fact.mtu}" for name in (host, peer))
            if fact.bridge:
                yield f"brctl addif {_q(fact.bridge)} {host}"
            yield f"ip link set {host} up"
            yield f"ip link set {peer} netns {node}"
            yield from _settings(fact, fact.node)
            yield f"ip netns exec {node} ip link set {peer} up"
            yield from (
                _address(other)
                for other in facts
                if isinstance(other, Address) and _on(other, fact.node, fact.peer)
            )


def _on(address: Address, node: str, device: str) -> bool:
    return (address.node, address.device) == (node, device)


def _address(fact: Address) -> str:
    prefix = f"ip netns exec {_q(fact.node)} " if fact.node else ""
    nodad = " nodad" if ":" in fact.address else ""
    return f"{prefix}ip a add {fact.address}/{fact.prefix} dev {_q(fact.device)}{nodad}"


def _routes(facts: Sequence[Fact]) -> Iterable[str]:
    for fact in facts:
        if isinstance(fact, Route):
            words = list(fact.words())
            if fact.via and not _ambiguous(fact, facts):
                # By hand one leaves the device to the kernel, which finds it by the next hop.
                at = words.index("dev")
                del words[at : at + 2]
            six = " -6" if ":" in fact.to else ""
            yield f"ip netns exec {_q(fact.node)} ip{six} route add {shlex.join(words)}"


def _ambiguous(route: Route, facts: Sequence[Fact]) -> bool:
    return sum(isinstance(fact, Veth) and fact.node == route.node for fact in facts) > 1


def _rest(facts: Sequence[Fact]) -> Iterable[str]:
    special = (Namespace, Bridge, Veth, Loopback, Address, Route)
    seen: set[str] = set()
    for fact in facts:
        if isinstance(fact, special):
            continue
        for op in fact.create(Indexes()):
            for line in op.shell():
                if line not in seen:
                    seen.add(line)
                    yield line


def _q(text: str) -> str:
    return shlex.quote(text)
