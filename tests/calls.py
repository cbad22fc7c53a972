"""A server (`bascule serve`) and who calls it, for tests."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn, Self

from bascule.cli.main import main

_SECONDS = 30


def _serve(words: list[str], out: int, tell: int) -> NoReturn:
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(tell, 2)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", 1, "utf-8", closefd=False) for number in (1, 2)
        )
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class Server:
    """As a context: `bascule serve` on a socket of this folder, in a process of its own. ``said``:
    its standard error so far; ``code``: how it ended."""

    def __init__(self, path: str = "s", *words: str) -> None:
        self.path = os.path.abspath(path)
        self.words = ["serve", "--socket", path, *words]
        self.said = ""
        self.pid = 0
        self.code: int | None = None

    def __enter__(self) -> Self:
        self._hear, tell = os.pipe()
        out = os.memfd_create("stdout")
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._hear)
            _serve(self.words, out, tell)
        os.close(out)
        os.close(tell)
        self.wait_for("\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            self.end()
        os.close(self._hear)

    def wait_for(self, text: str) -> None:
        """Until it has said this, or ended."""
        while text not in self.said:
            assert select.select([self._hear], [], [], _SECONDS)[0], self.said
            data = os.read(self._hear, 1 << 16)
            if not data:
                break
            self.said += data.decode()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it this signal, and wait."""
        os.kill(self.pid, number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end."""
        with open(os.pidfd_open(self.pid)) as process:
            if not select.select([process], [], [], _SECONDS)[0]:
                os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with suppress(OSError):
            os.set_blocking(self._hear, False)
            self.said += os.read(self._hear, 1 << 20).decode()
        return self.code

    def call(self, *command: str, **more: Any) -> dict[str, Any]:
        """One call, by a connection of its own."""
        with Connection(self) as connection:
            return connection.call(*command, **more)


class Connection:
    """A client: one object a line."""

    def __init__(self, server: Server | str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(_SECONDS)
        self.socket.connect(server if isinstance(server, str) else server.path)
        self._incoming = self.socket.makefile("rb")
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._incoming.close()
        self.socket.close()

    def send(self, *calls: dict[str, Any]) -> None:
        """All at once."""
        self.socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in calls))

    def line(self) -> dict[str, Any]:
        """The next one that comes; an empty one at the end."""
        line = self._incoming.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        return found

    def call(self, *command: str, **more: Any) -> dict[str, Any]:
        """Send, and wait for the answer."""
        self._count += 1
        self.send({"id": self._count, "command": command, **more})
        reply = self.line()
        assert reply["id"] == self._count, reply
        return reply
