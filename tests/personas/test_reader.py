"""Who comes by the README: what stands there is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bascule.topology.load import load_text
from helpers import SEED, bascule
from sandbox import BASCULE, World

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
_TIMES = re.compile(r"\b\d+\.\d+\b(?=\s)")


def _timeless(text: str) -> str:
    """Without how long it took, which makes a column wider, too."""
    return re.sub(" +", " ", _TIMES.sub("N", text))


def _blocks(path: Path, language: str) -> list[str]:
    found = re.findall(
        r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [text for each, text in found if each == language]


def _session(text: str) -> list[tuple[str, str]]:
    """The commands of a console, each with what it is said to print."""
    told = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert told
    return told


def _type(world: World, line: str) -> str:
    """What the line prints: commands joined by `&&`, and a comment."""
    printed = ""
    for command in line.split(" && "):
        program, *words = shlex.split(command, comments=True)
        done = bascule(world, *words) if program == "bascule" else world.run(program, *words)
        printed += done.stdout
    return printed


@pytest.fixture
def clone(world: World) -> World:
    """The current folder has the examples."""
    Path("examples").symlink_to(ROOT / "examples")
    return world


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_session(clone: World, readme: Path) -> None:
    """Command by command, with the output that is shown there."""
    (text,) = _blocks(readme, "console")
    _type(clone, "bascule up examples/docker-bridge.yaml --world host")
    for line, shown in _session(text):
        printed = _type(clone, line)
        if shown:
            assert _timeless(printed) == _timeless(shown), line
    assert bascule(clone, "ls", "-q").stdout == ""


def test_the_five_commands_build_what_the_file_says(clone: World) -> None:
    (five,) = [each for each in _blocks(READMES[0], "sh") if "network connect" in each]
    assert len(five.splitlines()) == 5
    for line in five.replace("--subnet", "--world host --subnet").splitlines():
        _type(clone, line)
    file = ("examples/docker-bridge.yaml", "--name", "default")
    assert "nothing to do" in bascule(clone, "plan", *file, "--exit-code").stdout
    bascule(clone, "down")


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_file(readme: Path) -> None:
    (shown,) = _blocks(readme, "yaml")
    assert load_text(shown.encode(), "shown") == load_text(SEED.read_bytes(), "example")


def test_the_program(clone: World) -> None:
    (program,) = _blocks(READMES[0], "python")
    Path("lab.yaml").write_bytes(SEED.read_bytes())
    Path("program.py").write_text(program)
    clone.run(str(Path(BASCULE).parent / "python"), "program.py")
    assert bascule(clone, "ls", "-q").stdout == ""


@pytest.mark.parametrize("language", ["sh", "python", "yaml"])
def test_both_say_the_same(language: str) -> None:
    """Wherever something is to be typed; comments are in their own language."""
    first, second = (
        re.sub(r"\s+#.*", "", "".join(_blocks(path, language))).splitlines() for path in READMES
    )
    assert first == second


def test_what_is_to_be_made_is_in_the_makefile() -> None:
    pages = [*READMES, ROOT / "docs" / "install.md", ROOT / "CONTRIBUTING.md"]
    targets = {
        target
        for page in pages
        for target in re.findall(r"`(?:sudo )?make ([a-z-]+)", page.read_text())
    }
    assert {"demo", "install", "uninstall", "deb", "pyz", "test"} <= targets
    for target in sorted(targets):
        subprocess.run(["make", "-n", "-C", ROOT, target], check=True, capture_output=True)


def test_every_page_that_is_linked_is_there() -> None:
    for page in (*READMES, *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
