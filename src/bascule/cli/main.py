"""The entry point: find the command's row, parse its arguments, call its handler, turn errors into
one line and a code.

Handlers are imported when called: `exec` and `--version` have a budget of milliseconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from bascule.cli import inherited, streams
from bascule.cli.parsing import parse
from bascule.errors import BasculeError, KernelError

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
        code = _answer(lambda: _run(given))
        unwritten = _answer(streams.finish)
    if code in (1, 2) and given[:1] in (["exec"], ["shell"]):
        return _OWN_FAILURE  # what the command itself ends with never comes here
    return code or unwritten


def _run(given: Sequence[str]) -> int:
    parsed = parse(given)
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
