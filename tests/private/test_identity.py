"""What serves a lab is known for what was started, not by a name that anybody can have, and a lab
by its keeper."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule import identity
from bascule.api import Lab
from bascule.engine import look
from bascule.errors import WorldError
from bascule.host import lasting
from bascule.kernel.process import Process
from bascule.state import store
from helpers import SEED, bascule
from impostor import impostor
from sandbox import BASCULE, World, require, started_by_root

NAMED: dict[str, Any] = {
    "name": "named",
    "networks": {"lan": {"subnet": "10.1.0.0/24", "dns": True}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}


@pytest.mark.parametrize("kind", ["host", "private"])
def test_an_impostor_of_the_name_server(world: World, kind: str) -> None:
    """CWE-290: another user's process with the very command line, and a mark that it has guessed,
    is not taken for ours, and lives on when the lab goes."""
    require("dnsmasq", "dig")
    lab = Lab.from_data(NAMED, world=kind)
    lab.up()
    (served,) = (fact for fact in _facts(lab) if isinstance(fact, Process))
    lab.down()
    guess = {"BASCULE_MARK": "0" * 32}
    with impostor("dnsmasq", *served.arguments, env=guess) as other:
        lab.up()
        assert not lab.plan()
        asked = lab.node("a").run(
            ["dig", "+short", "+time=2", "+tries=1", "b", "@10.1.0.1"], capture_output=True
        )
        assert asked.stdout.strip() == "10.1.0.3"
        lab.down()
        assert other.poll() is None


def _facts(lab: Lab) -> list[Any]:
    return [
        change.fact
        for change in Lab.from_data({"name": "named", "nodes": {"a": {}}}, world=lab.world)
        .plan()
        .changes
    ]


def test_the_mark_is_nobody_else_s_to_read(world: World) -> None:
    """CWE-522: a name server of the machine becomes `nobody`, whose processes may not read its
    environment; nor the file."""
    require("dnsmasq")
    with Lab.from_data(NAMED, world="host"):
        place = Path("/run/bascule/named/dns/.mark")
        mark = place.read_text()
        assert place.stat().st_mode & 0o777 == 0o600
        (found,) = lasting.find(mark, ("dnsmasq",))
        assert mark not in "".join(found.words)
        if started_by_root():
            done = world.as_ordinary_user(
                "cat", f"/proc/{found.pid}/environ", str(place), check=False
            )
            assert mark not in done.stdout
            assert done.returncode != 0
    assert not place.exists()


def test_a_mark_that_a_killed_run_has_only_begun(tmp_path: Path) -> None:
    """Is none, and made anew; what is whole stays. A link is replaced, and what it leads to is left
    alone."""
    place = str(tmp_path / "mark")
    assert lasting.mark_in(place) == ""
    Path(place).write_text("abc")
    assert lasting.mark_in(place) == ""
    mark = lasting.make_mark(place)
    assert len(mark) == 32
    assert lasting.make_mark(place) == lasting.mark_in(place) == mark
    os.rename(place, f"{place}.old")
    os.symlink(f"{place}.old", place)
    assert lasting.mark_in(place) == ""
    assert lasting.make_mark(place) == lasting.mark_in(place) != mark
    assert not os.path.islink(place)
    assert lasting.mark_in(f"{place}.old") == mark


def _in_another_pid_namespace(
    world: World, *command: str, proc: bool = True
) -> subprocess.CompletedProcess[str]:
    user = [] if os.geteuid() == 0 and started_by_root() else ["--user", "--map-root-user"]
    own = ["--mount-proc"] if proc else []
    return world.run("unshare", *user, "--pid", "--fork", *own, BASCULE, *command, check=False)


def test_from_another_pid_namespace_a_lab_is_not_forgotten(world: World) -> None:
    """A container, or `unshare --pid`, that shares the state directory: the keeper's number is
    another's there, or nobody's."""
    lab = Lab.load(SEED, world="private")
    lab.up()
    before = store.load(lab.name)
    listed = json.loads(_in_another_pid_namespace(world, "ls", "--json").stdout)
    assert [(info["name"], info["state"]) for info in listed] == [("docker-bridge", "elsewhere")]
    for command in (("down", "docker-bridge"), ("exec", "ns1", "true")):
        done = _in_another_pid_namespace(world, *command)
        assert done.returncode != 0, command
        assert "is in another PID namespace" in done.stderr, done.stderr
        assert store.load(lab.name) == before
    assert lab.node("ns1").run(["true"]).returncode == 0
    lab.down()


def test_name_servers_of_another_pid_namespace_are_not_left_behind(world: World) -> None:
    """On the machine itself: who can neither see nor end a lab's servers does not take it down, nor
    builds it anew; and a server that has ended keeps nobody from either."""
    require("dnsmasq", "dig")
    lan = "{subnet: [10.1.0.0/24, 'fd00:1::/64'], dns: true, dhcp: true}"
    Path("named.yaml").write_text(
        f"name: named\nnetworks: {{lan: {lan}}}\nnodes: {{a: [lan], b: [lan]}}\n"
    )
    bascule(world, "up", "named.yaml", "--world", "host")
    before = store.load("named")
    down = ("down", "named"), ("down", "named", "--dry-run")
    # without a /proc of its own it shows other numbers than system calls take
    for proc in (True, False):
        for command in (
            *down,
            ("up", "named.yaml"),
            ("plan", "named.yaml"),
            ("node", "rm", "b", "--lab", "named"),
        ):
            done = _in_another_pid_namespace(world, *command, proc=proc)
            assert done.returncode == 2, (command, done.stdout)
            assert (
                "the name server of lab named is out of reach: this is another PID namespace"
                in done.stderr
            ), done.stderr
    assert store.load("named") == before
    for address in ("10.1.0.1", "fd00:1::1"):
        asked = bascule(
            world, "exec", "a", "--", "dig", "+short", "+time=2", "+tries=1", "b", f"@{address}"
        )
        assert asked.stdout.strip() == "10.1.0.3"
    (found,) = lasting.find(Path("/run/bascule/named/dns/.mark").read_text(), ("dnsmasq",))
    with open(os.pidfd_open(found.pid)) as held:
        os.kill(found.pid, signal.SIGKILL)
        assert select.select([held], [], [], 5)[0]
    # others have no rights over the machine's network from the user namespace that it takes
    if started_by_root():
        assert _in_another_pid_namespace(world, "down", "named").returncode == 0
    else:
        bascule(world, "down", "named")
    assert look.labs() == []


def _session_ends() -> None:
    """Logout: $XDG_RUNTIME_DIR is emptied, and what runs goes on."""
    shutil.rmtree("/run/bascule")


def test_a_lab_that_has_lost_its_record_is_found(world: World) -> None:
    """It is listed, works, can be changed, and has its record back then."""
    lab = Lab.load(SEED, world="private")
    lab.up()
    known = lab.record
    _session_ends()
    (info,) = look.labs()
    assert (info.name, info.state) == ("docker-bridge", "up")
    assert "its record has gone from /run/bascule" in info.problem
    assert (
        lab.node("ns1").run(["ping", "-c1", "-W2", "-q", "ns2"], capture_output=True).returncode
        == 0
    )
    assert bascule(world, "exec", "ns2", "hostname").stdout == "ns2\n"
    assert not lab.plan()
    lab.up()
    assert store.load("docker-bridge").record == known
    assert look.labs()[0].problem == ""
    lab.down()
    assert look.labs() == []


def test_a_lab_that_has_lost_its_record_is_taken_down(world: World) -> None:
    """By its name, with all that runs in it; and so is one that is to be built again."""
    for again in (False, True):
        lab = Lab.load(SEED, world="private")
        lab.up()
        kept = lab.record.keeper
        assert kept is not None
        with open(os.pidfd_open(kept.pid)) as held:
            _session_ends()
            if again:
                bascule(world, "up", SEED, "--world", "private")
                assert not select.select([held], [], [], 0)[0]  # the same one
            bascule(world, "down", "docker-bridge")
            assert select.select([held], [], [], 5)[0]
        assert look.labs() == []


def test_a_lab_is_found_from_outside_of_the_session_that_built_it(world: World) -> None:
    """After a logout $XDG_RUNTIME_DIR is not only empty: cron and su have none. Who chose a
    directory has labs of his own."""
    if not started_by_root():
        pytest.skip("here an ordinary user is another one in each call")
    shutil.copy(SEED, f"{world.home}/lab.yaml")
    world.as_ordinary_user("mkdir", "session", "chosen")
    session = {"XDG_RUNTIME_DIR": f"{world.home}/session"}
    none = {"XDG_RUNTIME_DIR": ""}
    world.as_ordinary_user(BASCULE, "up", "lab.yaml", env=session)
    world.as_ordinary_user("rm", "-r", "session")
    chosen = world.as_ordinary_user(
        BASCULE, "ls", "--json", env={**none, "BASCULE_STATE_DIR": f"{world.home}/chosen/state"}
    )
    assert json.loads(chosen.stdout) == []
    (info,) = json.loads(world.as_ordinary_user(BASCULE, "ls", "--json", env=none).stdout)
    assert (info["name"], info["state"]) == ("docker-bridge", "up")
    with open(os.pidfd_open(info["keeper"])) as held:
        for ping in (["ping"], ["exec", "ns1", "--", "ping", "-c1", "-W2", "ns2"]):
            assert world.as_ordinary_user(BASCULE, *ping, env=none).returncode == 0
        assert "nothing to do" in world.as_ordinary_user(BASCULE, "up", "lab.yaml", env=none).stderr
        assert not select.select([held], [], [], 0)[0]
        assert (
            "is down" in world.as_ordinary_user(BASCULE, "down", "docker-bridge", env=none).stderr
        )
        assert select.select([held], [], [], 5)[0]


def test_whose_lab_it_is(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other state directories, and of other networks, labs are not found: one may have several,
    with labs of one name."""
    lab = Lab.load(SEED, world="private")
    lab.up()
    monkeypatch.setenv("BASCULE_STATE_DIR", str(tmp_path / "other"))
    assert look.labs() == []
    monkeypatch.delenv("BASCULE_STATE_DIR")
    os.rename("/run/bascule", "/run/away")
    assert len(look.labs()) == 1
    done = world.run("unshare", "--net", BASCULE, "ls", "--json")
    assert json.loads(done.stdout) == []
    os.rename("/run/away", "/run/bascule")
    lab.down()


