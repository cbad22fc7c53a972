"""What is told of labs: values of plain types, frozen, which :mod:`bascule.api.documents` turns
into JSON. A field's name is its key there, in this order.

Of what there is none, a text is empty, and so is a list; a number is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from bascule.errors import InputError
from bascule.kernel import told
from bascule.kernel.fact import Fact
from bascule.names import shown
from bascule.plan.diff import Sign

State = Literal[
    "up",
    "drifted",
    "broken",
    "unfinished",
    "lost",
    "elsewhere",
    "damaged",
    "kept",
    "foreign",
]
Kind = Literal["host", "private", ""]  # of a world; "": not known, or there is none
Verdict = Literal["ok", "note", "no"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found and, unless all is well, what to do. ``fix`` is a command
    that does it, and nothing else: `doctor --fix` runs it."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class LabInfo:
    """One line of `ls`. ``state`` is ``up``, ``drifted`` (all is there, and something is other than
    it was made: a link is down), ``broken`` (a bridge, a node or a cable is gone), ``unfinished``
    (a run was killed, or goes on), ``lost`` (a private world has ended), ``elsewhere`` (in another
    network namespace, or a private world in another PID namespace), ``kept`` (up before a reboot,
    not yet restored), ``damaged`` (its record) or ``foreign`` (of another state directory);
    ``problem`` says how, in words. ``nodes`` and ``networks`` are counted, ``names`` are theirs.
    ``keeper`` is the process that keeps a private world, ``user`` whose lab it is."""

    name: str
    state: State
    world: Kind
    nodes: int
    networks: int
    source: str
    names: tuple[str, ...] = ()
    keeper: int | None = None
    problem: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HopView:
    """A next hop of a route: ``via`` an address ("": it is on the link) by the interface ``dev``;
    of several, the ``weight`` of this one."""

    via: str
    dev: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route of a node: ``to`` a prefix (0.0.0.0/0 or ::/0 for the default) ``via`` the next hop
    ("": it is on the link) by the interface ``dev``; of a route with several next hops both are "",
    and ``nexthops`` has all of them. ``metric`` is the kernel's priority, where the least counts
    first. ``text``: the same in the words of ``ip route``."""

    to: str
    via: str
    dev: str
    metric: int
    family: Literal[4, 6]
    text: str
    nexthops: tuple[HopView, ...] = ()


@dataclass(frozen=True, slots=True)
class PortView:
    """A published port: ``host_port`` of ``host_address`` ("": of all addresses of the host, IPv4
    and IPv6) leads to ``node_port`` of ``node``, and the ``count`` ports from there on to as many
    of the node's. ``text``: the same in the lab file's words."""

    host_address: str
    host_port: int
    node: str
    node_port: int
    count: int
    protocol: str
    text: str

    @property
    def name(self) -> str:
        """What it is called in a list."""
        return self.text


@dataclass(frozen=True, slots=True)
class InterfaceView:
    """An interface of a node, and its other end: ``host_interface``, a port of the bridge
    ``network`` ("": of none), each with its index in its own namespace; of a link between two nodes
    the other end is ``peer``, NODE:INTERFACE ("": it is in the world). ``up``: both ends are.
    ``addresses`` have their prefix length. ``gateways`` are the next hops of the default routes
    that lead through it. ``egress`` is what what it sends has to pass, ``ingress`` what it gets: a
    token bucket, in a few words."""

    name: str
    ifindex: int | None
    up: bool
    mac: str
    mtu: int
    network: str
    host_interface: str
    host_ifindex: int | None
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    ingress: tuple[str, ...] = ()
    peer: str = ""


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as the kernel has it: its bridge. ``addresses`` are the bridge's own, with prefix
    length, ``bridge_ports`` the names of its ports. Without a bridge (``exists``) there is neither
    index nor MTU nor MAC. ``subnets`` and ``gateways``, the addresses that its nodes have as their
    next hop, are what the lab says, and so is ``asked``, in the lab file's words."""

    name: str
    exists: bool
    up: bool
    ifindex: int | None
    mtu: int | None
    mac: str
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    addresses: tuple[str, ...]
    bridge_ports: tuple[str, ...]
    labels: Mapping[str, str]
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AttachedView(InterfaceView):
    """An interface on a network, and the ``node`` that it is in."""

    node: str = ""


@dataclass(frozen=True, slots=True)
class InspectedNetwork(NetworkView):
    """A network, and the interfaces on it."""

    attached: tuple[AttachedView, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the kernel has it: its namespace, where it ``exists``. ``netns`` is the path of
    that, for ``nsenter --net=``; in a private world by way of its keeper, and to go there one has
    to be in the keeper's user namespace, or root. ``netns_inode`` (namespaces(7)) and
    ``netns_cookie`` (SO_NETNS_COOKIE) tell it from others. ``loopback``: the addresses of its lo
    beside those that each has. ``ports``, those of the host that lead
    to it, and ``asked`` are what the lab says."""

    name: str
    exists: bool
    netns: str
    netns_inode: int | None
    netns_cookie: int | None
    interfaces: tuple[InterfaceView, ...]
    routes: tuple[RouteView, ...]
    ports: tuple[PortView, ...]
    labels: Mapping[str, str]
    asked: Mapping[str, Any]
    loopback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabView:
    """A lab as the kernel has it. ``source`` is its file, "" for none; ``keeper``
    the process that keeps its private world."""

    name: str
    world: Kind
    source: str
    keeper: int | None
    labels: Mapping[str, str]
    networks: tuple[NetworkView, ...]
    nodes: tuple[NodeView, ...]

    def network(self, name: str) -> NetworkView | None:
        """The network of this name, if there is one."""
        return next((each for each in self.networks if each.name == name), None)

    def node(self, name: str) -> NodeView | None:
        """The node of this name, if there is one."""
        return next((each for each in self.nodes if each.name == name), None)

    def attached(self, network: str) -> tuple[tuple[NodeView, InterfaceView], ...]:
        """The interfaces on a network, each with its node."""
        return tuple(
            (node, interface)
            for node in self.nodes
            for interface in node.interfaces
            if interface.network == network
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One fact that came (+), changed (~) or went (-) at ``time`` (UTC), or a whole lab (kind
    ``lab``). ``foreign`` where it leads away from what the lab should be, which no command of ours
    leaves; then ``reason`` says how. ``node`` is "" outside of nodes, ``name`` the fact's own;
    ``before`` and ``after`` are the fact itself, None where it is not there."""

    time: datetime
    lab: str
    sign: Sign
    kind: told.Kind | Literal["lab"]
    what: str
    node: str
    reason: str
    foreign: bool
    name: str = ""
    before: Fact | None = None
    after: Fact | None = None


class _Labelled(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


_View = TypeVar("_View", bound=_Labelled)


def matching(views: Iterable[_View], filters: Iterable[str]) -> list[_View]:
    """Those that fit every filter, Docker's ``label=KEY[=VALUE]`` or ``name=PART``. Raises
    :class:`InputError` for another."""
    found = list(views)
    for each in filters:
        word, _, rest = each.partition("=")
        key, equals, value = rest.partition("=")
        if word not in ("label", "name") or not rest:
            raise InputError(
                f"--filter: {shown(each)} is no filter; write label=KEY, label=KEY=VALUE or "
                f"name=PART"
            )
        if word == "name":
            found = [view for view in found if rest in view.name]
        else:
            found = [
                view
                for view in found
                if key in view.labels and (not equals or view.labels[key] == value)
            ]
    return found
