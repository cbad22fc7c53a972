"""What is told of labs: values of plain types, frozen, which :mod:`bascule.api.documents` turns
into JSON. A field's name is its key there, in this order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from bascule.errors import InputError
from bascule.names import shown

State = Literal["up", "unfinished", "lost", "elsewhere", "damaged", "kept"]


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
    """One line of `ls`. ``state`` is ``up``, ``unfinished`` (a run was killed), ``lost`` (a private
    world has ended), ``elsewhere`` (in another network namespace, or a private world in another PID
    namespace), ``kept`` (up before a reboot, not yet restored) or ``damaged``; then ``problem``
    says how. ``nodes`` and ``networks`` are counted, ``names`` are theirs. ``keeper`` is the
    process that keeps a private world; 0: none."""

    name: str
    state: State
    world: str
    nodes: int
    networks: int
    source: str
    names: tuple[str, ...] = ()
    keeper: int = 0
    problem: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InterfaceView:
    """An interface of a node, and its other end: ``host_interface``, a port of the bridge
    ``network`` ("": of none). ``up``: both ends are. ``addresses`` have their prefix length.
    ``egress`` is what what it sends has to pass, ``ingress`` what it gets: a token bucket, in a few
    words."""

    name: str
    up: bool
    mac: str
    mtu: int
    network: str
    host_interface: str
    addresses: tuple[str, ...]
    egress: tuple[str, ...] = ()
    ingress: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as the kernel has it: its bridge. ``addresses`` are the bridge's own, with prefix
    length, ``ports`` the names of its ports. Without a bridge (``exists``) there is neither MTU nor
    MAC. ``asked`` is what the lab says of it, in the lab file's words."""

    name: str
    exists: bool
    up: bool
    mtu: int | None
    mac: str | None
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    labels: Mapping[str, str]
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the kernel has it: its namespace, where it ``exists``. ``routes`` are in the words
    of ``ip route``; ``ports``, those of the host that lead to it, and ``asked`` are what the lab
    says."""

    name: str
    exists: bool
    interfaces: tuple[InterfaceView, ...]
    routes: tuple[str, ...]
    ports: tuple[str, ...]
    labels: Mapping[str, str]
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LabView:
    """The lab called ``lab`` as the kernel has it. ``source`` is its file, "" for none; ``keeper``
    the process that keeps its private world."""

    lab: str
    world: str
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
