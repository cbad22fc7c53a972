"""Topology → the lab file's own words.

Two forms. :func:`to_data` writes out everything, for machines: ``from_data(to_data(t)) == t``.
:func:`to_yaml` leaves out what would be chosen again, for people: ``assign(load_text(to_yaml(t)))
== assign(t)``.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from bascule.names import WORLD_NETNS, host_interface_name
from bascule.topology.autoconf import is_slaac
from bascule.topology.defaults import attachment_mac, interface_name, network_mac
from bascule.topology.fields import DEFAULT_ROUTE, NO_GATEWAY
from bascule.topology.model import Attachment, IPAddress, Network, Node, Route, Span, Topology
from bascule.topology.ports import port_text


def to_data(topology: Topology) -> dict[str, Any]:
    """Plain data (dict, list, str, int) with everything written out, in the order of the topology.

    ``from_data`` makes an equal topology of it, for every topology that the loader or ``assign``
    gives.
    """
    return {
        "name": topology.name,
        "networks": {network.name: _network(network) for network in topology.networks},
        "nodes": {node.name: _node(node) for node in topology.nodes},
        **_lab(topology),
    }


def to_yaml(topology: Topology) -> str:
    """The lab file that a person would write: defaults and derived names left out, short forms
    where they say it all."""
    networks = {
        network.name: _brief_network(topology.name, network) for network in topology.networks
    }
    data: dict[str, Any] = {"name": topology.name}
    if networks:
        data["networks"] = networks
    if topology.nodes:
        data["nodes"] = {
            node.name: _brief_node(topology.name, node, _by_mac(topology, node))
            for node in topology.nodes
        }
    data |= _lab(topology)
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


def _lab(topology: Topology) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if topology.pools:
        out["pools"] = [{"base": str(pool.base), "size": pool.size} for pool in topology.pools]
    if topology.labels:
        out["labels"] = dict(topology.labels)
    return out


def _one_or_list(items: tuple[object, ...]) -> object:
    return str(items[0]) if len(items) == 1 else [str(item) for item in items]


def _network(network: Network) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if network.subnets:
        out["subnet"] = _one_or_list(network.subnets)
    if not network.has_gateway:
        out["gateway"] = NO_GATEWAY
    elif network.gateways:
        out["gateway"] = _one_or_list(network.gateways)
    if network.outbound:
        out["outbound_address"] = _one_or_list(network.outbound)
    if network.ranges:
        out["ip_range"] = _one_or_list(network.ranges)
    if network.reserved:
        out["reserved"] = _one_or_list(tuple(_span(span) for span in network.reserved))
    if network.ageing >= 0:
        out["ageing_time"] = network.ageing
    out |= {
        key: value
        for key, value in (("dns", network.dns), ("guard", network.guard))
        if value is not None
    }
    if network.labels:
        out["labels"] = dict(network.labels)
    return out | _given(
        network,
        (
            "mtu",
            "mac",
            "nat",
            "internal",
            "icc",
            "reach",
            "dhcp",
            "ra",
            "stp",
            "promiscuous",
            "uplink",
        ),
    )


def _span(span: Span) -> str:
    return str(span.first) if span.first == span.last else f"{span.first}-{span.last}"


def _given(item: Network | Attachment, names: tuple[str, ...]) -> dict[str, Any]:
    """These fields where they differ from what is meant without them."""
    defaults = {each.name: each.default for each in fields(item)}
    values = {name: getattr(item, name) for name in names}
    differing = {name: value for name, value in values.items() if value != defaults[name]}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in differing.items()
    }


def _attachment(item: Attachment) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if item.addresses:
        out["address"] = _one_or_list(item.addresses)
    named = (
        ("interface", item.interface),
        ("host_interface", item.host_interface),
        ("mac", item.mac),
    )
    out |= {key: value for key, value in named if value}
    if item.sysctls:
        out["sysctls"] = dict(item.sysctls)
    return out | _given(item, ("gateway_priority", "mtu", "aliases", "autoconf"))


def _route(route: Route) -> dict[str, Any]:
    # `default` without a next hop means IPv4, and with one its family; all else is written as it
    # is.
    family = route.via.version if route.via else 4
    default = route.to.prefixlen == 0 and route.to.version == family
    out: dict[str, Any] = {"to": DEFAULT_ROUTE if default else str(route.to)}
    if route.via is not None:
        out["via"] = str(route.via)
    if route.interface:
        out["interface"] = route.interface
    if route.metric:
        out["metric"] = route.metric
    return out


def _node(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {
        "networks": {item.network: _attachment(item) for item in node.attachments}
    }
    if node.routes:
        out["routes"] = [_route(route) for route in node.routes]
    if node.sysctls:
        out["sysctls"] = dict(node.sysctls)
    if node.ports:
        out["ports"] = [port_text(item) for item in node.ports]
    if node.netns == WORLD_NETNS:
        del out["networks"]
        out["network_mode"] = "host"
    elif node.netns:
        out["netns"] = node.netns
    out |= _resolving(node)
    if node.labels:
        out["labels"] = dict(node.labels)
    return out


def _resolving(node: Node) -> dict[str, Any]:
    """What a node is called, and how it finds names."""
    out: dict[str, Any] = {}
    if node.extra_hosts:
        out["extra_hosts"] = [f"{name}={address}" for name, address in node.extra_hosts]
    if node.hostname:
        out["hostname"] = node.hostname
    several = (("dns", node.dns), ("dns_search", node.dns_search), ("dns_opt", node.dns_opt))
    return out | {key: _one_or_list(values) for key, values in several if values}


def _brief_network(lab: str, network: Network) -> dict[str, Any]:
    out = _network(network)
    if network.mac == network_mac(lab, network.name):
        del out["mac"]
    return out


def _without_six(item: Attachment) -> tuple[IPAddress, ...]:
    return tuple(address for address in item.addresses if address.version == 4)


def _brief_node(lab: str, node: Node, by_mac: set[str]) -> object:
    networks: dict[str, Any] = {}
    for position, item in enumerate(node.attachments):
        given = _attachment(
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
    out = _node(node)
    if "networks" in out:
        out["networks"] = list(networks) if not any(networks.values()) else networks
    if node.sysctls:
        out["sysctls"] = _brief_sysctls(node.sysctls)
    return (
        out["networks"] if out.keys() == {"networks"} and isinstance(out["networks"], list) else out
    )


def _brief_sysctls(sysctls: tuple[tuple[str, str], ...]) -> dict[str, object]:
    return {key: int(value) if _is_plain_number(value) else value for key, value in sysctls}


def _is_plain_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text
