"""JSON text (RFC 8259) → position tree.

The standard library's parser judges the text and gives the place of a mistake, but no positions of
values. So the tokens are walked once more on a stack of our own, which is safe because they are
known to be right by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from bascule.errors import Mistake
from bascule.topology.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    TOO_DEEP,
    TOO_MANY,
    Tree,
    place_in,
    refuse,
    shown,
)

# Possessive quantifiers: a text that is one broken string costs one pass. A missing last quote is
# left to json.loads.
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]++|\\.)*+"?)|(?P<sign>[{}\[\],:])|(?P<word>[^\s{}\[\],:"]++)|(?P<line>\n)',
    re.DOTALL,
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_MOST_DIGITS = 40

_Token = tuple[str, int, int]  # the text, its line and its column


_HINTS = (
    ("property name", "names need double quotes; no comma before a closing bracket, no comments"),
    (
        "Expecting value",
        (
            "text needs double quotes; no comma before a closing bracket, no comments; true and "
            "null are small"
        ),
    ),
    ("Extra data", "the text goes on after the lab's closing bracket"),
    (
        "',' delimiter",
        (
            "a comma, a closing bracket or a quote is missing; a number is decimal, without "
            "leading zeros"
        ),
    ),
    ("':' delimiter", "a colon or a quote is missing"),
    ("Invalid control", "a text ends on its line; write \\n or \\t for a line break or a tab"),
    ("\\escape", "write \\\\ for a backslash"),
    ("\\uXXXX", "four hexadecimal digits follow \\u"),
)


class _NoConstant(ValueError):
    """NaN or an infinity."""


def _trailing_comma(text: str, position: int) -> int:
    """Where there is one beside this place, that of the comma or of the bracket behind it; else
    -1."""
    before = text[: position + 1].rstrip(" \t\r\n}]")
    comma = len(before) - 1
    return (
        comma
        if before.endswith(",") and text[comma + 1 :].lstrip(" \t\r\n")[:1] in ("}", "]")
        else -1
    )


def read(text: str, filename: str) -> tuple[Tree | None, list[Mistake]]:
    """The tree and the mistakes that do not end the reading (a key given twice). Raises
    :class:`TopologyError`."""
    _bound(text, filename)
    try:
        # Numbers are only looked at here: Python refuses to make integers of more than 4,300
        # digits.
        json.loads(text, parse_int=len, parse_float=len, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        comma = _trailing_comma(text, error.pos)
        if comma >= 0:  # each Python says that in other words, and of another place
            place = place_in(text, comma)
            raise refuse(
                filename, "not valid JSON: a comma before a closing bracket; remove it", *place
            ) from error
        hint = next((f" ({hint})" for sign, hint in _HINTS if sign in error.msg), "")
        raise refuse(
            filename,
            f"not valid JSON: {error.msg.removesuffix(' at')}{hint}",
            error.lineno,
            error.colno,
        ) from error
    except _NoConstant as error:
        place = next(
            ((line, column) for piece, line, column in _tokens(text) if piece == str(error)), (0, 0)
        )
        raise refuse(
            filename, f"not valid JSON: {error} is no JSON value; write a number", *place
        ) from error
    except (ValueError, RecursionError) as error:
        raise refuse(filename, f"not valid JSON: {shown(str(error))}") from error
    builder = _Builder(filename)
    for piece in _tokens(text):
        builder.take(*piece)
    return builder.root, builder.mistakes


def _no_constant(name: str) -> object:
    raise _NoConstant(name)


def _tokens(text: str) -> Iterator[_Token]:
    line, begin = 1, 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "line":
            line, begin = line + 1, match.end()
        else:
            yield match[0], line, match.start() - begin + 1


def _bound(text: str, filename: str) -> None:
    """Refuse what is too much before the parser, which recurses and keeps everything, sees it."""
    depth = count = 0
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if piece in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise refuse(filename, TOO_DEEP, *place_in(text, match.start()))
        elif piece in "}]":
            depth -= 1
        if piece not in "}],:\n":
            count += 1
            if count > MAX_VALUES:
                raise refuse(filename, TOO_MANY, *place_in(text, match.start()))


def _scalar(piece: str) -> tuple[object, str]:
    """The value and its text."""
    if piece.startswith('"'):
        value: str = json.loads(piece)
        return value, value
    if piece in _WORDS:
        return _WORDS[piece], piece
    if len(piece) > _MOST_DIGITS:
        return 0.0, shown(piece)
    return (int(piece) if piece.lstrip("-").isdigit() else float(piece)), piece


class _Builder:
    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.mistakes: list[Mistake] = []
        self.root: Tree | None = None
        # an open list or map, and the key that waits for its value
        self.stack: list[tuple[Any, list[Tree]]] = []

    def take(self, piece: str, line: int, column: int) -> None:
        if piece in "}]":
            self.stack.pop()
        elif piece in "{[":
            items: object = {} if piece == "{" else []
            self.place(Tree(items, line, column))
            self.stack.append((items, []))
        elif piece not in ",:":
            self.place(Tree(*self._scalar_at(piece, line, column)))

    @staticmethod
    def _scalar_at(piece: str, line: int, column: int) -> tuple[object, int, int, str]:
        value, text = _scalar(piece)
        return value, line, column, text

    def place(self, tree: Tree) -> None:
        if not self.stack:
            self.root = tree
            return
        items, waiting = self.stack[-1]
        if isinstance(items, list):
            items.append(tree)
        elif not waiting:
            waiting.append(tree)
            if tree.text in items:
                first = items[tree.text]
                at = f"line {first.key_line}, column {first.key_column}"
                message = f"'{shown(tree.text)}' is given twice, first at {at}; keep one"
                self.mistakes.append(Mistake(self.filename, tree.line, tree.column, "", message))
        else:
            key = waiting.pop()
            tree.key_line, tree.key_column = key.line, key.column
            items.setdefault(key.text, tree)
