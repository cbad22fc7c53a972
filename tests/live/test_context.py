"""`with Lab(…)`: a lab that is a program's own, for as long as the block lasts."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.engine import look
from bascule.errors import Conflict, Locked
from bascule.topology import edit
from helpers import bascule
from sandbox import World

WORLDS = pytest.mark.parametrize("kind", ["host", "private"])
DATA: dict[str, Any] = {
    "name": "own",
    "networks": {"lan": {"subnet": "10.1.0.0/24"}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
SLEEP = ["sleep", "600"]
TWO = ["sh", "-c", "sleep 600 & sleep 600; true"]
PROGRAM = """
import json, sys
from bascule.api import Lab
with Lab.from_data(json.loads(sys.argv[1]), world=sys.argv[2]) as lab:
    sleeper = lab.node("a").popen(["sleep", "600"])
    print(sleeper.pid, flush=True)
    sys.stdin.readline()
"""


def _lab(kind: str, **more: Any) -> Lab:
    return Lab.from_data({**DATA, **more}, world=kind)


@contextmanager
def _other_program(kind: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """One that has the lab for its own, with a process in it."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(DATA), kind]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        try:
            yield program, int(program.stdout.readline())
        finally:
            program.kill()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@WORLDS
@pytest.mark.parametrize("command", [SLEEP, TWO])
def test_what_runs_in_it_ends_with_it(world: World, kind: str, command: list[str]) -> None:
    """At once, waited for or not, kept or forgotten, with what it has started; nothing is left of
    it, and its end is known."""
    before = machine.state()
    begun = time.monotonic()
    with _lab(kind) as lab:
        kept = lab.node("a").popen(command)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            lab.node("b").popen(command)
            gc.collect()
        done = lab.node("a").popen(["true"])
        assert done.wait(10) == 0
    assert time.monotonic() - begun < 6  # ten seconds were waited for an end that could not come
    assert kept.poll() is not None
    assert done.returncode == 0
    assert machine.difference(before, machine.state()) == ""


def test_a_child_of_another_process_keeps_no_world(world: World) -> None:
    """One that is waited for by nobody, because its parent has other things to do."""
    lab = _lab("private")
    begun = time.monotonic()
    hear, tell = os.pipe()
    with lab:
        child = os.fork()
        if child == 0:
            try:
                os.write(tell, b"%d" % lab.node("a").popen(SLEEP).pid)
                signal.pause()
            finally:
                os._exit(0)
        started = int(os.read(hear, 20))
        assert _runs(started)
    assert not _runs(started)
    assert time.monotonic() - begun < 6
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(hear)
    os.close(tell)


def test_the_processes_of_an_adopted_namespace_go_on(world: World) -> None:
    """They are another program's."""
    world.run("ip", "netns", "add", "theirs")
    with subprocess.Popen(["ip", "netns", "exec", "theirs", *SLEEP]) as theirs:
        while os.stat(f"/proc/{theirs.pid}/ns/net").st_ino != os.stat("/run/netns/theirs").st_ino:
            pass
        with _lab(
            "host", nodes={"a": ["lan"], "box": {"netns": "/run/netns/theirs", "networks": ["lan"]}}
        ):
            pass
        assert theirs.poll() is None
        theirs.kill()


@WORLDS
def test_what_a_killed_program_left_is_not_joined(world: World, kind: str) -> None:
    """It is taken away, with its processes, and built afresh: nobody tests what another has
    left."""
    before = machine.state()
    with _other_program(kind) as (program, sleeper):
        program.kill()
        program.wait()
        assert [info.state for info in look.labs()] == ["up"]
        assert _runs(sleeper)
        with _lab(kind) as lab:
            assert not _runs(sleeper)
            assert all(echo.seconds is not None for echo in lab.ping())
    assert machine.difference(before, machine.state()) == ""


