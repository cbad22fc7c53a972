"""A command inside a node: joined to its namespaces, with the node's own host name, /sys and files
of /etc.

Each command gets mount and UTS namespaces of its own, as ``ip netns exec`` does it: nothing has to
be kept per node, and nothing can be left behind. In a private world the command also enters the
nodes' PID namespace. Only a new process can be inside, so that the one that joined makes a sibling,
which becomes the command and is the caller's own child, and ends. Until it has become the command
it is a copy of the caller, among processes that are root where it is: they can't trace it, nor see
what it has open (PR_SET_DUMPABLE).
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NoReturn
from weakref import WeakSet

from bascule import syscalls
from bascule.errors import BasculeError, KernelError, NotFound, WorldError
from bascule.host import bind, namespaces
from bascule.host.world import WayIn, World
from bascule.names import shown
from bascule.syscalls import CLONE_NEWNS, CLONE_NEWUTS, MS_REC, MS_SLAVE

_HANDED_DOWN = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# The terminal sends them to us as well as to the command, which may mind or not: who waits stops
# when the command has, once.
_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_THE_TERMINALS = (signal.SIGINT, signal.SIGQUIT)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_SHELL = "/bin/sh"
_NO_NAME = "''"
_LOOKED_AT = 80  # bytes; what can't be executed is a text for the shell or not
_LONGEST_TOLD = 1000  # characters of one thing; all that is said fits into one page of the pipe
_SIBLING, _APART, _PLACE, _REFUSED = "sibling", "apart", "place", "refused"

Last = Callable[[], None]


class Process(subprocess.Popen[Any]):
    """A command inside a node: a :class:`subprocess.Popen` in every respect. ``last`` is called
    inside, right before the process becomes the command."""

    _joined = 0
    _started: ClassVar[WeakSet[Process]] = WeakSet()
    # Numbers of those that nobody has any more, and that may run on; and of those that have made a
    # sibling, and have nothing to do but to end. Nobody waits for that before the command itself
    # has ended.
    _forgotten: ClassVar[set[int]] = set()

    def __init__(
        self,
        world: World,
        node: str,
        argv: Sequence[str],
        last: Last,
        hostname: str = "",
        **options: Any,
    ) -> None:
        self._bury()
        hear, tell = os.pipe()
        try:
            with world.way_in() as way_in:
                super().__init__(
                    argv,
                    preexec_fn=lambda: _enter_as_sibling(world, way_in, node, hostname, tell, last),
                    **options,
                )
        except BaseException as error:
            os.close(tell)
            if why := _take_leave(hear, node):
                raise (world.told(why) if isinstance(why, WorldError) else why) from error
            raise
        os.close(tell)
        told = _told(hear) if world.kind == "private" else {}
        if _SIBLING in told:  # else the one that joined was killed
            self._joined, self.pid = self.pid, int(told[_SIBLING])
            self._forgotten.add(self._joined)
        os.close(hear)
        self._started.add(self)

    def __del__(self, *arguments: Any) -> None:
        # without a child there is no number
        if getattr(self, "_child_created", False) and self.returncode is None:
            self._forgotten.add(self.pid)
        super().__del__(*arguments)

    @classmethod
    def reap(cls) -> None:
        """Take note of the end of commands that nobody has waited for. As long as that is not done,
        they keep a private world from ending."""
        for process in list(cls._started):
            process.poll()
        cls._bury()

    @classmethod
    def _bury(cls, last: int = 0) -> None:
        for pid in list(cls._forgotten):
            with suppress(ChildProcessError):
                if os.waitpid(pid, 0 if pid == last else os.WNOHANG) == (0, 0):
                    continue
            cls._forgotten.discard(pid)

    def wait(self, timeout: float | None = None) -> int:
        """:meth:`subprocess.Popen.wait`"""
        code = super().wait(timeout)
        self._bury(self._joined)
        return code


def _tell(descriptor: int, word: str, text: str) -> None:
    os.write(descriptor, f"{word}\0{text[:_LONGEST_TOLD]}\0".encode("utf-8", "surrogateescape"))


def _told(descriptor: int) -> dict[str, str]:
    parts = os.read(descriptor, 1 << 16).decode("utf-8", "surrogateescape").split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=False))


def _take_leave(hear: int, node: str) -> Exception | None:
    """After a command that could not be started: why, where that was before execve(2); and, where a
    sibling tried, its end."""
    told = _told(hear)
    os.close(hear)
    if _SIBLING in told:
        with suppress(ChildProcessError):
            os.waitpid(int(told[_SIBLING]), 0)
    if _REFUSED in told:
        return OSError(
            int(told[_REFUSED]), os.strerror(int(told[_REFUSED])), told.get(_PLACE) or None
        )
    if _APART in told:
        return WorldError(
            f"joining node {node}: {told[_APART]}; run `bascule up` again, and see `bascule doctor`"
        )
    return None


def _enter_as_sibling(
    world: World, way_in: WayIn, node: str, hostname: str, tell: int, last: Last
) -> None:
    """Between fork and exec: join the node. In a private world go on as a sibling, and tell the
    caller its number."""
    sibling = 0
    try:
        if world.kind == "private":
            syscalls.not_dumpable()
        enter(world, way_in, node, hostname)
        if world.kind == "private":
            syscalls.no_new_privileges()
            sibling = syscalls.fork_sibling()
    except (OSError, BasculeError) as error:
        _tell(tell, _APART, str(error))
        raise
    if sibling:
        _tell(tell, _SIBLING, str(sibling))
        # the caller waits until nobody holds its pipe any more, and not until all of this one is
        # gone
        syscalls.close_all()
        os._exit(0)
    try:
        last()
    except OSError as error:
        _tell(tell, _PLACE, os.fsdecode(error.filename or ""))
        _tell(tell, _REFUSED, str(error.errno))
        raise


def popen(
    world: World, node: str, argv: Sequence[str], hostname: str = "", **options: Any
) -> Process:
    """Start a command in a node, whose ``hostname`` is the node's name if left out. Takes
    subprocess.Popen's options, apart from ``preexec_fn``.

    Raises :class:`NotFound` for a node without a namespace, and what Popen raises.
    """
    from bascule.host import late

    _refuse_missing(world, node)
    last = late.taken_from(options)
    return Process(world, node, argv, last, hostname, **options)


def _refuse_missing(world: World, node: str) -> None:
    if world.kind == "host" and not namespaces.is_pinned(node):
        raise NotFound(f"node {node} has no namespace; run `bascule up`")


def replace(
    world: World, node: str, argv: Sequence[str], last: Last, hostname: str = ""
) -> NoReturn:
    """Become the command (execvp(3)), or in a private world the process that waits for it; ``last``
    as in :class:`Process`.

    Ends the calling process with the command's own exit code, 127 where it was not found, 126 where
    it can't be run. Raises before anything is done.
    """
    _refuse_missing(world, node)
    if world.kind == "private":
        _wait_like_a_shell(world, node, argv, last, hostname)
    try:
        enter(world, world.way_in(), node, hostname)
    except OSError as error:
        said = f"{error.filename or 'a system call'}: {os.strerror(error.errno or 0)}"
        advice = "`bascule doctor` tells what this process may not do"
        raise KernelError(f"ip netns exec {node}", error.errno or 0, said, node, advice) from error
    last()
    _become(argv)


def _become(argv: Sequence[str]) -> NoReturn:
    """execvp(3), in the words and with the codes of a shell where that fails."""
    program = argv[0]
    reason, code = os.strerror(errno.ENOENT), _NOT_FOUND
    for path in _places(program):
        try:
            _run(path, argv)
        except OSError as error:
            there = os.path.exists(path)
            # A folder of PATH that may not be searched gives EACCES for every name that is nowhere.
            if not there and (error.errno == errno.ENOENT or "/" not in program):
                continue
            reason, code = error.strerror or str(error), _NOT_EXECUTABLE
            if error.errno == errno.ENOENT:
                reason = f"its interpreter: {reason}"
            if error.errno != errno.EACCES:  # else another folder may have one that may be run
                break
    with suppress(OSError):
        os.write(2, f"bascule: {shown(program) or _NO_NAME}: {reason}\n".encode())
    os._exit(code)


def _places(program: str) -> list[str]:
    """Where a shell looks; an empty name would be each folder of PATH itself."""
    if "/" in program:
        return [program]
    return [os.path.join(folder, program) for folder in os.get_exec_path()] if program else []


def _run(path: str, argv: Sequence[str]) -> None:
    """Returns never. Raises OSError. A script without a first line that names its interpreter is
    the shell's (execvp(3))."""
    try:
        syscalls.execv(path, argv)
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_binary(path):
            raise
    syscalls.execv(_SHELL, (_SHELL, path, *argv[1:]))


