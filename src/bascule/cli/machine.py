"""doctor, system prune and completion."""

from __future__ import annotations

import sys
from argparse import Namespace as Arguments
from collections.abc import Iterable

from bascule import api
from bascule.cli import output
from bascule.errors import BasculeError, InputError
from bascule.names import printable


def doctor(arguments: Arguments) -> int:
    """``bascule doctor``: exit code 1 where something that is needed is missing."""
    lab = api.running_lab(arguments.lab) if arguments.lab else ""
    found = api.doctor(lab)
    if arguments.fix:
        found = _mended(found, lab)
    if arguments.json:
        output.as_json(found)
    else:
        for item in found:
            advice = f"; {item.advice}" if item.advice else ""
            sign = {"ok": "", "note": "~", "no": "-"}[item.verdict]
            line = printable(f"{item.verdict:5} {item.what}: {item.found}{advice}")
            print(output.paragraph(sign, line))
    return 1 if any(item.verdict == "no" for item in found) else 0


def _mended(found: list[api.Finding], lab: str) -> list[api.Finding]:
    """What is found after what can be mended has been: each command is told."""
    if not any(item.fix for item in found):
        output.say("nothing was found that a command mends")
        return found
    for each in api.mend(found):
        output.say(f"{each.command}: {'done' if each.done else each.why}", "" if each.done else "-")
    return api.doctor(lab)


def system_prune(arguments: Arguments) -> int:
    """``bascule system prune``: goes on after a failure and gives the worst code."""
    found = api.leftovers()
    going = [each for each in found if each.sure or arguments.all]
    if not arguments.json:
        _list(found, going)
    if arguments.dry_run:
        return output.as_json(found) if arguments.json else 0
    if going and not arguments.force and not _agreed():
        return 1
    code, told = 0, list[object]()
    for each in going:
        try:
            outcome = api.prune(each, wait=not arguments.no_wait)
        except BasculeError as error:
            for line in str(error).splitlines():
                output.say(line, "-")
            told.append(api.failed(error))
            code = max(code, error.exit_code)
            continue
        told.append(api.done(each.name, outcome))
        if not arguments.json:
            output.say(f"{each.name} is gone")
            for remark in outcome.remarks:
                output.warn(remark)
    if arguments.json:
        output.as_json(told)
    return code


def _list(found: Iterable[api.Leftover], going: Iterable[api.Leftover]) -> None:
    goes = list(going)
    if not goes:
        print("nothing is left of labs that nobody knows")
    for each in found:
        what = f"{each.name}: {', '.join(each.things) or 'record'} ({each.why})"
        if each in goes:
            print(output.paint("-", printable(f"- {what}")))
        else:
            output.warn(f"left: {what}; `bascule system prune --all` takes it, too")


def _agreed() -> bool:
    """Raises :class:`InputError` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InputError("nobody is here to be asked; give --force, or --dry-run to look")
    print("Take this away? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def completion(arguments: Arguments) -> int:
    """``bascule completion SHELL``: source the output, or put it where the shell looks for
    completions."""
    from bascule.cli import complete

    output.document(complete.script(arguments.shell))
    return 0
