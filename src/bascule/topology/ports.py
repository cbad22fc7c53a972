"""Published ports: text and maps in Compose's words → :class:`Port`, and back. Each parser raises
:class:`Wrong`.

The short form is ``[HOST_ADDRESS:][HOST_PORT[-LAST]:]NODE_PORT[-LAST][/PROTOCOL]``, an IPv6 address
in brackets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from bascule.errors import InputError
from bascule.topology.model import PROTOCOLS, IPAddress, Port, Topology
from bascule.topology.tree import nearest, shown
from bascule.topology.values import Wrong, address

LAST = 65535
_SHORT = re.compile(
    r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]*):)?(?:(?P<outer>[^:]*):)?(?P<inner>[^:/]+)(?:/(?P<protocol>[^/]*))?\Z"
)
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_LONGEST = 120


def port(text: str) -> Port:
    """A published port in its short form."""
    found = _SHORT.match(text) if len(text) <= _LONGEST else None
    if found is None:
        raise Wrong(
            f"'{shown(text)}' is no port; write one like '8080:80', '127.0.0.1:8080:80/udp' or '80'"
        )
    host, outer, inner = found["host"], found["outer"], found["inner"]
    if outer is None:  # one colon: what stands before it is a port
        host, outer = None, host
    return build(inner, outer or "", (host or "").strip("[]"), found["protocol"] or "tcp", text)


def build(target: str, published: str, host: str, protocol: str, text: str) -> Port:
    """A port of its parts; ``text`` is what messages quote."""
    if protocol not in PROTOCOLS:
        raise Wrong(
            f"'{shown(protocol)}' is no "
            f"protocol{nearest(protocol, PROTOCOLS) or f'; write {_either(PROTOCOLS)}'}"
        )
    first, count = _range(target, text)
    outer, outer_count = _range(published, text) if published else (0, count)
    if outer_count != count:
        raise Wrong(
            f"'{shown(text)}': {outer_count} of the host's ports can't lead to {count} of the "
            f"node's; write equal ranges"
        )
    return Port(protocol, first, outer, count, _host(host) if host else None)


def _host(text: str) -> IPAddress:
    """An address that a machine can have and be reached at from elsewhere."""
    found = address(text)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    if mapped is not None:
        raise Wrong(f"'::ffff:{mapped}' is an IPv4 address written as IPv6; write {mapped}")
    if found.is_multicast or found == IPv4Address("255.255.255.255"):
        raise Wrong(
            f"'{shown(text)}' is the address of many machines; publish on one address of this "
            f"machine, or leave it out"
        )
    if found.version == 6 and found.is_link_local:
        raise Wrong(
            f"'{shown(text)}' is link-local: nobody beyond the link could be answered; "
            f"publish on another address"
        )
    return found


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _range(text: str, whole: str) -> tuple[int, int]:
    """First port and how many."""
    found = _RANGE.match(text)
    first = int(found[1]) if found else 0
    last = int(found[2]) if found and found[2] else first
    if not 1 <= first <= last <= LAST:
        raise Wrong(
            f"'{shown(text)}' in '{shown(whole)}' is no port; write a number from 1 to "
            f"{LAST}, or a range like 5000-5010"
        )
    return first, last - first + 1


def port_text(found: Port) -> str:
    """The short form."""
    outer = f"{_span(found.published, found.count)}:" if found.published else ""
    host = (
        ""
        if found.host is None
        else f"[{found.host}]:"
        if found.host.version == 6
        else f"{found.host}:"
    )
    if host and not outer:
        host += ":"  # Docker's form for "some port of this address"
    protocol = "" if found.protocol == "tcp" else f"/{found.protocol}"
    return f"{host}{outer}{_span(found.target, found.count)}{protocol}"


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def families(found: Port) -> tuple[int, ...]:
    """For which IP versions the port is published."""
    return (4, 6) if found.host is None else (found.host.version,)


def bound_to(found: Port) -> IPAddress | None:
    """The one address of the host that the port is published on; None for all of them."""
    return None if found.host is None or found.host.is_unspecified else found.host


def clashes(one: Port, other: Port) -> bool:
    """Whether both want the same port of the same address. All addresses of a family hold each of
    them, as with bind(2)."""
    if one.protocol != other.protocol or not one.published or not other.published:
        return False
    if (
        one.published + one.count <= other.published
        or other.published + other.count <= one.published
    ):
        return False
    first, second = bound_to(one), bound_to(other)
    if first is not None and second is not None:
        return first == second
    return not set(families(one)).isdisjoint(families(other))


class Taken:
    """Ports that are spoken for, with the words for who has them."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int], list[tuple[Port, str]]] = {}

    def add(self, found: Port, owner: str) -> None:
        """Note a port, which has its host's port."""
        for number in range(found.published, found.published + found.count):
            self._rows.setdefault((found.protocol, number), []).append((found, owner))

    def owner_of(self, wanted: Port) -> tuple[int, str] | None:
        """The first port of ``wanted`` that somebody has, and who."""
        for number in (
            range(wanted.published, wanted.published + wanted.count) if wanted.published else ()
        ):
            for found, owner in self._rows.get((wanted.protocol, number), ()):
                if clashes(found, wanted):
                    return number, owner
        return None


FIRST_CHOSEN = 49152  # of the ports that nobody has a claim on: RFC 6335 section 6


def publish(topology: Topology, previous: Topology | None, taken: Sequence[Taken] = ()) -> Topology:
    """The topology with a port of the host for every port of a node: what the running lab has, else
    the next free one. Raises :class:`InputError` where none is left."""
    if all(each.published for node in topology.nodes for each in node.ports):
        return topology
    had = _published_before(previous)
    own = Taken()
    for node in topology.nodes:
        for each in node.ports:
            if each.published:
                own.add(each, node.name)
    nodes = []
    for node in topology.nodes:
        chosen = []
        for asked in node.ports:
            each = asked
            if not each.published:
                each = _chosen(node.name, each, had.get((node.name, each), []), (own, *taken))
                own.add(each, node.name)
            chosen.append(each)
        nodes.append(replace(node, ports=tuple(chosen)))
    return replace(topology, nodes=tuple(nodes))


def _chosen(node: str, wanted: Port, had: list[int], taken: Sequence[Taken]) -> Port:
    for first in (*had, *range(FIRST_CHOSEN, LAST + 2 - wanted.count)):
        found = replace(wanted, published=first)
        if all(each.owner_of(found) is None for each in taken):
            return found
    raise InputError(f"node {node}: no port of the host is left for {port_text(wanted)}")


def _published_before(previous: Topology | None) -> dict[tuple[str, Port], list[int]]:
    """The host's ports of a running lab, by what they are for."""
    found: dict[tuple[str, Port], list[int]] = {}
    for node in previous.nodes if previous else ():
        for each in node.ports:
            found.setdefault((node.name, replace(each, published=0)), []).append(each.published)
    return found
