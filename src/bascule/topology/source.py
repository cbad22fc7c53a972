"""The bytes of a lab file → position tree. The text is YAML, and so JSON: that is a part of it."""

from __future__ import annotations

from bascule.errors import Mistake, TopologyError
from bascule.topology.tree import MAX_BYTES, Tree, in_order, refuse

_EMPTY = "the file is empty; the shortest lab is `nodes: {a: [lan], b: [lan]}`"
_TOML = "a lab file is YAML or JSON, not TOML; write it as YAML: `nodes: {a: [lan], b: [lan]}`"


def parse(text: bytes, filename: str) -> Tree:
    """The tree of a whole file. Raises :class:`TopologyError` with everything that is wrong with
    its form."""
    tree, mistakes = read(text, filename)
    if mistakes:
        raise TopologyError(in_order(mistakes))
    return tree


def read(text: bytes, filename: str) -> tuple[Tree, list[Mistake]]:
    """The tree, and the mistakes of form that leave it usable: keys given twice, tags.

    Raises :class:`TopologyError` for all others: too large, not UTF-8, no content, a syntax error,
    a file that says by its suffix that it is TOML.
    """
    if filename.lower().endswith(".toml"):
        raise refuse(filename, _TOML)
    decoded = _decode(text, filename)
    if not decoded.strip():
        raise refuse(filename, _EMPTY)
    # Imported late: commands on a lab that is up read no file, and PyYAML alone takes as long as
    # the interpreter.
    from bascule.topology import read_yaml

    tree, mistakes = read_yaml.read(decoded, filename)
    if tree is None:
        raise refuse(filename, _EMPTY)
    return tree, mistakes


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
