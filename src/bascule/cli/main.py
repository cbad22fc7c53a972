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


class _Parser(argparse.ArgumentParser):
    """Errors go to a terminal, and quote what may come from anywhere."""

    def error(self, message: str) -> NoReturn:
        from bascule.names import printable

        super().error(printable(message))


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole parser, or with ``only`` a lean one for this command; with an empty one that of the
    commands' names."""
    top = _Parser(
        prog="bascule",
        description="Networks of Linux network namespaces, from one file.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"bascule {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for row in ROWS:
        if only == "":
            commands.add_parser(row.name, help=row.help)
        elif only in (None, row.name):
            _add(commands, row)
    return top


def _add(commands: argparse._SubParsersAction[Any], row: Row) -> None:
    made = commands.add_parser(row.name, help=row.help, description=row.help, allow_abbrev=False)
    if row.children:
        below = made.add_subparsers(dest="verb", metavar="VERB", required=True)
        for child in row.children:
            _add(below, child)
        return
    for names, options in row.all_arguments():
        made.add_argument(*names, **options)
    made.set_defaults(handler=row.handler)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    known = {row.name for row in ROWS}
    if known.isdisjoint(arguments):  # --version, --help, or a mistake
        return parser("").parse_args(arguments)
    return parser(arguments[0] if arguments[0] in known else None).parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 the kernel or the network said no, 2 wrong
    input, 130 interrupted, 141 nobody reads any more. A command whose output could not be written
    has failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    inherited.take_closed()
    with streams.ours():
        code = _answer(lambda: _run(given))
        unwritten = _answer(streams.finish)
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
    from bascule.names import printable

    for line in str(error).split("\n"):
        print(f"bascule: {printable(line)}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
