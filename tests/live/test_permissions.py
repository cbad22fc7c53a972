"""A careful administrator's umask: what a lab makes has the modes that it needs all the same, and
gets them back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import worlds
from bascule.host import process
from bascule.kernel.program import DNSMASQ, Instance
from bascule.plan import render
from bascule.state import store
from faults import Fault, attempt
from questions import NOERROR, NXDOMAIN, ask, soon
from sandbox import NOBODY, World, require, started_by_root

LAB: dict[str, Any] = {
    "name": "careful",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dns": True, "dhcp": True, "ra": True}
    },
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
FIRST: dict[str, Any] = {"name": "first", "nodes": {"z": ["zlan"]}}
FULL = os.environ.get("CRASH") == "full"
PLACES = ("/run/bascule", "/run/netns", "/etc/netns", "/run/etc-netns", "/var/lib/bascule")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """What is made in the block is made under this umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _modes() -> dict[str, int]:
    found = {}
    for top in PLACES:
        for place, folders, names in os.walk(top):
            for path in (place, *(f"{place}/{name}" for name in (*folders, *names))):
                found[path] = stat.S_IMODE(os.lstat(path).st_mode)
    return {
        path: mode for path, mode in found.items() if not path.endswith((".pid", "lock", ".claims"))
    }


def _needed() -> dict[str, int]:
    """The modes of what somebody else than root has to read or to go through."""
    return {
        path: mode for path, mode in _modes().items() if not path.startswith("/var/lib/bascule")
    }


def _answers(node: str) -> None:
    soon(lambda: ask(node, "10.1.0.1", "b") == (NOERROR, {"10.1.0.3"}))


def _everybody_reads(lab: Lab, kind: str) -> bool:
    """Whether a program that is not root sees the node's names."""
    if kind == "private" or not started_by_root():
        return "10.1.0.3" in lab.node("a").run(["cat", "/etc/hosts"], capture_output=True).stdout
    argv = [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "cat",
        "/etc/hosts",
    ]
    return "10.1.0.3" in lab.node("a").run(argv, capture_output=True).stdout


@pytest.mark.parametrize("mask", [0o027, 0o077, 0o777], ids=oct)
@pytest.mark.parametrize("kind", ["host", "private"])
def test_the_umask_changes_nothing(world: World, kind: str, mask: int) -> None:
    """Each file and folder has the mode that it has under 022, also what another lab was the first
    to make; names are answered, and read by everybody."""
    require("dnsmasq", "nft")
    labs = [Lab.from_data(data, world=kind) for data in (FIRST, LAB)]

    def looked_at() -> dict[str, int]:
        world = worlds.existing(store.load("careful"))
        assert world is not None
        return {**_modes(), **{f"inside {path}": mode for path, mode in world.call(_modes).items()}}

    with umask(0o022):
        for lab in labs:
            lab.up()
        expected = looked_at()
        for lab in labs:
            lab.down()
    with umask(mask):
        for lab in labs:
            lab.up()
        assert looked_at() == expected
        require("dig")
        assert (
            labs[1]
            .node("a")
            .run(["dig", "+short", "@10.1.0.1", "b.lan"], capture_output=True)
            .stdout
            == "10.1.0.3\n"
        )
        assert _everybody_reads(labs[1], kind)
        assert not labs[1].plan()
        for lab in labs:
            lab.down()


DAMAGE = {
    "the state directory": ("/run/bascule", 0o700),
    "the lab's folder": ("/run/bascule/careful", 0o700),
    "the servers' folder": ("/run/bascule/careful/dns", 0o700),
    "names that only root reads": ("/run/bascule/careful/dns/out/hosts", 0o600),
    "names that everybody writes": ("/run/bascule/careful/etc/lan/hosts", 0o666),
    "a view that everybody writes": ("/run/bascule/careful/etc/lan", 0o777),
    "resolv.conf": ("/run/bascule/careful/etc/lan/resolv.conf", 0o600),
    "the folder of links": ("/etc/netns", 0o700),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_wrong_modes_are_seen_and_put_right(world: World, damage: str) -> None:
    """The plan says what is wrong, `up` mends it, and a name server that could not read what it
    serves is started anew."""
    require("dnsmasq", "nft")
    path, mode = DAMAGE[damage]
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    before = _modes()
    os.chmod(path, mode)
    told = render.text(lab.plan())
    assert f"of {path}  (is {mode:o})" in told
    assert ("can't read its files" in told) == any(
        f"{path}/".startswith(f"{each}/") for each in _read_by_servers(path)
    )
    lab.up()
    assert _modes() == before
    assert not lab.plan()
    _answers("a")
    assert _everybody_reads(lab, "host")
    lab.down()


def _read_by_servers(path: str) -> list[str]:
    served = "/run/bascule/careful/dns"
    return [path] if path.startswith(served) or f"{served}/".startswith(f"{path}/") else []


def test_a_deaf_server_hears_again(world: World) -> None:
    """One that was started where it could read nothing answers after `up`; and the machine is as
    before after `down`."""
    if not started_by_root():
        pytest.skip("needs two user ids")
    require("dnsmasq", "nft")
    before = machine.state()
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    config = next(path for path in Path("/run/bascule/careful/dns").glob("out-*.conf"))
    os.chmod("/run/bascule/careful/dns/out", 0o700)
    process.start(Instance(DNSMASQ, "/run/bascule/careful/dns/out"), (f"--conf-file={config}",))
    assert ask("a", "10.1.0.1", "b") == (NXDOMAIN, set())
    lab.up()
    _answers("a")
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_killed_before_the_mode_was_set(world: World) -> None:
    """Under a strict umask a folder is made and then given its mode: who is killed in between
    leaves one that `up` mends."""
    require("dnsmasq", "nft")

    def up() -> None:
        with umask(0o077):
            Lab.from_data(LAB, world="host").up()

    whole = attempt(up, Fault(1 << 30, "kill"))
    assert whole.how == "done", whole
    right = _needed()
    Lab("careful").down()
    points = [number for number, name in enumerate(whole.names) if name == "chmod"]
    assert len(points) >= 8
    for at in points if FULL else points[:: len(points) // 3]:
        assert attempt(up, Fault(at, "kill")).how == "killed"
        up()
        assert _needed() == right, at
        assert not Lab.from_data(LAB, world="host").plan()
        _answers("a")
        Lab("careful").down()


def test_a_state_directory_that_not_even_its_owner_may_use(world: World) -> None:
    """What a umask of 0777 leaves of a run that was killed."""
    os.mkdir("/run/bascule")
    os.chmod("/run/bascule", 0)
    lab = Lab.from_data(FIRST, world="host")
    lab.up()
    assert stat.S_IMODE(os.stat("/run/bascule").st_mode) == 0o711
    lab.down()


def test_the_gate_s_modes(tmp_path: Path) -> None:
    """mkdir(2) and open(2) of the gate: also a file that is there already."""
    with umask(0o777):
        syscalls.mkdir(str(tmp_path / "folder"), 0o711)
        os.close(syscalls.create(str(tmp_path / "file"), os.O_WRONLY, 0o644))
        os.close(syscalls.create(str(tmp_path / "secret"), os.O_WRONLY, 0o600))
        os.close(syscalls.create(str(tmp_path / "file"), os.O_WRONLY, 0o640))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"folder": 0o711, "file": 0o640, "secret": 0o600}
