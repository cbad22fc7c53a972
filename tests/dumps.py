"""All that rtnetlink and nf_tables tell of a network namespace, as lines of text that can be
compared.

Attributes are read by number, whatever they mean: one that nobody here knows is compared, too, and
so is a whole kind of message. What by_itself.py names is left out. Interfaces are told by their
names; their indexes may differ where a lab was built twice.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple, Self

from by_itself import ADDRESS_FLAGS, LEFT_OUT, LINK_FLAGS, NEXT_HOP_FLAGS, NOT_ASKED

Names = dict[int, str]
# How an attribute is told; an empty text where it is not.
Reader = Callable[[bytes, Names], str]
Space = dict[int, Reader]

_HEADER = struct.Struct("=HH")
_TC = struct.Struct("=BxxxiIII")
_DONE, _ERROR, _DUMP_REQUEST, _INTERRUPTED = 3, 2, 0x301, 0x10
_RECEIVE = 1 << 16
_NESTED, _TYPE = 0x8000, 0x3FFF
_INET6, _BRIDGE = 10, 7
_KERNEL, _LOCAL_TABLE, _MULTICAST = 2, 255, 5
_BY_THE_KERNEL = 3  # IFAPROT_KERNEL_LL
# IFA_PROTO: who made an address
_TELLS_WHO = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 18)
_LINK_SCOPE = 253


class Socket:
    """A netlink socket in the namespace of the calling thread."""

    def __init__(self, protocol: int = 0) -> None:
        self._opened = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def dump(self, kind: int, body: bytes) -> list[bytes] | None:
        """The bodies of all answers; None where the kernel has no such dump."""
        while True:
            self._opened.send(
                struct.pack("=IHHII", 16 + len(body), kind, _DUMP_REQUEST, 1, 0) + body
            )
            found: list[bytes] = []
            end, flags = self._collect(found)
            if end < 0:
                return None
            if not flags & _INTERRUPTED:
                return found

    def _collect(self, found: list[bytes]) -> tuple[int, int]:
        """The number that the dump ended with, and the flags that its messages had."""
        seen = 0
        while True:
            data = self._opened.recv(_RECEIVE)
            at, end = 0, len(data)
            while end - at >= 16:
                size, kind, flags = struct.unpack_from("=IHH", data, at)
                seen |= flags
                if kind in (_DONE, _ERROR):
                    told: int = struct.unpack_from("=i", data, at + 16)[0] if size >= 20 else 0
                    return told, seen
                found.append(data[at + 16 : at + size])
                at += (size + 3) & ~3


def attributes(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Number (with the flag of nesting) and payload of each."""
    end = len(data)
    unpack = _HEADER.unpack_from
    while end - at >= 4:
        size, kind = unpack(data, at)
        if size < 4:
            return
        yield kind, data[at + 4 : at + size]
        at += (size + 3) & ~3


def _told(data: bytes, names: Names, space: Space, at: int = 0) -> str:
    """All attributes, as ``number=bytes`` in hexadecimal digits, or nested in brackets."""
    parts = []
    for kind, payload in attributes(data, at):
        number = kind & _TYPE
        reader = space.get(number)
        if reader is not None:
            text = reader(payload, names)
        elif kind & _NESTED:
            text = f"[{_told(payload, names, {})}]"
        else:
            text = payload.hex()
        if reader is None or text:
            parts.append(f"{number}={text}")
    return " ".join(parts)


def _nothing(_data: bytes, _names: Names) -> str:
    return ""


def _device(data: bytes, names: Names) -> str:
    index = int.from_bytes(data[:4], "little", signed=True)
    return _name(index, names)


def _name(index: int, names: Names) -> str:
    return names.get(index, "elsewhere") if index > 0 else str(index)


def _nested(space: Space) -> Reader:
    return lambda data, names: f"[{_told(data, names, space)}]"


def _space(name: str, **readers: Reader) -> Space:
    """Of a kind of message: what is left out, and what is read otherwise (``_6_1=reader``)."""
    rows = dict.fromkeys(LEFT_OUT.get(name, ()), _nothing)
    return _grouped({**rows, **{key[1:].replace("_", "/"): row for key, row in readers.items()}})


