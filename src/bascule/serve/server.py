"""The server: one thread that waits for all of them, hands calls to workers, and hands back what
they say. It carries out nothing itself, so that nothing that a call does can end or delay it.

* A connection's calls are worked on one after the other, in the order in which they came; those of
  different connections side by side, and streams beside all. Work on one lab waits for its lock, as
  commands do.
* A worker is a fork of this process, which has everything read: it begins as a command does. One
  whose call has changed nothing is used again, any other ends.
* Whoever goes away has no reader for what was asked: reading, streams and programs end; a change is
  finished, as one is whose terminal goes.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bascule.api import Doorway, Worker, started_worker
from bascule.errors import BasculeError, InputError, as_kernel_error
from bascule.serve import lines, working
from bascule.serve.caller import Caller, Sent
from bascule.serve.lines import Call, Cancel, Ended, Refused
from bascule.serve.working import Manner, Service

_MOST_CALLERS = 100
_MOST_STREAMS = 4  # of one connection
_MOST_IDLE = 4  # workers
_PART = 1 << 18
_PATIENCE = 30.0  # seconds that calls have to end by themselves when the server is to end
_LAST_PATIENCE = 10.0  # and once they are interrupted
_PAUSE = 0.5  # seconds until somebody is let in again, where no descriptor was left
# how a call is ended that nobody wants any more
_ENDING = {
    Manner.CHANGES: signal.SIGINT,
    Manner.STREAMS: signal.SIGINT,
    Manner.RUNS: signal.SIGHUP,
}


class _Job:
    """A worker, and what it is at: a call of a caller's, or nothing yet."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.end = os.pidfd_open(worker.pid)
        self.said = bytearray()
        self.caller: Caller | None = None
        self.call: Call | None = None
        self.manner = Manner.READS
        self.interrupted = False

    @property
    def is_stream(self) -> bool:
        return self.manner is Manner.STREAMS


