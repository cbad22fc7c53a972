"""The Python API: what ``import bascule`` gives.

A :class:`Lab` is a handle on a name and, where it was loaded or built here, a topology. It holds no
process, socket or descriptor: two handles of one name mean the same lab, and a lab outlives the
program that built it, unless used as a context.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bascule.engine import find, known, look, origin, run
from bascule.engine.options import Listener, Options, Outcome
from bascule.engine.pairs import all_pairs, chosen, targets
from bascule.engine.prepare import stored_topology
from bascule.errors import InputError, KernelError, NotFound
from bascule.host import icmp, spawn
from bascule.host.icmp import Echo, Target
from bascule.names import printable, problem_with_lab_name, shown
from bascule.plan.diff import Plan
from bascule.state.lock import Hold
from bascule.state.record import Record
from bascule.topology import edit
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Assigned, Topology

Command = Sequence[str]
_LONGEST_PING = 3600  # seconds


@dataclass(frozen=True, slots=True)
class Network:
    """A network of a running lab: its bridge as the kernel has it. ``addresses`` are the bridge's
    own, with prefix length."""

    name: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    mtu: int
    mac: str


class Node:
    """A node of a lab that is up."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"<Node {self.name} of lab {self.lab.name}>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The node's addresses, without prefix lengths, in the order of its interfaces."""
        return tuple(target.address for target in targets(self.lab.assigned, self.name))

    def popen(self, command: Command, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the node; takes the options of :class:`subprocess.Popen`, without
        ``shell`` and ``preexec_fn``.

        Raises FileNotFoundError for an unknown command, like Popen, and :class:`NotFound` where the
        lab is not up.
        """
        refused = {"preexec_fn", "shell"}.intersection(options)
        if refused:
            raise InputError(
                f'popen() does not take {", ".join(sorted(refused))}; run ["sh", "-c", …] for '
                f"a shell"
            )
        record = self.lab.record
        hostname = find.hostname_of(record, self.name)
        return spawn.popen(find.world_of(record), self.name, _checked(command), hostname, **options)

    def run(
        self,
        command: Command,
        *,
        check: bool = False,
        capture_output: bool = False,
        input: str | bytes | None = None,
        timeout: float | None = None,
        text: bool = True,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the node and wait for it; :func:`subprocess.run` in every respect, but
        that text is the default.

        Raises subprocess.CalledProcessError (with ``check``) and subprocess.TimeoutExpired; then
        the command is killed.
        """
        if capture_output:
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(command, text=text, **options) as process:
            try:
                out, error = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
        done: subprocess.CompletedProcess[Any] = subprocess.CompletedProcess(
            command, process.returncode, out, error
        )
        if check:
            done.check_returncode()
        return done


def _checked(command: Command) -> list[str]:
    if isinstance(command, str):
        raise InputError(f"a command is a list of words, like {command.split()!r}")
    if not command:
        raise InputError("a command is a list of words, and this one has none")
    return [os.fspath(word) for word in command]


class Lab:
    """One lab. Made by :meth:`load`, :meth:`from_data`, :meth:`attach`, or empty by its name and
    filled in code.

    >>> lab = Lab("demo", world="private")
    >>> lab.add_network("lan", subnet="10.1.0.0/24")
    >>> lab.add_node("a", networks=["lan"])
    >>> [node.name for node in lab.topology.nodes]
    ['a']
    """

    def __init__(self, name: str = "lab", *, world: str | None = None) -> None:
        problem = problem_with_lab_name(name)
        if problem:
            raise InputError(problem)
        if world not in (None, "host", "private"):
            raise InputError(f"{world!r} is no world; choose 'host' or 'private'")
        self.name = name
        self.world = world
        self.source = ""
        self._named = False  # beside its file
        self._hold: Hold | None = None  # as a context
        self._holder = 0
        self.topology = Topology(name)

    def __repr__(self) -> str:
        return (
            f"<Lab {self.name}: {len(self.topology.nodes)} nodes, "
            f"{len(self.topology.networks)} networks>"
        )

    # Where a lab comes from.

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, world: str | None = None, name: str = "") -> Lab:
        """A lab from its file: YAML, or JSON or TOML by the suffix. Raises :class:`TopologyError`
        with all mistakes, and :class:`InputError` for a file that can't be read. ``name`` counts
        before the ``name:`` in the file; without either, the file's stem is the lab's name. A lab
        of that name which is up must be of this file, unless ``name`` is given: :meth:`plan` and
        :meth:`up` raise :class:`InputError` then."""
        return cls.from_text(origin.read(Path(path)), path, world=world, name=name)

    @classmethod
    def from_text(
        cls, text: bytes, path: str | os.PathLike[str], *, world: str | None = None, name: str = ""
    ) -> Lab:
        """A lab from the text of its file, which is not read again; else :meth:`load`."""
        place = Path(path)
        topology = load_text(text, printable(str(path)), origin.stem(place))
        if name:
            topology = dataclasses.replace(topology, name=cls(name).name)
        lab = cls._of(topology, world, origin.path_of(place))
        lab._named = bool(name)  # noqa: SLF001 (of this class)
        return lab

    @classmethod
    def from_data(cls, data: object, *, world: str | None = None, name: str = "lab") -> Lab:
        """A lab from the same data as the file's, as a dictionary. Raises
        :class:`TopologyError`."""
        return cls._of(from_data(data, "<data>", name), world, "")

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A handle on a lab that is up. Raises :class:`NotFound`."""
        topology, _world, record = look.running(name)
        return cls._of(topology, record.world, record.source)

    @classmethod
    def _of(cls, topology: Topology, world: str | None, source: str) -> Lab:
        lab = cls(topology.name, world=world)
        lab.topology = topology
        lab.source = source
        return lab

    # Building in code: nothing is done before up().

    def add_network(self, name: str, **fields: object) -> None:
        """Add a network; ``fields`` are the lab file's: subnet, gateway, mtu, mac. Raises
        :class:`TopologyError`."""
        self._add("networks", name, fields)

    def add_node(
        self, name: str, *, networks: Iterable[str] | Mapping[str, object] = (), **fields: object
    ) -> None:
        """Add a node; ``fields`` are the lab file's: routes, sysctls, count. Raises
        :class:`TopologyError`."""
        given = dict(networks) if isinstance(networks, Mapping) else list(networks)
        self._add("nodes", name, {"networks": given, **fields})

    def _add(self, kind: str, name: str, fields: Mapping[str, object]) -> None:
        data: dict[str, Any] = to_data(self.topology)
        nouns = data.setdefault(kind, {})
        if name in nouns:
            raise InputError(f"{kind[:-1]} {shown(name)} is there already")
        data.setdefault("networks", {})
        nouns[name] = dict(fields)
        self.topology = from_data(data, "<data>", self.name)

    # Making it so.

    def plan(self) -> Plan:
        """What :meth:`up` would do. Touches nothing."""
        return run.preview(self.name, lambda _current: self.topology, self._options("plan")).plan

    def up(self, listener: Listener | None = None, *, wait: bool = True) -> Outcome:
        """Make it so; again is nothing. Raises :class:`Conflict`, :class:`PlanFailed`,
        :class:`WorldError`, :class:`Locked`."""
        return run.apply(
            self.name, lambda _current: self.topology, self._options("up", wait), listener
        )

    def down(
        self, listener: Listener | None = None, *, wait: bool = True, kill: bool = False
    ) -> Outcome:
        """Take it away; nothing happens where it is not there. What runs in a node on the machine
        goes on, in a namespace without a name, and the outcome's ``remarks`` tell of it; ``kill``
        ends it (SIGTERM, and SIGKILL after three seconds)."""
        return run.apply(
            self.name,
            lambda _current: None,
            Options(None, wait, "bascule down", kill=kill),
            listener,
        )

    def change(
        self,
        change: Callable[[Topology], Topology],
        listener: Listener | None = None,
        *,
        wait: bool = True,
        kill: bool = False,
    ) -> Outcome:
        """Change the lab that is up (or an empty one) by a pure function of its topology, and make
        that so. What runs in nodes that go is treated as by :meth:`down`."""

        def edited(current: Assigned | None) -> Topology:
            return change(current if current is not None else Topology(self.name))

        outcome = run.apply(self.name, edited, self._options("change", wait, kill), listener)
        if outcome.lab is not None:
            self.topology = outcome.lab
        return outcome

    def _options(self, command: str, wait: bool = True, kill: bool = False) -> Options:
        return Options(self.world, wait, f"bascule {command}", self.source, kill, self._named)

    def __enter__(self) -> Self:
        """Build it for this program alone: another one that wants it is refused. What was left by a
        program that was killed is taken away first. Raises :class:`Conflict` where it is up and
        nobody's own, :class:`Locked` where it is another's."""
        hold = Hold(self.name)
        try:
            run.enter(
                dataclasses.replace(self.topology, name=self.name),
                dataclasses.replace(self._options("up"), hold=hold),
            )
        except BaseException:
            hold.release()
            raise
        self._hold, self._holder = hold, os.getpid()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away, and end what still runs in its nodes. A child that came into the block by a
        fork leaves it, and no more: the lab is its parent's."""
        hold, self._hold = self._hold, None
        if hold is not None and self._holder != os.getpid():
            hold.release()
            return
        try:
            run.apply(
                self.name,
                lambda _current: None,
                Options(None, command="bascule down", kill=True, hold=hold),
            )
        finally:
            if hold is not None:
                hold.release()

    # What is there.

    @property
    def record(self) -> Record:
        """The stored record. Raises :class:`NotFound` where the lab is not up."""
        record = known.load(self.name).newest
        if record is None:
            raise NotFound(f"lab {self.name} is not up; call up(), or run `bascule up`")
        return record

    @property
    def assigned(self) -> Assigned:
        """The topology of the lab that is up, with every choice made."""
        lab = stored_topology(self.record)
        if lab is None:
            raise NotFound(f"lab {self.name} is not up")
        return lab

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes of the lab that is up."""
        return tuple(Node(self, node.name) for node in self.assigned.nodes)

    def node(self, name: str) -> Node:
        """One node. Raises :class:`NotFound` with the nearest name."""
        if name not in (self.record.topology or {}).get("nodes", {}):
            find.find_node(name, self.name)
        return Node(self, name)

    def network(self, name: str) -> Network:
        """One network as the kernel has it. Raises :class:`NotFound`."""
        for found in self.show()["networks"]:
            if found["name"] == name:
                return Network(
                    name,
                    tuple(found["addresses"]),
                    tuple(found["ports"]),
                    found["mtu"] or 0,
                    found["mac"] or "",
                )
        raise NotFound(f"no network {shown(name)} in lab {self.name}")

    def show(self) -> dict[str, Any]:
        """The lab as the kernel has it now, as plain data: what ``bascule show --json`` prints."""
        return look.show(self.name)

    def yaml(self) -> str:
        """The lab that is up as a file that ``up`` accepts."""
        return to_yaml(self.assigned)

    def ping(
        self, source: str | None = None, target: str | None = None, *, timeout: float = 2.0
    ) -> list[Echo]:
        """ICMP echo between nodes: all ordered pairs that share a network, or from one node to
        another, or to an address.

        IPv4 and IPv6. Raises :class:`NotFound` for an unknown node, :class:`InputError` for a
        target that is neither.
        """
        if not 0 <= timeout <= _LONGEST_PING:
            raise InputError(f"a timeout of {timeout:g} s; give a number from 0 to {_LONGEST_PING}")
        lab = self.assigned
        pairs = all_pairs(lab) if source is None else chosen(lab, source, target)
        world = find.world_of(self.record)
        try:
            return world.call(icmp.ping, pairs, timeout)
        except OSError as error:
            number = error.errno or 0
            raise KernelError(
                "ping", number, os.strerror(number), advice="opening a raw socket needs CAP_NET_RAW"
            ) from error


__all__ = ["Echo", "Lab", "Listener", "Network", "Node", "Outcome", "Plan", "Target", "edit"]
