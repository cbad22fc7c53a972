"""Where to look to see the facts of a lab, and whatever else of it may be there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from bascule.engine.forwarding import memories
from bascule.host.seen import Scope
from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge, Uplink
from bascule.kernel.file import Symlink, TextFile
from bascule.kernel.forwarding import SWITCHES, Forwarding
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Fact, Indexes
from bascule.kernel.process import Process
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.table import table_name
from bascule.kernel.veth import Veth
from bascule.plan.names import etc_folder, netns_link
from bascule.plan.servers import servers_folder
from bascule.state.record import Stored

T = TypeVar("T")


def whole_scope(
    name: str,
    before: list[Fact],
    wanted: list[Fact],
    stored: Stored,
    indexes: Indexes,
    inside: bool,
) -> Scope:
    """What the facts name, and whatever else is the lab's: several killed runs, one after the
    other, leave things that the newest journal's topology does not name. Links tell by their index,
    namespaces are noted, files have a folder of the lab's own."""
    scope = replace(scope_of([*before, *wanted], inside), table=table_name(name))
    nodes = tuple(dict.fromkeys((*scope.nodes, *stored.namespaces)))
    files = tuple(dict.fromkeys((*scope.files, *(netns_link(node) for node in stored.namespaces))))
    needed = [fact for fact in wanted if isinstance(fact, Forwarding)]
    # Where it can't be changed, forwarding of a node is no more than a setting.
    switches = {
        (fact.node, key)
        for fact in needed
        if fact.node
        for key, of in SWITCHES.items()
        if of == fact.version
    }
    return replace(
        scope,
        nodes=nodes,
        sysctls=tuple(sorted(switches.union(scope.sysctls))),
        files=files,
        indexes=indexes.range,
        folders=(servers_folder(name),),
        views=etc_folder(name),
        placed=stored.placed,
        forwarding=frozenset(memories(stored)).union((fact.node, fact.version) for fact in needed),
        settled=frozenset((fact.node, fact.version, fact.on) for fact in needed),
    )


def scope_of(facts: Collection[Fact], inside: bool = True) -> Scope:
    """Where to look to see these facts."""
    nodes: dict[str, None] = {}
    links, interfaces, sysctls, files = set(), set(), set(), dict[str, None]()
    autoconf = set[tuple[str, str, int]]()
    uplinks, processes, adopted = set(), set(), dict[str, str]()
    for fact in facts:
        match fact:
            case Namespace(name=name, source=source):
                nodes[name] = None
                if source:
                    adopted[name] = source
            case Uplink(name=name):
                uplinks.add(name)
            case Process(at=at):
                processes.add(at)
            case Bridge(name=name):
                links.add(name)
            case Veth(name=name, node=node, peer=peer, autoconf=versions):
                links.add(name)
                interfaces.add((node, peer))
                autoconf.update((node, peer, version) for version in versions)
            case Sysctl(node=node, name=name):
                sysctls.add((node, name))
            case TextFile(path=path) | Symlink(path=path):
                files[path] = None
    return Scope(
        tuple(nodes),
        frozenset(links),
        frozenset(interfaces),
        tuple(sorted(sysctls)),
        tuple(files),
        # what is in a namespace that stays has to be taken away piece by piece
        inside or bool(adopted),
        adopted=tuple(adopted.items()),
        autoconf=frozenset(autoconf),
        uplinks=frozenset(uplinks),
        processes=tuple(sorted(processes)),
        six=_by_node(
            (fact.node, fact.device)
            for fact in facts
            if isinstance(fact, Address) and ":" in fact.address
        ),
        cables=_by_node(
            (fact.node, (fact.name, fact.peer, fact.peer_mac))
            for fact in facts
            if isinstance(fact, Veth)
        ),
    )


def _by_node(pairs: Iterable[tuple[str, T]]) -> dict[str, set[T]]:
    found: dict[str, set[T]] = {}
    for node, value in pairs:
        found.setdefault(node, set()).add(value)
    return found
