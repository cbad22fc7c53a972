"""Start, find and end the pasta of a private world. All of it happens on the machine's side, in the caller.

pasta gets the world's namespaces but one, and keeps the machine's network namespace: so it may configure the one and open sockets
in the other, and ends with the keeper. The world's network namespace is handed to it as a descriptor, because it could not
look into the keeper's /proc itself.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NoReturn

from bascule import syscalls
from bascule.errors import KernelError, WorldError
from bascule.host import keeper
from bascule.host.world import PrivateWorld
from bascule.kernel.op import Outside, RunUplink
from bascule.kernel.uplink import PROGRAM, WorldUplink

_TUN = "/dev/net/tun"
_PATIENCE = 2000  # milliseconds
_MOST_SAID, _MOST_WORDS = 4000, 1 << 22
_NETNS = "--netns"  # what follows in a command line is not the lab's wish but the way to its world


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
    """By IPv4 or IPv6 (proc_pid_net(5)); pasta takes addresses and routes from the interface that it leads through, and leaves
    alone a family that has none."""
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


def running(world: PrivateWorld) -> WorldUplink | None:
    """The one that serves this world."""
    found = next(_processes(world), None)
    return None if found is None else WorldUplink(found[1])


def _processes(world: PrivateWorld) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Numbers and options of what was started for this world."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read(_MOST_WORDS).decode("utf-8", "replace").rstrip("\0").split("\0")
                if os.path.basename(words[0]).startswith(PROGRAM) and _NETNS in words and _mark(world) in words:
                    yield int(name), tuple(words[1 : words.index(_NETNS)])


def _mark(world: PrivateWorld) -> str:
    """A word that tells whose it is: pasta writes its number, which nobody reads, to a file in the world's own /run."""
    return f"/run/uplink-{world.pid}-{world.start}"


def start(world: PrivateWorld, options: tuple[str, ...]) -> None:
    """Returns when packets can pass. Raises :class:`KernelError` with what pasta says, which is mostly that a port is taken."""
    found = program()
    if found is None:
        raise KernelError(PROGRAM, errno.ENOENT, "pasta is not installed", advice="install the package passt")
    reading, writing = os.pipe()
    child = syscalls.fork()
    if child == 0:
        os.close(reading)
        _become(world, found, options, writing)
    os.close(writing)
    try:
        said = b"".join(iter(lambda: os.read(reading, _MOST_SAID), b"")).decode("utf-8", "replace")
    finally:
        os.close(reading)
        _pid, status = os.waitpid(child, 0)
    if status:
        lines = [line for line in said.splitlines() if line.strip() and "syslog" not in line]
        raise KernelError(f"{PROGRAM} {' '.join(options)}", errno.EINVAL, lines[-1] if lines else "failed")


def _become(world: PrivateWorld, found: str, options: tuple[str, ...], writing: int) -> NoReturn:
    """In the child: join, and fork once more, because only a child is in the PID namespace."""
    code = 1
    try:
        descriptor = keeper.open_keeper(world.pid, world.start)
        if descriptor is None:
            raise WorldError("the keeper of this lab has ended")
        netns = os.open(f"/proc/{world.pid}/ns/net", os.O_RDONLY)
        null = os.open("/dev/null", os.O_RDONLY)
        for number, place in ((null, 0), (null, 1), (writing, 2)):
            os.dup2(number, place)
        syscalls.setns(descriptor, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS)
        worker = syscalls.fork()
        if worker == 0:
            os.set_inheritable(netns, True)
            # Python ignores it, and pasta before 2023_11 takes what signal(2) tells of that for an error.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.chdir("/")
            # pasta takes root of a world with all users for the machine's, and would become nobody before it has joined.
            own = (_NETNS, f"/proc/self/fd/{netns}", "--netns-only", "--runas", "0:0", "--pid", _mark(world))
            argv = [PROGRAM, *options, *own]
            syscalls.become(found, argv)
        _pid, status = os.waitpid(worker, 0)
        code = os.waitstatus_to_exitcode(status) & 0xFF
    except BaseException as error:  # everything belongs to the caller
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)


def carry_out(world: PrivateWorld, effects: Iterable[Outside]) -> None:
    """Start and end, in this order."""
    for effect in effects:
        if isinstance(effect, RunUplink):
            start(world, effect.options)
        else:
            end(world)


def end(world: PrivateWorld) -> None:
    """End what serves this world, and wait for that."""
    for pid, _options in list(_processes(world)):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    syscalls.kill(descriptor, number)
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                if poll.poll(_PATIENCE):
                    break
        finally:
            os.close(descriptor)