def _is_binary(path: str) -> bool:
    """As bash sees it: a NUL in the first line; a program for another machine, mostly."""
    with open(path, "rb") as file:
        return b"\0" in file.readline(_LOOKED_AT)


def _wait_like_a_shell(
    world: World, node: str, argv: Sequence[str], last: Last, hostname: str
) -> NoReturn:
    """Hand signals down, wait, stop and end as the command does. What the terminal sends reaches
    the command by itself.

    Signals that come while the command is being started wait until it is: it is hit by those that
    all of us were sent.
    """
    heard = [
        each
        for each in (*_HANDED_DOWN, *_STOPPING, *_THE_TERMINALS)
        if signal.getsignal(each) is not signal.SIG_IGN
    ]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)

    def become() -> NoReturn:
        for each in heard:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        syscalls.die_with_parent(signal.SIGKILL)  # who kills us means the command
        last()
        _become(argv)

    command = Process(world, node, argv, become, hostname, restore_signals=False, close_fds=False)

    def hand_down(number: int, _frame: object) -> None:
        if number in _HANDED_DOWN:
            # it has just ended: by the same signal, where a whole group was sent it
            with suppress(ProcessLookupError):
                os.kill(command.pid, number)

    for each in heard:
        signal.signal(each, hand_down)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    while os.WIFSTOPPED(status := os.waitpid(command.pid, os.WUNTRACED)[1]):
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(command.pid, signal.SIGCONT)
    _end_alike(os.waitstatus_to_exitcode(status))


