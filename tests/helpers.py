"""What the live tests share: the command, the examples, and reading what it prints."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import shlex
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import bascule as package
from bascule.cli.main import main
from sandbox import BASCULE, World

# All at once: what a command imports late, each child would read again.
for _module in pkgutil.walk_packages(package.__path__, "bascule."):
    importlib.import_module(_module.name)

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
SEED = Path(__file__).parents[1] / "examples" / "docker-bridge.yaml"
# Kept by bascule while a lab is up; compared by content where it matters.
STATE = ("/run/bascule*",)


_SECONDS = 60


def bascule(
    world: World, *arguments: object, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command in this world. It is a process of its own, but a child of this one, which has
    read the modules already: most of a small command's time is Python's start. With ``options``
    (those of :meth:`World.run`) it is started anew."""
    words = [str(argument) for argument in arguments]
    if options:
        return world.run(BASCULE, *words, check=check, **options)
    done = _forked(words)
    if check and done.returncode != 0:
        raise AssertionError(
            f"{shlex.join(done.args)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


def _forked(words: list[str]) -> subprocess.CompletedProcess[str]:
    files = os.memfd_create("stdout"), os.memfd_create("stderr")
    child = os.fork()
    if child == 0:
        _become(words, *files)
    with open(os.pidfd_open(child)) as descriptor:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(_SECONDS * 1000):
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = []
    for descriptor in files:
        said.append(os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode())
        os.close(descriptor)
    return subprocess.CompletedProcess(["bascule", *words], code, *said)


def _become(words: list[str], out: int, err: int) -> NoReturn:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2)
        )
        sys.argv = [BASCULE, *words]
        code = main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def as_json(world: World, *arguments: object) -> Any:
    """What the command prints with --json."""
    return json.loads(bascule(world, *arguments, "--json").stdout)


def changes(world: World, *arguments: object) -> list[str]:
    """The plan, one "sign what" a line."""
    return [
        f"{change['sign']} {change['what']}"
        for change in as_json(world, "plan", *arguments)["changes"]
    ]


_OF_ONE_LIFE = ("keeper", "netns", "netns_inode", "netns_cookie", "ifindex", "host_ifindex")


def lasting(shown: Any) -> Any:
    """What `show --json` tells, without what is another one when the lab is built anew."""
    if isinstance(shown, dict):
        return {key: lasting(each) for key, each in shown.items() if key not in _OF_ONE_LIFE}
    return [lasting(each) for each in shown] if isinstance(shown, list) else shown


def reboot(world: World) -> None:
    """What a reboot leaves of the machine: the kernel's state and /run are gone, /etc and /var are
    not."""
    for name in os.listdir("/run/netns"):
        world.run("ip", "netns", "del", name)
    for row in world.ip_json("link", "show"):
        if row["ifname"] != "lo":
            world.run("ip", "link", "del", row["ifname"], check=False)
    world.run("umount", "/run/netns")
    shutil.rmtree("/run/netns")
    shutil.rmtree("/run/bascule")