def test_a_command_of_a_node_plays_no_keeper(world: World, tmp_path: Path) -> None:
    """CWE-345: a `sleep` with a note in its /run, in a PID namespace of its own, is one level too
    deep."""
    note = {
        "lab": "planted",
        "state": "/run/bascule",
        "network": list(identity.netns()),
        "record": "{}",
    }
    script = (
        f"mkdir -p /run/bascule; echo '{json.dumps(note)}' > /run/bascule/note.json; exec "
        f"unshare --pid --fork sleep 60"
    )
    with (
        Lab.load(SEED, world="private") as lab,
        lab.node("ns1").popen(["sh", "-c", script]) as planted,
    ):
        while (
            "sleep"
            not in subprocess.run(
                ["ps", "-eo", "comm"], capture_output=True, text=True, check=True
            ).stdout
        ):
            assert planted.poll() is None
        assert [info.name for info in look.labs()] == ["docker-bridge"]
        planted.kill()


CONTAINER = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/usr" "$1/run/bascule"
mount --rbind /usr "$1/usr"
for name in bin lib lib64; do test ! -L "/$name" || ln -s "usr/$name" "$1/$name"; done
cp "$2" "$1/run/bascule/note.json"
exec chroot "$1" /usr/bin/sleep 60
"""


def test_a_container_plays_no_keeper(world: World, tmp_path: Path) -> None:
    """CWE-345: what is in a container of the user's is anybody's; a note in it, be it word for
    word, makes no lab."""
    if not os.path.islink("/lib"):
        pytest.skip("/usr alone is no root folder here")
    with Lab.load(SEED, world="private") as lab:
        kept = lab.record.keeper
        assert kept is not None
        note = (
            Path(f"/proc/{kept.pid}/root/run/bascule/note.json")
            .read_text()
            .replace("docker-bridge", "planted")
        )
        (tmp_path / "note.json").write_text(note)
        (tmp_path / "root").mkdir()
        words = ("sh", "-c", CONTAINER, "sh", str(tmp_path / "root"), str(tmp_path / "note.json"))
        with subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", *words]
        ) as container:
            children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
            while (
                not (pid := children.read_text().strip())
                or Path(f"/proc/{pid}/comm").read_text() != "sleep\n"
            ):
                assert container.poll() is None
            assert "planted" in Path(f"/proc/{pid}/root/run/bascule/note.json").read_text()
            assert [info.name for info in look.labs()] == ["docker-bridge"]
            os.kill(int(pid), signal.SIGKILL)


def test_down_does_not_forget_what_it_has_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keeper that can't be ended is told of, and its lab stays known."""
    lab = Lab.load(SEED, world="private")
    lab.up()
    with monkeypatch.context() as patched:
        patched.setattr("bascule.syscalls.kill", lambda _descriptor, _number: None)
        patched.setattr("bascule.host.keeper._ATTEMPTS", 10)
        with pytest.raises(WorldError, match="does not end"):
            lab.down()
    assert [info.name for info in look.labs()] == ["docker-bridge"]
    lab.down()
    assert look.labs() == []


