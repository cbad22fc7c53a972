"""What can be asked of a stored lab without checking all of it: names, and what it takes of the
machine.

A stored lab is a topology in the form of :func:`bascule.topology.dump.to_data`. Whoever works on it
decodes it whole (``from_data`` and ``assign``), which takes longer the more nodes it has; whoever
runs a command in a node, lists labs, or asks what other labs have taken reads its outline,
and pays for no more than what is asked. What is damaged is left out here, and told of where the lab
is decoded whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bascule.names import problem_with_node_name

if TYPE_CHECKING:
    from bascule.topology.model import Port, Prefix

_Nouns = Mapping[str, Mapping[str, Any]]


class Outline:
    """The outline of one stored lab. ``data`` None is that of a lab that is being taken away."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Any] | None) -> None:
        self._data = data or {}

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes' names, in the order of the lab."""
        return tuple(self._nouns("nodes"))

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks' names, in the order of the lab."""
        return tuple(self._nouns("networks"))

    @property
    def labels(self) -> dict[str, str]:
        """The lab's own labels."""
        given = self._data.get("labels")
        return dict(given) if isinstance(given, dict) else {}

    def has_node(self, name: str) -> bool:
        """Whether the lab has a node of this name."""
        return name in self._nouns("nodes")

    def hostname(self, node: str) -> str:
        """What the node's own programs take for the name of their machine."""
        given = (self._nouns("nodes").get(node) or {}).get("hostname")
        good = isinstance(given, str) and problem_with_node_name(given) is None
        return str(given) if good else node

    def links(self) -> Iterator[str]:
        """The names of the links that the lab has in its world: bridges and their ports."""
        yield from self._nouns("networks")
        for _node, _network, interface in self.cables():
            yield interface
        for link in self._data.get("links") or ():
            for end in link.get("ends", ()) if isinstance(link, dict) else ():
                if isinstance(end, dict) and end.get("network") and "interface" in end:
                    yield str(end["interface"])

    def cables(self) -> Iterator[tuple[str, str, str]]:
        """The pairs between nodes and networks: node, network, and the interface in the world that
        is the network's port."""
        for name, node in self._nouns("nodes").items():
            for network, attachment in ((node or {}).get("networks") or {}).items():
                if isinstance(attachment, dict) and "host_interface" in attachment:
                    yield name, str(network), str(attachment["host_interface"])

    def subnets(self) -> Iterator[tuple[str, Prefix]]:
        """Each subnet with its network's name."""
        from ipaddress import ip_network

        for name, network in self._nouns("networks").items():
            for text in _several(network, "subnet"):
                with suppress(ValueError):
                    yield name, ip_network(text)

    def ports(self) -> Iterator[Port]:
        """The ports of the host that lead to nodes."""
        from bascule.topology.ports import port

        for node in self._nouns("nodes").values():
            if node and "ports" in node:
                for text in _several(node, "ports"):
                    with suppress(ValueError):
                        yield port(text)

    def leases(self) -> bool:
        """Whether a server for addresses listens on one of its networks."""
        return any((network or {}).get("dhcp") for network in self._nouns("networks").values())

    def _nouns(self, kind: str) -> _Nouns:
        found: _Nouns = self._data.get(kind) or {}
        return found


def _several(noun: Mapping[str, Any] | None, key: str) -> list[str]:
    """One value or a list of them: both are the lab file's words."""
    given = (noun or {}).get(key, [])
    return [str(text) for text in (given if isinstance(given, list) else [given])]
