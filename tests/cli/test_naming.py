"""How labs, nodes and forms of output are named: the same everywhere."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
import yaml

from bascule.api import Lab
from helpers import bascule
from sandbox import BASCULE, World

HOME: dict[str, Any] = {
    "name": "home",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}, "dmz": {}, "spare": {}},
    "nodes": {"web": ["lan", "dmz"], "db": ["lan"], "a-node-with-a-long-name-of-its-own": ["dmz"]},
}


@pytest.fixture
def home(world: World) -> Iterator[Lab]:
    """A lab of a file."""
    Path("home.yaml").write_text(yaml.safe_dump(HOME, sort_keys=False))
    lab = Lab.load("home.yaml", world="host")
    lab.up()
    yield lab
    lab.down()


def test_a_lab_by_its_place_by_an_option_and_before_a_node(home: Lab, world: World) -> None:
    """The answer is the same."""
    other = Lab.from_data({"name": "other", "nodes": {"web": ["far"]}}, world="private")
    other.up()
    wanted = bascule(world, "show", "home", "--json").stdout
    assert bascule(world, "show", "--lab", "home", "--json").stdout == wanted
    assert bascule(world, "show", "-l", "home", "--json").stdout == wanted
    where = ("exec", "home/web", "--", "ip", "-br", "link", "show", "eth1")
    assert bascule(world, *where).returncode == 0
    failed = bascule(world, "exec", "web", "--", "true", check=False)
    assert failed.returncode == 125
    assert "several labs have a node web" in failed.stderr
    assert bascule(world, "ping", "home/web", "db").stdout.startswith("web -> db ")
    bascule(world, "network", "disconnect", "dmz", "home/web", "--dry-run")
    assert bascule(world, "port", "other/web").stdout == ""
    other.down()


def test_up_knows_a_lab_by_its_name(home: Lab, world: World, tmp_path: Path) -> None:
    """Its file is meant, wherever one stands; and what it is, where that file is gone."""
    file = os.path.abspath("home.yaml")
    os.chdir(tmp_path)
    assert bascule(world, "plan", "home").stdout.startswith("nothing to do")
    world.run("ip", "link", "del", "veth-db")
    assert bascule(world, "plan", "home", "--exit-code", check=False).returncode == 3
    bascule(world, "up", "home")
    assert bascule(world, "plan", "home", "--exit-code").returncode == 0
    os.unlink(file)
    world.run("ip", "link", "del", "veth-db")
    bascule(world, "up", "home")
    assert bascule(world, "ping", "web", "db").returncode == 0
    missing = bascule(world, "up", "hom", check=False)
    assert (missing.returncode, "hom" in missing.stderr) == (2, True)


@pytest.mark.parametrize("words", ["ls", "network ls", "node ls"])
def test_a_list_in_each_form(home: Lab, world: World, words: str) -> None:
    """--json and -q are short for two of them; YAML says what JSON says."""
    told = json.loads(bascule(world, *words.split(), "--format", "json").stdout)
    assert json.loads(bascule(world, *words.split(), "--json").stdout) == told
    assert yaml.safe_load(bascule(world, *words.split(), "--format", "yaml").stdout) == told
    names = bascule(world, *words.split(), "-q").stdout
    assert names.split() == [each["name"] for each in told]
    assert bascule(world, *words.split(), "--format", "name").stdout == names
    table = bascule(world, *words.split(), "--format", "table").stdout
    assert bascule(world, *words.split()).stdout == table


def test_several_are_removed_at_once(home: Lab, world: World) -> None:
    """In one run; all that is wrong is said, and nothing is done then."""
    wrong = bascule(world, "network", "rm", "lan", "spare", "dmz", check=False)
    assert wrong.returncode == 2
    assert "network lan has nodes attached" in wrong.stderr
    assert "network dmz has nodes attached" in wrong.stderr
    assert bascule(world, "network", "ls", "-q").stdout.split() == list(HOME["networks"])
    bascule(world, "node", "rm", "web", "db")
    bascule(world, "network", "rm", "lan", "spare")
    assert bascule(world, "network", "ls", "-q").stdout == "dmz\n"
    assert bascule(world, "node", "ls", "-q").stdout == "a-node-with-a-long-name-of-its-own\n"


def test_down_of_a_name_that_nobody_knows(home: Lab, world: World) -> None:
    """A mistake, and not done; by a lab's file, or twice, it is nothing to do."""
    for options in ((), ("--dry-run",)):
        typo = bascule(world, "down", "hone", *options, check=False)
        assert (typo.returncode, typo.stderr) == (2, "bascule: no lab hone; there are: home\n")
    bascule(world, "down", "home")
    assert bascule(world, "down", "home.yaml").stderr == "bascule: home is not up: nothing to do\n"
    again = bascule(world, "down", "home", check=False)
    assert (again.returncode, again.stderr) == (2, "bascule: no lab home; none is up\n")


def _on_a_terminal(*words: str) -> list[str]:
    """What a person sees of it in 80 columns, without colours."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BASCULE, ["bascule", *words], {**os.environ, "TERM": "xterm"})  # noqa: S606
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    said = b""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # its end, on Linux
            break
        if not part:
            break
        said += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize("words", ["ls", "network ls", "node ls", "ping"])
def test_tables_fit_the_terminal(home: Lab, world: World, words: str) -> None:
    """Wrapped between words: each that stands in a pipe stands there, too, or its beginning or, of
    a path, its end."""
    lines = _on_a_terminal(*words.split())
    assert max(map(len, lines)) <= 80, "\n".join(lines)
    piped = bascule(world, *words.split()).stdout.split()
    for word in " ".join(lines).split():
        start, cut, end = word.partition("…")
        known = any(each.startswith(start) and each.endswith(end) for each in piped)
        assert (known if cut else word in piped) or words == "ping"  # whose figures are new
