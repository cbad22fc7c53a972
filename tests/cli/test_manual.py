"""The manual pages say what the program has, and are pages that every `man` reads."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from bascule.cli.commands import ROWS
from bascule.topology.words.lab import NOUNS
from sandbox import require

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("man", ROOT / "tools" / "man.py")
assert _spec is not None
assert _spec.loader is not None
man = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(man)
PAGES = [ROOT / "man" / name for name in man.pages()]


def _plain(page: Path | str) -> str:
    """The page as a reader sees it, in one line."""
    text = page if isinstance(page, str) else page.read_text(encoding="utf-8")
    done = subprocess.run(
        ["mandoc", "-Tutf8", "-O", "width=200"],
        check=True,
        capture_output=True,
        text=True,
        input=text,
    )
    return " ".join(re.sub(".\b", "", done.stdout).split())


def test_they_are_as_the_tables_are() -> None:
    """`make golden` writes them."""
    for path in PAGES:
        written = path.read_text(encoding="utf-8")
        assert man.undated(written) == man.undated(man.pages()[path.name])
        assert man.undated(written) != written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_they_are_without_mistakes(page: Path) -> None:
    require("mandoc")
    done = subprocess.run(
        ["mandoc", "-T", "lint", page], check=False, capture_output=True, text=True
    )
    assert done.stdout + done.stderr == ""
    assert page.read_bytes().isascii()


def test_every_command_and_option_is_told() -> None:
    require("mandoc")
    text = _plain(PAGES[0])
    for row in ROWS:
        for each in row.children or (row,):
            name = f"{row.name} {each.name}" if row.children else row.name
            assert f"bascule {name}" in text
            for names, settings in each.all_arguments():
                options = [each for each in names if each.startswith("-")]
                assert all(option in text for option in options)
                told = " ".join(settings.get("help", "").replace("`", "").split())
                assert told.replace("%%", "%") in text, name
            assert all(f"bascule {example}" in text for example in each.examples)


def test_every_word_is_told() -> None:
    require("mandoc")
    text = _plain(PAGES[1])
    for noun in NOUNS.values():
        for word in noun.words:
            assert ", ".join((word.name, *word.other)) in text
            assert " ".join(word.doc.replace("`", "").split()) in text


@pytest.mark.parametrize(
    "text", [".TH is no request", "'quoted'", r"C:\n \fB", "--no-wait ^ ~ -", "größer → ≤ 1"]
)
def test_a_page_shows_what_was_written(text: str) -> None:
    """Whatever roff takes such characters for."""
    require("mandoc")
    page = f'.TH A 1 "2026-01-01" "b" "c"\n.SH NAME\na \\- b\n.SH D\n{man._prose(text)}\n'
    assert f" D {text} " in _plain(page)
