"""How the lab file's nouns are read that hold other nouns. The first argument of each reader is the
noun that is held: :mod:`bascule.topology.words` gives it.

Every function notes what is wrong with the scribe and gives None then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bascule.names import (
    WORLD_NETNS,
    problem_with_interface_name,
    problem_with_node_name,
)
from bascule.topology import values
from bascule.topology.forms import NAME_SHOWN
from bascule.topology.model import Attachment, IPAddress, Network, Node, Route
from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree, kind_of, shown
from bascule.topology.word import Noun

_OF_A_NAMESPACE = (
    "routes",
    "loopback",
    "forward",
    "sysctls",
    "extra_hosts",
    "dns",
    "dns_search",
    "dns_opt",
)


@dataclass(slots=True)
class Group:
    """One entry of ``nodes``: a node, or ``count`` of them."""

    name: str
    tree: Tree
    node: Node
    count: int = 0  # 0: one node, called as the entry
    # which of the file's routes are in the node: wrong ones are left out
    routes: tuple[int, ...] = ()


def networks(
    noun: Noun, scribe: Scribe, tree: Tree, path: Path
) -> list[tuple[Network, bool]] | None:
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
        got = {} if below.value is None else noun.read(scribe, below, here)
        has_gateway, gateways = got.pop("gateway", (True, ()))
        network = noun.make(got, name=name, gateways=gateways, has_gateway=has_gateway)
        out.append((network, len(scribe.mistakes) == mistakes))
    return out


def nodes(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> list[Group] | None:
    """The nodes of a lab, those of a `count` together."""
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
    return [_node(noun, scribe, name, below, (*path, name)) for name, below in entries]


def _node(noun: Noun, scribe: Scribe, name: str, tree: Tree, path: Path) -> Group:
    got: dict[str, Any] = {}
    if isinstance(tree.value, list):
        got["networks"] = noun.keys["networks"].form.read(scribe, tree, path)
    elif tree.value is not None:
        got = noun.read(scribe, tree, path)
    count: int = got.pop("count", 0)
    mode: str = got.pop("network_mode", "")
    if mode:
        _alone(scribe, path, mode, got)
    indexes, routes = got.pop("routes", ((), ()))
    node: Node = noun.make(got, name=name, routes=routes)
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
    if node.loopback:
        message = "an address can't be every node's that `count` makes; write the nodes out"
        scribe.wrong_at((*path, "loopback"), message)
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
        node,
        attachments=plain,
        ports=ports,
        loopback=(),
        netns=node.netns if node.netns == WORLD_NETNS else "",
    )


def attachments(
    noun: Noun, scribe: Scribe, tree: Tree, path: Path
) -> tuple[Attachment, ...] | None:
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
                seen[name] = noun.make({}, network=name)
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
        _attachment(noun, scribe, name, below, (*path, name)) for name, below in tree.value.items()
    )


def _attachment(noun: Noun, scribe: Scribe, name: str, tree: Tree, path: Path) -> Attachment:
    got: dict[str, Any] = {}
    if isinstance(tree.value, dict):
        got = noun.read(scribe, tree, path)
    elif tree.value is not None:
        got["address"] = noun.keys["address"].form.read(scribe, tree, path) or ()
    addresses = tuple(
        address
        for key in ("address", "ipv4_address", "ipv6_address")
        for address in got.pop(key, ())
    )
    made: Attachment = noun.make(got, network=name, addresses=addresses)
    return made


def routes(
    noun: Noun, scribe: Scribe, tree: Tree, path: Path
) -> tuple[tuple[int, ...], tuple[Route, ...]] | None:
    """The routes that can be read, and which of the list they are."""
    if not isinstance(tree.value, list):
        scribe.wrong(
            tree,
            path,
            f"must be a list of routes, like ['10.2.0.0/16 via 10.1.0.254'], not {kind_of(tree)}",
        )
        return None
    found = [_route(noun, scribe, item, (*path, index)) for index, item in enumerate(tree.value)]
    good = {index: route for index, route in enumerate(found) if route is not None}
    return tuple(good), tuple(good.values())


def _route(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> Route | None:
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
    got = noun.read(scribe, tree, path)
    given = {word.name for word in noun.words if tree.below(word.name, *word.other)}
    if "to" not in given:
        scribe.wrong(tree, path, "a route needs `to`: a subnet, or `default`")
    if not given & {"via", "interface"}:
        scribe.wrong(tree, path, "a route needs `via` (the next hop) or `interface`")
    if len(scribe.mistakes) > mistakes:
        return None
    via: IPAddress | None = got.get("via")
    try:
        made: Route = noun.make({**got, "to": values.destination(got["to"], via)})
        return made
    except values.Wrong as problem:
        scribe.wrong(tree.below("to") or tree, (*path, "to"), str(problem))
        return None


def _number_or(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() else text
