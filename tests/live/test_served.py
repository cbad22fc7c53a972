"""Programs that serve a lab: one that nobody knew before is a row, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.errors import KernelError, PlanFailed
from bascule.host import process
from bascule.host.execute import execute
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.kernel.fact import Fact
from bascule.kernel.look import Scope
from bascule.kernel.op import Indexes
from bascule.kernel.process import Process
from bascule.kernel.program import PROGRAMS, Instance, Program
from bascule.plan.diff import Plan, diff
from questions import soon
from sandbox import World

# It goes into the background when it answers, as those of the table do, and notes each SIGHUP.
_SERVER = """#!{python} -S
import os, signal, sys
config = sys.argv[1].removeprefix("--serve=")
text = open(config).read()
if "broken" in text:
    sys.exit("echod: what is broken can't be served")
reading, writing = os.pipe()
if os.fork():
    os.read(reading, 1)
    os._exit(0)
signal.signal(signal.SIGHUP, lambda *_: open(config + ".told", "a").write("told\\n"))
open(config.rpartition("-")[0] + ".pid", "w").write(str(os.getpid()))
os.write(writing, b"!")
os.closerange(0, 3)
while True:
    signal.pause()
"""


def _echo(arguments: tuple[str, ...]) -> str:
    return f"echo server {ECHOD.configuration(arguments)}"


ECHOD = Program(
    "echod",
    package="echo-server",
    kind="echo",
    title=_echo,
    differs="echoes {}",
    comms=("echod",),
    option="--serve=",
    noted=True,
)


@pytest.fixture
def at(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Where one may serve: /run/bascule/lab/echo, with two configurations and a broken one."""
    folder = Path("/run/bascule/lab")
    folder.mkdir(parents=True)
    for name in ("one", "two", "broken"):
        (folder / f"echo-{name}.conf").write_text(name)
    place = folder / "echod"
    place.write_text(_SERVER.format(python=sys.executable))
    place.chmod(0o755)
    monkeypatch.setattr(process, "PROGRAMS", (*PROGRAMS, ECHOD))
    usual = process.path_of
    monkeypatch.setattr(
        process, "path_of", lambda program: str(place) if program == ECHOD else usual(program)
    )
    at = Instance(ECHOD, str(folder / "echo"))
    yield at
    process.end(at)


def _serving(at: Instance, name: str) -> Process:
    return Process(at, (f"--serve={at.place}-{name}.conf",))


def _plan(want: list[Fact], at: Instance) -> Plan:
    seen = observe(Scope(processes=(at,)), Paths()).facts
    return diff(want, [fact for fact in seen if fact.key[0] == "echo"], Indexes())


def _lines(plan: Plan) -> list[str]:
    return [f"{each.sign} {each.fact.describe()} ({each.reason})" for each in plan.changes]


def _pid(at: Instance) -> int:
    (found,) = process.processes(at)
    return found.pid


def test_it_comes_changes_and_goes(at: Instance) -> None:
    """By the same plan and the same hands as all else."""
    one, two = _serving(at, "one"), _serving(at, "two")
    plan = _plan([one], at)
    assert _lines(plan) == [f"+ echo server {at.place}-one.conf (new)"]
    assert [line for op in plan.ops for line in op.shell()] == [
        f"echod --serve={at.place}-one.conf"
    ]
    execute(plan.ops, Paths())
    assert process.running(at) == one
    assert not _plan([one], at)
    plan = _plan([two], at)
    assert _lines(plan) == [f"~ echo server {at.place}-two.conf (echoes {at.place}-one.conf)"]
    before = _pid(at)
    execute(plan.ops, Paths())
    assert process.running(at) == two
    assert _pid(at) != before
    execute(_plan([], at).ops, Paths())
    assert process.running(at) is None
    assert sorted(os.listdir("/run/bascule/lab")) == [
        "echo-broken.conf", "echo-one.conf", "echo-two.conf", "echod",
    ]  # fmt: skip


def test_it_is_told(at: Instance) -> None:
    """SIGHUP, and it goes on."""
    execute(_plan([_serving(at, "one")], at).ops, Paths())
    before = _pid(at)
    process.tell(at)
    soon(Path(f"{at.place}-one.conf.told").exists)
    assert _pid(at) == before


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_it_is_mended(at: Instance, number: signal.Signals) -> None:
    """Also from a note of a process that is another by now."""
    one = _serving(at, "one")
    execute(_plan([one], at).ops, Paths())
    pid = _pid(at)
    os.kill(pid, number)
    said = {signal.SIGSTOP: "~", signal.SIGKILL: "+"}[number]
    soon(lambda: [each.sign for each in _plan([one], at).changes] == [said])
    Path(at.note).write_text(str(os.getpid()))
    execute(_plan([one], at).ops, Paths())
    assert not _plan([one], at)
    assert _pid(at) != pid


def test_what_it_says_is_told_and_what_was_there_comes_back(at: Instance) -> None:
    """Without its own name before it."""
    one, broken = _serving(at, "one"), _serving(at, "broken")
    execute(_plan([one], at).ops, Paths())
    with pytest.raises(PlanFailed, match=r"echo-broken\.conf: what is broken can't be served"):
        execute(_plan([broken], at).ops, Paths())
    assert process.running(at) == one


def test_it_is_not_installed(at: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with its package, and what runs is left alone."""
    one = _serving(at, "one")
    execute(_plan([one], at).ops, Paths())
    monkeypatch.setattr(process, "path_of", lambda _program: None)
    with pytest.raises(KernelError, match="echod is not installed") as raised:
        process.start(at, _serving(at, "two").arguments)
    assert raised.value.advice == "install the package echo-server"
    assert process.running(at) == one


def test_neighbours_of_one_folder_share_a_mark_and_nothing_else(at: Instance) -> None:
    """The one ends, the other goes on."""
    other = Instance(ECHOD, f"{at.place}2")
    Path(f"{other.place}-x.conf").write_text("x")
    execute(_plan([_serving(at, "one")], at).ops, Paths())
    process.start(other, (f"--serve={other.place}-x.conf",))
    try:
        assert at.mark == other.mark
        process.end(at)
        assert process.running(at) is None
        assert process.running(other) is not None
        assert Path(at.mark).exists()
    finally:
        process.end(other)
    assert not Path(at.mark).exists()


def test_a_killed_run_leaves_no_note_and_no_mark(at: Instance) -> None:
    """Who was killed between the end of a process and the removal of its note leaves it to `down`;
    that of a process that serves stays."""
    process.start(at, _serving(at, "one").arguments)
    stale = Path(f"{at.place}9.pid")
    stale.write_text("1")
    process.forget_ended("/run/bascule/lab")
    assert (Path(at.note).exists(), Path(at.mark).exists(), stale.exists()) == (True, True, False)
    os.kill(_pid(at), signal.SIGKILL)
    soon(lambda: process.running(at) is None)
    process.forget_ended("/run/bascule/lab")
    assert not Path(at.note).exists()
    assert not Path(at.mark).exists()
