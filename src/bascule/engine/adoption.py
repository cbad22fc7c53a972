"""Which namespaces of others a node may be: not one that is the host, a node or a private world
already, whatever its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bascule.errors import BasculeError, InputError
from bascule.host import namespaces
from bascule.host.seen import Observation, Source
from bascule.kernel.fact import only
from bascule.kernel.namespace import Namespace
from bascule.topology.model import Assigned

Owners = Mapping[tuple[str, str], str]


def refused(lab: Assigned, seen: Observation, owners: Owners) -> Iterator[BasculeError]:
    """One error for each node that can't be what its path leads to. ``owners`` names the lab by
    ("namespace", node), and by ("world", "device:inode") of a private world's user namespace."""
    taken: dict[tuple[int, int], str] = {}
    own = {node.name for node in lab.nodes if not node.netns}
    pinned = {fact.name for fact in only(seen.facts, Namespace) if fact.alive}
    for name, source in seen.sources.items():
        problem = _problem(name, source, own, taken, owners, name in pinned)
        for link in seen.strangers.get(name, ()) if not problem else ():
            problem = (
                f"node {name}: {source.path} has an interface {link.name} that counts as this "
                f"lab's by its index, {link.ifindex}: it is another lab's, where /run is another, "
                f"or left over; remove it first"
            )
        if problem:
            yield InputError(problem)
        if source.place is not None:
            taken.setdefault(source.place, name)


def _problem(
    name: str,
    source: Source,
    own: set[str],
    taken: dict[tuple[int, int], str],
    owners: Owners,
    is_pinned: bool,
) -> str:
    if source.place is None:
        # One that has been adopted goes on under its name, also where the path is gone, with the
        # process that it named.
        missing = (
            f"node {name}: there is no network namespace at {source.path}; does the process "
            f"still run?"
        )
        return "" if is_pinned else missing
    if source.is_host:
        return namespaces.the_hosts(name, source.path)
    if source.place in taken:
        return (
            f"node {name}: {source.path} is the same namespace as that of node "
            f"{taken[source.place]}; keep one of them"
        )
    for pin in source.pins:
        if pin in own:
            return f"node {name}: {source.path} is node {pin} of this lab; write its networks there"
        if owner := owners.get(("namespace", pin)):
            return (
                f"node {name}: {source.path} is node {pin} of lab {owner}; a namespace is a "
                f"node of one lab"
            )
    world = next(
        (owners[key] for user in source.users if (key := ("world", world_key(user))) in owners),
        None,
    )
    return (
        f"node {name}: {source.path} belongs to the private world of lab {world}" if world else ""
    )


def world_key(user: tuple[int, int]) -> str:
    """How a private world is called among the owners."""
    return f"{user[0]}:{user[1]}"
