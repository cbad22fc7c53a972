"""`ls` tells the truth: what the kernel has of each lab, what waits, and what others have."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bascule import Lab
from bascule.api import listed
from bascule.cli.main import main
from bascule.engine import listing
from bascule.host import users
from helpers import as_json, bascule
from sandbox import NOBODY, World, started_by_root

FILE = """
networks: {lan: {subnet: [10.1.0.0/24, fd00:1::/64]}, dmz: {subnet: 10.2.0.0/24}}
nodes: {a: [lan], b: [lan, dmz]}
"""
# what somebody does → state, and words of the problem; with --check, where it tells more
DRIFT = {
    "ip link del lan": ("broken", "bridge lan is gone"),
    "ip netns del a": ("broken", "node a is gone"),
    "ip link del veth-b-1": ("broken", "veth-b-1, the cable of b to dmz, is gone"),
    "ip -n a link set eth0 down": ("drifted", "veth-a, the cable of a to lan, is down"),
    "ip link set veth-a down": ("drifted", "veth-a, the cable of a to lan, is down"),
    "ip link set lan down": ("drifted", "bridge lan is down"),
    "ip link set veth-a nomaster": ("drifted", "veth-a, the cable of a, is no port of lan"),
    "ip -n a address flush dev eth0": ("up", ""),
}
_PR_SET_DUMPABLE = 4


@pytest.fixture
def folder(world: World) -> World:
    """With a lab file."""
    Path("lab.yaml").write_text(FILE)
    return world


def _inside(world: World) -> list[str]:
    (line,) = as_json(world, "ls")
    keeper = line["keeper"]
    if keeper is None:
        return []
    return ["nsenter", "--user", "--net", "--mount", "--preserve-credentials", "-t", str(keeper)]


@pytest.mark.parametrize("kind", ["host", "private"])
def test_what_is_gone_or_amiss_is_told(folder: World, kind: str) -> None:
    """By one glance at the machine's links, or at a keeper's; `up` mends it."""
    Lab.load("lab.yaml", world=kind).up()
    words = _inside(folder)
    for command, (state, problem) in DRIFT.items():
        folder.run(*words, *command.split())
        (info,) = listed()
        assert info.state == state, (command, info)
        assert problem in info.problem, command
        if state == "up":
            (info,) = listed(check=True)
            assert (info.state, "+ address 10.1.0.2/24" in info.problem) == ("drifted", True)
        Lab.load("lab.yaml", world=kind).up()
        (info,) = listed(check=state == "up")
        assert (info.state, info.problem) == ("up", ""), command
    Lab("lab").down()


def test_what_people_see(folder: World) -> None:
    """The state in the table, and how, below it."""
    bascule(folder, "up", "lab.yaml", "--world", "host")
    folder.run("ip", "link", "del", "lan")
    folder.run("ip", "link", "add", "lan", "type", "bridge")
    done = bascule(folder, "ls")
    assert done.stdout.splitlines()[1].split()[:2] == ["lab", "broken"]
    assert "lab: bridge lan is gone, and another has its name" in done.stderr
    assert bascule(folder, "ls", "-q").stderr == ""
    folder.run("ip", "link", "del", "lan")
    bascule(folder, "up", "lab.yaml")
    done = bascule(folder, "ls", "--check")
    assert (done.stdout.splitlines()[1].split()[1], done.stderr) == ("up", "")
    bascule(folder, "down", "lab")


def test_an_unfinished_run(folder: World) -> None:
    """It says what to do; while a command works on the lab, that."""
    bascule(folder, "up", "lab.yaml", "--world", "host")
    record = Path("/run/bascule/lab/lab.json")
    shutil.copy(record, record.with_name("journal.json"))
    (line,) = as_json(folder, "ls")
    assert (line["state"], "`bascule up` finishes it" in line["problem"]) == ("unfinished", True)
    bascule(folder, "up", "lab.yaml")
    (line,) = as_json(folder, "ls")
    assert (line["state"], line["problem"]) == ("up", "")
    bascule(folder, "down", "lab")


def test_another_state_directory(
    folder: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its labs are foreign here, and `ls --all` says where they belong."""
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "state"))
    bascule(folder, "up", "lab.yaml", "--world", "private")
    monkeypatch.delenv("BASCULE_STATE_DIR")
    assert as_json(folder, "ls") == []
    (line,) = as_json(folder, "ls", "--all")
    assert (line["name"], line["state"]) == ("lab", "foreign")
    assert f"BASCULE_STATE_DIR={tmp_path}/state" in line["problem"]
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "state"))
    bascule(folder, "down", "lab")
    monkeypatch.delenv("BASCULE_STATE_DIR")
    assert as_json(folder, "ls", "--all") == []


def _as_nobody(world: World, *words: str) -> None:
    """The command, as an ordinary user with a session."""
    "".encode("utf-8-sig")  # Python reads the codec's module, where the user may not
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after execve(2)
            os.environ.update(HOME=world.home, XDG_RUNTIME_DIR=f"/run/user/{NOBODY}")
            os.environ.pop("BASCULE_STATE_DIR", None)
            os.chdir(world.home)
            code = main(words)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, words


