"""Bytes that claim to be netlink: torn, lying about their lengths, nested, huge. They become facts,
or a WireError.

The corpus is what a kernel said of a small lab, in hexadecimal: one message's body, or with the
door ``dump`` the three dumps (links, addresses, routes) of which facts are made.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from random import Random
from typing import Any

from bascule.errors import KernelError
from bascule.host import flows, observe
from bascule.host import inside as inside_of
from bascule.host.netlink import Netlink
from bascule.host.seen import Observation
from bascule.kernel.flow import Flows
from bascule.kernel.look import Scope, Space, look_of
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.passage import Judge, Passage, Passages
from bascule.names import printable
from bascule.plan import render
from bascule.plan.diff import diff
from bascule.testing import FakeKernel, in_turn
from bascule.wire import conntrack, message, netfilter, rows, telling
from bascule.wire import route as rt
from bascule.wire.attributes import Table, WireError
from bascule.wire.message import Reply, Request
from fuzz import mutate
from fuzz.target import GUARD, corpus, door_of, promise

_TABLES = (
    rt.LINK,
    rt.LINK_INFO,
    rt.BRIDGE_INFO,
    rt.VETH_INFO,
    rt.ADDRESS,
    rt.ROUTE,
    rt.NEIGHBOUR,
    netfilter._CHAIN,
    conntrack.FLOW,
    conntrack.TUPLE,
    message._EXTACK,
)
_MOST_BYTES = 1 << 16
_NFGEN = netfilter.NFGEN.size
_HEADS = {
    "link": rt.IFINFO.size,
    "address": rt.IFADDR.size,
    "route": rt.RTMSG.size,
    "chain": _NFGEN,
    "flow": _NFGEN,
    "messages": 0,
    "text": 0,
}


def canned(*datagrams: bytes) -> FakeKernel:
    """A kernel that says the same whatever it is asked, and then nothing more."""
    return FakeKernel(in_turn(lambda _asked: datagrams))


class Dumps:
    """What :func:`inside_of.look` needs of a socket: its three dumps come from memory."""

    def __init__(self, *dumps: bytes) -> None:
        self._dumps = list(dumps)

    def dump(self, request: Request) -> list[Reply]:
        return Netlink(transport=canned(self._dumps.pop(0))).dump(request)


def facts_of(world: tuple[bytes, ...], nodes: dict[str, tuple[bytes, ...]]) -> Observation:
    """What is seen of a machine with these dumps, of the whole of it."""
    seen = Observation()
    there = inside_of.look(Dumps(*world))  # type: ignore[arg-type]  # only dump() is called
    inside = {name: inside_of.look(Dumps(*dumps)) for name, dumps in nodes.items()}  # type: ignore[arg-type]  # as above
    interfaces = {(name, link.name) for name, one in inside.items() for link in one.links.values()}
    links = frozenset((WORLD, link.name) for link in there.links.values())
    scope = Scope(tuple(nodes), links, frozenset(interfaces))
    observe._conclude(seen, look_of(scope, there, inside, inside))
    return seen


def judge(seen: Observation) -> None:
    """A plan can be made of the facts, and what it prints is printable."""
    indexes = Indexes()
    for (node, name), index in seen.indexes.items():
        indexes.learn(node, name, index)
    plan = diff([], list({fact.key: fact for fact in seen.facts}.values()), indexes)
    for line in render.text(plan).split("\n"):
        promise(line.isprintable(), f"not printable: {line!r}")
    for op in plan.ops:
        op.effect()
        for line in op.shell():
            promise(printable(line).isprintable(), f"not printable: {line!r}")


def _messages(data: bytes) -> None:
    for reply in message.split(data):
        failure = message.failure_of(reply)
        promise(0 <= failure.errno < 4096, f"errno {failure.errno}")
        promise(len(failure.said) <= 4 * len(data), "more words than there were")
    for protocol in (telling.ROUTE, telling.NETFILTER):
        for line in telling.told(protocol, data):
            promise(line.isprintable(), f"not printable: {line!r}")
    for ask in (
        lambda kernel: kernel.dump(_REQUEST),
        lambda kernel: kernel.batch([_REQUEST]),
        lambda kernel: kernel.get(_REQUEST),
    ):
        try:
            ask(Netlink(transport=canned(data)))
        except (BlockingIOError, KernelError):
            continue


_REQUEST = Request(rt.GETLINK, 0, b"")


def _link(data: bytes) -> None:
    link = rows.decode_link(Reply(rt.NEWLINK, 0, 1, data))
    promise(len(link.name) <= 4 * len(data), "a name longer than what it was read from")
    for table in _TABLES:
        try:
            table.decode(data[rt.IFINFO.size :])
        except WireError:
            continue


def _alone(space: Space) -> Observation:
    """What is seen of a node that is the only one, all of it the lab's."""
    seen = Observation()
    own = frozenset(("a", link.name) for link in space.links.values())
    scope = Scope(("a",), interfaces=own)
    world = Space(routes=space.routes)
    observe._conclude(seen, look_of(scope, world, {"a": space}, {}))
    return seen


def _address(data: bytes) -> None:
    inside = Space(
        dict.fromkeys((1, 2, 3, 100, 100001), _LO),
        [rows.decode_address(Reply(rt.NEWADDR, 0, 1, data))],
    )
    judge(_alone(inside))


_LO = rows.Link(1, rt.IFF_UP, "lo", 65536, "", 0)