def _end_alike(code: int) -> NoReturn:
    """End with this code, or by this signal (a negative number)."""
    if code >= 0:
        os._exit(code)
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    syscalls.not_dumpable()  # one core file is enough
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


def enter(world: World, way_in: WayIn, node: str, hostname: str = "") -> None:
    """Put this process into the node; in a private world, into all but the PID namespace, which
    takes children only."""
    here = _folder()
    way_in.join()
    descriptor = namespaces.enter_pin(node)
    if descriptor is None:
        raise WorldError(f"node {node} has no namespace; run `bascule up`")
    os.close(descriptor)
    sources = bind.take(node, world.paths)
    way_in.descend()
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWUTS)
    if world.kind == "host":
        syscalls.mount("none", "/", "none", MS_REC | MS_SLAVE)
    syscalls.sethostname(hostname or node)
    _mount_sys()
    bind.put(sources)
    if here and _folder() != here:
        with suppress(OSError):
            os.chdir(here)


def _folder() -> str:
    """The current folder; empty where that was removed, or covered by a mount. Joining a world
    leads to its root (setns(2))."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _mount_sys() -> None:
    """/sys shows the devices of the namespace in which it is mounted. The one below stays: in a
    private world it is locked."""
    # A container may forbid it: then the old one stays, which shows the wrong devices, and all else
    # works.
    with suppress(OSError):
        syscalls.mount("sysfs", "/sys", "sysfs", 0)
