"""The parts of the address space that are taken, and the first that is free."""

from __future__ import annotations

from bisect import bisect_right

from bascule.topology.model import Prefix
from bascule.topology.ranges import Range, range_of


class Space:
    """What is taken: merged ranges in order, for each family."""

    def __init__(self) -> None:
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._ends: dict[int, list[int]] = {4: [], 6: []}

    def end_of_clash(self, version: int, low: int, high: int) -> int | None:
        """The end of a taken range that overlaps this one; None where it is free."""
        at = bisect_right(self._starts[version], high) - 1
        return self._ends[version][at] if at >= 0 and self._ends[version][at] >= low else None

    def take(self, version: int, low: int, high: int) -> None:
        """From now on."""
        starts, ends = self._starts[version], self._ends[version]
        # Merge with neighbours that touch, so that a search jumps over all of them at once.
        begin = bisect_right(ends, low - 2)
        stop = bisect_right(starts, high + 1)
        if begin < stop:
            low, high = min(low, starts[begin]), max(high, ends[stop - 1])
        starts[begin:stop] = [low]
        ends[begin:stop] = [high]


def take(space: Space, each: Range) -> None:
    """The whole of this range."""
    space.take(each.version, each.low, each.high)


def first_free(space: Space, base: Prefix, bits: int) -> Prefix | None:
    """The first free part of this size, which is taken from then on."""
    whole, size = range_of(base), 1 << bits
    low = whole.low
    while low + size - 1 <= whole.high:
        clash = space.end_of_clash(base.version, low, low + size - 1)
        if clash is None:
            space.take(base.version, low, low + size - 1)
            subnet: Prefix = type(base)((low, base.max_prefixlen - bits))
            return subnet
        low = (clash // size + 1) * size
    return None
