"""What a lab meets on the machine: settings, rules of other programs, name servers."""

from __future__ import annotations

from ipaddress import ip_address

from bascule.errors import KernelError
from bascule.host import nft
from bascule.host.execute import read_sysctl
from bascule.host.netlink import NETFILTER, Netlink
from bascule.host.seen import Observation, Scope
from bascule.kernel.op import WORLD
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import FAMILIES, Table, comment, table_name
from bascule.wire import netfilter

_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_BRIDGE_NF, _BRIDGE_NF6 = "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"


def settings(seen: Observation, scope: Scope) -> None:
    seen.forwarding = frozenset(version for version, key in _FORWARDING.items() if setting(key) not in ("", "0"))
    seen.bridge_nf, seen.bridge_nf6 = setting(_BRIDGE_NF) == "1", setting(_BRIDGE_NF6) == "1"
    for node, key in scope.sysctls:
        if node == WORLD and (value := setting(key)):
            seen.facts.append(Sysctl(WORLD, key, value))


def setting(key: str) -> str:
    """The value, empty where there is no such setting: a module is not loaded, an interface is gone."""
    try:
        return read_sysctl(key)
    except OSError:
        return ""


def forwarding(seen: Observation, scope: Scope) -> None:
    """The lab's table, and the chains of other programs on the hooks FORWARD and INPUT."""
    try:
        with Netlink(NETFILTER) as socket:
            tables = [netfilter.table(reply) for reply in socket.dump(netfilter.list_tables())]
            chains = [netfilter.base_chain(reply) for reply in socket.dump(netfilter.list_chains())]
    except (OSError, KernelError):
        return  # a kernel without nf_tables
    families = [family for family in FAMILIES if (family, scope.table) in tables]
    if families and nft.program() is not None:
        listing = nft.listing(scope.table, families)
        owned = listing.count(f'comment "{comment(scope.table.removeprefix(table_name("")))}"') == len(families)
        if listing:  # it may go between one look and the next
            seen.facts.append(Table(scope.table, "", listing, owned))
    others = [chain for chain in chains if chain is not None and not chain.table.startswith(table_name(""))]
    seen.forward_chains = [chain for chain in others if chain.forwards]
    seen.input_chains = [chain for chain in others if chain.shuts_in]
    for chain in seen.forward_chains:
        if nft.program() is not None:
            rules = nft.forward_rules(chain.family, chain.table, chain.name)
            seen.facts.extend(rule for rule in rules if rule.bridge in scope.links)


def resolvers() -> tuple[str, ...]:
    """The machine's name servers that do not listen on its loopback only."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            rows = [line.split() for line in file.read(1 << 16).splitlines()]
    except OSError:
        return ()
    given = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    return tuple(text for text in given if _is_reachable(text))


def _is_reachable(text: str) -> bool:
    try:
        return not ip_address(text).is_loopback
    except ValueError:
        return False


def is_one_user() -> bool:
    """Whether programs here can't become another user: in a user namespace of one id (user_namespaces(7))."""
    try:
        with open("/proc/self/setgroups") as file:
            return file.read().strip() == "deny"
    except OSError:
        return False
