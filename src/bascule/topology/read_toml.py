"""TOML text (toml.io, 1.0) → position tree.

The standard library's parser gives values without positions. A small scanner of headers and keys
finds them again, as well as it can: where it finds none, a value has the place of what it stands
in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from bascule.errors import Mistake
from bascule.topology.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    TOO_DEEP,
    TOO_MANY,
    Path,
    Tree,
    place_in,
    refuse,
    shown,
)

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*+)
    |(?P<long>\"\"\"(?:[^"\\]++|\\.|"(?!""))*+(?:\"{3,5})?|'''(?:[^']++|'(?!''))*+(?:'{3,5})?)
    |(?P<string>"(?:[^"\\\n]++|\\.)*+"?|'[^'\n]*+'?)
    |(?P<sign>[\[\]{}=,.])
    |(?P<line>\n)
    |(?P<word>[^\s\[\]{}=,."'\#]++)""",
    re.DOTALL | re.VERBOSE,
)
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")

_HINTS = (
    ("Invalid value", "text needs quotes; true and false are written small; there is no null"),
    ("Expected newline or end of document", "text needs quotes; a number has no leading zeros"),
    ("Illegal character '\\n'", "a text is not closed before the end of its line"),
    ("Invalid initial character", "a table in { } stands on one line and has no comma at its end"),
    (
        "Expected '='",
        "write KEY = VALUE; a key with other signs than letters, digits, '-' and '_' needs quotes",
    ),
    ("Invalid statement", "write KEY = VALUE, or [TABLE]"),
    ("Unescaped '\\'", "write \\\\ for a backslash, or put the text between single quotes"),
    ("Cannot declare", "the table or key is there already: put all of it in one place"),
    ("Cannot overwrite", "the key is given twice: keep one"),
    ("Unclosed array", "a ] or a comma is missing"),
)

_Token = tuple[str, int, int]  # the text, its line and its column
_Places = dict[Path, tuple[int, int, int, int]]  # line and column of the value, then of its key


def read(text: str, filename: str) -> tuple[Tree | None, list[Mistake]]:
    """The tree; TOML's own parser ends at each mistake. Raises :class:`TopologyError`."""
    text = text.replace("\r\n", "\n")
    _bound(text, filename)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = _PLACE.search(said)
        line, column = (
            (int(place[1]), int(place[2])) if place and place[1] else place_in(text, len(text))
        )
        raise refuse(
            filename, f"not valid TOML: {_said(_PLACE.sub('', said))}", line, column
        ) from error
    except (ValueError, RecursionError) as error:
        raise refuse(filename, f"not valid TOML: {shown(str(error))}") from error
    if _deeper(data, MAX_DEPTH):
        raise refuse(filename, TOO_DEEP)
    if not data:
        return None, []
    return _tree(data, (), _Scanner(text).places, (1, 1, 1, 1)), []


def _said(words: str) -> str:
    """The parser's words, and what they mean for who wrote the file."""
    return shown(words) + next((f" ({hint})" for sign, hint in _HINTS if sign in words), "")


def _bound(text: str, filename: str) -> None:
    """Refuse what is too much before the parser, which recurses, and is slow with long dotted keys,
    sees it."""
    depth = count = dots = 0
    for match in _TOKEN.finditer(text):
        piece = match[0]
        kind = match.lastgroup
        dots = dots + 1 if piece == "." else dots if kind in ("word", "string") else 0
        depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        count += kind in ("word", "string", "long") or piece in ("[", "{")
        if depth > MAX_DEPTH or dots > MAX_DEPTH:
            raise refuse(filename, TOO_DEEP, *place_in(text, match.start()))
        if count > MAX_VALUES:
            raise refuse(filename, TOO_MANY, *place_in(text, match.start()))


def _deeper(data: object, levels: int) -> bool:
    """Brackets and the dots of each key are bounded, but they can add up: ``a.a = {a.a = {…``."""
    items = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels < 0 or any(_deeper(item, levels - 1) for item in items)


