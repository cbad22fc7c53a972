"""Topology → how pasta is to be started for a private world."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.kernel.process import Process
from bascule.kernel.program import WAY_OUT
from bascule.kernel.upstream import NAMES
from bascule.topology.model import Assigned, Port
from bascule.topology.ports import bound_to, families

# The machine's own 127.0.0.1 is not the world's gateway, and nothing that the world listens on but
# what is published goes out.
_ALWAYS = ("--config-net", "--quiet", "--no-map-gw")
_OPTIONS = {"tcp": "-t", "udp": "-u"}
WITHOUT_PORTS = (*_ALWAYS, "-T", "none", "-U", "none", "-t", "none", "-u", "none")


def wants_uplink(lab: Assigned) -> bool:
    """Whether there is a use for a way out."""
    return any(network.nat for network in lab.networks) or any(node.ports for node in lab.nodes)


def world_uplink(lab: Assigned, door: int = 0) -> Iterator[Process]:
    """One for the lab, where there is a use for it. ``door``: this port of its loopback leads to
    the name server on the machine's; 0: none does."""
    if wants_uplink(lab):
        inward = {0: "none", NAMES: str(NAMES)}.get(door, f"{door}:{NAMES}")
        ports = sorted(
            {option for node in lab.nodes for port in node.ports for option in _of_port(port)}
        )
        without = [
            (option, "none")
            for option in _OPTIONS.values()
            if all(found != option for found, _text in ports)
        ]
        yield Process(
            WAY_OUT,
            (
                *_ALWAYS,
                "-T",
                inward,
                "-U",
                inward,
                *(word for pair in (*ports, *without) for word in pair),
            ),
        )


def _of_port(port: Port) -> Iterator[tuple[str, str]]:
    option = _OPTIONS.get(port.protocol)
    if option is None:
        return
    last = port.published + port.count - 1
    span = str(port.published) if port.count == 1 else f"{port.published}-{last}"
    address = bound_to(port)
    if address is not None:
        yield option, f"{address}/{span}"
    elif families(port) == (4, 6):
        yield option, span
    else:
        yield option, f"{port.host}/{span}"
