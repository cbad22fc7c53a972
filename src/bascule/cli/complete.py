"""What a shell completes: commands and options out of the parser, and labs, nodes, networks, files
and commands, as they are just now. Imported where a shell asks (argcomplete)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.shell_integration import shellcode

from bascule import api
from bascule.api import LabInfo
from bascule.cli.parsing import parser
from bascule.errors import BasculeError, InputError

_FILES = FilesCompleter()
Completer = Callable[..., Any]


def answer() -> NoReturn:
    """Tell the shell that asks; ends the process."""
    argcomplete.autocomplete(parser(given=_give), always_complete_options=False)
    raise AssertionError("argcomplete.autocomplete() does not return where a shell has asked")


def script(shell: str) -> str:
    """What a shell has to read, to ask. Raises :class:`InputError` for a shell that the argcomplete
    of this Python does not know (zsh, before version 3)."""
    text: str = shellcode(["bascule"], shell=shell)
    if not text:
        raise InputError(
            f"the argcomplete that is installed here has nothing for {shell}; version 3.1 has"
        )
    return text


def _give(action: argparse.Action) -> None:
    completer = _COMPLETERS.get(str(action.metavar))
    if completer is not None:
        action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks


def _labs() -> list[LabInfo]:
    with suppress(BasculeError, OSError):
        return api.labs()
    return []


def _meant(parsed_args: argparse.Namespace) -> list[LabInfo]:
    """The lab that is named already, else all of them."""
    found = _labs()
    name = getattr(parsed_args, "lab", None) or os.environ.get("BASCULE_LAB")
    return [info for info in found if info.name == name] if name else found


def _all_labs(**_asked: Any) -> list[str]:
    return [info.name for info in _labs()]


def _files_and_labs(prefix: str, **asked: Any) -> list[str]:
    return [*_all_labs(), *_FILES(prefix, **asked)]


def _nodes(prefix: str, parsed_args: argparse.Namespace, **_asked: Any) -> Iterator[str]:
    for info in _labs() if "/" in prefix else _meant(parsed_args):
        for node in info.names[: info.nodes]:
            yield f"{info.name}/{node}" if "/" in prefix else node


def _networks(parsed_args: argparse.Namespace, **_asked: Any) -> Iterator[str]:
    for info in _meant(parsed_args):
        yield from info.names[info.nodes :]


def _all_names(parsed_args: argparse.Namespace, **_asked: Any) -> Iterator[str]:
    for info in _meant(parsed_args):
        yield from (info.name, *info.names)


def _commands(prefix: str, **asked: Any) -> Iterator[str]:
    """Programs of PATH, and files."""
    if "/" not in prefix:
        for folder in os.get_exec_path():
            with suppress(OSError):
                yield from (name for name in os.listdir(folder) if name.startswith(prefix))
    yield from _FILES(prefix, **asked)


_COMPLETERS: dict[str, Completer] = {
    "LAB": _all_labs,
    "FILE|LAB": _files_and_labs,
    "LAB|FILE": _files_and_labs,
    "NODE": _nodes,
    "FROM": _nodes,
    "TO": _nodes,
    "NETWORK": _networks,
    "LAB|NODE|NETWORK": _all_names,
    "CMD …": _commands,
}
