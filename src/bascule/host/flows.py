"""Flows of the connection tracking that do not fit a lab: found, and deleted (ctnetlink).

With few flows a look at the text of /proc/net/nf_conntrack says that all is well, at a thirtieth of
the price of a dump. What does not fit is known by a dump alone: the text does not tell all.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Literal, NamedTuple

from bascule.errors import KernelError
from bascule.host.netlink import NETFILTER, Netlink
from bascule.kernel.flow import Unfit
from bascule.kernel.op import DeleteFlows, DeleteUnfitFlows, Indexes
from bascule.kernel.passage import Judge, Passages, Places, Prefixes, Spot
from bascule.wire import conntrack, rows
from bascule.wire import route as rt
from bascule.wire.attributes import WireError
from bascule.wire.conntrack import Ends, Flow, Tuple
from bascule.wire.inet import ADDRESS_BYTES, AF_UNSPEC
from bascule.wire.message import Reply, Request

_BRIDGED = {
    version: f"/proc/sys/net/bridge/bridge-nf-call-{name}"
    for version, name in ((4, "iptables"), (6, "ip6tables"))
}
_COUNT, _TEXT = "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/thread-self/net/nf_conntrack"
_FEW = 1000  # older kernels begin anew with each page of the text
_BATCH = 64  # a socket has room for so many answers
_ROUTES = Request(rt.GETROUTE, 0, rt.RTMSG.pack(AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0))
_KINDS: dict[int, Literal["local", "shared", "others"]] = {
    rt.RTN_UNICAST: "others",
    rt.RTN_LOCAL: "local",
    rt.RTN_BROADCAST: "shared",
    rt.RTN_ANYCAST: "shared",
}
_LINK_LOCAL = struct.pack("=HH", 20, 1) + b"\xfe\x80"  # RTA_DST of fe80::/16
# gone meanwhile; or in the hands of a network card (older kernels, flow offload)
_LIVED_WITH = (errno.ENOENT, errno.EBUSY)


class Look(NamedTuple):
    """What does not fit, and why nothing of it can be known or ended, where that is so."""

    unfit: tuple[Unfit, ...] = ()
    why_not: str = ""


def look(passages: Callable[[], Passages], routes: Sequence[Reply], lost: bool = False) -> Look:
    """The flows that do not fit. ``routes`` are all of the world's; ``lost``: the lab's rules are
    missing. Nothing is asked where there is no flow at all."""
    count = _count()
    if not count:
        return Look()
    said = passages()
    looker = _Looker(said._replace(anew=said.anew or lost), routes)
    if count <= _FEW and _all_fit(looker):
        return Look()
    try:
        return Look(tuple(_unfit(looker)))
    except (KernelError, OSError) as error:
        return Look((), str(error))


def carry_out(effect: DeleteFlows | DeleteUnfitFlows) -> None:
    """End those that were found, or find them first. Raises :class:`KernelError`."""
    if isinstance(effect, DeleteFlows):
        end(effect.flows)
    else:
        end_unfit(effect.passages)


def end(flows: Sequence[Flow]) -> None:
    """Delete these flows. Raises :class:`KernelError`; that one is gone already is none."""
    with Netlink(NETFILTER) as socket:
        for start in range(0, len(flows), _BATCH):
            answers = socket.batch(
                [conntrack.delete(flow) for flow in flows[start : start + _BATCH]]
            )
            for answer in answers:
                if answer.errno and answer.errno not in _LIVED_WITH:
                    raise KernelError(
                        "conntrack -D", answer.errno, answer.said or os.strerror(answer.errno)
                    )


def end_unfit(passages: Passages) -> None:
    """Find what does not fit by now, and delete it. Raises :class:`KernelError`."""
    if not _count():
        return
    with Netlink() as socket:
        routes = socket.dump(_ROUTES)
    found = look(lambda: passages, routes).unfit
    if found:
        end([unfit.flow for unfit in found])


def why_not() -> str:
    """Why this kernel does not tell of flows; empty where it does."""
    try:
        with Netlink(NETFILTER) as socket:
            socket.dump(conntrack.list_flows())
    except (KernelError, OSError) as error:
        return str(error)
    return ""


def _count() -> int:
    """How many flows there are: 0 also where nothing tracks connections."""
    return _number(_COUNT)


def _number(path: str) -> int:
    """A setting; 0 where there is none."""
    with suppress(OSError, ValueError), open(path) as file:
        return int(file.read())
    return 0


def _all_fit(looker: _Looker) -> bool:
    """Whether the text says so. False where it can't be read."""
    try:
        with open(_TEXT, "rb") as file:
            return not any(
                looker.may_be_wrong(ends, conntrack.spelt)
                for ends in conntrack.written(file.read())
            )
    except (OSError, WireError):
        return False