def _grouped(rows: dict[str, Reader]) -> Space:
    made: Space = {}
    below: dict[int, dict[str, Reader]] = {}
    for path, reader in rows.items():
        number, _, rest = path.partition("/")
        if rest:
            below.setdefault(int(number), {})[rest] = reader
        else:
            made[int(number)] = reader
    return {number: _nested(_grouped(inner)) for number, inner in below.items()} | made


def _link_info(data: bytes, names: Names) -> str:
    """IFLA_LINKINFO: what stands in it depends on the kind that it names itself."""
    parts = {kind & _TYPE: payload for kind, payload in attributes(data)}
    kind, of = (parts.get(at, b"").rstrip(b"\0").decode() for at in (1, 4))
    words = [f"kind {kind}", f"port of {of}"]
    space = _INFO.get(kind, {})
    if kind == "bridge" and _has_stp(parts.get(2, b"")):
        space = {**space, 4: _nothing}
    inside = _told(parts.get(2, b""), names, space)
    as_port = _told(parts.get(5, b""), names, _PORT.get(of, {}))
    return " ".join([*words, f"[{inside}]", f"[{as_port}]"])


def _has_stp(data: bytes) -> bool:
    """While the spanning tree changes, the kernel tells another ageing time (IFLA_BR_AGEING_TIME)
    than it was given (net/bridge/br_stp.c)."""
    return any(kind & _TYPE == 5 and any(payload) for kind, payload in attributes(data))


def _multipath(data: bytes, names: Names) -> str:
    """RTA_MULTIPATH: struct rtnexthop { unsigned short len; unsigned char flags, hops; int ifindex;
    } and attributes."""
    parts = []
    while len(data) >= 8:
        size, flags, hops, index = struct.unpack_from("=HBBi", data)
        if size < 8:
            break
        inner = _told(data[8:size], names, {})
        parts.append(f"{_name(index, names)} {flags & ~NEXT_HOP_FLAGS} {hops} {inner}")
        data = data[(size + 3) & ~3 :]
    return f"[{', '.join(parts)}]"


def _lasting_address_flags(data: bytes, _names: Names) -> str:
    return f"{int.from_bytes(data, 'little') & ~ADDRESS_FLAGS:x}"


def _actions(data: bytes, names: Names) -> str:
    """TCA_…_ACT: a numbered list of actions."""
    told = (_told(payload, names, _ACTION) for _kind, payload in attributes(data))
    return f"[{', '.join(told)}]"


_INFO = {"bridge": _space("bridge"), "vxlan": _space("vxlan", _3=_device)}
_PORT = {"bridge": _space("bridge port", _34=_device)}
_LINK = _space("link", _18=_link_info)
_ADDRESS = _space("address", _8=_lasting_address_flags)
_ROUTE = _space("route", _3=_device, _4=_device, _9=_multipath)
_NEIGHBOUR = _space("neighbour", _8=_device, _9=_device)
_NEIGHBOUR_TABLE = _space("neighbour table", _6_1=_device)
_NEXT_HOP = _space("nexthop", _5=_device, _10=_device)
_ACTION = _space("action")
# Where the actions of a filter stand, by its kind (linux/pkt_cls.h), and what it counts.
_ACTIONS_AT = {"u32": 7, "flower": 3, "matchall": 2, "basic": 4, "fw": 4, "bpf": 1, "cgroup": 1}
_COUNTED_AT = {"u32": (9,), "matchall": (4,), "basic": (5,), "flower": (86,)}


# Each takes a message and gives its line, empty where it is left out.
def _address(data: bytes, names: Names) -> str:
    family, length, flags, scope, index = struct.unpack_from("=BBBBI", data)
    parts = {kind & _TYPE: payload for kind, payload in attributes(data, 8)}
    if family == _INET6 and scope == _LINK_SCOPE:
        made_by = parts.get(11, b"\0")[0] if _TELLS_WHO else _BY_THE_KERNEL
        if made_by == _BY_THE_KERNEL:
            return ""  # comes with the carrier
    said = parts.get(2) or parts.get(1, b"")
    text = socket.inet_ntop(family, said) if family in (2, _INET6) else said.hex()
    rest = _told(data, names, _ADDRESS, 8)
    return f"{_name(index, names)} {text}/{length} scope {scope} {flags & ~ADDRESS_FLAGS:x} {rest}"


