"""Words of the command line → what is asked for: argparse, and one subcommand's parser only,
because `exec` and `--version` have a budget of milliseconds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bascule import __version__
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS


class Usage(SystemExit):
    """What was not understood; it has been told."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class _Parser(argparse.ArgumentParser):
    """Errors go to a terminal, and quote what may come from anywhere. Help ends with examples of
    the command's ``row``."""

    row: Row | None = None

    def format_help(self) -> str:
        from bascule.cli import usage

        return super().format_help() + (usage.below(self.row) if self.row else "")

    def error(self, message: str) -> NoReturn:
        from bascule.names import printable

        self.print_usage(sys.stderr)
        self._print_message(f"{self.prog}: {printable(message)}\n", sys.stderr)
        raise Usage(message)


class _Top(_Parser):
    def format_help(self) -> str:
        from bascule.cli import usage

        return usage.overview()


Given = Callable[[argparse.Action], None]


def parser(only: str | None = None, given: Given | None = None) -> argparse.ArgumentParser:
    """The whole parser, or with ``only`` a lean one for this command; with an empty one that of the
    commands' names. Each argument is ``given`` to who asks for that."""
    top = _Top(prog="bascule", usage="bascule COMMAND …", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"bascule {__version__}")
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser, prog="bascule"
    )
    for row in ROWS:
        if only == "":
            commands.add_parser(row.name, help=row.help)
        elif only in (None, row.name):
            _add(commands, row, given)
    return top


def _add(commands: argparse._SubParsersAction[Any], row: Row, given: Given | None) -> None:
    made = commands.add_parser(row.name, help=row.help, description=row.help, allow_abbrev=False)
    made.row = row
    made.set_defaults(parser=made)
    if row.children:
        below = made.add_subparsers(dest="verb", metavar="VERB", required=True)
        for child in row.children:
            _add(below, child, given)
        return
    for names, options in row.all_arguments():
        action = made.add_argument(*names, **options)
        if given is not None:
            given(action)
    made.set_defaults(handler=row.handler, row=row)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises SystemExit for help, a version, and what is not understood."""
    words = list(arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    elif words[:1] == ["version"]:
        words[0] = "--version"
    row = next((row for row in ROWS if words[:1] == [row.name]), None)
    made = parser(row.name if row else "")
    if row is None:
        if words and not words[0].startswith("-"):
            _refuse_command(made, words[0], ROWS)
        return made.parse_args(words)
    verbs = [child.name for child in row.children]
    if verbs and words[1:] and words[1] not in verbs and not words[1].startswith("-"):
        _refuse_command(made, words[1], row.children, f"{row.name} ")
    parsed, rest = made.parse_known_args(words)
    if rest:
        from bascule.cli import usage

        options = [name for names, _options in parsed.row.all_arguments() for name in names]
        parsed.parser.error(usage.unknown_arguments(rest, options, row.name))
    _name_the_lab(parsed)
    return parsed


def _name_the_lab(parsed: argparse.Namespace) -> None:
    """A lab may be named by its place, by an option, or before a node's name (LAB/NODE)."""
    given = [getattr(parsed, "lab", None), getattr(parsed, "as_option", None)]
    for place in ("node", "source", "target"):
        lab, slash, node = (getattr(parsed, place, None) or "").partition("/")
        if slash:
            given.append(lab)
            setattr(parsed, place, node)
    names = list(dict.fromkeys(name for name in given if name))
    if len(names) > 1:
        parsed.parser.error(f"two labs are named, {names[0]} and {names[1]}; name one")
    if names:
        parsed.lab = names[0]


def _refuse_command(
    made: argparse.ArgumentParser, word: str, rows: Sequence[Row], before: str = ""
) -> NoReturn:
    from bascule.cli import usage

    made.error(usage.unknown_command(word, rows, before))
