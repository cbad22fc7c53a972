"""A server among those who go away, are killed, do not read, or send what is no call."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bascule.api.documents import schema
from calls import Connection, Server
from helpers import as_json, bascule
from sandbox import World, difference

CROWD = json.dumps({
    "name": "crowd",
    "networks": {"crowd": {}},
    "nodes": {"n": {"count": 150, "networks": ["crowd"]}},
})  # fmt: skip
LONG_UP = {"id": "up", "command": ["up", "/dev/stdin"], "input": CROWD}


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    """With a small lab up."""
    Path("bascule.yaml").write_text(
        "name: home\nnodes: {web: [lan], db: [lan]}\nnetworks: {lan: {}}\n"
    )
    with Server() as started:
        assert started.call("up")["code"] == 0
        yield started
    bascule(world, "down", "--all", "--kill")


def _until(found: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _begun(world: World) -> bool:
    return any(lab["name"] == "crowd" for lab in as_json(world, "ls"))


def _workers(server: Server) -> list[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def _open(server: Server) -> int:
    """How many descriptors it has."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def _runs(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def test_twenty_at_once(server: Server) -> None:
    """Each gets what it asked for."""
    connections = [Connection(server) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.send(
            {"id": number, "command": ["exec", "web", "--", "echo", str(number)]},
            {"id": "add", "command": ["node", "add", f"n{number}", "--network", "lan"]},
            {"id": "ls", "command": ["node", "ls"]},
        )
    for number, connection in enumerate(connections):
        with connection:
            assert connection.line()["answer"]["stdout"] == f"{number}\n"
            assert connection.line()["code"] == 0
            assert f"n{number}" in [node["name"] for node in connection.line()["answer"]]
    assert len(server.call("node", "ls")["answer"]) == 22


def test_a_worker_that_is_killed_is_told_of(server: Server) -> None:
    """Its call has no answer; the next call has."""
    with Connection(server) as connection:
        connection.send({"id": 1, "command": ["exec", "web", "--", "sleep", "1234567"]})
        _until(lambda: _runs("1234567"))
        for pid in _workers(server):
            os.kill(pid, signal.SIGKILL)
        reply = connection.line()
        jsonschema.validate(reply, schema("reply"))
        assert (reply["id"], reply["code"], reply["error"]["kind"]) == (1, 1, "ended")
        assert "signal 9" in reply["error"]["message"]
        assert connection.call("ls")["code"] == 0
    bascule(World(), "down", "--kill")


def test_killed_in_the_middle(server: Server, world: World) -> None:
    """With all that it does: the next `up` finishes, and `down` leaves nothing."""
    server.call("down")
    before = world.snapshot()
    with Connection(server) as connection:
        connection.send(LONG_UP)
        _until(lambda: _begun(world))
        for pid in (server.pid, *_workers(server)):
            os.kill(pid, signal.SIGKILL)
        assert connection.line() == {}
    assert server.ended() == -signal.SIGKILL
    assert os.path.exists("s")
    _until(lambda: not bascule(world, "ls", "-q", check=False).stderr)
    Path("crowd.yaml").write_text(CROWD)
    with Server() as again:  # what was left of the socket is replaced
        done = again.call("up", "crowd.yaml")
        assert done["error"] is None, done
        assert done["answer"]["changes"]
        assert again.call("plan", "crowd.yaml")["answer"]["changes"] == []
        assert again.call("down", "crowd")["code"] == 0
    assert difference(before, world.snapshot()) == ""


def test_what_was_begun_is_finished(server: Server, world: World) -> None:
    """Whoever goes away: the caller, or the server alone."""
    connection = Connection(server)
    connection.send(
        LONG_UP, {"command": ["node", "add", "late", "-l", "home"]}, {"command": ["show"]}
    )
    connection.__exit__()
    _until(lambda: "late" in [node["name"] for node in as_json(world, "node", "ls", "-l", "home")])
    assert as_json(world, "plan", "crowd")["changes"] == []
    server.call("down", "crowd")
    with Connection(server) as connection:
        connection.send(LONG_UP)
        _until(lambda: _begun(world))
        server.end(signal.SIGKILL)
        assert connection.line() == {}
    assert as_json(world, "up", "crowd")["lab"] == "crowd"
    os.unlink("s")


def test_what_runs_for_nobody_is_ended(server: Server) -> None:
    """Commands in nodes are hung up on, and events end."""
    connection = Connection(server)
    connection.send(
        {"id": 1, "command": ["events"]},
        {"id": 2, "command": ["exec", "web", "--", "sh", "-c", "sleep 7654321; true"]},
    )
    _until(lambda: _runs("7654321") and len(_workers(server)) > 1)
    connection.__exit__()
    _until(lambda: not _runs("7654321"))
    _until(lambda: len(_workers(server)) <= 1)


def test_asked_to_end(server: Server) -> None:
    """What is being done is done; what waits is refused, and nobody comes in any more."""
    with Connection(server) as connection, Connection(server) as idle:
        connection.send(
            {"id": 1, "command": ["exec", "web", "--", "sh", "-c", "read line < go; echo $line"]},
            {"id": 2, "command": ["ls"]},
            {"id": 3, "command": ["events"]},
        )
        os.mkfifo("go")
        _until(lambda: _runs("read line < go; echo $line"))
        os.kill(server.pid, signal.SIGTERM)
        assert idle.line() == {}
        assert not os.path.exists("s")
        refused = [connection.line() for _ in range(2)]
        assert [(reply["id"], reply["error"]["kind"]) for reply in refused] == [
            (2, "ended"),
            (3, "ended"),
        ]
        Path("go").write_text("done\n")
        assert connection.line()["answer"]["stdout"] == "done\n"
        assert connection.line() == {}
    assert server.ended() == 0


def test_interrupted_twice(server: Server) -> None:
    """The second time what is being done is interrupted, too; the code is an interrupt's."""
    with Connection(server) as connection:
        connection.send({"id": 1, "command": ["exec", "web", "--", "sleep", "2345678"]})
        _until(lambda: _runs("2345678"))
        os.kill(server.pid, signal.SIGINT)
        _until(lambda: not os.path.exists("s"))
        os.kill(server.pid, signal.SIGINT)
        assert connection.line()["code"] == 130
    assert server.ended() == 130


def test_what_is_no_call(server: Server) -> None:
    """Is answered, and the next line is read; one that is too long is the last."""
    with Connection(server) as connection:
        for line in (b"garbage", b"\x00\xff", b"[" * 10_000, b'{"command": 1}', b'{"id": 1}'):
            connection.socket.sendall(line + b"\n")
            reply = connection.line()
            jsonschema.validate(reply, schema("reply"))
            assert (reply["code"], reply["error"]["kind"]) == (2, "refused")
        for part in (b'{"id": 5, ', b'"command":', b' ["ls"]}\n'):
            connection.socket.sendall(part)
        assert connection.line()["id"] == 5
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.socket.sendall(b"x" * (3 << 20) + b"\n")
        assert "a line of more than 1048576 bytes" in connection.line()["error"]["message"]
        with suppress(ConnectionResetError):
            assert connection.line() == {}
    assert server.call("ls")["code"] == 0


def test_who_does_not_read_hinders_nobody(server: Server) -> None:
    """Nor does who sends half a line, nor whoever is one too many."""
    lazy = Connection(server)
    lazy.send(
        *({"command": ["exec", "web", "--", "head", "-c", "900000", "/dev/zero"]} for _ in range(9))
    )
    half = Connection(server)
    half.socket.sendall(b'{"command": ')
    others = [Connection(server) for _ in range(98)]
    for other in (others[0], others[-1]):
        assert other.call("ls")["code"] == 0
    with Connection(server) as refused:
        assert "100 are connected already" in refused.line()["error"]["message"]
        assert refused.line() == {}
    # it is given all, in time
    assert [lazy.line()["code"] for _ in range(9)] == [0] * 9
    for each in (lazy, half, *others):
        each.__exit__()
    _until(lambda: not server_is_full(server))


def server_is_full(server: Server) -> bool:
    """Whether nobody is let in."""
    with Connection(server) as connection:
        connection.send({"id": 1, "command": ["ls"]})
        return connection.line()["error"] is not None


def test_only_half_is_closed(server: Server) -> None:
    """Who reads no more but stays is as one who has gone, and who sends no more is answered."""
    with Connection(server) as connection:
        connection.socket.shutdown(socket.SHUT_RD)
        connection.send({"command": ["node", "add", "late"]})
        names: list[Any] = []
        while "late" not in names:
            names = [node["name"] for node in server.call("node", "ls")["answer"]]
    with Connection(server) as connection:
        connection.send({"id": 1, "command": ["ls"]})
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.line()["id"] == 1
        assert connection.line() == {}


def test_nothing_is_left_of_who_has_gone(server: Server) -> None:
    """Whatever was sent, in whatever pieces, and however it was closed."""
    lines = [
        b'{"command": ["ls"]}',
        b'{"id": 1, "command": ["events"]}',
        b'{"cancel": 1}',
        b'{"command": ["exec", "web", "--", "sleep", "0.1"]}',
        b'{"command": ["exec", "web", "--", "yes"]}',
        b'{"command": ["nonsense"]}',
        b"x",
    ]
    chosen = random.Random(7)
    assert server.call("ls")["code"] == 0
    before = _open(server)
    for _ in range(3):  # a refusal that can't be told any more
        with Connection(server) as connection:
            connection.socket.shutdown(socket.SHUT_RD)
            connection.socket.sendall(b"x\n" * 20)
            assert server.call("ls")["code"] == 0  # by now that has been read
    _until(lambda: _open(server) <= before, 10)
    for number in range(60):
        sent = [chosen.choice(lines) for _ in range(chosen.randrange(8))]
        data = chosen.randbytes(500) if number % 4 == 0 else b"\n".join(sent) + b"\n"
        with Connection(server) as connection, suppress(OSError):
            connection.socket.sendall(data[:-1] if number % 5 == 0 else data)
            if number % 3 == 0:
                connection.socket.shutdown(socket.SHUT_WR)
            if number % 7 == 0:
                connection.socket.settimeout(0.05)
                connection.socket.recv(100)
    _until(lambda: not _runs("yes"))
    # idle workers, two descriptors each, come and go
    _until(lambda: _open(server) <= before + 8)
    assert server.call("ls")["code"] == 0
