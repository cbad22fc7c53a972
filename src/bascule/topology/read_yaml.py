"""YAML text, and so JSON → position tree, by the events of PyYAML's parser (libyaml where it was
built in).

The events are consumed one at a time on a stack of our own: a bomb of aliases or a tower of
brackets is seen before it costs anything. Scalars resolve by the core schema of YAML 1.2 (section
10.3.2), not 1.1: ``no``, ``on`` and ``22:22`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from bascule.errors import Mistake, TopologyError
from bascule.topology import json_text
from bascule.topology.json_text import Text
from bascule.topology.tree import MAX_DEPTH, MAX_VALUES, TOO_DEEP, TOO_MANY, Tree, refuse, shown

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?[0-9]{1,40}\Z|0o[0-7]{1,40}\Z|0x[0-9a-fA-F]{1,40}\Z")
# .inf and .nan stay text: no field takes a float, and the text is what a message shows.
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# c-printable of YAML 1.2, section 5.1. PyYAML reports these with an offset, which nobody can find
# in an editor.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML 1.1, section 4.2
_HINTS = (
    (
        "cannot start any token",
        "indent with spaces, not tabs; quote text that begins with a sign such as @ or `",
    ),
    (
        "mapping values are not allowed",
        "quote text that holds ': '; a key's colon comes on the key's own line",
    ),
    (
        "',' or",
        (
            "a closing bracket or a comma is missing, or text with a bracket, comma or colon "
            "needs quotes"
        ),
    ),
    (
        "expected key",
        (
            "the line is indented otherwise than those above it, or a quote or bracket is closed "
            "too early"
        ),
    ),
    ("'-' indicator", "a list and a map can't be mixed: each line with '-', or each with a key"),
    ("node content", "a value is missing before a comma"),
    ("find expected ':'", "a key needs a colon and a space behind it"),
    ("unexpected end of stream", "a quote is never closed"),
    ("<document start>", "something stands before the lab, or behind its end"),
    ("unknown escape", "write the text in single quotes, or \\\\ for a backslash"),
    ("incompatible YAML", "remove the line, or write %YAML 1.2"),
)
_STANDARD_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_PLAIN_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INT.match(text):
        return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
    if _FLOAT.match(text):
        return float(text)
    return text


def read(text: str, filename: str) -> tuple[Tree | None, list[Mistake]]:
    """The tree (None where the file has no content) and what is wrong but does not end the reading.

    Raises :class:`TopologyError` for what does: syntax, aliases without end, too much of anything.
    """
    found = _UNPRINTABLE.search(text)
    if found:
        place = _place(text, found.start())
        advice = "remove it, or save the file as UTF-8" if found[0] == "\0" else "remove it"
        raise refuse(
            filename,
            f"the control character U+{ord(found[0]):04X} is not allowed; {advice}",
            *place,
        )
    is_json = filename.lower().endswith(".json")
    source = json_text.as_yaml(text) if is_json else Text(text, [])
    builder = _Builder(filename, source)
    try:
        for event in _events(source.text):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, source, filename, is_json) from error
    except yaml.YAMLError as error:
        form = "JSON" if is_json else "YAML"
        raise refuse(filename, f"not valid {form}: {shown(str(error))}") from error
    return builder.root, builder.mistakes


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=_LOADER)


def _tag(tag: str) -> str:
    """As people write it."""
    return shown(tag.replace(_STANDARD_TAG, "!!"))


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, by YAML's idea of a line, which is the parser's too."""
    breaks = [found.end() for found in _BREAK.finditer(text, 0, offset)]
    return len(breaks) + 1, offset - (breaks[-1] if breaks else 0) + 1


def _syntax(
    error: yaml.MarkedYAMLError, source: Text, filename: str, is_json: bool
) -> TopologyError:
    mark = error.problem_mark or error.context_mark
    line, column = _place_of(mark, source) if mark else (0, 0)
    # libyaml looks ahead, and may see it before its events tell us
    if "nesting depth" in str(error.problem):
        return refuse(filename, TOO_DEEP, line, column)
    said = error.problem or error.context or "syntax error"
    hints = (*json_text.HINTS, *_HINTS) if is_json else _HINTS
    said += next((f" ({hint})" for sign, hint in hints if sign in said), "")
    doing = f", {error.context}" if error.context and error.problem else ""
    begin = error.context_mark
    if doing and begin and mark and (begin.line, begin.column) != (mark.line, mark.column):
        doing += " that begins at line {}, column {}".format(*_place_of(begin, source))
    if mark and mark.index >= len(source.text):  # libyaml counts one line more there
        line, column = _place(source.text, len(source.text))
    form = "JSON" if is_json else "YAML"
    return refuse(filename, f"not valid {form}: {said}{doing}", line, column)


