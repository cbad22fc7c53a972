"""A lab lived through at random, against a small model: which networks and nodes there are, and who
is on which network.

Files edited, verbs used, things damaged by hand, commands killed or refused by the kernel: after
each step the record tells a state that the model knows; `up` makes the kernel equal to it, a second
`up` has nothing to do, and `down` leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import look
from bascule.errors import BasculeError
from bascule.state import store
from bascule.topology import edit
from bascule.topology.load import from_data
from bascule.topology.model import Attachment
from faults import Fault, attempt
from sandbox import World, links_of_a_new_one
from scenarios import wipe

FULL = os.environ.get("CRASH") == "full"
EXAMPLES, STEPS = (120, 40) if FULL else (8, 12)
NETWORKS = ("n0", "n1", "n2")
NODES = ("a", "b", "c", "d")
NAME = "model"
steps = 0

# The model: each network's MTU, and the networks of each node, in order.
Networks = dict[str, int]
Nodes = dict[str, tuple[str, ...]]
Model = tuple[Networks, Nodes]


def file_of(model: Model) -> dict[str, Any]:
    """The lab file that says it."""
    networks, nodes = model
    return {
        "name": NAME,
        "networks": {
            name: {"subnet": f"10.77.{NETWORKS.index(name)}.0/24", "mtu": mtu}
            for name, mtu in networks.items()
        },
        "nodes": {name: {"networks": list(on)} for name, on in nodes.items()},
    }


def model_of(state: machine.State) -> Model:
    """What the kernel has, in the model's words."""
    places = state["namespaces"]
    world = places[""]["links"]
    networks = {
        name: link["mtu"] for name, link in world.items() if link["kind"] == "bridge" and link["up"]
    }
    ports: dict[str, dict[str, str]] = {name: {} for name in places if name}
    for link in world.values():
        if link["kind"] == "veth" and link["up"]:
            node, _, interface = link["peer"].partition("/")
            ports[node][interface] = link["master"]
    for name, found in ports.items():
        assert set(found) == set(places[name]["links"]) - {*links_of_a_new_one()}
        with_address = {
            row.split()[0] for row in places[name]["addresses"] if row.startswith("eth")
        }
        assert with_address == set(found), (name, places[name]["addresses"])
    return networks, {name: tuple(sorted(on.values())) for name, on in ports.items()}


def in_order(model: Model) -> Model:
    """Comparable: which interface came first is a matter of the lab's history."""
    return model[0], {name: tuple(sorted(on)) for name, on in model[1].items()}