def _route(data: bytes, names: Names) -> str:
    family, length, source, tos, table, protocol, scope, kind, flags = struct.unpack_from(
        "=BBBBBBBBI", data
    )
    parts = {number & _TYPE: payload for number, payload in attributes(data, 12)}
    to = parts.get(1, b"")
    text = socket.inet_ntop(family, to) if to and family in (2, _INET6) else to.hex()
    device = _device(parts[4], names) if 4 in parts else "-"
    if family == _INET6 and protocol == _KERNEL:
        # What the kernel makes of addresses comes with the carrier; ::1 on a bridge is asked for.
        own = table == _LOCAL_TABLE and (text != "::1" or device == "lo")
        if own or kind == _MULTICAST or text.startswith(("fe80:", "ff00:")):
            return ""
    return (
        f"{family} {text or '-'}/{length} from {source} tos {tos} table {table} proto {protocol} "
        f"scope {scope} type {kind} {flags & ~NEXT_HOP_FLAGS:x} {_told(data, names, _ROUTE, 12)}"
    )


def _neighbour(data: bytes, names: Names) -> str:
    family, index, state, flags, kind = struct.unpack_from("=BxxxiHBB", data)
    lasts = 0xC0 if family == _BRIDGE else 0x80  # NUD_PERMANENT; there, NUD_NOARP is static
    extended = flags & 0x18  # NTF_PROXY, NTF_EXT_LEARNED
    if not state & lasts and not extended:
        return ""
    mac = next((at[1] for at in attributes(data, 12) if at[0] == 2), b"")
    if family == _BRIDGE and flags & 0x2 and mac.startswith((b"\x33\x33", b"\x01\x00\x5e")):
        return ""  # NTF_SELF: groups that the kernel joins for addresses, with the carrier
    rest = _told(data, names, _NEIGHBOUR, 12)
    return f"{_name(index, names)} family {family} {state:x} {flags:x} {kind} {rest}"


def _htb(data: bytes, _names: Names) -> str:
    """TCA_HTB_INIT: struct tc_htb_glob; its last number counts packets."""
    return data[:16].hex()


def _handle(number: int) -> str:
    """``major:minor``; the kernel counts from 8000: where nobody chose one."""
    major = number >> 16
    return f"{'auto' if 0x8000 <= major < 0xFFFF else f'{major:x}'}:{number & 0xFFFF:x}"


def _queueing(name: str, data: bytes, names: Names) -> str:
    """A qdisc, class, filter or chain: struct tcmsg."""
    _family, index, handle, parent, info = _TC.unpack_from(data)
    space = _TRAFFIC[name]
    parts = {kind & _TYPE: payload for kind, payload in attributes(data, _TC.size)}
    kind = parts.get(1, b"").rstrip(b"\0").decode()
    if name == "filter" and kind:
        counted = dict.fromkeys(_COUNTED_AT.get(kind, ()), _nothing)
        readers = {**counted, _ACTIONS_AT.get(kind, 0): _actions}
        space = {**space, 2: _nested(readers)}
    if name == "qdisc" and kind == "htb":
        space = {**space, 2: _nested({2: _htb})}
    info = 0 if name == "qdisc" else info  # there, how many use it
    where = f"{_name(index, names)} {_handle(handle)} {_handle(parent)} {info:x}"
    return f"{where} {kind} {_told(data, names, space, _TC.size)}"


_TRAFFIC = {name: _space(name) for name in ("qdisc", "class", "filter", "chain")}


def _group_database(data: bytes, names: Names) -> str:
    """RTM_GETMDB: struct br_mdb_entry { __u32 ifindex; __u8 state, flags; … }; entries that were
    learnt have timers."""
    _family, index = struct.unpack_from("=Bxxxi", data)
    found = []
    for _number, entries in (row for row in attributes(data, 8) if row[0] & _TYPE == 1):
        for _entry, entry in attributes(entries):
            for _info, payload in attributes(entry):
                port, state = struct.unpack_from("=iB", payload)
                if state == 1:  # MDB_PERMANENT
                    found.append(f"{_name(port, names)} {payload[5:28].hex()}")
    return f"{_name(index, names)}: {', '.join(sorted(found))}" if found else ""