class Server:
    """Serves until it is told to end (:meth:`end`)."""

    def __init__(self, door: Doorway, service: Service, say: Callable[[str], None]) -> None:
        self._door = door
        self._service = service
        self._say = say
        self._epoll = select.epoll()
        self._heard: dict[int, Callable[[int], None]] = {}
        self._callers: set[Caller] = set()
        self._jobs: set[_Job] = set()  # with a call
        self._idle: list[_Job] = []
        self._paused = False
        self._deadline: float | None = None  # once it is to end
        self._wake, self._woken = socket.socketpair()
        for each in (self._wake, self._woken):
            each.setblocking(False)

    # The loop.

    def run(self) -> None:
        """Until all is done after :meth:`end`."""
        self._listen(self._wake.fileno(), select.EPOLLIN, lambda _events: self._wake_up())
        self._door.listening.setblocking(False)
        self._listen(self._door.listening.fileno(), select.EPOLLIN, self._let_in)
        while not self._is_over():
            for descriptor, events in self._epoll.poll(self._timeout()):
                if hear := self._heard.get(descriptor):  # else one before it has ended this one
                    hear(events)
            if self._paused:
                self._paused = False
                self._epoll.modify(self._door.listening, select.EPOLLIN)
            if self._deadline is None and not self._idle:
                with suppress(OSError):  # then the next call tries, and tells
                    self._idle.append(self._start())
        self._close()

    def end(self) -> None:
        """For a handler of signals: begin to end, and the second time interrupt what is still
        done."""
        self._deadline = time.monotonic() + (_PATIENCE if self._deadline is None else 0)
        with suppress(BlockingIOError):
            self._woken.send(b"e")

    def _wake_up(self) -> None:
        self._wake.recv(16)
        if self._door.listening.fileno() < 0:
            return
        self._forget(self._door.listening.fileno())
        self._paused = False
        self._door.__exit__()
        for caller in list(self._callers):
            self._refuse_waiting(caller)
            caller.ended = True
            self._look_at(caller)
        for job in [job for job in self._jobs if job.is_stream]:
            self._unwanted(job)

    def _refuse_waiting(self, caller: Caller) -> None:
        while caller.waiting:
            of = caller.waiting.popleft().id
            caller.tell(lines.refusal(of, Ended("the server is ending; call the next one")))

    def _timeout(self) -> float | None:
        if self._paused:
            return _PAUSE
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        if not self._jobs and all(caller.done for caller in self._callers):
            return True
        if time.monotonic() < self._deadline:
            return False
        waiting = [job for job in self._jobs if not job.interrupted]
        for job in waiting:
            self._unwanted(job, signal.SIGINT)
        self._deadline = time.monotonic() + _LAST_PATIENCE
        return not waiting

    def _close(self) -> None:
        """What still works is left to come to its end, like a command in the background."""
        for job in self._idle:
            job.worker.channel.close()
        for job in self._idle:
            job.worker.bury()
        self._epoll.close()

    def _listen(self, descriptor: int, events: int, hear: Callable[[int], None]) -> None:
        self._heard[descriptor] = hear
        self._epoll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        if self._heard.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    # Callers.

    def _let_in(self, _events: int) -> None:
        try:
            connection, refused = self._door.let_in()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: those who wait would wake us again and again
            self._epoll.modify(self._door.listening, 0)
            self._paused = True
            return
        if not refused and len(self._callers) >= _MOST_CALLERS:
            refused = f"{_MOST_CALLERS} are connected already; close a connection"
        caller = Caller(connection)
        if refused:
            caller.tell(lines.refusal(None, InputError(refused)))
            connection.close()
            self._say(f"refused: {refused}")
            return
        self._callers.add(caller)
        self._listen(connection.fileno(), caller.wants(), partial(self._hear_caller, caller))

    def _hear_caller(self, caller: Caller, events: int) -> None:
        if events & (select.EPOLLHUP | select.EPOLLERR):
            self._take(caller, caller.leave())
        elif events & select.EPOLLIN:
            self._take(caller, caller.receive())
        if events & select.EPOLLOUT:
            caller.send()
        self._look_at(caller)

    def _take(self, caller: Caller, sent: list[Sent]) -> None:
        for each in sent:
            if isinstance(each, Cancel):
                self._cancel(caller, each)
            else:
                caller.waiting.append(each)

    def _cancel(self, caller: Caller, wish: Cancel) -> None:
        jobs = [
            job
            for job in self._jobs
            if job.caller is caller and job.call and job.call.id == wish.of
        ]
        for job in jobs:
            self._unwanted(job, signal.SIGINT)
        waiting = [call for call in caller.waiting if isinstance(call, Call) and call.id == wish.of]
        for call in waiting:
            caller.waiting.remove(call)
            caller.tell(lines.interrupted(call.id))
        if jobs or waiting:
            caller.tell(lines.granted(wish.id))
        else:
            caller.tell(lines.refusal(wish.id, InputError("no such call; it may have ended")))

    def _look_at(self, caller: Caller) -> None:
        """Whatever has happened: begin what can be begun, end what nobody wants, forget it where
        nothing is left."""
        if caller not in self._callers:
            return
        self._begin_waiting(caller)
        if caller.gone and not caller.ended:
            self._take(caller, caller.leave())
            self._begin_waiting(caller)
        jobs = [job for job in self._jobs if job.caller is caller]
        if caller.gone:
            self._forget(caller.socket.fileno())
            for job in jobs:
                if job.manner is not Manner.CHANGES and not job.interrupted:
                    self._unwanted(job)
        if caller.done:
            self._callers.discard(caller)
            self._forget(caller.socket.fileno())
            caller.socket.close()
        elif not caller.gone:
            self._epoll.modify(caller.socket, caller.wants())
            for job in jobs:
                self._hold(job, job.is_stream and not caller.reads)

    def _begin_waiting(self, caller: Caller) -> None:
        while caller.waiting and not caller.busy and (caller.reads or caller.gone):
            self._begin(caller, caller.waiting.popleft())

    def _hold(self, job: _Job, holds: bool) -> None:
        """Whether its words are left where they are, for a while."""
        if job.worker.channel.fileno() in self._heard:
            self._epoll.modify(job.worker.channel, 0 if holds else select.EPOLLIN)

    # Calls.

    def _begin(self, caller: Caller, call: Call | Refused) -> None:
        if isinstance(call, Refused):
            caller.tell(lines.refusal(call.id, call))
            return
        manner = self._service.manner(call.command)
        if caller.gone and manner is not Manner.CHANGES:
            return
        if manner is Manner.STREAMS and caller.streams >= _MOST_STREAMS:
            error = InputError(f"{_MOST_STREAMS} streams are open already; cancel one")
            caller.tell(lines.refusal(call.id, error))
            return
        try:
            job = self._idle.pop() if self._idle else self._start()
            job.worker.channel.sendall(lines.handed_on(call))
        except OSError as error:
            caller.tell(lines.refusal(call.id, as_kernel_error(error)))
            return
        job.caller, job.call, job.manner = caller, call, manner
        self._jobs.add(job)
        if job.is_stream:
            caller.streams += 1
        else:
            caller.busy = True

    def _start(self) -> _Job:
        job = _Job(started_worker(partial(working.work, service=self._service)))
        self._listen(job.end, select.EPOLLIN, lambda _events: self._bury(job))
        channel = job.worker.channel
        self._listen(channel.fileno(), select.EPOLLIN, lambda _events: self._hear(job))
        return job

    def _hear(self, job: _Job) -> None:
        data = b""
        with suppress(ConnectionResetError):  # it has ended before it read what it was handed
            data = job.worker.channel.recv(_PART)
        if not data:
            self._forget(job.worker.channel.fileno())
            return
        at = len(job.said)
        job.said += data
        while (end := job.said.find(b"\n", at)) >= 0:
            line = bytes(job.said[: end + 1])
            del job.said[: end + 1]
            at = 0
            self._told(job, line[:1], line[1:])
        if job.caller is not None:
            self._look_at(job.caller)

    def _told(self, job: _Job, kind: bytes, line: bytes) -> None:
        if job.caller is None:
            return
        job.caller.tell(line)
        if kind == working.EVENT:
            return
        if kind == working.READY:
            keeps = len(self._idle) < _MOST_IDLE and self._deadline is None
            if keeps and not job.interrupted:
                self._idle.append(job)
            else:
                job.worker.channel.shutdown(socket.SHUT_WR)
        self._finish(job)

    def _finish(self, job: _Job) -> None:
        caller, job.caller, job.call = job.caller, None, None
        self._jobs.discard(job)
        if caller is None:
            return
        if job.is_stream:
            caller.streams -= 1
        else:
            caller.busy = False
        self._look_at(caller)

    def _unwanted(self, job: _Job, number: int = 0) -> None:
        """Nobody wants what it does any more, or it is interrupted by this signal; what changes
        nothing has nothing to undo."""
        job.interrupted = True
        reads = job.manner is Manner.READS
        job.worker.signal(signal.SIGKILL if reads else number or _ENDING[job.manner])

    def _bury(self, job: _Job) -> None:
        """It has ended: with an answer, which may still be on its way, or without."""
        job.worker.channel.setblocking(False)
        with suppress(BlockingIOError):
            while job.worker.channel.fileno() in self._heard:
                self._hear(job)
        self._forget(job.worker.channel.fileno())
        self._forget(job.end)
        os.close(job.end)
        job.worker.channel.close()
        code = job.worker.bury()
        if job in self._idle:
            self._idle.remove(job)
        if job.caller is None or job.call is None:
            return
        if job.interrupted:
            job.caller.tell(lines.interrupted(job.call.id))
        else:
            what = f"by signal {-code}" if code and code < 0 else f"with {code}"
            error: BasculeError = Ended(f"what worked on it has ended {what}; run it again")
            job.caller.tell(lines.refusal(job.call.id, error))
            self._say(str(error))
        self._finish(job)
