"""restore, install-unit."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace as Arguments

from bascule import api
from bascule.cli import output


def restore(arguments: Arguments) -> int:
    """``bascule restore``: goes on after a failure and gives the worst code."""
    restored = api.restore(arguments.labs, arguments.wait, output.listener(False))
    if not api.missing():
        output.say("nothing to restore: all kept labs are up")
    code, told = 0, list[object]()
    for lab in restored:
        if lab.outcome is not None:
            told.append(api.done(lab.name, lab.outcome))
            if not arguments.json:
                output.report(lab.name, lab.outcome, "up")
        if lab.error is not None:
            told.append(api.failed(lab.error))
            for line in str(lab.error).splitlines():
                output.say(f"{lab.name}: {line}", "-")
            code = max(code, lab.error.exit_code)
    if arguments.json:
        output.as_json(told)
    return code


def install_unit(arguments: Arguments) -> int:
    """``bascule install-unit``"""
    # The name that it is called by stays; where that leads to changes with an upgrade.
    folder, name = os.path.split(os.path.abspath(shutil.which(sys.argv[0]) or sys.argv[0]))
    program = os.path.join(os.path.realpath(folder), name)
    text = api.unit_text(program) if arguments.print else ""
    done = []
    if not arguments.print:
        done = api.remove_unit() if arguments.remove else api.install_unit(program)
    if arguments.json:
        return output.as_json({"path": api.UNIT, "done": done, "text": text})
    output.document(text)
    for line in done:
        output.say(line)
    return 0
