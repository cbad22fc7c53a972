"""Files that belong to nodes: /etc/hosts and /etc/resolv.conf, by the convention of ``ip netns
exec`` (ip-netns(8)).

/etc/netns/NODE is a link to a folder that all nodes with the same view of the names share: one file
for five hundred nodes, and one write when a node comes or goes. It is written in place, because
running processes have it bind-mounted. Where the user has a folder of that name, ours are links in
it, beside his files. What is not such a link is his.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from posixpath import dirname
from typing import ClassVar, NamedTuple

from bascule.kernel.fact import Claim, Fact, Known, Op, Sought, WorldFact, WorldOp
from bascule.kernel.op import ChangeMode, Effect, Indexes, Key, WriteFile, WriteSymlink
from bascule.kernel.program import Instance
from bascule.kernel.told import Kind

_LABS = "/run/bascule/"  # what each lab has there
NODE_FILES = ("hosts", "resolv.conf")  # of /etc, of each node
# the least that a name server, which is nobody, and a node's programs need
_FOLDER, _FILE = 0o755, 0o644
# holds other things, too, which are nobody's business
_STATE = re.compile(r"/run/bascule(/[^/]+)?\Z")
_OF_STATE = 0o711
_NOT = 0o022  # who may write there decides what others' names mean


def mended(path: str, mode: int, is_folder: bool) -> int:
    """The permissions of a file or folder of a lab with what lacks added and what is too much taken
    away."""
    least = _FILE if not is_folder else _OF_STATE if _STATE.match(path) else _FOLDER
    return (mode | least) & ~_NOT & 0o7777


class UsersFolder(NamedTuple):
    """A folder of the user's in the place of a node's link in /etc/netns: where it really is, which
    of :data:`NODE_FILES` in it are the user's own, and whether anything can be put beside them."""

    path: str
    taken: frozenset[str] = frozenset()
    writable: bool = True


@dataclass(frozen=True, slots=True)
class TextFile(WorldFact):
    """A file with this text. ``server`` reads it only when it is told to, and has been ``told``
    since it was written."""

    noun: ClassVar[Kind] = "file"
    late: ClassVar[bool] = True

    path: str
    content: str
    server: Instance | None = field(default=None, compare=False)
    told: bool = True

    @property
    def key(self) -> Key:
        return ("file", self.path)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,)

    def sought(self, scope: Sought) -> None:
        scope.files[self.path] = None

    def is_wanted(self, known: Known) -> bool:
        return self.path not in known.strays  # which are the user's

    def settled(self, known: Known) -> Fact | None:
        """A run that was killed may have written what a server reads, and not have told it."""
        wanted = known.want.get(self.key)
        read = isinstance(wanted, TextFile) and bool(wanted.server)
        return replace(self, told=False) if known.killed and read else self

    def describe(self) -> str:
        return f"file {self.path}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (PutFile(self.path, self.content, None, self.server),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (PutFile(self.path, None, self.content),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (
            (PutFile(self.path, self.content, old.content, self.server),)
            if isinstance(old, TextFile)
            else None
        )

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, TextFile):
            return ("is no file",)
        if old.content == self.content:
            return ("its server may not have read it",)
        was, wanted = set(old.content.splitlines()), set(self.content.splitlines())
        return (f"{len(wanted - was)} lines to add, {len(was - wanted)} to remove",)


@dataclass(frozen=True, slots=True)
class Symlink(WorldFact):
    """A symbolic link. ``stale``: it leads to the files of a lab that has gone without taking it
    away, by a loss of power."""

    noun: ClassVar[Kind] = "symlink"

    path: str
    target: str
    stale: bool = field(default=False, compare=False)

    @property
    def key(self) -> Key:
        return ("file", self.path)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,)

    def sought(self, scope: Sought) -> None:
        scope.files[self.path] = None

    def is_mine(self, claim: Claim) -> bool:
        return self.stale or self.target.startswith(f"{_LABS}{claim.lab}/")

    def settled(self, known: Known) -> Fact | None:
        """One by which the user reaches what he has put among ours stays, as that does, also when
        it is no longer wanted."""
        held = self.target in {dirname(path) for path in known.strays}
        return None if held and self.key not in known.want else self

    def refusal(self, there: Fact) -> str:
        if isinstance(there, Symlink) and there.target.startswith(_LABS):
            lab = there.target.removeprefix(_LABS).partition("/")[0]
            return (
                f"{self.path} leads to files of lab {lab}, which is up where /run is another; "
                "choose another name, or remove what it left"
            )
        return f"{self.path} is there already and bascule did not make it; move it away"

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (PutSymlink(self.path, self.target, None),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (PutSymlink(self.path, None, self.target),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"points to {old.target}",) if isinstance(old, Symlink) else ("is no link",)


@dataclass(frozen=True, slots=True)
class Mode(WorldFact):
    """The permissions of a file or folder of a lab, which is wanted only where others have changed
    them."""

    noun: ClassVar[Kind] = "mode"

    path: str
    mode: int

    @property
    def key(self) -> Key:
        return ("mode", self.path)

    @property
    def can_come_back(self) -> bool:
        return False  # wrong permissions, which nobody misses

    def describe(self) -> str:
        return f"mode {self.mode:o} of {self.path}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return ()  # whoever makes the file gives it its mode

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return (SetMode(self.path, self.mode, old.mode),) if isinstance(old, Mode) else None

    def differences(self, old: Fact) -> tuple[str, ...]:
        return (f"is {old.mode:o}",) if isinstance(old, Mode) else ()


@dataclass(frozen=True, slots=True)
class SetMode(WorldOp):
    """``chmod``"""

    path: str
    mode: int
    old: int

    def effect(self) -> Effect:
        return ChangeMode(self.path, self.mode)

    def shell(self) -> tuple[str, ...]:
        return (f"chmod {self.mode:o} {shlex.quote(self.path)}",)

    def undo(self) -> Op | None:
        return SetMode(self.path, self.old, self.mode)


@dataclass(frozen=True, slots=True)
class PutFile(WorldOp):
    """Write a text file, or remove it where ``content`` is None. Folders above it come and go with
    their last file. A ``server`` that reads it is told."""

    path: str
    content: str | None
    old: str | None
    server: Instance | None = None

    def effect(self) -> Effect:
        return WriteFile(self.path, self.content, self.server)

    def shell(self) -> tuple[str, ...]:
        if self.content is None:
            return (f"rm -f {shlex.quote(self.path)}",)
        lines = shlex.join(self.content.removesuffix("\n").split("\n"))
        folder = shlex.quote(dirname(self.path))
        written = (f"mkdir -p {folder}", f"printf '%s\\n' {lines} > {shlex.quote(self.path)}")
        return (
            (*written, f"kill -HUP $(cat {self.server.note})")
            if self.server and self.old is not None
            else written
        )

    def undo(self) -> Op | None:
        return PutFile(self.path, self.old, self.content, self.server)


@dataclass(frozen=True, slots=True)
class PutSymlink(WorldOp):
    """Make a symbolic link, or remove it where ``target`` is None."""

    path: str
    target: str | None
    old: str | None

    def effect(self) -> Effect:
        return WriteSymlink(self.path, self.target, self.old or "")

    def shell(self) -> tuple[str, ...]:
        if self.target is None:
            return (f"rm -f {shlex.quote(self.path)}",)
        path, target = shlex.quote(self.path), shlex.quote(self.target)
        return (f"mkdir -p {shlex.quote(dirname(self.path))}", f"ln -s {target} {path}")

    def undo(self) -> Op | None:
        return PutSymlink(self.path, self.old, self.target)
