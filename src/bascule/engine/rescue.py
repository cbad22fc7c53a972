"""A lab whose record can't be read (it is damaged, or of another version), or is gone: a record is
written of what is to be seen of the lab, and then it is taken away like any other.

Links tell by their index, nodes by their link in /etc/netns, files and name servers by the lab's
own folders, rules by the table's comment. What only the record knew is lost: settings of the
machine as they were before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bascule import identity
from bascule.engine import claims, known
from bascule.errors import BasculeError, NotFound, StateError, translated
from bascule.host import etc_links, namespaces, process
from bascule.host.inside import interfaces, made_at
from bascule.kernel.op import Indexes
from bascule.kernel.program import DNSMASQ
from bascule.names import few, shown
from bascule.plan.servers import servers_folder
from bascule.state import folder, lock, store
from bascule.state.record import Record
from bascule.topology.load import from_data

_KEPT = ("tables", "settings", "placed", "forwarding")
_LOST = (
    "settings of the machine from before the lab are not known any more: they stay as they are "
    "(sysctl net.ipv4.ip_forward, net.ipv6.conf.all.forwarding)"
)


@translated
def rescue(name: str, wait: bool = True) -> tuple[str, ...]:
    """Write a record of what is to be seen of this lab, so that `down` finds it. Gives what one
    should know; nothing where the record is whole. Raises :class:`NotFound` where nothing is to be
    seen, and :class:`StateError` where it can't be told from other labs."""
    with lock.lab_lock(name, "bascule down --force", wait):
        try:
            if known.load(name).newest is not None:
                return ()
        except StateError:
            pass
        found = store.salvage(name)
        private = known.noted(name)
        if private is not None:
            store.save(private)
            return ()
        record, remarks = _on_the_machine(name, found)
        for at in process.noted_in(servers_folder(name), DNSMASQ):
            process.end(at)
        store.save(record)
        return remarks


def _on_the_machine(name: str, found: Mapping[str, Any]) -> tuple[Record, tuple[str, ...]]:
    told = found.get("topology") or {}
    nodes = [*etc_links.nodes_of(name), *found.get("namespaces", ()), *told.get("nodes", ())]
    pinned = {
        node: made_at(namespaces.pin_path(node))
        for node in dict.fromkeys(nodes)
        if namespaces.is_pinned(node)
    }
    if not pinned and not _has_files(name):
        raise NotFound(f"nothing is to be seen of a lab {shown(name)}")
    slot = found["slot"] if "slot" in found else _slot(name, pinned)
    ours = Indexes(slot).range
    mine = [node for node, has in pinned.items() if _is_mine(has, ours)]
    strange = [node for node in pinned if node not in mine]
    record = Record(
        name,
        "host",
        slot,
        _topology(name, told, mine),
        boot=store.boot_id(),
        namespaces=dict.fromkeys(mine, 0),
        host=identity.netns(),
        **{
            key: found[key]
            for key in ("tables", "settings", "placed", "forwarding")
            if key in found
        },
    )
    left = f"not the lab's by their interfaces, and left: namespaces {few(strange)}"
    remarks = () if "forwarding" in found else (_LOST,)
    return record, (*remarks, *((left,) if strange else ()))


def _has_files(name: str) -> bool:
    """Beside its lock, which we hold."""
    return any(each != lock.FILE for each in os.listdir(folder.lab(name)))


def _is_mine(has: list[int], ours: range) -> bool:
    """A namespace with an interface of ours, or with none at all."""
    return any(index in ours for index in has) or not has


def _slot(name: str, pinned: Mapping[str, list[int]]) -> int:
    """Whose range it is by the interfaces: those in its nodes, else those that no other lab has."""
    others = claims.of_others(name)
    inside = {Indexes.slot_of(index) for has in pinned.values() for index in has}
    around = {Indexes.slot_of(index) for index in interfaces(())}
    for seen in (inside, around):
        left = {slot for slot in seen if 0 <= slot < Indexes.SLOTS} - others.slots
        if len(left) == 1:
            return left.pop()
        if left:
            raise StateError(
                f"interfaces of {len(left)} labs are there whose records can't be read, and "
                f"nothing tells which are those of {name}; `bascule down --force` the others first"
            )
    return others.free_slot(None)


def _topology(name: str, told: Mapping[str, Any], nodes: list[str]) -> dict[str, Any]:
    """What the record says, as far as that is a topology, else the nodes by their names."""
    try:
        from_data({**told, "name": name}, "<record>", name)
    except (BasculeError, TypeError):
        return {"name": name, "networks": {}, "nodes": {node: {} for node in nodes}}
    return {**told, "name": name}
