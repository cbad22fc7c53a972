"""Under profiles of AppArmor that are in force: the one that Debian ships for passt, and the one
that its package apparmor-profiles has for dnsmasq. Loading a profile changes the machine: ``make
test-apparmor`` does it on one of its own."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from bascule.errors import InputError
from bascule.host import process
from bascule.kernel.program import DNSMASQ, PASTA, Program
from helpers import bascule
from questions import NOERROR, ask
from sandbox import BASCULE, World, require, started_by_root
from traffic import Outside

PROFILE = Path("/etc/apparmor.d/usr.sbin.dnsmasq")
SERVE = """\
import http.server
server = http.server.HTTPServer(("10.1.0.2", 80), http.server.SimpleHTTPRequestHandler)
print("ready", flush=True)
server.serve_forever()
"""
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).status)"


def _lab(kind: str, **network: object) -> Lab:
    data: dict[str, Any] = {
        "name": "confined",
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, **network}},
        "nodes": {"a": {"networks": ["lan"], "ports": ["8080:80"]}, "b": ["lan"]},
    }
    return Lab.from_data(data, world=kind)


def _confinement(pid: int | str) -> str:
    """The profile and its mode."""
    try:
        return Path(f"/proc/{pid}/attr/current").read_text().strip("\0\n")
    except OSError:  # no such security module; a process that has ended
        return ""


def _in_force(program: Program) -> bool:
    """Whether this program is confined here. It is started, with nobody who reads what it says, and
    looked at while it waits for that: exec(2) gives it the profile late."""
    found = process.path_of(program)
    assert found is not None
    reading, writing = os.pipe()
    os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)))
    with subprocess.Popen([found, "--help"], stdout=writing, stderr=writing) as waiting:
        while Path(f"/proc/{waiting.pid}/stat").read_text().rpartition(") ")[2][0] not in "SZ":
            time.sleep(0.01)
        said = _confinement(waiting.pid)
        waiting.kill()
    os.close(reading)
    os.close(writing)
    return said.endswith(" (enforce)")


def _needs(program: Program) -> None:
    require(program.name)
    if not _in_force(program):
        pytest.skip(f"AppArmor does not confine {program.name} here; `make test-apparmor`")


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    """A machine with a router, and another machine behind it."""
    require("nft")
    with Outside(world, there=("192.0.2.2", "192.0.2.22", "2001:db8::2")) as made:
        world.run("ip", "route", "add", "default", "via", "192.0.2.2")
        # a new namespace lets nobody ping without privileges; systemd lets everybody
        world.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 0")
        yield made


def _doctor(world: World) -> Iterator[str]:
    """What it tells root, and somebody else."""
    yield bascule(world, "doctor", check=False).stdout
    yield world.as_ordinary_user(BASCULE, "doctor", check=False).stdout


@contextmanager
def _serving(lab: Lab) -> Iterator[None]:
    """A web server in node a."""
    server = lab.node("a").popen(["python3", "-c", SERVE], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_the_way_out_and_a_published_port(outside: Outside, world: World) -> None:
    """pasta does its work within the profile: a ping out, and a page through the port, for the
    machine and for others."""
    _needs(PASTA)
    with _lab("private") as lab:
        assert not lab.plan()
        own = {entry for entry in os.listdir("/proc") if entry.isdigit()}
        assert "passt (enforce)" in map(_confinement, own)
        lab.node("b").run(["ping", "-c1", "-W9", "192.0.2.22"], check=True, capture_output=True)
        fetch = ("python3", "-c", FETCH)
        with _serving(lab):
            assert world.run(*fetch, "http://127.0.0.1:8080/").stdout == "200\n"
            elsewhere = ("ip", "netns", "exec", outside.name)
            assert world.run(*elsewhere, *fetch, "http://192.0.2.1:8080/").stdout == "200\n"
    for told in _doctor(world):
        assert re.search("ok +pasta: .*tried", told)


@pytest.fixture
def alone() -> Iterator[None]:
    """A profile is the whole machine's: no other test changes it meanwhile."""
    with open(__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.usefixtures("alone")
def test_a_name_server_that_may_not_read(outside: Outside, world: World, kind: str) -> None:
    """The lab is up without one, nodes have each other's names by /etc/hosts; `plan` and `doctor`
    say why, and what helps. A lab that asks for a name server is refused."""
    _needs(DNSMASQ)
    with _lab(kind) as lab:
        assert [note for note in lab.plan().notes if DNSMASQ.unreadable in note]
        lab.node("a").run(["ping", "-c1", "-W9", "b"], check=True, capture_output=True)
    with pytest.raises(InputError, match="`dns` needs dnsmasq, and AppArmor's profile"):
        _lab(kind, dns=True).up()
    for told in _doctor(world):
        assert "AppArmor's profile for dnsmasq" in told
        assert "apparmor_parser -r" in told


@pytest.fixture
def advised(alone: None, tmp_path: Path) -> Iterator[None]:
    """The profile with the lines that we advise, in force. On a machine that is made for it."""
    if os.environ.get("BASCULE_TEST_PROFILES") != "1" or not started_by_root():
        pytest.skip("loads a profile of AppArmor; `make test-apparmor`")
    _needs(DNSMASQ)
    lines = re.findall("`(/[^`]+,)`", DNSMASQ.unreadable)
    assert len(lines) == 2
    text, end = PROFILE.read_text(), "include if exists <local/usr.sbin.dnsmasq>\n}"
    assert end in text
    more = tmp_path / "more"
    more.write_text(text.replace(end, "\n".join((*lines, "}"))))
    subprocess.run(["mount", "-t", "securityfs", "none", "/sys/kernel/security"], check=True)
    subprocess.run(["apparmor_parser", "--replace", more], check=True)
    yield
    subprocess.run(["apparmor_parser", "--replace", PROFILE], check=True)


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.usefixtures("advised")
def test_the_advised_lines_are_enough(outside: Outside, world: World, kind: str) -> None:
    """With them name servers and leases work, and go with the lab."""
    assert _in_force(DNSMASQ)
    with _lab(kind, dns=True, dhcp=True) as lab:
        assert not lab.plan()
        assert not [note for note in lab.plan().notes if "AppArmor" in note]
        if kind == "host":
            assert ask("a", "10.1.0.1", "b") == (NOERROR, {"10.1.0.3"})
        dig = ["dig", "+short", "+tries=2", "+time=5", "@10.1.0.1", "b.lan"]
        assert lab.node("a").run(dig, capture_output=True).stdout == "10.1.0.3\n"
        assert "dnsmasq (enforce)" in map(_confinement, filter(str.isdigit, os.listdir("/proc")))
