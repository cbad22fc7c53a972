"""What a lab is to be, and which file says so."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bascule.engine import origin
from bascule.engine.options import Options
from bascule.errors import InputError
from bascule.names import printable, problem_with_lab_name
from bascule.topology.load import load_text
from bascule.topology.model import Topology

DEFAULT_FILES = ("bascule.yaml", "bascule.yml", "bascule.json", "bascule.toml")


@dataclass(frozen=True, slots=True)
class Asked:
    """``world`` None: the one that the lab has, or the user's default. ``source`` is the file's
    whole path, "" for none and for a pipe, and ``given`` the path as it was given. A lab that was
    ``named`` beside its file is meant, whichever file it was of. ``without_ipv6``: whatever the
    file says of that."""

    topology: Topology
    world: str | None = None
    source: str = ""
    named: bool = False
    given: str = ""
    without_ipv6: bool = False

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.topology.name

    def options(self, command: str, wait: bool = True, kill: bool = False) -> Options:
        """How to make it so; ``command`` is told to whoever waits."""
        return Options(self.world, wait, command, self.source, kill, self.named)


def checked_name(name: str) -> str:
    """The name itself. Raises :class:`InputError` where no lab can be called that."""
    if problem := problem_with_lab_name(name):
        raise InputError(problem)
    return name


def default_file() -> str | None:
    """The lab file of this folder."""
    return next((name for name in DEFAULT_FILES if os.path.exists(name)), None)


def load(
    path: str | os.PathLike[str] | None,
    world: str | None = None,
    name: str = "",
    without_ipv6: bool = False,
) -> Asked:
    """What this file says; None: the one of this folder. Raises :class:`InputError` where there is
    none, and what :func:`of_text` raises."""
    found = path or default_file()
    if found is None:
        raise InputError("no lab file: name one, or write bascule.yaml in this folder")
    return of_text(origin.read(Path(found)), found, world, name, without_ipv6)


def of_text(
    text: bytes,
    path: str | os.PathLike[str],
    world: str | None = None,
    name: str = "",
    without_ipv6: bool = False,
) -> Asked:
    """What the text of a file says, which is not read again. ``name`` counts before the file's
    own, and ``without_ipv6`` before its ``ipv6``. Raises :class:`TopologyError` with all
    mistakes."""
    place = Path(path)
    topology = load_text(text, printable(str(path)), origin.stem(place))
    if name:
        topology = replace(topology, name=checked_name(name))
    if without_ipv6:
        topology = replace(topology, ipv6=False)
    return Asked(topology, world, origin.path_of(place), bool(name), str(path), without_ipv6)