def _tree(data: object, path: Path, places: _Places, parent: tuple[int, int, int, int]) -> Tree:
    place = places.get(path, parent)
    if isinstance(data, dict):
        value: object = {
            key: _tree(item, (*path, key), places, place) for key, item in data.items()
        }
        return Tree(value, *place[:2], "", *place[2:])
    if isinstance(data, list):
        value = [_tree(item, (*path, index), places, place) for index, item in enumerate(data)]
        return Tree(value, *place[:2], "", *place[2:])
    if isinstance(data, int) and not isinstance(data, bool):
        text = str(data) if data.bit_length() <= 64 else "a very large number"
    else:
        text = data if isinstance(data, str) else ""
    return Tree(data, *place[:2], text, *place[2:])


def _tokens(text: str) -> Iterator[_Token]:
    line, begin = 1, 0
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if match.lastgroup != "comment":
            yield piece, line, match.start() - begin + 1
        breaks = piece.count("\n")
        if breaks:
            line, begin = line + breaks, match.start() + piece.rfind("\n") + 1


class _Scanner:
    """Walks the tokens of a text that is known to be right, and notes where each path stands."""

    def __init__(self, text: str) -> None:
        self.places: _Places = {}
        self._tokens = list(_tokens(text))
        self._at = 0
        self._tables: dict[Path, int] = {}  # how many elements each array of tables has so far
        here: Path = ()
        while self._at < len(self._tokens):
            piece = self._tokens[self._at][0]
            if piece == "\n":
                self._at += 1
            elif piece == "[":
                here = self._header()
            else:
                self._pair(here)

    def _header(self) -> Path:
        """``[a.b]`` or ``[[a.b]]``."""
        _, line, column = self._tokens[self._at]
        double = self._tokens[self._at + 1][0] == "["
        self._at += 1 + double
        path: Path = ()
        parts = self._key()
        for number, (key, key_line, key_column) in enumerate(parts, 1):
            path = (*path, key)
            self.places.setdefault(path, (key_line, key_column, key_line, key_column))
            if path in self._tables and (not double or number < len(parts)):
                path = (*path, self._tables[path] - 1)
        if double:
            number = self._tables[path] = self._tables.get(path, 0) + 1
            path = (*path, number - 1)
            self.places[path] = (line, column, line, column)
        self._at += 1 + double
        return path

    def _key(self) -> list[_Token]:
        """The parts of a dotted key; stops at the piece behind it."""
        parts: list[_Token] = []
        while self._at < len(self._tokens) and self._tokens[self._at][0] not in ("=", "]", "\n"):
            piece, line, column = self._tokens[self._at]
            if piece != ".":
                parts.append((_unquoted(piece), line, column))
            self._at += 1
        return parts

    def _pair(self, here: Path) -> None:
        """``a.b = value``"""
        parts = self._key()
        path = here
        for key, line, column in parts:
            path = (*path, key)
            self.places.setdefault(path, (line, column, line, column))
        self._at += 1
        if parts:
            self._value(path, parts[-1])

    def _value(self, path: Path, key: _Token | None) -> None:
        if self._at >= len(self._tokens):
            return
        piece, line, column = self._tokens[self._at]
        self.places[path] = (line, column, *(key[1:] if key else (line, column)))
        self._at += 1
        if piece == "[":
            self._array(path)
        elif piece == "{":
            self._inline(path)
        else:
            while self._at < len(self._tokens) and self._tokens[self._at][0] not in (
                ",",
                "]",
                "}",
                "\n",
            ):
                self._at += 1  # a float or a date is several tokens

    def _array(self, path: Path) -> None:
        index = 0
        while self._at < len(self._tokens) and self._tokens[self._at][0] != "]":
            if self._tokens[self._at][0] in (",", "\n"):
                self._at += 1
            else:
                self._value((*path, index), None)
                index += 1
        self._at += 1

    def _inline(self, path: Path) -> None:
        while self._at < len(self._tokens) and self._tokens[self._at][0] != "}":
            if self._tokens[self._at][0] in (",", "\n"):
                self._at += 1
            else:
                self._pair(path)
        self._at += 1


def _unquoted(piece: str) -> str:
    """A key as tomllib gives it."""
    if piece.startswith('"') and "\\" in piece:
        found: str = next(iter(tomllib.loads(f"{piece} = 0")))
        return found
    return piece[1:-1] if piece[:1] in ("'", '"') else piece
