"""What there is: labs, and one lab as the kernel has it now. Read only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bascule import identity
from bascule.engine import known, worlds
from bascule.engine.prepare import stored_topology
from bascule.engine.scope import scope_of
from bascule.errors import NotFound, StateError, translated
from bascule.host.observe import observe
from bascule.host.seen import Observation
from bascule.host.world import World
from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge, Uplink
from bascule.kernel.fact import Fact
from bascule.kernel.namespace import Namespace
from bascule.kernel.route import Route
from bascule.kernel.veth import Veth
from bascule.names import shown
from bascule.plan.desired import desired
from bascule.state import folder, store
from bascule.state.record import Record
from bascule.topology.dump import to_data
from bascule.topology.model import Assigned, Network, Node
from bascule.topology.ports import port_text


@dataclass(frozen=True, slots=True)
class LabInfo:
    """One line of `ls`. ``state`` is ``up``, ``unfinished`` (a run was killed), ``lost`` (a private
    world has ended), ``elsewhere`` (in another network namespace, or a private world in another PID
    namespace) or ``damaged``."""

    name: str
    state: str
    world: str
    nodes: int
    networks: int
    source: str
    names: tuple[str, ...] = ()
    keeper: int = 0
    problem: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@translated
def labs() -> list[LabInfo]:
    """All labs of this user."""
    found = []
    here = identity.netns()
    for name in folder.labs():
        try:
            stored = store.load(name)
        except StateError as error:
            found.append(LabInfo(name, "damaged", "", 0, 0, "", problem=str(error)))
            continue
        record = stored.newest
        if record is not None:
            state = "unfinished" if stored.journal else "up"
            if not worlds.is_here(record, here):
                state = "elsewhere"
            found.append(_info(record, state if worlds.has_world(record) else "lost"))
    for record in known.unrecorded():
        problem = f"its record has gone from {folder.root()}; `bascule up` writes it anew"
        found.append(
            replace(_info(record, "up" if worlds.has_world(record) else "lost"), problem=problem)
        )
    return sorted(found, key=lambda info: info.name)


def _info(record: Record, state: str) -> LabInfo:
    topology = record.topology or {}
    keeper = record.keeper.pid if record.keeper and state != "lost" else 0
    nodes, networks = topology.get("nodes", {}), topology.get("networks", {})
    names = (*nodes, *networks)
    labels = topology.get("labels", {})
    return LabInfo(
        record.name,
        state,
        record.world,
        len(nodes),
        len(networks),
        record.source,
        names,
        keeper,
        labels=labels,
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
        raise NotFound(f"lab {shown(name)} is not up (running: {names}); `bascule up` builds it")
    return lab, world, record


@translated
def show(name: str) -> dict[str, Any]:
    """One lab as the kernel has it: networks with their ports, nodes with their interfaces and
    routes."""
    lab, world, record = running(name)
    seen: Observation = world.call(observe, scope_of(desired(lab)), world.paths)
    facts = seen.facts
    asked = to_data(lab)
    return {
        "lab": name,
        "world": record.world,
        "source": record.source,
        "keeper": record.keeper.pid if record.keeper else None,
        "labels": dict(lab.labels),
        "networks": [
            _network(network, facts, asked["networks"][network.name]) for network in lab.networks
        ],
        "nodes": [_node(node, facts, asked["nodes"][node.name]) for node in lab.nodes],
    }


def _network(network: Network, facts: list[Fact], asked: dict[str, Any]) -> dict[str, Any]:
    name = network.name
    bridge = next((fact for fact in facts if isinstance(fact, Bridge) and fact.name == name), None)
    return {
        "name": name,
        "exists": bridge is not None,
        "up": bool(bridge and bridge.up),
        "mtu": bridge.mtu if bridge else None,
        "mac": bridge.mac if bridge else None,
        "addresses": _addresses("", name, facts),
        "ports": [
            fact.name for fact in facts if isinstance(fact, (Veth, Uplink)) and fact.bridge == name
        ],
        "labels": dict(network.labels),
        "asked": asked,
    }


def _node(node: Node, facts: list[Fact], asked: dict[str, Any]) -> dict[str, Any]:
    name = node.name
    return {
        "name": name,
        "exists": any(
            isinstance(fact, Namespace) and fact.name == name and fact.alive for fact in facts
        ),
        "interfaces": [
            _interface(fact, facts)
            for fact in facts
            if isinstance(fact, Veth) and fact.node == name
        ],
        "routes": [
            " ".join(fact.words())
            for fact in facts
            if isinstance(fact, Route) and fact.node == name
        ],
        "ports": [port_text(port) for port in node.ports],
        "labels": dict(node.labels),
        "asked": asked,
    }


def _interface(veth: Veth, facts: list[Fact]) -> dict[str, Any]:
    return {
        "name": veth.peer,
        "up": veth.peer_up and veth.up,
        "mac": veth.peer_mac,
        "mtu": veth.peer_mtu or veth.mtu,
        "network": veth.bridge,
        "host_interface": veth.name,
        "addresses": _addresses(veth.node, veth.peer, facts),
    }


def _addresses(node: str, device: str, facts: list[Fact]) -> list[str]:
    mine = (
        fact
        for fact in facts
        if isinstance(fact, Address) and (fact.node, fact.device) == (node, device)
    )
    return [f"{fact.address}/{fact.prefix}" for fact in mine]
