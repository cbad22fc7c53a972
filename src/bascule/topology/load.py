"""Lab file → :class:`Topology`. Nothing below hands out a topology that has not been checked.

The file's form is in the tables of :mod:`.words`; how nouns in nouns are read, in :mod:`.nouns`.
A value that is wrong is noted and left out, and reading goes on, so that one run shows all
mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bascule.errors import Mistake, TopologyError
from bascule.names import problem_with_interface_name
from bascule.topology import generate, links, source
from bascule.topology.check import check
from bascule.topology.defaults import fill_interfaces
from bascule.topology.forms import NAME_SHOWN
from bascule.topology.model import Network, Node, Topology
from bascule.topology.nouns import Group
from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree, from_python, in_order, nearest, path_text, shown
from bascule.topology.words.lab import LAB, other_words
from bascule.topology.words.network import NETWORK

DEFAULT_NAME = "lab"
MAX_NODES = 100_000
MAX_ATTACHMENTS = 200_000


def load_text(text: bytes, filename: str, default_name: str = "") -> Topology:
    """The checked topology of a lab file: YAML, and so JSON.

    ``default_name`` is the lab's name where the file gives none. Raises :class:`TopologyError` with
    all mistakes.
    """
    tree, mistakes = source.read(text, filename)
    return _load(tree, filename, mistakes, default_name)


def from_data(
    data: object, source: str = "<data>", default_name: str = "", kept: Iterable[Node] = ()
) -> Topology:
    """The checked topology of plain data in the lab file's words. ``kept`` are nodes of a checked
    topology, which come first: they are not read anew, but judged together with the others. Raises
    :class:`TopologyError` with all mistakes."""
    return _load(from_python(data, source), source, [], default_name, kept)


def judge(
    topology: Topology, source: str, advice: str = "or choose each `subnet` yourself"
) -> None:
    """What has been chosen for a topology has to fit, too. Raises :class:`TopologyError` with all
    that does not, each with an ``advice``."""
    found = [
        Mistake(source, 0, 0, path_text(path), f"{message}; {advice}")
        for path, message in check(topology)
    ]
    if found:
        raise TopologyError(in_order(found))


@dataclass(slots=True)
class _Lab:
    """What has been read so far."""

    networks: dict[str, Network] = field(default_factory=dict)
    # networks whose subnet or gateway is wrong: not to be judged further
    unreadable: set[str] = field(default_factory=set)
    groups: list[Group] = field(default_factory=list)
    origin: dict[str, Group] = field(default_factory=dict)  # node → entry of the file
    links: tuple[int, ...] = ()  # which of the file's are read: others' ends are unknown


def _load(
    tree: Tree,
    file: str,
    mistakes: list[Mistake],
    default_name: str,
    kept: Iterable[Node] = (),
) -> Topology:
    scribe = Scribe(file, tree, mistakes, other_words())
    tree, own_links = _generated(scribe, tree)
    found = LAB.read(scribe, tree, ())
    lab = _Lab()
    for network, readable in found.get("networks", ()):
        lab.networks[network.name] = network
        if not readable:
            lab.unreadable.add(network.name)
    lab.groups = [
        *(Group(node.name, tree, node, routes=tuple(range(len(node.routes)))) for node in kept),
        *found.get("nodes", ()),
    ]
    _resolve_networks(scribe, lab, "networks" in found)
    nodes = fill_interfaces(lab.networks, _expand(scribe, lab))
    name = found.get("name") or default_name or DEFAULT_NAME
    found |= {"name": name, "networks": tuple(lab.networks.values()), "nodes": nodes}
    known = links.resolve(scribe, found.get("links", ()), lab.origin, lab.networks)
    # The file's own come last, so that one more renames no interface of what is generated.
    known = dict(sorted(known.items(), key=lambda item: item[0] < own_links))
    found["links"] = links.fill_interfaces(known.values(), nodes, lab.networks)
    lab.links = tuple(known)
    topology: Topology = LAB.make(found)
    for path, message in check(topology, frozenset(lab.unreadable)):
        scribe.wrong_at(_original(path, lab), message)
    if scribe.mistakes:
        raise TopologyError(in_order(scribe.mistakes))
    return topology


def _generated(scribe: Scribe, tree: Tree) -> tuple[Tree, int]:
    """The tree with what `generate` makes written out, and how many of its links, the first ones,
    are the file's own."""
    word = "generate"
    told = tree.below(word)
    if told is None or not isinstance(tree.value, dict):
        return tree, 0
    made = LAB.keys[word].form.read(scribe, told, (word,))
    # Where it is wrong, nobody can tell which ends of links are.
    left = {key: below for key, below in tree.value.items() if key != word}
    if made is None:
        left.pop("links", None)
        scribe.root = replace(tree, value=left)
        return scribe.root, 0
    links = left.get("links")
    own = len(links.value) if links is not None and isinstance(links.value, list) else 0
    scribe.root = generate.merged(replace(tree, value=left), made, told)  # type: ignore[arg-type] # its form's
    return scribe.root, own


