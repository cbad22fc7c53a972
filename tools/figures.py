"""Write the figures of a full run (`make test-crash`) into docs/reliability.md, between its two
marks.

``python tools/figures.py FILE…``: each file is a JSON object of tests with their names and numbers,
as tests/conftest.py writes it. A test that is in several files counts once, as the last file has
it: a run may be carried on where it was cut short.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections import Counter
from datetime import date
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def table(figures: dict[str, int]) -> str:
    """A row for each figure."""
    rows = [f"| {name} | {number:,} |" for name, number in sorted(figures.items())]
    head = (
        f"Last full run: {date.today()}, Linux {platform.release().partition('-')[0]}, Python "
        f"{platform.python_version()}.\n"
    )
    return "\n".join([head, "| what was tried or measured | number |", "|---|---:|", *rows])


def main(files: list[str]) -> int:
    """Read the files, write the page."""
    tests: dict[str, dict[str, int]] = {}
    for file in files:
        tests |= json.loads(Path(file).read_text())
    figures: Counter[str] = Counter()
    for numbers in tests.values():
        figures.update(numbers)
    text = PAGE.read_text()
    found = re.sub(
        f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table(figures)}\n{END}", text, flags=re.DOTALL
    )
    if found == text and BEGIN not in text:
        print(f"{PAGE} has no marks", file=sys.stderr)
        return 1
    PAGE.write_text(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
