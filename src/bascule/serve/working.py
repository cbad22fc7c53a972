"""A worker's side: a call at a time, and what came of it."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from bascule.api import ReplyDocument
from bascule.serve import lines
from bascule.serve.lines import Call

# what a line of a worker's begins with: an event; a reply, after which it takes another call, or
# ends
EVENT, READY, LAST = b".", b"+", b"="
_MOST_CALLS = 1000  # of one worker
_PLACES = ("/proc/thread-self/ns/net", "/proc/thread-self/ns/mnt", "/proc/thread-self/ns/user")


class Manner(Enum):
    """What a command is to its server."""

    READS = "changes nothing: its worker is used again"
    CHANGES = "is finished, whoever goes away"
    STREAMS = "goes on until it is not wanted any more, beside other calls"
    RUNS = "another program runs, which is hung up on with its caller"


class Done(NamedTuple):
    """What came of a call; ``as_before``: nothing happened that another call could notice."""

    reply: ReplyDocument
    as_before: bool


class Events(io.TextIOBase):
    """Lines that are written here go to the caller, as events of this call."""

    def __init__(self, channel: socket.socket, call: Call) -> None:
        self._channel = channel
        self._call = call
        self._begun = ""

    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._channel.sendall(EVENT + lines.event(self._call.id, line))
        return len(text)

    def fileno(self) -> int:
        """What hangs up when nobody wants any more of them."""
        return self._channel.fileno()


class Service(NamedTuple):
    """What is served: what a command is, and how it is carried out, with where to write events."""

    manner: Callable[[Sequence[str]], Manner]
    perform: Callable[[Call, Events], Done]


def work(channel: socket.socket, service: Service) -> None:
    """Do what comes through the channel, until it is closed. Each call begins where the first did:
    in the same folder, with the same mask and environment."""
    home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    umask, environment, places = _umask(), dict(os.environ), _places()
    channel.setblocking(True)
    with channel.makefile("rb") as incoming:
        for count, line in enumerate(incoming):
            call = lines.read(line)
            assert isinstance(call, Call)  # noqa: S101 (nothing else is handed to workers)
            done = service.perform(call, Events(channel, call))
            again = (
                service.manner(call.command) in (Manner.READS, Manner.RUNS)
                and done.as_before
                and count < _MOST_CALLS
                and _places() == places
            )
            channel.sendall((READY if again else LAST) + lines.written(done.reply))
            if not again:
                return
            os.fchdir(home)
            os.umask(umask)
            if os.environ != environment:
                os.environ.clear()
                os.environ.update(environment)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def _places() -> list[str]:
    return [os.readlink(path) for path in _PLACES]
