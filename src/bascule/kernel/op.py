"""What operations (:mod:`.fact`) are made of: keys, interface indexes, shell words, and the effects
that one can have. Effects are data: only :mod:`bascule.host` carries them out.

``node`` is the name of a namespace in /run/netns; the empty string is the world, the namespace that
plays the host.
"""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Collection
from typing import NamedTuple

from bascule.kernel.passage import Passages
from bascule.kernel.program import Instance
from bascule.wire.conntrack import Flow
from bascule.wire.message import Request

Key = tuple[str, ...]
Settings = tuple[tuple[str, str], ...]  # sysctls with their values
WORLD = ""


class Netlink(NamedTuple):
    """One rtnetlink message. Where ``fd_of`` names a namespace, the 4 bytes of the body at
    ``fd_at`` are to hold a file descriptor of it: descriptors exist only where the message is sent.
    An errno of ``gone`` says that what goes has gone already."""

    node: str
    request: Request
    fd_at: int = 0
    fd_of: str = ""
    gone: tuple[int, ...] = ()


class MakeNamespace(NamedTuple):
    """unshare(CLONE_NEWNET) and a bind mount of it in /run/netns: what ``ip netns add`` does, with
    sysctls that are set before it has its name. With ``source``, the path of a namespace, only the
    mount, of that one: ``ip netns attach``."""

    name: str
    source: str = ""
    settings: Settings = ()


class DropNamespace(NamedTuple):
    """Unmount and remove the pin in /run/netns: what ``ip netns del`` does. The kernel frees it
    with its last user. ``alive`` is False for a pin without a namespace."""

    name: str
    alive: bool = True


class WriteSysctl(NamedTuple):
    """Write below /proc/sys from inside the namespace. The answer is the value that stood there,
    but for something that has just been made (``fresh``): it goes with that. Of an interface of the
    lab's own (``own``) only the undoing needs to know it. ``gone``: it may have gone, with an
    interface, and then there is nothing to do."""

    node: str
    key: str
    value: str
    fresh: bool = False
    own: bool = False
    gone: bool = False


class WriteSysctls(NamedTuple):
    """Several in a row in one namespace: as one change, because the first brings others about. What
    stands there already is not written. The answer is what stood there of what a node is asked to
    pass on."""

    node: str
    writes: tuple[WriteSysctl, ...]


class WriteFile(NamedTuple):
    """Write a text file in place (a bind mount keeps the inode), or remove it where ``content`` is
    None. The ``server`` that reads it is told."""

    path: str
    content: str | None
    server: Instance | None = None


class WriteSymlink(NamedTuple):
    """Make a symbolic link, or where ``target`` is None remove the one that leads to ``old``."""

    path: str
    target: str | None
    old: str = ""


class ChangeMode(NamedTuple):
    """Give a file or folder these permissions (chmod(2))."""

    path: str
    mode: int


class RunNft(NamedTuple):
    """One ``nft -f -`` transaction. Where it makes ``table`` out of ``made_of``, the answer is
    what tells that table from others (:func:`.table.noted`). Nothing is done where the rule
    ``unless``, the key of its fact, is there."""

    text: str
    table: str = ""
    made_of: str = ""
    unless: Key | None = None


class DropRule(NamedTuple):
    """Delete our rule, told by the key of its fact, from a foreign chain: the one of this handle,
    or with 0 as often as it is there."""

    rule: Key
    handle: int


class ChangeZone(NamedTuple):
    """Put an interface into a zone of firewalld, or take it out (``leave``)."""

    interface: str
    zone: str
    leave: bool = False


class RunProcess(NamedTuple):
    """Start the program of ``at`` with these arguments, and end any other process that is there in
    its place."""

    at: Instance
    arguments: tuple[str, ...]


class TellProcess(NamedTuple):
    """Tell the process of ``at`` that it is to go on with these arguments; one that can't be told
    is ended, and another one started."""

    at: Instance
    arguments: tuple[str, ...]


class EndProcess(NamedTuple):
    """End the processes of this instance."""

    at: Instance


