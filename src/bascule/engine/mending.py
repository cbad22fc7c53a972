"""`doctor --fix`: run the commands that mend what was found."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bascule.engine.views import Finding
from bascule.host import programs

_SECONDS = 600.0  # a package may have to be fetched
_OWN = "bascule "
_PACKAGED = os.path.abspath(f"{__file__}/../../..")  # a folder or a zipapp


@dataclass(frozen=True, slots=True)
class Mended:
    """A ``command``, whether it was ``done``, and else why not."""

    command: str
    done: bool
    why: str = ""


def mend(found: Iterable[Finding]) -> Iterator[Mended]:
    """Run the ``fix`` of each finding that has one, in their order, each once."""
    for command in dict.fromkeys(each.fix for each in found if each.fix):
        yield _mend(command)


def _mend(command: str) -> Mended:
    if os.geteuid() != 0 and not command.startswith(_OWN):
        return Mended(command, False, "needs root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    argv = ["/bin/sh", "-c", command]
    if command.startswith(_OWN):
        # This very version, wherever it is installed (a zipapp, too), and never what the folder
        # that we are in calls so (-P).
        argv = [sys.executable, "-P", "-m", *shlex.split(command)]
        there = [_PACKAGED, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(there)
    try:
        done = programs.run(argv, "", _SECONDS, environment)
    except (OSError, TimeoutError) as error:
        return Mended(command, False, str(error))
    said = (done.stderr.strip() or done.stdout.strip() or "failed").splitlines()[-1]
    return Mended(command, done.code == 0, "" if done.code == 0 else said)


def install(package: str) -> str:
    """The command that installs a package of Debian or Ubuntu; empty on another system."""
    if shutil.which("apt-get") is None:
        return ""
    return f"apt-get install -y -q --no-install-recommends {package}"


def load(module: str) -> str:
    """The command that loads a module of the kernel; empty where there are none."""
    return f"modprobe {module}" if shutil.which("modprobe", path="/usr/sbin:/sbin") else ""
