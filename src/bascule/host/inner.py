"""The inner user namespace of a private world: where the commands of its nodes live.

The engine and what it runs (keeper, workers, nft, dnsmasq, pasta) have the world's outer user
namespace, which owns the network namespace of the bridges, the world's mounts and its processes. A
command in a node is root of an inner one: the nodes' network namespaces are made in there and
belong to it, and that is all it has power over (user_namespaces(7), capabilities(7)). Also

* its PID namespace is an inner one, so that there is nothing of the engine's to be traced, looked
  into or ended. Its process 1 belongs to the outer user namespace: it has no handler for any
  signal, and no command may trace it;
* its mounts are copies of what that process has, in a mount namespace that the inner user namespace
  owns: locked, each and all, so that what lies below can't be uncovered (mount_namespaces(7)).
  /run, /proc and the state directory are covered like that;
* its IPC namespace is one for all commands of the lab.

The user namespace and the IPC namespace are held by mounts in the world's /run; the others by
process 1. It would have been one way for all, but that Linux 6.18 does not always let a mount
namespace be mounted.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
from contextlib import suppress
from typing import NoReturn

from bascule import syscalls
from bascule.errors import WorldError
from bascule.host import ids, lasting
from bascule.host.lasting import Process
from bascule.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
)

PINS = "/run/inner"
_PINNED = {"user": CLONE_NEWUSER, "ipc": CLONE_NEWIPC}
_MADE_AND_TOLD, _ERRNO = b"+", struct.Struct("=i")


def build(hidden: tuple[str, ...]) -> int:
    """In the keeper: make the namespaces, and process 1 among them: a pidfd of that. Raises
    OSError, and :class:`WorldError` with what a child says."""
    syscalls.unshare(CLONE_NEWPID)
    ready, done = os.pipe()
    first = syscalls.fork_again()
    if first == 0:
        os.close(ready)
        _first(done, hidden)
    os.close(done)
    said = os.read(ready, 400)
    os.close(ready)
    if said != _MADE_AND_TOLD:
        raise WorldError(
            said.decode("utf-8", "replace")
            or "the first process of the inner namespaces ended at once"
        )
    _pin()
    return os.pidfd_open(first)


def send(tell: socket.socket, descriptor: int) -> None:
    """In the keeper: tell the caller which process that is, in numbers that it knows."""
    socket.send_fds(tell, [_MADE_AND_TOLD], [descriptor])
    os.close(descriptor)


def receive(said: socket.socket) -> Process:
    """In the caller: process 1 of the inner PID namespace. Raises :class:`WorldError` where the
    keeper has ended."""
    _data, descriptors, _flags, _address = socket.recv_fds(said, 1, 1)
    if not descriptors:
        raise WorldError("the keeper ended before its inner namespaces were made")
    (descriptor,) = descriptors
    try:
        pid = lasting.number_held(descriptor)
    finally:
        os.close(descriptor)
    return Process(pid, lasting.start_time(pid))


def _first(done: int, hidden: tuple[str, ...]) -> NoReturn:
    """Process 1: mounts for the nodes, then nothing more."""
    try:
        syscalls.unshare(CLONE_NEWNS)
        quiet = MS_NOSUID | MS_NODEV
        for place in hidden:  # before /run: it may be below
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                syscalls.mount(
                    "tmpfs", place, "tmpfs", quiet | MS_NOEXEC | MS_RDONLY, "mode=000,size=4k"
                )
        syscalls.mount("tmpfs", "/run", "tmpfs", quiet, "mode=755")
        with suppress(PermissionError):  # as in the keeper
            syscalls.mount("proc", "/proc", "proc", quiet | MS_NOEXEC)
        _cover_control_groups()
        os.chdir("/")
        os.write(done, _MADE_AND_TOLD)
        sleep()
    except OSError as error:
        os.write(done, f"{error}".encode()[:400])
    finally:
        os._exit(1)


def _cover_control_groups() -> None:
    """Where the machine's /sys had to stay: who owns the caller's control group could end all in it
    (cgroup.kill, cgroups(7))."""
    if os.path.isdir("/sys/fs/cgroup") and os.listdir("/sys/fs/cgroup"):
        syscalls.mount(
            "tmpfs",
            "/sys/fs/cgroup",
            "tmpfs",
            MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
            "mode=555,size=4k",
        )


def sleep() -> NoReturn:
    """Become ``sleep infinity``: no descriptor, no environment; orphans are reaped by the kernel
    (SIGCHLD ignored)."""
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    syscalls.let_go()
    syscalls.become(
        shutil.which("sleep", path=syscalls.SYSTEM_PATH) or "/bin/sleep", ["sleep", "infinity"]
    )
    raise AssertionError("execve(2) does not return")


def _pin() -> None:
    """Have a child make the user namespace and what belongs to it, map all our ids into it, and
    mount it where :func:`descend` finds it."""
    near, far = socket.socketpair()
    with near, far:
        child = syscalls.fork_again()
        if child == 0:
            near.close()
            _make_user_namespace(far)
        far.close()
        entry, descriptors, _flags, _address = socket.recv_fds(near, 100, len(_PINNED))
        if len(descriptors) != len(_PINNED):
            raise WorldError(
                entry.decode("utf-8", "replace") or "the inner user namespace did not come to be"
            )
        for kind in ("uid_map", "gid_map"):
            ids.pass_on(entry.decode(), kind)
        syscalls.mkdir(PINS, 0o700)
        for name, descriptor in zip(_PINNED, descriptors, strict=True):
            os.close(syscalls.create(f"{PINS}/{name}", os.O_RDONLY, 0))
            syscalls.mount(f"/proc/self/fd/{descriptor}", f"{PINS}/{name}", "none", MS_BIND)
            os.close(descriptor)
    os.waitpid(child, 0)


def _make_user_namespace(tell: socket.socket) -> NoReturn:
    """The child: it tells what it is called in /proc, and stays until the maps are written."""
    try:
        syscalls.unshare(CLONE_NEWUSER | CLONE_NEWIPC)
        descriptors = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in _PINNED]
        socket.send_fds(tell, [os.readlink("/proc/self").encode()], descriptors)
        tell.recv(1)
    except OSError as error:
        tell.send(f"{error}".encode()[:100])
    finally:
        os._exit(0)


def descend(first: int) -> None:
    """From the world's own namespaces to those of its nodes' commands, by a pidfd of process 1; the
    PID namespace takes children only. The next mount namespace that is unshared has all its mounts
    locked. Raises OSError."""
    pins = [(os.open(f"{PINS}/{name}", os.O_RDONLY), kind) for name, kind in _PINNED.items()]
    syscalls.setns(first, CLONE_NEWNS | CLONE_NEWPID)
    # the user namespace last: in it there is no power over the others
    for descriptor, kind in reversed(pins):
        syscalls.setns(descriptor, kind)
        os.close(descriptor)


class Maker:
    """A child in the inner user namespace, which makes network namespaces there. They are the
    nodes' own then."""

    def __init__(self) -> None:
        self._near, far = socket.socketpair()
        with far:
            try:
                self._child = syscalls.fork_again()
            except OSError:
                self._near.close()
                raise
            if self._child == 0:
                self._near.close()
                _make_on_request(far)

    def __call__(self) -> int:
        """A descriptor of a new network namespace. Raises OSError."""
        self._near.send(_MADE_AND_TOLD)
        data, descriptors, _flags, _address = socket.recv_fds(self._near, _ERRNO.size, 1)
        if not descriptors:
            number = _ERRNO.unpack(data)[0] if len(data) == _ERRNO.size else 0
            raise OSError(
                number,
                os.strerror(number)
                if number
                else "the process that makes network namespaces has ended",
            )
        return descriptors[0]

    def close(self) -> None:
        """End the child."""
        self._near.close()
        os.waitpid(self._child, 0)


def _make_on_request(caller: socket.socket) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides
        syscalls.die_with_parent(signal.SIGKILL)
        user = os.open(f"{PINS}/user", os.O_RDONLY)
        syscalls.setns(user, CLONE_NEWUSER)
        while caller.recv(1):
            syscalls.unshare(CLONE_NEWNET)
            made = os.open("/proc/self/ns/net", os.O_RDONLY)
            socket.send_fds(caller, [_MADE_AND_TOLD], [made])
            os.close(made)
    except OSError as error:
        with suppress(OSError):
            caller.send(_ERRNO.pack(error.errno or 0))
    finally:
        os._exit(0)
