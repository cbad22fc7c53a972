"""Commands of nodes in a private world: root of their nodes, and of nothing else
(host/inner.py)."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.engine import look
from bascule.errors import WorldError
from bascule.host import lasting
from bascule.host.keeper import Starting
from helpers import SEED, bascule
from sandbox import BASCULE, World, has, links_of_a_new_one

ESCAPES = Path(__file__).with_name("escapes.py").read_text()
LOST = "^the keeper of this lab has ended, and its world with it; run `bascule up` again$"
SERVED: dict[str, Any] = {
    "name": "served",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True}},
    "nodes": {"a": {"networks": ["lan"], "ports": ["8080:80"]}, "b": ["lan"]},
}


@pytest.mark.parametrize("who", ["root", "user"])
def test_nothing_of_the_machine_is_to_be_seen_or_touched(world: World, who: str) -> None:
    """CWE-653: by no umount, bind, overlay or move is the machine's /run uncovered; nothing is
    traced, joined or ended. The machine's session bus would do what it is told."""
    Path("/run/secret").write_text("x")
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind("/run/bus")
        bus.listen()
        if who == "root":
            with Lab.load(SEED, world="private") as lab:
                said = (
                    lab.node("ns1")
                    .run(
                        [sys.executable, "-c", ESCAPES, "/run/secret"],
                        capture_output=True,
                        check=True,
                    )
                    .stdout
                )
        else:
            Path(world.home, "lab.yaml").write_text(SEED.read_text())
            os.chmod(Path(world.home, "lab.yaml"), 0o644)
            script = (
                '"$0" up lab.yaml && "$0" exec ns1 -- "$1" -c "$2" /run/secret; code=$?; "$0" '
                "down docker-bridge; exit $code"
            )
            said = world.as_ordinary_user(
                "sh", "-c", script, BASCULE, sys.executable, ESCAPES
            ).stdout
    found = json.loads(said)
    assert found["worked"] == []
    assert found["folders"] == 7  # the attempts that mount got that far
    assert found["processes"] == ["sleep"]


def _below(pid: int) -> Iterator[int]:
    """The processes below this one, and below them. What a keeper's PID namespace holds is below
    the keeper."""
    with suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            yield child
            yield from _below(child)


def _programs(keeper: int) -> dict[int, str]:
    """What runs in a world: number and name. The keeper becomes `sleep` in its own time."""
    deadline = time.monotonic() + 5
    while Path(f"/proc/{keeper}/comm").read_text() != "sleep\n" and time.monotonic() < deadline:
        time.sleep(0.001)
    found = {}
    for pid in (keeper, *_below(keeper)):
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


END_ALL = """
import os, signal
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
    if pid != os.getpid():
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except OSError:
                pass
os.kill(-1, signal.SIGKILL)
"""


def test_a_command_can_t_end_what_serves_the_lab(world: World) -> None:
    """Whatever it sends signals to, the keeper, the name server and all else goes on; another
    node's command is a neighbour."""
    if not has("dnsmasq"):
        pytest.skip("dnsmasq is missing")
    with Lab.from_data(SERVED, world="private") as lab:
        (info,) = look.labs()
        before = _programs(info.keeper)
        assert "dnsmasq" in before.values()
        assert not [
            pid
            for pid in before
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        ]
        with lab.node("b").popen(["sleep", "60"]) as neighbour:
            lab.node("a").run([sys.executable, "-c", END_ALL])
            assert neighbour.wait(5) < 0  # nodes of one lab see each other's processes
        assert _programs(info.keeper) == before
        assert not lab.plan()
        assert lab.node("a").run(["true"]).returncode == 0


LOOK = """
import os, sys
seen = set()
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    for name in os.listdir("/proc"):
        if name.isdigit() and name not in seen and int(name) not in (1, os.getpid()):
            try:
                environment = open(f"/proc/{name}/environ", "rb").read()
                if b"secret-of-the-caller" in environment:
                    print("SEEN", os.readlink(f"/proc/{name}/exe"), flush=True)
                elif environment:
                    seen.add(name)
            except OSError:
                pass
print("done", len(seen))
"""


