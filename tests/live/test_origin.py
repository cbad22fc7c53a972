"""Two files, one name: which of them a lab is of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import InputError
from helpers import as_json, bascule
from sandbox import BASCULE, World

ONE = "networks: {one: {subnet: 10.1.0.0/24}}\nnodes: {a: [one]}\n"
TWO = "networks: {two: {subnet: 10.2.0.0/24}}\nnodes: {b: [two]}\n"
NAMED = "name: lab\n"


@pytest.fixture
def up(world: World) -> World:
    """Two projects, each with a file of the same name; the first is up."""
    for folder, text in (("first", ONE), ("second", TWO)):
        os.mkdir(folder)
        Path(folder, "lab.yaml").write_text(text)
    bascule(world, "up", "first/lab.yaml", "--world", "host")
    return world


def _nodes(world: World) -> list[str]:
    return [node["name"] for node in as_json(world, "show", "lab")["nodes"]]


@pytest.mark.parametrize("text", [TWO, NAMED + TWO])
def test_a_lab_of_another_folder_is_not_replaced(up: World, text: str) -> None:
    """Both files are named, and what to do; nothing is touched, in the kernel or in the record. Its
    name may stand in the file: projects are copied."""
    Path("second/lab.yaml").write_text(text)
    here = os.getcwd()
    before = machine.state()
    for words in (
        ("up", "second/lab.yaml"),
        ("up", "second/lab.yaml", "--dry-run"),
        ("plan", "second/lab.yaml"),
    ):
        done = bascule(up, *words, check=False)
        assert done.returncode == 2
        assert (
            f"lab lab is that of {here}/first/lab.yaml, and not of {here}/second/lab.yaml; "
            f"give one of them"
        ) in done.stderr
        assert (
            "(`name:` in the file, or --name), or `bascule down lab` first; with --name lab "
            "this file takes"
        ) in done.stderr
    for words in (
        ("down", "second/lab.yaml"),
        ("show", "second/lab.yaml"),
        ("port", "a", "--lab", "second/lab.yaml"),
    ):
        done = bascule(up, *words, check=False)
        assert done.returncode == 2
        assert "; name the lab itself, lab, where that one is meant" in done.stderr
    assert machine.difference(before, machine.state()) == ""
    bascule(up, "up", "second/lab.yaml", "--name", "other")
    assert {row["name"]: row["source"] for row in as_json(up, "ls")} == {
        "lab": f"{here}/first/lab.yaml", "other": f"{here}/second/lab.yaml",
    }  # fmt: skip
    bascule(up, "down", "--all")


def test_by_its_name_it_is_meant(up: World) -> None:
    """`--name` says which lab, whichever file it was of: then it is of this one."""
    bascule(up, "up", "second/lab.yaml", "--name", "lab")
    assert _nodes(up) == ["b"]
    assert as_json(up, "ls")[0]["source"] == f"{os.getcwd()}/second/lab.yaml"
    assert bascule(up, "up", "first/lab.yaml", check=False).returncode == 2
    bascule(up, "down", "second/lab.yaml")


def test_this_folder_s_file_is_not_taken_for_another_lab(world: World) -> None:
    """The default file gives its folder's name; two folders may bear the same."""
    for folder, text in (("a/proj", ONE), ("b/proj", TWO)):
        os.makedirs(folder)
        Path(folder, "bascule.yaml").write_text(text)
    world.run(BASCULE, "up", "--world", "host", cwd="a/proj")
    for verb in ("up", "down", "show"):
        done = world.run(BASCULE, verb, cwd="b/proj", check=False)
        assert done.returncode == 2
        assert "lab proj is that of " in done.stderr
    world.run(BASCULE, "down", cwd="a/proj")


def _moved(world: World) -> str:
    os.rename("first", "elsewhere")
    return "elsewhere/lab.yaml"


def _linked(world: World) -> str:
    os.symlink("first", "link")
    return "link/lab.yaml"


def _hard_linked(world: World) -> str:
    os.mkdir("third")
    os.link("first/lab.yaml", "third/lab.yaml")
    return "third/lab.yaml"


def _relative(world: World) -> str:
    return "second/../first//lab.yaml"


def _next_to_it(world: World) -> str:
    Path("first/newer.yaml").write_text(NAMED + ONE)
    return "first/newer.yaml"


def _copied(world: World) -> str:
    shutil.copytree("first", "copy")
    return "copy/lab.yaml"


@pytest.mark.parametrize("way", [_moved, _linked, _hard_linked, _relative, _next_to_it])
def test_the_same_file_by_another_path_goes_on(up: World, way: Any) -> None:
    """Moved, by a link, beside it: it is the lab's file, to change it and to take it down."""
    path = way(up)
    Path(path).write_text(Path(path).read_text().replace("a: [one]", "a: [one], c: [one]"))
    bascule(up, "up", path)
    assert _nodes(up) == ["a", "c"]
    bascule(up, "down", path)
    assert as_json(up, "ls") == []


@pytest.mark.parametrize("file", ["lab.yaml", "bascule.yaml"])
@pytest.mark.parametrize("within", [True, False])
def test_a_folder_that_is_exchanged_behind_a_link(world: World, file: str, within: bool) -> None:
    """As deployments do it: the path is what was given, with all its links, also that of the
    current folder."""
    for folder, text in (("one", ONE), ("two", TWO)):
        os.mkdir(folder)
        Path(folder, file).write_text(text)
    name = "lab" if file == "lab.yaml" else "current"
    here = os.getcwd()
    env = {**os.environ, "PWD": f"{here}/current" if within else here}
    cwd, path = ("current", file) if within else (".", f"current/{file}")
    for folder, node in (("one", "a"), ("two", "b")):
        os.symlink(folder, "current")
        world.run(BASCULE, "up", path, "--world", "host", cwd=cwd, env=env)
        assert [row["name"] for row in as_json(world, "node", "ls", "--lab", name)] == [node]
        os.unlink("current")
    bascule(world, "down", name)


def test_a_copy_that_says_the_same_takes_nothing_away(up: World) -> None:
    """The lab stays that of its first file, until the copy says something else."""
    path = _copied(up)
    assert "nothing to do" in bascule(up, "up", path).stderr
    assert as_json(up, "ls")[0]["source"] == f"{os.getcwd()}/first/lab.yaml"
    Path(path).write_text(TWO)
    assert bascule(up, "up", path, check=False).returncode == 2
    Path("first/lab.yaml").write_text(ONE + "  # changed\n")
    bascule(up, "up", "first/lab.yaml")
    bascule(up, "down", "lab")


def test_what_is_of_no_file_is_made_of_any(up: World) -> None:
    """A pipe has no path; single commands and programs say by the name which lab they mean."""
    bascule(up, "node", "add", "c", "--network", "one", "--lab", "lab")
    assert as_json(up, "ls")[0]["source"] == f"{os.getcwd()}/first/lab.yaml"
    up.run("sh", "-ec", f"{BASCULE} up /dev/stdin --name piped --world host < second/lab.yaml")
    up.run("sh", "-ec", f"cat second/lab.yaml | {BASCULE} up /dev/stdin --name piped")
    assert {row["name"]: row["source"] for row in as_json(up, "ls")}[
        "piped"
    ] == f"{os.getcwd()}/second/lab.yaml"
    Lab.from_data({"nodes": {"x": {}}}, name="lab", world="host").up()
    assert _nodes(up) == ["x"]
    lab = Lab.load("second/lab.yaml")
    for call in (lab.plan, lab.up):
        with pytest.raises(InputError, match="is that of"):
            call()
    bascule(up, "down", "--all")
