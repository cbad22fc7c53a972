"""Whether packets that are not for the machine are passed on
(Documentation/networking/ip-sysctl.rst).

One write turns it on, and changes more than that (Linux 5.10 to 6.18):

* ``net.ipv4.ip_forward`` (inet_forward_change, net/ipv4/devinet.c) sets ``forwarding`` of each
  interface and of those that come, and ``all.accept_redirects``: to 0 where it is turned on, to 1
  where it is turned off.
* ``net.ipv6.conf.all.forwarding`` (addrconf_fixup_forwarding, net/ipv6/addrconf.c) sets
  ``forwarding`` of each interface and of those that come; off, it sets ``force_forwarding`` (Linux
  6.17) of each interface to 0.
* Whenever ``forwarding`` of IPv6 is turned on, of all or of one interface, the routes that routers
  have announced go, but on interfaces whose ``accept_ra`` is 2 (rt6_purge_dflt_routers,
  net/ipv6/route.c). An interface that forwards hears no router unless it is 2 (ipv6_accept_ra,
  include/net/ipv6.h).

So what stands there before is looked at as a whole (:class:`Settings`), what should stand there
after is worked out as a whole (:func:`turned_on`, :func:`put_back`), and :func:`steps` leads from
one to the other on a way on which no route is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import Fact, Known, Memory, Op, Sought, Values
from bascule.kernel.noun import Noun
from bascule.kernel.op import WORLD, Effect, Indexes, Key, WriteSysctl, WriteSysctls, inside
from bascule.kernel.told import Kind

SWITCH = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
# each name that it goes by
SWITCHES = {SWITCH[4]: 4, "net.ipv4.conf.all.forwarding": 4, SWITCH[6]: 6}
ALL, DEFAULT, LOOPBACK = "all", "default", "lo"
FORWARDING, FORCED = "forwarding", "force_forwarding"
REDIRECTS, ROUTERS = "accept_redirects", "accept_ra"
HEARD_ALWAYS = "2"  # accept_ra: routers are heard by an interface that forwards, too

# What is written, or changed by what is written: of all interfaces together, of those that come,
# and of each.
OF_ALL = {4: (FORWARDING, REDIRECTS), 6: (FORWARDING,)}
OF_DEFAULT = {4: (FORWARDING,), 6: (FORWARDING, ROUTERS)}
OF_EACH = {4: (FORWARDING,), 6: (FORWARDING, ROUTERS, FORCED)}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one IP version as they stand in a namespace, those of labs' own interfaces
    left out. ``interfaces`` have their index, by which one is known again that has got another
    name; ``routed`` are those with routes that a router has announced."""

    version: int
    values: Values
    interfaces: Mapping[str, int]
    routed: frozenset[str] = frozenset()
    node: str = WORLD


def sysctl(version: int, place: str, name: str) -> str:
    """The key; with slashes where the interface's name holds a dot, as in sysctl(8)."""
    if (place, name) == (ALL, FORWARDING):
        return SWITCH[version]
    mark = "/" if "." in place else "."
    return mark.join(("net", f"ipv{version}", "conf", place, name))


def turned(now: Settings, on: bool) -> Values:
    """What stands there when it is on, or off. On: who has heard routers goes on hearing them, and
    on the machine who comes later, too (what comes to a node is the lab's, and has its own
    settings). Off: who has accepted no ICMP redirects still does not."""
    if on:
        deaf = (LOOPBACK, DEFAULT) if now.node else (LOOPBACK,)
        hearing = {
            place
            for place, found in now.values.items()
            if found.get(FORWARDING) == "0" and place not in deaf
        }
        return _switched(_heard_always(now.values, hearing), "1")
    values = _switched(now.values, "0")
    if REDIRECTS in values[ALL]:
        values[ALL][REDIRECTS] = now.values[ALL][REDIRECTS]
    return values


def _heard_always(values: Values, places: Collection[str]) -> Values:
    found = _copied(values)
    for place in places:
        if found[place].get(ROUTERS) == "1":
            found[place][ROUTERS] = HEARD_ALWAYS
    return found


def put_back(now: Settings, memory: Memory) -> Values:
    """What was there before, wherever what is there now is as it was left; what somebody else has
    changed since is his. An interface that came since gets what it would have got."""
    left = _left(memory.before)
    names = {index: name for name, index in memory.interfaces.items() if name in memory.before}
    target: Values = {}
    for place, found in now.values.items():
        then = names.get(now.interfaces[place], DEFAULT) if place in now.interfaces else place
        before, ours = memory.before.get(then, {}), left.get(then, {})
        begun = memory.back.get(place, {})
        target[place] = {
            name: begun.get(
                name, before.get(name, value) if value == ours.get(name, value) else value
            )
            for name, value in found.items()
        }
    return target