def _plain(size: int, index_at: int | None, space: Space, data: bytes, names: Names) -> str:
    """A head of ``size`` bytes, in which an interface's index may stand, and attributes."""
    if index_at is None:
        return f"{data[:size].hex()} {_told(data, names, space, size)}"
    (index,) = struct.unpack_from("=i", data, index_at)
    head = data[:index_at] + data[index_at + 4 : size]
    return f"{_name(index, names)} {head.hex()} {_told(data, names, space, size)}"


def _next_hop(data: bytes, names: Names) -> str:
    (flags,) = struct.unpack_from("=I", data, 4)
    return f"{data[:4].hex()} {flags & ~NEXT_HOP_FLAGS:x} {_told(data, names, _NEXT_HOP, 8)}"


def _label(data: bytes, names: Names) -> str:
    """struct ifaddrlblmsg { __u8 family, reserved, prefixlen, flags; __u32 index, seq; }; the last
    counts."""
    (index,) = struct.unpack_from("=i", data, 4)
    return f"{_name(index, names)} {data[:4].hex()} {_told(data, names, {}, 12)}"


class Dump(NamedTuple):
    """One that is asked for: its RTM_GET number, the body of the question, and who reads it."""

    name: str
    kind: int
    body: bytes
    read: Reader


_EIGHT, _TWELVE = bytes(8), bytes(12)
DUMPS = (
    Dump("addresses", 22, _EIGHT, _address),
    Dump("routes", 26, _TWELVE, _route),
    Dump("rules", 34, _TWELVE, partial(_plain, 12, None, {})),
    Dump("neighbours", 30, _TWELVE, _neighbour),
    Dump("proxies", 30, bytes(10) + b"\x08\0", _neighbour),  # NTF_PROXY
    Dump("forwarding database", 30, bytes((_BRIDGE,)) + bytes(11), _neighbour),
    # 10: TCA_DUMP_INVISIBLE
    Dump("qdiscs", 38, bytes(20) + _HEADER.pack(4, 10), partial(_queueing, "qdisc")),
    Dump("neighbour tables", 66, bytes(4), partial(_plain, 4, None, _NEIGHBOUR_TABLE)),
    Dump("address labels", 74, bytes((_INET6,)) + bytes(11), _label),
    Dump("netconf", 82, bytes(4), partial(_plain, 4, None, {1: _device})),
    Dump("group database", 86, bytes((_BRIDGE,)) + bytes(7), _group_database),
    Dump("nexthops", 106, _EIGHT, _next_hop),
    Dump("vlans", 114, bytes((_BRIDGE,)) + bytes(7), partial(_plain, 8, 4, {})),
    Dump("nexthop buckets", 118, _EIGHT, partial(_plain, 8, None, _space("nexthop bucket"))),
    Dump("tunnels", 122, bytes((_BRIDGE,)) + bytes(7), partial(_plain, 8, 4, {})),
)
_CLASSES, _FILTERS, _CHAINS, _IDS = 42, 46, 102, 90
_KNOWN = {18, _CLASSES, _FILTERS, _CHAINS, _IDS, *NOT_ASKED, *(row.kind for row in DUMPS)}
_FAMILIES = (0, 2, _BRIDGE, _INET6, 28, 128, 129)  # …, MPLS, multicast routing


def links(opened: Socket) -> list[bytes]:
    """The bodies of all links, without statistics (RTEXT_FILTER_SKIP_STATS)."""
    return opened.dump(18, bytes(16) + struct.pack("=HHI", 8, 29, 1 << 3)) or []


def link(data: bytes, names: Names) -> str:
    """All of one that is told by number."""
    _family, kind, _index, flags, _change = struct.unpack_from("=BxHiII", data)
    return f"{kind} {flags & ~LINK_FLAGS:x} {_told(data, names, _LINK, 16)}"


