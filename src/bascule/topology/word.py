"""What a word of the lab file is: one row, of which everything is made that the loader, the schema,
the dump, the command line and the reference have of it.

A new word is one row in :mod:`bascule.topology.words`, and a field of the model for its value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from enum import Enum, auto
from typing import Any

from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree, kind_of, nearest, shown

Schema = dict[str, Any]  # a part of a JSON Schema
Reader = Callable[[Scribe, Tree, Path], object | None]  # None: wrong, and noted

_FORMS = {
    "a lab": "; the shortest lab is `nodes: {a: [lan], b: [lan]}`",
    "a network": "; write {subnet: 10.1.0.0/24}, or {}",
    "a shape": "; write {rate: 10mbit}",
    "a node": "; write the list of its networks, like [lan], or a map of its fields",
}


class Takes(Enum):
    """What follows an option on the command line."""

    TEXT = auto()
    NUMBER = auto()
    SEVERAL = auto()  # a text, and the option may be repeated
    NOTHING = auto()  # the option says true
    DENIES = auto()  # nothing, too; --no-WORD says false
    EITHER = auto()  # --WORD says true and --no-WORD false


def as_it_is(value: Any) -> object:
    """For values that the file has as the model has them."""
    return value


@dataclass(frozen=True, slots=True)
class Form:
    """What a word holds. ``read`` gives the model's value; ``write`` makes plain data of that
    (dict, list, str, int, bool), which ``read`` takes; ``schema`` describes what ``read`` takes, or
    a little more. ``takes``: what an option for such a value takes."""

    read: Reader
    schema: Schema
    write: Callable[[Any], object] = as_it_is
    takes: Takes = Takes.TEXT


@dataclass(frozen=True, slots=True)
class Option:
    """The option that says a word to the command that makes its noun live (``network create``,
    ``network connect``, ``node add``).

    ``help`` empty: the word's own. ``names`` empty: ``--`` and the word, with dashes. ``metavar``
    empty: the word in capitals. ``takes`` None: as the form says. ``says``: the lab file's value
    for what was given.
    """

    help: str = ""
    metavar: str = ""
    names: tuple[str, ...] = ()
    takes: Takes | None = None
    choices: tuple[str, ...] = ()
    says: Callable[[Any], object] = as_it_is


@dataclass(frozen=True, slots=True)
class Word:
    """One word. ``doc`` is a sentence or two for the schema and the reference. ``other`` are
    further words for the same, mostly Compose's. ``empty``: no value is a value, and is written
    out, too.

    ``model`` is the attribute of the model's class where it is not called as the word. Its value is
    written where it is not the attribute's default. A word that is not one attribute has ``of``
    instead: what to write for a whole item, None for nothing.
    """

    name: str
    form: Form
    doc: str
    other: tuple[str, ...] = ()
    empty: bool = False
    model: str = ""
    of: Callable[[Any], object | None] | None = None
    option: Option | None = None

    @property
    def attribute(self) -> str:
        """Where the model has it."""
        return self.model or self.name

    @property
    def takes(self) -> Takes:
        """What its option takes."""
        return (self.option and self.option.takes) or self.form.takes

    @property
    def flags(self) -> tuple[str, ...]:
        """How its option is written; empty where it has none."""
        if self.option is None:
            return ()
        no = "no-" if self.takes is Takes.DENIES else ""
        return self.option.names or (f"--{no}{self.name.replace('_', '-')}",)


def nothing(_item: object) -> None:
    """For words that are read only: others say the same."""


@dataclass(slots=True)
class Noun:
    """A map of words. ``name`` is how messages call it, with its article; ``model`` the class of
    its items, a dataclass or a named tuple. ``foreign``: words of Compose's that have no place here
    and look like one that has, and what to do without them. ``needs``: a part of its JSON Schema,
    for what can't be left out.
    """

    name: str
    doc: str
    model: Callable[..., Any]
    words: tuple[Word, ...]
    foreign: dict[str, str] = field(default_factory=dict)
    needs: Schema = field(default_factory=dict)
    keys: dict[str, Word] = field(init=False)  # every key that is understood → its row
    # each with its attribute and that one's default
    written: list[tuple[Word, str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = {key: word for word in self.words for key in (word.name, *word.other)}
        defaults = _defaults(self.model)
        self.written = [
            (word, word.attribute, defaults.get(word.attribute, MISSING)) for word in self.words
        ]

    def read(self, scribe: Scribe, tree: Tree, path: Path) -> dict[str, Any]:
        """The values that could be read, by the names of their words."""
        if not isinstance(tree.value, dict):
            advice = _FORMS.get(self.name, "")
            scribe.wrong(tree, path, f"{self.name} must be a map, not {kind_of(tree)}{advice}")
            return {}
        found: dict[str, Any] = {}
        seen: dict[str, str] = {}
        for key, below in tree.value.items():
            word = self.keys.get(key)
            if word is None:
                scribe.wrong_key(below, path, f"unknown key '{shown(key)}'{self._advice(key)}")
            elif word.name in seen:
                scribe.wrong_key(
                    below, (*path, key), f"says the same as '{seen[word.name]}'; keep one of them"
                )
            else:
                seen[word.name] = key
                value = _value(scribe, below, (*path, key), word)
                if value is not None:
                    found[word.name] = value
        return found

    def _advice(self, key: str) -> str:
        if key in self.foreign:
            return f"; {self.foreign[key]}; remove it"
        known = ", ".join(word.name for word in self.words)
        return nearest(key, self.keys) or f"; {self.name} has {known}"

    def make(self, found: dict[str, Any], **more: Any) -> Any:
        """An item of what was read; ``more`` are attributes that no word of its own gives."""
        given = {
            self.keys[name].attribute: value for name, value in found.items() if value is not None
        }
        return self.model(**given, **more)

    def write(self, item: Any) -> dict[str, Any]:
        """An item as plain data, in the order of the words, without what is meant by default.
        :meth:`read` and :meth:`make` give an equal item of it."""
        out: dict[str, Any] = {}
        for word, attribute, default in self.written:
            if word.of is not None:
                data = word.of(item)
                if data is not None:
                    out[word.name] = data
                continue
            value = getattr(item, attribute)
            if value != default or word.empty:
                out[word.name] = word.form.write(value)
        return out


def _value(scribe: Scribe, tree: Tree, path: Path, word: Word) -> object | None:
    if tree.value is None and not word.empty:
        scribe.wrong_key(tree, path, "has no value; give one, or remove the key")
        return None
    return word.form.read(scribe, tree, path)


def _defaults(model: Callable[..., Any]) -> dict[str, Any]:
    """The attributes that have a default, of a dataclass or a named tuple."""
    if hasattr(model, "_field_defaults"):
        return dict(model._field_defaults)
    return {each.name: each.default for each in model.__dataclass_fields__.values()}  # type: ignore[attr-defined] # a class, which mypy can't know here
