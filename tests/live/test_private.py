"""Private worlds: the same without root, several at once, nothing left when the keeper is
killed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bascule.api import Lab
from bascule.engine.worlds import existing
from bascule.host import world as worlds
from bascule.state import store
from helpers import EXAMPLES, SEED, bascule, lasting
from sandbox import BASCULE, World, difference


def user(world: World, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command as an ordinary user: no root, no sudo, no setuid helper."""
    return world.as_ordinary_user(BASCULE, *map(str, arguments), check=check)


# One script, because a user who is not root in the sandbox is another user in each call.
EVERYTHING = """
set -e
"$0" up lab.yaml
"$0" ls
"$0" exec ns1 -- ping -c1 -W2 -q ns2
"$0" ping
echo "hostname $("$0" exec ns1 hostname), user $("$0" exec ns1 id -u)"
"$0" show
"$0" up lab.yaml
"$0" inspect ns1
"$0" exec ns1 sh -c 'exit 7' || echo "code $?"
"$0" network create more --subnet 10.9.0.0/24
"$0" network connect more ns1
"$0" exec ns1 -- ip -br address show eth1
"$0" down docker-bridge
"$0" ls --json
"""


def test_an_ordinary_user_gets_a_private_world(world: World) -> None:
    """The tutorial's lab, and every later command joins it; the machine's network is not
    touched."""
    before = world.snapshot()
    example = Path(world.home, "lab.yaml")
    example.write_text(SEED.read_text())
    example.chmod(0o644)
    done = world.as_ordinary_user("sh", "-c", EVERYTHING, BASCULE)
    assert "docker-bridge is up in a private world: 16 added" in done.stderr
    assert "nothing to do" in done.stderr
    for expected in (
        "private  2      1",
        "1 packets transmitted, 1 received",
        "2 pairs, 2 answered, 0 failed",
        "hostname ns1, user 0",
        "default via 172.16.1.254 dev veth1p",
        '"172.16.1.1/16"',
        "code 7",
        "10.9.0.2/24",
    ):
        assert expected in done.stdout
    assert done.stdout.endswith("\n[]\n")
    assert difference(before, world.snapshot()) == ""


def test_the_host_world_needs_root(world: World) -> None:
    """With what to do instead, and exit code 2."""
    done = user(world, "up", SEED, "--world", "host", check=False)
    assert done.returncode == 2
    assert "run as root, or use --world private" in done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_private_equals_host(world: World, example: Path) -> None:
    """The same facts in both worlds, as `show` tells them."""
    bascule(world, "up", example)
    name = json.loads(bascule(world, "ls", "--json").stdout)[0]["name"]
    here = json.loads(bascule(world, "show", name, "--json").stdout)
    pinged = bascule(world, "ping", check=False).returncode
    bascule(world, "down", name)
    bascule(world, "up", example, "--world", "private")
    there = json.loads(bascule(world, "show", name, "--json").stdout)
    assert lasting(there) == {**lasting(here), "world": "private"}
    assert bascule(world, "ping", check=False).returncode == pinged
    bascule(world, "down", name)


def test_several_private_labs_at_once(world: World) -> None:
    """The same file three times: the same names and addresses, and no clash."""
    for name in ("one", "two", "three"):
        bascule(world, "up", SEED, "--world", "private", "--name", name)
    assert len(json.loads(bascule(world, "ls", "--json").stdout)) == 3
    for name in ("one", "two", "three"):
        assert bascule(world, "ping", "--lab", name).returncode == 0
    assert (
        "several labs have a node ns1" in bascule(world, "exec", "ns1", "true", check=False).stderr
    )
    bascule(world, "down", "--all")
    assert json.loads(bascule(world, "ls", "--json").stdout) == []


