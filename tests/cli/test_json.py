"""The interface of programs: every command with --json, its schema, and errors as objects."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bascule.api.documents import schema
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from helpers import bascule
from sandbox import World

FILE = """
name: home
networks: {lan: {subnet: [10.1.0.0/24, fd00:1::/64], nat: true}, dmz: {}}
nodes: {web: {networks: [lan], ports: ["8080:80"]}, db: [lan, dmz]}
"""
# words → the document that they print; in this order on one machine
SAID = {
    "check": "check",
    "plan": "plan",
    "up --dry-run": "plan",
    "up": "done",
    "plan --exit-code": "plan",
    "ls": "ls",
    "show": "show",
    "inspect web": "node",
    "inspect lan": "network",
    "inspect home": "show",
    "network ls": "networks",
    "network inspect lan": "network",
    "node ls": "nodes",
    "port web": "port",
    "ping": "ping",
    "ping web db": "ping",
    "doctor": "doctor",
    "doctor home": "doctor",
    "system prune --dry-run": "leftovers",
    "system prune --force": "dones",
    "network create extra --subnet 10.9.0.0/24": "done",
    "network connect extra web": "done",
    "network connect extra db --dry-run": "plan",
    "network disconnect extra web": "done",
    "network rm extra": "done",
    "network prune": "done",
    "node add more --network lan": "done",
    "node rm more": "done",
    "down --dry-run": None,
    "down": "dones",
    "restore": "dones",
}
FAILING = {
    "up missing.yaml": ("input", 2),
    "up --nonsense": ("input", 2),
    "nonsense": ("input", 2),
    "show none": ("not_found", 2),
    "node add web": ("input", 2),
    "network inspect none": ("not_found", 2),
    "up broken.yaml": ("topology", 2),
}


@pytest.fixture
def folder(world: World) -> World:
    """With a lab file."""
    Path("bascule.yaml").write_text(FILE)
    Path("broken.yaml").write_text("nodes: {a: {netwrks: [lan]}, b: {count: x}}\n")
    return world


def _json(world: World, words: str, **options: Any) -> tuple[int, Any]:
    done = bascule(world, *words.split(), "--json", check=False, **options)
    return done.returncode, json.loads(done.stdout)


def test_what_each_command_prints_is_in_the_schema(folder: World) -> None:
    """From the first command to the last, with nothing else on standard output."""
    whole = schema("all")
    for words, document in SAID.items():
        code, said = _json(folder, words)
        assert code == 0 or words.startswith("doctor"), words
        if document is None:
            for each in said:
                jsonschema.validate(each, schema("plan"))
            continue
        jsonschema.validate(said, schema(document))
        jsonschema.validate(said, whole)


def test_what_was_chosen_is_told(folder: World) -> None:
    """Subnets, addresses and ports; what was done, and the commands that say the same."""
    _code, said = _json(folder, "up")
    assert (said["lab"], said["world"]) == ("home", "host" if os.getuid() == 0 else "private")
    assert said["topology"]["networks"]["dmz"]["subnet"]
    assert said["topology"]["nodes"]["web"]["networks"]["lan"]["address"]
    assert said["topology"]["nodes"]["web"]["ports"] == ["8080:80"]
    assert {change["sign"] for change in said["changes"]} <= {"+", "~"}
    assert "ip netns add web" in [line for each in said["changes"] for line in each["commands"]]
    _code, added = _json(folder, "node add more --network dmz")
    address = added["topology"]["nodes"]["more"]["networks"]["dmz"]["address"]
    assert bascule(folder, "ping", "db", address).returncode == 0
    _code, again = _json(folder, "up")
    assert [each["sign"] for each in again["changes"] if each["kind"] == "namespace"] == ["-"]
    _code, gone = _json(folder, "down")
    assert (gone[0]["lab"], gone[0]["topology"]) == ("home", None)


@pytest.mark.parametrize("words", FAILING)
def test_an_error_is_an_object(folder: World, words: str) -> None:
    """With the exit code that it has without --json, and the same words on standard error."""
    bascule(folder, "up")
    kind, code = FAILING[words]
    found, said = _json(folder, words)
    assert found == code == bascule(folder, *words.split(), check=False).returncode
    jsonschema.validate(said, schema("failed"))
    assert (said["error"]["kind"], said["error"]["code"]) == (kind, code)
    assert said["error"]["message"]
    if kind == "topology":
        assert [each["line"] for each in said["error"]["mistakes"]] == [1, 1]
    bascule(folder, "down")


def test_one_that_the_kernel_gives(folder: World) -> None:
    """A name that somebody else has."""
    folder.run("ip", "link", "add", "dmz", "type", "bridge")
    code, said = _json(folder, "up --world host")
    assert (code, said["error"]["kind"]) == (1, "conflict")
    assert "dmz" in said["error"]["message"]
    folder.run("ip", "link", "del", "dmz")


def _leaves(rows: tuple[Row, ...], before: str = "") -> Iterator[tuple[str, Row]]:
    for row in rows:
        yield from (
            _leaves(row.children, f"{row.name} ")
            if row.children
            else [(f"{before}{row.name}", row)]
        )


def test_every_command_is_tried() -> None:
    """That has an answer to give."""
    without = {"script", "exec", "shell", "events", "install-unit", "serve", "schema", "completion"}
    tried = {
        " ".join(words.split()[: 2 if words.startswith(("network", "node", "system")) else 1])
        for words in SAID
    }
    assert tried == {name for name, _row in _leaves(ROWS)} - without
