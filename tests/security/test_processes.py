"""What a command in a node gets, and what it can reach: not more than its caller has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from bascule.engine import look
from helpers import SEED, bascule
from sandbox import World, started_by_root

WORLDS = pytest.mark.parametrize("kind", ["host", "private"])
LOOK = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
print(json.dumps({"fds": fds, "caps": status["CapBnd"].strip(), "nnp": status["NoNewPrivs"].strip(), "env": dict(os.environ)}))
"""  # noqa: E501


def _inside(lab: Lab, **options: Any) -> Any:
    return json.loads(
        lab.node("ns1")
        .run([sys.executable, "-c", LOOK], capture_output=True, check=True, **options)
        .stdout
    )


@WORLDS
def test_no_descriptor_leaks_into_a_node(world: World, kind: str) -> None:
    """CWE-403: neither sockets, nor locks, nor namespaces of ours; only what the caller hands
    down."""
    with Lab.load(SEED, world=kind) as lab:
        found = _inside(lab, stdin=subprocess.DEVNULL)["fds"]
        assert sorted(found) == ["0", "1", "2"], found
        through = bascule(world, "exec", "ns1", sys.executable, "-c", LOOK)
        assert sorted(json.loads(through.stdout)["fds"]) == ["0", "1", "2"]


@WORLDS
def test_a_node_s_process_has_not_more_than_its_caller(world: World, kind: str) -> None:
    """CWE-269: no capability is added; in a private world setuid programs give nothing
    (PR_SET_NO_NEW_PRIVS)."""
    with Lab.load(SEED, world=kind) as lab:
        found = _inside(lab)
        mine = dict(
            line.split(":\t", 1)
            for line in Path("/proc/self/status").read_text().splitlines()
            if ":\t" in line
        )
        if kind == "host":
            assert found["caps"] == mine["CapBnd"].strip()
        assert found["nnp"] == ("1" if kind == "private" else mine["NoNewPrivs"].strip())


