"""Many hands at once: commands on one lab and on several, and others who change the network
meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.engine import look, work
from bascule.errors import BasculeError, Conflict, InputError, NotFound, WorldError
from bascule.host import namespaces
from bascule.topology import edit
from bascule.topology.model import Attachment
from sandbox import World

FULL = os.environ.get("CRASH") == "full"
PROCESSES = 32
OPERATIONS = 2000 if FULL else 192
PATIENCE = 60.0  # no single operation may wait longer, with 32 in the queue
LABS = ("first", "second", "third")
EXTRA = "x0"


def _data(name: str) -> dict[str, Any]:
    number = 100 + LABS.index(name)
    return {
        "name": name,
        "networks": {
            f"b{number}": {"subnet": f"10.{number}.0.0/24"},
            f"{EXTRA}{number}": {"subnet": f"10.{number}.1.0/24"},
        },
        "nodes": {f"{name}{node}": {"networks": [f"b{number}"]} for node in range(3)},
    }


def _extra(name: str) -> str:
    return f"{EXTRA}{100 + LABS.index(name)}"


def _one(verb: str, name: str, node: str, kind: str) -> None:
    """One operation, as a command would do it."""
    lab = Lab.from_data(_data(name), world=kind)
    handle = Lab(name, world=kind)
    verbs: dict[str, Callable[[], object]] = {
        "up": lab.up,
        "down": handle.down,
        "connect": lambda: handle.change(
            lambda now: edit.connect(now, node, Attachment(_extra(name)))
        ),
        "disconnect": lambda: handle.change(lambda now: edit.disconnect(now, node, _extra(name))),
        "exec": lambda: handle.node(node).run(["true"]),
        "ls": look.labs,
        "plan": lab.plan,
        "show": lambda: look.show(name),
    }
    verbs[verb]()


# What may be answered to whom comes too late or too early. Everything else is a fault of ours.
FAIR = {
    "connect": (InputError,),
    "disconnect": (InputError,),
    "exec": (NotFound, WorldError),
    "show": (NotFound, WorldError),
    "plan": (WorldError,),
}
VERBS = ("up", "up", "down", "connect", "disconnect", "exec", "ls", "plan", "show")


def _process(number: int, kind: str, operations: int, place: Path) -> None:
    """One of many: carries out its share, and writes down what was not fair and how long it
    took."""
    chance = random.Random(number)
    wrong: list[str] = []
    done: Counter[str] = Counter()
    longest = 0.0
    for _ in range(operations):
        verb, name = chance.choice(VERBS), LABS[0] if chance.random() < 0.6 else chance.choice(LABS)
        start = time.monotonic()
        try:
            _one(verb, name, f"{name}{chance.randrange(3)}", kind)
            done[verb] += 1
        except FAIR.get(verb, ()):
            done[f"{verb}, refused"] += 1
        except Exception:
            wrong.append(f"{verb} {name}: {traceback.format_exc()[-1500:]}")
        longest = max(longest, time.monotonic() - start)
    place.write_text(json.dumps({"wrong": wrong, "done": done, "longest": longest}))


def _together(jobs: list[Callable[[], None]], seconds: float) -> None:
    """All at once, each in a process of its own. Raises AssertionError where one does not come
    back."""
    children = []
    for job in jobs:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                job()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    deadline = time.monotonic() + seconds
    late, codes = [], []
    for child in children:
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        if ended[0] == 0:
            late.append(child)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:
            codes.append(os.waitstatus_to_exitcode(ended[1]))
    assert not late, f"{len(late)} of {len(jobs)} did not come back in {seconds:.0f} s"
    assert not any(codes), codes


@pytest.mark.parametrize("kind", ["host", "private"])
def test_thirty_two_at_once(
    world: World, kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """No operation fails for a reason that is not its own, none waits for ever; at the end each lab
    is what its record says."""
    before = machine.state()
    share = OPERATIONS // PROCESSES
    jobs = [
        lambda number=number: _process(number, kind, share, tmp_path / str(number))
        for number in range(PROCESSES)
    ]
    _together(jobs, 600 if FULL else 120)
    said = [json.loads((tmp_path / str(number)).read_text()) for number in range(PROCESSES)]
    assert [text for each in said for text in each["wrong"]] == []
    assert max(each["longest"] for each in said) < PATIENCE
    for info in look.labs():
        assert info.state == "up"
        lab = Lab.attach(info.name)
        assert not lab.plan(), info
        given = [
            address
            for node in look.show(info.name).nodes
            for item in node.interfaces
            for address in item.addresses
        ]
        assert len(given) == len({ip_interface(text).ip for text in given})
        lab.down()
    record_property("racing operations", sum(sum(each["done"].values()) for each in said))
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("kind", ["host", "private"])
def test_no_update_is_lost(world: World, kind: str) -> None:
    """Thirty-two add a node each to one lab, at once: all are there, each with an address of its
    own."""
    lab = Lab.from_data(
        {"name": "shared", "networks": {"lan": {"subnet": "10.9.0.0/24"}}}, world=kind
    )
    lab.up()

    def add(number: int) -> Callable[[], None]:
        def job() -> None:
            Lab("shared").change(
                lambda now: edit.add_node_data(now, f"n{number}", {"networks": ["lan"]})
            )

        return job

    _together([add(number) for number in range(PROCESSES)], 120)
    shown = look.show("shared").nodes
    addresses = {
        address for node in shown for item in node.interfaces for address in item.addresses
    }
    assert {node.name for node in shown} == {f"n{number}" for number in range(PROCESSES)}
    assert len(addresses) == PROCESSES
    assert not Lab.attach("shared").plan()
    Lab("shared").down()


CLASHES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "bridge": (
        {"networks": {"br": {"subnet": "10.1.0.0/24"}}},
        {"networks": {"br": {"subnet": "10.2.0.0/24"}}},
        "link br belongs",
    ),
    "subnet": (
        {"networks": {"a": {"subnet": "10.1.0.0/16"}}},
        {"networks": {"b": {"subnet": "10.1.2.0/24"}}},
        "overlaps",
    ),
    "node": ({"nodes": {"n": {}}}, {"nodes": {"n": {}}}, "namespace n belongs"),
    "host port": (
        {
            "networks": {"a": {"subnet": "10.1.0.0/24"}},
            "nodes": {"n": {"networks": ["a"], "ports": ["8080:80"]}},
        },
        {
            "networks": {"b": {"subnet": "10.2.0.0/24"}},
            "nodes": {"m": {"networks": ["b"], "ports": ["8080:81"]}},
        },
        "is published by lab",
    ),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_two_labs_want_the_same(world: World, clash: str, tmp_path: Path) -> None:
    """Whichever comes second is told who has it, before it has touched anything; tried ten times at
    once."""
    one, two, words = CLASHES[clash]
    before = machine.state()
    for _ in range(10):

        def job(name: str, data: dict[str, Any]) -> Callable[[], None]:
            def up() -> None:
                try:
                    Lab.from_data({"name": name, **data}, world="host").up()
                    (tmp_path / name).write_text("up")
                except Conflict as error:
                    (tmp_path / name).write_text(str(error))

            return up

        _together([job("one", one), job("two", two)], 60)
        answers = {(tmp_path / "one").read_text(), (tmp_path / "two").read_text()} - {"up"}
        assert len(answers) == 1
        assert words in answers.pop()
        assert len(look.labs()) == 1
        for name in ("one", "two"):
            Lab(name).down()
        assert machine.difference(before, machine.state()) == ""


def _foreign_hands(enough: str, nodes: list[str], links: list[str]) -> None:
    chance = random.Random(1)
    while not os.path.exists(enough):
        chance.choice(
            [
                lambda: subprocess.run(
                    ["ip", "link", "del", chance.choice(links)],
                    stderr=subprocess.DEVNULL,
                    check=False,
                ),
                lambda: subprocess.run(
                    ["ip", "netns", "del", chance.choice(nodes)],
                    stderr=subprocess.DEVNULL,
                    check=False,
                ),
                lambda: subprocess.run(["nft", "flush", "ruleset"], check=False),
                lambda: subprocess.run(
                    ["ip", "addr", "flush", "dev", "b100"], stderr=subprocess.DEVNULL, check=False
                ),
            ]
        )()


def test_foreign_hands(world: World) -> None:
    """While somebody deletes links, namespaces and rules, `up` says so and nothing worse; when they
    stop, it converges."""
    empty = machine.state()
    lab = Lab.from_data(_data("first"), world="host")
    lab.up()
    clean = machine.state(False)
    enough = "/run/enough"
    nodes = [node.name for node in look.show("first").nodes]
    links = [
        port
        for network in look.show("first").networks
        for port in (network.name, *network.bridge_ports)
    ]
    hands = os.fork()
    if hands == 0:
        try:
            _foreign_hands(enough, nodes, links)
        except BaseException:
            os._exit(1)
        os._exit(0)
    try:
        for _try in range(150 if FULL else 20):
            with suppress(BasculeError):
                lab.up()
                look.show("first")
    finally:
        Path(enough).touch()
        assert os.waitpid(hands, 0)[1] == 0
    os.unlink(enough)
    lab.up()
    _converges(lab, clean, empty)


def test_a_namespace_that_goes_between_two_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put back at the end of the same run is the lab's own, like what was made at its
    beginning."""
    empty = machine.state()
    data = _data("first")
    Lab.from_data(data, world="host").up()
    changed = {
        **data,
        "networks": {name: {**network, "mtu": 1400} for name, network in data["networks"].items()},
    }
    settle = work.Work._settle

    def late(*arguments: Any) -> None:
        world.run("ip", "netns", "del", "first0")
        settle(*arguments)

    monkeypatch.setattr(work.Work, "_settle", late)
    lab = Lab.from_data(changed, world="host")
    lab.up()
    monkeypatch.undo()
    assert not lab.plan()
    lab.down()
    assert machine.difference(empty, machine.state()) == ""


