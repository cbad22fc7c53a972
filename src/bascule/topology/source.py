"""Text → position tree, whatever the format: the suffix of the file's name chooses the reader."""

from __future__ import annotations

from collections.abc import Callable

from bascule.errors import Mistake, TopologyError
from bascule.topology.tree import MAX_BYTES, Tree, in_order, refuse

Reader = Callable[[str, str], tuple[Tree | None, list[Mistake]]]

_EMPTY = "the file is empty; the shortest lab is `nodes: {a: [lan], b: [lan]}`"


def parse(text: bytes, filename: str) -> Tree:
    """The tree of a whole file. Raises :class:`TopologyError` with everything that is wrong with
    its form."""
    tree, mistakes = read(text, filename)
    if mistakes:
        raise TopologyError(in_order(mistakes))
    return tree


def read(text: bytes, filename: str) -> tuple[Tree, list[Mistake]]:
    """The tree, and the mistakes of form that leave it usable: keys given twice, tags.

    Raises :class:`TopologyError` for all others: too large, not UTF-8, no content, a syntax error.
    """
    decoded = _decode(text, filename)
    if not decoded.strip():
        raise refuse(filename, _EMPTY)
    tree, mistakes = _reader(filename)(decoded, filename)
    if tree is None:
        raise refuse(filename, _EMPTY)
    return tree, mistakes


def _reader(filename: str) -> Reader:
    # Imported late: commands on a lab that is up read no file, and PyYAML alone takes as long as
    # the interpreter.
    lower = filename.lower()
    if lower.endswith(".json"):
        from bascule.topology.read_json import read as found
    elif lower.endswith(".toml"):
        from bascule.topology.read_toml import read as found
    else:
        from bascule.topology.read_yaml import read as found
    return found


def _decode(text: bytes, filename: str) -> str:
    if len(text) > MAX_BYTES:
        raise refuse(
            filename,
            f"larger than {MAX_BYTES // 1024 // 1024} MiB; use `count` for many nodes of one kind",
        )
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder counts from behind a byte order mark.
        start = error.start + (3 if text.startswith(b"\xef\xbb\xbf") else 0)
        line = text.count(b"\n", 0, start) + 1
        column = len(text[text.rfind(b"\n", 0, start) + 1 : start].decode("utf-8", "replace")) + 1
        message = f"not UTF-8: byte 0x{text[start]:02x} at offset {start}; save the file as UTF-8"
        raise refuse(filename, message, line, column) from error
