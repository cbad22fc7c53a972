"""What queues the packets that an interface sends, and how fast it lets them go: a token bucket at
the root (tc(8), tc-tbf(8); RTM_NEWQDISC in rtnetlink(7), linux/pkt_sched.h).

An interface of a lab has none by itself. Whatever else somebody puts there is drift, of whatever
kind it is.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bascule.kernel.fact import Beside, Fact, Known, Op
from bascule.kernel.look import Look, Space
from bascule.kernel.noun import Dump, Noun, Probe
from bascule.kernel.op import Effect, Indexes, Key, Netlink, ip
from bascule.kernel.told import Kind
from bascule.wire.attributes import Table, nested_raw, raw, text, u32, u64, unpack_from
from bascule.wire.message import CREATE, REPLACE, Request

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38  # linux/rtnetlink.h
# struct tcmsg { unsigned char family, pad1; unsigned short pad2; int ifindex; __u32 handle, parent,
# info; }
_TCMSG = struct.Struct("=BxxxiIII")
_ROOT = 0xFFFFFFFF  # TC_H_ROOT
_TC = Table(kind=(1, text), options=(2, nested_raw))
_TBF = Table(parms=(1, raw), rate64=(4, u64), burst=(6, u32))

TBF = "tbf"
_NONE = frozenset({"", "noqueue", "noop"})  # what the kernel gives a veth pair by itself
_TICK = 64  # nanoseconds of the kernel's clock for packets (PSCHED_SHIFT, net/pkt_sched.h)
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel counts by itself, without a table
_MOST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Qdisc(Fact):
    """The root qdisc of ``device`` in ``node``. A token bucket lets ``rate`` bytes a second pass
    and ``burst`` bytes at once, and holds up to ``limit`` bytes back. ``options`` are those of one
    that was seen, as the kernel told them: what makes it again, whatever its kind."""

    noun: ClassVar[Kind] = "qdisc"
    section: ClassVar[tuple[int, int]] = (0, 0)

    node: str
    device: str
    kind: str = TBF
    rate: int = 0
    burst: int = 0
    limit: int = 0
    options: bytes = field(default=b"", compare=False, repr=False)

    @property
    def key(self) -> Key:
        return ("qdisc", self.node, self.device)

    @property
    def within(self) -> tuple[Key, ...]:
        return (("link", self.node, self.device),)

    @property
    def interface(self) -> str:
        return self.device

    def describe(self) -> str:
        return f"{self.shown()} on {self.device}" + (f" in {self.node}" if self.node else "")

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (SetQdisc(self, indexes.of(self.node, self.device)),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (DeleteQdisc(self, indexes.of(self.node, self.device)),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        index = indexes.of(self.node, self.device)
        return (SetQdisc(self, index, old if isinstance(old, Qdisc) else None),)

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, Qdisc):
            return ()
        return (f"is {' '.join(old.words())}",)

    def settled(self, known: Known) -> Fact | None:
        """The kernel keeps a burst as a time, in ticks: what differs by no more is the same."""
        wanted = known.want.get(self.key)
        if not isinstance(wanted, Qdisc) or wanted.rate != self.rate:
            return self
        near = abs(wanted.burst - self.burst) <= 2 + 2 * _TICK * self.rate // 10**9
        return replace(self, burst=wanted.burst) if near else self

    def words(self) -> tuple[str, ...]:
        """In tc(8)'s words."""
        if self.kind != TBF:
            return (self.kind,)
        return (
            *(TBF, "rate", rate_text(self.rate * 8)),
            *("burst", str(self.burst), "limit", str(self.limit)),
        )

    def shown(self) -> str:
        return f"{TBF} rate {rate_text(self.rate * 8)}" if self.kind == TBF else self.kind

    def by_hand(self, lab: Beside) -> Iterator[str]:
        yield from SetQdisc(self, 0).shell()


def rate_text(bits: int) -> str:
    """Bits a second as a person writes them: ``10mbit``."""
    for unit, size in (("gbit", 10**9), ("mbit", 10**6), ("kbit", 10**3)):
        if bits >= size and bits % size == 0:
            return f"{bits // size}{unit}"
    return f"{bits}bit"


