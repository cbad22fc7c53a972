"""Labs of the usual shapes: line, ring, star, tree, mesh, grid, leaf-spine, random.

Each function gives a lab as plain data in the lab file's words, for ``Lab.from_data``: nodes that
are joined by links without a bridge, all routers but for the hosts of a leaf-spine, and
``routing: static``, so that each reaches each. Raises :class:`InputError` for a number that the
shape can't have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations, count, islice, pairwise, product
from random import Random
from typing import Any, NamedTuple

from bascule.errors import InputError
from bascule.topology.tree import Tree, from_python

MAX_MADE = 100_000  # nodes, and links


class _Drawing(NamedTuple):
    """The nodes, in their order, and which are joined. Lazy, so that no number makes it large."""

    routers: Iterable[str]
    links: Iterable[tuple[str, str]]
    hosts: Iterable[str] = ()


def line(nodes: int = 3) -> dict[str, Any]:
    """n1, n2, … one after the other.

    >>> bascule.topologies.line(3)["links"]
    [['n1', 'n2'], ['n2', 'n3']]
    """
    return generate("line", nodes=nodes)


def ring(nodes: int = 4) -> dict[str, Any]:
    """A line whose ends are joined."""
    return generate("ring", nodes=nodes)


def star(nodes: int = 5) -> dict[str, Any]:
    """n1 in the middle, joined to each of the others."""
    return generate("star", nodes=nodes)


def tree(depth: int = 2, fanout: int = 2) -> dict[str, Any]:
    """n1 at the top, ``fanout`` nodes below each, ``depth`` times.

    >>> list(bascule.topologies.tree(depth=2, fanout=2)["nodes"])
    ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7']
    """
    return generate("tree", depth=depth, fanout=fanout)


def mesh(nodes: int = 4) -> dict[str, Any]:
    """Each node joined to each."""
    return generate("mesh", nodes=nodes)


def grid(rows: int = 3, columns: int = 3) -> dict[str, Any]:
    """n1-1, n1-2, … (row and column), each joined to its neighbours in both directions."""
    return generate("grid", rows=rows, columns=columns)


def leaf_spine(leaves: int = 4, spines: int = 2, hosts: int = 1) -> dict[str, Any]:
    """Each leaf joined to each spine; ``hosts`` of each leaf: host1-1 is the first of leaf1."""
    return generate("leaf-spine", leaves=leaves, spines=spines, hosts=hosts)


def random(nodes: int = 8, links: int | None = None, seed: int = 1) -> dict[str, Any]:
    """A connected graph with so many ``links`` (half as many again as nodes if left out), the same
    for the same ``seed``."""
    return generate("random", nodes=nodes, seed=seed, **({} if links is None else {"links": links}))


def generate(kind: str, **numbers: int) -> dict[str, Any]:
    """The lab of a kind, a key of :data:`KINDS`, which tells what numbers it takes. Raises
    :class:`InputError`."""
    wrong = [message for _, message in problems(kind, numbers)]
    if wrong:
        raise InputError("\n".join(wrong))
    shape = KINDS[kind]
    given = {name: default for name, (_, default) in shape.takes.items()} | numbers
    drawn = shape.draw(**given)
    routers = ((name, {"forward": True}) for name in drawn.routers)
    nodes = list(islice(chain(routers, ((name, {}) for name in drawn.hosts)), MAX_MADE + 1))
    links = [list(pair) for pair in islice(drawn.links, MAX_MADE + 1)]
    if max(len(nodes), len(links)) > MAX_MADE:
        raise InputError(f"that {kind} has more than {MAX_MADE:,} nodes or links; ask for fewer")
    return {"routing": "static", "nodes": dict(nodes), "links": links}


def problems(kind: str, numbers: dict[str, int]) -> list[tuple[str, str]]:
    """What a lab of that kind can't be given: the word, and what is wrong with it."""
    if kind not in KINDS:
        return [("kind", f"no kind '{kind}'; there are {', '.join(KINDS)}")]
    takes = KINDS[kind].takes
    known = ", ".join(takes)
    found = []
    for name, number in numbers.items():
        if name not in takes:
            found.append((name, f"a {kind} has no `{name}`; it has {known}"))
        elif not takes[name][0] <= number <= MAX_MADE:
            found.append((name, f"`{name}` of a {kind} must be {takes[name][0]} to {MAX_MADE:,}"))
    if kind == "random" and not found and "links" in numbers:
        nodes = numbers.get("nodes", takes["nodes"][1])
        least, most = nodes - 1, nodes * (nodes - 1) // 2
        if not least <= numbers["links"] <= most:
            found.append(("links", f"{nodes} nodes want {least:,} to {most:,} links; give as many"))
    return found


# How each is drawn


def _named(nodes: int) -> list[str]:
    return [f"n{number}" for number in range(1, nodes + 1)]


def _line(nodes: int) -> _Drawing:
    names = _named(nodes)
    return _Drawing(names, pairwise(names))


def _ring(nodes: int) -> _Drawing:
    names = _named(nodes)
    return _Drawing(names, zip(names, [*names[1:], names[0]], strict=True))


def _star(nodes: int) -> _Drawing:
    names = _named(nodes)
    return _Drawing(names, ((names[0], other) for other in names[1:]))


