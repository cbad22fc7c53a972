"""What `show` prints of a lab: a tree on a terminal, tables in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bascule.api import InterfaceView, LabView, NetworkView, NodeView
from bascule.cli import output
from bascule.names import printable

_BOLD, _GREEN, _RED, _YELLOW = "1", "32", "31", "33"
# before the last child and the others, and before what is below them
_GUIDES = (("├── ", "│   "), ("└── ", "    "))
_PLAIN_GUIDES = (("|-- ", "|   "), ("`-- ", "    "))
_INDENT = 4  # of what does not fit into a line


class Part(NamedTuple):
    """A piece of a line that is not broken, its colour (SGR, ECMA-48), and how many blanks stand
    before it."""

    text: str
    colour: str = ""
    gap: int = 2


class Branch(NamedTuple):
    """A line of a tree, and what hangs on it."""

    parts: Sequence[Part]
    children: Sequence[Branch] = ()


def tables(lab: LabView) -> None:
    """Networks, and interfaces with their nodes."""
    networks = [
        (
            network.name,
            _state(network),
            network.mtu or "",
            ", ".join(network.addresses) or "-",
            " ".join(network.bridge_ports) or "-",
        )
        for network in lab.networks
    ]
    output.table(("NETWORK", "STATE", "MTU", "ADDRESSES", "PORTS"), networks)
    print()
    rows = [row for node in lab.nodes for row in _rows(node)]
    output.table(("NODE", "STATE", "INTERFACE", "ADDRESSES", "MAC", "NETWORK", "ROUTES"), rows)


def _rows(node: NodeView) -> Iterator[tuple[str, ...]]:
    """A row an interface; the node's routes stand in the first."""
    routes = "; ".join(route.text for route in node.routes) or "-"
    if not node.interfaces:
        yield (node.name, "up" if node.exists else "GONE", "-", "-", "-", "-", routes)
    for number, item in enumerate(node.interfaces):
        state = "up" if item.up else "DOWN"
        ways = _ways(item)
        addresses = (", ".join(item.addresses) or "-") + (f"  {ways}" if ways else "")
        network = item.network or item.peer or "-"
        here = routes if number == 0 else ""
        yield (node.name, state, item.name, addresses, item.mac, network, here)


def _ways(item: InterfaceView) -> str:
    """What packets have to pass, out of the node and into it."""
    out, come = ", ".join(item.egress), ", ".join(item.ingress)
    if out == come:
        return out
    return f"out: {out or '-'}, in: {come or '-'}"


def _state(network: NetworkView) -> str:
    return "GONE" if not network.exists else "up" if network.up else "DOWN"


def tree(lab: LabView) -> None:
    """Networks with their interfaces, and nodes with their routes."""
    networks = [
        Branch(
            tuple(_of_network(network)),
            [
                Branch((Part(node.name, _BOLD, 0), *_of_interface(item)))
                for node, item in lab.attached(network.name)
            ],
        )
        for network in lab.networks
    ]
    known = {network.name for network in lab.networks}
    nodes = [Branch(tuple(_of_node(node)), list(_below(node, known))) for node in lab.nodes]
    top = Branch((Part(lab.name, _BOLD, 0), Part(f"({lab.world} world)", "", 1)), networks + nodes)
    width = shutil.get_terminal_size().columns
    encoding = (sys.stdout.encoding or "").lower()
    guides = _GUIDES if encoding.startswith("utf") else _PLAIN_GUIDES
    for line in drawn(top, width, guides):
        print(line)


def _of_network(network: NetworkView) -> Iterator[Part]:
    colour = _GREEN if network.up else _RED
    yield Part(network.name, colour, 0)
    if not network.exists:
        yield Part("GONE", _RED)
        return
    yield from _addresses(network.addresses)
    yield Part(f"mtu {network.mtu}")
    yield Part(_state(network), "" if network.up else _RED)


def _of_interface(item: InterfaceView) -> Iterator[Part]:
    yield Part(
        f"{item.name} ← {item.host_interface}" if not item.peer else f"{item.name} — {item.peer}"
    )
    yield from _addresses(item.addresses)
    if not item.up:
        yield Part("DOWN", _RED)
    if _ways(item):
        yield Part(_ways(item))


def _addresses(addresses: Sequence[str]) -> Iterator[Part]:
    for number, address in enumerate(addresses, 1):
        comma = "," if number < len(addresses) else ""
        yield Part(f"{address}{comma}", "", 2 if number == 1 else 1)
    if not addresses:
        yield Part("no address")


def _of_node(node: NodeView) -> Iterator[Part]:
    yield Part(node.name, _BOLD, 0)
    if not node.exists:
        yield Part("GONE", _RED)


def _below(node: NodeView, networks: set[str]) -> Iterator[Branch]:
    """Interfaces on none of the networks, addresses of its own, and routes."""
    for item in node.interfaces:
        if item.network not in networks:
            first, *more = _of_interface(item)
            lost = () if item.peer else (Part("on no network", _YELLOW),)
            yield Branch((first._replace(gap=0), *more, *lost))
    if node.loopback:
        yield Branch((Part("lo", "", 0), *_addresses(node.loopback)))
    for route in node.routes:
        words = (Part(word, "", 1) for word in route.text.split())
        yield Branch((Part("route", "", 0), *words))


def drawn(top: Branch, width: int, guides: tuple[tuple[str, str], ...] = _GUIDES) -> Iterator[str]:
    """The lines of a tree, none of them wider than that, if its single parts allow it."""
    yield from _wrapped(top.parts, "", "", width)
    yield from _children(top, "", width, guides)


def _children(
    branch: Branch, before: str, width: int, guides: tuple[tuple[str, str], ...]
) -> Iterator[str]:
    for number, child in enumerate(branch.children, 1):
        here, below = guides[number == len(branch.children)]
        under = f"{before}{guides[0][1] if child.children else guides[1][1]}"
        rest = f"{before}{below}{under[len(before) :]}" if child.children else f"{before}{below}"
        yield from _wrapped(child.parts, f"{before}{here}", rest, width)
        yield from _children(child, f"{before}{below}", width, guides)


def _wrapped(parts: Sequence[Part], first: str, rest: str, width: int) -> Iterator[str]:
    """The parts in lines: the first begins with ``first``, what does not fit with ``rest``."""
    line, used, begun = first, len(first), False
    for part in parts:
        if begun and used + part.gap + len(part.text) > width:
            yield line
            line, used, begun = f"{rest:{len(rest) + _INDENT}}"[: width // 2], 0, False
            used = len(line)
        text = output.shortened(printable(part.text), max(width - used - part.gap * begun, 8))
        gap = " " * part.gap if begun else ""
        line += f"{gap}\x1b[{part.colour}m{text}\x1b[0m" if part.colour else f"{gap}{text}"
        used += len(gap) + len(text)
        begun = True
    yield line