@dataclass(frozen=True, slots=True)
class SetQdisc(Op):
    """``tc qdisc replace dev … root``. ``old`` is what it takes the place of."""

    qdisc: Qdisc
    index: int
    old: Qdisc | None = None

    @property
    def node(self) -> str:
        return self.qdisc.node

    def effect(self) -> Effect:
        q = self.qdisc
        options = q.options or _options(q)
        body = _TCMSG.pack(0, self.index, 0, _ROOT, 0) + _TC.encode(
            {"kind": q.kind, "options": options}
        )
        return Netlink(q.node, Request(_NEWQDISC, CREATE | REPLACE, body))

    def shell(self) -> tuple[str, ...]:
        q = self.qdisc
        return (_tc(q.node, "qdisc", "replace", "dev", q.device, "root", *q.words()),)

    def undo(self) -> Op | None:
        if self.old is None:
            return DeleteQdisc(self.qdisc, self.index)
        return SetQdisc(self.old, self.index, self.qdisc)


@dataclass(frozen=True, slots=True)
class DeleteQdisc(Op):
    """``tc qdisc del dev … root``"""

    qdisc: Qdisc
    index: int

    @property
    def node(self) -> str:
        return self.qdisc.node

    def effect(self) -> Effect:
        body = _TCMSG.pack(0, self.index, 0, _ROOT, 0)
        gone = (errno.ENODEV, errno.ENOENT)
        return Netlink(self.node, Request(_DELQDISC, 0, body), gone=gone)

    def shell(self) -> tuple[str, ...]:
        return (_tc(self.node, "qdisc", "del", "dev", self.qdisc.device, "root"),)

    def undo(self) -> Op | None:
        return SetQdisc(self.qdisc, self.index)


def _tc(node: str, *words: str) -> str:
    """A tc(8) command, with ``-n NODE`` where it acts inside a node."""
    return "tc" + ip(node, *words).removeprefix("ip")


# struct tc_tbf_qopt { struct tc_ratespec rate, peakrate; __u32 limit, buffer, mtu; } with
# struct tc_ratespec { __u8 cell_log, linklayer; __u16 overhead; __s16 cell_align; __u16 mpu;
# __u32 rate; }
_PARMS = struct.Struct("=BBHhHI12xIII")


def _options(q: Qdisc) -> bytes:
    parms = _PARMS.pack(0, _ETHERNET, 0, 0, 0, min(q.rate, _MOST), q.limit, 0, 0)
    values: dict[str, object] = {"parms": parms, "burst": q.burst}
    if q.rate > _MOST:
        values["rate64"] = q.rate
    return _TBF.encode(values)


def _read(look: Look) -> Iterator[Fact]:
    for node, space in look.spaces:
        for reply in space.dumps.get(_GETQDISC, ()):
            _family, index, handle, parent, _info = unpack_from(_TCMSG, reply.body)
            # What the kernel puts there by itself has no handle.
            if parent == _ROOT and handle and index in look.own[node]:
                found = _TC.decode(reply.body[_TCMSG.size :])
                kind, options = found.get("kind", ""), found.get("options", b"")
                yield _seen(node, space.links[index].name, kind, options)


def _seen(node: str, device: str, kind: str, options: bytes) -> Qdisc:
    if kind != TBF:
        return Qdisc(node, device, kind, options=options)
    found = _TBF.decode(options)
    parms = unpack_from(_PARMS, found.get("parms", b""))
    rate = found.get("rate64") or parms[5]
    burst = rate * parms[7] * _TICK // 10**9
    return Qdisc(node, device, kind, rate, burst, parms[6], options)


def _is_queued(space: Space) -> bool:
    return any(link.qdisc not in _NONE for link in space.links.values())


def _probe() -> Op:
    return SetQdisc(Qdisc("", "doctor1", TBF, 125_000, 5_000, 10_000), 901)


NOUN = Noun(
    "tbf",
    _read,
    dumps=(Dump(Request(_GETQDISC, 0, _TCMSG.pack(0, 0, 0, 0, 0)), _is_queued),),
    groups=(4,),  # RTNLGRP_TC
    probe=Probe(_probe, "sch_tbf", needed=False),
)
