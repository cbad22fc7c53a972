"""How the lab file's nouns are read: each kind of field has one function, in the table at the end.

Every function notes what is wrong with the scribe and gives None then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bascule.names import (
    WORLD_NETNS,
    problem_with_interface_name,
    problem_with_lab_name,
    problem_with_node_name,
)
from bascule.topology import entries, values
from bascule.topology.field import Kind, Noun
from bascule.topology.fields import (
    AGEING_RANGE,
    ATTACHMENT,
    COUNT_RANGE,
    METRIC_RANGE,
    MTU_RANGE,
    NETWORK,
    NO_GATEWAY,
    NODE,
    PRIORITY_RANGE,
    ROUTE,
)
from bascule.topology.model import Attachment, IPAddress, Network, Node, Route
from bascule.topology.scribe import Reader, Scribe
from bascule.topology.tree import Path, Tree, kind_of, shown

_MEANS_NO_GATEWAY = frozenset({NO_GATEWAY, "no", "off", "false", "null"})
_OF_A_NAMESPACE = ("routes", "sysctls", "extra_hosts", "dns", "dns_search", "dns_opt")
NAME_SHOWN = 100  # enough of a name to be too long for any use, so that messages stay short


@dataclass(slots=True)
class Group:
    """One entry of ``nodes``: a node, or ``count`` of them."""

    name: str
    tree: Tree
    node: Node
    count: int = 0  # 0: one node, called as the entry
    # which of the file's routes are in the node: wrong ones are left out
    routes: tuple[int, ...] = ()


def _lab_name(scribe: Scribe, tree: Tree, path: Path) -> str | None:
    text = scribe.text(tree, path, "a name")
    problem = problem_with_lab_name(text[:NAME_SHOWN]) if text is not None else None
    if problem:
        scribe.wrong(tree, path, problem)
    return None if problem else text


def _interface(scribe: Scribe, tree: Tree, path: Path) -> str | None:
    text = scribe.text(tree, path, "an interface name")
    problem = problem_with_interface_name(text[:NAME_SHOWN]) if text is not None else None
    if problem:
        scribe.wrong(tree, path, problem)
    return None if problem else text


def _networks(scribe: Scribe, tree: Tree, path: Path) -> list[tuple[Network, bool]] | None:
    """Each network, and whether its subnet and gateway could be read."""
    if tree.value is None:
        return []
    if not isinstance(tree.value, dict):
        scribe.wrong(
            tree,
            path,
            (
                f"must be a map from each network's name to its fields, like {{lan: {{}}}}, not "
                f"{kind_of(tree)}"
            ),
        )
        return None
    out: list[tuple[Network, bool]] = []
    for name, below in tree.value.items():
        here = (*path, name)
        problem = problem_with_interface_name(name[:NAME_SHOWN])
        if problem:
            scribe.wrong_key(below, here, problem)
        mistakes = len(scribe.mistakes)
        got: dict[str, Any] = (
            {} if below.value is None else scribe.fields(below, here, NETWORK, READ)
        )
        has_gateway, gateways = got.pop("gateway", (True, ()))
        network = Network(
            name, gateways=gateways, has_gateway=has_gateway, **_attributes(NETWORK, got)
        )
        out.append((network, len(scribe.mistakes) == mistakes))
    return out


def _nodes(scribe: Scribe, tree: Tree, path: Path) -> list[Group] | None:
    if tree.value is None:
        return []
    if isinstance(tree.value, dict):
        entries = list(tree.value.items())
    elif isinstance(tree.value, list):
        named = [
            (scribe.text(item, (*path, index), "a node's name"), item)
            for index, item in enumerate(tree.value)
        ]
        entries = [
            (name, Tree(None, item.line, item.column)) for name, item in named if name is not None
        ]
    else:
        scribe.wrong(
            tree,
            path,
            (
                f"must be a map from each node's name to its fields, or a list of names, not "
                f"{kind_of(tree)}"
            ),
        )
        return None
    return [_node(scribe, name, below, (*path, name)) for name, below in entries]


def _node(scribe: Scribe, name: str, tree: Tree, path: Path) -> Group:
    got: dict[str, Any] = {}
    if isinstance(tree.value, list):
        got["networks"] = _attachments(scribe, tree, path)
    elif tree.value is not None:
        got = scribe.fields(tree, path, NODE, READ)
    count: int = got.pop("count", 0)
    mode: str = got.pop("network_mode", "")
    if mode:
        _alone(scribe, path, mode, got)
    indexes, routes = got.pop("routes", ((), ()))
    node = Node(name, routes=routes, **_attributes(NODE, got))
    if mode == "host":
        node = replace(node, netns=WORLD_NETNS)
    longest = name[:NAME_SHOWN] + (str(count) if count else "")
    problem = problem_with_node_name(longest)
    if problem:
        scribe.wrong_key(tree, path, problem)
    if count > 1:
        node = _not_with_count(scribe, node, path)
    return Group(name, tree, node, count, indexes)


def _alone(scribe: Scribe, path: Path, mode: str, got: dict[str, Any]) -> None:
    """A mode takes the place of networks, and of what goes with them."""
    for key in ("networks", "ports", "netns", *(_OF_A_NAMESPACE if mode == "host" else ())):
        if got.pop(key, None):
            scribe.wrong_at(
                (*path, key), f"means nothing with `network_mode: {mode}`; remove one of the two"
            )


def _not_with_count(scribe: Scribe, node: Node, path: Path) -> Node:
    """The node without what can't be the same for several."""
    for item in node.attachments:
        for key, value in (
            ("address", item.addresses),
            ("mac", item.mac),
            ("host_interface", item.host_interface),
        ):
            if value:
                message = (
                    "can't be the same for every node that `count` makes; leave it out, or "
                    "write the nodes out"
                )
                scribe.wrong_at((*path, "networks", item.network, key), message)
    if node.netns and node.netns != WORLD_NETNS:
        scribe.wrong_at(
            (*path, "netns"),
            "a namespace can't be every node that `count` makes; write the nodes out",
        )
    if any(item.published for item in node.ports):
        message = (
            "a port of the host can't lead to every node that `count` makes; give only the "
            "node's port, or write the nodes out"
        )
        scribe.wrong_at((*path, "ports"), message)
    plain = tuple(
        replace(item, addresses=(), mac="", host_interface="") for item in node.attachments
    )
    ports = tuple(replace(item, published=0) for item in node.ports)
    return replace(
        node, attachments=plain, ports=ports, netns=node.netns if node.netns == WORLD_NETNS else ""
    )