@WORLDS
def test_two_programs_do_not_share_one(world: World, kind: str) -> None:
    """Who has it is told: whoever wants it for his own, changes it, or takes it down. The first
    one's goes on, to its end."""
    with _other_program(kind) as (program, sleeper):
        who = (
            rf"^lab own is held by python.* \(process {program.pid}\); end that one first, or "
            rf"choose another name$"
        )
        lab = _lab(kind)
        with pytest.raises(Locked, match=who), lab:
            pass
        for call in (
            lab.up,
            lab.down,
            lambda: lab.change(lambda topology: edit.remove_node(topology, "a")),
        ):
            with pytest.raises(Locked, match=who):
                call()
        done = bascule(world, "down", "own", check=False)
        assert (done.returncode, f"(process {program.pid})" in done.stderr) == (1, True)
        assert Lab.attach("own").node("b").run(["true"]).returncode == 0
        assert _runs(sleeper)
        program.communicate("\n")
        assert program.returncode == 0
    assert look.labs() == []
    with lab:
        pass


@WORLDS
def test_a_lab_that_stays_is_not_taken_for_one_s_own(world: World, kind: str) -> None:
    """One that was up before would be taken down at the end of the block: it is refused, and
    untouched."""
    lab = _lab(kind)
    lab.up()
    before = machine.state(), lab.show()
    for handle in (lab, Lab("own"), Lab.attach("own")):
        told = pytest.raises(
            Conflict,
            match="lab own is up already, and stays when a program ends; `bascule down own` first",
        )
        with told, handle:
            pass
    assert machine.difference(before[0], machine.state()) == ""
    assert lab.show() == before[1]
    lab.down()


def test_what_was_left_can_be_made_one_that_stays(world: World) -> None:
    """By `up`: then it is nobody's own any more."""
    with _other_program("host") as (program, sleeper):
        program.kill()
        program.wait()
        Path("own.json").write_text(json.dumps(DATA))
        bascule(world, "up", "own.json")
        assert _runs(sleeper)
        with pytest.raises(Conflict, match="stays when a program ends"), _lab("host"):
            pass
        os.kill(sleeper, signal.SIGKILL)
        bascule(world, "down", "own")


@WORLDS
def test_within_the_block_it_is_changed_as_any(world: World, kind: str) -> None:
    """By the same handle, by another, by a command that the program starts; what `down` took is not
    missed at the end."""
    with _lab(kind) as lab:
        lab.change(lambda topology: edit.add_node_data(topology, "c", {"networks": ["lan"]}))
        Lab("own").change(lambda topology: edit.add_node_data(topology, "d", {"networks": ["lan"]}))
        bascule(world, "node", "add", "e", "--network", "lan", "--lab", "own", env=dict(os.environ))
        assert [node.name for node in lab.nodes] == ["a", "b", "c", "d", "e"]
        with pytest.raises(Locked, match=rf"\(process {os.getpid()}\)"), lab:
            pass
        with pytest.raises(Locked, match=rf"\(process {os.getpid()}\)"), _lab(kind):
            pass
        assert lab.node("e").run(["true"]).returncode == 0
    assert look.labs() == []
    with _lab(kind) as lab:
        lab.down()
        assert look.labs() == []
    with _lab(kind):
        bascule(world, "down", "own")


@WORLDS
def test_what_could_not_be_built_is_not_held(world: World, kind: str) -> None:
    """The next one may have it."""
    before = machine.state()
    broken = _lab(
        kind, nodes={"a": {"networks": ["lan"], "sysctls": {"net.ipv4.no_such_setting": 1}}}
    )
    for _attempt in range(2):
        with pytest.raises(Exception, match="no_such_setting"), broken:
            pass
    assert machine.difference(before, machine.state()) == ""
    with _lab(kind):
        pass


# The child leaves the block as its code says: by an exception, as sys.exit() is one.
FORKS = """
import json, os, sys
from bascule.api import Lab
with Lab.from_data(json.loads(sys.argv[1]), world=sys.argv[2]) as lab:
    child = os.fork()
    if not child:
        sys.exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert all(echo.seconds is not None for echo in lab.ping())
    again = Lab.from_data(json.loads(sys.argv[1]), world=sys.argv[2])
    try:
        again.__enter__()
    except Exception as error:
        print(type(error).__name__)
"""


@WORLDS
def test_a_child_that_leaves_the_block_takes_nothing_away(world: World, kind: str) -> None:
    """Packets pass as before, the lab is held as before, and it goes with the parent's block."""
    data = {**DATA, "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}}}
    before = machine.state()
    done = subprocess.run(
        [sys.executable, "-c", FORKS, json.dumps(data), kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Locked\n", "")
    assert machine.difference(before, machine.state()) == ""
