"""Write the reference of the Python API into docs/api.md, between its two marks.

``python tools/api.py``; ``make golden`` does it, too. It is made of the signatures and docstrings
of all public names; what stands above the marks is written by hand.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import bascule
from bascule import api, errors, testing

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
BEGIN, END = "<!-- names -->", "<!-- /names -->"
_ROLE = re.compile(r":[a-z]+:`~?\.?(?:bascule\.)?([^`]*)`")
_MORE = (
    "All the names above, and the rest of what the command line is made of, for a page, a plugin "
    "or a program of one's own."
)


def reference() -> str:
    """All public names, by where they are imported from."""
    first = ("Lab", "Node", "labs", "events", "doctor", "restore", "edit", "topologies")
    own = [name for name in bascule.__all__ if not name.startswith("_")]
    kinds = [name for name in own if _is_error(getattr(bascule, name))]
    values = [name for name in own if name not in first and name not in kinds]
    more = [name for name in api.__all__ if name not in own]
    return "\n".join(
        [
            "\n## `import bascule`",
            *_all(bascule, first),
            "\n## What comes back",
            *_all(bascule, values),
            "\n## Errors\n",
            *_errors(kinds),
            "\n## `bascule.api`: what front ends stand on",
            f"\n{_MORE}",
            *_all(api, more),
            "\n## `bascule.testing`: tests without a kernel\n",
            *_text(testing),
            *_all(testing, [name for name in testing.__all__ if name != "Answer"]),
        ]
    )


def page(text: str) -> str:
    """The page with its reference as it is now."""
    found = f"{BEGIN}\n{reference()}\n{END}"
    return re.sub(f"{BEGIN}.*{END}", lambda _: found, text, flags=re.DOTALL)


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _all(module: ModuleType, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from _module(name, value)
        elif isinstance(value, type) and value.__name__ != name:
            yield f"\n### `{name}`\n\nThe same as `{value.__name__}`."
        elif isinstance(value, type):
            yield from _class(name, value)
        elif not callable(value):
            yield f"\n### `{name} = {value!r}`\n"
        else:
            yield f"\n### `{_signature(name, value)}`\n"
            yield from _text(value)


def _module(name: str, module: ModuleType) -> Iterator[str]:
    yield f"\n### `{name}`\n"
    yield from _text(module)
    for each, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and each[0] != "_":
            yield f"\n#### `{_signature(f'{name}.{each}', value)}`\n"
            yield from _text(value)


def _class(name: str, found: type) -> Iterator[str]:
    is_value = dataclasses.is_dataclass(found) or hasattr(found, "__annotations__")
    yield f"\n### `{name if is_value and not _has_init(found) else _signature(name, found)}`\n"
    yield from _text(found)
    fields = _fields(found)
    if fields:
        yield "\n| field | type |\n|---|---|"
        yield from (f"| `{each}` | `{_cell(kind)}` |" for each, kind in fields.items())
    for each, value in vars(found).items():
        if each.startswith("_"):
            continue
        kind = "classmethod" if isinstance(value, classmethod) else ""
        function = value.__func__ if kind else value.fget if isinstance(value, property) else value
        if inspect.isfunction(function):
            place = f"{name if kind else name.lower()}.{each}"
            spelt = (
                place if isinstance(value, property) else _signature(place, function, bound=True)
            )
            returned = f" -> {_kind(function)}" if isinstance(value, property) else ""
            yield f"\n#### `{spelt}{returned}`\n"
            yield from _text(function)


def _has_init(found: type) -> bool:
    return inspect.isfunction(vars(found).get("__init__")) and not dataclasses.is_dataclass(found)


def _fields(found: type) -> dict[str, str]:
    if dataclasses.is_dataclass(found):
        return {each.name: str(each.type) for each in dataclasses.fields(found)}
    if hasattr(found, "__total__"):  # a TypedDict
        kinds = inspect.get_annotations(found).items()
        return {key: getattr(kind, "__forward_arg__", str(kind)) for key, kind in kinds}
    return {}


def _kind(function: Any) -> str:
    return str(inspect.signature(function).return_annotation)


class _Plain(str):
    """An annotation, without the quotes of a text."""

    __slots__ = ()
    __repr__ = str.__str__


def _signature(name: str, function: Any, bound: bool = False) -> str:
    found = inspect.signature(function)
    parameters = [
        each.replace(annotation=_Plain(each.annotation))
        if isinstance(each.annotation, str)
        else each
        for each in list(found.parameters.values())[1 if bound else 0 :]
    ]
    returned = found.return_annotation
    if isinstance(returned, str):
        returned = _Plain(returned)
    text = str(found.replace(parameters=parameters, return_annotation=returned))
    return name + re.sub(r"<function \S+ at 0x[0-9a-f]+>", "…", text.replace(" -> None", ""))


def _errors(names: Iterable[str]) -> Iterator[str]:
    yield "All come from `BasculeError`; `exit_code` is the command line's.\n"
    yield "| error | `exit_code` | when |\n|---|---|---|"
    for name in names:
        kind = getattr(errors, name)
        base = kind.__bases__[0].__name__
        also = f" (a kind of `{base}`)" if base not in ("BasculeError", "Exception") else ""
        said = " ".join("\n".join(_text(kind)).split())
        yield f"| `{name}` | {kind.exit_code} | {_cell(said)}{also} |"


def _text(value: object) -> Iterator[str]:
    """A docstring as Markdown; its examples are run by the tests."""
    text = inspect.getdoc(value) or ""
    inside = False
    for line in _ROLE.sub(r"`\1`", text).replace("``", "`").splitlines():
        begins = line.lstrip().startswith(">>>")
        if begins and not inside:
            yield "```pycon"
            inside = True
        if inside and not line.strip():
            yield "```"
            inside = False
        yield line
    if inside:
        yield "```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
