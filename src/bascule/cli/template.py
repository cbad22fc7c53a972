"""Templates in the look of Go's text/template, as Docker has them: ``{{.Name}}: {{json .Labels}}``.

A part of that language, read into nodes and walked; nothing is evaluated as Python. Fields are
those of the values, by their JSON keys or in CamelCase, in any case; a field that a value does not
have is an error, before anything is printed. What is missing in a map (labels) is empty.

* ``{{.A.B}}`` a field; ``{{.}}`` the value itself; ``{{$.A}}`` of the outermost value
* ``{{range .A}}…{{else}}…{{end}}`` ``{{if .A}}…{{else}}…{{end}}`` ``{{with .A}}…{{end}}``
* ``{{join .A ", "}}`` and the other functions below; ``{{.A | upper}}``; parentheses
* ``{{-`` and ``-}}`` take the blanks before and after them along
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from bascule.errors import InputError
from bascule.names import printable, shown

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?[0-9]+)|(?P<mark>[|()])'
    r"|(?P<path>\$?(?:\.[A-Za-z_][\w-]*)+|\$|\.)|(?P<word>[A-Za-z]+))"
)
_LONGEST = 10_000
_MOST_WORDS, _MOST_BLOCKS = 100, 50  # of one action; one in the other


class _Text(NamedTuple):
    text: str


class _Path(NamedTuple):
    from_top: bool
    names: tuple[str, ...]


class _Call(NamedTuple):
    """A function, or none of a lone argument, of arguments that are calls, paths or constants."""

    name: str
    arguments: tuple[Any, ...]


class _Of(NamedTuple):
    """A field of what stands in parentheses."""

    inner: Any
    names: tuple[str, ...]


class _Block(NamedTuple):
    word: str
    subject: Any
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...]


class _At(NamedTuple):
    """The value that is the dot, and the outermost; a ``trial`` walks every branch."""

    dot: Any
    top: Any
    trial: bool


class Template:
    """A template that was understood. Raises :class:`InputError` for one that is not."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise InputError(f"--format: a template of more than {_LONGEST} characters")
        self._nodes, word = _Reader(text.replace(r"\t", "\t").replace(r"\n", "\n")).nodes()
        if word:
            raise InputError(f"--format: {{{{{word}}}}} without its beginning")

    def of(self, value: Any) -> str:
        """What it makes of a value of the API."""
        return "".join(_walk(self._nodes, _At(value, value, trial=False)))

    def check(self, kind: type) -> None:
        """Raises :class:`InputError` where a value of this class lacks a field that is asked for,
        whatever there is now."""
        value = _sample(kind)
        for _text in _walk(self._nodes, _At(value, value, trial=True)):
            pass

    @property
    def heading(self) -> str:
        """What stands above it in a table: the name of its first field."""
        path = next(_paths(self._nodes), None)
        words = re.sub("(?<=[a-z0-9])(?=[A-Z])", " ", path.names[-1]) if path else ""
        return words.replace("_", " ").upper()


