"""What the flows of a lab ought to look like, and which do not.

The connection tracking decides once, when a flow begins, where it goes and under whose address it
is known, and the kernel abides by that for as long as packets come. So a client that goes on
sending keeps what was decided before the lab changed.

A flow is judged by what the lab says now and by what it said before. It does not fit

1. where an address of it has left the lab, or is another node's by now;
2. where it was redirected (DNAT) to a node as a port was published before, or to another place than
   its port is published to now;
3. where it was not redirected and its port is published now: who sent before is answered by the
   machine, or refused;
4. where it could not be opened now: `internal`, `reach`, `icc`, networks that are reached by
   published ports only;
5. where it leaves as it should not: by a node's own address though its network has `nat`, or as it
   was translated before.

Where frames that stay within a bridge pass the firewall (bridge-nf-call-iptables), their flows are
known, too, and nothing tells them from those that the machine routes. So on networks with nodes
that may be routers, which lead what the machine would not, and on those without the machine, 4 and
the first half of 5 count only for what the lab had said otherwise before, and where its rules were
missing.

All else is somebody else's. What other programs have translated is left alone, too: an address or a
port that the lab gave neither now nor before was given by one of them, which would give it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from typing import Generic, Literal, NamedTuple, TypeVar

from bascule.wire.conntrack import ASSURED, EXPECTED, SCTP, TCP, UDP, Flow
from bascule.wire.inet import pack_address

GATEWAY = ""  # who has a bridge's own address: the machine
ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (a port that is published on all addresses; nothing is bound)
PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_OUTSIDE, _MACHINE = "", "/"  # no network has such a name

T = TypeVar("T")
Endpoint = tuple[str, int]  # an address and a port
packed = lru_cache(8192)(pack_address)


class Prefixes(Generic[T]):
    """Prefixes, of an address and a length, each with what is to be known of it. The longest that
    an address is in counts, as with routes."""

    def __init__(self, rows: Iterable[tuple[bytes, int, T]] = ()) -> None:
        # bytes of an address and length → by number
        self._rows: dict[tuple[int, int], dict[int, T]] = {}
        for address, length, what in rows:
            host = 8 * len(address) - length
            number = int.from_bytes(address, "big") >> host << host
            self._rows.setdefault((len(address), length), {})[number] = what
        lengths = sorted(self._rows, reverse=True)
        self._lengths = {
            size: [length for each, length in lengths if each == size] for size in (4, 16)
        }

    def match(self, address: bytes) -> tuple[int, T | None]:
        """Length and what is known; -1 and None where the address is in no prefix."""
        size, number = len(address), int.from_bytes(address, "big")
        for length in self._lengths.get(size, ()):
            host = 8 * size - length
            found = self._rows[size, length].get(number >> host << host)
            if found is not None:
                return length, found
        return -1, None


class Spot(NamedTuple):
    """What the machine's routes say of addresses: its own (``local``), those of many, of which it
    is one (``shared``: broadcast, multicast, anycast), or those of others. ``link`` is the index of
    the bridge of another lab on which they are."""

    kind: Literal["local", "shared", "others"]
    link: int = 0


Places = Prefixes[Spot]


@dataclass(frozen=True)
class Passage:
    """What a lab says of flows, at one time.

    ``subnets`` maps each prefix to its network, ``owners`` each address to its node or
    :data:`GATEWAY`. ``ports``: protocol, address of the machine (or of :data:`ANY`) and port →
    address and port of the node. ``served``: addresses and ports on which the lab's own servers
    answer. ``reach``: pairs of networks. Networks that are ``internal``, ``apart`` (`icc: false`),
    ``guarded`` (reached from outside by published ports only), ``uplinked``, or have ``routers`` of
    their own. ``nat``: network and IP version → the address by which flows leave, empty for that of
    the machine's interface."""

    subnets: Mapping[str, str]
    owners: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[tuple[int, str, int], Endpoint] = field(default_factory=dict)
    served: frozenset[Endpoint] = frozenset()
    reach: frozenset[tuple[str, str]] = frozenset()
    internal: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()
    uplinked: frozenset[str] = frozenset()
    routers: frozenset[str] = frozenset()
    nat: Mapping[tuple[str, int], str] = field(default_factory=dict)
    prefixes: Prefixes[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        prefixes = ((ip_network(text), network) for text, network in self.subnets.items())
        rows = (
            (prefix.network_address.packed, prefix.prefixlen, network)
            for prefix, network in prefixes
        )
        object.__setattr__(self, "prefixes", Prefixes(rows))

    def target(self, protocol: int, asked: Endpoint) -> Endpoint | None:
        """Where a published port leads; one of that address counts before one of all."""
        address, port = asked
        found = self.ports.get((protocol, address, port))
        return found or self.ports.get((protocol, ANY[6 if ":" in address else 4], port))

    def network(self, address: str, places: Places) -> str:
        """The network on which an address is at home, empty for somebody else's: the machine may
        have routes to parts of a subnet, and addresses in it."""
        length, network = self.prefixes.match(packed(address))
        if network is None or address in self.owners:
            return network or ""
        longer, spot = places.match(packed(address))
        return "" if longer > length and spot is not None and spot.kind != "shared" else network


class Passages(NamedTuple):
    """What a lab says now (None: it goes) and what it said before, in runs that were killed, too.
    ``own``: the interface indexes of its bridges. ``anew``: its rules are missing, or have just
    been made."""

    now: Passage | None
    before: tuple[Passage, ...] = ()
    own: range = range(0)
    anew: bool = False


class Judge:
    """Says of flows whether they fit. ``places``: the machine's routes, without those to the lab's
    own subnets. ``bridged``: the IP versions for which frames within a bridge pass the firewall."""

    def __init__(self, passages: Passages, places: Places, bridged: Collection[int] = ()) -> None:
        self._now, self._before = passages.now, passages.before
        self._places = places
        self._unsure = () if passages.anew else bridged
        self._earlier = [
            (then, Judge(Passages(then), places)) for then in passages.before if self._unsure
        ]
        self._spots: dict[str, Spot] = {}
        self._ends: dict[str, str] = {}

    def why_wrong(self, flow: Flow) -> str:
        """Why a flow does not fit, in a few words; empty where it does, or is none of the lab's."""
        if flow.zone or _stays_on_its_link(flow.original.dst):
            # of a program that keeps flows apart, where the same addresses are others'; or led
            # nowhere by anybody
            return ""
        gone = self._gone(flow) if self._before else ""
        if gone or self._now is None or flow.status & EXPECTED:
            return gone
        now = self._now
        wrong = self._redirected(now, flow)
        if not wrong:
            led = self._led(now, flow)
            wrong = led if led and self._is_sure(now, flow) else self._translated(now, flow)
        return wrong

    def _gone(self, flow: Flow) -> str:
        """Addresses that were the lab's."""
        now = self._now
        for address in dict.fromkeys((*flow.original[:2], *flow.reply[:2])):
            for then in self._before:
                if not then.network(address, self._places):
                    continue
                if now is None or now.prefixes.match(packed(address))[1] is None:
                    return f"{address} is no longer in the lab"
                if address in then.owners and then.owners[address] != now.owners.get(address):
                    return (
                        f"{address} is another's now"
                        if address in now.owners
                        else f"{address} is no longer in the lab"
                    )
        return ""

    def _redirected(self, now: Passage, flow: Flow) -> str:
        """Published ports, of now and of before."""
        protocol = flow.original.protocol
        asked, actual = (flow.original.dst, flow.original.dport), (flow.reply.src, flow.reply.sport)
        should = now.target(protocol, asked)
        if asked == actual:
            return (
                f"{_port(flow)} is published now"
                if should and self._is_for_ports(now, flow)
                else ""
            )
        if should == actual or not now.network(actual[0], self._places):
            return ""
        if should:
            return f"{_port(flow)} leads elsewhere now"
        was = any(then.target(protocol, asked) == actual for then in self._before)
        return f"{_port(flow)} is no longer published there" if was else ""

    def _is_for_ports(self, now: Passage, flow: Flow) -> bool:
        """Whether the lab's rules would redirect such a packet today. An open connection is left to
        the program of the machine that has it."""
        src, dst, protocol, _sport, dport, _icmp = flow.original
        if protocol in (TCP, SCTP) and flow.status & ASSURED:
            return False
        come, go = self._spot(src), self._spot(dst)
        if (dst, dport) in now.served or (go.kind != "local" and now.owners.get(dst) != GATEWAY):
            return False
        if come.kind != "local" and (dst == "::1" or dst.startswith("127.")):
            return False
        return not go.link or go.link != come.link  # another lab's node that asks its own bridge

    def _led(self, now: Passage, flow: Flow) -> str:
        """What could not be opened now, or not under a node's own address."""
        come, go = self._end(flow.original.src), self._end(flow.reply.src)
        if come == go and come not in now.apart:
            return ""
        redirected = _is_redirected(flow)
        forbidden = self._forbidden(now, come, go, flow.reply.src, redirected)
        if forbidden or redirected or go != _OUTSIDE or flow.reply.dst != flow.original.src:
            return forbidden
        return (
            f"{come} has nat now"
            if (come, flow.version) in now.nat and come not in now.uplinked
            else ""
        )

    def _is_sure(self, now: Passage, flow: Flow) -> bool:
        """Whether the machine has routed this flow, or the lab had led it otherwise before."""
        ends = {self._end(flow.original.src), self._end(flow.reply.src)}
        if flow.version not in self._unsure or now.routers.isdisjoint(ends):
            return True
        return any(not judge._led(then, flow) for then, judge in self._earlier)  # noqa: SLF001 (of this class)

    def _forbidden(self, now: Passage, come: str, go: str, target: str, redirected: bool) -> str:
        """What could not be opened now. What is redirected to a node may come from anywhere but an
        internal network."""
        if (
            come in now.internal
            and go != come
            and not (go == _MACHINE and self._is_near(now, come, target))
        ):
            return f"{come} is internal"
        if go in now.internal and come not in (go, _MACHINE):
            return f"{go} is internal"
        if redirected or come == _MACHINE or go in (_OUTSIDE, _MACHINE):
            return ""
        if come == _OUTSIDE:
            return f"{go} is reached by published ports only" if go in now.guarded else ""
        if come == go:
            return f"nodes of {come} do not reach each other"
        return "" if (come, go) in now.reach else f"{come} does not reach {go}"

    def _is_near(self, now: Passage, network: str, address: str) -> bool:
        """Whether it is an address of this network's bridge, or of all that are on it."""
        stays = _stays_on_its_link(address) or self._spot(address).kind == "shared"
        return stays or now.network(address, self._places) == network

    def _translated(self, now: Passage, flow: Flow) -> str:
        """What leaves the machine as it was translated before."""
        src, shown = flow.original.src, flow.reply.dst
        redirected = _is_redirected(flow)
        come = self._end(src)
        if (
            shown == src
            or redirected
            or come in (_OUTSIDE, _MACHINE)
            or self._end(flow.reply.src) != _OUTSIDE
        ):
            return ""
        should = now.nat.get((come, flow.version))
        for then in self._before:
            was = then.nat.get((then.network(src, self._places), flow.version))
            if was in ("", shown) and should not in (was, shown):
                return (
                    f"{come} has no nat any more"
                    if should is None
                    else f"{come} has another outbound address now"
                )
        return ""

    def _spot(self, address: str) -> Spot:
        known = self._spots.get(address)
        if known is None:
            known = self._spots[address] = self._places.match(packed(address))[1] or Spot("others")
        return known

    def _end(self, address: str) -> str:
        """A network, the machine itself, or outside."""
        known = self._ends.get(address)
        if known is None:
            known = self._ends[address] = self._looked_up(address)
        return known

    def _looked_up(self, address: str) -> str:
        if self._now is None or _stays_on_its_link(address) or self._spot(address).kind != "others":
            return _MACHINE
        if self._now.owners.get(address) == GATEWAY:
            return _MACHINE
        return self._now.network(address, self._places) or _OUTSIDE


def _is_redirected(flow: Flow) -> bool:
    return (flow.original.dst, flow.original.dport) != (flow.reply.src, flow.reply.sport)


def _port(flow: Flow) -> str:
    protocol = flow.original.protocol
    return f"port {flow.original.dport}/{_NAMES.get(protocol, protocol)}"


def _stays_on_its_link(address: str) -> bool:
    """Link-local, multicast, and the broadcast of whatever network one is in: never routed by a
    lab."""
    if ":" in address:
        return address.startswith(("fe80:", "ff"))
    return int(address.partition(".")[0]) >= 224
