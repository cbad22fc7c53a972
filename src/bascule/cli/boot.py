"""restore, install-unit."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace as Arguments

from bascule.api import Lab
from bascule.cli import output
from bascule.engine import boot
from bascule.errors import BasculeError, InputError, NotFound
from bascule.names import shown
from bascule.state import kept


def restore(arguments: Arguments) -> int:
    """``bascule restore``: goes on after a failure and gives the worst code."""
    _only_root("restore")
    boot.refuse_elsewhere()
    missing = boot.missing()
    unknown = [name for name in arguments.labs if name not in kept.names()]
    if unknown:
        raise NotFound(f"no lab {shown(unknown[0])} is kept; kept are: {', '.join(kept.names()) or 'none'}")
    code = 0
    for name in [name for name in missing if not arguments.labs or name in arguments.labs]:
        try:
            topology, source = kept.load(name)
            lab = Lab.from_data(topology, world="host", name=name)
            lab.source = source
            output.report(name, lab.up(output.listener(False)), "up")
        except BasculeError as error:
            for line in str(error).splitlines():
                output.say(f"{name}: {line}")
            code = max(code, error.exit_code)
    if not missing:
        output.say("nothing to restore: all kept labs are up")
    return code


def install_unit(arguments: Arguments) -> int:
    """``bascule install-unit``"""
    program = os.path.realpath(shutil.which(sys.argv[0]) or sys.argv[0])
    if arguments.print:
        output.document(boot.unit(program))
        return 0
    _only_root("install-unit")
    for line in boot.remove() if arguments.remove else boot.install(program):
        output.say(line)
    return 0


def _only_root(verb: str) -> None:
    if os.geteuid() != 0:
        raise InputError(f"{verb} is about labs on the machine itself: run it as root")