def _original(path: Path, lab: _Lab) -> Path:
    """The path in the file of a path in the topology: ``web7`` stands where ``web`` (with a count)
    does."""
    origin = lab.origin
    match path:
        case ("links", int(index), *rest):
            return ("links", lab.links[index], *rest)
        case ("nodes", str(name), "routes", int(index), *rest):
            return ("nodes", origin[name].name, "routes", origin[name].routes[index], *rest)
        case ("nodes", str(name), *rest):
            return ("nodes", origin[name].name, *rest)
    return path


def _resolve_networks(scribe: Scribe, lab: _Lab, has_networks: bool) -> None:
    """Networks that nodes name: made with defaults in the shortest form, else they have to be
    defined."""
    for group in lab.groups:
        unknown = [item for item in group.node.attachments if item.network not in lab.networks]
        for attachment in unknown:
            name = attachment.network
            path = ("nodes", group.name, "networks", name)
            problem = problem_with_interface_name(name[:NAME_SHOWN])
            if problem:
                scribe.wrong_at(path, problem)
            elif not has_networks:
                lab.networks[name] = NETWORK.make({}, name=name)
                continue
            else:
                hint = nearest(name, lab.networks) or "; define it under `networks`"
                scribe.wrong_at(path, f"unknown network '{shown(name)}'{hint}")
        if unknown:
            known = tuple(item for item in group.node.attachments if item.network in lab.networks)
            group.node = replace(group.node, attachments=known)


def _expand(scribe: Scribe, lab: _Lab) -> list[Node]:
    """All nodes, counted ones written out. Where that is too many, each entry gives one: enough to
    check the rest."""
    nodes = sum(group.count or 1 for group in lab.groups)
    attachments = sum((group.count or 1) * len(group.node.attachments) for group in lab.groups)
    too_many = nodes > MAX_NODES or attachments > MAX_ATTACHMENTS
    if too_many:
        most = f"at most {MAX_NODES:,} nodes and {MAX_ATTACHMENTS:,} attachments"
        scribe.wrong_at(
            ("nodes",),
            f"{nodes:,} nodes with {attachments:,} attachments are too many; a lab has {most}",
        )
    out: list[Node] = []
    for group in lab.groups:
        if not group.count:
            names = [group.name]
        else:
            names = [
                f"{group.name}{number}" for number in range(1, 2 if too_many else group.count + 1)
            ]
        for name in names:
            if name in lab.origin:
                other = lab.origin[name]
                twice = (
                    f"{shown(name)} is made by the count of "
                    f"`{shown(other.name if other.count else group.name)}` too; rename one"
                )
                message = (
                    twice
                    if other.count or group.count
                    else f"'{shown(name)}' is given twice; keep one"
                )
                scribe.wrong_key(group.tree, ("nodes", group.name), message)
                break
            lab.origin[name] = group
            out.append(group.node if not group.count else replace(group.node, name=name))
    return out
