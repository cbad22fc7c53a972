"""A command inside a node: joined to its namespaces, with the node's own host name, /sys and files of /etc.

Each command gets mount and UTS namespaces of its own, as ``ip netns exec`` does it: nothing has to be kept per node, and
nothing can be left behind. In a private world the command also enters the keeper's PID namespace. Only a new process can be
inside, so that the one that joined makes a sibling, which becomes the command and is the caller's own child, and ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from bascule import syscalls
from bascule.errors import BasculeError, KernelError, NotFound, WorldError
from bascule.host import namespaces
from bascule.host.world import World
from bascule.syscalls import CLONE_NEWNS, CLONE_NEWUTS, MNT_DETACH, MS_BIND, MS_REC, MS_SLAVE

_HANDED_DOWN = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_THE_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
_LONGEST_LINK_CHAIN = 8
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Process(subprocess.Popen[Any]):
    """A command inside a node: a :class:`subprocess.Popen` in every respect."""

    def __init__(self, world: World, node: str, argv: Sequence[str], **options: Any) -> None:
        hear, tell = os.pipe()
        try:
            super().__init__(argv, preexec_fn=lambda: _enter_as_sibling(world, node, tell), **options)
        except BaseException as error:
            os.close(tell)
            why = _take_leave(hear)
            if why:
                raise WorldError(f"joining node {node}: {why}; run `bascule up` again, and see `bascule doctor`") from error
            raise
        os.close(tell)
        if world.kind == "private":
            joined, self.pid = self.pid, int(os.read(hear, 20))
            os.waitpid(joined, 0)
        os.close(hear)


def _take_leave(hear: int) -> str:
    """After a command that could not be started: why the node could not be joined, or, where a sibling tried, its end."""
    told = os.read(hear, 400).decode()
    os.close(hear)
    if told.isdigit():
        with suppress(ChildProcessError):
            os.waitpid(int(told), 0)
        return ""
    return told


def _enter_as_sibling(world: World, node: str, tell: int) -> None:
    """Between fork and exec: join the node. In a private world go on as a sibling, and tell the caller its number."""
    sibling = 0
    try:
        enter(world, node)
        if world.kind == "private":
            sibling = syscalls.fork_sibling()
    except (OSError, BasculeError) as error:
        os.write(tell, str(error).encode()[:400])
        raise
    if world.kind == "private":
        if sibling:
            os.write(tell, str(sibling).encode())
            os._exit(0)
        syscalls.no_new_privileges()


def popen(world: World, node: str, argv: Sequence[str], **options: Any) -> Process:
    """Start a command in a node. Takes subprocess.Popen's options, apart from ``preexec_fn``.

    Raises :class:`NotFound` for a node without a namespace, and what Popen raises.
    """
    _refuse_missing(world, node)
    return Process(world, node, argv, **options)


def _refuse_missing(world: World, node: str) -> None:
    if world.kind == "host" and not namespaces.is_pinned(node):
        raise NotFound(f"node {node} has no namespace; run `bascule up`")


def replace(world: World, node: str, argv: Sequence[str]) -> NoReturn:
    """Become the command (execvp(3)), or in a private world the process that waits for it. Ends the calling process with
    the command's own exit code, 127 where it was not found, 126 where it can't be run. Raises before anything is done."""
    _refuse_missing(world, node)
    if world.kind == "private":
        _wait_like_a_shell(world, node, argv)
    try:
        enter(world, node)
    except OSError as error:
        raise KernelError(f"ip netns exec {node}", error.errno or 0, os.strerror(error.errno or 0), node) from error
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as error:
        _not_run(argv[0], error)


def _not_run(program: str, error: OSError) -> NoReturn:
    # A folder of PATH that may not be searched gives EACCES for every name that is nowhere.
    absent = error.errno == errno.ENOENT or ("/" not in program and shutil.which(program) is None)
    os.write(2, f"bascule: {program}: {os.strerror(errno.ENOENT) if absent else error.strerror}\n".encode())
    os._exit(_NOT_FOUND if absent else _NOT_EXECUTABLE)


def _wait_like_a_shell(world: World, node: str, argv: Sequence[str]) -> NoReturn:
    """Hand signals down, wait, leave as the command leaves. What the terminal sends reaches the command by itself."""
    for number in _THE_TERMINALS:  # a handler, because an ignored signal would stay ignored in the command
        signal.signal(number, lambda _number, _frame: None)
    started: list[Process] = []
    early: list[int] = []

    def hand_down(number: int, _frame: object) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    for number in _HANDED_DOWN:
        signal.signal(number, hand_down)
    try:
        started.append(Process(world, node, argv, restore_signals=True, close_fds=False, stdin=None))
    except OSError as error:
        _not_run(argv[0], error)
    for missed in early:
        started[0].send_signal(missed)
    code = started[0].wait()
    if code >= 0:
        os._exit(code)
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


def enter(world: World, node: str) -> None:
    """Put this process into the node; in a private world, into all but the PID namespace, which takes children only."""
    here = os.getcwd()
    world.join()
    descriptor = namespaces.enter_pin(node)
    if descriptor is None:
        raise WorldError(f"node {node} has no namespace; run `bascule up`")
    os.close(descriptor)
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWUTS)
    syscalls.mount("none", "/", "none", MS_REC | MS_SLAVE)
    syscalls.sethostname(node)
    _mount_sys()
    _mount_etc(world.paths.of(f"/etc/netns/{node}"))
    try:
        os.chdir(here)
    except OSError:
        os.chdir("/")


def _mount_sys() -> None:
    """/sys shows the devices of the namespace in which it is mounted."""
    with suppress(OSError):
        syscalls.umount("/sys", MNT_DETACH)
    # A container may forbid it: then /sys shows the wrong devices, and all else works.
    with suppress(OSError):
        syscalls.mount("sysfs", "/sys", "sysfs", 0)


def _mount_etc(folder: str) -> None:
    """Bind each file of the node's folder over the one in /etc, as ``ip netns exec`` does."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        target = _resolved(f"/etc/{name}")
        try:
            syscalls.mount(f"{folder}/{name}", target, "none", MS_BIND)
        except FileNotFoundError:
            # A link to a file below /run, which is empty in a private world (systemd-resolved's resolv.conf).
            with suppress(OSError):
                _make_folders(os.path.dirname(target))
                os.close(syscalls.create(target, os.O_WRONLY, 0o644))
                syscalls.mount(f"{folder}/{name}", target, "none", MS_BIND)


def _make_folders(path: str) -> None:
    if not os.path.isdir(path):
        _make_folders(os.path.dirname(path))
        syscalls.mkdir(path, 0o755)


def _resolved(path: str) -> str:
    """Where a chain of links ends, whether or not something is there."""
    for _step in range(_LONGEST_LINK_CHAIN):
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return path
    return path
