"""A namespace of another program as a node: known by what it is, not by its path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.engine import work
from bascule.errors import InputError, PlanFailed, TopologyError
from bascule.kernel.op import Indexes
from helpers import bascule
from sandbox import BASCULE, World

HOSTS = "is the machine's own network namespace; write `network_mode: host`, without networks"


def _lab(name: str = "lab", **nodes: str) -> Lab:
    """Nodes by the path that they are to be; an empty one is made."""
    number = 3 if name == "other" else 2
    data: dict[str, Any] = {
        "name": name,
        "networks": {f"{name}br": {"subnet": [f"10.{number}.0.0/24", f"fd00:{number}::/64"]}},
    }
    data["nodes"] = {
        node: {"networks": [f"{name}br"], **({"netns": path} if path else {})}
        for node, path in nodes.items()
    }
    return Lab.from_data(data, world="host")


@pytest.fixture
def resident(world: World) -> Iterator[int]:
    """A process of this machine."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _paths(world: World, resident: int) -> Iterator[str]:
    """Of this machine's own network namespace."""
    yield f"/proc/{resident}/ns/net"
    yield f"/proc/{resident}/task/{resident}/ns/net"
    yield f"/proc/{os.getpid()}/ns/net"
    Path("bound").touch()
    world.run("mount", "--bind", f"/proc/{resident}/ns/net", "bound")
    yield os.path.abspath("bound")
    os.symlink(f"/proc/{resident}/ns/net", "link")
    yield os.path.abspath("link")
    world.run("ip", "netns", "attach", "self", str(resident))
    yield "/run/netns/self"


def test_the_machine_itself_by_any_path_is_refused(world: World, resident: int) -> None:
    """Before anything is touched: it would get a default route that leads nowhere."""
    paths = list(_paths(world, resident))
    before = machine.state()
    for path in paths:
        lab = _lab(box=path, b="")
        for call in (lab.plan, lab.up):
            with pytest.raises(InputError) as caught:
                call()
            assert str(caught.value) == f"node box: {path} {HOSTS}"
    done = bascule(world, "node", "add", "box", "--netns", paths[0], "--world", "host", check=False)
    assert (done.returncode, HOSTS in done.stderr) == (2, True)
    assert machine.difference(before, machine.state()) == ""
    world.run("ip", "netns", "del", "self")
    world.run("umount", "bound")


def _with_a_stranger(world: World) -> None:
    """A namespace with an interface of another bascule's first lab, where /run is another."""
    world.run("ip", "netns", "add", "theirs")
    index = str(Indexes(0).range.start + 1)
    peer = ("peer", "name", "their1")
    world.run("ip", "-n", "theirs", "link", "add", "their0", "index", index, "type", "veth", *peer)


def test_what_another_bascule_made_in_a_namespace_is_not_taken_for_ours(world: World) -> None:
    """A lab that is new takes other indexes than those that it finds there."""
    _with_a_stranger(world)
    lab = _lab(box="/run/netns/theirs", b="")
    for _time in range(2):
        lab.up()
        assert not lab.plan()
    lab.down()
    links = world.ip_json("-n", "theirs", "link", "show", "type", "veth")
    assert sorted(link["ifname"] for link in links) == ["their0", "their1"]
    world.run("ip", "netns", "del", "theirs")


def test_a_namespace_with_interfaces_that_would_count_as_ours_is_refused(world: World) -> None:
    """One that has its indexes already can't take others."""
    lab = _lab(b="")
    lab.up()
    _with_a_stranger(world)
    before = machine.state()
    added = bascule(
        world, "node", "add", "box", "--netns", "/run/netns/theirs", "--lab", "lab", check=False
    )
    assert added.returncode == 2
    assert "has an interface their0 that counts as this lab's by its index" in added.stderr
    assert machine.difference(before, machine.state()) == ""
    lab.down()
    world.run("ip", "netns", "del", "theirs")


def test_the_first_network_namespace_is_the_machine_from_everywhere(
    world: World, resident: int
) -> None:
    """Also where another one plays the host."""
    lab = _lab(box=f"/proc/{resident}/ns/net")
    started = ("unshare", "--pid", "--fork", "--mount-proc", "unshare", "--net", "--", "sh", "-ec")
    Path("lab.yaml").write_text(
        "networks: {br: {}}\nnodes: {box: {netns: /proc/1/ns/net, networks: [br]}}\n"
    )
    done = world.run(
        *started, f"ip link set lo up; {BASCULE} up lab.yaml --world host", check=False
    )
    assert f"node box: /proc/1/ns/net {HOSTS}" in done.stderr
    assert lab.name not in done.stdout


