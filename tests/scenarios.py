"""What is done to a lab, and what has to be true after it was stopped on the way."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import look, worlds
from bascule.errors import BasculeError, NotFound
from bascule.plan import render
from bascule.state import store
from bascule.topology import edit
from bascule.topology.dump import to_data
from bascule.topology.model import Attachment
from faults import Ending, Fault, attempt

Data = dict[str, Any]
EXTRA = "extra0"
_UNTOUCHED = "nothing was changed in the kernel"
# What another program's firewall may be like: with br_netfilter, what one bridge passes on goes
# through it, too.
_DROPPING = (
    "add table ip theirs; add chain ip theirs forward { type filter hook forward priority "
    "filter; policy drop; }"
)


def _changed(data: Data) -> Data:
    """Another version of the file: a smaller MTU, an interface renamed, a node less, a node more, a
    sysctl."""
    networks = {name: dict(network) for name, network in data["networks"].items()}
    first = next(iter(networks))
    networks[first]["mtu"] = 1380
    nodes = {name: dict(node) for name, node in list(data["nodes"].items())[:-1]}
    moved = next(iter(nodes.values()))
    moved["networks"] = {
        name: {**item, "interface": "moved0"} for name, item in list(moved["networks"].items())[:1]
    }
    for node in nodes.values():
        node["sysctls"] = {**node.get("sysctls", {}), "net.ipv4.conf.all.rp_filter": "2"}
    return {**data, "networks": networks, "nodes": {**nodes, "newcomer": {"networks": [first]}}}


def _with_extra(data: Data) -> Data:
    return {**data, "networks": {**data["networks"], EXTRA: {"subnet": "10.199.0.0/24"}}}


def _on_the_machine(data: Data, kind: str) -> Data:
    """Make what a lab wants of the machine: uplinks, adopted namespaces, and a firewall that lets
    nothing pass. A lab in a private world does not see the machine's; there they are left out."""
    uplinks = [network["uplink"] for network in data["networks"].values() if "uplink" in network]
    adopted = [node["netns"] for node in data["nodes"].values() if "netns" in node]
    if kind == "private":
        networks = {
            name: {key: what for key, what in one.items() if key != "uplink"}
            for name, one in data["networks"].items()
        }
        return {
            **data,
            "networks": networks,
            "nodes": {name: one for name, one in data["nodes"].items() if "netns" not in one},
        }
    for name in uplinks:
        subprocess.run(
            ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True
        )
    for path in adopted:
        subprocess.run(["ip", "netns", "add", Path(path).name], check=True)
    if uplinks:
        subprocess.run(["nft", _DROPPING], check=True)
    return data


def _same(before: machine.State, after: machine.State, why: str) -> None:
    rows = machine.difference(before, after)
    if rows:
        raise AssertionError(f"{why}:\n{rows}")


def _changed_kernel(before: tuple[machine.State, ...], after: tuple[machine.State, ...]) -> str:
    pairs = [
        ({"": was.get("namespaces")}, {"": now.get("namespaces")})
        for was, now in zip(before, after, strict=True)
    ]
    return "\n".join(machine.difference(was, now) for was, now in pairs).strip()


def wipe(empty: machine.State) -> None:
    """Make the machine as it was, by whatever means; nothing is done where it is."""
    if machine.difference(empty, machine.state()) == "":
        return
    for note in glob.glob("/run/bascule/*/dns/*.pid"):
        with suppress(OSError, ValueError):
            os.kill(int(Path(note).read_text()), signal.SIGKILL)
    for name in (
        set(os.listdir("/run/netns")) - {*empty["namespaces"]}
        if os.path.isdir("/run/netns")
        else ()
    ):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    for name in machine.links()[""]:
        if name not in empty["namespaces"][""]["links"]:
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
    own = len(empty["namespaces"]) == 1  # nobody else has pinned a namespace
    with suppress(OSError):
        if own:
            syscalls.umount("/run/netns")
    for place in ("/run/netns", "/run/bascule", "/etc/netns")[not own :]:
        shutil.rmtree(place, ignore_errors=True)
    time.sleep(0.2)


