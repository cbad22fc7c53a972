"""What a table of nft consists of: sets, maps and chains, as values that become text (nft(8))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from bascule.kernel.op import Indexes

IP = {4: "ip", 6: "ip6"}
ADDR = {4: "ipv4_addr", 6: "ipv6_addr"}
# Marks a frame whose address was translated to a neighbour's, from there to the bridge's port
# (skb->mark).
MARK = 0x20000000
# The indexes of all interfaces of all labs, and all others: `iif {LABS}`.
LABS, OTHERS = f"& {Indexes.BIT:#x} != 0", f"& {Indexes.BIT:#x} == 0"


_MOST_DYNAMIC = 65535


class Elements(NamedTuple):
    """A set or a map (``kind`` holds a colon) with its elements. An ``interval`` one takes
    prefixes, a ``dynamic`` one is filled by rules. ``kind`` is a type, or with ``of`` what its
    elements are taken from (``typeof``). ``kept``: a rule that looks there stays where nothing is
    in it."""

    name: str
    kind: str
    elements: tuple[str, ...]
    flags: Literal["", "interval", "dynamic"] = ""
    of: bool = False
    kept: bool = False

    def lines(self) -> list[str]:
        """One element a line."""
        flags = [f"\tflags {self.flags}"] if self.flags else []
        if self.flags == "dynamic":
            flags.insert(0, f"\tsize {_MOST_DYNAMIC}")
        rows = (
            ["\telements = {", *(f"\t\t{element}," for element in self.elements), "\t}"]
            if self.elements
            else []
        )
        kind = f"\t{'typeof' if self.of else 'type'} {self.kind}"
        return [f"{'map' if ':' in self.kind else 'set'} {self.name} {{", kind, *flags, *rows, "}"]


class Chain(NamedTuple):
    """A chain, on a hook or, where that is empty, to be jumped to."""

    name: str
    hook: str
    rules: tuple[str, ...]

    def lines(self) -> list[str]:
        """One rule a line."""
        hook = [f"\ttype {self.hook}; policy accept;"] if self.hook else []
        return [f"chain {self.name} {{", *hook, *(f"\t{rule}" for rule in self.rules), "}"]


def quoted(names: Iterable[str]) -> tuple[str, ...]:
    """Names of interfaces as elements."""
    return tuple(f'"{name}"' for name in names)


def table(
    family: str, name: str, comment: str, sets: Iterable[Elements], chains: Iterable[Chain]
) -> str:
    """The table's text. Sets and maps without elements are left out, and with them the rules that
    would look there and the chains to which nothing leads. A set with one element stands in the
    rules themselves: to look into a set costs four times as much as to compare. Empty where no
    chain on a hook is left."""
    there = [each for each in sets if each.elements or each.kept]
    names = {each.name for each in there}
    single = {each.name: each.elements[0] for each in there if _is_single(each)}
    left = [
        each._replace(
            rules=tuple(
                _written_in(rule, single) for rule in each.rules if names.issuperset(_used(rule))
            )
        )
        for each in chains
    ]
    left = _connected(left, there)
    if not left:
        return ""
    looked = {name for each in left for rule in each.rules for name in _used(rule)}
    lines = [f"table {family} {name} {{", f'\tcomment "{comment}"']
    for block in (
        *(each.lines() for each in there if each.name in looked),
        *(each.lines() for each in left),
    ):
        lines += ["", *(f"\t{line}" for line in block)]
    return "\n".join([*lines, "}", ""])


def _is_single(each: Elements) -> bool:
    """Whether a rule can say it itself."""
    return len(each.elements) == 1 and not each.of and ":" not in each.kind.split()


def _written_in(rule: str, single: Mapping[str, str]) -> str:
    """The rule with each set's one element in its place; of a pair, which can't be denied in one
    rule, only where it is asked for."""
    rows = {name: element.split(" . ") for name, element in single.items()}

    def pair(found: re.Match[str]) -> str:
        row = rows.get(found[3], [])
        return f"{found[1]} {row[0]} {found[2]} {row[1]}" if len(row) == 2 else found[0]

    rule = re.sub(r"([io]ifname) \. ([^@!]+) @(\w+)", pair, rule)
    return re.sub(
        r"(?<! \. )@(\w+)",
        lambda found: rows[found[1]][0] if len(rows.get(found[1], ())) == 1 else found[0],
        rule,
    )


def _used(rule: str) -> list[str]:
    return re.findall(r"@([a-z]\w*)", re.sub(r"@th,\d+,\d+", "", rule))


def _connected(chains: list[Chain], sets: list[Elements]) -> list[Chain]:
    """Without chains that do nothing and those to which nothing jumps, nor what jumps there: until
    none is left."""
    before: list[Chain] = []
    while before != chains:
        before = chains
        full = {
            each.name for each in chains if any(rule.split()[-1] != "return" for rule in each.rules)
        }
        chains = [
            each._replace(rules=tuple(rule for rule in each.rules if full.issuperset(_jumps(rule))))
            for each in chains
        ]
        meant = {name for each in chains for rule in each.rules for name in _jumps(rule)}
        meant |= {name for each in sets for element in each.elements for name in _jumps(element)}
        chains = [
            each for each in chains if each.name in full and (each.hook or each.name in meant)
        ]
    return chains


def _jumps(rule: str) -> list[str]:
    return re.findall(r"\bjump ([\w.-]+)", rule)
