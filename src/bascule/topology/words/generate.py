"""The words of `generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.topology import forms
from bascule.topology.generate import KINDS, MAX_MADE, generate, problems
from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree
from bascule.topology.word import Form, Noun, Option, Word


@dataclass(frozen=True, slots=True)
class Asked:
    """What a file asks for; it is never written: what was generated is written out."""

    kind: str
    numbers: dict[str, int]


_COUNT = forms.number(0, MAX_MADE)
_DOCS = {
    "nodes": "How many nodes, in all",
    "depth": "Of a tree: how many levels below the top",
    "fanout": "Of a tree: how many nodes below each",
    "rows": "Of a grid",
    "columns": "Of a grid",
    "leaves": "Of a leaf-spine: how many leaves",
    "spines": "Of a leaf-spine: how many spines, each joined to each leaf",
    "hosts": "Of a leaf-spine: how many hosts at each leaf",
    "links": "At random: how many links, in all",
    "seed": "At random: another seed, another graph",
}


def _doc(name: str) -> str:
    """With what is meant where the word is left out."""
    usual = {kind: shape.takes[name][1] for kind, shape in KINDS.items() if name in shape.takes}
    if name == "links":
        meant = "Half as many again as nodes"
    elif len(usual) == 1:
        meant = f"{next(iter(usual.values()))}"
    else:
        meant = ", ".join(f"{number} of `{kind}`" for kind, number in usual.items())
    return f"{_DOCS[name]}. {meant} if left out."


_KIND = Form(forms.TEXT.read, {"enum": list(KINDS)})

GENERATE = Noun(
    "a shape to generate",
    "Nodes and links of a usual shape: routers, and what is joined to one of them alone.",
    Asked,
    (
        Word("kind", _KIND, f"Which: {', '.join(f'`{kind}`' for kind in KINDS)}."),
        *(Word(name, _COUNT, _doc(name), option=Option()) for name in _DOCS),
    ),
    needs={"required": ["kind"]},
)


def _read(scribe: Scribe, tree: Tree, path: Path) -> dict[str, Any] | None:
    """The lab that it makes, in the lab file's words."""
    mistakes = len(scribe.mistakes)
    found = GENERATE.read(scribe, tree, path)
    if len(scribe.mistakes) > mistakes:
        return None
    if "kind" not in found:
        scribe.wrong(tree, path, f"has no `kind`; give one of {', '.join(KINDS)}")
        return None
    asked = Asked(found.pop("kind"), found)
    for word, message in problems(asked.kind, asked.numbers):
        scribe.wrong_at((*path, word), message)
    if len(scribe.mistakes) > mistakes:
        return None
    try:
        return generate(asked.kind, **asked.numbers)
    except InputError as error:
        scribe.wrong(tree, path, str(error))
        return None


GENERATE_FORM = Form(_read, {"$ref": "#/$defs/generate"})
