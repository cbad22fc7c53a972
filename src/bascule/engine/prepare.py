"""From what is asked for and what is there to a plan. Reads the kernel, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from ipaddress import ip_network

from bascule.engine.claims import Claims
from bascule.engine.forecast import refuse_impossible, refuse_settings
from bascule.engine.forwarding import memories, of_the_world, routers
from bascule.engine.memory import recall
from bascule.engine.notes import notes
from bascule.engine.scope import whole_scope
from bascule.errors import Conflict, InputError
from bascule.host import nft, pasta, process, resolving
from bascule.host.announce import Announcement
from bascule.host.inside import addresses
from bascule.host.listening import listening
from bascule.host.observe import observe
from bascule.host.seen import Observation
from bascule.host.world import HostWorld, PrivateWorld, World
from bascule.kernel.address import Address
from bascule.kernel.fact import Claim, Fact, Memory, Place, only
from bascule.kernel.look import Scope
from bascule.kernel.op import Indexes, Key
from bascule.kernel.passage import Passages
from bascule.kernel.program import DNSMASQ, WAY_OUT
from bascule.kernel.ruleset import is_plain
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.upstream import Upstream
from bascule.plan import filed, owner
from bascule.plan.desired import Costly, desired, places
from bascule.plan.diff import Plan, diff
from bascule.plan.firewall import LEASES
from bascule.plan.flows import changes_of, closing, passages
from bascule.plan.given import Machine
from bascule.plan.names import Etc
from bascule.state.record import Record, Stored, damaged_topology
from bascule.topology.addressing import assign
from bascule.topology.load import from_data, judge
from bascule.topology.model import Assigned, Topology
from bascule.topology.ports import Taken, publish
from bascule.topology.six import stripped, without_ipv6


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with what it was made from. ``want`` are the facts of the lab once the plan is carried
    out, ``have`` those now. With a ``part`` that is so of these nodes only, and nobody has looked
    at the others."""

    lab: Assigned | None
    plan: Plan
    want: list[Fact]
    seen: Observation = field(default_factory=Observation)
    have: list[Fact] = field(default_factory=list)
    part: frozenset[str] | None = None

    def with_notes(self, more: Iterable[str]) -> Prepared:
        """The same, with what is to be told first."""
        return replace(self, plan=replace(self.plan, notes=(*more, *self.plan.notes)))


def stored_topology(record: Record | None) -> Assigned | None:
    """The topology of a record, checked again: state files are input like any other."""
    if record is None or record.topology is None:
        return None
    try:
        lab = assign(from_data(record.topology, record.name))
    except InputError as error:
        raise damaged_topology(record.name, str(error).splitlines()[0]) from error
    if lab.name != record.name:
        raise damaged_topology(record.name, "it is another lab's")
    return lab


def choose_all(
    topology: Topology, previous: Assigned | None, world: World | None, claims: Claims
) -> Assigned:
    """Every choice made that the file leaves open, and that of :mod:`bascule.topology.six`; what
    the running lab has stays. Raises :class:`TopologyError` where what was chosen does not fit the
    rest, and :class:`InputError` where nothing is left to choose from."""
    topology = without_ipv6(topology)
    if previous is not None and not topology.ipv6:
        previous = Assigned(stripped(previous))
    kept = {network.name for network in previous.networks} if previous else set()
    open_ones = [
        network for network in topology.networks if not network.subnets and network.name not in kept
    ]
    busy = [prefix for _lab, _network, prefix in claims.prefixes]
    if open_ones and world is not None:
        busy += [
            ip_network(text, strict=False)
            for text in world.call(observe, Scope(), world.paths).prefixes
        ]
    lab = assign(topology, previous, busy)
    if open_ones:
        judge(lab, topology.name)
    return _published(lab, previous, world, claims)


def _heard(lab: Assigned, world: World | None, claims: Claims) -> Taken:
    """The machine's ports on which somebody listens. A private world's are the machine's, too,
    where it has a way out. Other labs' servers listen on their bridges, whose addresses are nobody
    else's."""
    heard = Taken()
    bridges = [prefix for _lab, _network, prefix in claims.prefixes]
    own = {gateway for network in lab.networks for gateway in network.gateways}
    leasing = [("udp", number) for number in LEASES.values()] if claims.leases else []
    for port in listening() if isinstance(world, HostWorld) or not pasta.why_not() else ():
        # The lab's own name servers keep theirs by a rule.
        theirs = port.host is not None and (
            port.host in own
            or port.host.is_link_local
            or any(port.host in each for each in bridges)
        )
        if not theirs and (port.protocol, port.published) not in leasing:
            heard.add(port, "a listening socket")
    return heard


