"""Start, find and end the pasta of a private world. It is started by the caller, whose sockets it
is to have; to be found and ended, it is like any program of the world.

pasta gets the world's namespaces but one, and keeps the machine's network namespace: so it may
configure the one and open sockets in the other, and ends with the keeper. It finds the world's
network namespace under a path in the world's own /run: newer ones close every descriptor that they
inherit, and a profile of AppArmor lets it look into few places. No file is written for us, for the
same reason: it is found again by a mark (:mod:`bascule.host.lasting`).
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from bascule import syscalls
from bascule.errors import KernelError
from bascule.host import keeper, lasting
from bascule.host.world import PrivateWorld
from bascule.kernel.op import Effect, EndUplink, RunUplink
from bascule.kernel.uplink import PROGRAM, WorldUplink

_TUN = "/dev/net/tun"
_MARK = "/run/bascule/.uplink"  # in the world
_NAMES = (PROGRAM, "passt")  # the file that a link called pasta leads to
_MOST_SAID = 4000
_NETNS = "--netns"  # what follows in a command line is not the lab's wish but the way to its world
# pasta takes root of a world with all users for the machine's, and would become nobody before it
# has joined.
_OWN = (_NETNS, keeper.NETWORK, "--netns-only", "--runas", "0:0")
# What comes to the machine's loopback arrives at the world's, where its rules expect it. Those
# before 2024_10_30 do not know the word, and do so anyway.
_LOOPBACK = "--host-lo-to-ns-lo"


def program() -> str | None:
    """Where pasta is."""
    return shutil.which(PROGRAM, path=syscalls.SYSTEM_PATH) or shutil.which(PROGRAM)


def why_not() -> str:
    """What keeps a private world from having a way out; empty where nothing does."""
    if program() is None:
        return "pasta is not installed; install the package passt"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} can't be opened; load the module tun, or ask for the right to use it"
    if not (has_default_route(4) or has_default_route(6)):
        return "the machine itself has no default route"
    return ""


def has_default_route(version: int) -> bool:
    """By IPv4 or IPv6 (proc_pid_net(5)); pasta takes addresses and routes from the interface that
    it leads through, and leaves alone a family that has none."""
    if version == 4:
        with suppress(OSError), open("/proc/thread-self/net/route") as file:
            return any(line.split("\t")[1:2] == ["00000000"] for line in file)
        return False
    with suppress(OSError), open("/proc/thread-self/net/ipv6_route") as file:
        rows = [line.split() for line in file]
        return any(row[0] == "0" * 32 and row[1] == "00" and row[-1] != "lo" for row in rows)
    return False


def least_port() -> int:
    """The first port that a process without privileges may listen on (ip-sysctl.rst)."""
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def running() -> WorldUplink | None:
    """The one that serves this world: looked for inside."""
    found = next(lasting.find(lasting.mark_in(_MARK), _NAMES), None)
    return None if found is None else WorldUplink(_options(found.words))


def _options(words: tuple[str, ...]) -> tuple[str, ...]:
    return words[1 : words.index(_NETNS)] if _NETNS in words else ()


def start(world: PrivateWorld, options: tuple[str, ...]) -> None:
    """Returns when packets can pass. Raises :class:`KernelError` with what pasta says, which is
    mostly that a port is taken."""
    found = program()
    if found is None:
        raise KernelError(
            PROGRAM, errno.ENOENT, "pasta is not installed", advice="install the package passt"
        )
    mark = world.call(lasting.make_mark, _MARK)
    said = _run(world, found, [PROGRAM, *options, *_OWN, _LOOPBACK], mark)
    if said is not None and _LOOPBACK in said:
        said = _run(world, found, [PROGRAM, *options, *_OWN], mark)
    command = f"{PROGRAM} {' '.join(options)}"
    if said is not None:
        lines = [line for line in said.splitlines() if line.strip() and "syslog" not in line]
        raise KernelError(command, errno.EINVAL, lines[-1] if lines else "failed")
    if world.call(running) is None:
        raise KernelError(
            command, errno.ESRCH, "it ended at once", advice="see the system's journal"
        )


def _run(world: PrivateWorld, found: str, argv: list[str], mark: str) -> str | None:
    """None where it has put itself into the background, else what it said."""
    reading, writing = os.pipe()
    child = syscalls.fork()
    if child == 0:
        os.close(reading)
        _become(world, found, argv, mark, writing)
    os.close(writing)
    try:
        said = b"".join(iter(lambda: os.read(reading, _MOST_SAID), b"")).decode("utf-8", "replace")
    finally:
        os.close(reading)
        _pid, status = os.waitpid(child, 0)
    return said if status else None


def _become(world: PrivateWorld, found: str, argv: list[str], mark: str, writing: int) -> NoReturn:
    """In the child: join, and fork once more, because only a child is in the PID namespace."""
    code = 1
    try:
        descriptor = lasting.hold(world.keeper)
        if descriptor is None:
            raise keeper.lost()
        null = os.open("/dev/null", os.O_RDONLY)
        for number, place in ((null, 0), (null, 1), (writing, 2)):
            os.dup2(number, place)
        syscalls.setns(
            descriptor, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS
        )
        worker = syscalls.fork_again()
        if worker == 0:
            # Python ignores it, and pasta before 2023_11 takes what signal(2) tells of that for an
            # error.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.chdir("/")
            syscalls.let_go()
            syscalls.become(found, argv, lasting.environment(mark))
        _pid, status = os.waitpid(worker, 0)
        code = os.waitstatus_to_exitcode(status) & 0xFF
    except BaseException as error:  # noqa: BLE001 (everything belongs to the caller)
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)


def carry_out(world: PrivateWorld, effects: Iterable[Effect]) -> None:
    """Start and end, in this order."""
    for effect in effects:
        if isinstance(effect, RunUplink):
            start(world, effect.options)
        elif isinstance(effect, EndUplink):
            world.call(end)


def end() -> None:
    """End what serves this world, and wait for that: called inside."""
    mark = lasting.mark_in(_MARK)
    for found in list(lasting.find(mark, _NAMES)):
        lasting.end(found, mark)
