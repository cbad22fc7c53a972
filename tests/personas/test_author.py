"""Who writes programs: a lab is built, used, repaired and taken away, by what --json says alone."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from bascule.api.documents import schema
from helpers import bascule
from sandbox import World

ANSWER = jsonschema.Draft202012Validator(schema("all"))


class _Program:
    """What such a program has: a way to ask, which reads standard output and the exit code."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.code = 0

    def ask(self, *words: str) -> Any:
        done = bascule(self._world, *words, "--json", check=False)
        self.code = done.returncode
        answer = json.loads(done.stdout)
        ANSWER.validate(answer)
        return answer


@pytest.mark.parametrize("where", ["host", "private"])
def test_a_program_builds_a_lab(world: World, where: str) -> None:
    """Subnets and addresses are chosen by bascule, and read from its answers."""
    program = _Program(world)
    ask = program.ask
    made = ask("network", "create", "lan", "--lab", "job", "--world", where)
    assert (made["lab"], made["world"]) == ("job", where)
    ask("network", "create", "dmz")
    ask("node", "add", "a", "--network", "lan")
    ask("node", "add", "b", "--network", "lan")
    chosen = ask("network", "connect", "dmz", "b")["topology"]
    address = chosen["nodes"]["b"]["networks"]["lan"]["address"]

    # It is so, as another command tells it, and as packets do.
    assert address in json.dumps(ask("inspect", "b"))
    assert {node["name"] for node in ask("node", "ls")} == {"a", "b"}
    assert bascule(world, "exec", "a", "--", "ping", "-c1", address).returncode == 0
    assert bascule(world, "exec", "a", "--", "false", check=False).returncode == 1
    assert ask("ping", "a", "b")
    assert program.code == 0

    # What goes wrong has a kind, a code, and advice.
    error = ask("network", "create", "lan", "--lab", "job")["error"]
    assert (program.code, error["code"], error["kind"]) == (2, 2, "input")
    assert "lan" in error["message"]
    error = ask("inspect", "c")["error"]
    assert (program.code, error["code"], error["kind"]) == (2, 2, "not_found")
    error = ask("node", "add", "c", "--network", "lna")["error"]
    assert program.code == error["code"] == 2

    # Somebody breaks it: the plan says what, `up` mends it.
    assert ask("plan", "job", "--exit-code")["changes"] == []
    assert program.code == 0
    bascule(world, "exec", "b", "--", "ip", "link", "set", "eth0", "down")
    assert ask("plan", "job", "--exit-code")["changes"]
    assert program.code == 3
    assert ask("up", "job")["changes"]
    assert ask("plan", "job", "--exit-code")["changes"] == []

    assert [done["lab"] for done in ask("down", "job")] == ["job"]
    assert ask("ls") == []
    assert program.code == 0
