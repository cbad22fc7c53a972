"""The way out of a private world, and ports of the machine that lead into it, by pasta. With
packets."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.engine import doctor
from bascule.errors import Conflict, InputError, PlanFailed
from bascule.host import pasta, process
from bascule.kernel.program import PASTA
from bascule.names import WORLD_NETWORK
from impostor import impostor
from questions import names
from sandbox import BASCULE, World, require, started_by_root
from traffic import Caller, Ears, Outside, reach

HOST, THERE = "192.0.2.1", "192.0.2.22"


def _data(ports: list[str]) -> dict[str, Any]:
    return {
        "name": "out",
        "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True}},
        "nodes": {"a": {"networks": ["lan"], "ports": ports}, "b": ["lan"]},
    }


@pytest.fixture
def machine(world: World) -> Iterator[Outside]:
    """The machine has an address, a default route, another machine beside its router, and a name
    server that nobody asks here."""
    require("pasta", "nft")
    _tun_for_everybody()
    with Outside(
        world, here=(HOST, "2001:db8::1"), there=("192.0.2.2", THERE, "2001:db8::2")
    ) as outside:
        world.run("ip", "route", "add", "default", "via", "192.0.2.2")
        world.run("ip", "-6", "route", "add", "default", "via", "2001:db8::2")
        names("nameserver 192.0.2.2\n")
        if pasta.why_not():
            pytest.skip(pasta.why_not())
        yield outside


def _tun_for_everybody() -> None:
    """As distributions have it, where we may make devices. Who may not makes no folder without it
    in the place of the machine's."""
    if started_by_root():
        syscalls.mount("tmpfs", "/dev/net", "tmpfs", 0)
        with suppress(OSError):
            os.mknod("/dev/net/tun", 0o020666, os.makedev(10, 200))
            os.chmod("/dev/net/tun", 0o666)  # noqa: S103 (so it is on most machines)


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as made:
        yield made


def _pastas() -> list[int]:
    """Those of this test's machine: each keeps the machine's network namespace."""
    own, found = os.readlink("/proc/thread-self/ns/net"), []
    for entry in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if os.readlink(f"/proc/{entry}/ns/net") != own:
                continue
        except OSError:
            continue
        if b"--config-net" in words and WORLD_NETWORK.encode() in words:
            found.append(int(entry))
    return found


def _kill(pid: int) -> None:
    """And wait until the kernel has closed what it had open: the port is free only then."""
    with open(os.pidfd_open(pid)) as descriptor:
        os.kill(pid, signal.SIGKILL)
        assert select.select([descriptor], [], [], 3)[0]


SERVE = """\
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    client, peer = server.accept()
    if client.recv(1):  # who connects speaks first: pasta is slow to tell the server of one that waits
        client.sendall(peer[0].encode())
    client.close()
"""  # noqa: E501
ASK = """\
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
client.sendall(b"?")
print(client.recv(50).decode())
"""
CALL = "import socket,sys\nsocket.create_connection((sys.argv[1], 7), 3)\n"


