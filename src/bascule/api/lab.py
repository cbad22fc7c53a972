"""A lab and its nodes: what is done with them, and what is known of them.

A :class:`Lab` is a handle on a name and, where it was loaded or built here, a topology. It holds no
process, socket or descriptor: two handles of one name mean the same lab, and a lab outlives the
program that built it, unless used as a context.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Self

from bascule.api.node import Node
from bascule.engine import asked, choosing, find, known, look, pairs, rescue, run, scripts
from bascule.engine.asked import Asked
from bascule.engine.following import Following
from bascule.engine.options import Listener, Options, Outcome
from bascule.engine.prepare import stored_topology
from bascule.engine.views import Event, LabView, NetworkView
from bascule.engine.watch import events
from bascule.errors import InputError, NotFound
from bascule.host.icmp import Echo
from bascule.names import shown
from bascule.plan.diff import Plan
from bascule.state.lock import Hold
from bascule.state.record import Record
from bascule.topology import edit
from bascule.topology.dump import to_yaml
from bascule.topology.load import from_data
from bascule.topology.model import Assigned, Topology

TopologyEdit = Callable[[Topology], Topology]


class Lab:
    """One lab. Made by :meth:`load`, :meth:`from_data`, :meth:`attach`, or empty by its name and
    filled in code.

    As a context it is up in the block, and this program's own:

    >>> lab = Lab("demo", world="private")
    >>> lab.add_network("lan", subnet="10.1.0.0/24")
    >>> lab.add_node("a", networks=["lan"])
    >>> lab.add_node("b", networks=["lan"])
    >>> with lab:
    ...     done = lab.node("a").run(["ping", "-c1", "-W5", "b"], capture_output=True)
    >>> done.returncode
    0
    """

    def __init__(self, name: str = "lab", *, world: str | None = None) -> None:
        if world not in (None, "host", "private"):
            raise InputError(f"{world!r} is no world; choose 'host' or 'private'")
        self.name = asked.checked_name(name)
        self.world = world
        self.source = ""
        self._given = ""  # its file's path, as it was given
        self._named = False  # beside its file
        self._without_ipv6 = False  # whatever its file says
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
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        world: str | None = None,
        name: str = "",
        without_ipv6: bool = False,
    ) -> Lab:
        """A lab from its file: YAML, and so JSON; without a path, the lab file of the current
        folder; the name of a lab that is there stands for its file. Raises
        :class:`TopologyError` with all mistakes, and :class:`InputError` for a file that can't be
        read. ``name`` counts before the ``name:`` in
        the file; without either, the file's stem is the lab's name. A lab of that name which is up
        must be of this file, unless ``name`` is given: :meth:`plan` and :meth:`up` raise
        :class:`InputError` then. ``without_ipv6``: what the file says of IPv6 is left out,
        and the plan's notes tell it."""
        return cls._of(choosing.load(path, world, name, without_ipv6))

    @classmethod
    def from_text(
        cls, text: bytes, path: str | os.PathLike[str], *, world: str | None = None, name: str = ""
    ) -> Lab:
        """A lab from the text of its file, which is not read again; else :meth:`load`."""
        return cls._of(asked.of_text(text, path, world, name))

    @classmethod
    def from_data(cls, data: object, *, world: str | None = None, name: str = "lab") -> Lab:
        """A lab from the same data as the file's, as a dictionary. Raises
        :class:`TopologyError`.

        >>> lab = Lab.from_data({"networks": {"lan": {}}, "nodes": {"a": ["lan"]}}, name="demo")
        >>> lab
        <Lab demo: 1 nodes, 1 networks>
        """
        return cls._of(Asked(from_data(data, "<data>", name), world))

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A handle on a lab that is up. Raises :class:`NotFound`."""
        topology, _world, record = look.running(name)
        return cls._of(Asked(topology, record.world, record.source))

    @classmethod
    def _of(cls, found: Asked) -> Lab:
        lab = cls(found.name, world=found.world)
        lab.topology, lab.source = found.topology, found.source
        lab._given, lab._named, lab._without_ipv6 = found.given, found.named, found.without_ipv6
        return lab

    # Building in code: nothing is done before up().

    def add_network(self, name: str, **fields: object) -> None:
        """Add a network; ``fields`` are the lab file's: subnet, gateway, mtu, mac. Raises
        :class:`TopologyError`."""
        self.topology = edit.add_network(self.topology, name, fields)

    def add_node(
        self, name: str, *, networks: Iterable[str] | Mapping[str, object] = (), **fields: object
    ) -> None:
        """Add a node; ``fields`` are the lab file's: routes, sysctls, count. Raises
        :class:`TopologyError`."""
        given = dict(networks) if isinstance(networks, Mapping) else list(networks)
        self.topology = edit.add_node_data(self.topology, name, {"networks": given, **fields})

    # Making it so.

    def plan(self, change: TopologyEdit | None = None) -> Plan:
        """What :meth:`up` would do, or :meth:`change` with this function. Touches nothing."""

        def asked_for(current: Assigned | None) -> Topology:
            return self.topology if change is None else change(self._or_empty(current))

        return run.preview(self.name, asked_for, self._options("plan")).plan

    def plan_down(self) -> Plan:
        """What :meth:`down` would do. Touches nothing."""
        return scripts.teardown_plan(self.name)

    def script(self, *, classic: bool = False, teardown: bool = False) -> str:
        """A shell script that does on an empty machine what :meth:`up` does, or with ``teardown``
        the way back; ``classic`` as by hand, with brctl and one step a line. Touches nothing.

        >>> lab = Lab.from_data({"nodes": {"a": {}}}, name="demo")
        >>> "ip netns add a" in lab.script(), "ip netns del a" in lab.script(teardown=True)
        (True, True)
        """
        return scripts.script(self.topology, classic, teardown)

    def up(self, listener: Listener | None = None, *, wait: bool = True) -> Outcome:
        """Make it so; again is nothing. Raises :class:`Conflict`, :class:`PlanFailed`,
        :class:`WorldError`, :class:`Locked`."""
        return run.apply(
            self.name, lambda _current: self.topology, self._options("up", wait), listener
        )

    def rescue(self, *, wait: bool = True) -> tuple[str, ...]:
        """Where the record of this lab is damaged, of another version or gone: write one of what is
        to be seen of the lab, so that :meth:`down` takes that away. Gives what one should know.
        Raises :class:`NotFound` where nothing is to be seen of it."""
        return rescue.rescue(self.name, wait)

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
        change: TopologyEdit,
        listener: Listener | None = None,
        *,
        wait: bool = True,
        kill: bool = False,
    ) -> Outcome:
        """Change the lab that is up (or an empty one) by a pure function of its topology, and make
        that so. Only what changes is looked at: other drift stays for :meth:`up`. What runs in
        nodes that go is treated as by :meth:`down`.

        >>> lab = Lab("demo", world="private")
        >>> outcome = lab.change(lambda topology: edit.add_node_data(topology, "a", {}))
        >>> [node.name for node in lab.nodes]
        ['a']
        >>> bool(lab.down().plan)
        True
        """

        outcome = run.apply(
            self.name,
            lambda current: change(self._or_empty(current)),
            self._options("change", wait, kill, partial=True),
            listener,
        )
        if outcome.lab is not None:
            self.topology = outcome.lab
        return outcome

    def prune(self, listener: Listener | None = None, *, wait: bool = True) -> Outcome:
        """Remove all networks without nodes from the lab that is up."""
        return self.change(edit.prune_networks, listener, wait=wait)

    def watch(
        self, listener: Listener | None = None, *, wait: bool = True
    ) -> Generator[Outcome, None, None]:
        """Make it so, and again whenever its file changes or somebody else changes the lab: what
        came of each run. It ends when the lab is taken down, and may be closed; the lab stays up
        then. ``listener`` hears of problems, which end nothing. ``topology`` is what the file says.

        Raises what :meth:`up` raises for the first run, :class:`InputError` for a lab without a
        file, and :class:`Locked` where another program watches it."""
        return self._followed(Following(self._asked, listener or Listener()), wait)

    def _followed(self, following: Following, wait: bool) -> Generator[Outcome, None, None]:
        with closing(following.outcomes(wait)) as outcomes:
            for outcome in outcomes:
                self.topology = following.asked.topology
                yield outcome

    def _or_empty(self, current: Assigned | None) -> Topology:
        return current if current is not None else Topology(self.name)

    @property
    def _asked(self) -> Asked:
        return Asked(
            self.topology, self.world, self.source, self._named, self._given, self._without_ipv6
        )

    def _options(
        self, command: str, wait: bool = True, kill: bool = False, partial: bool = False
    ) -> Options:
        return replace(self._asked.options(f"bascule {command}", wait, kill), partial=partial)

    def __enter__(self) -> Self:
        """Build it for this program alone: another one that wants it is refused. What was left by a
        program that was killed is taken away first. Raises :class:`Conflict` where it is up and
        nobody's own, :class:`Locked` where it is another's."""
        hold = Hold(self.name)
        try:
            run.enter(
                replace(self.topology, name=self.name),
                replace(self._options("up"), hold=hold),
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
        if not find.has_node(self.record, name):
            find.find_node(name, self.name)
        return Node(self, name)

    def network(self, name: str) -> NetworkView:
        """One network as the kernel has it. Raises :class:`NotFound`."""
        found = self.show().network(name)
        if found is None:
            raise NotFound(f"no network {shown(name)} in lab {self.name}")
        return found

    def show(self) -> LabView:
        """The lab as the kernel has it now. Raises :class:`NotFound` where it is not up."""
        return look.show(self.name)

    def events(self, listener: Listener | None = None) -> Generator[Event, None, None]:
        """What changes in the lab, by whomever, until the iterator is closed. ``listener`` hears of
        what can't be looked at.

        >>> lab = Lab.from_data({"nodes": {"a": {}}}, name="demo", world="private")
        >>> def grow(labs):
        ...     lab.change(lambda topology: edit.add_node_data(topology, "b", {}))
        >>> with lab, closing(lab.events(Listener(watching=grow))) as told:
        ...     event = next(told)
        >>> event.sign, event.what, event.foreign
        ('+', 'namespace b', False)
        """
        return events((self.name,), listener)

    def yaml(self) -> str:
        """The lab that is up as a file that ``up`` accepts."""
        return to_yaml(self.assigned)

    def ping(
        self,
        source: str | None = None,
        target: str | None = None,
        *,
        timeout: float = 2.0,
        strangers: bool = False,
    ) -> list[Echo]:
        """ICMP echo between nodes: all ordered pairs that share a network, or from one node to
        another, or to an address; with ``strangers`` also those that share none and that the lab
        says something of. IPv4 and IPv6. Of each its ``failed`` tells whether it is as the lab
        says: pairs that are ``barred`` are to get no answer.

        ``timeout`` is in seconds. Raises :class:`NotFound` for an unknown node,
        :class:`InputError` for a target that is neither.

        >>> data = {"networks": {"lan": {}}, "nodes": {"a": ["lan"], "b": ["lan"]}}
        >>> with Lab.from_data(data, name="demo", world="private") as lab:
        ...     echoes = lab.ping("a", "b")
        >>> [(echo.source, echo.target.node, echo.seconds < 2) for echo in echoes]
        [('a', 'b', True)]
        """
        world = find.world_of(self.record)
        return pairs.ping(self.assigned, world, source, target, timeout, strangers)
