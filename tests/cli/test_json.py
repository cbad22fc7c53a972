"""The interface of programs: every command with --json, its schema, and errors as objects."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import jsonschema
import pytest

from bascule.api.documents import schema
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from helpers import bascule
from sandbox import BASCULE, World

FILE = """
name: home
networks: {lan: {subnet: [10.1.0.0/24, fd00:1::/64], nat: true}, dmz: {}}
nodes: {web: {networks: [lan], ports: ["8080:80"]}, db: [lan, dmz]}
"""
# words → the document that they print; in this order on one machine
SAID: dict[str, str] = {
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
    "down --dry-run": "plans",
    "down --force": "dones",
    "down home": "dones",
    "restore": "dones",
    "install-unit --print": "unit",
    "install-unit --remove": "unit",
}
# what has no answer as JSON, and why
WITHOUT = {
    "script": "prints a shell script",
    "generate": "prints a lab file",
    "schema": "prints JSON anyhow",
    "completion": "prints a shell script",
    "exec": "prints what the command in the node prints",
    "shell": "the same",
    "serve": "answers calls; its lines are documents of their own",
}
FAILING = {
    "up missing.yaml": ("input", 2),
    "up --nonsense": ("input", 2),
    "nonsense": ("input", 2),
    "show none": ("not_found", 2),
    "node add web": ("input", 2),
    "network inspect none": ("not_found", 2),
    "up broken.yaml": ("topology", 2),
    "ls --filter x": ("input", 2),
    "plan --name": ("input", 2),
    "network": ("input", 2),
    "node rm nobody": ("not_found", 2),
    "port nobody": ("not_found", 2),
    "inspect nobody": ("not_found", 2),
    "ping nobody web": ("not_found", 2),
    "down nobody": ("not_found", 2),
    "restore nobody": ("not_found", 2),
    "events a/b": ("input", 2),
    "install-unit --nonsense": ("input", 2),
    "doctor nonsense": ("not_found", 2),
    "check missing.yaml": ("input", 2),
}


@cache
def of(document: str) -> jsonschema.Draft202012Validator:
    """What holds a value against the schema of this document."""
    published = schema(document)
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


@pytest.fixture
def folder(world: World) -> World:
    """With a lab file."""
    Path("bascule.yaml").write_text(FILE)
    Path("broken.yaml").write_text("nodes: {a: {netwrks: [lan]}, b: {count: x}}\n")
    return world


COOKIE = (
    "import socket, struct\n"
    "print(struct.unpack('=Q', socket.socket().getsockopt(1, 71, 8))[0])"  # SO_NETNS_COOKIE
)


def inside(world: World) -> list[str]:
    """The words before a command that is to run where the bridges are."""
    keeper = json.loads(bascule(world, "ls", "--json").stdout)[0]["keeper"]
    if keeper is None:
        return []
    return ["nsenter", "--user", "--net", "--mount", "--preserve-credentials", "-t", str(keeper)]


def _json(world: World, words: str, **options: Any) -> tuple[int, Any]:
    done = bascule(world, *words.split(), "--json", check=False, **options)
    return done.returncode, json.loads(done.stdout)


def test_what_each_command_prints_is_in_the_schema(folder: World) -> None:
    """From the first command to the last, with nothing else on standard output."""
    for words, document in SAID.items():
        code, said = _json(folder, words)
        assert code == 0 or words.startswith("doctor") or words == "down home", (words, said)
        of(document).validate(said)
        of("all").validate(said)


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


def test_an_error_is_an_object(folder: World) -> None:
    """With the exit code that it has without --json, and the same words on standard error. What
    works on several labs says so of each."""
    bascule(folder, "up")
    for words, (kind, code) in FAILING.items():
        found, said = _json(folder, words)
        said = said[0] if words.startswith("down") else said
        assert found == code == bascule(folder, *words.split(), check=False).returncode, words
        of("failed").validate(said)
        assert (said["error"]["kind"], said["error"]["code"]) == (kind, code), words
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
    """A command that is new has its document among those above, or a reason to have none."""
    leaves = dict(_leaves(ROWS))
    tried = {name for words in SAID for name in leaves if f"{words} ".startswith(f"{name} ")}
    assert tried | {"events"} | set(WITHOUT) == set(leaves)
    for name, row in leaves.items():
        takes = "--json" in [word for words, _options in row.all_arguments() for word in words]
        assert takes == (name not in WITHOUT), name


def test_events_are_lines(folder: World) -> None:
    """An object a line, its error, too."""
    done = bascule(folder, "events", "a/b", "--json", check=False)
    (line,) = done.stdout.splitlines()
    of("failed").validate(json.loads(line))
    bascule(folder, "up")
    with Popen([BASCULE, "events", "--json"], stdout=PIPE, stderr=PIPE, text=True) as events:
        assert events.stderr is not None
        assert events.stdout is not None
        assert events.stderr.readline() == "bascule: watching home\n"
        bascule(folder, "network", "create", "more", "--subnet", "10.9.0.0/24")
        told: dict[str, Any] = {}
        while (told.get("kind"), told.get("name")) != ("bridge", "more"):
            told = json.loads(events.stdout.readline())
            of("events").validate(told)
        events.terminate()
    assert (told["lab"], told["sign"], told["from"]) == ("home", "+", None)
    assert (told["to"]["name"], told["to"]["mtu"]) == ("more", 1500)
    bascule(folder, "down")


def test_remarks_of_a_rescue_are_told(folder: World) -> None:
    """Also as JSON: what `down --force` says on standard error."""
    bascule(folder, "up")
    (record,) = Path(os.environ.get("BASCULE_STATE_DIR", "/run/bascule")).glob("home/lab.json")
    record.write_text("{")
    done = bascule(folder, "down", "--force", "home", "--json")
    (said,) = json.loads(done.stdout)
    assert said["remarks"]
    for remark in said["remarks"]:
        assert remark in done.stderr


def test_fields_of_what_changes(folder: World) -> None:
    """A script author needs no prose: kind, name, and the fields before and after."""
    bascule(folder, "up")
    folder.run(*inside(folder), "ip", "link", "set", "lan", "mtu", "1400")
    _code, said = _json(folder, "plan")
    (change,) = (each for each in said["changes"] if each["kind"] == "bridge")
    assert (change["sign"], change["node"], change["name"]) == ("~", "", "lan")
    assert (change["from"]["mtu"], change["to"]["mtu"]) == (1400, 1500)
    bascule(folder, "down")


def test_where_things_are(folder: World) -> None:
    """Namespaces with path, inode and cookie; interfaces with both indexes; routes and ports as
    fields: a program finds them in the kernel by that."""
    bascule(folder, "up")
    _code, lab = _json(folder, "show")
    world = inside(folder)
    links = {
        row["ifname"]: row for row in json.loads(folder.run(*world, "ip", "-j", "link").stdout)
    }
    for network in lab["networks"]:
        assert network["ifindex"] == links[network["name"]]["ifindex"]
        assert [f"{each}/24" for each in network["gateways"][:1]] == network["addresses"][:1]
    for node in lab["nodes"]:
        assert os.stat(node["netns"]).st_ino == node["netns_inode"]
        enter = [*world, "nsenter", f"--net={node['netns'].partition('/root')[2] or node['netns']}"]
        there = json.loads(folder.run(*enter, "ip", "-j", "link").stdout)
        indexes = {row["ifname"]: row["ifindex"] for row in there}
        cookie = folder.run(*enter, sys.executable, "-c", COOKIE).stdout
        assert int(cookie) == node["netns_cookie"]
        for item in node["interfaces"]:
            assert item["ifindex"] == indexes[item["name"]]
            assert item["host_ifindex"] == links[item["host_interface"]]["ifindex"]
    web = next(node for node in lab["nodes"] if node["name"] == "web")
    assert [(each["to"], each["via"], each["dev"], each["family"]) for each in web["routes"]] == [
        ("0.0.0.0/0", "10.1.0.1", "eth0", 4),
        ("::/0", "fd00:1::1", "eth0", 6),
    ]
    assert web["interfaces"][0]["gateways"] == ["10.1.0.1", "fd00:1::1"]
    assert web["ports"] == [
        {
            "host_address": "",
            "host_port": 8080,
            "node": "web",
            "node_port": 80,
            "count": 1,
            "protocol": "tcp",
            "text": "8080:80",
        }
    ]
    bascule(folder, "down")