class _Reader:
    """Reads a template: text, and actions between braces."""

    def __init__(self, text: str) -> None:
        self._parts = list(_parts(text))
        self._at = self._depth = 0

    def nodes(self) -> tuple[tuple[Any, ...], str]:
        """As far as an ``end`` or ``else`` that belongs to what is around, and that word."""
        found: list[Any] = []
        while self._at < len(self._parts):
            is_action, text = self._parts[self._at]
            self._at += 1
            word, _, rest = text.partition(" ")
            if not is_action:
                found.append(_Text(text))
            elif word in ("end", "else") and not rest.strip():
                return tuple(found), word
            elif word in ("range", "if", "with"):
                found.append(self._block(word, rest))
            elif not text.startswith("/*"):
                found.append(_expression(text))
        return tuple(found), ""

    def _block(self, word: str, rest: str) -> _Block:
        subject = _expression(rest)
        self._depth += 1
        if self._depth > _MOST_BLOCKS:
            raise InputError(f"--format: too deep: {_MOST_BLOCKS} blocks one in the other")
        body, ended_by = self.nodes()
        otherwise: tuple[Any, ...] = ()
        if ended_by == "else":
            otherwise, ended_by = self.nodes()
        if ended_by != "end":
            raise InputError(f"--format: {{{{{word}}}}} lacks its {{{{end}}}}")
        self._depth -= 1
        return _Block(word, subject, body, otherwise)


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Text and actions (True) in turn."""
    at, trimmed = 0, False
    for action in _ACTION.finditer(text):
        before = text[at : action.start()]
        before = before.lstrip() if trimmed else before
        yield False, before.rstrip() if action[1] else before
        yield True, action[2]
        at, trimmed = action.end(), bool(action[3])
    rest = text[at:]
    if "{{" in rest:
        raise InputError("--format: {{ without }}")
    yield False, rest.lstrip() if trimmed else rest


def _expression(text: str) -> Any:
    tokens, at = [], 0
    while text[at:].strip():
        token = _TOKEN.match(text, at)
        if token is None:
            raise InputError(f"--format: {shown(text[at:].strip())} is not understood")
        tokens.append((str(token.lastgroup), token[0].strip()))
        at = token.end()
    if len(tokens) > _MOST_WORDS:
        raise InputError(f"--format: too deep: {len(tokens)} words in one action")
    found = _pipeline(tokens)
    if tokens:
        raise InputError("--format: ) without (")
    return found


def _pipeline(tokens: list[tuple[str, str]]) -> Any:
    """As far as a closing parenthesis; what stands before a bar is the last argument of what stands
    behind it."""
    found: Any = None
    while True:
        words = _words(tokens)
        if found is not None:
            words.append(found)
        found = _called(words)
        if not tokens or tokens[0] != ("mark", "|"):
            return found
        tokens.pop(0)


def _words(tokens: list[tuple[str, str]]) -> list[Any]:
    words: list[Any] = []
    while tokens and tokens[0] not in (("mark", "|"), ("mark", ")")):
        kind, text = tokens.pop(0)
        if text == "(":
            words.append(_pipeline(tokens))
            if not tokens:
                raise InputError("--format: ( without )")
            tokens.pop(0)
            if tokens and tokens[0][0] == "path" and tokens[0][1] > ".":
                words[-1] = _Of(words[-1], _names(tokens.pop(0)[1]))
        elif kind == "path":
            words.append(_Path(text.startswith("$"), _names(text)))
        elif kind == "word":
            words.append(_Text(text))
        elif kind == "number":
            words.append(int(text))
        else:
            words.append(_unquoted(text))
    return words


def _names(path: str) -> tuple[str, ...]:
    return tuple(filter(None, path.removeprefix("$").split(".")))


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        found: str = json.loads(text, strict=False)
    except ValueError as error:
        raise InputError(f"--format: {shown(text)} is no text") from error
    return found


def _called(words: list[Any]) -> _Call:
    if not words:
        raise InputError("--format: nothing between {{ and }}; {{.}} is the value itself")
    first, *rest = words
    bare = next((each.text for each in rest if isinstance(each, _Text)), None)
    if bare is not None:
        raise InputError(f"--format: {shown(bare)} is no value; write .{shown(bare)}")
    if not isinstance(first, _Text):
        if rest:
            raise InputError("--format: a value with arguments; a function stands before them")
        return _Call("", (first,))
    if first.text not in _FUNCTIONS:
        near = _near(first.text, _FUNCTIONS) or f"there are: {', '.join(_FUNCTIONS)}"
        raise InputError(f"--format: no function {shown(first.text)}; {near}")
    _function, least, most = _FUNCTIONS[first.text]
    if not least <= len(rest) <= most:
        raise InputError(f"--format: {first.text} takes {least} arguments, and not {len(rest)}")
    return _Call(first.text, tuple(rest))


def _near(word: str, known: typing.Iterable[str]) -> str:
    by_key = {_key(name): name for name in known}
    near = get_close_matches(_key(word), by_key, 1, 0.5)
    return f"did you mean {by_key[near[0]]}?" if near else ""


def _walk(nodes: Sequence[Any], at: _At) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, _Text):
            yield node.text
        elif isinstance(node, _Block):
            yield from _walk_block(node, at)
        else:
            yield _spelt(_value(node, at))


def _walk_block(block: _Block, at: _At) -> Iterator[str]:
    subject = _value(block.subject, at)
    inner = [at._replace(dot=subject)] if block.word == "with" else [at]
    if block.word == "range":
        inner = [at._replace(dot=each) for each in _items(subject, at)]
    if at.trial or (subject and inner):
        for each in inner:
            yield from _walk(block.body, each)
    if at.trial or not subject:
        yield from _walk(block.otherwise, at)


def _items(subject: Any, at: _At) -> list[Any]:
    if isinstance(subject, Mapping):
        return list(subject.values())
    if isinstance(subject, (list, tuple)):
        return list(subject)
    if subject is None or at.trial:
        return []
    raise InputError("--format: range goes over lists and maps only")


def _value(node: Any, at: _At) -> Any:
    if isinstance(node, (_Path, _Of)):
        found = _value(node.inner, at) if isinstance(node, _Of) else at.dot
        if isinstance(node, _Path) and node.from_top:
            found = at.top
        for name in node.names:
            found = _field(found, name, at)
        return found
    if isinstance(node, _Call):
        arguments = [_value(each, at) for each in node.arguments]
        if not node.name:
            return arguments[0]
        try:
            return _FUNCTIONS[node.name][0](*arguments)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            if at.trial:
                return ""
            raise InputError(f"--format: {node.name}: {error}") from error
    return node


def _key(name: str) -> str:
    return name.replace("_", "").lower()


def _field(value: Any, name: str, at: _At) -> Any:
    if isinstance(value, Mapping):
        near = {_key(str(key)): key for key in value}
        return value.get(name, value.get(near.get(_key(name), name), ""))
    if not is_dataclass(value):
        if value in (None, "") or at.trial:
            return ""
        raise InputError(f"--format: {shown(str(value))} has no field {shown(name)}")
    known = {_key(field.name): field.name for field in fields(value)}
    if _key(name) not in known:
        near_one = _near(name, known.values()) or f"there are: {', '.join(known.values())}"
        raise InputError(f"--format: no field {shown(name)}; {near_one}")
    return getattr(value, known[_key(name)])


def _spelt(value: Any) -> str:
    """As Go prints it; nothing where there is nothing. What comes from the kernel or a file is made
    harmless for a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_spelt, value))}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_spelt(each)}' for key, each in value.items())}]"
    if is_dataclass(value):
        return f"{{{' '.join(_spelt(getattr(value, each.name)) for each in fields(value))}}}"
    return printable(str(value))