def _route(data: bytes) -> None:
    inside = Space(dict.fromkeys((1, 2, 3, 100, 100001), _LO), [], [Reply(rt.NEWROUTE, 0, 1, data)])
    seen = _alone(inside)
    for text in seen.prefixes:
        ip_network(text, strict=False)
    judge(seen)


def _chain(data: bytes) -> None:
    chain = netfilter.base_chain(Reply(netfilter.GETCHAIN, 0, 1, data))
    promise(chain is None or chain.drops in (True, False), f"{chain}")
    rule = netfilter.accept(Reply(netfilter.GETRULE, 0, 1, data))
    promise(rule is None or bool(rule.come or rule.go), f"{rule}")


def _flow(data: bytes) -> None:
    reply = Reply(conntrack.NEW, 0, 1, data)
    ends = conntrack.packed(reply)
    flow = conntrack.flow(reply)
    if flow is None:
        return
    promise(ends is None or conntrack.unpacked(ends) == flow[:2], f"read in two ways: {flow}")
    promise(len(conntrack.delete(flow).body) > _NFGEN + 12, "a message that deletes all flows")
    passages = Passages(_LAB, (_LAB, Passage({"10.2.0.0/24": "dmz"})))
    why = Judge(passages, flows.places([], passages)).why_wrong(flow)
    line = Flows(flow.reply.src, True, (flow,))
    for text in (
        why,
        line.describe(),
        *(line for op in line.remove(Indexes()) for line in op.shell()),
    ):
        promise(text.isprintable(), f"not printable: {text!r}")


_LAB = Passage(
    {"192.0.2.0/24": "lan", "2001:db8::/64": "lan"},
    ports={(17, "0.0.0.0", 5000): ("192.0.2.2", 80)},  # noqa: S104
)


def _text(data: bytes) -> None:
    for ends in conntrack.written(data):
        conntrack.spelt(ends)


def _dump(data: bytes) -> None:
    raise NotImplementedError  # has three parts: see _Decoder.run()


_DOORS: dict[str, Callable[[bytes], None]] = {
    "messages": _messages,
    "link": _link,
    "address": _address,
    "route": _route,
    "chain": _chain,
    "flow": _flow,
    "text": _text,
    "dump": _dump,
}


class _Decoder:
    name = "decoder"
    cases = 1_200_000

    def __init__(self) -> None:
        self._bodies: list[tuple[str, bytes]] = []
        self._dumps: list[list[bytes]] = []
        for case in corpus(self.name):
            door, text = door_of(case, _DOORS)
            if door == "dump":
                self._dumps.append(_parts(text))
            else:
                self._bodies.append((door, bytes.fromhex(text.decode())))
        self._others = [body for _door, body in self._bodies]

    def make(self, random: Random) -> bytes:
        lot = random.random()
        if lot < 0.02:
            parts = list(random.choice(self._dumps))
            at = int(random.random() * 3)
            parts[at] = mutate.of_bytes(random, parts[at], self._others)
            return b"dump\n" + b"\n\n".join(part.hex().encode() for part in parts)
        door, body = self._bodies[int(random.random() * len(self._bodies))]
        if lot < 0.15:
            body = body[: _HEADS[door]] + attributes(
                random, _TABLES[int(random.random() * len(_TABLES))], 0
            )
        else:
            body = mutate.of_bytes(random, body, self._others)
        return door.encode() + b"\n" + body.hex().encode()

    def run(self, case: bytes) -> None:
        door, text = door_of(case, _DOORS)
        parts = _parts(text) if door == "dump" else []
        data = b"" if parts else bytes.fromhex(text.decode())
        with GUARD:
            try:
                if parts:
                    judge(facts_of((*parts, b"", b"")[:3], {"ns1": (*parts, b"", b"")[:3]}))
                else:
                    _DOORS[door](data)
            except WireError as error:
                said = str(error)
                promise(said.isprintable() and len(said) < 300, f"bad words: {said!r}")
            except (KernelError, BlockingIOError):
                promise(bool(parts), "only a socket runs dry")


def _parts(text: bytes) -> list[bytes]:
    return [bytes.fromhex(part.decode()) for part in text.split(b"\n\n")]


def attributes(random: Random, table: Table, depth: int) -> bytes:
    """Attributes that the table knows, and some that it does not, with values of all lengths and
    lengths that lie."""
    out = bytearray()
    numbers = [row.number for row in table.rows.values()]
    for _ in range(1 + int(random.random() * 6)):
        number = (
            numbers[int(random.random() * len(numbers))]
            if random.random() < 0.9
            else int(random.random() * 0x10000)
        )
        lot = random.random()
        if lot < 0.3 and depth < 30:
            payload = attributes(
                random,
                _TABLES[int(random.random() * len(_TABLES))],
                depth + 1 + int(random.random() * 10),
            )
        elif lot < 0.31:
            payload = random.randbytes(int(random.random() * _MOST_BYTES))
        else:
            payload = random.randbytes(int(random.random() ** 3 * 40))
        size = len(payload) + 4
        if random.random() < 0.05:
            size = int(random.random() * 0x10000)
        out += (
            _header(size, number | (0x8000 if random.random() < 0.3 else 0))
            + payload
            + bytes(-size & 3)
        )
        if len(out) > _MOST_BYTES:
            break
    return bytes(out[:_MOST_BYTES])


def _header(size: int, number: int) -> bytes:
    return (size & 0xFFFF).to_bytes(2, "little") + number.to_bytes(2, "little")


TARGET: Any = _Decoder()