def _attachments(scribe: Scribe, tree: Tree, path: Path) -> tuple[Attachment, ...] | None:
    """A list of names, or a map from name to nothing, an address, or fields."""
    if tree.value is None:
        return ()
    if isinstance(tree.value, list):
        names = [
            scribe.text(item, (*path, index), "a network's name")
            for index, item in enumerate(tree.value)
        ]
        seen: dict[str, Attachment] = {}
        for item, name in zip(tree.value, names, strict=True):
            if name in seen:
                scribe.wrong(
                    item,
                    path,
                    f"network '{shown(name)}' is given twice; a node attaches to it once",
                )
            elif name is not None:
                seen[name] = Attachment(name)
        return tuple(seen.values())
    if not isinstance(tree.value, dict):
        scribe.wrong(
            tree,
            path,
            (
                f"must be a list of networks, like [lan], or a map from network to fields, not "
                f"{kind_of(tree)}"
            ),
        )
        return None
    return tuple(
        _attachment(scribe, name, below, (*path, name)) for name, below in tree.value.items()
    )


def _attachment(scribe: Scribe, name: str, tree: Tree, path: Path) -> Attachment:
    if tree.value is None:
        return Attachment(name)
    if not isinstance(tree.value, dict):
        return Attachment(name, _addresses(scribe, tree, path) or ())
    got: dict[str, Any] = scribe.fields(tree, path, ATTACHMENT, READ)
    addresses = tuple(
        address
        for key in ("address", "ipv4_address", "ipv6_address")
        for address in got.pop(key, ())
    )
    return Attachment(name, addresses, **_attributes(ATTACHMENT, got))


def _attributes(noun: Noun, got: dict[str, Any]) -> dict[str, Any]:
    """What was read, by the attributes of the model."""
    return {row.attribute: got[row.name] for row in noun.fields if got.get(row.name) is not None}


def _addresses(scribe: Scribe, tree: Tree, path: Path) -> tuple[IPAddress, ...] | None:
    return scribe.some(tree, path, "an IP address", values.address)


def _address(scribe: Scribe, tree: Tree, path: Path) -> IPAddress | None:
    return scribe.parsed(tree, path, "an IP address", values.address)


def _of_family(
    scribe: Scribe, tree: Tree, path: Path, version: int
) -> tuple[IPAddress, ...] | None:
    found = scribe.parsed(tree, path, f"an IPv{version} address", values.address)
    if found is not None and found.version != version:
        scribe.wrong(
            tree,
            path,
            f"{found} is no IPv{version} address; write it as ipv{found.version}_address",
        )
        return None
    return None if found is None else (found,)


def _gateways(scribe: Scribe, tree: Tree, path: Path) -> tuple[bool, tuple[IPAddress, ...]] | None:
    if tree.value == NO_GATEWAY:
        return False, ()
    only = tree.value[0] if isinstance(tree.value, list) and len(tree.value) == 1 else tree
    if only.value is False or (
        isinstance(only.value, str) and only.value.lower() in _MEANS_NO_GATEWAY
    ):
        scribe.wrong(
            only,
            path,
            f"for a bridge without an address write {NO_GATEWAY}, without quotes or brackets",
        )
        return None
    found = scribe.some(tree, path, f"an IP address, `{NO_GATEWAY}`,", values.address)
    return None if found is None else (True, found)


