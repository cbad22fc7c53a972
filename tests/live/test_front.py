"""What front ends stand on, without one: whatever the command line does, a program can do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

import bascule
from bascule import api
from bascule.engine import following
from bascule.engine.asked import Asked
from bascule.topology.model import Topology
from helpers import as_json
from helpers import bascule as command
from sandbox import World

LAB = """\
name: watched
networks: {lan: {subnet: 10.1.0.0/24}}
nodes: {a: [lan], b: [lan]}
"""
THREE = LAB.replace("b: [lan]", "b: [lan], c: [lan]")


@pytest.fixture
def lab(world: World) -> bascule.Lab:
    Path("bascule.yaml").write_text(LAB)
    return bascule.Lab.load(world="host")


def _nodes() -> set[str]:
    return set(os.listdir("/run/netns"))


def test_a_watch_from_a_program(lab: bascule.Lab) -> None:
    """Each run is an outcome; a wrong file is a problem, told once; it ends with the lab."""
    problems: list[str] = []

    def mended(text: str) -> None:
        problems.append(text)
        Path("bascule.yaml").write_text(LAB)

    watched: list[tuple[str, ...]] = []
    outcomes = lab.watch(api.Listener(problem=mended, watching=watched.append))
    assert next(outcomes).plan
    assert (_nodes(), watched) == ({"a", "b"}, [])
    Path("bascule.yaml").write_text(THREE)
    assert next(outcomes).plan
    assert (_nodes(), watched) == ({"a", "b", "c"}, [("watched",)])
    assert [node.name for node in lab.topology.nodes] == ["a", "b", "c"]
    lab.node("a").run(["ip", "link", "del", "eth0"], check=True)
    assert [change.fact.key[0] for change in next(outcomes).plan.changes][:1] == ["link"]
    Path("bascule.yaml").write_text("nodes: {a: [lan], b: 7}\n")
    next(outcomes)
    assert (_nodes(), len(problems)) == ({"a", "b"}, 1)
    assert "bascule.yaml:1:" in problems[0]
    with pytest.raises(bascule.Locked, match="is held by"):
        next(bascule.Lab.load(world="host").watch())
    lab.down()
    assert list(outcomes) == []


def test_a_watch_that_is_closed_leaves_the_lab_up(lab: bascule.Lab) -> None:
    """And holds it no longer, nor any descriptor."""
    descriptors = len(os.listdir("/proc/self/fd"))
    for _time in range(2):
        with closing(lab.watch()) as outcomes:
            next(outcomes)
    outcomes = lab.watch()
    next(outcomes)
    del outcomes
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert all(echo.seconds is not None for echo in lab.ping())
    lab.down()


def test_what_has_no_file_is_not_watched(world: World) -> None:
    """Nothing is built."""
    with pytest.raises(bascule.InputError, match="lab lab: is no file that could be watched"):
        bascule.Lab("lab", world="host").watch()
    assert api.labs() == []


def test_pauses_of_a_watch_do_not_grow_for_ever(lab: bascule.Lab) -> None:
    """Five seconds, doubled up to a minute, also after days of failures."""
    follower = following.Following(Asked(Topology("x"), source=lab.source), api.Listener())
    pauses = []
    for failures in (0, 1, 2, 3, 4, 5, 5000):
        follower._failures = failures
        pauses.append(follower._pause())
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_events_from_a_program(lab: bascule.Lab) -> None:
    """The beginning is told before the first of them, so that what is done then is among them."""
    lab.up()

    def cut(labs: tuple[str, ...]) -> None:
        assert labs == ("watched",)
        lab.node("b").run(["ip", "link", "set", "eth0", "down"], check=True)

    with closing(lab.events(api.Listener(watching=cut))) as events:
        event = next(event for event in events if event.sign == "~")
        assert (event.lab, event.kind, event.foreign) == ("watched", "veth", True)
        assert event.time.utcoffset() is not None
        jsonschema.validate(api.as_data(event), api.json_schema("events"))
        lab.down()
        assert any((event.kind, event.sign) == ("lab", "-") for event in iter(events.__next__, 0))
    with pytest.raises(bascule.InputError):
        api.events(["../x"])


def test_plans_scripts_and_pruning_from_a_program(lab: bascule.Lab) -> None:
    """Each says what the command says."""
    assert "ip netns add a" in lab.script()
    assert "brctl addbr lan" in lab.script(classic=True)
    assert "ip netns del a" in lab.script(teardown=True)
    lab.up()

    def with_another(topology: api.Topology) -> api.Topology:
        return api.edit.add_network(topology, "other", {"subnet": "10.2.0.0/24"})

    assert "+ bridge other" in api.plan_text(lab.plan(with_another))
    lab.change(with_another)
    assert {network.name for network in lab.show().networks} == {"lan", "other"}
    assert "- bridge other" in api.plan_text(lab.plan(api.edit.prune_networks))
    lab.prune()
    assert {network.name for network in lab.show().networks} == {"lan"}
    assert "- namespace a" in api.plan_text(lab.plan_down())
    lab.down()


def test_which_lab_is_meant(lab: bascule.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, its file, a node of it, the folder, the environment, or because it is alone."""
    assert api.changing_lab() == "default"
    lab.up()
    for found in (
        api.running_lab(),
        api.running_lab("./bascule.yaml"),
        api.running_lab(node="a"),
        api.changing_lab(),
        api.meant("watched")[0],
    ):
        assert found == "watched"
    assert api.meant("b") == ("watched", "b")
    assert api.meant(None) == ("watched", None)
    other = bascule.Lab.from_data({"name": "second", "nodes": {"z": None}}, world="private")
    with other:
        assert api.running_lab() == "watched"  # this folder's
        Path("bascule.yaml").unlink()
        for choose in (api.running_lab, api.changing_lab):
            with pytest.raises(bascule.NotFound, match="which lab"):
                choose()
        assert api.running_lab(node="z") == "second"
        assert api.meant("z") == ("second", "z")
        monkeypatch.setenv("BASCULE_LAB", "second")
        assert (api.running_lab(), api.changing_lab()) == ("second", "second")
    lab.down()


def test_restoring_from_a_program(lab: bascule.Lab, world: World) -> None:
    """Labs come as they are built, those that fail at the end."""
    lab.up()
    assert api.is_kept("watched") and api.missing() == []
    assert list(api.restore()) == []
    for name in ("a", "b"):
        world.run("ip", "netns", "del", name)
    for name in ("lan", "veth-a", "veth-b"):  # veths go with their namespaces, but not at once
        world.run("ip", "link", "del", name, check=False)
    shutil.rmtree("/run/bascule")
    Path("/var/lib/bascule/bad.json").write_text("{")
    os.chmod("/var/lib/bascule/bad.json", 0o600)
    assert api.missing() == ["bad", "watched"]
    good, bad = api.restore()
    assert good.name == "watched" and good.outcome is not None and good.error is None
    assert bad.name == "bad" and bad.outcome is None and isinstance(bad.error, bascule.StateError)
    with pytest.raises(bascule.NotFound, match="no lab third is kept"):
        api.restore(["third"])
    with pytest.raises(bascule.InputError):
        api.restore(wait=-1)
    Path("/var/lib/bascule/bad.json").unlink()
    assert _nodes() == {"a", "b"}
    lab.down()


COMMANDS = {
    "ls": ("ls",),
    "show": ("show", "watched"),
    "node": ("inspect", "a"),
    "nodes": ("node", "ls"),
    "network": ("network", "inspect", "lan"),
    "networks": ("network", "ls"),
    "port": ("port", "a"),
    "plan": ("plan",),
    "check": ("check",),
    "ping": ("ping",),
}


def test_what_commands_print_fits_its_schema(lab: bascule.Lab, world: World) -> None:
    """Of a lab that is whole, and of one that somebody has damaged; the API has the same."""
    lab.up()
    fits = {
        name: jsonschema.Draft202012Validator(api.json_schema(name)).validate
        for name in (*COMMANDS, "failed", "doctor")
    }
    damages: list[Callable[[], object]] = [
        lambda: None,
        lambda: world.run("ip", "link", "del", "lan"),
        lambda: world.run("ip", "netns", "del", "a"),
    ]
    for damage in damages:
        damage()
        for document, words in COMMANDS.items():
            done = command(world, *words, "--json", check=False)
            if done.returncode == 2:  # nobody pings from where nothing is
                assert words == ("ping",)
                fits["failed"](json.loads(done.stdout))
                continue
            fits[document](json.loads(done.stdout))
        assert as_json(world, "show", "watched") == api.as_data(lab.show())
    done = command(world, "doctor", "--json", check=False)
    fits["doctor"](json.loads(done.stdout))
    schema = command(world, "schema", "show").stdout
    assert schema.startswith('{\n  "$schema"') and "LabView" in schema
    lab.down()
