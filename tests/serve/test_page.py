"""The callers of docs/serve.md, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls import Server
from sandbox import World, require

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
# Go's own, wherever the test has its home: else it compiles its library each time
GO_CACHE = os.environ.get("GOCACHE") or os.path.expanduser("~/.cache/go-build")
CODE = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture
def home(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the page's socket is, with a lab file."""
    here = Path.cwd()
    monkeypatch.setenv("HOME", str(here))
    Path("bascule.yaml").write_text("name: home\nnodes: {web: [lan]}\nnetworks: {lan: {}}\n")
    with Server(".bascule.sock"):
        yield here


def test_python(home: Path) -> None:
    """It runs, and gets three answers."""
    done = subprocess.run(
        [sys.executable, "-c", CODE["python"]], check=True, capture_output=True, text=True
    )
    up, nodes, down = done.stdout.splitlines()
    assert up.startswith("0 {'lab': 'home'")
    assert nodes.startswith("0 [{'name': 'web'")
    assert down.startswith("0 [{'lab': 'home'")


def test_go(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where Go is: no more than thirty lines, and no package but its own."""
    assert len(CODE["go"].splitlines()) <= 30
    require("go")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(CODE["go"])
    cache = {"GOCACHE": GO_CACHE, "GO111MODULE": "off"}
    subprocess.run(
        ["go", "build", "-o", "main", "main.go"], cwd=folder, env=os.environ | cache, check=True
    )
    done = subprocess.run([folder / "main"], check=True, capture_output=True, text=True)
    up, nodes, down = (line.split(" ", 1) for line in done.stdout.splitlines())
    assert [code for code, _rest in (up, nodes, down)] == ["0", "0", "0"]
    assert json.loads(nodes[1].removesuffix(" <nil>"))[0]["name"] == "web"


@pytest.mark.parametrize("tool", ["socat", "nc"])
def test_shell(home: Path, tool: str) -> None:
    """With each of the tools."""
    require(tool)
    (line,) = (line for line in CODE["sh"].splitlines() if f"| {tool} " in line)
    done = subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["answer"] == []


def test_what_is_shown_is_so() -> None:
    """The call and the reply of the page have the keys of the schema."""
    from bascule.api.documents import schema

    shown = re.findall(r"^```json\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)
    call, reply = map(json.loads, shown)
    assert set(call) <= set(schema("call")["$defs"]["CallDocument"]["properties"])
    assert set(reply) == set(schema("reply")["$defs"]["ReplyDocument"]["required"])