@contextmanager
def _serve(lab: Lab, node: str, port: int) -> Iterator[None]:
    """A server in a node that tells each client its address."""
    process = lab.node(node).popen(
        ["python3", "-c", SERVE, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _fetch(place: str, port: int, source: str = "") -> str | None:
    """What a server behind this port says, asked from a namespace; None where nobody answers."""
    prefix = ["ip", "netns", "exec", source] if source else []
    done = subprocess.run(
        [*prefix, "python3", "-c", ASK, place, str(port)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def test_out_and_in(machine: Outside, world: World, ears: Ears) -> None:
    """A node reaches what the machine reaches, but not the machine's loopback; ports are where the
    file says."""
    lab = Lab.from_data(
        _data(["8080:80", "127.0.0.1:9090:80", "[::1]:9443:80", f"{HOST}:7070:80"]), world="private"
    )
    lab.up()
    assert not lab.plan()
    server = ears.on("elsewhere", 7)[0]
    client = lab.node("a").popen(["python3", "-c", CALL, THERE])
    server.settimeout(3)
    accepted, peer = server.accept()
    accepted.close()
    client.wait()
    assert peer[0] == HOST
    secret = ears.on("", 631)[0]
    assert (
        lab.node("a")
        .run(["python3", "-c", ASK, "192.0.2.2", "631"], capture_output=True)
        .returncode
        != 0
    )
    secret.setblocking(False)
    with pytest.raises(BlockingIOError):
        secret.accept()
    with _serve(lab, "a", 80):
        assert _fetch(HOST, 8080, "elsewhere")
        assert _fetch(HOST, 7070, "elsewhere")
        assert _fetch(HOST, 9090, "elsewhere") is None
        for place, port in (
            (HOST, 8080),
            ("127.0.0.1", 8080),
            ("::1", 8080),
            ("127.0.0.1", 9090),
            ("::1", 9443),
            (HOST, 7070),
        ):
            assert _fetch(place, port), (place, port)
    lab.down()
    assert _pastas() == []
    # the port is free again
    assert reach("elsewhere", HOST, 8080, ears.on("", 8080)[0]) == "192.0.2.2"


def test_a_killed_one_is_back_and_another_port_is_a_restart(machine: Outside, world: World) -> None:
    """The plan shows both; the keeper's end is its end."""
    lab = Lab.from_data(_data(["8080:80"]), world="private")
    lab.up()
    for pid in _pastas():
        _kill(pid)
    assert [change.fact.describe() for change in lab.plan().changes] == [
        "way out of the private world, with 1 published ports or ranges"
    ]
    lab.up()
    assert not lab.plan()
    other = Lab.from_data(_data(["8081:80"]), world="private")
    assert "~" in [change.sign for change in other.plan().changes]
    other.up()
    with _serve(lab, "a", 80):
        assert _fetch(HOST, 8081, "elsewhere")
        assert _fetch(HOST, 8080, "elsewhere") is None
    kept = lab.record.keeper
    assert kept is not None
    os.kill(kept.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _pastas() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _pastas() == []
    lab.down()


STREAM = """\
import socket
server = socket.create_server(("", 80))
print("ready", flush=True)
peer = server.accept()[0]
while data := peer.recv(100):
    peer.sendall(data)
"""


def test_ports_that_change_while_it_runs(machine: Outside, world: World) -> None:
    """Where it can be told (pesto(1)): an open connection stays, also while others' ports come and
    go. What a killed run has told it nobody knows, and it is told again."""
    require("pesto")
    lab = Lab.from_data(_data(["8080:80"]), world="private")
    lab.up()
    (pid,) = _pastas()
    with (
        lab.node("a").popen(["python3", "-c", STREAM], stdout=subprocess.PIPE, text=True) as server,
        Caller("elsewhere", (HOST, 8080), socket.SOCK_STREAM) as client,
    ):
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        client.socket.settimeout(5)
        client.socket.connect(client.place)
        for ports in (["8080:80", "9090:90", "127.0.0.1:5353:53/udp"], ["8080:80", "7070:70"]):
            other = Lab.from_data(_data(ports), world="private")
            reasons = [change.reason for change in other.plan().changes]
            assert "other ports are published" in reasons
            other.up()
            assert not other.plan()
            client.socket.sendall(b"still there")
            assert client.socket.recv(100) == b"still there"
        assert _pastas() == [pid]
        assert lab.record.keeper is not None
        told = Path(f"/proc/{lab.record.keeper.pid}/root/run/bascule/uplink.told")
        number, start, _arguments = json.loads(told.read_text())
        told.write_text(json.dumps([number, start, None]))
        assert [change.sign for change in other.plan().changes] == ["~"]
        other.up()
        assert not other.plan()
        client.socket.sendall(b"again")
        assert client.socket.recv(100) == b"again"
        server.kill()
    with _serve(lab, "a", 70):
        assert _fetch(HOST, 7070, "elsewhere")
        assert _fetch(HOST, 9090, "elsewhere") is None
    lab.down()


ECHO = """\
import socket, sys
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("", 80))
print("ready", flush=True)
while True:
    data, peer = server.recvfrom(100)
    server.sendto(sys.argv[1].encode(), peer)
"""


def test_a_port_that_moves_and_a_client_that_goes_on_sending(
    machine: Outside, world: World
) -> None:
    """pasta goes on as it is, and so does its flow to the world: that ends, and the next datagram
    reaches the other node. By IPv4 alone: pasta loses answers to IPv6 datagrams from one and the
    same port."""
    with Caller("elsewhere", (HOST, 8080)) as client, ExitStack() as servers:
        client.socket.settimeout(5)
        for node in ("a", "b"):
            data = _data([])
            data["nodes"] = {
                each: {"networks": ["lan"], "ports": ["8080:80/udp"] * (each == node)}
                for each in ("a", "b")
            }
            lab = Lab.from_data(data, world="private")
            lab.up()
            process = lab.node(node).popen(
                ["python3", "-c", ECHO, node], stdout=subprocess.PIPE, text=True
            )
            servers.callback(lambda process=process: (process.kill(), process.communicate()))
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            client.socket.sendto(b"?", client.place)
            assert client.socket.recv(100).decode() == node
            assert not lab.plan()
    lab.down()


def test_a_taken_port_and_a_low_one(machine: Outside, world: World, ears: Ears) -> None:
    """Are errors before anything is made, and leave nothing."""
    ears.on("", 8080)
    with pytest.raises(Conflict, match="port 8080 of a is taken by a listening socket"):
        Lab.from_data(_data(["8080:80"]), world="private").up()
    with pytest.raises(
        InputError, match="from a private world ports below 1024 can't be published"
    ):
        Lab.from_data(_data(["80:80"]), world="private").up()
    world.run("ip", "-6", "route", "del", "default")
    with pytest.raises(
        InputError,
        match=r"port \[::1\]:8443:443 of a: from a private world nothing is published on IPv6",
    ):
        Lab.from_data(_data(["[::1]:8443:443"]), world="private").up()
    lab = Lab.from_data(_data(["80"]), world="private")
    lab.up()
    assert lab.assigned.nodes[0].ports[0].published >= 49152
    lab.down()
    assert _pastas() == []


def test_what_pasta_refuses_is_told(
    machine: Outside, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own words, and nothing is left."""
    monkeypatch.setattr("bascule.plan.uplink._ALWAYS", ("--config-net", "--no-such-option"))
    with pytest.raises(PlanFailed, match=r"pasta --config-net --no-such-option"):
        Lab.from_data(_data([]), world="private").up()
    assert _pastas() == []


def test_without_pasta_the_lab_is_cut_off_and_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works within itself."""
    _pasta_at(None, monkeypatch)
    lab = Lab.from_data(_data(["8080:80"]), world="private")
    notes = lab.plan().notes
    assert any(
        "no way out of the private world" in note and "install the package passt" in note
        for note in notes
    )
    lab.up()
    assert not lab.plan()
    assert all(echo.seconds is not None for echo in lab.ping())
    lab.down()


def test_an_ordinary_user(machine: Outside, world: World) -> None:
    """Needs no more than /dev/net/tun."""
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/net/tun is not for everybody here, and can't be made so")
    file = Path(world.home, "out.yaml")
    file.write_text(
        "nodes: {a: {networks: [lan], ports: ['8080:80']}}\nnetworks: {lan: {subnet: "
        "10.1.0.0/24, nat: true}}\n"
    )
    file.chmod(0o644)
    # One script, because a user who is not root in the sandbox is another user in each call.
    script = 'set -e; "$0" up "$1"; "$0" plan "$1"; "$0" ls --json; "$0" down out'
    done = world.as_ordinary_user("sh", "-c", script, BASCULE, str(file))
    assert done.stdout.startswith("nothing to do: all is as it should be\n")
    assert '"name": "out"' in done.stdout
    assert _pastas() == []


def test_it_is_started_as_every_version_of_it_allows(
    machine: Outside, world: World, tmp_path: Path
) -> None:
    """Newer ones close what they inherit, and profiles of AppArmor forbid files in most places: it
    gets its network namespace under a path that they allow, writes no file, and holds nothing of
    the caller's."""
    with open(tmp_path / "held", "w") as held:
        os.set_inheritable(held.fileno(), True)
        with Lab.from_data(_data([]), world="private"):
            (pid,) = _pastas()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            assert words[words.index(b"--netns") + 1].startswith(b"/run/user/0/netns/")
            assert b"--pid" not in words
            assert not any(word.startswith(b"/proc/") for word in words)
            assert str(tmp_path / "held") not in [
                os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()
            ]


def test_an_impostor_is_not_taken_for_it(machine: Outside, world: World) -> None:
    """CWE-290: a process of another user with its command line neither stands for the way out nor
    keeps it from being changed."""
    with Lab.from_data(_data(["8080:80"]), world="private") as lab:
        (pid,) = _pastas()
        words = [
            word.decode()
            for word in Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        ]
        _kill(pid)
        with impostor(*words) as other:
            assert lab.plan()
            lab.up()
            assert not lab.plan()
            Lab.from_data(_data(["8081:80"]), world="private").up()
            assert len(_pastas()) == 2  # that one, too
            lab.down()
            assert other.poll() is None


def _pasta_at(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, or nowhere."""
    usual = process.path_of
    monkeypatch.setattr(
        process, "path_of", lambda program: path if program == PASTA else usual(program)
    )


def test_one_that_is_stopped_is_replaced(machine: Outside, world: World) -> None:
    """SIGSTOP: nothing passes. The plan says so, and `up` starts another."""
    with Lab.from_data(_data(["8080:80"]), world="private") as lab:
        (pid,) = _pastas()
        os.kill(pid, signal.SIGSTOP)
        assert [(change.sign, change.reason) for change in lab.plan().changes] == [
            ("~", "is stopped")
        ]
        lab.up()
        assert not lab.plan()
        assert _pastas() not in ([], [pid])


def _script(world: World, text: str) -> str:
    path = Path(world.home, "pasta")
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('echo "Couldn\'t open network namespace" >&2; exit 1', "Couldn't open network namespace"),
        ("exit 0", "it ended at once"),
        ("exec sleep 60", "no answer in 1 s"),
    ],
)
def test_one_that_does_not_work_is_told_from_one_that_does(
    machine: Outside, world: World, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """`doctor` tries it, and `up` says the same."""
    assert [finding.verdict for finding in doctor.examine() if finding.what == "pasta"] == ["ok"]
    path = _script(world, text)
    _pasta_at(path, monkeypatch)
    monkeypatch.setattr(process, "_SECONDS", 1)
    (finding,) = [finding for finding in doctor.examine() if finding.what == "pasta"]
    assert finding.verdict == "no"
    assert said in finding.found
    with pytest.raises(PlanFailed, match=said):
        Lab.from_data(_data([]), world="private").up()
    assert _pastas() == []
