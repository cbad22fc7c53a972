"""A noun as a row: what the rest of the house asks of it as a whole. What it asks of a single fact,
the fact answers (:class:`bascule.kernel.fact.Fact`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bascule.kernel.fact import Fact, Op
from bascule.kernel.look import Look, Space
from bascule.wire.message import Request


class Probe(NamedTuple):
    """How `doctor` tries it in a world that goes at once, by one message: ``op`` is made where the
    probes of the nouns before it have been made, and ``module`` is what a kernel lacks that refuses
    it."""

    op: Callable[[], Op]
    module: str
    needed: bool = True


class Dump(NamedTuple):
    """What has to be asked in a namespace, where its links tell that there is something
    (``when``)."""

    request: Request
    when: Callable[[Space], bool] = lambda _space: True


class Noun(NamedTuple):
    """``read`` makes facts of what was dumped, ``dumps`` are what has to be asked in each namespace
    beside links, addresses and routes; ``groups`` of notifications tell of it (RTNLGRP_* of
    linux/rtnetlink.h, or of nf_tables: ``rules``)."""

    name: str
    read: Callable[[Look], Iterator[Fact]] = lambda _look: iter(())
    dumps: tuple[Dump, ...] = ()
    groups: tuple[int, ...] = ()
    rules: tuple[int, ...] = ()
    probe: Probe | None = None
