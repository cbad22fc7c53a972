"""Worlds: where the host half of the engine runs.

The host world is the machine itself: calls are plain calls. A private world is joined by a child of
the caller, because joining a user namespace needs a process with one thread and there is no way
back; functions go in with the fork, and what they return, plain values, comes back through a pipe.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn, Protocol, Self, TypeVar

from bascule import syscalls
from bascule.errors import BasculeError, WorldError
from bascule.host import inner, keeper, lasting
from bascule.host.descriptors import kept
from bascule.host.lasting import Process
from bascule.host.paths import Paths

T = TypeVar("T")
Progress = Callable[[int], None]
_FRAME = struct.Struct("=BI")
_PROGRESS, _RESULT, _ERROR = range(3)


class World(Protocol):
    """Where a lab runs."""

    @property
    def kind(self) -> Literal["host", "private"]: ...
    @property
    def paths(self) -> Paths: ...
    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run the function inside the world. Raises what it raises."""
        ...

    def watch(self, function: Callable[..., T], progress: Progress, *arguments: object) -> T:
        """Like :meth:`call` for a function whose last parameter takes a progress callback."""
        ...

    def way_in(self) -> WayIn:
        """What a process needs that goes into the world. Raises :class:`WorldError`."""
        ...

    def told(self, error: BaseException) -> BaseException:
        """What to tell of an error that was met inside: where the world is ending, that."""
        ...


class WayIn:
    """What a child needs to go into a world, opened by its parent: what is forked does as little as
    it can, because each page that it touches is copied first. This one is of the host world, where
    there is nothing to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, in the parent."""

    def join(self) -> None:
        """In the child, which has one thread and will not come back: go to where the engine
        works."""

    def descend(self) -> None:
        """From there, go on to where the commands of nodes live."""


class _PrivateWayIn(WayIn):
    """Descriptors of the keeper and of process 1 of the inner namespaces."""

    def __init__(self, keeper: int, first: int | None) -> None:
        self._keeper = keeper
        self._first = first

    def __exit__(self, *_: object) -> None:
        os.close(self._keeper)
        if self._first is not None:
            os.close(self._first)

    def join(self) -> None:
        try:
            syscalls.setns(self._keeper, keeper.NAMESPACES)
        except OSError as error:
            raise keeper.explain(error) from error

    def descend(self) -> None:
        if self._first is None:
            raise WorldError("the first process of the lab's nodes has ended")
        inner.descend(self._first)


class HostWorld:
    """The machine's own network namespace."""

    kind: Literal["host", "private"] = "host"
    paths = Paths()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        return function(*arguments)

    def watch(self, function: Callable[..., T], progress: Progress, *arguments: object) -> T:
        return function(*arguments, progress)

    def way_in(self) -> WayIn:
        return WayIn()

    def told(self, error: BaseException) -> BaseException:
        return error

    def __repr__(self) -> str:
        return "<HostWorld>"


class PrivateWorld:
    """The namespaces of a keeper, and those of the ``first`` process of its nodes
    (:mod:`bascule.host.inner`)."""

    kind: Literal["host", "private"] = "private"
    paths = Paths(private=True)

    def __init__(self, keeper: Process, first: Process) -> None:
        self.keeper = keeper
        self.first = first

    def __repr__(self) -> str:
        return f"<PrivateWorld keeper={self.keeper.pid}>"

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        return self.watch(lambda *given: function(*given[:-1]), lambda _count: None, *arguments)

    def watch(self, function: Callable[..., T], progress: Progress, *arguments: object) -> T:
        with self.way_in() as way_in:
            reading, writing = os.pipe()
            with kept(reading, writing):
                child = syscalls.fork()
            if child == 0:
                os.close(reading)
                self._serve(way_in, writing, function, arguments)
        os.close(writing)
        try:
            result: T = self._hear(reading, progress)
            return result
        finally:
            os.close(reading)
            os.waitpid(child, 0)

    def way_in(self) -> WayIn:
        held = lasting.hold(self.keeper)
        if held is None:
            raise keeper.lost()
        with kept(held):
            return _PrivateWayIn(held, lasting.hold(self.first))

    def _serve(
        self,
        way_in: WayIn,
        writing: int,
        function: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> NoReturn:
        """In the child: join, and fork the worker, because only a child is inside the PID namespace
        that /proc shows."""
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            # What answers nodes' packets in the world is not to trace the worker, whose answers the
            # caller believes (ptrace(2)).
            syscalls.not_dumpable()
            way_in.join()
            told, tell = os.pipe()
            worker = syscalls.fork_again()
            if worker == 0:
                os.read(told, 1)  # the pipe to the caller has one writer at a time
                _work(writing, function, arguments)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _send(writing, _PROGRESS, worker)
            os.close(writing)
            os.write(tell, b"g")
            os.waitpid(worker, 0)
        except BaseException as error:  # noqa: BLE001 (everything belongs to the caller)
            _send(writing, _ERROR, error)
        finally:
            os._exit(0)

    def _hear(self, reading: int, progress: Progress) -> Any:
        _kind, worker = _receive(reading)
        if not isinstance(worker, int):
            raise self.told(worker)
        with _interrupts_go_to(worker) as interrupts:
            while True:
                try:
                    kind, value = _receive(reading)
                except WorldError:
                    if interrupts:  # of two, a terminal's and ours, the second may end its answer
                        raise KeyboardInterrupt from None
                    raise
                if kind == _RESULT:
                    return value
                if kind == _ERROR:
                    raise self.told(value)
                progress(value)

    def told(self, error: BaseException) -> BaseException:
        # the way into a world that is just ending is refused with ESRCH or ENOMEM
        ending = isinstance(error, OSError | BasculeError) and lasting.is_ending(self.keeper)
        return keeper.lost() if ending else error


def _work(writing: int, function: Callable[..., object], arguments: tuple[object, ...]) -> NoReturn:
    """In the worker: run, answer, end without the caller's clean-up handlers."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        result = function(*arguments, lambda count: _send(writing, _PROGRESS, count))
        _send(writing, _RESULT, result)
    except BaseException as error:  # noqa: BLE001 (all is the caller's, KeyboardInterrupt too)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _send(writing, _ERROR, error)
    finally:
        os._exit(0)


@contextmanager
def _interrupts_go_to(child: int) -> Iterator[list[int]]:
    """An interrupt (SIGINT) is the child's: it undoes what it did, and answers with
    KeyboardInterrupt. Gives the list in which it is noted."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def hand_down(number: int, _frame: object) -> None:
        noted.append(number)
        try:
            os.kill(child, signal.SIGINT)
        except (
            ProcessLookupError
        ):  # it has just ended, by the same interrupt of a terminal's or of itself
            raise KeyboardInterrupt from None

    before = signal.signal(signal.SIGINT, hand_down)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _send(descriptor: int, kind: int, value: object) -> None:
    try:
        data = pickle.dumps(value)
    except Exception:  # noqa: BLE001 (pickle raises whatever the value's methods do)
        kind, data = _ERROR, pickle.dumps(WorldError(f"{value!r}"))
    frame = _FRAME.pack(kind, len(data)) + data
    while frame:
        frame = frame[os.write(descriptor, frame) :]


def _receive(descriptor: int) -> tuple[int, Any]:
    kind, size = _FRAME.unpack(_read(descriptor, _FRAME.size))
    return kind, pickle.loads(_read(descriptor, size))  # noqa: S301 (our own child, through a pipe that only it has)


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(descriptor, min(size - len(data), 1 << 20))
        if not part:
            raise WorldError("the world ended while it was worked in; run `bascule up` again")
        data += part
    return bytes(data)