def _published(
    lab: Assigned, previous: Assigned | None, world: World | None, claims: Claims
) -> Assigned:
    """Ports of the host chosen; those of the file must be free, but for what the running lab has
    already."""
    if not any(node.ports for node in lab.nodes):
        return lab
    heard = _heard(lab, world, claims)
    had = Taken()
    for node in previous.nodes if previous else ():
        for port in node.ports:
            had.add(port, node.name)
    taken = []
    for node in lab.nodes:
        for port in node.ports:
            found = heard.owner_of(port) if had.owner_of(port) is None else None
            if found:
                taken.append(
                    f"port {found[0]} of {node.name} is taken by {found[1]} (`ss -ltunp` "
                    f"shows whose); choose another"
                )
    if taken:
        raise Conflict("\n".join(taken))
    return Assigned(publish(lab, previous, (heard, claims.ports)))


def prepare(
    name: str,
    lab: Assigned | None,
    stored: Stored,
    current: Assigned | None,
    world: World | None,
    indexes: Indexes,
    others: Claims,
    part: frozenset[str] | None = None,
) -> Prepared:
    """The plan from what the world has to ``lab`` (None: to nothing). ``current`` is the topology
    of the newest record; ``others`` is what the other labs of the world have. Raises
    :class:`Conflict` where something that bascule did not make is in the way."""
    listing = _listing(world) if lab is not None else None  # who takes away does not come back
    found = _compare(name, lab, stored, current, world, indexes, others, listing, part)
    refuse_impossible(lab, current, found.want, found.seen, others.owners)
    clashes = owner.conflicts(
        found.want, found.own, found.foreign, found.seen.indexes, others.owners
    )
    if clashes:
        raise Conflict("\n".join(clashes))
    plan = _difference(found, indexes)
    if lab is not None and world is not None and not found.seen.settable:
        refuse_settings(plan, world)
    said = notes(lab, found.seen, found.want) if lab is not None else _left(found)
    return Prepared(
        lab,
        replace(plan, notes=tuple(said), lab=name),
        found.want,
        found.seen,
        found.own,
        part,
    )


def _left(found: _Compared) -> Iterator[str]:
    """What stands where the lab had something, is not the lab's, and so stays when that goes."""
    for fact in found.foreign:
        if fact.contains and fact.key in found.known:
            yield f"{fact.describe()} stays: it is not the lab's, by what it is known by"


def drift(
    name: str, lab: Assigned, stored: Stored, world: World, indexes: Indexes, others: Claims
) -> tuple[list[Fact], Plan]:
    """The lab's own facts as they are, and the plan that makes them what they should be. What
    stands in the way is not refused: its place counts as empty."""
    found = _compare(name, lab, stored, lab, world, indexes, others)
    return found.own, _difference(found, indexes)


def look_again(
    before: Prepared,
    stored: Stored,
    current: Assigned | None,
    world: World,
    indexes: Indexes,
    others: Claims,
) -> list[Fact]:
    """What is there now of what ``before`` was made from."""
    assert before.lab is not None  # noqa: S101 (taking away is not undone)
    found = _compare(
        before.lab.name,
        before.lab,
        stored,
        current,
        world,
        indexes,
        others,
        _listing(world),
        before.part,
    )
    return found.own


def _listing(world: World | None) -> Callable[[str, tuple[str, ...]], str] | None:
    return partial(world.call, nft.listing) if world is not None else None


@dataclass(frozen=True, slots=True)
class _Compared:
    """What is wanted, what is there, whose it is; ``known`` are the keys that the last run left
    true. ``passages`` gives what flows ought to look like; a private world takes its flows along
    where it goes, and there is none."""

    want: list[Fact]
    own: list[Fact]
    foreign: list[Fact]
    known: set[Key]
    seen: Observation
    passages: Callable[[], Passages] | None


def _compare(
    name: str,
    lab: Assigned | None,
    stored: Stored,
    current: Assigned | None,
    world: World | None,
    indexes: Indexes,
    others: Claims,
    listing: Callable[[str, tuple[str, ...]], str] | None = None,
    part: frozenset[str] | None = None,
) -> _Compared:
    """``listing``: who says how a table of rules that others have changed can be made again;
    ``part``: the nodes that are looked at."""
    before = places(current, Costly(current, part)) if current is not None else []
    # A change that was killed: both states count.
    older = stored_topology(stored.record) if stored.journal is not None else None
    before += places(older, Costly(older, part)) if older is not None else []
    made = Costly(lab, part) if lab is not None else None
    first = places(lab, made) if lab is not None else []
    private = isinstance(world, PrivateWorld)
    said = cache(lambda: passages(lab, (current, older, *_killed(stored)), private, indexes.range))
    flows = None if private and lab is None else said
    seen = Observation()
    if world is not None:
        scope = whole_scope(name, before, first, stored, indexes, lab, part is not None)
        seen = world.call(observe, replace(scope, flows=flows), world.paths)
    _look_outside(seen, world)
    for (node, interface), index in seen.indexes.items():
        indexes.learn(node, interface, index)
    remembered = others.forwarding | of_the_world(memories(stored))
    want = desired(lab, machine_of(seen, remembered), made) if lab is not None else []
    known = recall(name, before, want, seen, stored, others, listing, lab is None)
    want = [fact for fact in want if fact.is_wanted(known)]
    facts = [told for fact in seen.facts if (told := fact.settled(known)) is not None]
    claim = Claim(name, stored.namespaces, indexes.range, seen.indexes)
    own, foreign = owner.split(claim, facts)
    if lab is not None:
        want, own = filed.with_modes(want, own, seen.modes)
    return _Compared(want, own, foreign, set(known.before), seen, flows)


