"""Which lab is meant, where the command line does not say."""

from __future__ import annotations

import os
from typing import Any

from bascule.api import Lab
from bascule.engine import look, origin
from bascule.errors import InputError, NotFound
from bascule.names import shown

DEFAULT_FILES = ("bascule.yaml", "bascule.yml", "bascule.json", "bascule.toml")


def default_file() -> str | None:
    """The lab file of this folder."""
    return next((name for name in DEFAULT_FILES if os.path.exists(name)), None)


def load(file: str | None, world: str | None = None, name: str | None = None) -> Lab:
    """The lab of this file, or of this folder's."""
    found = file or default_file()
    if found is None:
        raise InputError("no lab file: name one, or write bascule.yaml in this folder")
    return Lab.load(found, world=world, name=name or "")


def running(name: str | None) -> str:
    """The name of a lab that is up: the one named, $BASCULE_LAB, this folder's, or the only one."""
    given = name or os.environ.get("BASCULE_LAB")
    if given:
        return (
            _by_file(given)
            if os.path.sep in given or given.endswith((".yaml", ".yml", ".json", ".toml"))
            else given
        )
    names = [info.name for info in look.labs()]
    if default_file():
        here = load(None)
        if here.name in names or not names:
            return _of_file(here)
    if len(names) == 1:
        return names[0]
    raise NotFound(
        f"which lab? name one of: {', '.join(names)}"
        if names
        else "no lab is up; `bascule up` builds one"
    )


def matching(rows: list[dict[str, Any]], filters: list[str]) -> list[dict[str, Any]]:
    """The rows that fit every filter, Docker's ``label=KEY[=VALUE]`` or ``name=PART``. Raises
    :class:`InputError` for another."""
    for each in filters:
        word, _, rest = each.partition("=")
        key, equals, value = rest.partition("=")
        if word not in ("label", "name") or not rest:
            raise InputError(
                f"--filter: {shown(each)} is no filter; write label=KEY, label=KEY=VALUE or "
                f"name=PART"
            )
        if word == "name":
            rows = [row for row in rows if rest in row["name"]]
        else:
            rows = [
                row
                for row in rows
                if key in row["labels"] and (not equals or row["labels"][key] == value)
            ]
    return rows


def _by_file(path: str) -> str:
    return _of_file(load(path))


def _of_file(lab: Lab) -> str:
    """The name of the lab of this file. Raises :class:`InputError` where the one that is up is of
    another."""
    for info in look.labs():
        if info.name == lab.name and origin.is_other(info.source, lab.source):
            advice = f"name the lab itself, {lab.name}, where that one is meant"
            raise origin.refusal(lab.name, info.source, lab.source, advice)
    return lab.name


def changing(name: str | None) -> str:
    """The lab that an imperative command changes: as :func:`running`, and ``default`` where there
    is none yet."""
    given = name or os.environ.get("BASCULE_LAB")
    if given:
        return given
    names = [info.name for info in look.labs()]
    if not names:
        return "default"
    if len(names) == 1:
        return names[0]
    raise NotFound(f"which lab? choose with --lab: {', '.join(names)}")