def _without_noted(now: machine.State, told: bool) -> machine.State:
    """Less what could not be removed and is noted, or was ``told`` by `down`: the next `down` tries
    again."""
    kept = Path("/var/lib/bascule")
    noted = [str(path) for path in (kept, *kept.glob("*"))] if told else []
    with suppress(FileNotFoundError):
        noted += Path("/run/bascule/.made").read_text().splitlines()
    return {
        **now,
        "files": {path: what for path, what in now["files"].items() if path not in noted},
    }


@dataclass
class Scenario:
    """A lab, a verb and a world. ``base`` is what is up before, ``action`` what is stopped;
    ``clean`` the state that an undisturbed run leads to, ``target`` the file that means it, None
    where nothing is to be left."""

    data: Data
    verb: str
    kind: str
    empty: machine.State = field(default_factory=dict)
    clean: machine.State = field(default_factory=dict)
    target: Data | None = None
    before: machine.State = field(default_factory=dict)
    standing: bool = False  # what was there before the last fault still is, untouched

    @classmethod
    def of(cls, file: Path, verb: str, kind: str) -> Scenario:
        """Run it once without a fault, to learn what is right."""
        lab = Lab.load(file)
        made = cls(_on_the_machine(to_data(lab.topology), kind), verb, kind)
        made.empty = machine.state()
        made.prepare()
        made.before = made.state() if made.base else {}
        ending = attempt(made.act, Fault(0))
        assert ending.how == "done", ending
        record = store.load(made.name).newest
        made.target = record.topology if record else None
        made.clean = made.state() if record else made.empty
        made.take_down()
        _same(made.empty, machine.state(), "an undisturbed run and down")
        return made

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def base(self) -> Data | None:
        """The lab that is up before."""
        return (
            None
            if self.verb == "up"
            else _with_extra(self.data)
            if self.verb == "connect"
            else self.data
        )

    def lab(self, data: Data) -> Lab:
        """A handle on this version of the lab."""
        return Lab.from_data(data, world=self.kind)

    def prepare(self) -> None:
        """Build what is there before."""
        if self.base is not None and not self.standing:
            self.lab(self.base).up()
        self.standing = False

    def act(self) -> None:
        """What is to be stopped."""
        last = list(self.data["nodes"])[-1]
        lab = Lab(self.name, world=self.kind)
        actions: dict[str, Callable[[], object]] = {
            "up": lambda: self.lab(self.data).up(),
            "down": lab.down,
            "change": lambda: self.lab(_changed(self.data)).up(),
            "connect": lambda: lab.change(
                lambda topology: edit.connect(topology, last, Attachment(EXTRA))
            ),
            "rm": lambda: lab.change(lambda topology: edit.remove_node(topology, last)),
        }
        actions[self.verb]()

    def take_down(self) -> None:
        """`down`"""
        self.standing = False
        Lab(self.name).down()

    def restore(self) -> None:
        """After a failure: an empty machine for the next try, by whatever means."""
        self.standing = False
        with suppress(BasculeError):
            self.take_down()
        wipe(self.empty)

    def state(self) -> machine.State:
        """The kernel's state where the lab runs, without bascule's own records."""
        world = worlds.existing(store.load(self.name))
        if world is None:
            return {}
        return world.call(machine.state, False)

    def links(self) -> dict[str, dict[str, Any]]:
        """The links where the lab runs, by namespace."""
        world = worlds.existing(store.load(self.name))
        return {} if world is None else world.call(machine.links)

    def verify(self, fault: Fault) -> Ending:
        """Stop it, look, finish it; stop it again, take it away. Raises AssertionError with what is
        not as it should be.

        Where an error was answered and all is as if the run had never been, down to bascule's own
        records, nothing is left to be finished or taken away that an undisturbed run does not meet.
        """
        self.prepare()
        # who is killed answers nothing that could be compared with this
        before = () if fault.way in ("kill", "power") else self._everything()
        ending = attempt(self.act, fault)
        assert ending.how != "hang", f"{fault}: it hangs {ending.text}"
        assert ending.how != "traceback", f"{fault}: {ending.text}"
        self._look(fault)
        if ending.how == "error":
            self._check_refused(fault, ending)
            after = self._everything()
            self._check_told(fault, ending, _changed_kernel(before, after))
            self.standing = after == before
        if self.standing:
            return ending
        self._finish(fault, ending)
        self.take_down()
        self._nothing_left(fault, "up and down")
        self.prepare()
        attempt(self.act, fault)
        self.take_down()
        self._nothing_left(fault, "down")
        return ending

    def _everything(self) -> tuple[machine.State, machine.State]:
        """This machine and the world, with bascule's own records."""
        return machine.state(), self.state() if self.kind == "private" else {}

    def _look(self, fault: Fault) -> None:
        """What can be asked is answered, and truly."""
        known = {info.name: info for info in look.labs()}
        if self.name not in known:
            if self.kind == "host":
                told = (self.verb, fault.way) == ("down", "error")
                _same(
                    _without_noted(self.empty, told),
                    _without_noted(machine.state(False), told),
                    f"{fault}: not listed",
                )
            return
        assert known[self.name].state in ("up", "unfinished", "lost"), (fault, known)
        try:
            shown = look.show(self.name)
        except NotFound:
            assert (
                known[self.name].state == "lost" or worlds.existing(store.load(self.name)) is None
            ), fault
            return
        there = self.links()
        for node in shown.nodes:
            alive = bool(there.get(node.name))
            assert node.exists == alive, (fault, node)
            assert not alive or {item.name for item in node.interfaces} <= set(there[node.name]), (
                fault,
                node,
            )

    def _check_refused(self, fault: Fault, ending: Ending) -> None:
        """A run that could not go on has left things as they were, or says what it could not undo,
        or can be repeated."""
        now = self.state()
        left = (
            "left: " in ending.text
            or self.verb == "down"
            or store.load(self.name).journal is not None
        )
        if not left:
            _same(
                self.before if self.base else self.empty,
                now if self.base else machine.state(),
                f"{fault}: {ending.text}",
            )

    @staticmethod
    def _check_told(fault: Fault, ending: Ending, changed: str) -> None:
        """Whoever reads the error knows whether anything is different now, and what to do about
        it."""
        advised = any(
            words in ending.text for words in ("left: ", "run the command again", "run `bascule ")
        )
        assert not changed or (advised and _UNTOUCHED not in ending.text), (
            f"{fault}, {ending.text}:\n{changed}"
        )

    def _finish(self, fault: Fault, ending: Ending) -> None:
        """`up` again; `plan` has told what it does."""
        target = self.target if self.target is not None else self.data
        self._let_go()
        told = render.text(self.lab(target).plan())
        try:
            outcome = self.lab(target).up()
        except BasculeError as error:
            raise AssertionError(f"{fault}: up again: {error}") from error
        # A new private world does without a setting that it can't have, and has other rules then;
        # no other error is lived with.
        lived_with = (fault.way, ending.how, ending.hit) == ("error", "done", True)
        tolerated = self.kind == "private" and lived_with and ending.names[fault.at] == "put"
        if self.target is not None and not tolerated:
            _same(self.clean, self.state(), f"{fault}, up again")
        again = self.lab(target).plan()
        assert not again, f"{fault}, planned after up again:\n{render.text(again)}"
        done = render.text(outcome.plan)
        assert self.kind == "private" or told == done, (
            f"{fault}, planned:\n{told}\nand done:\n{done}"
        )

    def _let_go(self) -> None:
        """Wait for the kernel to free what was dropped: until then the host's ends of veth pairs
        are still to be seen, and a plan tells of them."""
        for _attempt in range(100):
            links = self.links().get("", {}).values()
            if all(link.get("peer") != "elsewhere" for link in links):
                return
            time.sleep(0.005)

    def _nothing_left(self, fault: Fault, after: str) -> None:
        _same(self.empty, machine.state(), f"{fault}, {after}")
        assert look.labs() == [], (fault, after)
