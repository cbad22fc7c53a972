"""Which Python the Makefile takes, and what it says where there is none that will do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sandbox import World

TOOLS = Path(__file__).parents[2] / "tools"
FAKE = """\
#!/bin/sh
case "$2" in
*version_info*) echo {version} ;;
*ensurepip*) exit {without} ;;
esac
"""


def _only(world: World, *pythons: tuple[str, str, int]) -> dict[str, str]:
    """A PATH with these alone (name, version, 1 for one that has no venv); the environment."""
    folder = Path("bin").absolute()
    folder.mkdir()
    for name, version, without in pythons:
        file = folder / name
        file.write_text(FAKE.format(version=version, without=without))
        file.chmod(0o755)
    for name in ("sh", "cat", "dirname"):
        (folder / name).symlink_to(f"/bin/{name}")
    if os.path.exists("/usr/bin/python3"):
        cover = folder / "python3"
        if not cover.exists():
            cover = Path("none")
            cover.write_text("#!/bin/sh\nexit 1\n")
            cover.chmod(0o755)
        world.run("mount", "--bind", str(cover.absolute()), "/usr/bin/python3")
    return {"PATH": str(folder)}


def test_one_that_is_too_old_is_no_matter_of_a_package(world: World) -> None:
    """Ubuntu 22.04 has 3.10: ways to a newer one are told, with their commands; also where `make`
    asks for what it needs."""
    environment = _only(world, ("python3", "3.10", 0))
    done = world.run("/bin/sh", str(TOOLS / "python.sh"), check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Python 3.10 is all that is here" in done.stderr
    for way in ("uv tool install --python", "ppa:deadsnakes", "pyenv install"):
        assert way in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 80
    asked = world.run(
        "/bin/sh", str(TOOLS / "need.sh"), "venv:python3-venv", check=False, env=environment
    )
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == done.stderr


@pytest.mark.parametrize(
    ("pythons", "said"),
    [
        ([("python3", "3.12", 1)], "python3.12-venv"),
        ([("python3", "3.10", 0), ("python3.11", "3.11", 1)], "python3.11-venv"),
        ([], "no Python here"),
    ],
)
def test_what_a_package_brings(
    world: World, pythons: list[tuple[str, str, int]], said: str
) -> None:
    environment = _only(world, *pythons)
    done = world.run("/bin/sh", str(TOOLS / "python.sh"), check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_a_newer_one_beside_it_is_taken(world: World) -> None:
    """As deadsnakes, pyenv and uv install them."""
    environment = _only(world, ("python3", "3.10", 0), ("python3.13", "3.13", 0))
    done = world.run("/bin/sh", str(TOOLS / "python.sh"), env=environment)
    assert done.stdout.strip() == f"{environment['PATH']}/python3.13"


def test_the_one_that_is_here_is_found(world: World) -> None:
    found = world.run(str(TOOLS / "python.sh")).stdout.strip()
    code = "import sys; print(sys.version_info >= (3, 11))"
    assert world.run(found, "-c", code).stdout.strip() == "True"
    assert sys.version_info >= (3, 11)
