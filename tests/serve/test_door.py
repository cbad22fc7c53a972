"""Who may come in by the socket, and where it may be."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.errors import InputError
from bascule.host import doorway
from calls import Connection, Server
from helpers import bascule
from sandbox import BASCULE, NOBODY, World, started_by_root

ASK = (
    "import socket, sys\n"
    "s = socket.socket(socket.AF_UNIX)\n"
    "s.connect(sys.argv[1])\n"
    "print(s.makefile().readline())\n"
)


def test_it_is_its_owners_alone(world: World) -> None:
    """Whatever the mask."""
    for mask in (0o000, 0o022, 0o777):
        before = os.umask(mask)
        try:
            with doorway.opened("s"):
                pass
            with doorway.opened("s") as door:
                status = os.lstat("s")
                assert stat.S_ISSOCK(status.st_mode)
                assert stat.S_IMODE(status.st_mode) == 0o600
                assert os.umask(mask) == mask
                door.__exit__()
                assert not os.path.exists("s")
        finally:
            os.umask(before)


def test_another_user_is_refused(world: World) -> None:
    """Also where somebody has opened the socket to all."""
    if not started_by_root():
        pytest.skip("there is one user here")
    Path(world.home).chmod(0o711)
    os.chown(world.home, 0, 0)
    with Server(f"{world.home}/s") as server:
        Path(server.path).chmod(0o666)
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(NOBODY)
            with Connection(server) as connection:
                os.write(tell, json.dumps(connection.line()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        reply = json.loads(os.read(hear, 4096))
        for each in (hear, tell):
            os.close(each)
        assert f"user {NOBODY} may not call what user 0 serves" in reply["error"]["message"]
        assert (reply["code"], reply["answer"]) == (2, None)
        assert server.call("ls")["answer"] == []
        server.wait_for("refused")


def test_a_command_in_a_private_node_is_refused(world: World) -> None:
    """It has its user's id, and is not to come out of its world."""
    Path("bascule.yaml").write_text("name: home\nnodes: {web: {}}\n")
    with Server() as server:
        assert server.call("up", "--world", "private")["code"] == 0
        asked = [sys.executable, "-c", ASK, server.path]
        told = bascule(world, "exec", "web", "--", *asked).stdout
        assert "another user namespace" in json.loads(told)["error"]["message"]
        assert server.call("down")["code"] == 0


def test_what_is_left_of_one_is_replaced(world: World) -> None:
    """And nothing else: no file, no link, no server that answers."""
    with Server() as server, pytest.raises(InputError, match="another server answers there"):
        doorway.opened("s")
    with Server() as server:
        server.end(signal.SIGKILL)
    assert os.path.exists("s")
    with Server() as server:
        assert server.call("ls")["code"] == 0
        os.unlink("s")
        Path("s").write_text("mine")
    assert Path("s").read_text() == "mine"  # not what it has made
    with pytest.raises(InputError, match="is there, and no socket"):
        doorway.opened("s")
    os.symlink("elsewhere", "link")
    with pytest.raises(InputError, match="is there, and no socket"):
        doorway.opened("link")


def test_a_place_that_is_not_safe(world: World) -> None:
    """Others could put theirs there; or it is none at all."""
    os.mkdir("open")
    Path("open").chmod(0o777)
    with pytest.raises(InputError, match="others may change what is in"):
        doorway.opened("open/s")
    Path("open").chmod(0o1777)
    with doorway.opened("open/s"):
        pass
    with pytest.raises(InputError, match="choose a folder of yours"):
        doorway.opened("none/s")
    for path in ("x" * 200, "a\0b"):
        with pytest.raises(InputError, match="is no path of a socket"):
            doorway.opened(path)
    if os.getuid() == 0 and os.lstat(world.home).st_uid:
        with pytest.raises(InputError, match="others may change what is in"):
            doorway.opened(f"{world.home}/s")


def test_two_that_begin_at_once(world: World) -> None:
    """One of them serves."""
    for _ in range(3):
        with Server() as dead:
            dead.end(signal.SIGKILL)
        racers = [Server() for _ in range(3)]
        for each in racers:
            each.__enter__()
        refused = [each for each in racers if "another server answers" in each.said]
        assert len(refused) == 2
        for each in refused:
            assert each.ended() == 2
        (left,) = set(racers) - set(refused)
        assert left.call("ls")["code"] == 0
        for each in racers:
            each.__exit__()


def test_the_socket_of_systemd(world: World) -> None:
    """It is served, and left where it is; commands know nothing of it."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("s")
    listening.listen()
    code = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'}\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    number = listening.fileno()
    words = [sys.executable, "-c", code, str(number), BASCULE, "serve"]
    with subprocess.Popen(words, pass_fds=[number], stderr=subprocess.PIPE, text=True) as process:
        listening.close()
        with Connection("s") as connection:
            assert connection.call("check", "/dev/stdin", input="nodes: {a: {}}")["code"] == 0
        process.terminate()
        assert process.wait(30) == 0
    assert os.path.exists("s")


def test_no_socket_is_named(world: World) -> None:
    """Nor handed on."""
    done = bascule(world, "serve", check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "bascule: no socket; name one with --socket PATH\n",
    )