class OneLab(RuleBasedStateMachine):
    """The lab, and the model of what it was last asked to be. What is drawn depends on nothing that
    happened: when a command is killed at its n-th effect, how far it was may differ from run to
    run."""

    kind = "host"
    fresh: machine.State  # the machine before all of it

    def __init__(self) -> None:
        super().__init__()
        wipe(self.fresh)  # what the last life left, if it came to a bad end
        self.empty = machine.state()
        self.model: Model | None = None

    # Asking for something.

    @rule(
        networks=st.dictionaries(
            st.sampled_from(NETWORKS), st.sampled_from([1280, 1400, 1500]), min_size=1
        ),
        nodes=st.dictionaries(st.sampled_from(NODES), st.sets(st.sampled_from(NETWORKS))),
        fault=st.sampled_from(["none", "none", "kill", "error", "power"]),
        at=st.integers(0, 90),
    )
    def up(self, networks: Networks, nodes: dict[str, set[str]], fault: str, at: int) -> None:
        """Another version of the file, and `up`."""
        target = (networks, {name: tuple(sorted(on & set(networks))) for name, on in nodes.items()})
        self._do(lambda: Lab.from_data(file_of(target), world=self.kind).up(), target, fault, at)

    @rule(
        node=st.sampled_from(NODES),
        network=st.sampled_from(NETWORKS),
        fault=st.sampled_from(["none", "kill", "error"]),
        at=st.integers(0, 40),
    )
    def connect(self, node: str, network: str, fault: str, at: int) -> None:
        """`network connect`, refused where it makes no sense."""
        if self.model is None:
            return
        networks, nodes = self.model
        fits = node in nodes and network in networks and network not in nodes[node]
        target = (networks, {**nodes, node: (*nodes[node], network)}) if fits else self.model
        self._change(
            lambda now: edit.connect(now, node, Attachment(network)), target, fits, fault, at
        )

    @rule(node=st.sampled_from(NODES), network=st.sampled_from(NETWORKS))
    def disconnect(self, node: str, network: str) -> None:
        """`network disconnect`"""
        if self.model is None:
            return
        networks, nodes = self.model
        fits = network in nodes.get(node, ())
        target = (
            (networks, {**nodes, node: tuple(name for name in nodes[node] if name != network)})
            if fits
            else self.model
        )
        self._change(lambda now: edit.disconnect(now, node, network), target, fits, "none", 0)

    @rule(
        node=st.sampled_from(NODES),
        fault=st.sampled_from(["none", "kill", "error"]),
        at=st.integers(0, 40),
    )
    def add(self, node: str, fault: str, at: int) -> None:
        """`node add`, on the first network."""
        if self.model is None:
            return
        networks, nodes = self.model
        first = next(iter(networks))
        fits = node not in nodes
        target = (networks, {**nodes, node: (first,)}) if fits else self.model
        self._change(
            lambda now: edit.add_node_data(now, node, {"networks": [first]}),
            target,
            fits,
            fault,
            at,
        )

    @rule(
        node=st.sampled_from(NODES),
        fault=st.sampled_from(["none", "kill", "error"]),
        at=st.integers(0, 30),
    )
    def rm(self, node: str, fault: str, at: int) -> None:
        """`node rm`"""
        if self.model is None:
            return
        networks, nodes = self.model
        target = (networks, {name: on for name, on in nodes.items() if name != node})
        self._change(lambda now: edit.remove_node(now, node), target, node in nodes, fault, at)

    @rule(fault=st.sampled_from(["none", "kill", "error"]), at=st.integers(0, 40))
    def down(self, fault: str, at: int) -> None:
        """`down`"""
        self._do(lambda: Lab(NAME).down(), None, fault, at)

    # What others do.

    @rule(what=st.integers(0, 9), which=st.integers(0, 3))
    def damage(self, what: int, which: int) -> None:
        """Somebody takes away a link, a namespace, an address, a route, a file; or takes a link
        down."""
        if self.model is None:
            return
        networks, nodes = (sorted(names) for names in self.model)
        bridge = networks[which % len(networks)]
        commands: list[Callable[[], object]] = [
            lambda: _run("ip", "link", "del", bridge),
            lambda: _run("ip", "addr", "flush", "dev", bridge),
            lambda: _run("ip", "link", "set", bridge, "mtu", "1300"),
            lambda: shutil.rmtree("/etc/netns", ignore_errors=True),
        ]
        if nodes:
            node = nodes[which % len(nodes)]
            commands += [
                lambda: _run("ip", "netns", "del", node),
                lambda: _run("ip", "-n", node, "addr", "flush", "dev", "eth0"),
                lambda: _run("ip", "-n", node, "link", "set", "eth0", "down"),
                lambda: _run("ip", "-n", node, "link", "del", "eth0"),
                lambda: _run("ip", "-n", node, "route", "flush", "table", "main"),
                lambda: _unpin(node),
            ]
        commands[what % len(commands)]()

    # The steps.

    def _change(
        self, change: Callable[[Any], Any], target: Model, fits: bool, fault: str, at: int
    ) -> None:
        if fits:
            self._do(lambda: Lab(NAME).change(change), target, fault, at)
            return
        try:
            Lab(NAME).change(change)
        except BasculeError:
            return
        raise AssertionError("what makes no sense was done")

    def _do(self, action: Callable[[], object], target: Model | None, fault: str, at: int) -> None:
        ending = attempt(action, Fault(at, fault))  # type: ignore[arg-type]
        assert ending.how in ("done", "killed", "error"), ending
        assert ending.how != "error" or ending.hit, ending  # no error but the one that was put in
        before, self.model = self.model, target
        if ending.how != "done":
            self._learn(before, target)

    def _learn(self, before: Model | None, target: Model | None) -> None:
        """A stopped command counts as done or as not done; the record tells which."""
        stored = store.load(NAME).newest
        if stored is None or stored.topology is None:
            assert None in (before, target)
            self.model = None
            return
        told = {node: tuple(item["networks"]) for node, item in stored.topology["nodes"].items()}
        networks = {
            name: item.get("mtu", 1500) for name, item in stored.topology["networks"].items()
        }
        known = [model for model in (before, target) if model is not None]
        assert in_order((networks, told)) in [in_order(model) for model in known], (
            told,
            before,
            target,
        )
        self.model = networks, told

    @invariant()
    def it_can_be_asked(self) -> None:
        """`ls`, `show` and `plan` answer at any time."""
        global steps
        steps += 1
        listed = [info.name for info in look.labs()]
        assert listed == ([NAME] if self.model is not None else []), (listed, self.model)
        if self.model is not None:
            look.show(NAME)
            Lab.attach(NAME).plan()

    @rule()
    def mend(self) -> None:
        """`up` with the file that says what the lab is: the kernel is what the model says, and `up`
        again has nothing to do."""
        if self.model is None:
            return
        stored = store.load(NAME).newest
        assert stored is not None
        lab = Lab.from_data(from_data_of(stored.topology), world=self.kind)
        lab.up()
        _let_go()
        lab.up()
        assert in_order(model_of(machine.state(False))) == in_order(self.model)
        assert not lab.plan()

    def teardown(self) -> None:
        Lab(NAME).down()
        _let_go()
        assert machine.difference(self.empty, machine.state()) == ""


def from_data_of(topology: dict[str, Any] | None) -> dict[str, Any]:
    """The stored topology is a lab file like any other."""
    assert topology is not None
    from_data(topology, "stored")
    return topology


def _let_go() -> None:
    for _attempt in range(400):
        links = machine.links()[""].values()
        if all(link.get("peer") != "elsewhere" for link in links):
            return
        os.sched_yield()


def _unpin(node: str) -> None:
    """The namespace goes, the file under its pin stays."""
    with suppress(OSError):
        syscalls.umount(f"/run/netns/{node}")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=False, capture_output=True)


def test_a_lab_s_life(world: World, record_property: Callable[[str, object], None]) -> None:
    """Random lives of a lab."""
    OneLab.fresh = machine.state()
    run_state_machine_as_test(
        OneLab,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=not FULL,
            # a lab's life can't be shortened by replaying half of it: the kernel remembers
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("model steps", steps)
