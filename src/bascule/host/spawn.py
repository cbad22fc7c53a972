"""A command inside a node: joined to its namespaces, with the node's own host name, /sys and files of /etc.

Each command gets mount and UTS namespaces of its own, as ``ip netns exec`` does it: nothing has to be kept per node, and
nothing can be left behind. In a private world the command also enters the keeper's PID namespace. Only a child of the process
that joins is inside, so that one process stays between: it hands signals down and the exit status up.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from bascule.errors import KernelError, NotFound, WorldError
from bascule.host import namespaces, syscalls
from bascule.host.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, MNT_DETACH, MS_BIND, MS_REC, MS_SLAVE
from bascule.host.world import World

_HANDED_DOWN = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_LONGEST_LINK_CHAIN = 8


class Process(subprocess.Popen[Any]):
    """A command inside a node: a :class:`subprocess.Popen` in every respect, made by :func:`popen`."""


def popen(world: World, node: str, argv: Sequence[str], **options: Any) -> Process:
    """Start a command in a node. Takes subprocess.Popen's options, apart from ``preexec_fn``.

    Raises :class:`NotFound` for a node without a namespace, and what Popen raises.
    """
    _refuse_missing(world, node)
    return Process(argv, preexec_fn=lambda: enter(world, node), **options)  # noqa: PLW1509,S603 (the join has to happen there)


def _refuse_missing(world: World, node: str) -> None:
    if world.kind == "host" and not namespaces.is_pinned(node):
        raise NotFound(f"node {node} has no namespace; run `bascule up`")


def replace(world: World, node: str, argv: Sequence[str]) -> NoReturn:
    """Become the command (execvp(3)), or the process that waits for it. Raises only before anything has been done.

    Ends the calling process: with the command's own exit code, 127 where it was not found, 126 where it can't be run.
    """
    _refuse_missing(world, node)
    try:
        enter(world, node)
    except OSError as error:
        raise KernelError(f"ip netns exec {node}", error.errno or 0, os.strerror(error.errno or 0), node) from error
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606
    except OSError as error:
        os.write(2, f"bascule: {argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if error.errno == errno.ENOENT else 126)


def enter(world: World, node: str) -> None:
    """Put this process, or in a private world a child of it that goes on from here, into the node."""
    here = os.getcwd()
    world.join()
    descriptor = namespaces.open_pin(node)
    if descriptor is None:
        raise WorldError(f"node {node} has no namespace; run `bascule up`")
    syscalls.setns(descriptor, CLONE_NEWNET)
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
    if world.kind == "private":
        _stay_between()
        syscalls.no_new_privileges()


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
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
                syscalls.mount(f"{folder}/{name}", target, "none", MS_BIND)


def _resolved(path: str) -> str:
    """Where a chain of links ends, whether or not something is there."""
    for _step in range(_LONGEST_LINK_CHAIN):
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except OSError:
            return path
    return path


def _stay_between() -> None:
    """Fork. The child returns and becomes the command; the parent hands signals down and leaves as the child leaves."""
    parent_alive, guard = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {*_HANDED_DOWN, signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        os.close(guard)
        os.set_blocking(parent_alive, False)
        with suppress(BlockingIOError):
            if os.read(parent_alive, 1) == b"":  # it died before the kernel was told to watch it
                os._exit(1)
        os.close(parent_alive)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    _wait_between(child, guard)


def _wait_between(child: int, guard: int) -> NoReturn:
    os.closerange(3, guard)
    os.closerange(guard + 1, 1 << 16)  # among them Popen's error pipe, which has to close when the command starts
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    terminal_signals = (signal.SIGINT, signal.SIGQUIT)
    while True:
        info = signal.sigwaitinfo({*_HANDED_DOWN, signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            # The terminal has sent these to the whole process group, the command included.
            if info.si_signo not in terminal_signals or info.si_pid:
                with suppress(ProcessLookupError):
                    os.kill(child, info.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if ended and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        elif ended:
            _leave_like(status)


def _leave_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