def _nodes_processes(keeper: int) -> list[int]:
    """Processes in the PID namespace of the commands of nodes: that of the keeper's child."""
    (first,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    place = os.readlink(f"/proc/{first}/ns/pid")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == place:
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_a_killed_keeper_leaves_nothing(world: World) -> None:
    """SIGKILL: processes in nodes end, the world is gone; `ls` and `up` cope."""
    bascule(world, "up", SEED, "--world", "private")
    keeper = json.loads(bascule(world, "ls", "--json").stdout)[0]["keeper"]
    network = os.readlink(f"/proc/{keeper}/ns/net")
    with subprocess.Popen([BASCULE, "exec", "ns1", "sleep", "60"]) as sleeper:
        while len(_nodes_processes(keeper)) < 2:  # the first one, and the command
            time.sleep(0.01)
        os.kill(keeper, signal.SIGKILL)
        assert sleeper.wait(10) == -signal.SIGKILL
    # the command may be gone before the first process of its namespaces
    deadline = time.monotonic() + 5
    while users := [
        entry for entry in os.listdir("/proc") if entry.isdigit() and _network(entry) == network
    ]:
        assert time.monotonic() < deadline, users
    assert json.loads(bascule(world, "ls", "--json").stdout)[0]["state"] == "lost"
    assert "has ended" in bascule(world, "exec", "ns1", "true", check=False).stderr
    bascule(world, "up", SEED, "--world", "private")
    assert bascule(world, "ping").returncode == 0
    bascule(world, "down", "docker-bridge")


def _network(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def test_down_of_a_lost_lab_forgets_it(world: World) -> None:
    """After the keeper was killed."""
    before = world.snapshot(exclude=())
    bascule(world, "up", SEED, "--world", "private")
    keeper = json.loads(bascule(world, "ls", "--json").stdout)[0]["keeper"]
    os.kill(keeper, signal.SIGKILL)
    while Path(f"/proc/{keeper}/ns/net").exists() and _network(str(keeper)):
        time.sleep(0.01)
    bascule(world, "down", "docker-bridge")
    assert difference(before, world.snapshot(exclude=())) == ""


@pytest.mark.parametrize("most", [0, 1])
def test_where_user_namespaces_are_forbidden_it_says_so(world: World, most: int) -> None:
    """And what to do: the limit of the namespace that plays the machine is set to none, or to fewer
    than a world has."""
    limit = Path("/proc/sys/user/max_user_namespaces")
    script = f"echo {most} > {limit}; exec {BASCULE} up {SEED} --world private"
    done = world.run("unshare", "--user", "--map-root-user", "sh", "-c", script, check=False)
    assert done.returncode == 1
    assert "sysctl user.max_user_namespaces=10000" in done.stderr
    assert "Traceback" not in done.stderr


def test_exec_hands_signals_down(world: World) -> None:
    """Terminate the command that waits, and the one in the node ends; its exit status comes up."""
    bascule(world, "up", SEED, "--world", "private")
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [BASCULE, "exec", "ns1", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "ready\n"
        outer.terminate()
        assert outer.wait(10) == 9
    bascule(world, "down", "docker-bridge")


def test_what_doctor_tells_an_ordinary_user(world: World) -> None:
    """What is looked at needs no rights of root's, and nothing is called wrong because of them."""
    done = world.as_ordinary_user(BASCULE, "doctor", "--json", check=False)
    found = {row["what"]: row for row in json.loads(done.stdout)}
    assert not [row for row in found.values() if "not permitted" in row["found"]]
    for what in ("private world", "bridge", "veth", "rules", "rules of bridges", "flows"):
        assert found[what]["verdict"] == "ok", found[what]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def test_an_interrupt_at_a_terminal(world: World) -> None:
    """It comes to the command and to the process that works in the world; whichever ends first, it
    is told as an interrupt."""
    data = {
        "name": "l",
        "networks": {"lan": {"subnet": "10.1.0.0/24"}},
        "nodes": {"a": ["lan"], "b": ["lan"]},
    }
    with Lab.from_data(data, world="private") as lab:
        lab.node("b").run(["ip", "link", "set", "eth0", "down"], check=True)
        for _attempt in range(3):
            child, terminal = pty.fork()
            if child == 0:
                os.execv(BASCULE, [BASCULE, "ping", "--timeout", "30", "a", "b"])  # noqa: S606 (no shell is meant)
            # who works there is a grandchild
            while not any(_children(each) for each in _children(child)):
                time.sleep(0.01)
            os.write(terminal, b"\x03")
            said = b""
            with suppress(OSError):  # EIO: the other side is closed
                while part := os.read(terminal, 4096):
                    said += part
            os.close(terminal)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130, said
            assert b"bascule: interrupted" in said


def test_an_interrupt_when_the_worker_has_just_ended() -> None:
    """Its number is nobody's any more."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(KeyboardInterrupt), worlds._interrupts_go_to(child):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_of_which_the_worker_ends_without_an_answer(world: World) -> None:
    """An interrupt all the same: a second one, the terminal's, may come into its answer."""
    data = {"networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}}
    with Lab.from_data(data, world="private", name="l"):
        there = existing(store.load("l"))
        assert isinstance(there, worlds.PrivateWorld)

        def ends(progress: Callable[[int], None]) -> None:
            signal.signal(signal.SIGINT, lambda *_: os._exit(0))
            progress(1)
            time.sleep(30)

        with pytest.raises(KeyboardInterrupt):
            there.watch(ends, lambda _count: signal.raise_signal(signal.SIGINT))
