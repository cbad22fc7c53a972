"""Where to look to see the facts of a lab, and whatever else of it may be there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bascule.engine.forwarding import memories
from bascule.kernel.fact import Fact, Sought
from bascule.kernel.look import Scope
from bascule.kernel.op import Indexes
from bascule.kernel.table import table_name
from bascule.plan.names import etc_folder, netns_link
from bascule.plan.servers import servers_folder
from bascule.state.record import Stored
from bascule.topology.model import Assigned


def whole_scope(
    name: str,
    before: list[Fact],
    wanted: list[Fact],
    stored: Stored,
    indexes: Indexes,
    lab: Assigned | None,
    partial: bool = False,
) -> Scope:
    """What the facts name, and, unless the look is ``partial``, whatever else is the lab's: several
    killed runs, one after the other, leave things that the newest journal's topology does not name.
    Links tell by their index, namespaces are noted, files have a folder of the lab's own. Nodes of
    the ``lab`` that are namespaces of others are compared with each other, whichever is looked
    into."""
    scope = replace(scope_of([*before, *wanted], lab is not None), table=table_name(name))
    noted = () if partial else tuple(stored.namespaces)
    nodes = tuple(dict.fromkeys((*scope.nodes, *noted)))
    links = (netns_link(node) for node in noted)
    files = tuple(dict.fromkeys((*scope.files, *links)))
    needed = _sought(wanted).forwarding
    adopted = {node.name: node.netns for node in (lab.nodes if lab else ()) if node.netns}
    return replace(
        scope,
        nodes=nodes,
        files=files,
        adopted=tuple((adopted | dict(scope.adopted)).items()),
        indexes=range(0) if partial else indexes.range,
        all_indexes=indexes.range,
        folders=(servers_folder(name),),
        views=etc_folder(name),
        placed=stored.placed,
        forwarding=frozenset(memories(stored)).union((node, of) for node, of, _on in needed),
        settled=frozenset(needed),
    )


def scope_of(facts: Iterable[Fact], inside: bool = True) -> Scope:
    """Where to look to see these facts."""
    found = _sought(facts)
    return Scope(
        tuple(found.nodes),
        frozenset(found.links),
        frozenset(found.interfaces),
        tuple(sorted(found.sysctls)),
        tuple(found.files),
        # What is in a namespace that stays has to be taken away piece by piece.
        inside or bool(found.adopted),
        adopted=tuple(found.adopted.items()),
        autoconf=frozenset(found.autoconf),
        uplinks=frozenset(found.uplinks),
        processes=tuple(sorted(found.processes)),
        six=found.six,
        cables=found.cables,
    )


def _sought(facts: Iterable[Fact]) -> Sought:
    found = Sought()
    for fact in facts:
        fact.sought(found)
    return found