BETWEEN: dict[str, list[tuple[str, ...]]] = {
    "a namespace dies": [("ip", "netns", "del", "first0")],
    "the bridge goes": [("ip", "link", "del", "b100")],
    "the bridge is another": [
        ("ip", "link", "del", "b100"),
        ("ip", "link", "add", "b100", "type", "bridge"),
    ],
    "the next name is another link's": [("ip", "link", "add", "veth-late", "type", "bridge")],
}


@pytest.mark.parametrize("what", BETWEEN)
def test_what_is_done_between_the_look_and_the_change(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in what the file says, or in an error; then `up` finishes, and what others made stays
    as they made it."""
    data = _data("first")
    data["networks"] = {
        name: {**network, "mtu": 1400} for name, network in data["networks"].items()
    }
    changed = {**data, "nodes": {**data["nodes"], "late": {"networks": ["b100"]}}}
    lab = Lab.from_data(changed, world="host")
    lab.up()
    clean = machine.state(False)
    lab.down()
    empty = machine.state()
    Lab.from_data(_data("first"), world="host").up()
    carry_out = work.Work._carry_out
    commands = iter(BETWEEN[what])

    def late(*arguments: Any) -> object:
        for command in commands:  # once
            world.run(*command)
        return carry_out(*arguments)

    monkeypatch.setattr(work.Work, "_carry_out", late)
    with suppress(BasculeError):
        lab.up()
    monkeypatch.undo()
    assert next(commands, None) is None
    if "add" in BETWEEN[what][-1]:
        name = BETWEEN[what][-1][3]
        with pytest.raises(Conflict, match=f"{name} .*bascule did not make it"):
            lab.up()
        theirs = world.run("ip", "-d", "link", "show", name).stdout
        assert "master" not in theirs
        assert "DOWN" in theirs
        assert world.run("ip", "-o", "address", "show", "dev", name).stdout == ""
        world.run("ip", "link", "del", name)
    _converges(lab, clean, empty)


def test_a_pin_without_its_mount_is_not_held_open(world: World) -> None:
    """An open file in /run/netns would keep `down` from unmounting it."""
    lab = Lab.from_data(_data("first"), world="host")
    lab.up()
    world.run("umount", "/run/netns/first0")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotFound):
        lab.ping("first0", "first1")
    assert namespaces.enter_pin("first0") is None
    assert len(os.listdir("/proc/self/fd")) == before
    lab.down()
    assert not os.path.exists("/run/netns")


def _converges(lab: Lab, clean: machine.State, empty: machine.State) -> None:
    """`up` leads to the state of an undisturbed one, `down` to the one before."""
    _wait_for_the_dead()
    lab.up()
    assert machine.difference(clean, machine.state(False)) == ""
    assert not lab.plan()
    lab.down()
    assert machine.difference(empty, machine.state()) == ""


def _wait_for_the_dead() -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        links = machine.links()[""].values()
        if all(link.get("peer") != "elsewhere" for link in links):
            return
        time.sleep(0.01)


def test_a_keeper_s_number_that_is_somebody_else_s(world: World) -> None:
    """The keeper has ended and another process has its number: it is neither joined nor killed, and
    the lab counts as lost."""
    lab = Lab.from_data(_data("first"), world="private")
    lab.up()
    place = Path("/run/bascule/first/lab.json")
    record = json.loads(place.read_text())
    lab.down()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        os.makedirs(place.parent, 0o700)
        os.chmod("/run/bascule", 0o700)
        record["keeper"]["pid"] = stranger.pid
        place.write_text(json.dumps(record))
        assert look.labs()[0].state == "lost"
        with pytest.raises(NotFound):
            look.show("first")
        lab.up()
        assert lab.node("first0").run(["true"]).returncode == 0
        lab.down()
        assert stranger.poll() is None
        stranger.kill()
