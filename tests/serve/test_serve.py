"""`bascule serve`: what comes through the socket is carried out as a command is."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bascule.api.documents import schema
from calls import Connection, Server
from helpers import as_json, bascule
from sandbox import World

FILE = """
networks: {lan: {subnet: [10.1.0.0/24, fd00:1::/64]}, dmz: {}}
nodes: {web: [lan], db: [lan, dmz]}
"""
# words → the document that is answered; in this order on one machine
SAID = {
    "check": "check",
    "plan": "plan",
    "up --dry-run": "plan",
    "up": "done",
    "ls": "ls",
    "ls -q": "ls",
    "show": "show",
    "inspect web": "node",
    "network ls": "networks",
    "network inspect lan": "network",
    "node ls": "nodes",
    "port web": "port",
    "ping web db": "ping",
    "exec web -- true": "exec",
    "network create extra --subnet 10.9.0.0/24": "done",
    "network connect extra web": "done",
    "network disconnect extra web": "done",
    "network rm extra": "done",
    "node add more --network lan": "done",
    "node rm more": "done",
    "down": "dones",
}
FAILING = {
    "up missing.yaml": ("input", 2),
    "up --nonsense": ("input", 2),
    "up --watch": ("input", 2),
    "nonsense": ("input", 2),
    "node nonsense": ("input", 2),
    "show none": ("not_found", 2),
    "node add web": ("input", 2),
    "exec none -- true": ("not_found", 125),
    "exec web": ("input", 125),
    "shell web": ("input", 2),
    "completion bash": ("input", 2),
    "serve --socket x": ("input", 2),
}


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    """In a folder with a lab file."""
    Path("bascule.yaml").write_text("name: home\n" + FILE)
    with Server() as started:
        yield started
    assert not os.path.exists("s")


@pytest.fixture
def lab(server: Server) -> Iterator[Server]:
    """With the lab up."""
    assert server.call("up")["code"] == 0
    yield server
    bascule(World(), "down", "--all", "--kill")


@pytest.mark.parametrize("where", ["host", "private"])
def test_each_command_answers_as_with_json(server: Server, where: str) -> None:
    """From the first command to the last, on one connection."""
    if where == "host" and os.geteuid() != 0:
        pytest.skip("the machine's own network is root's")
    with Connection(server) as connection:
        for words, document in SAID.items():
            command = [*words.split(), *(["--world", where] if words.startswith("up") else [])]
            reply = connection.call(*command)
            assert (reply["code"], reply["error"]) == (0, None), reply
            jsonschema.validate(reply, schema("reply"))
            jsonschema.validate(reply["answer"], schema(document))
            if words in ("ls", "show", "plan", "network inspect lan", "node ls"):
                assert reply["answer"] == as_json(World(), *words.split())


def test_an_error_is_an_object(lab: Server) -> None:
    """With the code that the command ends with."""
    with Connection(lab) as connection:
        for words, (kind, code) in FAILING.items():
            reply = connection.call(*words.split())
            assert (reply["code"], reply["error"]["kind"], reply["answer"]) == (code, kind, None)
            jsonschema.validate(reply, schema("reply"))
            assert reply["error"]["message"]
        Path("wrong.yaml").write_text("nodes: {a: {netwrks: [lan]}, b: {count: x}}\n")
        reply = connection.call("up", "wrong.yaml")
        assert [each["line"] for each in reply["error"]["mistakes"]] == [1, 1]
        reply = connection.call("check", "wrong.yaml")
        assert (reply["code"], len(reply["answer"]), reply["error"]) == (2, 2, None)
        (gone,) = connection.call("down", "none")["answer"]
        assert gone["error"]["kind"] == "not_found"


def test_what_prints_a_text_answers_with_it(server: Server) -> None:
    """Whatever may be asked for."""
    script = bascule(World(), "script").stdout
    with Connection(server) as connection:
        assert connection.call("script")["answer"] == script
        assert connection.call("--version")["answer"].startswith("bascule ")
        assert "usage: bascule up" in connection.call("help", "up")["answer"]
        assert connection.call("schema", "show")["answer"] == schema("show")


def test_what_is_said_besides(server: Server) -> None:
    """The lines of standard error."""
    reply = server.call("down")
    assert reply["said"] == ["bascule: home is not up: nothing to do"]


def test_exec(lab: Server) -> None:
    """What it reads and writes, and how it ends."""
    with Connection(lab) as connection:

        def run(script: str, **more: Any) -> dict[str, Any]:
            return connection.call("exec", "web", "--", "sh", "-c", script, **more)

        reply = run("cat; pwd; hostname; echo no >&2; exit 3", input="é\n", cwd="/")
        assert reply["code"] == 3
        assert reply["answer"] == {
            "stdout": "é\n/\nweb\n", "stderr": "no\n", "encoding": "utf-8", "cut": False,
        }  # fmt: skip
        assert run("cat")["answer"]["stdout"] == ""
        assert run("kill -9 $$")["code"] == 137
        binary = run(r"printf '\377\000'; echo x >&2")["answer"]
        assert (binary["encoding"], base64.b64decode(binary["stdout"])) == ("base64", b"\xff\0")
        assert base64.b64decode(binary["stderr"]) == b"x\n"
        long = run("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2")["answer"]
        assert (len(long["stdout"]), long["stderr"], long["cut"]) == (1 << 20, "end\n", True)
        exact = run("head -c 1048576 /dev/zero | tr '\\0' x")["answer"]
        assert (len(exact["stdout"]), exact["cut"]) == (1 << 20, False)
        # what it leaves running is not waited for, whatever that has open
        assert run("sleep 100 & echo $!; yes >&2 2>&1 &")["code"] == 0
        assert connection.call("exec", "web", "--", "nonexistent")["code"] == 127
        big = "x" * 500_000
        assert run("wc -c", input=big)["answer"]["stdout"].strip() == "500000"


def test_input_is_a_lab_file(server: Server) -> None:
    """By way of /dev/stdin, which is nothing for the next call."""
    with Connection(server) as connection:
        done = connection.call("up", "/dev/stdin", "--name", "piped", input=FILE)["answer"]
        assert (done["lab"], sorted(done["topology"]["nodes"])) == ("piped", ["db", "web"])
        assert [lab["source"] for lab in connection.call("ls")["answer"]] == [""]
        assert connection.call("check", "/dev/stdin")["code"] == 2
        assert connection.call("down", "piped")["code"] == 0


def test_each_call_begins_where_the_first_did(server: Server) -> None:
    """Nothing of one is left for the next: folder, mask, environment, signals, descriptors."""
    os.mkdir("other")
    Path("other/bascule.yaml").write_text("nodes: {a: {}}\n")
    with Connection(server) as connection:
        for _ in range(2):
            assert len(connection.call("plan", cwd=os.path.abspath("other"))["answer"]["changes"])
            assert connection.call("check", "bascule.yaml")["code"] == 0
            assert connection.call("check", "other/bascule.yaml")["code"] == 0
            wrong = connection.call("ls", cwd="/none")
            assert (wrong["code"], wrong["error"]["kind"]) == (2, "input")
        connection.call("up")
        show = ["sh", "-c", "umask; ls /proc/self/fd | wc -l; grep Sig[^Q] /proc/self/status; env"]
        first = connection.call("exec", "web", "--", *show)["answer"]["stdout"]
        mask = os.umask(0o022)
        os.umask(mask)
        assert int(first.splitlines()[0], 8) == mask
        # 0, 1, 2, and the one by which ls reads the folder
        assert int(first.splitlines()[1]) == 4
        status = dict(line.split(":\t") for line in first.splitlines() if line.startswith("Sig"))
        assert int(status["SigBlk"], 16) == 0
        assert int(status["SigIgn"], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1) == 0
        assert connection.call("exec", "web", "--", *show)["answer"]["stdout"] == first
        connection.call("down")


def test_calls_are_answered_in_their_order(lab: Server) -> None:
    """However many are sent at once, and where the last has no line's end; also when nothing more
    will come."""
    names = [f"n{number}" for number in range(5)]
    calls = [{"id": name, "command": ["node", "add", name, "--network", "lan"]} for name in names]
    with Connection(lab) as connection:
        connection.send(*calls, {"id": "list", "command": ["node", "ls"]})
        connection.socket.sendall(b'\n\n{"id": "last", "command": ["ls"]}')
        connection.socket.shutdown(1)
        replies = [connection.line() for _ in range(7)]
        assert [reply["id"] for reply in replies] == [*names, "list", "last"]
        assert {reply["code"] for reply in replies} == {0}
        found = {node["name"] for node in replies[5]["answer"]}
        assert found == {"web", "db", *names}
        assert connection.line() == {}


def test_events_beside_other_calls(lab: Server) -> None:
    """Each is a line with the id, until it is cancelled; then comes its answer."""
    with Connection(lab) as connection:
        connection.send({"id": "e", "command": ["events", "home"]})
        connection.send({"id": "x", "command": ["exec", "web", "--", "true"]})
        assert connection.line()["id"] == "x"
        event: dict[str, Any] = {}
        number = 0
        # until the watcher has begun, nothing is told
        while not event:
            connection.send({"id": number, "command": ["node", "add", f"m{number}"]})
            while (line := connection.line())["id"] != number:
                event = line
            number += 1
        jsonschema.validate(event, schema("reply"))
        jsonschema.validate(event["event"], schema("events"))
        assert (event["id"], event["event"]["lab"]) == ("e", "home")
        connection.send({"id": "c", "cancel": "e"})
        rest = []
        while len(rest) < 2:
            line = connection.line()
            rest += [line] if "event" not in line else []
        assert [(line["id"], line["code"]) for line in rest] == [("c", 0), ("e", 130)]
        connection.send({"id": "c", "cancel": "e"})
        assert connection.line()["code"] == 2
        for number in range(5):
            connection.send({"id": number, "command": ["events"]})
        refused = connection.line()
        assert (refused["id"], refused["code"]) == (4, 2)
        assert "4 streams are open" in refused["error"]["message"]


def test_what_is_cancelled_is_interrupted(lab: Server) -> None:
    """As by Ctrl-C, also what waits; a run undoes what it did."""
    crowd = json.dumps(
        {"nodes": {"n": {"count": 300, "networks": ["crowd"]}}, "networks": {"crowd": {}}}
    )
    with Connection(lab) as connection:
        connection.send(
            {"id": "sleep", "command": ["exec", "web", "--", "sh", "-c", "sleep 60; true"]}
        )
        connection.send({"id": "waits", "command": ["down"]}, {"id": 1, "cancel": "waits"})
        assert [connection.line()["id"] for _ in range(2)] == ["waits", 1]
        connection.send({"id": 2, "cancel": "sleep"})
        assert connection.line()["id"] == 2
        assert connection.line()["code"] == 130
        with Connection(lab) as other:
            other.send(
                {"id": "up", "command": ["up", "/dev/stdin", "--name", "crowd"], "input": crowd}
            )
            while not [each for each in connection.call("ls")["answer"] if each["name"] == "crowd"]:
                pass
            other.send({"cancel": "up"})
            assert other.line()["code"] == 0
            reply = other.line()
        assert (reply["code"], reply["error"]["kind"]) == (130, "interrupted")
        assert [each["name"] for each in connection.call("ls")["answer"]] == ["home"]


def test_an_interrupt_is_never_lost(lab: Server) -> None:
    """However early it comes: no command goes on that was cancelled."""
    with Connection(lab) as connection:
        for pause in range(30):
            connection.send({"id": pause, "command": ["exec", "web", "--", "sleep", "3456789"]})
            time.sleep(pause / 2000)
            connection.send({"id": "c", "cancel": pause})
            told = [connection.line() for _ in range(2)]
            assert {line["id"]: line["code"] for line in told} == {"c": 0, pause: 130}