def test_one_namespace_is_one_node(world: World) -> None:
    """By whatever paths: of two nodes that are the same, of a node of another lab, of a node of
    this lab."""
    for name in ("theirs", "more"):
        world.run("ip", "netns", "add", name)
    os.symlink("/run/netns", "there")
    there = os.path.abspath("there")
    with pytest.raises(
        InputError,
        match=f"^node b: {there}/theirs is the same namespace as that of node a; keep one of them$",
    ):
        _lab(a="/run/netns/theirs", b=f"{there}/theirs", c="/run/netns/more").up()
    other = _lab("other", o="", adopted="/run/netns/theirs")
    other.up()
    before = machine.state()
    for source, whose in (
        ("/run/netns/theirs", "adopted"),
        ("/run/netns/o", "o"),
        (f"{there}/adopted", "adopted"),
    ):
        with pytest.raises(
            InputError,
            match=(
                f"^node a: {source} is node {whose} of lab other; a namespace is a node of one lab$"
            ),
        ):
            _lab(a=source).up()
    assert machine.difference(before, machine.state()) == ""
    assert not other.plan()
    other.down()
    lab = _lab(a="")
    lab.up()
    with pytest.raises(
        InputError, match=f"^node b: {there}/a is node a of this lab; write its networks there$"
    ):
        _lab(a="", b=f"{there}/a").up()
    lab.down()
    for place in ("/run/netns/a", "/var/run/netns/a"):
        with pytest.raises(TopologyError, match="is a node of this lab; write its networks there"):
            _lab(a="", b=place)


def test_a_private_world_is_nobodys_node(world: World) -> None:
    """Neither the world itself nor a node in it, nor what commands in its nodes make."""
    private = Lab.from_data(
        {"name": "secret", "networks": {"n": {}}, "nodes": {"p": ["n"]}}, world="private"
    )
    private.up()
    keeper = private.record.keeper
    assert keeper is not None
    before = private.show()
    deeper = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo; exec sleep 60"]
    with (
        private.node("p").popen(["sleep", "60"]) as process,
        private.node("p").popen(deeper, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        for pid in (keeper.pid, process.pid, other.pid):
            with pytest.raises(
                InputError,
                match=f"^node a: /proc/{pid}/ns/net belongs to the private world of lab secret$",
            ):
                _lab(a=f"/proc/{pid}/ns/net").up()
        process.kill()
        other.kill()
    assert private.show() == before
    private.down()


@pytest.mark.parametrize("then", ["the machine", "nothing"])
def test_a_path_that_changes_between_the_look_and_the_change(
    world: World, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """What is opened is looked at once more: it is refused and undone."""
    world.run("ip", "netns", "add", "theirs")
    os.symlink("/run/netns/theirs", "link")
    before = machine.state()
    carry_out = work.Work._carry_out

    def late(*arguments: Any) -> object:
        os.unlink("link")
        os.symlink(f"/proc/{os.getpid()}/ns/net" if then == "the machine" else "/nowhere", "link")
        return carry_out(*arguments)

    monkeypatch.setattr(work.Work, "_carry_out", late)
    words = HOSTS if then == "the machine" else "there is no network namespace at"
    with pytest.raises(PlanFailed, match=words) as caught:
        _lab(box=os.path.abspath("link"), b="").up()
    assert not caught.value.left
    assert machine.difference(before, machine.state()) == ""


def test_a_number_that_another_process_gets(world: World, resident: int) -> None:
    """The adopted namespace goes on under its name when its process has ended; where its path leads
    to the machine then, `up` says so and touches nothing, and `down` takes away what the lab
    had."""
    world.run("ip", "netns", "add", "theirs")
    empty = machine.state()
    os.symlink("/run/netns/theirs", "link")
    lab = _lab(box=os.path.abspath("link"), b="")
    lab.up()
    before = machine.state()
    os.unlink("link")
    assert not lab.plan()
    os.symlink(f"/proc/{resident}/ns/net", "link")
    with pytest.raises(InputError, match=HOSTS):
        lab.up()
    assert machine.difference(before, machine.state()) == ""
    lab.down()
    assert machine.difference(empty, machine.state()) == ""