def everything(opened: Socket, names: Names) -> dict[str, list[str]]:
    """All other dumps; those that are empty are left out."""
    found: dict[str, list[str]] = {}
    for row in DUMPS:
        answers = opened.dump(row.kind, row.body)
        lines = [row.read(data, names) for data in answers or ()]
        found[row.name] = sorted(line for line in lines if line)
        if row.name == "qdiscs":
            found.update(_below_qdiscs(opened, answers or (), names))
    found["ids"] = [f"{number}" for number in _chosen_ids(opened)]
    for kind, body in _unknown():
        found[f"message {kind}"] = sorted(data.hex() for data in opened.dump(kind, body) or ())
    return {name: lines for name, lines in found.items() if lines}


@cache
def _unknown() -> tuple[tuple[int, bytes], ...]:
    """The kinds of dumps that nobody here knows and this kernel answers, and how each is asked;
    looked for once, as most of it are refusals."""
    found = []
    with Socket() as opened:
        for kind in range(18, 256, 4):  # RTM_GET…: 18, 22, 26, … to what a byte has room for
            for family in _FAMILIES if kind not in _KNOWN else ():
                body = bytes((family,)) + bytes(15)
                if opened.dump(kind, body) is not None:
                    found.append((kind, body))
                    break
    return tuple(found)


def _below_qdiscs(
    opened: Socket, qdiscs: list[bytes] | tuple[()], names: Names
) -> dict[str, list[str]]:
    """Classes, filters and chains are only told for a device, the latter for one parent."""
    found: dict[str, list[str]] = {"classes": [], "filters": [], "chains": []}
    for data in qdiscs:
        _family, index, handle, parent, _info = _TC.unpack_from(data)
        kind = next((at[1] for at in attributes(data, _TC.size) if at[0] == 1), b"")
        if kind.startswith((b"noqueue\0", b"noop\0")) or index < 1:
            continue
        parents = [handle]
        if parent == 0xFFFFFFF1:  # TC_H_INGRESS, the same as TC_H_CLSACT
            parents = [0xFFFFFFF2, 0xFFFFFFF3]  # with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
            parents.append(0xFFFF0000)
        for answer in opened.dump(_CLASSES, _TC.pack(0, index, 0, handle, 0)) or ():
            parents.append(_TC.unpack_from(answer)[2])
            found["classes"].append(_queueing("class", answer, names))
        for name, asked in (("filters", _FILTERS), ("chains", _CHAINS)):
            found[name] += {
                _queueing(name[:-1], answer, names)
                for above in dict.fromkeys(parents)
                for answer in opened.dump(asked, _TC.pack(0, index, 0, above, 0)) or ()
            }
    return {name: sorted(lines) for name, lines in found.items()}


def _chosen_ids(opened: Socket) -> list[int]:
    """The namespace ids that somebody chose. The kernel gives out the lowest that is free, whenever
    it tells of a link whose other end is elsewhere, and takes them back some time later."""
    answers = opened.dump(_IDS, bytes(4)) or []
    told = [payload for data in answers for kind, payload in attributes(data, 4) if kind == 1]
    ids = sorted(struct.unpack("=i", payload)[0] for payload in told)
    return [number for number in ids if number >= max(64, 2 * len(ids))]


# --- nf_tables

_NFT = 10 << 8
_TABLES, _CHAINS_OF, _RULES, _SETS, _ELEMENTS, _OBJECTS, _FLOW_TABLES = 1, 4, 7, 10, 13, 19, 23
_ANONYMOUS, _FILLED_BY_RULES = 0x1, 0x20  # NFT_SET_ANONYMOUS, NFT_SET_EVAL
# Family and table; the name of a set in hexadecimal digits, and a digest of what is in it.
Contents = dict[tuple[int, bytes], list[tuple[str, str]]]
_KINDS_OF_OBJECTS = {1: "counter", 2: "quota"}


def _expressions(data: bytes, names: Names) -> str:
    return f"[{', '.join(_expression(payload, names) for _kind, payload in attributes(data))}]"


def _expression(data: bytes, names: Names) -> str:
    parts = {kind & _TYPE: payload for kind, payload in attributes(data)}
    name = parts.get(1, b"").rstrip(b"\0").decode()
    return f"{name} {_told(parts.get(2, b''), names, _EXPRESSIONS.get(name, {}))}"


