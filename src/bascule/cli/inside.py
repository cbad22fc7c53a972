"""exec, shell and ping: work inside nodes. `exec` imports as little as it can: it is the command
people wait for."""

from __future__ import annotations

import os
from argparse import Namespace as Arguments
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api import Echo

_MATRIX_NODES = 20


def run(arguments: Arguments) -> int:
    """``bascule exec``: ends as the command ends."""
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        from bascule.errors import InputError

        raise InputError("exec: no command; write `bascule exec NODE -- CMD …`")
    return _become(arguments, argv)


def shell(arguments: Arguments) -> int:
    """``bascule shell``"""
    return _become(arguments, [os.environ.get("SHELL") or "/bin/sh"])


def _become(arguments: Arguments, argv: list[str]) -> int:
    from bascule.api import become
    from bascule.cli import inherited

    inherited.note_locale()
    become(arguments.node, argv, arguments.lab, inherited.give_back)


def ping(arguments: Arguments) -> int:
    """``bascule ping``: exit code 1 if any echo fails."""
    from bascule import api
    from bascule.cli import output

    lab = api.Lab.attach(api.running_lab(arguments.lab, arguments.source))
    found = lab.ping(arguments.source, arguments.target, timeout=arguments.timeout)
    failed = [echo for echo in found if echo.seconds is None]
    if arguments.json:
        output.as_json(found)
    elif arguments.source and arguments.target:
        for echo in found:
            print(output.paragraph("", _line(echo)))
    else:
        _print_all(found, failed)
    return 1 if failed else 0


def _line(echo: Echo) -> str:
    from bascule.names import printable

    result = echo.why if echo.seconds is None else f"{echo.seconds * 1000:.3f} ms"
    if echo.lost and echo.seconds is not None:
        result += f", after {echo.lost} lost"
    # an IPv6 zone may hold anything
    return printable(f"{echo.source} -> {echo.target.node} {echo.target.address}: {result}")


def _print_all(found: list[Echo], failed: list[Echo]) -> None:
    from bascule.cli import output

    names = list(dict.fromkeys(name for echo in found for name in (echo.source, echo.target.node)))
    if found and len(names) <= _MATRIX_NODES:
        cells: dict[tuple[str, str], list[str]] = {}
        for echo in found:
            shown = "FAIL" if echo.seconds is None else f"{echo.seconds * 1000:.2f}"
            shown += f" ({echo.lost} lost)" if echo.lost and echo.seconds is not None else ""
            cells.setdefault((echo.source, echo.target.node), []).append(shown)
        rows = [
            (source, *(" ".join(cells.get((source, to), ["."])) for to in names))
            for source in names
        ]
        output.table(("from \\ to (ms)", *names), rows)
    for echo in failed:
        print(output.paragraph("", _line(echo)))
    lost = sum(echo.lost for echo in found if echo.seconds is not None)
    also = f", {lost} echoes lost" if lost else ""
    print(f"{len(found)} pairs, {len(found) - len(failed)} answered, {len(failed)} failed{also}")
