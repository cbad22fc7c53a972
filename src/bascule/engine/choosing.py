"""Which lab is meant, where nobody says it."""

from __future__ import annotations

import os
from dataclasses import replace

from bascule.engine import asked, look, origin
from bascule.engine.asked import Asked
from bascule.engine.find import find_node, given_lab
from bascule.errors import NotFound
from bascule.topology.model import Assigned

_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def running(name: str | None = None, node: str | None = None) -> str:
    """The name of a lab that is up: the one named, by name or file, $BASCULE_LAB, this folder's, or
    the only one; where a ``node`` is named and no lab, that node's, whichever folder one stands in.
    Raises :class:`NotFound` where that leaves none or several, and :class:`InputError` where the
    lab of that name is of another file."""
    if node is not None and not name:
        return find_node(node, given_lab()).name
    given = given_lab(name)
    if given:
        by_file = os.path.sep in given or given.endswith(_ENDINGS)
        return _of_file(asked.load(given)) if by_file else given
    names = [info.name for info in look.labs()]
    if asked.default_file():
        here = asked.load(None)
        if here.name in names or not names:
            return _of_file(here)
    if len(names) == 1:
        return names[0]
    raise NotFound(
        f"which lab? name one of: {', '.join(names)}"
        if names
        else "no lab is up; `bascule up` builds one"
    )


def load(
    given: str | os.PathLike[str] | None,
    world: str | None = None,
    name: str = "",
    without_ipv6: bool = False,
) -> Asked:
    """What a file says (:func:`asked.load`), or the file of a lab that is there, by the lab's name:
    where that file is gone, what the lab was made of."""
    known = str(given or "")
    if known and os.path.sep not in known and not os.path.exists(known):
        info = next((info for info in look.labs() if info.name == known), None)
        if info is not None and info.source and os.path.exists(info.source):
            return asked.load(info.source, world, name, without_ipv6)
        if info is not None:
            topology, _world, record = look.running(known)
            if without_ipv6:
                topology = Assigned(replace(topology, ipv6=False))
            return Asked(topology, world or record.world, record.source)
    return asked.load(given, world, name, without_ipv6)


def _of_file(lab: Asked) -> str:
    """The name of the lab of this file. Raises :class:`InputError` where the one that is up is of
    another."""
    for info in look.labs():
        if info.name == lab.name and origin.is_other(info.source, lab.source):
            advice = f"name the lab itself, {lab.name}, where that one is meant"
            raise origin.refusal(lab.name, info.source, lab.source, advice)
    return lab.name


def changing(name: str | None = None) -> str:
    """The lab that an imperative command changes: as :func:`running`, and ``default`` where there
    is none yet. Raises :class:`NotFound` where there are several."""
    given = given_lab(name)
    if given:
        return given
    names = [info.name for info in look.labs()]
    if not names:
        return "default"
    if len(names) == 1:
        return names[0]
    raise NotFound(f"which lab? choose with --lab: {', '.join(names)}")


def meant(name: str | None, lab: str | None = None) -> tuple[str, str | None]:
    """What one means by ``name``: a lab, or a node or network of ``lab`` or of the lab that has
    one. Gives the lab's name, and the node's or network's, None where the whole lab is meant."""
    found = look.labs()
    if name is None or name in {info.name for info in found}:
        return running(name or lab), None
    having = next((info.name for info in found if name in info.names), None)
    return running(lab or having), name
