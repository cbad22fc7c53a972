"""What every fact and every operation answers, and the empty answers.

The rest of the house asks these questions and names no noun. A noun (one file here) answers those
for which it has something to say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from bascule.kernel.op import WORLD, Effect, Indexes, Key
from bascule.kernel.program import Instance
from bascule.kernel.told import Kind

F = TypeVar("F", bound="Fact")
Place = tuple[str, str]  # a namespace, and the name of something in it


class Op:
    """One change: in which namespace, what it does, the lines of sh that do the same, and the way
    back, None where there is none."""

    __slots__ = ()

    if TYPE_CHECKING:  # a field, or a property: what stood here would count as a field's default

        @property
        def node(self) -> str: ...

    def effect(self) -> Effect:
        """What is done, as data."""
        raise NotImplementedError

    def shell(self) -> tuple[str, ...]:
        """The lines of sh that do the same."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        """Its first command in one line, for messages: of what is read from the standard input
        only that it is."""
        line, *more = self.shell()[0].split("\n")
        return line.removesuffix(" <<'END'") if more else line

    def undo(self) -> Op | None:
        """What takes it back."""
        return None

    @property
    def makes(self) -> str:
        """The node whose namespace it makes, or gives its name."""
        return ""

    @property
    def drops(self) -> str:
        """The node whose namespace goes with what runs in it."""
        return ""

    @property
    def releases(self) -> str:
        """The node whose namespace, somebody else's, loses its name."""
        return ""


class Fact:
    """One thing that is true of the kernel.

    ``within`` holds the marks of the things that take this fact with them when they go;
    ``contains`` the marks that this fact gives to others.
    """

    __slots__ = ()

    noun: ClassVar[Kind]
    late: ClassVar[bool] = False  # it goes after all that is new has come: it may hold that
    # Of a script in the classic spelling (:mod:`bascule.plan.classic`): which part, and what of it
    # comes first. In part 0 is what is written with its interface.
    section: ClassVar[tuple[int, int]] = (5, 0)
    order: ClassVar[int] = 9  # on the way back of a failed run: what holds things comes before them
    # The signs of changes with which the kernel may take something else along.
    disturbs: ClassVar[str] = ""
    # A neighbour may know an address that it holds under another MAC.
    moves: ClassVar[bool] = False
    # With it flows go astray; and whether it says which flows may be at all.
    carries_flows: ClassVar[bool] = False
    judges_flows: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """What tells it from all others; the first word is the noun's."""
        raise NotImplementedError

    if TYPE_CHECKING:

        @property
        def node(self) -> str: ...

    @property
    def called(self) -> str:
        """Its own name: of an interface, an address, a file."""
        return self.key[-1]

    @property
    def within(self) -> tuple[Key, ...]:
        return ()

    @property
    def contains(self) -> tuple[Key, ...]:
        return ()

    @property
    def interface(self) -> str:
        """The interface in ``node`` that it is at; empty where it is at none."""
        return ""

    @property
    def rank(self) -> int:
        """Its place among what goes: 0 before all, 1 what holds things, 2 the rest."""
        return 1 if self.contains else 2

    @property
    def frees(self) -> str:
        """The node whose interfaces go with it, so that their indexes are free again."""
        return ""

    @property
    def ports(self) -> tuple[tuple[Place, str], ...]:
        """Interfaces that are ports by it, each with its bridge before it."""
        return ()

    @property
    def taken(self) -> Place | None:
        """The name of an interface that it needs for itself."""
        return None

    @property
    def macs(self) -> Mapping[Place, str]:
        """The MACs that it gives to interfaces."""
        return {}

    @property
    def lingers(self) -> tuple[Place, ...]:
        """The interfaces that the kernel takes away later, when it goes."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths at which it can be seen that somebody has changed it."""
        return ()

    @property
    def is_shared(self) -> bool:
        """Whether it is of all labs together: others wait until it has gone."""
        return False

    @property
    def is_outside(self) -> bool:
        """Whether a private world can't bring it about itself: its caller does."""
        return False

    @property
    def can_come_back(self) -> bool:
        """Whether a failed run can make it again as it was seen."""
        return True

    @property
    def is_irreplaceable(self) -> bool:
        """Whether something is lost where it can't come back."""
        return False

    def describe(self) -> str:
        """In a few words, for a person."""
        raise NotImplementedError

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        """What makes it."""
        return ()

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        """What takes it away."""
        return ()

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        """What makes it of another one with its key; None where the kernel can't change one into
        the other: then the old one is removed and this one created."""
        return None

    def differences(self, old: Fact) -> tuple[str, ...]:
        """What is not as it should be, each in a few words."""
        return ()

    def sought(self, scope: Sought) -> None:
        """Add to the scope of a look where it is to be found."""

    def is_mine(self, claim: Claim) -> bool:
        """Whether it is the lab's own, as far as it tells by itself."""
        return True

    def settled(self, known: Known) -> Fact | None:
        """As it is with what earlier runs know of it; None where it is nothing of the lab's."""
        return self

    def is_wanted(self, known: Known) -> bool:
        """Whether a lab that wants it is to have it, with what was seen."""
        return True

    def whole(self, made: Fact | None) -> Fact:
        """As it was seen, with what a look does not tell of what was ``made``."""
        return self

    def comparable(self) -> Fact:
        """As far as two looks tell the same of it."""
        return self

    def refusal(self, there: Fact) -> str:
        """A whole sentence for what is in its place, which is somebody else's; empty where the
        usual one will do, or where it is not in the way."""
        return ""

    def stays(self) -> Iterator[str]:
        """What a script for the way back has to say of it."""
        return iter(())

    def by_hand(self, lab: Beside) -> Iterator[str]:
        """The lines that a person writes for it."""
        for op in self.create(Indexes()):
            yield from op.shell()

    def away_by_hand(self) -> Iterator[str]:
        """And for the way back; none for what goes with something else."""
        if not self.within:
            for op in self.remove(Indexes()):
                yield from op.shell()

    def shown(self) -> str:
        """What `show` says of it at its interface; empty for what is shown otherwise."""
        return ""