_EXPRESSIONS = {name: _space(f"nft {name}") for name in ("counter", "quota", "lookup")}
_PARTS = {name: _space(f"nft {name}") for name in ("table", "chain", "set", "flow table")}
_RULE = _space("nft rule", _4=_expressions)
_ELEMENT = _space("nft element", _7=_expression, _11=_expressions)
_OBJECT = _space("nft object")


def rules() -> dict[str, list[str]]:
    """All tables of all families, by what they consist of. A rule stands with its place in its
    chain; the name of an anonymous set is a number, and what is in it stands in its stead."""
    with Socket(12) as opened:
        tables = opened.dump(_NFT | _TABLES, bytes(4))
        if not tables:
            return {}
        found = {"tables": sorted(_part("table", data) for data in tables)}
        contents, found["sets"] = _sets(opened)
        for name, kind in (("chain", _CHAINS_OF), ("flow table", _FLOW_TABLES)):
            answers = opened.dump(_NFT | kind, bytes(4)) or []
            found[f"{name}s"] = sorted(_part(name, data) for data in answers)
        objects = opened.dump(_NFT | _OBJECTS, bytes(4)) or []
        found["objects"] = sorted(map(_object, objects))
        found["rules"] = list(_rules(opened.dump(_NFT | _RULES, bytes(4)) or [], contents))
    return found


def _part(name: str, data: bytes) -> str:
    return f"{data[0]} {_told(data, {}, _PARTS[name], 4)}"


def _object(data: bytes) -> str:
    parts = {kind & _TYPE: payload for kind, payload in attributes(data, 4)}
    kind = _KINDS_OF_OBJECTS.get(int.from_bytes(parts.get(3, b""), "big"), "")
    return f"{data[0]} {_told(data, {}, {**_OBJECT, 4: _nested(_EXPRESSIONS.get(kind, {}))}, 4)}"


def _rules(answers: list[bytes], contents: Contents) -> Iterator[str]:
    counted: dict[tuple[int, bytes, bytes], int] = {}
    for data in answers:
        parts = {kind & _TYPE: payload for kind, payload in attributes(data, 4)}
        chain = (data[0], parts.get(1, b""), parts.get(2, b""))
        counted[chain] = at = counted.get(chain, 0) + 1
        text = _told(data, {}, _RULE, 4)
        for name, content in contents.get(chain[:2], ()):
            text = text.replace(name, content)
        yield f"{data[0]} number {at}: {text}"


def _sets(opened: Socket) -> tuple[Contents, list[str]]:
    """What stands in the stead of the names of each table's anonymous sets, and all sets."""
    contents: Contents = {}
    found: list[str] = []
    for data in opened.dump(_NFT | _SETS, bytes(4)) or ():
        parts = {kind & _TYPE: payload for kind, payload in attributes(data, 4)}
        table, name = parts.get(1, b""), parts.get(2, b"")
        flags = int.from_bytes(parts.get(3, b""), "big")
        text = _part("set", data)
        if not flags & _FILLED_BY_RULES:
            text = f"{text} holds {', '.join(sorted(_elements(opened, data[0], table, name)))}"
        if flags & _ANONYMOUS:
            text = text.replace(f"2={name.hex()}", "anonymous")
            digest = hashlib.sha256(text.encode()).hexdigest()
            contents.setdefault((data[0], table), []).append((name.hex(), digest))
        found.append(text)
    return contents, sorted(found)


def _elements(opened: Socket, family: int, table: bytes, name: bytes) -> Iterator[str]:
    asked = b"".join(
        _HEADER.pack(len(payload) + 4, number) + payload + bytes(-len(payload) & 3)
        for number, payload in ((1, table), (2, name))
    )
    for answer in opened.dump(_NFT | _ELEMENTS, bytes((family, 0, 0, 0)) + asked) or ():
        for kind, payload in attributes(answer, 4):
            if kind & _TYPE == 3:  # NFTA_SET_ELEM_LIST_ELEMENTS
                for _number, element in attributes(payload):
                    yield _told(element, {}, _ELEMENT)
