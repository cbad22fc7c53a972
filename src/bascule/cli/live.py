"""The imperative twins: Docker's verbs for networks, and nodes, live on a lab that is up or from
nothing."""

from __future__ import annotations

from argparse import Namespace as Arguments
from collections.abc import Callable

from bascule.api import Lab
from bascule.cli import choose, options, output
from bascule.engine import look, run
from bascule.engine.options import Options
from bascule.errors import NotFound
from bascule.names import shown
from bascule.plan import render
from bascule.topology import edit
from bascule.topology.model import Topology

Change = Callable[[Topology], Topology]


def _change(arguments: Arguments, change: Change) -> int:
    """Change the stored topology, and make that so: the same way as `up`."""
    name = choose.changing(arguments.lab)
    lab = Lab(name, world=getattr(arguments, "world", None))
    if arguments.dry_run:
        found = run.preview(
            name, lambda now: change(now if now is not None else Topology(name)), Options(lab.world)
        )
        print(render.text(found.plan, output.paint))
        return 0
    kill = getattr(arguments, "kill", False)
    outcome = lab.change(
        change, output.listener(arguments.explain), wait=not arguments.no_wait, kill=kill
    )
    output.report(name, outcome, "up")
    return 0


def network_create(arguments: Arguments) -> int:
    """``bascule network create``"""
    fields = options.given(arguments, "network")
    return _change(arguments, lambda topology: edit.add_network(topology, arguments.name, fields))


def network_rm(arguments: Arguments) -> int:
    """``bascule network rm``"""
    return _change(
        arguments, lambda topology: edit.remove_network(topology, arguments.name, arguments.force)
    )


def network_ls(arguments: Arguments) -> int:
    """``bascule network ls``"""
    found = choose.matching(look.show(choose.running(arguments.lab))["networks"], arguments.filter)
    if arguments.json:
        return output.as_json(found)
    rows = [
        (n["name"], ", ".join(n["addresses"]) or "-", n["mtu"] or "", len(n["ports"]))
        for n in found
    ]
    output.table(("NETWORK", "ADDRESSES", "MTU", "PORTS"), rows)
    return 0


def network_inspect(arguments: Arguments) -> int:
    """``bascule network inspect``"""
    data = look.show(choose.running(arguments.lab))
    for found in data["networks"]:
        if found["name"] == arguments.name:
            attached = [
                {"node": node["name"], **item}
                for node in data["nodes"]
                for item in node["interfaces"]
                if item["network"] == arguments.name
            ]
            return output.as_json({**found, "attached": attached})
    raise NotFound(
        f"no network {shown(arguments.name)}; there are: "
        f"{', '.join(n['name'] for n in data['networks']) or 'none'}"
    )


def network_connect(arguments: Arguments) -> int:
    """``bascule network connect``"""
    fields = options.given(arguments, "attachment")
    return _change(
        arguments,
        lambda topology: edit.connect_data(topology, arguments.node, arguments.network, fields),
    )


def network_disconnect(arguments: Arguments) -> int:
    """``bascule network disconnect``"""
    return _change(
        arguments, lambda topology: edit.disconnect(topology, arguments.node, arguments.network)
    )


def network_prune(arguments: Arguments) -> int:
    """``bascule network prune``"""

    def without_unused(topology: Topology) -> Topology:
        used = {attachment.network for node in topology.nodes for attachment in node.attachments}
        for network in topology.networks:
            if network.name not in used:
                topology = edit.remove_network(topology, network.name)
        return topology

    return _change(arguments, without_unused)


def node_add(arguments: Arguments) -> int:
    """``bascule node add``"""
    fields = options.given(arguments, "node")
    return _change(arguments, lambda topology: edit.add_node_data(topology, arguments.name, fields))


def port(arguments: Arguments) -> int:
    """``bascule port``"""
    nodes = {node["name"]: node for node in look.show(choose.running(arguments.lab))["nodes"]}
    if arguments.node not in nodes:
        raise NotFound(f"no node {shown(arguments.node)}; there are: {', '.join(nodes) or 'none'}")
    ports = nodes[arguments.node]["ports"]
    if arguments.json:
        return output.as_json(ports)
    for text in ports:
        print(text)
    return 0


def node_rm(arguments: Arguments) -> int:
    """``bascule node rm``"""
    return _change(arguments, lambda topology: edit.remove_node(topology, arguments.name))


def node_ls(arguments: Arguments) -> int:
    """``bascule node ls``"""
    found = choose.matching(look.show(choose.running(arguments.lab))["nodes"], arguments.filter)
    if arguments.json:
        return output.as_json(found)
    rows = [
        (
            node["name"],
            "up" if node["exists"] else "GONE",
            ", ".join(address for item in node["interfaces"] for address in item["addresses"])
            or "-",
            ", ".join(item["network"] for item in node["interfaces"]) or "-",
        )
        for node in found
    ]
    output.table(("NODE", "STATE", "ADDRESSES", "NETWORKS"), rows)
    return 0
