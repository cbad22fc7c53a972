"""A lab whose record can't be read (it is damaged, or of another version), or is gone: a record is
written of what is to be seen of the lab, and then it is taken away like any other.

Links tell by their index, nodes by their link in /etc/netns, files and name servers by the lab's
own folders, rules by the table's comment. What only the record knew is lost: settings of the
machine as they were before.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from bascule import identity
from bascule.engine import claims, known
from bascule.errors import BasculeError, Elsewhere, NotFound, StateError, translated
from bascule.host import etc_links, namespaces, process, tables
from bascule.host.inside import made_at, of_labs
from bascule.identity import Netns
from bascule.kernel.op import Indexes
from bascule.kernel.program import DNSMASQ
from bascule.names import few, shown
from bascule.plan.servers import servers_folder
from bascule.state import folder, lock, store
from bascule.state.record import Record
from bascule.topology.load import from_data
from bascule.wire.rows import Link

_KEPT = ("tables", "settings", "placed", "forwarding")
_NO_LINKS = (
    "nothing tells which interfaces were the lab's: look at `ip link show type bridge`, and "
    "`ip link del` what it has left"
)
_LOST = (
    "settings of the machine from before the lab are not known any more: they stay as they are "
    "(sysctl net.ipv4.ip_forward, net.ipv6.conf.all.forwarding)"
)


@translated
def rescue(name: str, wait: bool = True, slot: int | None = None) -> tuple[str, ...]:
    """Write a record of what is to be seen of this lab, so that `down` finds it: with the
    interfaces that have an index of this ``slot``, or of the one that tells by itself. Gives what
    one should know; nothing where the record is whole. Raises :class:`NotFound` where nothing is to
    be seen, and :class:`Elsewhere` where the lab is in another network namespace."""
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
        if found.get("world") == "private" or found.get("boot", "") not in ("", store.boot_id()):
            store.forget(name)  # its world has ended, and the rest went with that
            return ()
        if found.get("host") and Netns(*found["host"]) != identity.netns():
            raise Elsewhere(
                f"lab {name} is in another network namespace than this one; run the command there"
            )
        if slot is not None:
            found["slot"] = slot
        record, remarks = _on_the_machine(name, found)
        for at in process.noted_in(servers_folder(name), DNSMASQ):
            process.end(at)
        store.save(record)
        return remarks


def _on_the_machine(name: str, found: Mapping[str, Any]) -> tuple[Record, tuple[str, ...]]:
    """Nothing that another lab has by its own record is taken for this one's."""
    others = claims.of_others(name)
    told, noted = found.get("topology") or {}, found.get("namespaces", {})
    links = etc_links.nodes_of(name) if etc_links.made(name) == "here" else []
    held = nodes_of_slot(found["slot"]) if "slot" in found else ()
    nodes = dict.fromkeys((*links, *noted, *told.get("nodes", ()), *held))
    pinned = {
        node: made_at(namespaces.pin_path(node))
        for node in nodes
        if namespaces.is_pinned(node) and ("namespace", node) not in others.owners
    }
    slot = _slot(found, pinned, others.slots)
    bridges = [link.name for link in _links_of(slot) if link.kind == "bridge"]
    if not (pinned or bridges or name in tables.labs() or has_files(name)):
        raise NotFound(f"nothing is to be seen of a lab {shown(name)}")
    ours = Indexes(slot).range if slot is not None else range(0)
    mine = [node for node, has in pinned.items() if _is_mine(has, ours)]
    strange = [node for node in pinned if node not in mine]
    record = Record(
        name,
        "host",
        others.free_slot(None) if slot is None else slot,
        _topology(name, told, mine, bridges),
        boot=store.boot_id(),
        namespaces={node: noted.get(node, 0) for node in mine},
        host=identity.netns(),
        **{key: found[key] for key in _KEPT if key in found},
    )
    remarks = [] if "forwarding" in found else [_LOST]
    if slot is None:
        remarks.append(_NO_LINKS)
    if strange:
        remarks.append(
            f"not the lab's by their interfaces, and left: namespaces {few(strange)}; if they are "
            f"of no use, `ip netns del` them"
        )
    return record, tuple(remarks)


def nodes_of_slot(slot: int) -> list[str]:
    """The namespaces with a name that have an interface of this range."""
    own = Indexes(slot).range
    return [
        node
        for node in namespaces.pinned()
        if any(index in own for index in made_at(namespaces.pin_path(node)))
    ]


def _links_of(slot: int | None) -> list[Link]:
    own = Indexes(slot).range if slot is not None else range(0)
    return [link for link in of_labs() if link.ifindex in own]


def has_files(name: str) -> bool:
    """Beside its lock, which we hold."""
    return any(each != lock.FILE for each in os.listdir(folder.lab(name)))


def _is_mine(has: list[int], ours: range) -> bool:
    """A namespace with an interface of ours, or with none at all."""
    return any(index in ours for index in has) or not has


def _slot(
    found: Mapping[str, Any], pinned: Mapping[str, list[int]], others: Collection[int]
) -> int | None:
    """Whose range it is by the record, else by the interfaces in its nodes; None where neither
    tells, or only what is another lab's."""
    inside = {Indexes.slot_of(index) for has in pinned.values() for index in has}
    for told in ({found.get("slot", -1)}, inside):
        left = {slot for slot in told if 0 <= slot < Indexes.SLOTS and slot not in others}
        if len(left) == 1:
            return left.pop()
    return None


def _topology(
    name: str, told: Mapping[str, Any], nodes: list[str], bridges: list[str]
) -> dict[str, Any]:
    """What the record says, as far as that is a topology, else nodes and bridges by their names: of
    the rules that let pass what comes from a bridge, nothing else tells."""
    try:
        from_data({**told, "name": name}, "<record>", name)
    except (BasculeError, TypeError):
        networks: dict[str, Any] = {bridge: {} for bridge in bridges}
        return {"name": name, "networks": networks, "nodes": {node: {} for node in nodes}}
    return {**told, "name": name}
