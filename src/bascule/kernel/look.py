"""Where a look goes, and what it finds: the dumps of each namespace, of which nouns make facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from bascule.kernel.fact import Cable, Place
from bascule.kernel.op import WORLD
from bascule.kernel.passage import Passages
from bascule.kernel.program import Instance
from bascule.wire import route as rt
from bascule.wire import rows
from bascule.wire.inet import ADDRESS_BYTES
from bascule.wire.message import Reply


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at: namespaces by name; ``links`` by place and, in each of the lab's namespaces,
    by index (``indexes``, which is empty in a look at a part; ``all_indexes`` are the lab's); the
    ends of pairs (``interfaces``); sysctls and files by key; every file below ``folders``, and in
    ``views``, a folder of folders that stand for /etc; symbolic links of ours that were ``placed``
    in folders of the user's; our own ``table`` of rules; nodes ``adopted`` from a path;
    ``uplinks``, interfaces of the machine; ``processes`` that serve the lab; ``forwarding`` of
    these nodes and IP versions, and what goes with it unless it is as it should be (``settled``).
    With ``inside`` False the nodes are only counted, not looked into: enough for taking them away.
    Not told are the addresses and routes of an IP version that a node gives an interface itself
    (``autoconf``). ``six`` are the interfaces of each node that are to have IPv6 addresses;
    ``cables`` its veth pairs. A node is looked into in any case where the other end of one is not
    in the world. ``flows`` gives what flows ought to look like; it is asked only where there are
    any."""

    nodes: tuple[str, ...] = ()
    links: frozenset[Place] = frozenset()
    interfaces: frozenset[Place] = frozenset()
    sysctls: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    inside: bool = True
    indexes: range = range(0)
    all_indexes: range = range(0)
    folders: tuple[str, ...] = ()
    views: str = ""
    placed: tuple[str, ...] = ()
    table: str = ""
    adopted: tuple[tuple[str, str], ...] = ()
    uplinks: frozenset[str] = frozenset()
    processes: tuple[Instance, ...] = ()
    autoconf: frozenset[tuple[str, str, int]] = frozenset()
    six: dict[str, set[str]] = field(default_factory=dict)
    cables: dict[str, set[Cable]] = field(default_factory=dict)
    forwarding: frozenset[tuple[str, int]] = frozenset()
    settled: frozenset[tuple[str, int, bool]] = frozenset()
    flows: Callable[[], Passages] | None = None


@dataclass(slots=True)
class Space:
    """What one namespace has. ``tables`` are those for routes that rules lead to, None for all."""

    links: dict[int, rows.Link] = field(default_factory=dict)
    addresses: list[rows.Address] = field(default_factory=list)
    routes: list[Reply] = field(default_factory=list)
    tables: set[int] | None = None
    dumps: dict[int, list[Reply]] = field(default_factory=dict)  # what nouns ask for besides


def main_routes(inside: Space) -> Iterator[rows.Route]:
    """Unicast routes of the main table. Other families (MPLS, Phonet) have such routes too."""
    for reply in inside.routes:
        head = rows.route_head(reply)
        main = head.kind == rt.RTN_UNICAST and head.table == rt.RT_TABLE_MAIN
        if main and head.family in ADDRESS_BYTES:
            yield rows.decode_route(reply, head)


@dataclass(frozen=True, slots=True)
class Look:
    """A whole look: the ``scope``, the ``world``, the ``nodes`` that were looked into, and those
    that were only ``glimpsed`` at as a cable of theirs was not where it should be; the interfaces
    that are the lab's by namespace (``own``), and the routes of the main table (``routes``)."""

    scope: Scope
    world: Space
    nodes: Mapping[str, Space]
    glimpsed: Mapping[str, Space]
    own: Mapping[str, frozenset[int]]
    routes: Mapping[str, list[rows.Route]]

    @property
    def spaces(self) -> Iterator[tuple[str, Space]]:
        """The world, and the nodes that were looked into."""
        yield WORLD, self.world
        yield from self.nodes.items()

    def named(self) -> Iterator[tuple[str, rows.Link]]:
        """The links that the lab's facts are told by, with their namespace."""
        for node, space in self.spaces:
            for link in space.links.values():
                if (node, link.name) in self.scope.links:
                    yield node, link

    def master_of(self, node: str, link: rows.Link) -> str:
        """What a link is a port of."""
        space = self.nodes[node] if node else self.world
        master = space.links.get(link.master)
        return master.name if master is not None else ""


def look_of(
    scope: Scope, world: Space, nodes: Mapping[str, Space], glimpsed: Mapping[str, Space]
) -> Look:
    """The look that has found these."""
    spaces = {WORLD: world, **nodes}
    by_index = {
        (node, link.name)
        for node, space in spaces.items()
        for index, link in space.links.items()
        if index in scope.indexes and (node, link.name) not in scope.interfaces
    }
    scope = replace(scope, links=scope.links | by_index)
    mine = scope.links | scope.interfaces
    ends = {
        link.ifindex
        for link in world.links.values()
        if link.kind == "veth" and (WORLD, link.name) in scope.links
    }
    own = {
        node: frozenset(
            link.ifindex
            for link in space.links.values()
            if (node, link.name) in mine or (node and link.kind == "veth" and link.peer in ends)
        )
        for node, space in spaces.items()
    }
    routes = {name: list(main_routes(space)) for name, space in spaces.items()}
    return Look(scope, world, nodes, glimpsed, own, routes)
