"""One connection: what it has sent and is not begun yet, and what it has not read yet. Nothing here
waits."""

from __future__ import annotations

import select
import socket
from collections import deque

from bascule.serve import lines
from bascule.serve.lines import Call, Cancel, Refused

_PART = 1 << 16
_MOST_WAITING = 64  # calls of one connection; what is sent after them stays where it is
MOST_UNREAD = 1 << 20  # bytes; who does not read is told nothing new

Sent = Call | Cancel | Refused


class Caller:
    """``gone``: nobody reads any more. ``waiting``: calls in the order in which they came."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.waiting: deque[Call | Refused] = deque()
        self.busy = False  # one of them is worked on
        self.streams = 0
        self.gone = False
        self.ended = False  # nothing more will come
        self._lines = lines.Lines()
        self._unread = bytearray()

    @property
    def reads(self) -> bool:
        """Whether it keeps up with what it is told."""
        return len(self._unread) < MOST_UNREAD

    @property
    def done(self) -> bool:
        """Whether it can be forgotten."""
        idle = not (self.waiting or self.busy or self.streams)
        return idle and self.ended and (self.gone or not self._unread)

    def wants(self) -> int:
        """For epoll(7)."""
        listens = not self.ended and len(self.waiting) < _MOST_WAITING
        return (select.EPOLLIN if listens else 0) | (select.EPOLLOUT if self._unread else 0)

    def receive(self) -> list[Sent]:
        """What it has sent by now."""
        try:
            data = self.socket.recv(_PART)
        except BlockingIOError:
            if not self.gone:
                return []
            data = b""  # it is there, and reads no more
        except OSError:  # reset
            data = b""
        found: list[Sent] = []
        try:
            found.extend(_understood(line) for line in self._lines.take(data))
            if not data:
                self.ended = True
                found += [_understood(rest)] if (rest := self._lines.rest()) else []
        except Refused as error:  # where the next one begins is not known
            found.append(error)
            self.ended = True
        return found

    def leave(self) -> list[Sent]:
        """It reads no more: all that it had sent before."""
        self.gone = True
        found: list[Sent] = []
        while not self.ended:
            found += self.receive()
        return found

    def tell(self, line: bytes) -> None:
        """Send a line, as soon as it is read."""
        if not self.gone:
            self._unread += line
            self.send()

    def send(self) -> None:
        """As much as fits now."""
        try:
            while self._unread:
                del self._unread[: self.socket.send(self._unread[:_PART])]
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True


def _understood(line: bytes) -> Sent:
    try:
        return lines.read(line)
    except Refused as error:
        return error
