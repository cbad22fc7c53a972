"""What a lab meets on the machine: settings, rules of other programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from bascule import syscalls
from bascule.errors import KernelError
from bascule.host import abilities, chains, firewalld, legacy, namespaces, nft
from bascule.host import tables as lab_tables
from bascule.host.netlink import NETFILTER, UNTOLD, Netlink
from bascule.host.seen import Observation, Shut
from bascule.host.sysctls import read_sysctl
from bascule.kernel.forwarding import (
    ALL,
    DEFAULT,
    OF_ALL,
    OF_DEFAULT,
    OF_EACH,
    SWITCH,
    Forwarding,
    Settings,
    sysctl,
)
from bascule.kernel.look import Scope
from bascule.kernel.op import WORLD
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import table_name
from bascule.wire import netfilter

_RTF_DEFAULT, _RTF_ADDRCONF = 0x10000, 0x40000
_INTERFACE = re.compile(r"(conf|neigh)([./])(?!all[./]|default[./])[^/]+?([./][^./]+)\Z")
_BRIDGE_NF, _BRIDGE_NF6 = (
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)


def settings(seen: Observation, scope: Scope) -> None:
    """Note what the machine is set to, as far as labs depend on it."""
    seen.settable = abilities.can_set()
    seen.forwarding = frozenset(
        version for version, key in SWITCH.items() if setting(key) not in ("", "0")
    )
    seen.bridge_nf, seen.bridge_nf6 = setting(_BRIDGE_NF) == "1", setting(_BRIDGE_NF6) == "1"
    for node, key in scope.sysctls:
        if node == WORLD and (value := setting(key)):
            seen.facts.append(Sysctl(WORLD, key, value))


def passing_on(node: str, scope: Scope, interfaces: Mapping[str, int]) -> Iterator[Forwarding]:
    """Whether packets are passed on in the namespace that the thread is in, with all that it goes
    along with where that may be changed."""
    for place, version in sorted(scope.forwarding):
        if place == node:
            on = setting(SWITCH[version]) not in ("", "0")
            settled = (node, version, on) in scope.settled
            yield Forwarding(
                version, on, node, None if settled else _settings(node, version, interfaces)
            )


def _settings(node: str, version: int, interfaces: Mapping[str, int]) -> Settings:
    names = {
        ALL: OF_ALL[version],
        DEFAULT: OF_DEFAULT[version],
        **dict.fromkeys(interfaces, OF_EACH[version]),
    }
    found = {
        place: {name: setting(sysctl(version, place, name)) for name in rows}
        for place, rows in names.items()
    }
    there = {
        place: {name: value for name, value in rows.items() if value}
        for place, rows in found.items()
    }
    return Settings(version, there, interfaces, _routed() if version == 6 else frozenset(), node)


def _routed() -> frozenset[str]:
    """The interfaces with routes that a router has announced. Netlink does not tell that of each,
    the file does by its flags (RTF_* in linux/ipv6_route.h and linux/route.h)."""
    try:
        with open("/proc/thread-self/net/ipv6_route") as file:
            rows = [line.split() for line in file]
    except OSError:
        return frozenset()
    return frozenset(
        row[9]
        for row in rows
        if len(row) == 10 and int(row[8], 16) & (_RTF_DEFAULT | _RTF_ADDRCONF)
    )


def setting(key: str) -> str:
    """The value, empty where there is no such setting: a module is not loaded, an interface is
    gone."""
    try:
        return read_sysctl(key)
    except OSError:
        return ""


def forwarding(seen: Observation, scope: Scope) -> None:
    """The lab's table, the chains of other programs on the hooks FORWARD and INPUT, and what they
    make of what they do not know."""
    seen.old_firewalls = legacy.look()
    try:
        with Netlink(NETFILTER) as socket:
            tables = [netfilter.table(reply) for reply in socket.dump(netfilter.list_tables())]
            replies = socket.dump(netfilter.list_chains())
    except (OSError, KernelError) as error:
        if error.errno not in UNTOLD:
            raise
        return  # a kernel without nf_tables
    if (own := lab_tables.look(scope.table, tables)) is not None:
        seen.facts.append(own)
    zoned = firewalld.tables(tables, replies)
    if zoned:
        bridges = {name for node, name in scope.links if node == WORLD}
        seen.firewalld = firewalld.look(bridges)
        seen.facts.extend(firewalld.facts(seen.firewalld, bridges))
    found = (netfilter.base_chain(reply) for reply in replies)
    others = [
        chain
        for chain in found
        if chain is not None
        and not chain.table.startswith(table_name(""))
        and (chain.family, chain.table) not in zoned  # a zone says what passes
    ]
    seen.forward_chains = [
        chain if chain.drops else chains.judged(chain) for chain in others if chain.forwards
    ]
    _input(seen, [chains.judged(chain) for chain in others if chain.lets_in])
    for chain in seen.forward_chains:
        if nft.program() is not None:
            rules = nft.forward_rules(chain.family, chain.table, chain.name)
            seen.facts.extend(rule for rule in rules if (WORLD, rule.bridge) in scope.links)


def _input(seen: Observation, found: list[netfilter.BaseChain]) -> None:
    """Chains that drop what comes in. Their rules are spelt by the program that they are of."""
    for chain in (chain for chain in found if chain.drops):
        if legacy.is_new(chain):
            seen.old_firewalls += (legacy.look_at(chain),)
        else:
            seen.input_chains.append(Shut(chain, nft.rules(chain)))


def of_a_new_namespace(keys: Collection[str]) -> dict[str, str]:
    """What these settings are in a network namespace that has just been made; of an interface what
    each begins with."""
    with namespaces.coming_back():
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return {key: setting(_INTERFACE.sub(r"\1\2default\3", key)) for key in keys}


def is_one_user() -> bool:
    """Whether programs here can't become another user: in a user namespace of one id
    (user_namespaces(7)), or without the capabilities that they need for it, and after it."""
    if not abilities.can_change_user():
        return True
    try:
        with open("/proc/self/setgroups") as file:
            return file.read().strip() == "deny"
    except OSError:
        return False