def _tree(depth: int, fanout: int) -> _Drawing:
    def links() -> Iterator[tuple[str, str]]:
        level, numbers = [1], count(2)
        for _ in range(depth):
            below = []
            for parent in level:
                for number in islice(numbers, fanout):
                    below.append(number)
                    yield f"n{parent}", f"n{number}"
            level = below

    return _Drawing(chain(["n1"], (child for _, child in links())), links())


def _mesh(nodes: int) -> _Drawing:
    names = _named(nodes)
    return _Drawing(names, combinations(names, 2))


def _grid(rows: int, columns: int) -> _Drawing:
    def links() -> Iterator[tuple[str, str]]:
        for row, column in product(range(1, rows + 1), range(1, columns + 1)):
            if column < columns:
                yield f"n{row}-{column}", f"n{row}-{column + 1}"
            if row < rows:
                yield f"n{row}-{column}", f"n{row + 1}-{column}"

    places = product(range(1, rows + 1), range(1, columns + 1))
    return _Drawing((f"n{row}-{column}" for row, column in places), links())


def _leaf_spine(leaves: int, spines: int, hosts: int) -> _Drawing:
    tops = [f"spine{number}" for number in range(1, spines + 1)]
    edge = [f"leaf{number}" for number in range(1, leaves + 1)]

    def below() -> Iterator[tuple[str, str]]:
        for number, leaf in enumerate(edge, 1):
            for host in range(1, hosts + 1):
                yield leaf, f"host{number}-{host}"

    links = chain(product(edge, tops), below())
    return _Drawing(chain(tops, edge), links, (host for _, host in below()))


def _random(nodes: int, links: int, seed: int) -> _Drawing:
    # random() is the one draw that Python promises to be the same in every version.
    draw, names = Random(seed).random, _named(nodes)  # noqa: S311 (no secret)

    def pairs() -> Iterator[tuple[int, int]]:
        seen = {(int(draw() * node), node) for node in range(1, nodes)}
        yield from sorted(seen)
        while len(seen) < links:
            first, second = sorted((int(draw() * nodes), int(draw() * nodes)))
            if first != second and (first, second) not in seen:
                seen.add((first, second))
                yield first, second

    links = links or min(nodes + nodes // 2, nodes * (nodes - 1) // 2)
    return _Drawing(names, ((names[first], names[second]) for first, second in pairs()))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of lab. ``takes``: the numbers that it is given, each with the least, and what is
    meant where it is left out."""

    draw: Callable[..., _Drawing]
    takes: dict[str, tuple[int, int]]


KINDS = {
    "line": Kind(_line, {"nodes": (2, 3)}),
    "ring": Kind(_ring, {"nodes": (3, 4)}),
    "star": Kind(_star, {"nodes": (2, 5)}),
    "tree": Kind(_tree, {"depth": (1, 2), "fanout": (1, 2)}),
    "mesh": Kind(_mesh, {"nodes": (2, 4)}),
    "grid": Kind(_grid, {"rows": (1, 3), "columns": (1, 3)}),
    "leaf-spine": Kind(_leaf_spine, {"leaves": (1, 4), "spines": (1, 2), "hosts": (0, 1)}),
    # 0 links: half as many again as nodes
    "random": Kind(_random, {"nodes": (2, 8), "links": (0, 0), "seed": (0, 1)}),
}


# In a lab file


def merged(tree: Tree, made: dict[str, Any], told: Tree) -> Tree:
    """A lab file's tree with what its ``generate`` (at ``told``) has made in its place: what the
    file says itself of a node is added to it, and counts where both say something; its own links
    come first."""
    own = dict(tree.value)  # type: ignore[call-overload] # a map: `generate` stands in it
    placed = {word: _placed(from_python(data, ""), told) for word, data in made.items()}
    placed["nodes"] = _with_own(placed["nodes"], own.get("nodes"))
    links = own.get("links")
    if links is not None and links.value is not None:
        more = placed["links"].value
        both = [*links.value, *more] if isinstance(links.value, list) else links.value  # type: ignore[misc] # a list
        placed["links"] = replace(links, value=both)
    return replace(tree, value={"routing": placed.pop("routing"), **own, **placed})


def _placed(tree: Tree, told: Tree) -> Tree:
    """The same, standing where the file has its `generate`."""
    value = tree.value
    if isinstance(value, dict):
        value = {name: _placed(below, told) for name, below in value.items()}
    elif isinstance(value, list):
        value = [_placed(item, told) for item in value]
    line, column = told.key_place
    return Tree(value, line, column, tree.text, line, column)


def _with_own(made: Tree, own: Tree | None) -> Tree:
    if own is None or own.value is None:
        return made
    drawn: dict[str, Tree] = made.value  # type: ignore[assignment] # generated: a map
    if isinstance(own.value, list):
        named = {item.text: replace(item, value=None) for item in own.value if item.text}
        # Where one is wrong, or given twice, the reader says so.
        wrong = len(named) != len(own.value)
        return own if wrong else replace(own, value={**drawn, **named, **drawn})
    if not isinstance(own.value, dict):
        return own
    nodes = dict(drawn)
    for name, below in own.value.items():
        nodes[name] = _node(nodes[name], below) if name in nodes else below
    return replace(own, value=nodes)


def _node(made: Tree, own: Tree) -> Tree:
    drawn: dict[str, Tree] = made.value  # type: ignore[assignment] # generated: a map
    if own.value is None:
        return made
    if isinstance(own.value, list):  # the short form: its networks
        return replace(own, value={**drawn, "networks": own})
    return replace(own, value={**drawn, **own.value}) if isinstance(own.value, dict) else own
