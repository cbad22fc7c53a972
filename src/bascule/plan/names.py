"""Names: /etc/hosts and /etc/resolv.conf of each node.

Every node's name, NODE.NETWORK and its aliases stand in the hosts file of every node. A name server
(:mod:`bascule.plan.servers`) answers the same on the bridge's own addresses, for programs that ask
nothing else.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from posixpath import dirname

from bascule.kernel.fact import Fact, only
from bascule.kernel.file import NODE_FILES, Symlink, TextFile, UsersFolder
from bascule.kernel.upstream import Upstream
from bascule.names import WORLD_NETNS
from bascule.plan.servers import servers, serves_names
from bascule.topology.entries import HOST_GATEWAY, MAX_SERVERS
from bascule.topology.links import is_link, joined
from bascule.topology.model import Assigned, Attachment, Network, Node
from bascule.topology.ways import ways_out

_HEAD = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NO_SERVER = (
    "# No name server here: names of the lab are in /etc/hosts. A query fails at once instead "
    "of hanging.\n"
)
_LONGEST_VIEW = 40


def etc_folder(lab: str) -> str:
    """The folder with the files of /etc of a lab's nodes: in it one folder for each view, which the
    nodes of that view share."""
    return f"/run/bascule/{lab}/etc"


def netns_link(node: str) -> str:
    """Where ``ip netns exec`` looks for a node's files of /etc (ip-netns(8)): a link to the folder
    of its view."""
    return f"/etc/netns/{node}"


def run_link(node: str) -> str:
    """The same where /etc can't be written to: `bascule exec` looks there, too."""
    return f"/run/etc-netns/{node}"


@dataclass(frozen=True, slots=True)
class Etc:
    """What is there of nodes' files of /etc: folders of the ``users`` by node, and whether links
    can be made at all."""

    users: Mapping[str, UsersFolder] = field(default_factory=dict)
    writable: bool = True


def names(
    lab: Assigned,
    dnsmasq: bool,
    resolvers: Sequence[str],
    alone: bool,
    upstream: Upstream,
    etc: Etc,
) -> Iterator[Fact]:
    """Files, links and servers. ``resolvers`` are the machine's own servers, for nodes with a way
    out and no server here; ``alone``: there is no other user whom a server could become;
    ``upstream``: whom the lab's servers ask. A file, and so a link, may be of several nodes, and be
    another when one of them changes: there are those of all nodes, whichever a look is about."""
    served = {network.name for network in lab.networks if serves_names(network, dnsmasq)}
    nodes = joined(lab)
    usual = [_lines_of(node, frozenset()) for node in nodes]
    several = [(at, node) for at, node in enumerate(nodes) if len(node.attachments) > 1]
    networks = {network.name: network for network in lab.networks}
    views: dict[tuple[object, ...], str] = {}
    usual_views: set[tuple[str, ...]] = set()
    links: dict[str, Symlink] = {}
    for node, whole in zip(lab.nodes, nodes, strict=True):
        if node.netns == WORLD_NETNS:
            continue
        near = tuple(sorted({item.network for item in whole.attachments}))
        extra, resolv = _extra(node, networks), _resolv_conf(node, networks, served, resolvers)
        key = (near, extra, resolv)
        if key not in views:
            own = bool(extra or node.dns or node.dns_search or node.dns_opt)
            own |= any(map(is_link, near))  # nobody else has all of its links
            bridged = tuple(sorted({item.network for item in node.attachments}))
            views[key] = _view_name(bridged, node.name if own or near in usual_views else "")
            if not own:
                usual_views.add(near)
            folder = f"{etc_folder(lab.name)}/{views[key]}"
            lines = usual.copy()
            for at, other in several:  # only of these the order depends on who looks
                lines[at] = _lines_of(other, frozenset(near))
            yield TextFile(f"{folder}/hosts", _HEAD + "".join(lines) + extra)
            yield TextFile(f"{folder}/resolv.conf", resolv)
        for link in _links(node.name, f"{etc_folder(lab.name)}/{views[key]}", etc):
            # several nodes may have the same folder of the user's
            links.setdefault(link.path, link)
    yield from links.values()
    yield from servers(lab, dnsmasq, "".join(usual), alone, upstream)


def _links(node: str, view: str, etc: Etc) -> Iterator[Symlink]:
    """One, for the whole view; in a folder of the user's one for each file that he has not got
    himself."""
    folder = etc.users.get(node)
    if folder is not None and folder.writable:
        yield from (
            Symlink(f"{folder.path}/{name}", f"{view}/{name}")
            for name in NODE_FILES
            if name not in folder.taken
        )
    else:
        yield Symlink(netns_link(node) if folder is None and etc.writable else run_link(node), view)


def placed_links(facts: Iterable[Fact]) -> list[str]:
    """The links in folders of the user's, whose places he may change."""
    links = (fact.path for fact in only(facts, Symlink))
    return sorted(
        path
        for path in links
        if dirname(path) not in (dirname(netns_link("")), dirname(run_link("")))
    )


def _view_name(networks: tuple[str, ...], first: str) -> str:
    """By what stays when the files change: programs that run have these very files. ``first`` is
    the first node with a view that differs from what nodes on these networks have."""
    readable = "+".join(networks) or "+none"  # no network can be called that
    if first:
        readable += f"@{first}"
    return readable if len(readable) <= _LONGEST_VIEW else f"{zlib.crc32(readable.encode()):08x}"


def _lines_of(node: Node, near: frozenset[str]) -> str:
    """A node's lines of hosts(5): reachable addresses first, and IPv4 before IPv6."""
    lines: list[str] = []
    for item in sorted(node.attachments, key=lambda item: item.network not in near):
        ordered = sorted(item.addresses, key=lambda address: not isinstance(address, IPv4Address))
        lines.extend(f"{address}\t{' '.join(_names_of(node, item))}\n" for address in ordered)
    return "".join(lines)


def _names_of(node: Node, item: Attachment) -> tuple[str, ...]:
    """What stands first is its whole name to others (`hostname -f`); several may share a host
    name."""
    of_network = () if is_link(item.network) else (f"{node.name}.{item.network}",)
    names = (node.name, *of_network, *item.aliases)
    if not node.hostname or node.hostname in names:
        return names
    return (node.hostname, *names) if "." in node.hostname else (*names, node.hostname)


def _extra(node: Node, networks: Mapping[str, Network]) -> str:
    """The lines for the node's `extra_hosts`."""
    if not node.extra_hosts:
        return ""
    gateways = [str(gateway) for _attachment, gateway in ways_out(node, networks)]
    lines = []
    for name, address in node.extra_hosts:
        lines += [
            f"{each}\t{name}\n" for each in (gateways if address == HOST_GATEWAY else [address])
        ]
    return "".join(lines)


def _resolv_conf(
    node: Node, networks: Mapping[str, Network], served: set[str], resolvers: Sequence[str]
) -> str:
    """resolv.conf(5): the node's own servers, else the lab's, else the machine's."""
    found = [
        gateway
        for item in node.attachments
        if item.network in served
        for gateway in networks[item.network].gateways
    ]
    servers = [str(gateway) for gateway in sorted(found, key=lambda gateway: gateway.version)]
    if not servers and any(networks[item.network].nat for item in node.attachments):
        servers = list(resolvers)
    servers = [str(server) for server in node.dns] or servers[:MAX_SERVERS]
    lines = [f"nameserver {server}\n" for server in servers] or [_NO_SERVER]
    lines += [
        f"{word} {' '.join(given)}\n"
        for word, given in (("search", node.dns_search), ("options", node.dns_opt))
        if given
    ]
    return "".join(lines)
