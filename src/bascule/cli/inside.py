"""exec, shell and ping: work inside nodes. `exec` imports as little as it can: it is the command
people wait for."""

from __future__ import annotations

import os
from argparse import Namespace as Arguments
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api import Echo

_MATRIX_NODES = 20
_NOT_MEANT = "-"


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
    """``bascule ping``: exit code 1 if any echo is not as the lab says."""
    from bascule import api
    from bascule.cli import output

    lab = api.Lab.attach(api.running_lab(arguments.lab, arguments.source))
    found = lab.ping(arguments.source, arguments.target, timeout=arguments.timeout, strangers=True)
    failed = [echo for echo in found if echo.failed]
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
    if echo.barred:
        result += f", and is not meant to, as {echo.barred}"
    # an IPv6 zone may hold anything
    return printable(f"{echo.source} -> {echo.target.node} {echo.target.address}: {result}")


def _print_all(found: list[Echo], failed: list[Echo]) -> None:
    from bascule.cli import output

    names = list(dict.fromkeys(name for echo in found for name in (echo.source, echo.target.node)))
    if found and len(names) <= _MATRIX_NODES:
        cells: dict[tuple[str, str], list[str]] = {}
        for echo in found:
            cells.setdefault((echo.source, echo.target.node), []).append(_cell(echo))
        rows = [
            (source, *(" ".join(cells.get((source, to), ["."])) for to in names))
            for source in names
        ]
        output.table(("from \\ to (ms)", *names), rows)
    barred = [echo for echo in found if echo.barred]
    for why, count in Counter(echo.barred for echo in barred).items():
        print(f"{_NOT_MEANT} not meant to, as {why}: {count} pair{'s' * (count > 1)}")
    for echo in failed:
        print(output.paragraph("", _line(echo)))
    lost = sum(echo.lost for echo in found if echo.seconds is not None)
    also = f", {lost} echoes lost" if lost else ""
    apart = f", {len(barred)} not meant to" if barred else ""
    answered = sum(echo.seconds is not None and not echo.barred for echo in found)
    print(f"{len(found)} pairs, {answered} answered{apart}, {len(failed)} failed{also}")


def _cell(echo: Echo) -> str:
    if echo.barred:
        return _NOT_MEANT if echo.seconds is None else "OPEN"
    if echo.seconds is None:
        return "FAIL"
    lost = f" ({echo.lost} lost)" if echo.lost else ""
    return f"{echo.seconds * 1000:.2f}{lost}"
