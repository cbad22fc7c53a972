"""The entry point: find the command's row, parse its arguments, call its handler, turn errors into
one line and a code.

argparse, and one subcommand's parser only: `exec` and `--version` have a budget of milliseconds.
Handlers are imported when called.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from bascule import __version__
from bascule.cli import inherited, streams
from bascule.cli.arguments import ROWS, Row
from bascule.errors import BasculeError, KernelError

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_OWN_FAILURE = 125  # of `exec`, as Docker has it


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
        self.exit(2, f"{self.prog}: {printable(message)}\n")


class _Top(_Parser):
    def format_help(self) -> str:
        from bascule.cli import usage

        return usage.overview()


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole parser, or with ``only`` a lean one for this command; with an empty one that of the
    commands' names."""
    top = _Top(prog="bascule", usage="bascule COMMAND …", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"bascule {__version__}")
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser, prog="bascule"
    )
    for row in ROWS:
        if only == "":
            commands.add_parser(row.name, help=row.help)
        elif only in (None, row.name):
            _add(commands, row)
    return top


def _add(commands: argparse._SubParsersAction[Any], row: Row) -> None:
    made = commands.add_parser(row.name, help=row.help, description=row.help, allow_abbrev=False)
    made.row = row
    made.set_defaults(parser=made)
    if row.children:
        below = made.add_subparsers(dest="verb", metavar="VERB", required=True)
        for child in row.children:
            _add(below, child)
        return
    for names, options in row.all_arguments():
        made.add_argument(*names, **options)
    made.set_defaults(handler=row.handler, row=row)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 the kernel or the network said no, 2 wrong
    input, 125 `exec` itself failed, 130 interrupted, 141 nobody reads any more. A command whose
    output could not be written has failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    inherited.take_closed()
    with streams.ours():
        code = _answer(lambda: _run(given))
        unwritten = _answer(streams.finish)
    if code in (1, 2) and given[:1] in (["exec"], ["shell"]):
        return _OWN_FAILURE  # what the command itself ends with never comes here
    return code or unwritten


def _run(given: Sequence[str]) -> int:
    parsed = _parse(given)
    if os.environ.get("BASCULE_DEBUG"):
        from bascule import debug

        debug.asked_for("netlink")
    inherited.hear_of_children()
    module, _, function = parsed.handler.partition(":")
    code: int = getattr(import_module(f"bascule.cli.{module}"), function)(parsed)
    return code


def _answer(step: Callable[[], int | None]) -> int:
    """The exit code of a step; what it raises is told in one line."""
    try:
        return step() or 0
    except SystemExit as end:  # argparse: help, version, usage
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt as error:
        print(f"bascule: interrupted{f'; {error}' if str(error) else ''}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        return _BROKEN_PIPE
    except BasculeError as error:
        return _failed(error)
    except OSError as error:
        advice = (
            "run as root, or with --world private" if isinstance(error, PermissionError) else ""
        )
        return _failed(
            KernelError(
                str(error.filename or "kernel"),
                error.errno or 0,
                error.strerror or str(error),
                advice=advice,
            )
        )


def _failed(error: BasculeError) -> int:
    from bascule.cli import output

    for line in str(error).split("\n"):
        output.say(line, "-")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