def test_a_program_that_does_not_heed_is_killed(world: World) -> None:
    """And one that is another process by now is not: its descriptor is looked at again before each
    signal."""
    mark = lasting.make_mark(f"{world.home}/mark")
    stubborn = (
        "import ctypes, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "ctypes.CDLL(None).prctl(15, b'dnsmasq')\n"
    )
    argv = [sys.executable, "-c", stubborn + "print(flush=True); signal.pause()"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, env={**os.environ, **lasting.environment(mark)}
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        (found,) = lasting.find(mark, ("dnsmasq",))
        assert list(lasting.find("", ("dnsmasq",))) == []
        lasting.end(found, "0" * 32)
        assert program.poll() is None
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(lasting, "_PATIENCE", 50)
            lasting.end(found, mark)
        assert program.wait(5) == -signal.SIGKILL
        assert list(lasting.find(mark, ("dnsmasq",))) == []


OUTER_PROC = """
import os, subprocess
from bascule.host import lasting
mark = "f" * 32
child = subprocess.Popen(["sleep", "60"], env=lasting.environment(mark))
found = []
while not found:
    found = list(lasting.find(mark, ("sleep",)))
assert [each.pid for each in found] == [child.pid], (found, child.pid)
assert found[0].entry != str(child.pid)
lasting.end(found[0], mark)
print(child.wait(5))
"""


def test_numbers_where_proc_is_an_outer_one(world: World) -> None:
    """A container that forbids a fresh /proc: it shows other numbers than system calls take, and
    the right process is ended."""
    user = [] if started_by_root() else ["--user", "--map-root-user"]
    done = world.run("unshare", *user, "--pid", "--fork", sys.executable, "-c", OUTER_PROC)
    assert done.stdout == f"{-signal.SIGTERM}\n"
