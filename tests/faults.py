"""Stop a run at any of its effects: killed, refused by the kernel, cut off from power.

A run is a function, carried out in a forked child, because a SIGKILL ends more than a function. The
child stands in the gate of :mod:`bascule.syscalls`, which every changing system call passes, and
counts. So does everything that it forks, by shared memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bascule import syscalls
from bascule.errors import BasculeError
from bascule.host import netlink
from bascule.state import folder

How = Literal["done", "killed", "error", "traceback", "hang"]
# a machine with ten such tests at once has stood still for half of that
_SECONDS, _PATIENCE = 60, 0.2
# keepers, name servers, ways out: what outlives a run; and what a test has started itself
_LIVING = ("sleep", "dnsmasq", "pasta", "pasta.avx2", "dbus-daemon", "firewalld")
_HEAD = struct.Struct("=IIII")  # calls met, messages met, hit, length of the text
_HIT_AT, _ASKS = 8, 2
# where the calls' kinds stand, a byte each, behind the text; the size of it all
_NAMES, _SHARED = 1 << 16, 1 << 17

# What each call can answer, by its manual page: first what happens most. ENOENT of a file that goes
# is no fault and left out.
ERRNOS: dict[str, tuple[str, ...]] = {
    "open": ("ENOSPC", "EMFILE", "EACCES", "EROFS"),
    "write": ("ENOSPC", "EIO"),
    "truncate": ("EIO",),
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("ENOSPC", "EROFS"),
    "unlink": ("EROFS", "EACCES"),
    "mkdir": ("ENOSPC", "EACCES", "EROFS"),
    "chmod": ("EPERM", "EROFS"),
    "rmdir": ("EBUSY", "EACCES"),
    "symlink": ("ENOSPC", "EROFS"),
    "put": ("EINVAL", "EACCES", "EPERM"),
    "mount": ("ENOMEM", "EPERM", "ENOSPC"),
    "umount": ("EBUSY", "EPERM"),
    "unshare": ("ENOSPC", "EPERM", "ENOMEM"),
    "setns": ("EPERM", "ENOMEM"),
    "fork": ("EAGAIN", "ENOMEM"),
    "exec": ("ENOENT", "EACCES"),
    "kill": ("EPERM",),  # ESRCH is only said of a process that has ended
    "run": ("EAGAIN", "ENOMEM"),
    "send": ("ENOBUFS", "EPERM"),
    "sethostname": ("EPERM",),
    "ask": ("ECONNRESET", "ETIMEDOUT"),
}
_KINDS = tuple(ERRNOS)
# What rtnetlink answers to a message (net/core/rtnetlink.c and what it calls).
REFUSALS = ("EEXIST", "ENOMEM", "EPERM", "EBUSY", "ENODEV", "EINVAL", "EOPNOTSUPP", "ENOBUFS")


@dataclass(frozen=True)
class Fault:
    """What happens, and when. ``kill``: SIGKILL to the command before its effect number ``at``;
    ``worker``: to the process of it that is just acting; ``power``: like kill, and the state
    directory keeps only what was synced; ``error``: the system call number ``at`` answers its errno
    number ``variant``; ``refuse``: the netlink message number ``at`` is answered with one."""

    at: int
    way: Literal["none", "kill", "worker", "power", "error", "refuse"] = "none"
    variant: int = 0


class Ending(NamedTuple):
    """How a run ended, how many calls and messages it made, whether the fault came, what was said,
    and the names of the calls."""

    how: How
    calls: int
    messages: int
    hit: bool
    text: str
    names: tuple[str, ...] = ()


class _Gate:
    """Stands in the gate, in the child and in what it forks."""

    def __init__(self, fault: Fault, shared: mmap.mmap, disk: Disk | None) -> None:
        self._fault = fault
        self._shared = shared
        self._disk = disk

    def __call__(self, call: str, subject: object) -> None:
        if call == "setns" and self._fault.way != "error":
            return  # nothing outside the process changes by it
        if self._disk is not None:
            self._disk.meet(call, subject)
        calls, messages, hit, size = _HEAD.unpack_from(self._shared)
        _HEAD.pack_into(self._shared, 0, calls + 1, messages, hit, size)
        self._shared[_NAMES + calls] = _KINDS.index(call)
        if calls == self._fault.at and self._fault.way in ("kill", "worker", "power", "error"):
            _HEAD.pack_into(self._shared, 0, calls + 1, messages, 1, size)
            self._strike(call, subject)

    def _strike(self, call: str, subject: object) -> None:
        if self._fault.way == "error":
            names = ERRNOS[call]
            number = getattr(errno, names[self._fault.variant % len(names)])
            raise OSError(
                number, os.strerror(number), subject if isinstance(subject, str) else None
            )
        if self._fault.way == "worker":
            os._exit(137)  # process 1 of a PID namespace does not heed a signal of its own
        # The command is killed from outside: whoever acts just now may be in a PID namespace that
        # does not show it.
        struct.pack_into("=I", self._shared, _HIT_AT, _ASKS)
        # a new keeper acts by itself, after the end of the command
        deadline = time.monotonic() + _PATIENCE
        while (
            struct.unpack_from("=I", self._shared, _HIT_AT)[0] == _ASKS
            and time.monotonic() < deadline
        ):
            time.sleep(0.0002)

    def refusal(self, data: bytes) -> tuple[bytes, bytes]:
        """The messages less the one that is to be refused, and the answer to that one."""
        kept, answer = b"", b""
        while data:
            size, _kind, _flags, sequence, port = struct.unpack_from("=IHHII", data)
            padded = (size + 3) & ~3
            message, data = data[:padded], data[padded:]
            calls, messages, hit, length = _HEAD.unpack_from(self._shared)
            mine = self._fault.way == "refuse" and messages == self._fault.at
            _HEAD.pack_into(self._shared, 0, calls, messages + 1, hit or mine, length)
            if mine:
                number = getattr(errno, REFUSALS[self._fault.variant % len(REFUSALS)])
                answer = (
                    struct.pack("=IHHIIi", 36, 2, 0x100, sequence, port, -number) + message[:16]
                )
            else:
                kept += message
        return kept, answer


class _Lying(socket.socket):
    """A netlink socket whose kernel refuses one message."""

    gate: _Gate
    answer = b""

    def send(self, data: bytes, /) -> int:  # type: ignore[override]
        kind = struct.unpack_from("=IH", data)[1]
        if kind % 4 == 2:  # RTM_GET…: a question
            return super().send(data)
        kept, self.answer = self.gate.refusal(data)
        if kept:
            super().send(kept)
        return len(data)

    def recv(self, size: int, /) -> bytes:  # type: ignore[override]
        answer, self.answer = self.answer, b""
        return answer or super().recv(size)


@contextmanager
def _lying(gate: _Gate) -> Iterator[None]:
    real = netlink._open

    def opened(protocol: int) -> socket.socket:
        if protocol != netlink.ROUTE:
            return real(protocol)
        lying = _Lying(fileno=real(protocol).detach())
        lying.gate = gate
        return lying

    with netlink.opened_by(opened):
        yield


def attempt(action: Callable[[], object], fault: Fault) -> Ending:
    """Carry out ``action`` in a child, with the fault. Waits until all that it started has ended; a
    keeper lives on."""
    shared = mmap.mmap(-1, _SHARED)
    disk = Disk() if fault.way == "power" else None
    child = os.fork()
    if child == 0:
        _run(action, fault, shared, disk)
    how, where = _wait(child, shared)
    _reap_orphans()
    calls, messages, hit, size = _HEAD.unpack_from(shared)
    text = where or shared[_HEAD.size : _HEAD.size + size].decode()
    names = tuple(_KINDS[number] for number in shared[_NAMES : _NAMES + calls])
    shared.close()
    if disk is not None:
        if how == "killed":
            disk.lose()
        disk.close()
    return Ending(how, calls, messages, bool(hit), text, names)


def _run(action: Callable[[], object], fault: Fault, shared: mmap.mmap, disk: Disk | None) -> None:
    code = 99
    text = ""
    try:
        gate = _Gate(fault, shared, disk)
        with syscalls.gated(gate), _lying(gate):
            action()
        code = 0
    except BasculeError as error:
        code, text = 1, str(error)
    except BaseException:
        text = traceback.format_exc()[-1500:]
    finally:
        data = text.encode()[-30000:]
        calls, messages, hit, _size = _HEAD.unpack_from(shared)
        _HEAD.pack_into(shared, 0, calls, messages, hit, len(data))
        shared[_HEAD.size : _HEAD.size + len(data)] = data
        os._exit(code)


def _wait(child: int, shared: mmap.mmap) -> tuple[How, str]:
    """Wait for its end, and kill it when the gate asks for that. Where it hangs, where it does
    comes along."""
    poll = select.poll()
    with open(os.pidfd_open(child)) as descriptor:
        poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + _SECONDS
        while not poll.poll(1):
            late = time.monotonic() > deadline
            if late or struct.unpack_from("=I", shared, _HIT_AT)[0] == _ASKS:
                where = "\n".join(_whereabouts(child)) if late else ""
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                struct.pack_into("=I", shared, _HIT_AT, 1)
                return (
                    ("hang", f"after {_HEAD.unpack_from(shared)[0]} calls:\n{where}")
                    if late
                    else ("killed", "")
                )
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    how: How = {0: "done", 1: "error"}.get(
        code, "killed" if code in (137, -signal.SIGKILL) else "traceback"
    )  # type: ignore[assignment]
    return how, ""


def _whereabouts(pid: int) -> Iterator[str]:
    """What a process and those below it are, and what they wait for in the kernel."""
    with suppress(OSError):
        command = (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")[:80]
            .decode(errors="replace")
        )
        used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        waits = Path(f"/proc/{pid}/stack").read_text().split("\n")[:8]
        yield f"{pid} {command} ({used} ticks): {' '.join(waits)}"
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _whereabouts(int(child))


def _reap_orphans() -> None:
    """Wait for what the dead have left running: helpers that see their pipe closed, and end.
    Keepers and name servers live on."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not [pid for pid in _children() if not _lives_on(pid)]:
            return
        time.sleep(0.001)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _lives_on(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() in _LIVING
    return False


class Disk:
    """The state directory as a disk shows it after a loss of power: contents that were synced,
    names whose folder was synced.

    Everything else is lost, the worst that fsync(2) allows. It is kept in a folder of its own,
    because the child that meets the syncs is killed.
    """

    def __init__(self) -> None:
        self._shadow = Path(tempfile.mkdtemp(prefix="bascule-disk-"))
        self._pending: tuple[str, int] | None = None
        self._root = folder.root()
        for place in (self._root, *(str(path) for path in Path(self._root).rglob("*"))):
            if os.path.lexists(place):  # what was there before the run is on the disk
                self._synced(place)

    def close(self) -> None:
        """Forget it all."""
        shutil.rmtree(self._shadow)

    def meet(self, call: str, subject: object) -> None:
        """A call is about to be made: the sync before it has been done by now."""
        if self._pending is not None:
            self._synced(*self._pending)
            self._pending = None
        if call == "fsync" and isinstance(subject, int):
            self._pending = (os.readlink(f"/proc/self/fd/{subject}"), subject)

    def _synced(self, path: str, _descriptor: int = -1) -> None:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            rows = [
                f"{os.lstat(os.path.join(path, name)).st_ino} {name}\n" for name in os.listdir(path)
            ]
            (self._shadow / f"{status.st_ino}.folder").write_text("".join(rows))
        elif stat.S_ISREG(status.st_mode):
            shutil.copy(path, self._shadow / str(status.st_ino))

    def lose(self) -> None:
        """The power is back: rebuild the state directory from what is on the disk."""
        if not os.path.isdir(self._root):
            return
        number = os.lstat(self._root).st_ino
        folders = {
            os.lstat(path).st_ino
            for path in Path(self._root).rglob("*")
            if path.is_dir() and not path.is_symlink()
        }
        shutil.rmtree(self._root)
        os.mkdir(self._root, 0o700)
        self._restore(self._root, number, folders)

    def _restore(self, path: str, number: int, folders: set[int]) -> None:
        listing = self._shadow / f"{number}.folder"
        for row in listing.read_text().splitlines() if listing.exists() else ():
            inode, _, name = row.partition(" ")
            child = f"{path}/{name}"
            if int(inode) in folders or (self._shadow / f"{inode}.folder").exists():
                os.mkdir(child, 0o700)
                self._restore(child, int(inode), folders)
            else:
                content = self._shadow / inode
                Path(child).write_bytes(content.read_bytes() if content.exists() else b"")
                os.chmod(child, 0o600)
