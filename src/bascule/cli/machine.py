"""doctor and completion."""

from __future__ import annotations

from argparse import Namespace as Arguments

from bascule import api
from bascule.cli import output
from bascule.names import printable


def doctor(arguments: Arguments) -> int:
    """``bascule doctor``: exit code 1 where something that is needed is missing."""
    found = api.doctor()
    if arguments.json:
        output.as_json(found)
    else:
        for item in found:
            advice = f"; {item.advice}" if item.advice else ""
            sign = {"ok": "+", "note": "~", "no": "-"}[item.verdict]
            line = printable(f"{item.verdict:5} {item.what}: {item.found}{advice}")
            print(output.paragraph(sign, line))
    return 1 if any(item.verdict == "no" for item in found) else 0


def completion(arguments: Arguments) -> int:
    """``bascule completion SHELL``: source the output, or put it where the shell looks for
    completions."""
    from bascule.cli import complete

    output.document(complete.script(arguments.shell))
    return 0