def test_the_caller_s_copy_is_not_to_be_looked_into(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CWE-362: a command begins as a copy of its caller, with all that was in its memory. While it
    is one, who is root in the nodes can't open it, though its number is there for all to see."""
    monkeypatch.setenv("SECRET", "secret-of-the-caller")
    with Lab.load(SEED, world="private") as lab:
        end = tmp_path / "end"
        with lab.node("ns1").popen(
            [sys.executable, "-c", LOOK, str(end)], stdout=subprocess.PIPE, text=True, env={}
        ) as looker:
            assert looker.stdout is not None
            assert looker.stdout.readline() == "ready\n"
            for _attempt in range(12):
                lab.node("ns2").run(["true"], env={})
            end.touch()
            said = looker.stdout.read()
    assert "SEEN" not in said


def test_what_lives_on_holds_nothing_of_the_caller_s(world: World, tmp_path: Path) -> None:
    """CWE-403: neither keepers nor what serves the lab keep a lock, a pipe or a file of the program
    that has built it, be it inheritable; and no signal that it had blocked is blocked in them."""
    with open(tmp_path / "held", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        os.set_inheritable(held.fileno(), True)
        with Lab.from_data(SERVED, world="private"):
            (info,) = look.labs()
            for pid, name in _programs(info.keeper).items():
                leads = [
                    os.readlink(path)
                    for path in Path(f"/proc/{pid}/fd").iterdir()
                    if os.path.lexists(path)
                ]
                assert str(tmp_path / "held") not in leads, name
                status = dict(
                    line.split(":\t", 1)
                    for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                    if ":\t" in line
                )
                assert int(status["SigBlk"], 16) == 0, name


def test_a_node_that_is_the_world_has_no_power_over_it(world: World) -> None:
    """`network_mode: host` in a private world: it may look, serve on any port and ping, and change
    nothing of the engine's."""
    data: dict[str, Any] = {
        "networks": {"lan": {"subnet": "10.1.0.0/24"}},
        "nodes": {"here": {"network_mode": "host"}, "a": ["lan"]},
    }
    with Lab.from_data(data, name="h", world="private") as lab:
        here = lab.node("here")
        assert here.run(["ip", "link", "del", "lan"], capture_output=True).returncode != 0
        assert (
            here.run(
                ["ip", "address", "add", "10.9.0.1/24", "dev", "lan"], capture_output=True
            ).returncode
            != 0
        )
        assert " lan: " in here.run(["ip", "-o", "link"], capture_output=True).stdout
        serve = (
            "import socket; socket.create_server(('10.1.0.1', 80)); "
            "socket.create_server(('10.1.0.1', 7))"
        )
        assert here.run([sys.executable, "-c", serve]).returncode == 0
        assert here.run(["ping", "-c1", "-W2", "10.1.0.2"], capture_output=True).returncode == 0
        assert not lab.plan()


def test_the_state_directory_is_not_to_be_seen(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CWE-732: who can write a lab's record decides what the next command ends; in a node it is not
    there, wherever it is."""
    for state in (tmp_path / "bascule-state", tmp_path / "home" / ".local" / "bascule"):
        state.parent.mkdir(exist_ok=True, parents=True)
        monkeypatch.setenv("BASCULE_STATE_DIR", str(state))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        with Lab.load(SEED, world="private") as lab:
            assert (state / "docker-bridge" / "lab.json").exists()
            seen = lab.node("ns1").run(
                ["sh", "-c", f"cat {state}/docker-bridge/lab.json; touch {state}/x"],
                capture_output=True,
            )
            assert seen.returncode != 0
            assert seen.stdout == ""
            assert sorted(os.listdir(state)) == [".claims", "docker-bridge"] or os.listdir(
                state
            ) == ["docker-bridge"]


def test_root_of_a_node_can_do_its_work(world: World) -> None:
    """Interfaces, addresses, rules, settings, namespaces and mounts of its own: what people run in
    nodes."""
    script = """
    set -e
    ip link add br9 type bridge && ip link set br9 up && ip address add 10.9.0.1/24 dev br9
    sysctl -qw net.ipv4.ip_forward=1 && test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1
    mount -t tmpfs tmpfs /mnt && umount /mnt
    hostname other && test "$(hostname)" = other
    unshare --user --map-root-user --pid --fork --mount-proc sh -c 'test "$$" = 1 && test -e /proc/1/stat'
    unshare --net ip link set lo up
    echo 127.0.0.9 nine >> /etc/hosts && getent hosts nine
    cd /sys/class/net && ls -d -- */ | tr -d /
    """  # noqa: E501
    with Lab.load(SEED, world="private") as lab:
        done = lab.node("ns1").run(["sh", "-c", script], capture_output=True)
        assert done.returncode == 0, done.stderr
        links = sorted(["br9", "veth1p", *links_of_a_new_one()])
        assert sorted(done.stdout.split()[-len(links) :]) == links
        if has("nft"):
            assert (
                lab.node("ns1")
                .run(["nft", "add", "table", "ip", "mine"], capture_output=True)
                .returncode
                == 0
            )


def test_commands_of_several_threads(world: World) -> None:
    """Each is its caller's own child, and what helped to start it is reaped."""
    with Lab.load(SEED, world="private") as lab:
        codes: list[int] = []

        def work(node: str) -> None:
            codes.extend(
                lab.node(node).run(["sh", "-c", f"exit {number}"]).returncode for number in range(4)
            )

        threads = [threading.Thread(target=work, args=(node,)) for node in ("ns1", "ns2", "ns1")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [number for number in range(4) for _thread in threads]
        lab.node("ns1").run(["true"])
        assert not [
            pid
            for pid in _below(os.getpid())
            if Path(f"/proc/{pid}/comm").read_text().startswith("python")
        ]


def _end_first(lab: Lab) -> int:
    """As by a machine without memory. Gives a descriptor of the keeper."""
    kept = lab.record.keeper
    assert kept is not None
    keeper = os.pidfd_open(kept.pid)
    with open(os.pidfd_open(kept.first[0])) as held:
        os.kill(kept.first[0], 9)
        assert select.select([held], [], [], 5)[0]
    return keeper


@pytest.mark.parametrize("recorded", [True, False])
def test_the_nodes_first_process_has_ended(world: World, recorded: bool) -> None:
    """Nobody gets into the nodes any more: the lab is lost, and all say so. `up` builds it anew,
    `down` leaves nothing of it."""
    for command in ("up", "down"):
        lab = Lab.load(SEED, world="private")
        lab.up()
        with open(_end_first(lab)) as keeper:
            if not recorded:
                shutil.rmtree("/run/bascule")
            assert [(info.name, info.state) for info in look.labs()] == [("docker-bridge", "lost")]
            assert bascule(world, "plan", SEED, "--world", "private").stdout.endswith(
                "16 to add, 0 to change, 0 to remove\n"
            )
            assert bascule(world, "exec", "ns1", "true", check=False).stderr.endswith(
                "has ended; run `bascule up` again\n"
            )
            if command == "up":
                lab.up()
                assert (
                    lab.node("ns1")
                    .run(["ping", "-c1", "-W2", "-q", "ns2"], capture_output=True)
                    .returncode
                    == 0
                )
                assert select.select([keeper], [], [], 5)[0]
            lab.down()
            assert select.select([keeper], [], [], 5)[0]
        assert look.labs() == []


def test_down_while_the_keeper_is_ending(world: World) -> None:
    """Killed a moment before: what can't be looked into any more is no reason not to let it go."""
    lab = Lab.load(SEED, world="private")
    for _attempt in range(8):
        lab.up()
        kept = lab.record.keeper
        assert kept is not None
        os.kill(kept.pid, 9)
        lab.down()
        assert not look.labs()


def test_the_keeper_is_long_in_ending(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for every process of its PID namespace, and one that its own parent has not waited
    for lasts. Nobody can be started there any more, and that is said, not ENOMEM; `down` waits."""
    lab = Lab.load(SEED, world="private")
    lab.up()
    kept = lab.record.keeper
    assert kept is not None
    fork = syscalls.fork_again

    def fork_once_it_ends() -> int:
        """Between joining the world and the first child there."""
        os.kill(kept.pid, 9)
        while child := fork():
            os.waitpid(child, 0)
        os._exit(0)

    with lab.node("ns1").popen(["sleep", "infinity"]) as command:
        with monkeypatch.context() as patch, pytest.raises(WorldError, match=LOST):
            patch.setattr(syscalls, "fork_again", fork_once_it_ends)
            lab.plan()
        assert lasting.alive(kept)
        os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)  # killed, and not yet waited for
        for asked in (lab.plan, lambda: lab.node("ns1").popen(["true"])):
            with pytest.raises(WorldError, match=LOST):
                asked()
        assert lasting.alive(kept)
        lab.down()
        assert not lasting.alive(kept)
    assert not look.labs()


def test_a_world_that_was_not_to_stay_has_ended(world: World) -> None:
    """At once, and not soon: its note would be taken for that of a lab that runs."""
    with Starting() as started:
        assert lasting.alive(started.keeper)
    assert not lasting.alive(started.keeper)
    assert not lasting.alive(started.first)
