"""Nothing grows: not by a thousand labs, one after the other, and not more than it must with a
large one.

`make test` looks at what can be counted exactly; `make test-crash` (CRASH=full) goes the whole way,
and weighs memory too.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from helpers import SEED
from sandbox import World

FULL = os.environ.get("CRASH") == "full"
CYCLES = {"tutorial": 1000 if FULL else 25, "hundred": 200 if FULL else 3}
SHARE = 0.02  # what may be more after the second half of the cycles than after the first


def _swarm(nodes: int, networks: int) -> dict[str, Any]:
    return {
        "name": "swarm",
        "networks": {
            f"net{number}": {"subnet": f"10.{number}.0.0/16"} for number in range(networks)
        },
        "nodes": {
            f"n{number}-": {"count": nodes // networks, "networks": [f"net{number}"]}
            for number in range(networks)
        },
    }


def _labs(kind: str) -> dict[str, Lab]:
    return {
        "tutorial": Lab.load(SEED, world=kind),
        "hundred": Lab.from_data(_swarm(100, 1), world=kind),
    }


def _counted() -> dict[str, int]:
    """What must be exactly as many as before."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(children),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "threads": len(os.listdir("/proc/self/task")),
    }


def _weighed() -> dict[str, int]:
    """What is measured: this process's memory and the kernel's that it does not give back by
    itself, in KiB."""
    gc.collect()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    slab = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return {
        "RSS": int(fields["VmRSS"].split()[0]),
        "SUnreclaim": int(slab["SUnreclaim"].split()[0]),
    }


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.parametrize("size", CYCLES)
def test_labs_come_and_go(
    world: World, kind: str, size: str, record_property: Callable[[str, object], None]
) -> None:
    """Links, namespaces, mounts, files, descriptors, processes are as many as before; memory stays
    where it was after half."""
    lab = _labs(kind)[size]
    before = machine.state()
    lab.up()
    lab.down()
    counted = _counted()
    half: dict[str, int] = {}
    for cycle in range(CYCLES[size]):
        lab.up()
        lab.down()
        if cycle == CYCLES[size] // 2:
            half = _settled()
    _reap()
    assert _counted() == counted
    assert machine.difference(before, machine.state()) == ""
    record_property(f"cycles of up and down, {size}", CYCLES[size])
    if FULL:  # a machine on which nothing else runs
        end = _settled()
        record_property(f"RSS after {CYCLES[size]} {size} {kind} in KiB", end["RSS"])
        assert all(end[name] <= half[name] * (1 + SHARE) for name in end), (half, end)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _settled() -> dict[str, int]:
    """After the kernel has freed what it frees later."""
    _reap()
    if FULL:
        time.sleep(3)
    return _weighed()


LARGE = (
    {"500 on a bridge": (500, 1), "2,000 in 20 networks": (2000, 20)}
    if FULL
    else {"200 in 4 networks": (200, 4)}
)


@pytest.mark.parametrize("size", LARGE)
def test_large_labs(
    world: World, size: str, record_property: Callable[[str, object], None]
) -> None:
    """Up, plan, ping of a sample, down; nothing is left."""
    nodes, networks = LARGE[size]
    before = machine.state()
    empty = _settled()["SUnreclaim"]
    lab = Lab.from_data(_swarm(nodes, networks), world="host")
    start = time.monotonic()
    lab.up()
    seconds = time.monotonic() - start
    kernel = (_settled()["SUnreclaim"] - empty) // nodes
    assert not lab.plan()
    for number in range(networks):
        first, last = f"n{number}-1", f"n{number}-{nodes // networks}"
        address = lab.node(last).addresses[0]
        assert (
            lab.node(first)
            .run(["ping", "-q", "-c1", "-W3", address], capture_output=True)
            .returncode
            == 0
        )
    lab.down()
    if FULL:
        record_property(f"ms to bring up {size}", int(seconds * 1000))
        record_property(f"KiB of kernel memory a node, {size}", kernel)
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("full_of", ["data", "files"])
def test_a_full_disk_is_met_before_the_kernel(
    world: World, full_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory has no room for the journal: one clear error, and nothing was touched."""
    os.mkdir("/run/small")
    limit = "size=4096" if full_of == "data" else "nr_inodes=2"
    world.run("mount", "-i", "-t", "tmpfs", "-o", f"mode=700,{limit}", "none", "/run/small")
    if full_of == "data":
        Path("/run/small/ballast").write_bytes(bytes(4096))
    monkeypatch.setenv("BASCULE_STATE_DIR", "/run/small/state")
    before = machine.state()
    from bascule.errors import StateError

    with pytest.raises(StateError, match="No space left on device"):
        Lab.load(SEED).up()
    assert machine.difference(before, machine.state()) == ""
