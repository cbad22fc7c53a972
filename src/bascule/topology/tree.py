"""The position tree: what a lab file says and where it says it, before anybody asks what it means.

Every reader (YAML with JSON, plain Python data) gives the same tree, so that everything above
knows one form. The readers bound size, number of values and depth: no file makes this program slow,
large or deeply recursive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice

from bascule.errors import Mistake, TopologyError
from bascule.names import shown as shown  # noqa: PLC0414 (for who imports it from here)

MAX_BYTES = 16 * 1024 * 1024
# in a file: keys, scalars, lists and maps, aliases counted as often as they are used
MAX_VALUES = 200_000
MAX_DATA_VALUES = 4_000_000  # in Python data: a stored lab writes out what `count` made short
MAX_DEPTH = 64  # the file format needs seven levels
# more help nobody, and a file can hold two hundred thousand; reading stops at twice as many
MAX_MISTAKES = 200

Path = tuple[str | int, ...]
Problem = tuple[Path, str]  # where in the topology, and what is wrong, what to do

_HINT_LENGTH = 80  # difflib takes quadratic time
_HINT_CHOICES = 300


@dataclass(slots=True)
class Tree:
    """One value with its place: ``dict[str, Tree]``, ``list[Tree]``, or a scalar (str, int, float,
    bool, None; any other object where Python data held one, to be refused). ``text`` is a scalar as
    written. Lines and columns count from 1; 0 where there is no text. ``key_line`` and
    ``key_column`` tell where the map's key for this value stands."""

    value: object
    line: int = 0
    column: int = 0
    text: str = ""
    key_line: int = 0
    key_column: int = 0

    def find(self, path: Path, other_words: Mapping[str, tuple[str, ...]]) -> Tree:
        """The last value on the way along ``path`` that the file really has: short forms leave
        steps out.

        ``other_words`` gives, for a key, the keys that stand for it too.
        """
        here = self
        for step, following in zip(path, (*path[1:], None), strict=True):
            here = here._step(step, following, other_words) or here
        return here

    def below(self, *keys: str) -> Tree | None:
        """The value of the first of these keys that a map has."""
        if isinstance(self.value, dict):
            for key in keys:
                if key in self.value:
                    found: Tree = self.value[key]
                    return found
        return None

    @property
    def place(self) -> tuple[int, int]:
        """Where to point: at a scalar itself, at the key of what is longer or empty."""
        if self.key_line and (self.value is None or isinstance(self.value, dict | list)):
            return self.key_line, self.key_column
        return self.line, self.column

    @property
    def key_place(self) -> tuple[int, int]:
        """Where the key stands; the value where it has none (an item of a list)."""
        return (self.key_line, self.key_column) if self.key_line else (self.line, self.column)

    def _step(
        self,
        step: str | int,
        following: str | int | None,
        other_words: Mapping[str, tuple[str, ...]],
    ) -> Tree | None:
        if isinstance(self.value, dict):
            words = [
                word for word in (str(step), *other_words.get(str(step), ())) if word in self.value
            ]
            # Compose writes a list of two addresses as two keys.
            number = following if isinstance(following, int) and following < len(words) else 0
            return self.below(*words[number:])
        if isinstance(self.value, list):
            if isinstance(step, int):
                return self.value[step] if step < len(self.value) else None
            return next((item for item in self.value if item.text == step), None)
        return None


def is_whole(tree: Tree) -> bool:
    """Whether a number is written without a point, be it too long to be read as an int."""
    return tree.text.strip("+-…").isdigit()


def kind_of(tree: Tree) -> str:
    """What a value is, in the words of the file's author."""
    value = tree.value
    words: dict[type, str] = {
        dict: "a map",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
    }
    words |= {float: "a number" if is_whole(tree) else "a decimal number", type(None): "nothing"}
    return words.get(type(value), f"a {type(value).__name__}")


def path_text(path: Path) -> str:
    """``("nodes", "a", "routes", 0)`` is ``nodes.a.routes[0]``."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if out else shown(step)
    return out


def nearest(name: str, choices: Iterable[str]) -> str:
    """``; did you mean 'lan'?`` where a known name is near, else nothing."""
    if len(name) > _HINT_LENGTH:
        return ""
    known = list(islice(choices, _HINT_CHOICES))
    found = [each for each in known if each.casefold() == name.casefold()] or get_close_matches(
        name, known, 1
    )
    return f"; did you mean '{shown(found[0])}'?" if found else ""


def in_order(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Mistakes by position, each once, and not more of them than anybody reads."""
    unique = sorted(dict.fromkeys(mistakes), key=lambda mistake: (mistake.line, mistake.column))
    if len(unique) <= MAX_MISTAKES:
        return unique
    rest = Mistake(unique[0].file, 0, 0, "", f"and {len(unique) - MAX_MISTAKES} more mistakes")
    return [*unique[:MAX_MISTAKES], rest]


def refuse(filename: str, message: str, line: int = 0, column: int = 0) -> TopologyError:
    """The error for a text that can't be read any further."""
    return TopologyError([Mistake(filename, line, column, "", message)])


TOO_MANY = (
    f"more than {MAX_VALUES:,} values; use `count` for many nodes of one kind, or several files"
)
TOO_DEEP = f"lists and maps are nested more than {MAX_DEPTH} deep; a lab file needs seven levels"


def place_in(text: str, offset: int) -> tuple[int, int]:
    """Line and column (from 1) of a character of the text."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def from_python(data: object, source: str) -> Tree:
    """The tree of plain data, without positions. Tuples are lists, numbers as keys are text,
    addresses are their text.

    Raises :class:`TopologyError` where the data is nested without end or too large.
    """
    return _Python(source).tree(data, 0)


class _Python:
    def __init__(self, source: str) -> None:
        self.source = source
        self.count = 0

    def tree(self, data: object, depth: int) -> Tree:
        self.count += 1
        if self.count > MAX_DATA_VALUES:
            raise refuse(self.source, f"more than {MAX_DATA_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise refuse(self.source, TOO_DEEP)
        kind = type(data)
        if kind is str:
            return Tree(data, 0, 0, str(data))
        if isinstance(data, dict) or isinstance(data, Mapping):  # noqa: SIM101 - a dict is found ten times as fast this way
            return Tree({self.key(key): self.tree(value, depth + 1) for key, value in data.items()})
        if isinstance(data, str):  # a subclass, such as an enumeration's member
            return Tree(str.__str__(data), 0, 0, str.__str__(data))
        if data is None or isinstance(data, bool | float):
            return Tree(data)
        if isinstance(data, int):
            # Beyond 64 bits no field is right, and Python refuses to write numbers of more than
            # 4,300 digits.
            return Tree(data, text=str(data) if data.bit_length() <= 64 else "a very large number")
        if isinstance(data, list | tuple):
            return Tree([self.tree(item, depth + 1) for item in data])
        if isinstance(data, IPv4Address | IPv6Address | IPv4Network | IPv6Network):
            return Tree(str(data), text=str(data))
        return Tree(data)

    def key(self, key: object) -> str:
        if isinstance(key, str):
            return str.__str__(key)
        if isinstance(key, int) and not isinstance(key, bool) and key.bit_length() <= 64:
            return str(key)
        raise refuse(self.source, f"a key of a map must be text, not {kind_of(Tree(key))}")
