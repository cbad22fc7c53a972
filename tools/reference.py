"""Write the reference of all words into docs/lab-file.md, between its two marks.

``python tools/reference.py``; ``make golden`` does it, too. The tables are made of the same rows as
the loader, the schema and the options.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bascule.topology.word import Noun, Takes, Word
from bascule.topology.words.lab import NOUNS

PAGE = Path(__file__).parents[1] / "docs" / "lab-file.md"
BEGIN, END = "<!-- words -->", "<!-- /words -->"
COMMANDS = {
    "network": "network create",
    "node": "node add",
    "attachment": "network connect",
}


def tables() -> str:
    """A table for each noun, with a row for each word."""
    return "\n".join(line for name, noun in NOUNS.items() for line in _table(name, noun))


def page(text: str) -> str:
    """The page with its tables as they are now."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{tables()}\n{END}", text, flags=re.DOTALL)


def _table(name: str, noun: Noun) -> Iterator[str]:
    command = COMMANDS.get(name)
    yield f"\n### {noun.name.split()[1].capitalize()}\n\n{noun.doc}\n"
    yield f"| word | what it says |{f' `bascule {command}` |' if command else ''}"
    yield f"|---|---|{'---|' if command else ''}"
    for word in noun.words:
        names = ", ".join(f"`{each}`" for each in (word.name, *word.other))
        yield f"| {names} | {_cell(word.doc)} |{f' {_option(word)} |' if command else ''}"


def _option(word: Word) -> str:
    if word.option is None:
        return ""
    flags = list(word.flags)
    if word.takes is Takes.EITHER:
        flags.append(f"--no-{word.name.replace('_', '-')}")
    value = " " + "|".join(word.option.choices) if word.option.choices else ""
    if not value and word.takes in (Takes.TEXT, Takes.NUMBER, Takes.SEVERAL):
        value = f" {word.option.metavar or word.name.upper()}"
    return _cell(", ".join(f"`{flag}{value}`" for flag in flags))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
