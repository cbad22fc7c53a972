"""The options that stand for words of the lab file, made of the words' rows."""

from __future__ import annotations

import argparse
from typing import Any

from bascule.topology.word import Option, Takes, Word
from bascule.topology.words.lab import NOUNS

_TAKEN: dict[Takes, dict[str, Any]] = {
    Takes.TEXT: {"default": ""},
    Takes.NUMBER: {"default": None, "type": int},
    Takes.SEVERAL: {"default": [], "action": "append"},
    Takes.NOTHING: {"default": False, "action": "store_true"},
    Takes.DENIES: {"default": False, "action": "store_true"},
    Takes.EITHER: {"default": None, "action": argparse.BooleanOptionalAction},
}
_WITH_METAVAR = (Takes.TEXT, Takes.NUMBER, Takes.SEVERAL)


def of(noun: str) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The options for a noun's words: names and keywords of argparse's ``add_argument``."""
    words = NOUNS[noun].words
    return [(word.flags, _settings(word, word.option)) for word in words if word.option]


def given(arguments: argparse.Namespace, noun: str) -> dict[str, Any]:
    """What was given of them, in the lab file's words."""
    found: dict[str, Any] = {}
    for word in NOUNS[noun].words:
        if word.option is None:
            continue
        value = getattr(arguments, _destination(word))
        if value != _TAKEN[word.takes]["default"]:
            found[word.name] = word.option.says(False if word.takes is Takes.DENIES else value)
    return found


def _settings(word: Word, option: Option) -> dict[str, Any]:
    settings = {
        **_TAKEN[word.takes],
        "dest": _destination(word),
        "help": (option.help or word.doc).replace("%", "%%"),
    }
    if option.choices:
        settings["choices"] = option.choices
    elif word.takes in _WITH_METAVAR:
        settings["metavar"] = option.metavar or word.name.upper()
    return settings


def _destination(word: Word) -> str:
    """Apart from the command's own arguments, which may be called as a word."""
    return f"word_{word.name}"
