"""Types → JSON Schema: what is published of a document is made of the type that it is of."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Union

from bascule.kernel import file, flow, nouns, process, sysctl  # noqa: F401 (all facts are known)
from bascule.kernel.fact import Fact
from bascule.kernel.told import told_fields

Schema = dict[str, Any]

_PLAIN: dict[object, Schema] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}


class Maker:
    """Makes the schema of a type; ``defined`` are those of the classes that were met."""

    def __init__(self) -> None:
        self.defined: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """The schema of this type."""
        if hint in _PLAIN:
            return _PLAIN[hint]
        origin = typing.get_origin(hint)
        if origin is None:
            return self._class(hint)
        make: Callable[..., Schema] = _MAKERS[origin]
        return make(self, *typing.get_args(hint))

    def array(self, item: Any, *_more: Any) -> Schema:
        """A list of such items."""
        return {"type": "array", "items": self.of(item)}

    def mapping(self, _key: Any, value: Any) -> Schema:
        """An object with such values."""
        return {"type": "object", "additionalProperties": self.of(value) or True}

    def choice(self, *hints: Any) -> Schema:
        """One of these types."""
        schemas = [self.of(hint) for hint in hints]
        if all({*each} == {"type"} for each in schemas):
            return {"type": [each["type"] for each in schemas]}
        if all({*each} == {"enum"} for each in schemas):
            return {"enum": [value for each in schemas for value in each["enum"]]}
        return {"anyOf": schemas}

    def literal(self, *values: Any) -> Schema:
        """One of these values."""
        return {"enum": list(values)}

    def _class(self, found: type) -> Schema:
        name = found.__name__
        if name not in self.defined:
            self.defined[name] = {}  # of one that holds its like
            self.defined[name] = self._facts() if found is Fact else self._object(found)
        return {"$ref": f"#/$defs/{name}"}

    def _facts(self) -> Schema:
        """Any fact: its fields by its class."""
        description = "The fields of a fact, by its kind."
        # a class with slots was another one before, which may be there still
        classes = {found.noun: found for found in facts()}
        any_of = [self.of(found) for _noun, found in sorted(classes.items())]
        return {"description": description, "anyOf": any_of}

    def _object(self, found: type) -> Schema:
        hints = typing.get_type_hints(found)
        if issubclass(found, Fact) or not _is_view(found):
            hints = {field.name: hints[field.name] for field in told_fields(found)}
        noun = f"{found.noun}: " if issubclass(found, Fact) else ""
        return {
            "type": "object",
            "description": f"{noun}{_described(found)}",
            "properties": {key: self.of(hint) for key, hint in hints.items()},
            "required": [
                key for key in hints if key not in getattr(found, "__optional_keys__", ())
            ],
            "additionalProperties": False,
        }


def facts(kind: type[Fact] = Fact) -> Iterator[type[Fact]]:
    """All classes of facts."""
    for found in kind.__subclasses__():
        if "noun" in vars(found):
            yield found
        yield from facts(found)


def _is_view(found: type) -> bool:
    """Whether all of its fields are told: it is no part of a fact."""
    return not found.__module__.startswith("bascule.kernel.")


_MAKERS: dict[object, Callable[..., Schema]] = {
    list: Maker.array,
    tuple: Maker.array,
    Mapping: Maker.mapping,
    Literal: Maker.literal,
    Union: Maker.choice,
    types.UnionType: Maker.choice,
}


def _described(found: type) -> str:
    """A docstring as plain text in one line."""
    text = re.sub(r":[a-z]+:`~?([^`]*)`", r"\1", " ".join((found.__doc__ or "").split()))
    return text.replace("`", "")
