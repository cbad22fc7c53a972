"""What the labs of this user have taken: names, prefixes and ranges of interface indexes of the
host world.

Private worlds share nothing with each other or with the host, so that only labs of the host world
can clash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from bascule import identity
from bascule.engine import worlds
from bascule.engine.adoption import world_key
from bascule.engine.forwarding import memories, of_the_world, remembered
from bascule.errors import Conflict, StateError
from bascule.host import inner
from bascule.host.inside import interfaces
from bascule.host.world import World
from bascule.kernel.fact import Memory
from bascule.kernel.forwarding import SWITCH
from bascule.kernel.op import Indexes
from bascule.state import folder, store
from bascule.topology.model import Assigned, Prefix
from bascule.topology.outline import Outline
from bascule.topology.ports import Taken


@dataclass(slots=True)
class Claims:
    """``owners`` names the lab by ("namespace" | "link", name); ``prefixes`` are (lab, network,
    prefix). ``settings`` are sysctls of the world that labs need, ``priors`` what stood there
    before the first of them. ``forwarding`` is what they remember from before the machine passed
    packets on for them, and ``forwarders`` are the IP versions that one of them needs passed on and
    will put back. ``ports`` are the host's ports that lead to nodes. ``leases``: a server for
    addresses listens for one of them."""

    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    prefixes: list[tuple[str, str, Prefix]] = field(default_factory=list)
    slots: set[int] = field(default_factory=set)
    settings: set[str] = field(default_factory=set)
    priors: dict[str, str] = field(default_factory=dict)
    forwarding: dict[int, Memory] = field(default_factory=dict)
    forwarders: set[int] = field(default_factory=set)
    ports: Taken = field(default_factory=Taken)
    leases: bool = False

    def free_slot(self, lab: Assigned | None) -> int:
        """The lowest range of indexes that no other lab has, and no interface either, of the
        machine's or of a namespace that this lab adopts: of a lab whose record is damaged, or
        stands in another state directory, its interfaces are all that is to be seen. Raises
        :class:`Conflict`."""
        adopted = [node.netns for node in (lab.nodes if lab else ()) if node.netns]
        taken = self.slots | {Indexes.slot_of(index) for index in interfaces(adopted)}
        for number in range(Indexes.SLOTS):
            if number not in taken:
                return number
        raise Conflict(f"there are {Indexes.SLOTS} labs on this machine; take one down")


def around(name: str, world: World | None) -> Claims:
    """The claims of all labs of this lab's world but itself: none in a private one."""
    return of_others(name) if world is not None and world.kind == "host" else Claims()


def of_others(name: str) -> Claims:
    """The claims of all labs of the host world but this one. A damaged record claims nothing: its
    names still stand in the kernel, where they are seen. Of a lab in another network namespace only
    the nodes' names count: what /run/netns holds is shared, and all else is not."""
    claims = Claims()
    here = identity.netns()
    for other in folder.labs():
        if other == name:
            continue
        try:
            stored = store.load(other)
        except StateError:
            continue
        for record in (stored.record, stored.journal):
            if record is not None and record.keeper is not None:
                claims.owners.update({("world", key): other for key in _world(record.keeper.pid)})
            if record is None or record.world != "host":
                continue
            outline = Outline(record.topology)
            nodes = {*record.namespaces, *outline.nodes}
            claims.owners.update({("namespace", node): other for node in nodes})
            if worlds.is_here(record, here):
                claims.slots.add(record.slot)
                claims.priors.update({key: value for node, key, value in record.priors if not node})
                claims.forwarding = of_the_world(remembered(record)) | claims.forwarding
                _claim(claims, other, outline)
        newest = stored.newest
        if newest is not None and newest.world == "host" and worlds.is_here(newest, here):
            # What a lab needs is what its newest run says: of two labs that are leaving, neither
            # counts on the other.
            claims.settings.update(newest.settings)
            claims.forwarders.update(
                each for each in of_the_world(memories(stored)) if SWITCH[each] in newest.settings
            )
    return claims


def _world(keeper: int) -> Iterator[str]:
    """A private world, by its user namespaces: what belongs to them is not to be a node of another
    lab."""
    for path in (f"/proc/{keeper}/ns/user", f"/proc/{keeper}/root{inner.PINS}/user"):
        with suppress(OSError):
            status = os.stat(path)
            yield world_key((status.st_dev, status.st_ino))


def _claim(claims: Claims, lab: str, outline: Outline) -> None:
    for link in outline.links():
        claims.owners["link", link] = lab
    claims.prefixes.extend((lab, network, subnet) for network, subnet in outline.subnets())
    for port in outline.ports():
        claims.ports.add(port, f"lab {lab}")
    claims.leases |= outline.leases()


def refuse_clashes(lab: Assigned, claims: Claims) -> None:
    """Raises :class:`Conflict` with every name and prefix that another lab has."""
    taken = []
    for network in lab.networks:
        for subnet in network.subnets:
            for owner, other, prefix in claims.prefixes:
                if subnet.version == prefix.version and subnet.overlaps(prefix):
                    taken.append(
                        f"subnet {subnet} of {network.name} overlaps {prefix} of {other} in "
                        f"lab {owner}"
                    )
    wanted = [("link", network.name) for network in lab.networks]
    for node in lab.nodes:
        wanted.append(("namespace", node.name))
        wanted.extend(("link", attachment.host_interface) for attachment in node.attachments)
    taken.extend(
        f"{kind} {name} belongs to lab {claims.owners[kind, name]}"
        for kind, name in wanted
        if (kind, name) in claims.owners
    )
    for node in lab.nodes:
        for wanted_port in node.ports:
            if found := claims.ports.owner_of(wanted_port):
                taken.append(f"port {found[0]} of {node.name} is published by {found[1]}")
            taken.extend(
                (
                    f"port {wanted_port.published} of {node.name}: {wanted_port.host} is an "
                    f"address of {network} in lab {owner}"
                )
                for owner, network, prefix in claims.prefixes
                if wanted_port.host is not None and wanted_port.host in prefix
            )
    if taken:
        taken[-1] += "; choose others, take that lab down, or use --world private"
        raise Conflict("\n".join(taken))
