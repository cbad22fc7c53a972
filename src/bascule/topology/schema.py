"""The lab file as JSON Schema (draft 2020-12), from the same rows as the loader, so that editors
complete the file.

The schema is a little wider than the loader: names that clash or addresses outside their subnet are
for ``bascule check``.
"""

from __future__ import annotations

from bascule.topology.forms import INTERFACE_TEXT
from bascule.topology.word import Noun, Schema
from bascule.topology.words.lab import NOUNS


def json_schema() -> Schema:
    """The schema of a lab file, as plain data."""
    names = {
        "type": "array",
        "description": "Names of networks.",
        "items": INTERFACE_TEXT,
        "uniqueItems": True,
    }
    nouns = {name: _noun(noun) for name, noun in NOUNS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bascule lab file",
        **nouns.pop("lab"),
        "$defs": {**nouns, "names": names},
    }


def _noun(noun: Noun) -> Schema:
    """A map with these words and no others."""
    properties: Schema = {}
    for word in noun.words:
        for key in (word.name, *word.other):
            doc = word.doc if key == word.name else f"The same as `{word.name}`. {word.doc}"
            properties[key] = {"description": doc, **word.form.schema}
    return {
        "type": "object",
        "description": noun.doc,
        "properties": properties,
        "additionalProperties": False,
        **noun.needs,
    }
