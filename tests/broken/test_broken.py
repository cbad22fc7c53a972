"""Lab files that are wrong in the ways in which people's files are wrong. Next to each stands what
bascule has to say of it.

``python tests/broken/test_broken.py`` writes what is said now; read the diff as somebody who has
just made that mistake.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.errors import TopologyError
from bascule.topology.load import load_text

_HERE = Path(__file__).parent
_FILES = sorted(path for path in _HERE.iterdir() if path.suffix in (".yaml", ".json", ".toml"))


def _said(path: Path) -> str:
    try:
        load_text(path.read_bytes(), path.name)
    except TopologyError as error:
        return f"{error}\n"
    return "nothing\n"


def _expected(path: Path) -> Path:
    return path.with_name(f"{path.name}.expected")


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_what_is_said_of_a_broken_file(path: Path) -> None:
    """Word for word, with line and column."""
    assert _said(path) == _expected(path).read_text(encoding="utf-8")


def test_every_file_has_its_message() -> None:
    """None is left over, none says nothing."""
    assert len(_FILES) >= 300
    assert sorted(_HERE.glob("*.expected")) == sorted(map(_expected, _FILES))
    assert [
        path.name
        for path in _FILES
        if "nothing\n" in _expected(path).read_text(encoding="utf-8").splitlines()
    ] == []


if __name__ == "__main__":
    for each in _FILES:
        _expected(each).write_text(_said(each), encoding="utf-8")
