"""What JSON (RFC 8259) has that PyYAML's parsers don't read, written so that they do; and what to
do about mistakes in it.

JSON is a part of YAML but for two things that programs write: libyaml takes no tab outside of the
brackets, and no character beyond U+FFFF as two escapes (RFC 8259 section 7), which is how Python's
json.dumps writes an emoji. A colon on another line than its key, and a key of more than 1,024
characters, are JSON, too, and stay mistakes here: no program writes the one, and no word of a lab
is the other.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

# Each escape is stepped over as a whole, so that \\ud83d is a backslash and four letters.
_ESCAPE = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_WHITE = " \t\r\n"  # RFC 8259 section 2
_SHORTER = len(r"\ud83d\ude00") - len(r"\U0001f600")

HINTS = (
    ("',' or", "a comma, a colon, a closing bracket or a quote is missing"),
    ("unknown escape", r"write \\ for a backslash"),
    ("hexdecimal number", r"four hexadecimal digits follow \u"),
    ("invalid Unicode character", "it is half of a character; write both, or the character itself"),
    ("<document start>", "the text goes on after the lab's closing bracket"),
)


class Text(NamedTuple):
    """A text as the parser gets it. ``pairs`` are the offsets in it of what was written longer."""

    text: str
    pairs: list[int]

    def moved(self, offset: int, column: int) -> int:
        """How many columns left of its place in the file the parser sees what is at ``offset``."""
        line = offset - column
        return _SHORTER * (bisect_left(self.pairs, offset) - bisect_left(self.pairs, line))


def as_yaml(text: str) -> Text:
    """JSON as PyYAML's parsers take it, on the same lines."""
    begin = len(text) - len(text.lstrip(_WHITE))
    end = max(begin, len(text.rstrip(_WHITE)))
    text = text[:begin].replace("\t", " ") + text[begin:end] + text[end:].replace("\t", " ")
    pairs: list[int] = []

    def one(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        pairs.append(found.start() - _SHORTER * len(pairs))
        high, low = int(found[1], 16) - 0xD800, int(found[2], 16) - 0xDC00
        return f"\\U{0x10000 + (high << 10) + low:08x}"

    return Text(_ESCAPE.sub(one, text) if "\\" in text else text, pairs)