class DeleteFlows(NamedTuple):
    """Delete these flows from the connection tracking, as far as they are still there."""

    flows: tuple[Flow, ...]


class DeleteUnfitFlows(NamedTuple):
    """Look at all flows, and delete those that do not fit
    (:class:`bascule.kernel.passage.Judge`)."""

    passages: Passages


Effect = (
    RunProcess
    | TellProcess
    | EndProcess
    | DropRule
    | ChangeZone
    | DeleteFlows
    | DeleteUnfitFlows
    | Netlink
    | MakeNamespace
    | DropNamespace
    | WriteSysctl
    | WriteSysctls
    | WriteFile
    | WriteSymlink
    | ChangeMode
    | RunNft
)


_SPARE = 4096  # interfaces of a node, at least, before its indexes begin anew at the range's first


class Indexes:
    """Interface indexes by (node, name): the kernel's own for what exists, chosen ones for what is
    to be made.

    An index chosen here spares the look-up after each creation. In each namespace a lab takes its
    indexes from a range of its own, so that a link tells by its index who made it. They are counted
    in the order of making; those of each node begin elsewhere, so that hardly ever two pairs
    between nodes are told by the same two numbers (:mod:`.veth`), also where one was made without a
    look at the other.

    The kernel gives out the others by counting (dev_index_reserve() in net/core/dev.c) and takes
    one again only after 2³¹: a machine that starts containers all day comes to a hundred thousand
    within months, but never to a billion. One bit tells the interfaces of all labs from the others:
    for nft to compare with a range costs twice as much.
    """

    SLOT_SIZE = 400_000  # twice MAX_ATTACHMENTS of topology/load.py: as many bridges again
    BIT = 0x40000000
    FIRST = BIT
    SLOTS = 2_500
    ALL = range(FIRST, FIRST + SLOTS * SLOT_SIZE)  # of all labs

    def __init__(self, slot: int = 0) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self._used: dict[str, set[int]] = {}
        self._next: dict[str, int] = {}
        self.range = range(
            self.FIRST + slot * self.SLOT_SIZE, self.FIRST + (slot + 1) * self.SLOT_SIZE
        )

    @classmethod
    def of_range(cls, numbers: range) -> Indexes:
        """A fresh look at the indexes of the lab that has this range."""
        return cls(cls.slot_of(numbers.start))

    @classmethod
    def slot_of(cls, index: int) -> int:
        """The number of the range that this index lies in."""
        return (index - cls.FIRST) // cls.SLOT_SIZE

    def learn(self, node: str, name: str, index: int) -> None:
        """Note what the kernel has."""
        self._known[node, name] = index
        self._used.setdefault(node, set()).add(index)

    def forget(self, nodes: Collection[str]) -> None:
        """Namespaces that go take their interfaces along; a new one of that name starts afresh."""
        for key in [key for key in self._known if key[0] in nodes]:
            del self._known[key]
        for node in nodes:
            self._used.pop(node, None)
            self._next.pop(node, None)

    def of(self, node: str, name: str) -> int:
        """The index of this interface, chosen now if it is not there yet."""
        index = self._known.get((node, name))
        return self.renew(node, name) if index is None else index

    def renew(self, node: str, name: str) -> int:
        """Choose an index that is free, for an interface that is about to be made."""
        used = self._used.setdefault(node, set())
        # The first of a range stands in rules: nft would print it as the name of the interface that
        # has it.
        size = self.SLOT_SIZE - 1
        begin = zlib.crc32(node.encode()) % (size - _SPARE) if node else 0
        step = self._next.get(node, begin) % size
        while (index := self.range.start + 1 + step) in used:
            step = (step + 1) % size
        self._next[node] = step + 1
        self._known[node, name] = index
        used.add(index)
        return index


def ip(node: str, *words: str) -> str:
    """An ip(8) command, with ``-n NODE`` where it acts inside a node."""
    prefix = ["ip", "-n", node] if node else ["ip"]
    return shlex.join([*prefix, *words])


def inside(node: str, *words: str) -> str:
    """Any command, run inside a node."""
    prefix = ["ip", "netns", "exec", node] if node else []
    return shlex.join([*prefix, *words])
