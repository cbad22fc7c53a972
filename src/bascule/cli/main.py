"""The entry point: find the command's row, parse its arguments, call its handler, turn errors into
one line and a code.

Handlers are imported when called: `exec` and `--version` have a budget of milliseconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise

from bascule.cli import inherited, streams
from bascule.cli.parsing import Usage, parse
from bascule.errors import BasculeError, InputError, KernelError

_INDENT = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_OWN_FAILURE = 125  # of `exec`, as Docker has it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 the kernel or the network said no, 2 wrong
    input, 125 `exec` itself failed, 130 interrupted, 141 nobody reads any more. A command whose
    output could not be written has failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could stand here
        from bascule.cli import complete

        complete.answer()
    inherited.take_closed()
    with streams.ours():
        # what goes on prints an object a line, its error, too
        indent = None if given[:1] == ["events"] else _INDENT
        code = _answer(lambda: _run(given), _wants_json(given), indent)
        unwritten = _answer(streams.finish)
    return _code(given, code) or unwritten


def called(given: Sequence[str]) -> int:
    """Run one command as with ``--json``, for a program that takes what is told."""
    return _code(given, _answer(lambda: _run(given, json=True), json=True))


def _code(given: Sequence[str], code: int) -> int:
    if code in (1, 2) and given[:1] in (["exec"], ["shell"]):
        return _OWN_FAILURE  # what the command itself ends with never comes here
    return code


def _run(given: Sequence[str], json: bool = False) -> int:
    parsed = parse(given)
    if json:
        for name, value in (("json", True), ("format", "json")):
            if hasattr(parsed, name):
                setattr(parsed, name, value)
    if os.environ.get("BASCULE_DEBUG"):
        from bascule import debug

        debug.asked_for("netlink")
    inherited.hear_of_children()
    module, _, function = parsed.handler.partition(":")
    code: int = getattr(import_module(f"bascule.cli.{module}"), function)(parsed)
    return code


def _wants_json(given: Sequence[str]) -> bool:
    """Also of what was not understood; what `exec` hands on is not ours."""
    if given[:1] in (["exec"], ["shell"]):
        return False
    own = given[: given.index("--")] if "--" in given else given
    return "--json" in own or "--format=json" in own or ("--format", "json") in pairwise(own)


def _answer(
    step: Callable[[], int | None], json: bool = False, indent: int | None = _INDENT
) -> int:
    """The exit code of a step; what it raises is told in one line, and with ``json`` on standard
    output, too."""
    try:
        return step() or 0
    except Usage as end:
        _as_json(InputError(end.message), json, indent)
        return 2
    except SystemExit as end:  # argparse: help, version, usage
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt as error:
        print(f"bascule: interrupted{f'; {error}' if str(error) else ''}", file=sys.stderr)
        _as_json(error, json, indent)
        return _INTERRUPTED
    except BrokenPipeError:
        return _BROKEN_PIPE
    except BasculeError as error:
        return _failed(error, json, indent)
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
            ),
            json,
            indent,
        )


def _failed(error: BasculeError, json: bool, indent: int | None) -> int:
    from bascule.cli import output

    for line in str(error).split("\n"):
        output.say(line, "-")
    _as_json(error, json, indent)
    return error.exit_code


def _as_json(error: BaseException, json: bool, indent: int | None) -> None:
    if json:
        from bascule.api import failed
        from bascule.cli import output

        output.as_json(failed(error), indent)


if __name__ == "__main__":
    sys.exit(main())