def _place_of(mark: Any, source: Text) -> tuple[int, int]:
    moved = source.moved(mark.index, mark.column) if source.pairs else 0
    return mark.line + 1, mark.column + 1 + moved


class _Open:
    """A list or map whose end has not come yet; ``key`` waits for its value."""

    __slots__ = ("anchor", "before", "items", "key", "key_column", "key_line", "refused", "tree")

    def __init__(self, tree: Tree, anchor: str | None, before: int) -> None:
        self.tree = tree
        self.items: Any = tree.value
        self.anchor = anchor
        self.before = before  # how many values had been counted when it began
        self.key: str | None = None
        self.refused = False  # the key is wrong and has been reported: its value is not looked at
        self.key_line = 0
        self.key_column = 0


class _Builder:
    def __init__(self, filename: str, source: Text) -> None:
        self.filename = filename
        self.source = source
        self.mistakes: list[Mistake] = []
        self.root: Tree | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Tree, int]] = {}
        self.count = 0
        self.documents = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is ScalarEvent:
            self.scalar(event)
        elif kind is MappingStartEvent:
            self.start(event, {})
        elif kind is SequenceStartEvent:
            self.start(event, [])
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            self.end()
        elif kind is AliasEvent:
            self.alias(event)
        elif kind is DocumentStartEvent:
            self.documents += 1
            if self.documents > 1:
                self.stop(
                    event, "a second document begins here; a lab file has one, so remove the '---'"
                )

    def stop(self, event: Any, message: str) -> None:
        raise refuse(self.filename, message, *_place_of(event.start_mark, self.source))

    def wrong(self, line: int, column: int, message: str) -> None:
        self.mistakes.append(Mistake(self.filename, line, column, "", message))

    def counted(self, event: Any, values: int) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            self.stop(event, TOO_MANY)

    def scalar(self, event: Any) -> None:
        self.counted(event, 1)
        line, column = _place_of(event.start_mark, self.source)
        text: str = event.value
        tag = event.tag
        if tag is not None and tag not in _TEXT_TAGS:
            self.wrong(line, column, f"tags such as {_tag(tag)} are not supported; remove it")
        value = resolve(text) if event.implicit[0] and tag is None else text
        tree = Tree(value, line, column, text)
        if event.anchor is not None:
            self.anchors[event.anchor] = tree, 1
        self.place(tree)

    def start(self, event: Any, value: object) -> None:
        self.counted(event, 1)
        line, column = _place_of(event.start_mark, self.source)
        if len(self.stack) >= MAX_DEPTH:
            self.stop(event, TOO_DEEP)
        if event.tag not in _PLAIN_TAGS:
            self.wrong(line, column, f"tags such as {_tag(event.tag)} are not supported; remove it")
        tree = Tree(value, line, column)
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        self.place(tree)
        self.stack.append(_Open(tree, event.anchor, self.count - 1))

    def end(self) -> None:
        ended = self.stack.pop()
        if ended.anchor is not None:
            self.anchors[ended.anchor] = ended.tree, self.count - ended.before

    def alias(self, event: Any) -> None:
        name = event.anchor
        if any(open_one.anchor == name for open_one in self.stack) and name not in self.anchors:
            self.stop(
                event,
                (
                    f"the alias *{shown(name)} stands inside what it names, which would never "
                    f"end; remove it"
                ),
            )
        if name not in self.anchors:
            self.stop(
                event,
                (
                    f"the alias *{shown(name)} names nothing; write &{shown(name)} before the "
                    f"value that is meant"
                ),
            )
        tree, size = self.anchors[name]
        self.counted(event, size)
        self.place(Tree(tree.value, tree.line, tree.column, tree.text))

    def place(self, tree: Tree) -> None:
        if not self.stack:
            self.root = tree
            return
        top = self.stack[-1]
        if isinstance(top.items, list):
            top.items.append(tree)
        elif top.key is None:
            self.key(top, tree)
        else:
            tree.key_line, tree.key_column = top.key_line, top.key_column
            if not top.refused:
                top.items[top.key] = tree
            top.key = None

    def key(self, top: _Open, tree: Tree) -> None:
        top.key, top.key_line, top.key_column = tree.text, tree.line, tree.column
        problem = self.problem_with_key(top, tree)
        top.refused = problem is not None
        if problem:
            self.wrong(tree.line, tree.column, problem)

    def problem_with_key(self, top: _Open, tree: Tree) -> str | None:
        if isinstance(tree.value, dict | list):
            return "a list or map can't be a key; quote text that begins with [ or {"
        if tree.text == "<<":
            return "merge keys ('<<') are not supported; write the fields out"
        if tree.text in top.items:
            first = top.items[tree.text]
            at = f"line {first.key_line}, column {first.key_column}"
            return f"'{shown(tree.text)}' is given twice, first at {at}; keep one"
        return None