def _killed(stored: Stored) -> list[Assigned]:
    """What killed runs before the newest one had begun to make."""
    newest = stored.newest
    found = (
        (stored_topology(replace(newest, topology=topology)) for topology in newest.killed)
        if newest is not None
        else ()
    )
    return [lab for lab in found if lab is not None]


def _difference(found: _Compared, indexes: Indexes) -> Plan:
    plan = diff(found.want, found.own, indexes, found.known)
    if found.passages is None:
        return plan
    flows = changes_of(found.seen.unfit, found.passages()) if found.seen.unfit else []
    return replace(
        plan, changes=(*plan.changes, *flows), closing=closing(plan.changes, found.passages)
    )


def _look_outside(seen: Observation, world: World | None) -> None:
    """What only the caller sees of a private world, or of one that is not there yet: its way
    out."""
    if isinstance(world, HostWorld):
        return
    seen.private, seen.alone, seen.without_uplink = True, True, pasta.why_not()
    resolving.from_outside(seen, addresses())
    if world is None:
        seen.dnsmasq = process.path_of(DNSMASQ) is not None
    elif any(fact.key == WAY_OUT.key for fact in seen.facts):
        seen.without_uplink = ""  # what works is not given up, even if it could not be started now
    if seen.without_uplink:
        seen.resolvers, seen.upstream = (), Upstream("")


def machine_of(seen: Observation, known: Mapping[int, Memory]) -> Machine:
    """What a lab's facts depend on, of what was seen. ``known`` is what labs remember, by IP
    version, from before the world passed packets on for them."""
    dropping = [chain for chain in seen.forward_chains if chain.drops] if nft.program() else []
    usable = [chain for chain in dropping if is_plain(chain.table) and is_plain(chain.name)]
    return Machine(
        nft.program() is not None,
        tuple(usable),
        seen.bridge_nf,
        seen.ipv6,
        seen.dnsmasq,
        seen.resolvers,
        seen.upstream,
        seen.private,
        pasta=seen.private and not seen.without_uplink,
        alone=seen.alone,
        least_mtu=seen.least_mtu,
        own_forwarding=frozenset() if seen.private else seen.forwarding.difference(known),
        routers=routers(seen, known.get(4)),
        etc=Etc(seen.users, seen.etc_writable),
        settable=seen.settable,
        firewalld=seen.firewalld is not None and not seen.firewalld.silent,
        placed=seen.firewalld.placed if seen.firewalld is not None else frozenset(),
    )


def foreseen(record: Record, prepared: Prepared) -> list[tuple[str, str, str]]:
    """Settings as they are before the first change, with those that the plan is about to change:
    who comes after a killed run has no other way to know."""
    seen = {(fact.node, fact.name): fact.value for fact in only(prepared.seen.facts, Sysctl)}
    seen |= prepared.seen.before
    coming = (change.fact for change in prepared.plan.changes if change.sign != "-")
    changing = [(fact.node, fact.name) for fact in only(coming, Sysctl)]
    new = {place: seen[place] for place in changing if place in seen}
    known = {(node, key): value for node, key, value in record.priors}
    return [(*place, value) for place, value in (new | known).items()]


def leaving_links(prepared: Prepared) -> dict[str, list[int]]:
    """The indexes of the interfaces that go, by namespace: who makes one of the same name next must
    not meet the old one."""
    found: dict[str, list[int]] = {}
    for change in prepared.plan.changes:
        for node, name in change.fact.lingers if change.sign == "-" else ():
            if (node, name) in prepared.seen.indexes:
                found.setdefault(node, []).append(prepared.seen.indexes[node, name])
    return found


def moved_addresses(prepared: Prepared) -> list[Announcement]:
    """The addresses of interfaces that were made or changed: a neighbour may know them under
    another MAC."""
    macs, touched = dict[Place, str](), set[Place]()
    for fact in prepared.want:
        macs |= fact.macs
    for change in prepared.plan.changes:
        if change.sign != "-" and change.fact.moves:
            marks = (*change.fact.contains, *change.fact.within)
            touched.update((mark[1], mark[2]) for mark in marks if mark[0] == "link")
    return [
        Announcement(*place, macs[place], fact.address)
        for fact in only(prepared.want, Address)
        if (place := (fact.node, fact.device)) in touched
    ]