@WORLDS
def test_the_environment_is_the_caller_s_and_stays_with_the_command(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CWE-526: a command sees the caller's environment, as with `ip netns exec`; what lives on, a
    keeper, sees none of it."""
    monkeypatch.setenv("ANYTHING", "hunter2")
    with Lab.load(SEED, world=kind) as lab:
        assert _inside(lab)["env"]["ANYTHING"] == "hunter2"
        if kind == "private":
            keeper = look.labs()[0].keeper
            assert Path(f"/proc/{keeper}/environ").read_bytes() == b""
        assert "hunter2" not in Path("/run/bascule/docker-bridge/lab.json").read_text()


def _files_of(pid: int) -> list[str]:
    """What its descriptors lead to; nothing as long as it is not `sleep`."""
    if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep"):
        return []
    found = []
    for number in sorted(os.listdir(f"/proc/{pid}/fd")):
        with suppress(FileNotFoundError):  # it was just closed
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def test_the_keeper_has_nothing_to_talk_to(world: World) -> None:
    """No socket, no pipe, no file: three descriptors of /dev/null, no environment, no name of a lab
    on its command line."""
    with Lab.load(SEED, world="private"):
        keeper = look.labs()[0].keeper
        deadline = time.monotonic() + 30
        while (found := _files_of(keeper)) != ["/dev/null"] * 3 and time.monotonic() < deadline:
            # it becomes `sleep` in its own time, once it was told to go, and the linker opens files
            # for it
            time.sleep(0.001)
        assert found == ["/dev/null"] * 3
        assert Path(f"/proc/{keeper}/cmdline").read_bytes() == b"sleep\0infinity\0"


def test_a_process_of_the_world_can_t_end_its_keeper(world: World) -> None:
    """Signals from inside do not reach process 1 of a PID namespace (pid_namespaces(7)), and
    nothing else is to be seen."""
    with Lab.load(SEED, world="private") as lab:
        script = (
            "for s in TERM INT HUP QUIT KILL STOP; do kill -$s 1; done; ls /proc | grep -c '^[0-9]'"
        )
        seen = lab.node("ns1").run(["sh", "-c", script], capture_output=True).stdout
        assert int(seen) <= 6
        assert look.labs()[0].state == "up"
        assert lab.node("ns2").run(["true"]).returncode == 0


def test_a_private_world_does_not_see_the_machine_s_run_nor_another_lab(world: World) -> None:
    """Its /run is its own: no sockets of the machine's services, no state of bascule; processes of
    another lab are not there."""
    Path("/run/precious").write_text("x")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind("/run/service.sock")
        service.listen()
        with (
            Lab.load(SEED, world="private") as lab,
            Lab.from_data({"nodes": {"n": {}}}, name="other", world="private") as other,
        ):
            listed = lab.node("ns1").run(["ls", "/run"], capture_output=True).stdout.split()
            assert "precious" not in listed
            assert "service.sock" not in listed
            with other.node("n").popen(["sleep", "61"]) as stranger:
                found = (
                    lab.node("ns1")
                    .run(
                        ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], capture_output=True
                    )
                    .stdout
                )
                assert "sleep 61" not in found
                stranger.kill()


def test_another_user_can_t_join(world: World) -> None:
    """CWE-284: the world belongs to who made it; joining its namespaces is refused by the kernel
    (setns(2))."""
    if not started_by_root():
        pytest.skip("needs two user ids")
    with Lab.load(SEED, world="private"):
        keeper = look.labs()[0].keeper
        done = world.as_ordinary_user("nsenter", "-t", str(keeper), "-U", "-n", "true", check=False)
        assert done.returncode != 0
        killed = world.as_ordinary_user("sh", "-c", f"kill -9 {keeper}", check=False)
        assert killed.returncode != 0
        assert look.labs()[0].state == "up"


ATTACK = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
while not os.path.exists(sys.argv[1]):
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) not in (1, os.getpid()):
            answer = libc.ptrace(16, int(pid), 0, 0)  # PTRACE_ATTACH
            print(pid, "traced" if answer == 0 else f"refused {ctypes.get_errno()}", flush=True)
"""
CALLER = "from bascule.engine import look\nfor _ in range(20): look.show('docker-bridge')\n"


def test_root_of_a_node_does_not_even_see_our_worker(world: World, tmp_path: Path) -> None:
    """CWE-502: what the worker answers is believed outside; a process in a node that is root there
    may not put words into it."""
    with (
        Lab.load(SEED, world="private") as lab,
        lab.node("ns1").popen(
            [sys.executable, "-c", ATTACK, str(tmp_path / "end")], stdout=subprocess.PIPE
        ) as attacker,
    ):
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"ready\n"
        subprocess.run([sys.executable, "-c", CALLER], check=True, timeout=60)
        (tmp_path / "end").touch()
        assert attacker.stdout.read() == b""


def test_our_own_programs_come_from_the_system(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CWE-426: an `nft` or a `sleep` in the caller's PATH is not run, and the caller's LD_PRELOAD
    does not reach them."""
    trap = Path("trap").absolute()
    trap.mkdir()
    for name in ("nft", "sleep", "ip"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {trap}/sprung\nexit 0\n")
        (trap / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{trap}:{os.environ['PATH']}")
    bascule(world, "up", SEED, "--world", "private")
    bascule(world, "doctor", check=False)
    bascule(world, "down", "docker-bridge")
    assert not (trap / "sprung").exists()


def test_a_module_in_this_folder_is_not_imported(world: World) -> None:
    """CWE-427: `yaml.py` beside the lab file is no part of bascule."""
    for name in ("yaml", "rich", "json", "bascule"):
        Path(f"{name}.py").write_text("open('sprung', 'w')\n")
    Path("lab.yaml").write_text(SEED.read_text())
    bascule(world, "check", "lab.yaml")
    assert not Path("sprung").exists()
