"""`doctor LAB` says how a lab is; `doctor --fix` runs the commands that mend what was found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bascule.api import Finding, Lab, doctor, mend
from bascule.errors import NotFound
from helpers import bascule
from sandbox import BASCULE, World

FILE = "name: web\nnetworks: {lan: {subnet: 10.8.0.0/24}}\nnodes: {a: [lan], b: [lan]}\n"


@pytest.fixture
def lab(world: World) -> World:
    """Up, with its file in this folder."""
    Path("web.yaml").write_text(FILE)
    bascule(world, "up", "web.yaml", "--world", "host")
    return world


def _found(name: str = "web") -> dict[str, tuple[str, str]]:
    return {each.what: (each.verdict, each.found) for each in doctor(name)}


def test_a_lab_that_is_well(lab: World) -> None:
    """By its name, or its file."""
    assert _found() == {
        "lab web": ("ok", "up"),
        "file": ("ok", str(Path("web.yaml").absolute())),
        "as built": ("ok", "nothing is missing, and nothing was changed"),
        "reach": ("ok", "2 pairs of nodes are as the lab says"),
    }
    assert bascule(lab, "doctor", "web.yaml").stdout == bascule(lab, "doctor", "-l", "web").stdout
    assert _all()["labs"] == ("ok", "up: web")
    refused = bascule(lab, "doctor", "wbe", check=False)
    assert (refused.returncode, "there are: web" in refused.stderr) == (2, True)
    with pytest.raises(NotFound):
        doctor("wbe")


def _all() -> dict[str, tuple[str, str]]:
    return {each.what: (each.verdict, each.found) for each in doctor()}


DRIFTS: dict[str, tuple[Callable[[World], object], str]] = {
    "a bridge is gone": (lambda world: world.run("ip", "link", "del", "lan"), "+ bridge lan"),
    "an end is down": (
        lambda world: world.run("ip", "-n", "a", "link", "set", "eth0", "down"),
        "~",
    ),
    "a node is gone": (lambda world: world.run("ip", "netns", "del", "b"), "+ namespace b"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_what_has_drifted_is_told_and_mended(lab: World, drift: str) -> None:
    """The command that is told is the one that `--fix` runs."""
    change, said = DRIFTS[drift]
    change(lab)
    found = doctor("web")
    (broken,) = (each for each in found if each.what == "as built")
    assert (broken.verdict, broken.fix) == ("no", "bascule up web")
    assert said in broken.found
    assert any(each.what == "reach" and each.verdict == "no" for each in found)
    assert bascule(lab, "doctor", "web", check=False).returncode == 1
    done = lab.run(BASCULE, "doctor", "web", "--fix", check=False)
    assert "bascule up web: done" in done.stderr
    assert (done.returncode, "no " in done.stdout) == (0, False), done.stdout
    assert not Lab.attach("web").plan()


def test_the_file_says_something_else(lab: World) -> None:
    """What is up is another matter: it is as it was built."""
    file = Path("web.yaml")
    file.write_text(FILE.replace("b: [lan]", "c: [lan]"))
    assert "says something else than what was built" in _found()["file"][1]
    assert _found()["as built"][0] == "ok"
    file.write_text("nodes: {a: {x: 1}}")
    assert "unknown key 'x'" in _found()["file"][1]
    file.unlink()
    assert _found()["file"] == ("note", f"{file.absolute()} is gone")


def test_labs_that_are_not_up(world: World) -> None:
    """Killed in the midst, ended, damaged: each with what to do; and all are mended or named."""
    Path("web.yaml").write_text(FILE)
    bascule(world, "up", "web.yaml", "--world", "private")
    told = json.loads(Path("/run/bascule/web/lab.json").read_text())
    os.kill(told["keeper"]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20  # what it held ends by and by
    while _all().get("lab web", ("", ""))[0] != "no" and time.monotonic() < deadline:
        pass
    assert _found() == {"lab web": ("no", "its world has ended; `bascule up` builds it anew")}
    Path("/run/bascule/other").mkdir()
    Path("/run/bascule/other/lab.json").write_text("{")
    (damaged,) = (each for each in doctor() if each.what == "lab other")
    assert "`bascule down --force other`" in damaged.found
    assert _all()["left over"] == ("note", "other, web")
    done = world.run(BASCULE, "doctor", "--fix", check=False)
    assert "bascule up web: done" in done.stderr
    assert "bascule system prune --force: done" in done.stderr
    assert "lab other" not in _all()
    assert _found()["as built"][0] == "ok"
    bascule(world, "down", "web")


def test_each_command_is_run_once(world: World) -> None:
    """What fails is told with the last line that it said, and the next one is run."""
    fixes = ("echo one >> said", "echo one >> said", "echo oh; echo no >&2; false", "test -e said")
    done = list(mend([Finding("x", "no", "", fix=fix) for fix in (*fixes, "")]))
    assert [(each.done, each.why) for each in done] == [(True, ""), (False, "no"), (True, "")]
    assert Path("said").read_text() == "one\n"


def test_its_own_commands_are_not_what_the_folder_calls_so(world: World) -> None:
    """Root may stand where others have put a package of that name."""
    planted = Path("bascule")
    planted.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (planted / name).write_text("open('caught', 'w').close()\n")
    try:
        (done,) = mend([Finding("x", "no", "", fix="bascule version")])
    finally:
        shutil.rmtree(planted)  # the tests that follow may stand here, too
    assert (done.done, done.why) == (True, "")
    assert not Path("caught").exists()