class WorldFact(Fact):
    """One of the world's namespace."""

    __slots__ = ()

    @property
    def node(self) -> str:
        return WORLD


class WorldOp(Op):
    """One in the world's namespace."""

    __slots__ = ()

    @property
    def node(self) -> str:
        return WORLD


class Cable(NamedTuple):
    """A veth pair, seen from one of its ends: where the ``other`` one is, and the name and the MAC
    of this one."""

    other: Place
    name: str
    mac: str


@dataclass(slots=True)
class Sought:
    """Where facts are looked for: namespaces by name, those of others with their path
    (``adopted``); ``links`` by what they are told by, the ends of pairs (``interfaces``);
    settings and files by key; interfaces of
    the machine (``uplinks``); ``processes`` that serve the lab. What nodes give an interface
    themselves, by IP version (``autoconf``), interfaces that are to have IPv6 addresses (``six``);
    veth pairs by node (``cables``); whether packets are passed on (``forwarding``): node, IP
    version, and how it should be."""

    nodes: dict[str, None] = field(default_factory=dict)
    adopted: dict[str, str] = field(default_factory=dict)
    links: set[Place] = field(default_factory=set)
    interfaces: set[Place] = field(default_factory=set)
    sysctls: set[Place] = field(default_factory=set)
    files: dict[str, None] = field(default_factory=dict)
    uplinks: set[str] = field(default_factory=set)
    processes: set[Instance] = field(default_factory=set)
    autoconf: set[tuple[str, str, int]] = field(default_factory=set)
    six: dict[str, set[str]] = field(default_factory=dict)
    cables: dict[str, set[Cable]] = field(default_factory=dict)
    forwarding: set[tuple[str, int, bool]] = field(default_factory=set)


class Beside(NamedTuple):
    """What a person keeps in mind who writes a fact's lines: the facts ``at`` each interface, and
    how many ``interfaces`` each node has."""

    at: Mapping[Place, Sequence[Fact]]
    interfaces: Mapping[str, int]

    def lines(self, *place: str) -> Iterator[str]:
        """Those of what is at this interface."""
        for fact in self.at.get((place[0], place[1]), ()):
            yield from fact.by_hand(self)


BESIDES = "# bascule:"  # what it does beyond what people do


class Claim(NamedTuple):
    """What tells whose something is: the ``lab``, the cookies of its namespaces by name (0: not
    known), its interface ``indexes``, and those that were ``seen`` by (namespace, name)."""

    lab: str
    namespaces: Mapping[str, int]
    indexes: range
    seen: Mapping[Place, int]


Values = dict[str, dict[str, str]]  # settings by interface, or all, or default; then by name


@dataclass(frozen=True, slots=True)
class Memory:
    """What a lab's record keeps of the settings of one IP version: as they were ``before`` the
    first lab changed them, and what they are to be once a run has begun to put them ``back``, so
    that the next one can end what it was killed in."""

    before: Values
    interfaces: Mapping[str, int] = field(default_factory=dict)
    back: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside what the kernel tells: what earlier runs left (``before``) and this one
    wants, by key; ``nodes`` that are there; that the lab goes (``leaving``), so that nobody has
    looked into nodes; what ``tables`` of rules were noted as, and who can say how one is made again
    (``listing``, where that matters); settings from before the lab (``priors``) and those that
    other labs need, too (``shared``); that the last run was ``killed``; what the user has put among
    the lab's files (``strays``); the folder of those that servers can't have read (``deaf``); what
    is remembered of passing packets on, and the IP versions for which labs ``elsewhere`` need it;
    the machine's own interfaces that the lab asks for (``uplinks``)."""

    before: Mapping[Key, Sequence[Fact]] = field(default_factory=dict)
    want: Mapping[Key, Fact] = field(default_factory=dict)
    nodes: Collection[str] = ()
    leaving: bool = False
    tables: Mapping[str, str] = field(default_factory=dict)
    listing: Callable[[str, tuple[str, ...]], str] | None = None
    priors: Mapping[Place, str] = field(default_factory=dict)
    shared: Collection[str] = ()
    killed: bool = False
    strays: Collection[str] = ()
    deaf: str = ""
    forwarding: Mapping[tuple[str, int], Memory] = field(default_factory=dict)
    elsewhere: Collection[int] = ()
    uplinks: Collection[str] = ()


def only(facts: Iterable[Fact], kind: type[F]) -> Iterator[F]:
    """Those of one noun, for what concerns that noun alone."""
    return (fact for fact in facts if isinstance(fact, kind))
