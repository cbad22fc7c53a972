"""What people look at on a terminal of eighty columns: nothing is broken within a word."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path
from random import Random

import pytest

from bascule.cli import output
from bascule.cli.main import main
from bascule.cli.showing import Branch, Part, drawn
from helpers import bascule
from sandbox import World

LONG = "a-node-with-a-very-long-name-indeed-sixty-three-bytes-long-1234"
LAB = "a-lab-with-a-name-of-sixty-three-bytes-which-is-all-it-may-have"
FILE = f"""
name: {LAB}
networks:
  a-network-15-by: {{subnet: [10.1.0.0/24, "fd00:1111:2222:3333:4444:5555::/96"]}}
  dmz: {{subnet: [10.2.0.0/24, "fd00:2::/64"]}}
nodes:
  {LONG}:
    networks: [a-network-15-by, dmz]
    routes: [192.0.2.0/24 via 10.1.0.77]
    ports: ["8080:80"]
  n2: {{networks: {{a-network-15-by: {{rate: 10mbit}}}}}}
"""
_SGR = re.compile("\x1b\\[[0-9;]*m")


def _on_a_terminal(*words: str, columns: int = 80) -> list[str]:
    """The lines that the command prints on a terminal, standard error among them."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            size = struct.pack("HHHH", 24, columns, 0, 0)
            fcntl.ioctl(1, termios.TIOCSWINSZ, size)
            os.environ["TERM"] = "xterm"
            for name in ("COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            sys.stdout, sys.stderr = (
                os.fdopen(number, "w", 1, encoding="utf-8", closefd=False) for number in (1, 2)
            )
            main(words)
        finally:
            sys.stdout.flush()
            os._exit(0)
    data = b""
    while True:
        try:
            data += os.read(terminal, 65536)
        except OSError:  # EIO: all have closed it (pty(7))
            break
    os.close(terminal)
    os.waitpid(child, 0)
    return _SGR.sub("", data.decode()).replace("\r", "").splitlines()


@pytest.fixture
def long(world: World) -> World:
    """A lab with names as long as can be."""
    Path("bascule.yaml").write_text(FILE)
    bascule(world, "up", "--world", "host")
    return world


def test_eighty_columns(long: World) -> None:
    """Whatever is shown fits, in each state that a lab may be in."""
    words = ("show", "ls", "ls --all", "node ls", "network ls", "plan", "port n2")
    for damage, more in (("true", ("doctor",)), ("ip link del a-network-15-by", ("ping",))):
        long.run(*damage.split())
        for each in (*words, *more):
            lines = _on_a_terminal(*each.split())
            assert [line for line in lines if len(line) > 80] == [], each
            if each == "show":
                assert lines[0] == f"{LAB} (host world)"
                assert any(line.endswith(f"── {LONG}") for line in lines)
    bascule(long, "down")


def test_the_tree_tells_of_what_is_nowhere(long: World) -> None:
    """A bridge that is gone leaves interfaces on no network."""
    long.run("ip", "link", "del", "a-network-15-by")
    lines = [line.strip("│├└─ ") for line in _on_a_terminal("show", columns=200)]
    assert "a-network-15-by  GONE" in lines
    assert any(
        line.startswith("eth0 ← veth-n2") and line.endswith("tbf rate 10mbit  on no network")
        for line in lines
    )
    assert "None" not in " ".join(lines)
    bascule(long, "down")


def _tree(draw: Random, depth: int = 0) -> Branch:
    parts = [
        Part("ab" * draw.randint(1, 12), draw.choice(("", "31"))) for _ in range(draw.randint(1, 6))
    ]
    count = draw.randint(0, 3) if depth < 6 else 0
    return Branch(parts, [_tree(draw, depth + 1) for _ in range(count)])


@pytest.mark.parametrize("seed", range(20))
def test_a_tree_fits(seed: int) -> None:
    """No part is broken, none is lost, and each line is short enough."""
    draw = Random(seed)
    tree, width = _tree(draw), draw.randint(70, 140)
    lines = [_SGR.sub("", line) for line in drawn(tree, width)]
    assert all(len(line) <= width for line in lines)

    def parts(branch: Branch) -> list[str]:
        return [
            *(part.text for part in branch.parts),
            *(text for child in branch.children for text in parts(child)),
        ]

    at = 0
    whole = "\n".join(lines)
    for text in parts(tree):
        at = whole.index(text, at) + len(text)


def test_a_paragraph_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not in a command that a person may copy; a pipe gets one line."""
    text = "it is so: run `bascule down --force the-lab --kill` where that is the one, or else"
    assert output.paragraph("", text) == text
    monkeypatch.setattr(output, "is_terminal", lambda _stream: True)
    monkeypatch.setenv("COLUMNS", "40")
    assert output.paragraph("", text).split("\n") == [
        "it is so: run",
        "    `bascule down --force the-lab --kill`",
        "    where that is the one, or else",
    ]
    assert output.paragraph("-", "a\nb") == "\x1b[31ma\x1b[0m\n\x1b[31mb\x1b[0m"
