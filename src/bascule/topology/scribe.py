"""Where mistakes are gathered while a tree is read, and the readings that every noun shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from bascule.errors import Mistake, TopologyError
from bascule.topology.tree import (
    MAX_MISTAKES,
    Path,
    Tree,
    in_order,
    is_whole,
    kind_of,
    path_text,
    shown,
)
from bascule.topology.values import Wrong

T = TypeVar("T")


class Scribe:
    """Notes mistakes with their places. The ``file`` is what messages begin with; ``other_words``
    are keys that the file may have used in place of these."""

    def __init__(
        self,
        file: str,
        root: Tree,
        mistakes: list[Mistake],
        other_words: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.file = file
        self.root = root
        self.mistakes = mistakes
        self.other_words = other_words

    def wrong(self, tree: Tree, path: Path, message: str) -> None:
        """A mistake in a value."""
        self._note(tree.place, path, message)

    def wrong_key(self, tree: Tree, path: Path, message: str) -> None:
        """A mistake in the key of a value."""
        self._note(tree.key_place, path, message)

    def _note(self, place: tuple[int, int], path: Path, message: str) -> None:
        self.mistakes.append(Mistake(self.file, *place, path_text(path), message))
        if len(self.mistakes) > 2 * MAX_MISTAKES:
            raise TopologyError(in_order(self.mistakes))

    def wrong_at(self, path: Path, message: str) -> None:
        """A mistake at a path, wherever the file says what the path means."""
        if isinstance(path[-1], int) and not isinstance(
            self.root.find(path[:-1], self.other_words).value, list
        ):
            # The file gives one value where it could give a list.
            self.wrong(self.root.find(path, self.other_words), path[:-1], message)
        else:
            self.wrong(self.root.find(path, self.other_words), path, message)

    def text(self, tree: Tree, path: Path, what: str) -> str | None:
        """A text. Numbers pass as they are written: a node may be called 1, and `1` in a sysctl is
        text enough."""
        value = tree.value
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and tree.text:
            return tree.text
        advice = ""
        if isinstance(value, bool) and what.endswith("name"):
            advice = "; write it in quotes"
        elif isinstance(value, dict) and what.endswith("'s name"):
            advice = "; a list holds names only, so write a map from each name to its fields"
        self.wrong(tree, path, f"must be {what}, not {kind_of(tree)}{advice}")
        return None

    def parsed(self, tree: Tree, path: Path, what: str, parse: Callable[[str], T]) -> T | None:
        """A text that ``parse`` makes a value of; None where it can't."""
        text = self.text(tree, path, what)
        if text is None:
            return None
        try:
            return parse(text)
        except Wrong as problem:
            self.wrong(tree, path, str(problem))
            return None

    def some(
        self, tree: Tree, path: Path, what: str, parse: Callable[[str], T]
    ) -> tuple[T, ...] | None:
        """:meth:`one_or_more` where without any there is a choice: an empty list may be meant as
        that, or as none at all."""
        if tree.value == []:
            self.wrong(
                tree,
                path,
                f"is an empty list, which means nothing; give {what.strip(',')}, or remove the key",
            )
            return None
        return self.one_or_more(tree, path, what, parse)

    def one_or_more(
        self, tree: Tree, path: Path, what: str, parse: Callable[[str], T]
    ) -> tuple[T, ...] | None:
        """A text, or a list of them. None where one of them is wrong: half a list is no better than
        none."""
        if not isinstance(tree.value, list):
            one = self.parsed(tree, path, f"{what} or a list of them", parse)
            return None if one is None else (one,)
        found = [
            self.parsed(item, (*path, index), what, parse) for index, item in enumerate(tree.value)
        ]
        good = tuple(item for item in found if item is not None)
        return good if len(good) == len(found) else None

    def number(self, tree: Tree, path: Path, least: int, most: int) -> int | None:
        """A whole number in a range."""
        value = tree.value
        if isinstance(value, float) and is_whole(tree):
            self.wrong(
                tree,
                path,
                f"{shown(tree.text)} is out of range; write a number from {least} to {most}",
            )
        elif isinstance(value, bool) or not isinstance(value, int):
            advice = (
                "; remove the quotes"
                if isinstance(value, str) and value.strip().isdecimal()
                else ""
            )
            self.wrong(tree, path, f"must be a whole number, not {kind_of(tree)}{advice}")
        elif not least <= value <= most:
            self.wrong(
                tree, path, f"{tree.text} is out of range; write a number from {least} to {most}"
            )
        else:
            return int(value)
        return None