def _unfit(looker: _Looker) -> Iterator[Unfit]:
    """By a dump. A flow that another one told of (FTP's data) ends with that."""
    with Netlink(NETFILTER) as socket:
        replies = socket.dump(conntrack.list_flows(), looker.is_of_interest)
    found = [flow for flow in map(conntrack.flow, replies) if flow is not None]
    ended = set[Tuple]()
    for flow in found:
        why = looker.why_wrong(flow)
        if why:
            ended.add(flow.original)
            yield Unfit(flow, why)
    for flow in found:
        if flow.master in ended and flow.original not in ended:
            yield Unfit(flow, "belongs to a flow that ends")


class _Looker:
    """A judge who does not judge a hundred thousand flows that are alike but for the client's
    port."""

    def __init__(self, passages: Passages, routes: Sequence[Reply]) -> None:
        self._grounds = _grounds(passages)
        judge = Judge(
            passages,
            places(routes, passages),
            [version for version, path in _BRIDGED.items() if _number(path)],
        )
        self.why_wrong = judge.why_wrong
        self._now = passages.now
        self._near: dict[bytes, bool] = {}
        self._wrong: dict[Ends, bool] = {}

    @cached_property
    def _ports(self) -> set[bytes]:
        published = self._now.ports if self._now is not None else ()
        return {
            bytes((protocol,)) + port.to_bytes(2, "big") for protocol, _address, port in published
        }

    def is_of_interest(self, reply: Reply) -> bool:
        """Whether a dumped flow has to be looked at more closely. Of a hundred thousand hardly any
        has."""
        ends = conntrack.packed(reply)
        if ends is None or conntrack.MASTER in reply.body:
            return True
        return self._is_near(ends) and self.may_be_wrong(ends, conntrack.unpacked)

    def _is_near(self, ends: Ends) -> bool:
        """Whether it may be any of the lab's business."""
        if ends[2] + ends[4] in self._ports:
            return True
        near = self._near
        for address in (ends[0], ends[1], ends[5], ends[6]):
            known = near.get(address)
            if known is None:
                known = near[address] = any(
                    ground.match(address)[1] is not None for ground in self._grounds
                )
            if known:
                return True
        return False

    def may_be_wrong(self, ends: Ends, read: Callable[[Ends], tuple[Tuple, Tuple]]) -> bool:
        """Whether it is wrong unless something excuses it that both tuples do not tell."""
        key = ends[:3] + ends[4:9]
        known = self._wrong.get(key)
        if known is None:
            known = self._wrong[key] = bool(self.why_wrong(Flow(*read(ends))))
        return known


def _grounds(passages: Passages) -> list[Prefixes[str]]:
    return [each.prefixes for each in (passages.now, *passages.before) if each is not None]


def places(routes: Sequence[Reply], passages: Passages) -> Places:
    """What the world's routes say of addresses."""
    return Prefixes(_spots(routes, passages))


def _spots(routes: Sequence[Reply], passages: Passages) -> Iterator[tuple[bytes, int, Spot]]:
    """The machine's own addresses, and the ways to others: of these, only what matters for the lab.
    A lab of hundreds of nodes has three routes to link-local addresses for each, which tell nothing
    here."""
    grounds = _grounds(passages)
    for reply in routes:
        head = rows.route_head(reply)
        known = head.kind in _KINDS and head.family in ADDRESS_BYTES
        if not known or _LINK_LOCAL in reply.body:
            continue
        found = rows.decode_route(reply, head)
        address, link, length = found.dst, found.oif, found.length
        if len(address) != ADDRESS_BYTES[found.family] or length > 8 * len(address):
            continue
        lab = link if link in Indexes.ALL and link not in passages.own else 0
        what = _KINDS[found.kind]
        if what == "others" and (
            not length or head.table != rt.RT_TABLE_MAIN or link in passages.own
        ):
            continue
        if (
            what != "others"
            or lab
            or any(ground.match(address)[1] is not None for ground in grounds)
        ):
            yield address, length, Spot(what, lab)