def _left(before: Values) -> Values:
    """What we have made of it. An interface that passed packets on may have been made to hear
    routers, too, by a run that met it while another one put things back."""
    if before.get(ALL, {}).get(FORWARDING, "0") != "0":
        return turned(Settings(0, before, {}), on=False)
    return _switched(_heard_always(before, before), "1")


def _switched(values: Values, value: str) -> Values:
    """What the kernel makes of the settings when the switch is set to another value."""
    found = _copied(values)
    found.setdefault(ALL, {}).setdefault(FORWARDING, value)
    for rows in found.values():
        if FORWARDING in rows:
            rows[FORWARDING] = value
        if FORCED in rows and value == "0":
            rows[FORCED] = "0"
        if REDIRECTS in rows:
            rows[REDIRECTS] = "1" if value == "0" else "0"
    return found


def _copied(values: Values) -> Values:
    return {place: dict(found) for place, found in values.items()}


def steps(now: Settings, target: Values) -> tuple[WriteSysctl, ...]:
    """The writes that lead from what is there to ``target``. Where one of them turns forwarding on,
    all whose routes count hear routers until the end, so that none is lost."""
    if target == now.values:
        return ()
    way = _Way(now)
    if any(found.get(FORWARDING, "0") != "0" for found in target.values()):
        hear = [
            place
            for place, found in target.items()
            if found.get(ROUTERS) == HEARD_ALWAYS or place in now.routed
        ]
        way.write({place: {ROUTERS: HEARD_ALWAYS} for place in hear})
    way.turn(target[ALL][FORWARDING])
    way.write(
        {
            place: {name: value for name, value in found.items() if name != ROUTERS}
            for place, found in target.items()
        }
    )
    way.write(target)
    return tuple(way.writes)


class _Way:
    """The writes so far, and what is there then."""

    def __init__(self, now: Settings) -> None:
        self.writes: list[WriteSysctl] = []
        self._now = now
        self._there = _copied(now.values)

    def write(self, values: Values) -> None:
        for place, found in values.items():
            for name, value in found.items():
                if self._there[place].get(name) != value:
                    self._there[place][name] = value
                    key = sysctl(self._now.version, place, name)
                    self.writes.append(
                        WriteSysctl(self._now.node, key, value, gone=place in self._now.interfaces)
                    )

    def turn(self, value: str) -> None:
        if self._there.get(ALL, {}).get(FORWARDING) != value:
            self.write({ALL: {FORWARDING: value}})
            self._there = _switched(self._there, value)