@pytest.fixture
def session(folder: World) -> Path:
    """The folder of an ordinary user's session; root looks on."""
    if not started_by_root():
        pytest.skip("only root sees the labs of others")
    found = Path(f"/run/user/{NOBODY}")
    found.mkdir(parents=True, mode=0o700)
    os.chown(found, NOBODY, NOBODY)
    shutil.copy("lab.yaml", folder.home)
    return found


def test_root_sees_the_labs_of_all_users(folder: World, session: Path) -> None:
    """Each in its state, and whose it is; to work on one is that user's affair."""
    _as_nobody(folder, "up", "lab.yaml")
    bascule(folder, "up", "lab.yaml", "--name", "mine")
    assert [line["name"] for line in as_json(folder, "ls")] == ["mine"]
    found = {line["name"]: line for line in as_json(folder, "ls", "--all")}
    assert (found["mine"]["user"], found["lab"]["user"]) == ("root", "nobody")
    assert (found["lab"]["state"], found["lab"]["world"]) == ("up", "private")
    keeper = found["lab"]["keeper"]
    folder.run("nsenter", "--net", "-t", str(keeper), "ip", "link", "del", "lan")
    table = bascule(folder, "ls", "--all")
    assert table.stdout.split()[:2] == ["USER", "LAB"]
    assert "lab: bridge lan is gone" in table.stderr
    for words in (("show", "lab"), ("down", "lab"), ("exec", "--lab", "lab", "a", "true")):
        done = bascule(folder, *words, check=False)
        assert done.returncode in (2, 125), words
        assert "user nobody has a lab of that name: `sudo -u nobody bascule …`" in done.stderr
    _as_nobody(folder, "down", "lab")
    bascule(folder, "down", "mine")
    assert as_json(folder, "ls", "--all") == []


def test_what_a_user_has_planted(folder: World, session: Path) -> None:
    """Root reads none of it: a link to a secret, a pipe, a hundred megabytes of brackets."""
    state = session / "bascule"
    Path("/run/secret").write_text('{"name": "secret"}')
    Path("/run/secret").chmod(0o600)
    for name in ("link", "pipe", "deep"):
        (state / name).mkdir(parents=True)
    (state / "link" / "lab.json").symlink_to("/run/secret")
    os.mkfifo(state / "pipe" / "lab.json")
    (state / "deep" / "lab.json").write_bytes(b"[" * 100_000_000)
    (state / "out").symlink_to("/root")
    for folder_, names, files in os.walk(state):
        for name in (".", *names, *files):
            os.chown(f"{folder_}/{name}", NOBODY, NOBODY, follow_symlinks=False)
    state.chmod(0o711)
    found = {line["name"]: line for line in as_json(folder, "ls", "--all")}
    assert {found[name]["state"] for name in ("link", "pipe", "deep")} == {"damaged"}
    assert "secret" not in json.dumps(found)
    assert "`sudo -u nobody bascule down --force pipe`" in found["pipe"]["problem"]


def test_whoever_does_not_answer_is_told_of(
    folder: World, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others' labs are listed all the same."""
    problems: list[str] = []
    monkeypatch.setattr(users, "_SECONDS", 0.2)
    monkeypatch.setattr(listing, "_seen", lambda _judge: os.read(os.pipe()[0], 1))
    heard = type("Heard", (), {"problem": problems.append})()
    assert listed(everyone=True, listener=heard) == []  # type: ignore[arg-type]
    assert any("labs of user nobody" in text for text in problems)


GOOD: dict[str, Any] = {
    "name": "x",
    "state": "up",
    "world": "private",
    "nodes": 1,
    "networks": 1,
    "source": "",
    "names": ["a"],
    "keeper": 7,
    "problem": "",
    "user": "root",
    "labels": {},
}
BAD: list[tuple[str, Any]] = [
    ("name", "../x"),
    ("state", "fine"),
    ("world", "moon"),
    ("nodes", "1"),
    ("nodes", True),
    ("nodes", -1),
    ("networks", 1e9),
    ("source", None),
    ("names", "a"),
    ("names", [1]),
    ("keeper", "7"),
    ("problem", 3),
    ("labels", {"a": 1}),
    ("labels", []),
]


def test_answers_are_believed_as_far_as_they_are_labs() -> None:
    """A user's process may write anything; whose labs these are is not for it to say."""
    (info,) = listing._believed(json.dumps([GOOD]).encode(), "eve")
    assert (info.name, info.user, info.names) == ("x", "eve", ("a",))
    for key, value in BAD:
        assert listing._believed(json.dumps([{**GOOD, key: value}]).encode(), "eve") == [], key
    for answer in (b"", b"{}", b"[1]", b"\xff", b"[" * 10000, json.dumps([{}]).encode()):
        assert listing._believed(answer, "eve") == []