def _as_json(value: Any) -> str:
    from bascule.api import as_data

    return json.dumps(as_data(value), separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


# word → what it does, of how many arguments
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "json": (_as_json, 1, 1),
    "join": (lambda items, by: by.join(map(_spelt, items)), 2, 2),
    "upper": (lambda text: _spelt(text).upper(), 1, 1),
    "lower": (lambda text: _spelt(text).lower(), 1, 1),
    "len": (len, 1, 1),
    "index": (_index, 2, 9),
    "eq": (lambda one, *others: one in others, 2, 9),
    "ne": (lambda one, other: one != other, 2, 2),
    "not": (lambda value: not value, 1, 1),
    "and": (lambda *values: next((each for each in values if not each), values[-1]), 2, 9),
    "or": (lambda *values: next((each for each in values if each), values[-1]), 2, 9),
}


def _paths(nodes: Sequence[Any]) -> Iterator[_Path]:
    """All fields that are named, in their order."""
    for node in nodes:
        if isinstance(node, _Path) and node.names:
            yield node
        elif isinstance(node, _Call):
            yield from _paths(node.arguments)
        elif isinstance(node, _Block):
            yield from _paths((node.subject, *node.body, *node.otherwise))


def _sample(kind: Any) -> Any:
    """A value of this type, with something in each list."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (tuple, list):
        return (_sample(inner[0]),)
    if origin in (typing.Union, types.UnionType):
        return _sample(inner[0])
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: _sample(hints[field.name]) for field in fields(kind)})  # type: ignore[operator]
    return {} if origin is not None and origin is not typing.Literal else ""