def _routes(
    scribe: Scribe, tree: Tree, path: Path
) -> tuple[tuple[int, ...], tuple[Route, ...]] | None:
    """The routes that can be read, and which of the list they are."""
    if not isinstance(tree.value, list):
        scribe.wrong(
            tree,
            path,
            f"must be a list of routes, like ['10.2.0.0/16 via 10.1.0.254'], not {kind_of(tree)}",
        )
        return None
    found = [_route(scribe, item, (*path, index)) for index, item in enumerate(tree.value)]
    good = {index: route for index, route in enumerate(found) if route is not None}
    return tuple(good), tuple(good.values())


def _route(scribe: Scribe, tree: Tree, path: Path) -> Route | None:
    if not isinstance(tree.value, dict):
        words = scribe.parsed(
            tree, path, "a map, or text like '10.2.0.0/16 via 10.1.0.254'", values.route
        )
        if words is None:
            return None
        # Its parts have no places of their own: every mistake points to the text.
        tree = Tree(
            {key: Tree(_number_or(text), *tree.place, text) for key, text in words.items()},
            *tree.place,
        )
    mistakes = len(scribe.mistakes)
    got: dict[str, Any] = scribe.fields(tree, path, ROUTE, READ)
    given = {row.name for row in ROUTE.fields if tree.below(row.name, *row.other)}
    if "to" not in given:
        scribe.wrong(tree, path, "a route needs `to`: a subnet, or `default`")
    if not given & {"via", "interface"}:
        scribe.wrong(tree, path, "a route needs `via` (the next hop) or `interface`")
    if len(scribe.mistakes) > mistakes:
        return None
    via: IPAddress | None = got.get("via")
    try:
        return Route(
            values.destination(got["to"], via), via, got.get("interface", ""), got.get("metric", 0)
        )
    except values.Wrong as problem:
        scribe.wrong(tree.below("to") or tree, (*path, "to"), str(problem))
        return None


def _number_or(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() else text


READ: dict[Kind, Reader] = {
    Kind.LAB_NAME: _lab_name,
    Kind.NETWORKS: _networks,
    Kind.NODES: _nodes,
    Kind.SUBNETS: lambda scribe, tree, path: scribe.some(tree, path, "a subnet", values.subnet),
    Kind.GATEWAYS: _gateways,
    Kind.MTU: lambda scribe, tree, path: scribe.number(tree, path, *MTU_RANGE),
    Kind.MAC: lambda scribe, tree, path: scribe.parsed(tree, path, "a MAC address", values.mac),
    Kind.ATTACHMENTS: _attachments,
    Kind.ADDRESSES: _addresses,
    Kind.ADDRESS4: lambda scribe, tree, path: _of_family(scribe, tree, path, 4),
    Kind.ADDRESS6: lambda scribe, tree, path: _of_family(scribe, tree, path, 6),
    Kind.INTERFACE: _interface,
    Kind.ROUTES: _routes,
    Kind.DESTINATION: lambda scribe, tree, path: scribe.text(tree, path, "a subnet or `default`"),
    Kind.ADDRESS: _address,
    Kind.METRIC: lambda scribe, tree, path: scribe.number(tree, path, *METRIC_RANGE),
    Kind.SYSCTLS: entries.sysctls,
    Kind.FLAG: entries.flag,
    Kind.NAMES: entries.names,
    Kind.PORTS: lambda scribe, tree, path: entries.ports(scribe, tree, path, READ),
    Kind.PORT_SPAN: entries.text,
    Kind.WORD: entries.text,
    Kind.POOLS: lambda scribe, tree, path: entries.pools(scribe, tree, path, READ),
    Kind.POOL_BASE: lambda scribe, tree, path: scribe.parsed(tree, path, "a subnet", values.subnet),
    Kind.POOL_SIZE: lambda scribe, tree, path: scribe.number(tree, path, 1, 126),
    Kind.SPANS: lambda scribe, tree, path: scribe.one_or_more(
        tree, path, "an address, a subnet or a range", values.span
    ),
    Kind.AGEING: lambda scribe, tree, path: scribe.number(tree, path, *AGEING_RANGE),
    Kind.PRIORITY: lambda scribe, tree, path: scribe.number(tree, path, *PRIORITY_RANGE),
    Kind.LABELS: entries.labels,
    Kind.MODE: entries.mode,
    Kind.NETNS: lambda scribe, tree, path: scribe.parsed(tree, path, "a path", values.netns),
    Kind.HOSTNAMES: lambda scribe, tree, path: scribe.one_or_more(
        tree, path, "a name", values.hostname
    ),
    Kind.EXTRA_HOSTS: entries.extra_hosts,
    Kind.HOSTNAME: lambda scribe, tree, path: scribe.parsed(tree, path, "a name", values.hostname),
    Kind.SERVERS: entries.servers,
    Kind.DOMAINS: entries.domains,
    Kind.RESOLVER_OPTIONS: lambda scribe, tree, path: scribe.one_or_more(
        tree, path, "an option", values.resolver_option
    ),
    Kind.COUNT: lambda scribe, tree, path: scribe.number(tree, path, *COUNT_RANGE),
}
