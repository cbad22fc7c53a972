"""What there is: labs, and one lab as the kernel has it now. Read only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from bascule import identity
from bascule.engine import known, others, worlds
from bascule.engine.judge import Judge
from bascule.engine.prepare import stored_topology
from bascule.engine.scope import scope_of
from bascule.engine.views import (
    HopView,
    InterfaceView,
    LabInfo,
    LabView,
    NetworkView,
    NodeView,
    PortView,
    RouteView,
    State,
)
from bascule.errors import NotFound, StateError, translated
from bascule.host import namespaces, users
from bascule.host.observe import observe
from bascule.host.seen import Observation
from bascule.host.world import World
from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import only
from bascule.kernel.link import LOOPBACK
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD
from bascule.kernel.route import Hop, Route
from bascule.kernel.veth import End, Veth
from bascule.names import shown
from bascule.plan.desired import desired
from bascule.state import folder, lock, store
from bascule.state.record import Record, Stored
from bascule.topology.dump import to_data
from bascule.topology.model import Assigned, Network, Node, Port
from bascule.topology.outline import Outline
from bascule.topology.ports import port_text

_TRIES = 3
F = TypeVar("F")
K = TypeVar("K")


@translated
def labs(judge: Judge | None = None) -> list[LabInfo]:
    """All labs of this user, by their records; with a ``judge``, by what the kernel has of those
    that are up.

    >>> with bascule.Lab.from_data({"nodes": {"a": {}}}, name="demo", world="private"):
    ...     [(lab.name, lab.state, lab.nodes) for lab in bascule.labs()]
    [('demo', 'up', 1)]
    """
    found, user = [], me()
    here = identity.netns()
    for name in folder.labs():
        try:
            info = _recorded(name, here, judge, user)
        except StateError as error:
            info = LabInfo(name, "damaged", "", 0, 0, "", problem=str(error), user=user)
        found += [info] if info is not None else []
    for record in known.unrecorded():
        state, _problem = _state(Stored(record, None), here, judge)
        problem = f"its record has gone from {folder.root()}; `bascule up` writes it anew"
        found.append(told(record, state, problem, user))
    return sorted(found, key=lambda info: info.name)


def _recorded(name: str, here: identity.Netns, judge: Judge | None, user: str) -> LabInfo | None:
    """A lab that has a record; None where it has none any more. What is amiss is believed if no
    command has changed the lab meanwhile. Raises :class:`StateError`."""
    for _try in range(_TRIES):
        stored = store.load(name)
        if stored.newest is None:
            return None
        info = told(stored.newest, *_state(stored, here, judge), user)
        if judge is None or info.state == "up" or store.load(name) == stored:
            break
    return info


def me() -> str:
    """The name of the calling user."""
    return users.user(os.geteuid()).name


def foreign(judge: Judge | None = None) -> list[tuple[LabInfo, str]]:
    """The labs of this user that run and are of another state directory, with that."""
    here, user = identity.netns(), me()
    return [
        (told(record, *_state(Stored(record, None), here, judge), user), directory)
        for record, directory in known.foreign()
    ]


def _state(stored: Stored, here: identity.Netns, judge: Judge | None) -> tuple[State, str]:
    """State and problem of a lab that has a record."""
    record = stored.newest
    assert record is not None  # noqa: S101 (the caller has looked)
    if not worlds.has_world(record):
        return "lost", "its world has ended; `bascule up` builds it anew"
    if not worlds.is_here(record, here):
        return "elsewhere", f"in {record.host or (record.keeper and record.keeper.numbering)}"
    if stored.journal:
        return "unfinished", _UNFINISHED[lock.is_held(record.name)]
    return judge.of(record) if judge is not None else ("up", "")


_UNFINISHED = {
    True: "a command works on it now",
    False: "a run did not come to its end; `bascule up` finishes it, `bascule down` takes it away",
}


def told(record: Record, state: State, problem: str, user: str) -> LabInfo:
    """One line of `ls`."""
    outline = Outline(record.topology)
    return LabInfo(
        record.name,
        state,
        worlds.kind_of(record),
        len(outline.nodes),
        len(outline.networks),
        record.source,
        (*outline.nodes, *outline.networks),
        record.keeper.pid if record.keeper and state != "lost" else None,
        problem,
        user,
        outline.labels,
    )


@translated
def running(name: str) -> tuple[Assigned, World, Record]:
    """The topology, the world and the record of a lab that is there. Raises :class:`NotFound`."""
    stored = worlds.without_lost(known.load(name))
    record = stored.newest
    lab = stored_topology(record)
    world = worlds.existing(stored)
    if record is None or lab is None or world is None:
        names = (
            ", ".join(info.name for info in labs() if info.state in ("up", "unfinished")) or "none"
        )
        whose = others.advice(name) or "`bascule up` builds it"
        raise NotFound(f"lab {shown(name)} is not up (running: {names}); {whose}")
    return lab, world, record


@translated
def show(name: str) -> LabView:
    """One lab as the kernel has it. Raises :class:`NotFound` where it is not up."""
    lab, world, record = running(name)
    seen: Observation = world.call(observe, scope_of(desired(lab, texts=False)), world.paths)
    keeper = record.keeper.pid if record.keeper else None
    facts, asked = _Sorted(seen, keeper), to_data(lab)
    return LabView(
        name,
        worlds.kind_of(record),
        record.source,
        keeper,
        dict(lab.labels),
        tuple(_network(each, facts, asked["networks"][each.name]) for each in lab.networks),
        tuple(_node(each, facts, asked["nodes"][each.name]) for each in lab.nodes),
    )


class _Sorted:
    """What was seen, by where it is."""

    def __init__(self, seen: Observation, keeper: int | None) -> None:
        facts = seen.facts
        self.indexes, self.inodes = seen.indexes, seen.inodes
        self.root = f"/proc/{keeper}/root" if keeper else ""
        self.bridges = {fact.name: fact for fact in only(facts, Bridge) if fact.node == WORLD}
        self.nodes = {fact.name: fact for fact in only(facts, Namespace) if fact.alive}
        ends = (pair for veth in only(facts, Veth) for pair in veth.seen_from_nodes())
        self.ends = _grouped(ends, lambda pair: pair[0].node)
        self.routes = _grouped(only(facts, Route), lambda fact: fact.node)
        self.addresses = _grouped(only(facts, Address), lambda fact: (fact.node, fact.device))
        self.ports = _grouped((port for fact in facts for port in fact.ports), lambda port: port[0])
        told = (fact for fact in facts if fact.interface and fact.shown())
        self.more = _grouped(told, lambda fact: (fact.node, fact.interface))

    def addresses_of(self, *place: str) -> tuple[str, ...]:
        """With their prefix lengths."""
        found = self.addresses.get((place[0], place[1]), ())
        return tuple(f"{fact.address}/{fact.prefix}" for fact in found)

    def more_of(self, *place: str) -> tuple[str, ...]:
        """What else is at an interface."""
        return tuple(fact.shown() for fact in self.more.get((place[0], place[1]), ()))


def _grouped(facts: Iterable[F], place: Callable[[F], K]) -> dict[K, list[F]]:
    found: dict[K, list[F]] = {}
    for fact in facts:
        found.setdefault(place(fact), []).append(fact)
    return found


def _network(network: Network, facts: _Sorted, asked: dict[str, Any]) -> NetworkView:
    name = network.name
    bridge = facts.bridges.get(name)
    return NetworkView(
        name,
        exists=bridge is not None,
        up=bool(bridge and bridge.up),
        ifindex=facts.indexes.get((WORLD, name)) if bridge else None,
        mtu=bridge.mtu if bridge else None,
        mac=bridge.mac if bridge else "",
        subnets=tuple(map(str, network.subnets)),
        gateways=tuple(map(str, network.gateways)),
        addresses=facts.addresses_of("", name),
        bridge_ports=tuple(port for _bridge, port in facts.ports.get((WORLD, name), ())),
        labels=dict(network.labels),
        asked=asked,
    )


def _node(node: Node, facts: _Sorted, asked: dict[str, Any]) -> NodeView:
    name = node.name
    namespace = facts.nodes.get(name)
    return NodeView(
        name,
        exists=namespace is not None,
        netns=f"{facts.root}{namespaces.pin_path(name)}" if namespace else "",
        netns_inode=facts.inodes.get(name) if namespace else None,
        netns_cookie=(namespace.cookie or None) if namespace else None,
        interfaces=tuple(_interface(*ends, facts) for ends in facts.ends.get(name, ())),
        routes=tuple(map(_route, facts.routes.get(name, ()))),
        ports=tuple(_port(name, port) for port in node.ports),
        labels=dict(node.labels),
        asked=asked,
        loopback=facts.addresses_of(name, LOOPBACK),
    )


def _route(route: Route) -> RouteView:
    family: Literal[4, 6] = 6 if ":" in route.to else 4
    text = " ".join(route.words())
    hops = route.hops or (Hop(route.via, route.device),)
    nexthops = tuple(HopView(hop.via, hop.device, hop.weight) for hop in hops)
    return RouteView(route.to, route.via, route.device, route.metric, family, text, nexthops)


def _port(node: str, port: Port) -> PortView:
    address = "" if port.host is None else str(port.host)
    ends = (address, port.published, node, port.target)
    return PortView(*ends, port.count, port.protocol, port_text(port))


def _interface(end: End, other: End, facts: _Sorted) -> InterfaceView:
    hops = (
        hop.via
        for route in facts.routes.get(end.node, ())
        if route.to.endswith("/0")
        for hop in (route.hops or (Hop(route.via, route.device),))
        if hop.device == end.name and hop.via
    )
    return InterfaceView(
        name=end.name,
        ifindex=facts.indexes.get(end.place),
        up=end.up and other.up,
        mac=end.mac,
        mtu=end.mtu,
        network=other.bridge,
        host_interface=other.name,
        host_ifindex=facts.indexes.get(other.place),
        addresses=facts.addresses_of(*end.place),
        gateways=tuple(hops),
        egress=facts.more_of(*end.place),
        ingress=facts.more_of(*other.place),
        peer=f"{other.node}:{other.name}" if other.node else "",
    )