@dataclass(frozen=True, slots=True)
class Forwarding(Fact):
    """The world, or a node, passes packets of this IP version on. ``now`` is what stands there;
    ``back`` what is to stand there when it has gone, None where it is not ours to put anything
    back."""

    noun: ClassVar[Kind] = "forwarding"
    disturbs: ClassVar[str] = "~-"

    version: int
    on: bool = True
    node: str = WORLD
    now: Settings | None = field(default=None, compare=False, repr=False)
    back: Values | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> Key:
        return ("forwarding", self.node, f"IPv{self.version}")

    @property
    def within(self) -> tuple[Key, ...]:
        return (("namespace", self.node),) if self.node else ()

    @property
    def rank(self) -> int:
        return 2 if self.node else 0  # so that nothing is passed on when the rules go

    @property
    def is_shared(self) -> bool:
        return not self.node

    def sought(self, scope: Sought) -> None:
        scope.forwarding.add((self.node, self.version, self.on))
        if self.node:  # where it can't be changed, it is no more than a setting
            keys = (key for key, version in SWITCHES.items() if version == self.version)
            scope.sysctls.update((self.node, key) for key in keys)

    def settled(self, known: Known) -> Fact | None:
        """None of the lab's business is what it neither wants nor has changed, nor what labs
        elsewhere need of the world. What it has to put back is noted in it."""
        memory = known.forwarding.get((self.node, self.version))
        if self.key in known.want:
            return self
        shared = not self.node and self.version in known.elsewhere
        if memory is None or self.now is None or shared:
            return None
        back = put_back(self.now, memory)
        return replace(self, back=back) if steps(self.now, back) else None

    def stays(self) -> Iterator[str]:
        """A script does not know what the settings of the machine were before, nor who needs them
        now; `up` and `down` do."""
        if not self.node:
            yield (
                f"# {self.describe()} stays on. If nothing else needs it, and nobody had set "
                f"anything there before:"
            )
            yield from (f"#   {line}" for line in way_back(self.version))

    def describe(self) -> str:
        also = ", with the settings that it changed" if self.back is not None else ""
        return (
            f"{'' if self.on else 'no '}forwarding of "
            f"IPv{self.version}{f' in {self.node}' if self.node else ''}{also}"
        )

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        now = _untouched(self.version, not self.on, self.node)
        return (SetForwarding(now, turned(now, self.on), anywhere=not self.node),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (
            (SetForwarding(self.now, self.back),)
            if self.now is not None and self.back is not None
            else ()
        )

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        now = old.now if isinstance(old, Forwarding) else None
        return (
            (SetForwarding(now, turned(now, self.on)),) if now is not None else self.create(indexes)
        )

    def differences(self, old: Fact) -> tuple[str, ...]:
        now = old.now if isinstance(old, Forwarding) else None
        if now is None or not self.on:
            return ("is off" if self.on else "is on",)
        on = turned(now, on=True)
        hear = [
            place
            for place, found in on.items()
            if found.get(ROUTERS) != now.values[place].get(ROUTERS) and place != DEFAULT
        ]
        told = ["is off"]
        if hear:
            told.append(
                f"{', '.join(hear)} {'goes' if len(hear) == 1 else 'go'} on hearing routers "
                f"({ROUTERS} {HEARD_ALWAYS})"
            )
        if on[ALL].get(REDIRECTS) != now.values[ALL].get(REDIRECTS):
            told.append("as a router, it accepts no ICMP redirects")
        return tuple(told)


def _untouched(version: int, on: bool, node: str) -> Settings:
    """The settings of a new namespace, where nobody has set any: a node may have been made where
    the machine passes IPv4 on, and then does so, too (devinet_init_net, net/ipv4/devinet.c)."""
    usual = {FORWARDING: "1" if on else "0", REDIRECTS: "0" if on else "1", ROUTERS: "1"}
    if node:
        return Settings(
            version, {ALL: {name: usual[name] for name in OF_ALL[version]}}, {}, node=node
        )
    places = ((ALL, OF_ALL), (DEFAULT, OF_DEFAULT))
    return Settings(
        version,
        {place: {name: usual[name] for name in names[version]} for place, names in places},
        {},
    )


@dataclass(frozen=True, slots=True)
class SetForwarding(Op):
    """``sysctl -w`` of the switch, and of what has to be set before and after it. ``anywhere``: on
    a machine that was not looked at, of whose interfaces the command line has to find out
    itself."""

    now: Settings
    target: Values
    anywhere: bool = False

    @property
    def node(self) -> str:
        return self.now.node

    def effect(self) -> Effect:
        return WriteSysctls(self.node, steps(self.now, self.target))

    def shell(self) -> tuple[str, ...]:
        lines = [
            inside(self.node, "sysctl", "-qw", f"{each.key}={each.value}")
            for each in steps(self.now, self.target)
        ]
        if self.anywhere and self.now.version == 6:
            hear = f"{_everywhere('1', HEARD_ALWAYS)}  # who forwards hears routers only so"
            return (hear, *(line for line in lines if ROUTERS not in line))
        return tuple(lines)

    def undo(self) -> Op | None:
        return replace(
            self, now=replace(self.now, values=self.target), target=self.now.values, anywhere=False
        )


def _everywhere(old: str, new: str) -> str:
    """Of all interfaces and those that come, in sh: who has this value of ``accept_ra`` gets that
    one."""
    rest = (
        f"[[ $each == */{ALL}/* || $each == */{LOOPBACK}/* || $(< $each) != {old} ]] || echo "
        f"{new} > $each"
    )
    return f"for each in /proc/sys/net/ipv6/conf/*/{ROUTERS}; do {rest}; done"


def way_back(version: int) -> tuple[str, ...]:
    """What turns it off on a machine that had no settings of its own before, in sh."""
    hear = (_everywhere(HEARD_ALWAYS, "1"),) if version == 6 else ()
    return (inside(WORLD, "sysctl", "-qw", f"{SWITCH[version]}=0"), *hear)


# Read where settings can be: in the namespace itself (bascule.host.surroundings).
NOUN = Noun("forwarding", groups=(24, 25))  # RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF
