"""Pairs that the lab means not to reach each other: silence is right, and an answer is a hole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bascule as package
from bascule.engine.pairs import all_pairs
from bascule.topology.addressing import assign
from bascule.topology.load import from_data
from helpers import bascule
from sandbox import World

LAB = """\
name: meant
networks:
  apart: {subnet: [10.1.0.0/24, "fd00:1::/64"], icc: false}
  lan: {subnet: 10.2.0.0/24}
  dmz: {subnet: 10.3.0.0/24, reach: lan}
nodes:
  a: [apart]
  b: [apart]
  c: [lan]
  d: [dmz]
"""


def _pinged(world: World) -> list[dict[str, Any]]:
    """What `ping --json` tells."""
    told: list[dict[str, Any]] = json.loads(
        bascule(world, "ping", "--timeout", "0.4", "--json", check=False).stdout
    )
    return told


def test_pairs_as_the_lab_says(world: World) -> None:
    """What is apart gets no answer, and that is right; what one way may be opened gets one, and not
    the other way round."""
    Path("meant.yaml").write_text(LAB)
    bascule(world, "up", "meant.yaml")
    done = bascule(world, "ping", "--timeout", "0.4")
    assert done.stdout.splitlines()[-1] == "14 pairs, 1 answered, 13 not meant to, 0 failed"
    assert "- not meant to, as icc is false on apart: 4 pairs" in done.stdout
    assert "- not meant to, as lan does not reach dmz: 1 pair\n" in done.stdout
    found = {(row["from"], row["to"]): row for row in _pinged(world)}
    assert (found["d", "c"]["meant"], found["d", "c"]["why"]) == (True, "")
    assert (found["a", "b"]["meant"], found["a", "b"]["milliseconds"]) == (False, None)
    assert found["a", "b"]["why"] == "not meant to, as icc is false on apart"
    assert not any(row["failed"] for row in found.values())
    told = bascule(
        world, "ping", "a", "b", "--timeout", "0.4", check=False
    )  # who asks for one wants that answer
    assert told.returncode == 1
    assert "no answer; not meant to, as icc is false on apart\n" in told.stdout
    assert bascule(world, "ping", "a", "--timeout", "0.4").returncode == 0
    bascule(world, "down", "meant")


def test_a_hole_is_found(world: World) -> None:
    """Made by hand into each kind of wall: the pairs that are answered, and they alone, failed."""
    Path("meant.yaml").write_text(LAB)
    bascule(world, "up", "meant.yaml")
    for port in ("veth-a", "veth-b"):
        world.run("bridge", "link", "set", "dev", port, "isolated", "off")
    # where frames within a bridge pass rules, these drop them, too
    world.run("nft", "flush", "ruleset")
    done = bascule(world, "ping", "--timeout", "0.4", check=False)
    assert done.returncode == 1
    assert "OPEN" in done.stdout
    failed = [row for row in _pinged(world) if row["failed"]]
    assert {("a", "b"), ("b", "a"), ("c", "d")} <= {(row["from"], row["to"]) for row in failed}
    assert all(row["milliseconds"] is not None and not row["meant"] for row in failed)
    line = next(line for line in done.stdout.splitlines() if line.startswith("a -> b 10.1.0.3"))
    assert line.endswith(" ms, and is not meant to, as icc is false on apart")
    bascule(world, "up", "meant.yaml")
    assert bascule(world, "ping", "--timeout", "0.4").returncode == 0
    bascule(world, "down", "meant")


def test_the_rules_of_who_is_meant() -> None:
    """By the topology alone."""

    def barred(networks: dict[str, object], nodes: dict[str, object]) -> dict[tuple[str, str], str]:
        lab = assign(from_data({"networks": networks, "nodes": nodes}))
        return {(each.source, each.target.node): each.barred for each in all_pairs(lab, True)}

    one, two = {"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}
    apart = {**one, "icc": False}
    # a network where they may speak counts before one where they may not
    both = {"a": ["one", "two"], "b": ["one", "two"]}
    assert set(barred({"one": apart, "two": two}, both).values()) == {""}
    assert barred({"one": apart, "two": two}, {"a": ["one"], "b": ["two"]}) == {
        ("a", "b"): "one does not reach two",
        ("b", "a"): "two does not reach one",
    }
    assert barred({"one": {**one, "internal": True}, "two": two}, {"a": ["one"], "b": ["two"]}) == {
        ("a", "b"): "one is internal",
        ("b", "a"): "one is internal",
    }
    # there routers may lead, and what they learn nobody knows: nothing is said of these
    alone = {"one": {**one, "gateway": "none"}, "two": two}
    assert barred(alone, {"a": ["one"], "b": ["two"]}) == {}
    router = {"networks": ["one", "two"], "sysctls": {"net.ipv4.ip_forward": 1}}
    nodes = {"r": router, "a": ["one"], "b": ["two"]}
    assert ("a", "b") not in barred({"one": one, "two": two}, nodes)
    # a router of the lab may lead from one to the other: nothing is said of those with own routes
    led = {"networks": ["one"], "routes": ["10.2.0.0/24 via 10.1.0.9"]}
    nodes = {"r": {"networks": {"one": {"address": "10.1.0.9"}, "two": {}}}, "a": led, "b": ["two"]}
    assert ("a", "b") not in barred({"one": one, "two": two}, nodes)
    assert ("b", "a") not in barred({"one": one, "two": two}, nodes)
    # who answers by another network than the one that was asked on
    many = {"one": {**one, "reach": ["two"]}, "two": two, "way": {"subnet": "10.3.0.0/24"}}
    assert ("a", "b") not in barred(many, {"a": ["one"], "b": ["way", "two"]})
    assert barred(many, {"a": ["one"], "b": ["two"]})["a", "b"] == ""


def test_that_a_large_lab_is_sampled() -> None:
    """Each port is tried, and each network with each other one, and not every pair."""
    networks = {
        "one": {"subnet": "10.1.0.0/24", "icc": False},
        "two": {"subnet": "10.2.0.0/24", "icc": False},
    }
    nodes = {"a": {"count": 40, "networks": ["one"]}, "b": {"count": 40, "networks": ["two"]}}
    lab = assign(from_data({"networks": networks, "nodes": nodes}))
    near, pairs = all_pairs(lab), all_pairs(lab, True)
    assert {pair.source for pair in near} == {node.name for node in lab.nodes}
    assert len(near) < 4 * 40 + 4
    assert {pair.barred for pair in pairs} - {pair.barred for pair in near} == {
        "one does not reach two",
        "two does not reach one",
    }
    assert len(pairs) == len(near) + 2


def test_from_a_program(world: World) -> None:
    """Those that share a network, unless strangers are asked for."""
    Path("meant.yaml").write_text(LAB)
    with package.Lab.load("meant.yaml", world="host") as lab:
        found = lab.ping(timeout=0.2)
        assert {(echo.source, echo.target.node) for echo in found} == {("a", "b"), ("b", "a")}
        assert all(echo.barred and echo.seconds is None and not echo.failed for echo in found)
        (open_one,) = [e for e in lab.ping(timeout=0.2, strangers=True) if not e.barred]
        assert (open_one.source, open_one.target.node, open_one.failed) == ("d", "c", False)
