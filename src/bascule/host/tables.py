"""The lab's own tables of rules as the kernel has them, asked over netlink: to start nft(8) for it
would cost more than all else that a look does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from bascule.errors import KernelError
from bascule.host.netlink import NETFILTER, UNTOLD, Netlink
from bascule.kernel.table import FAMILIES, Table, comment, table_name
from bascule.wire import netfilter


def look(name: str, tables: Iterable[tuple[str, str, str] | None]) -> Table | None:
    """The tables of this name among all that the namespace has
    (:func:`bascule.wire.netfilter.table`)."""
    found = {
        row[0]: row[2]
        for row in tables
        if row is not None and row[1] == name and row[0] in FAMILIES
    }
    families = tuple(family for family in FAMILIES if family in found)
    if not families:
        return None
    owned = all(found[family] == comment(name.removeprefix(table_name(""))) for family in families)
    return Table(name, "", image=image(name, families), there=families, owned=owned)


def labs() -> list[str]:
    """The labs whose tables the namespace has, by our comment in them."""
    try:
        with Netlink(NETFILTER) as socket:
            rows = [netfilter.table(reply) for reply in socket.dump(netfilter.list_tables())]
    except (OSError, KernelError) as error:
        if error.errno not in UNTOLD:
            raise
        return []  # a kernel without nf_tables
    own = table_name("")
    found = {
        row[1].removeprefix(own)
        for row in rows
        if row is not None
        and row[1].startswith(own)
        and row[0] in FAMILIES
        and row[2] == comment(row[1].removeprefix(own))
    }
    return sorted(found)


def image(name: str, families: Sequence[str]) -> str:
    """What tells the tables from what others make of them; empty where they can't be read. Rules
    stand in their order, elements do not; what rules have put into sets, and what they have
    counted, does not count."""
    found = hashlib.sha256()
    try:
        with Netlink(NETFILTER) as socket:
            for family in families:
                for kind in netfilter.PARTS:
                    _add(found, socket, kind, family, name)
    except (OSError, KernelError):
        return ""  # it may go between one look and the next
    return found.hexdigest()


def _add(found: hashlib._Hash, socket: Netlink, kind: int, family: str, name: str) -> None:
    for reply in socket.dump(netfilter.list_parts(kind, family, name)):
        part = netfilter.part(kind, reply, name)
        if part is None:
            continue
        found.update(b"%d:%s;" % (kind, part))
        if kind == netfilter.SETS and not netfilter.is_filled_by_rules(reply):
            replies = socket.dump(netfilter.list_elements(reply, family, name))
            found.update(
                b"".join(
                    sorted(element for each in replies for element in netfilter.elements(each))
                )
            )
