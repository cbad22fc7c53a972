"""The imperative twins: Docker's verbs for networks, and nodes, live on a lab that is up or from
nothing."""

from __future__ import annotations

from argparse import Namespace as Arguments
from collections.abc import Callable

from bascule import api
from bascule.api import Topology, edit, options
from bascule.cli import output
from bascule.errors import NotFound
from bascule.names import shown

Change = Callable[[Topology], Topology]


def _change(arguments: Arguments, change: Change) -> int:
    """Change the stored topology, and make that so: the same way as `up`."""
    name = api.changing_lab(arguments.lab)
    lab = api.Lab(name, world=getattr(arguments, "world", None))
    if arguments.dry_run:
        return output.plan(lab.plan(change), arguments.json)
    kill = getattr(arguments, "kill", False)
    listener = output.listener(arguments.explain and not arguments.json)
    outcome = lab.change(change, listener, wait=not arguments.no_wait, kill=kill)
    output.report(name, outcome, "up", arguments.json)
    return 0


def _show(arguments: Arguments) -> api.LabView:
    return api.Lab(api.running_lab(arguments.lab)).show()


def network_create(arguments: Arguments) -> int:
    """``bascule network create``"""
    fields = options.given(arguments, "network")
    return _change(arguments, lambda topology: edit.add_network(topology, arguments.name, fields))


def network_rm(arguments: Arguments) -> int:
    """``bascule network rm``"""
    return _change(
        arguments,
        lambda topology: edit.remove_network(topology, *arguments.names, force=arguments.force),
    )


def network_ls(arguments: Arguments) -> int:
    """``bascule network ls``"""
    found = api.matching(_show(arguments).networks, arguments.filter)
    rows = [
        (n.name, ", ".join(n.addresses) or "-", n.mtu or "", len(n.bridge_ports)) for n in found
    ]
    headings = ("NETWORK", "ADDRESSES", "MTU", "PORTS")
    return output.listing(found, api.NetworkView, arguments.format, headings, rows)


def network_inspect(arguments: Arguments) -> int:
    """``bascule network inspect``"""
    lab = _show(arguments)
    found = lab.network(arguments.name)
    if found is None:
        raise NotFound(
            f"no network {shown(arguments.name)}; there are: "
            f"{', '.join(network.name for network in lab.networks) or 'none'}"
        )
    form = "" if arguments.json else arguments.format
    return output.shown(api.inspected(found, lab), form)


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
    return _change(arguments, edit.prune_networks)


def node_add(arguments: Arguments) -> int:
    """``bascule node add``"""
    fields = options.given(arguments, "node")
    return _change(arguments, lambda topology: edit.add_node_data(topology, arguments.name, fields))


def port(arguments: Arguments) -> int:
    """``bascule port``"""
    lab = _show(arguments)
    node = lab.node(arguments.node)
    if node is None:
        raise NotFound(
            f"no node {shown(arguments.node)}; there are: "
            f"{', '.join(each.name for each in lab.nodes) or 'none'}"
        )
    form = "name" if arguments.format == "table" else arguments.format
    return output.listing(node.ports, api.PortView, form, (), ())


def node_rm(arguments: Arguments) -> int:
    """``bascule node rm``"""
    return _change(arguments, lambda topology: edit.remove_node(topology, *arguments.names))


def node_ls(arguments: Arguments) -> int:
    """``bascule node ls``"""
    found = api.matching(_show(arguments).nodes, arguments.filter)
    rows = [
        (
            node.name,
            "up" if node.exists else "GONE",
            ", ".join(address for item in node.interfaces for address in item.addresses) or "-",
            ", ".join(item.network for item in node.interfaces) or "-",
        )
        for node in found
    ]
    headings = ("NODE", "STATE", "ADDRESSES", "NETWORKS")
    return output.listing(found, api.NodeView, arguments.format, headings, rows)
