"""restore, install-unit."""

from __future__ import annotations

import os
import shutil
import sys
import time
from argparse import Namespace as Arguments

from bascule.api import Lab
from bascule.cli import output
from bascule.engine import boot
from bascule.errors import BasculeError, InputError, NotFound
from bascule.names import shown
from bascule.state import kept

_PAUSE, _LONGEST = 0.5, 3600  # seconds between two tries; and for all of them at most


def restore(arguments: Arguments) -> int:
    """``bascule restore``: goes on after a failure and gives the worst code."""
    _only_root("restore")
    if not 0 <= arguments.wait <= _LONGEST:
        raise InputError(
            f"--wait {arguments.wait:g}: give a number of seconds from 0 to {_LONGEST}"
        )
    boot.refuse_elsewhere()
    missing = boot.missing()
    unknown = [name for name in arguments.labs if name not in kept.names()]
    if unknown:
        raise NotFound(
            f"no lab {shown(unknown[0])} is kept; kept are: {', '.join(kept.names()) or 'none'}"
        )
    if not missing:
        output.say("nothing to restore: all kept labs are up")
    return _bring_back(
        [name for name in missing if not arguments.labs or name in arguments.labs], arguments.wait
    )


def _bring_back(names: list[str], seconds: float) -> int:
    """What can't be built, because something that it needs is not there yet, is tried again for so
    long."""
    deadline = time.monotonic() + seconds
    while True:
        failed = {name: error for name in names if (error := _failure(name)) is not None}
        if not failed or time.monotonic() >= deadline:
            break
        names = list(failed)
        time.sleep(_PAUSE)
    for name, error in failed.items():
        for line in str(error).splitlines():
            output.say(f"{name}: {line}")
    return max((error.exit_code for error in failed.values()), default=0)


def _failure(name: str) -> BasculeError | None:
    """Build a lab that is kept; why not, where it is not up then."""
    try:
        topology, source = kept.load(name)
        lab = Lab.from_data(topology, world="host", name=name)
        lab.source = source
        output.report(name, lab.up(output.listener(False)), "up")
    except BasculeError as error:
        return error
    return None


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
