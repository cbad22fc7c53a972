"""The Python API: load, build in code, run, popen, ping, plan, change."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import bascule
from bascule.host.icmp import checksum
from helpers import SEED
from helpers import bascule as run_bascule
from sandbox import BASCULE, World, difference
from traffic import inside

WORLDS = pytest.mark.parametrize("where", ["host", "private"])


@WORLDS
def test_a_lab_as_a_context(world: World, where: str) -> None:
    """Up on entering, down on leaving, also after an error."""
    before = world.snapshot(exclude=())
    with bascule.Lab.load(SEED, world=where) as lab:
        done = lab.node("ns1").run(["ping", "-c1", "-W2", "ns2"], capture_output=True)
        assert done.returncode == 0
        assert "1 received" in done.stdout
    assert difference(before, world.snapshot(exclude=())) == ""
    with pytest.raises(RuntimeError, match="mine"), bascule.Lab.load(SEED, world=where):
        raise RuntimeError("mine")
    assert difference(before, world.snapshot(exclude=())) == ""


@WORLDS
def test_built_in_code(world: World, where: str) -> None:
    """The same nouns as in the file."""
    lab = bascule.Lab("code", world=where)
    lab.add_network("lan", subnet=["10.5.0.0/24", "fd05::/64"])
    lab.add_node("a", networks=["lan"])
    lab.add_node(
        "b", networks={"lan": {"address": "10.5.0.77"}}, sysctls={"net.ipv4.ip_forward": 1}
    )
    assert lab.plan()
    with lab:
        assert lab.node("b").addresses == ("10.5.0.77", "fd05::3")
        assert not lab.plan()
        assert lab.network("lan").addresses == ("10.5.0.1/24", "fd05::1/64")
        echoes = lab.ping()
        assert len(echoes) == 4
        assert all(echo.seconds is not None for echo in echoes)
        assert (
            lab.node("b").run(["cat", "/proc/sys/net/ipv4/ip_forward"], capture_output=True).stdout
            == "1\n"
        )
        again = bascule.Lab.attach("code")
        assert [node.name for node in again.nodes] == ["a", "b"]


@WORLDS
def test_run_is_subprocess_run(world: World, where: str) -> None:
    """Input, exit code, check, timeout, environment, folder, missing program."""
    with bascule.Lab.load(SEED, world=where) as lab:
        node = lab.node("ns1")
        assert node.run(["cat"], input="hello", capture_output=True).stdout == "hello"
        assert node.run(["cat"], input=b"raw", capture_output=True, text=False).stdout == b"raw"
        assert node.run(["sh", "-c", "exit 3"]).returncode == 3
        assert node.run(["sh", "-c", "kill -9 $$"]).returncode == -9
        assert node.run(
            ["sh", "-c", "echo $X; pwd"],
            env={"X": "y", "PATH": "/bin"},
            cwd="/usr",
            capture_output=True,
        ).stdout == ("y\n/usr\n")
        with pytest.raises(subprocess.CalledProcessError):
            node.run(["false"], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            node.run(["sleep", "30"], timeout=0.1)
        with pytest.raises(FileNotFoundError):
            node.run(["no-such-program"], env={"PATH": "/bin"})
        with pytest.raises(bascule.InputError, match="a list of words"):
            node.run("ip a")


@WORLDS
def test_popen_is_popen(world: World, where: str) -> None:
    """A server in one node, a client in another, by name; then terminate."""
    serve = (
        "import http.server as h; h.ThreadingHTTPServer(('', 8000), "
        "h.SimpleHTTPRequestHandler).serve_forever()"
    )
    fetch = (
        "import time, urllib.request as u\n"
        "for _ in range(100):\n"
        "    try: print(u.urlopen('http://ns2:8000/', timeout=2).status); break\n"
        "    except OSError: time.sleep(0.05)\n"
    )
    with (
        bascule.Lab.load(SEED, world=where) as lab,
        lab.node("ns2").popen([sys.executable, "-c", serve], stderr=subprocess.DEVNULL) as server,
    ):
        assert (
            lab.node("ns1").run([sys.executable, "-c", fetch], capture_output=True).stdout
            == "200\n"
        )
        assert server.poll() is None
        server.terminate()
        assert server.wait(10) == -15


def test_errors_are_typed(world: World) -> None:
    """Unknown node with the nearest name; a lab that is not up; a mistake in the data."""
    with bascule.Lab.load(SEED) as lab, pytest.raises(bascule.NotFound, match="did you mean ns1"):
        lab.node("ns11")
    with pytest.raises(bascule.NotFound, match="is not up"):
        bascule.Lab.attach("docker-bridge")
    with pytest.raises(bascule.TopologyError) as caught:
        bascule.Lab.from_data({"nodes": {"a b": None}, "netwoks": {}})
    assert len(caught.value.mistakes) == 2
    with pytest.raises(bascule.InputError, match="No such file"):
        bascule.Lab.load(Path("nowhere.yaml"))


@WORLDS
def test_a_hundred_nodes_all_reach_each_other(world: World, where: str) -> None:
    """More pairs than the kernel's neighbour table has entries; afterwards none of the tool's are
    left."""
    data = {
        "networks": {"lan": {"subnet": "10.6.0.0/24"}},
        "nodes": {"n": {"count": 100, "networks": ["lan"]}},
    }
    with bascule.Lab.from_data(data, world=where, name="hundred") as lab:
        echoes = lab.ping()
        assert len(echoes) == 9900
        assert [echo for echo in echoes if echo.seconds is None] == []


@WORLDS
def test_ping_tells_who_does_not_answer(world: World, where: str) -> None:
    """One interface down: its pairs fail, all others answer."""
    with bascule.Lab.load(SEED, world=where) as lab:
        lab.node("ns1").run(["ip", "link", "set", "veth1p", "down"], check=True)
        failed = {
            (echo.source, echo.target.node)
            for echo in lab.ping(timeout=0.2)
            if echo.seconds is None
        }
        assert failed == {("ns1", "ns2"), ("ns2", "ns1")}


def test_ping_of_an_address_and_of_a_pair_without_a_common_network(world: World) -> None:
    """To the gateway; to an address where nobody is."""
    with bascule.Lab.load(SEED) as lab:
        (echo,) = lab.ping("ns1", "172.16.1.254")
        assert echo.seconds is not None
        (nobody,) = lab.ping("ns1", "172.16.9.9", timeout=0.2)
        assert nobody.seconds is None
        with pytest.raises(bascule.NotFound):
            lab.ping("ns1", "nobody")


def test_the_time_is_that_of_one_echo(world: World) -> None:
    """From when it was sent to its own answer, also where others were sent meanwhile: the answers
    come 0.7 s late here."""
    ended = threading.Event()
    with _pair() as lab:
        world.run("ip", "netns", "exec", "b", "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
        with inside("b"):
            late = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        late.settimeout(0.1)

        def answer() -> None:
            waiting: list[tuple[float, bytes, tuple[str, int]]] = []
            while not ended.is_set():
                with suppress(TimeoutError):
                    data, asker = late.recvfrom(2048)
                    echo = data[(data[0] & 15) * 4 :]
                    reply = b"\0\0\0\0" + echo[4:]
                    reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
                    waiting.append((time.monotonic() + 0.7, reply, asker))
                while waiting and waiting[0][0] < time.monotonic():
                    _when, reply, asker = waiting.pop(0)
                    late.sendto(reply, asker)

        answering = threading.Thread(target=answer)
        answering.start()
        try:
            (echo,) = lab.ping("a", "b")
        finally:
            ended.set()
            answering.join()
            late.close()
        assert echo.seconds is not None
        assert echo.seconds >= 0.7
        assert echo.lost == 0


def test_echoes_that_are_lost_are_told(world: World) -> None:
    """The first two of four."""
    with _pair() as lab:

        def drop_two() -> None:
            rules = (
                "add table ip t; delete table ip t; add table ip t; "
                "add chain ip t c { type filter hook input priority 0; }; "
                "add rule ip t c icmp type echo-request numgen inc mod 4 < 2 drop"
            )
            world.run("ip", "netns", "exec", "b", "nft", rules)

        drop_two()
        (echo,) = lab.ping("a", "b")
        assert (echo.seconds is not None, echo.lost) == (True, 2)
        drop_two()
        told = run_bascule(world, "ping", "a", "b").stdout
        assert told.endswith(", after 2 lost\n")
        drop_two()
        told = run_bascule(world, "ping").stdout
        assert told.endswith("2 pairs, 2 answered, 0 failed, 2 echoes lost\n")


@contextmanager
def _pair() -> Iterator[bascule.Lab]:
    data = {"networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"], "b": ["lan"]}}
    with bascule.Lab.from_data(data, name="pair", world="host") as lab:
        yield lab


def test_too_few_open_files_are_told_as_that(world: World) -> None:
    """And not as a right that is missing."""
    data = {"networks": {"lan": {}}, "nodes": {"n": {"count": 20, "networks": ["lan"]}}}
    with bascule.Lab.from_data(data, name="many", world="host"):
        done = world.run("sh", "-c", f"ulimit -n 24; {BASCULE} ping --lab many", check=False)
        assert done.returncode == 1
        assert done.stderr == (
            "bascule: ping: Too many open files; each node needs three open files: raise the "
            "limit (ulimit -n)\n"
        )
