"""Commands in nodes: `exec` becomes one, a program starts one. Imports as little as it can: `exec`
is what people wait for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from bascule.engine import find
from bascule.errors import InputError
from bascule.host import spawn

if TYPE_CHECKING:
    import subprocess

    from bascule.state.record import Record


def become(
    node: str, argv: Sequence[str], lab: str | None = None, last: Callable[[], None] = lambda: None
) -> NoReturn:
    """Become a command in a node of this lab, of $BASCULE_LAB, or of the only one that has such a
    node. ``last`` is called right before, in the process that becomes the command.

    The process ends as the command does, with 127 where there is no such command and with 126 where
    it can't be run. Raises :class:`NotFound` before anything is done.
    """
    record = find.find_node(node, find.given_lab(lab))
    hostname = find.hostname_of(record, node)
    spawn.replace(find.world_of(record), node, argv, last, hostname)


def start(record: Record, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in a node of the lab of this record; takes the options of
    :class:`subprocess.Popen`. Raises :class:`NotFound` where the lab's world has ended, and
    :class:`InputError` for what is no list of words."""
    if isinstance(argv, str):
        raise InputError(f"a command is a list of words, like {argv.split()!r}")
    if not argv:
        raise InputError("a command is a list of words, and this one has none")
    hostname = find.hostname_of(record, node)
    return spawn.popen(
        find.world_of(record), node, [os.fspath(word) for word in argv], hostname, **options
    )
