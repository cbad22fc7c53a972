"""Topology → the lab file's own words.

Two forms. :func:`to_data` writes out everything, for machines: ``from_data(to_data(t)) == t``.
:func:`to_yaml` leaves out what would be chosen again, for people: ``assign(load_text(to_yaml(t)))
== assign(t)``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bascule.names import host_interface_name
from bascule.topology.autoconf import is_slaac
from bascule.topology.defaults import attachment_mac, interface_name, network_mac
from bascule.topology.link_choices import addressed
from bascule.topology.model import Attachment, IPAddress, Link, Network, Node, Topology
from bascule.topology.words.lab import LAB
from bascule.topology.words.link import LINK
from bascule.topology.words.network import NETWORK
from bascule.topology.words.node import ATTACHMENT, NODE


def to_data(topology: Topology) -> dict[str, Any]:
    """Plain data (dict, list, str, int) with everything written out, in the order of the topology.

    ``from_data`` makes an equal topology of it, for every topology that the loader or ``assign``
    gives.
    """
    return LAB.write(topology)


def to_yaml(topology: Topology) -> str:
    """The lab file that a person would write: defaults and derived names left out, short forms
    where they say it all."""
    data = LAB.write(replace(topology, networks=(), nodes=(), links=()))
    data["networks"] = {
        network.name: _brief_network(topology.name, network) for network in topology.networks
    }
    data["nodes"] = {
        node.name: _brief_node(topology.name, node, _by_mac(topology, node))
        for node in topology.nodes
    }
    if topology.links:
        data["links"] = [_brief_link(topology.name, link) for link in topology.links]
    data = {key: value for key, value in data.items() if value or value is False}
    # Imported late, as in source.py: storing a lab needs only to_data.
    from bascule.topology.write_yaml import write

    return write(data)


def _by_mac(topology: Topology, node: Node) -> set[str]:
    """The networks on which the node's IPv6 address follows from its MAC."""
    networks = {network.name: network for network in topology.networks}
    return {
        item.network
        for item in node.attachments
        if item.network in networks and is_slaac(item, networks[item.network])
    }


def _brief_network(lab: str, network: Network) -> dict[str, Any]:
    out = NETWORK.write(network)
    if network.mac == network_mac(lab, network.name):
        del out["mac"]
    return out


def _brief_link(lab: str, link: Link) -> object:
    plain = replace(link, ends=tuple(replace(end, addresses=(), mac="") for end in link.ends))  # type: ignore[arg-type] # two
    usual = addressed(lab, plain, link.subnets)
    out = LINK.write(link)
    out["ends"] = [
        f"{end.place}:{end.interface}" if end == made and not end.egress else written
        for end, made, written in zip(link.ends, usual.ends, out["ends"], strict=True)
    ]
    return out["ends"] if out.keys() == {"ends"} else out


def _without_six(item: Attachment) -> tuple[IPAddress, ...]:
    return tuple(address for address in item.addresses if address.version == 4)


def _brief_node(lab: str, node: Node, by_mac: set[str]) -> object:
    networks: dict[str, Any] = {}
    for position, item in enumerate(node.attachments):
        given = ATTACHMENT.write(
            item if item.network not in by_mac else replace(item, addresses=_without_six(item))
        )
        if item.sysctls:
            given["sysctls"] = _brief_sysctls(item.sysctls)
        if item.interface == interface_name(position):
            del given["interface"]
        if item.host_interface == host_interface_name(node.name, position):
            del given["host_interface"]
        if item.addresses and item.mac == attachment_mac(
            lab, node.name, item.interface, str(item.addresses[0])
        ):
            del given["mac"]
        networks[item.network] = given["address"] if given.keys() == {"address"} else given
    out = NODE.write(node)
    if "networks" in out:
        out["networks"] = list(networks) if not any(networks.values()) else networks
        if not networks and len(out) > 1:
            del out["networks"]
    if node.sysctls:
        out["sysctls"] = _brief_sysctls(node.sysctls)
    return (
        out["networks"] if out.keys() == {"networks"} and isinstance(out["networks"], list) else out
    )


def _brief_sysctls(sysctls: tuple[tuple[str, str], ...]) -> dict[str, object]:
    return {key: int(value) if _is_plain_number(value) else value for key, value in sysctls}


def _is_plain_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text
