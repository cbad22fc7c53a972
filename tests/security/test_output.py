"""Nothing is printed that a terminal would obey, wherever it comes from."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from helpers import SEED, bascule
from sandbox import BASCULE, World

# An escape sequence, a carriage return, a right-to-left override, a bell.
BAD = "\x1b]0;x\x07\x1b[31m\r\u202e"


def _harmless(text: str) -> bool:
    return not any(character in text for character in "\x1b\r\u202e\x07\x9b")


@pytest.mark.parametrize(
    "command",
    [("plan", SEED), ("show",), ("ls",), ("inspect",), ("node", "ls"), ("up", "--explain", SEED)],
)
def test_names_that_somebody_gave_in_the_kernel(world: World, command: tuple[object, ...]) -> None:
    """CWE-150: root in a node may give its interface any name without a slash, a colon or white
    space."""
    bascule(world, "up", SEED)
    world.run("ip", "-n", "ns1", "link", "set", "veth1p", "down")
    world.run("ip", "-n", "ns1", "link", "set", "veth1p", "name", "\x1b[31m\u202e")
    world.run("ip", "link", "set", "veth2", "alias", BAD + "\n")
    world.run("ip", "link", "add", "name", "\x1b[32m", "type", "bridge")
    world.run("ip", "link", "set", "veth2", "master", "\x1b[32m")
    done = bascule(world, *command, check=False)
    assert _harmless(done.stdout + done.stderr), done
    assert "Traceback" not in done.stderr
    os.environ.pop("NO_COLOR", None)
    if command[0] == "show":
        shown = _on_a_terminal("show")
        assert "\x1b[31m\u202e" not in shown
        assert "\u202e" not in shown


def _on_a_terminal(*arguments: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [BASCULE, *arguments], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        data = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            data += part
        process.wait()
    os.close(ours)
    return data.decode(errors="replace")


def test_words_from_a_file(world: World) -> None:
    """CWE-150: keys, values and the file's own name, in every message."""
    for text in (
        f'"{BAD!s}": 1',
        f'nodes: {{"{BAD}": [x]}}',
        f'networks: {{lan: {{subnet: "{BAD}"}}}}',
    ):
        Path("lab.yaml").write_text(
            text.encode("unicode_escape").decode() if "\x1b" in text else text
        )
        for command in ("check", "up", "plan"):
            done = bascule(world, command, "lab.yaml", check=False)
            assert done.returncode == 2
            assert _harmless(done.stdout + done.stderr), done
    Path(f"a{BAD[:4]}.yaml").write_text("nodes: [1]")
    done = bascule(world, "check", f"a{BAD[:4]}.yaml", check=False)
    assert _harmless(done.stdout + done.stderr), done


def test_words_from_a_record_and_from_the_command_line(world: World) -> None:
    """CWE-150: `ls` of a record that names a strange file; a usage error that quotes the word."""
    bascule(world, "up", SEED)
    place = Path("/run/bascule/docker-bridge/lab.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), "source": BAD, "command": BAD}))
    for command in (
        ("ls",),
        ("show",),
        ("exec", BAD, "true"),
        ("up", "--" + BAD),
        (BAD,),
        ("show", BAD),
        ("node", "rm", BAD),
    ):
        done = bascule(world, *command, check=False)
        assert _harmless(done.stdout + done.stderr), done
        assert "Traceback" not in done.stderr
