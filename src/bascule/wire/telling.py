"""Netlink messages as lines that a person reads, for ``BASCULE_DEBUG=netlink``.

Kinds, flags and attributes have their names where the tables of this room know them; whatever is
not known is told by its number and its bytes in hexadecimal digits. Nothing is refused here: what
is torn is told as far as it can be read.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bascule.names import printable
from bascule.wire import conntrack, inet, message, netfilter
from bascule.wire import route as rt
from bascule.wire.attributes import Table, WireError

ROUTE, NETFILTER = 0, 12  # NETLINK_ROUTE, NETLINK_NETFILTER
_HEADER = struct.Struct("=HH")
_NESTED, _TYPE = 0x8000, 0x3FFF
_DEPTH = 8  # more than any message has; a lying one must not lead deeper

_CONTROL = {1: "NLMSG_NOOP", 2: "NLMSG_ERROR", 3: "NLMSG_DONE", 4: "NLMSG_OVERRUN"}
# linux/rtnetlink.h: RTM_NEW… is 16 + 4 * place, followed by DEL, GET and SET.
_NOUNS = (
    *("LINK", "ADDR", "ROUTE", "NEIGH", "RULE", "QDISC", "TCLASS", "TFILTER", "ACTION", "PREFIX"),
    *("MULTICAST", "ANYCAST", "NEIGHTBL", "NDUSEROPT", "ADDRLABEL", "DCB", "NETCONF", "MDB"),
    *("NSID", "STATS", "CACHEREPORT", "CHAIN", "NEXTHOP", "LINKPROP", "VLAN", "NEXTHOPBUCKET"),
    "TUNNEL",
)
_VERBS = ("NEW", "DEL", "GET", "SET")
# linux/netfilter/nf_tables.h, nfnetlink_conntrack.h: messages by their subsystem.
_OF_NETFILTER: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("IPCTNL_MSG_CT_", ("NEW", "GET", "DELETE", "GET_CTRZERO")),
    10: (
        "NFT_MSG_",
        (
            *("NEWTABLE", "GETTABLE", "DELTABLE", "NEWCHAIN", "GETCHAIN", "DELCHAIN", "NEWRULE"),
            *("GETRULE", "DELRULE", "NEWSET", "GETSET", "DELSET", "NEWSETELEM", "GETSETELEM"),
            *("DELSETELEM", "NEWGEN", "GETGEN", "TRACE", "NEWOBJ", "GETOBJ", "DELOBJ"),
            *("GETOBJ_RESET", "NEWFLOWTABLE", "GETFLOWTABLE", "DELFLOWTABLE"),
        ),
    ),
}
_FLAGS = {0x1: "REQUEST", 0x2: "MULTI", 0x4: "ACK", 0x8: "ECHO", 0x10: "DUMP_INTR"}
_OF_GET = {0x100: "ROOT", 0x200: "MATCH"}
_OF_NEW = {0x100: "REPLACE", 0x200: "EXCL", 0x400: "CREATE", 0x800: "APPEND"}
_OF_ERROR = {0x100: "CAPPED", 0x200: "ACK_TLVS"}


class _Layout(NamedTuple):
    """What a kind of message begins with, and the attributes that follow."""

    head: struct.Struct
    fields: tuple[str, ...]
    table: Table


_ROUTING = {
    "LINK": _Layout(rt.IFINFO, ("family", "type", "index", "flags", "change"), rt.LINK),
    "ADDR": _Layout(rt.IFADDR, ("family", "prefixlen", "flags", "scope", "index"), rt.ADDRESS),
    "ROUTE": _Layout(
        rt.RTMSG,
        ("family", "dst_len", "src_len", "tos", "table", "protocol", "scope", "type", "flags"),
        rt.ROUTE,
    ),
    "NEIGH": _Layout(rt.NDMSG, ("family", "index", "state", "flags", "type"), rt.NEIGHBOUR),
    "RULE": _Layout(
        rt.RULE_HEADER,
        ("family", "dst_len", "src_len", "tos", "table", "action", "flags"),
        rt.RULE,
    ),
}
_NFGEN = ("family", "version", "res_id")
_NOTHING = Table()
_IN_HEX = {"flags", "change"}
# Attributes whose own table their codec does not know: they are read late, or as a whole.
_INSIDE = {
    (rt.VETH_INFO, "peer"): rt.LINK,
    (rt.LINK_INFO, "bridge"): rt.BRIDGE_INFO,
    (rt.LINK_INFO, "veth"): rt.VETH_INFO,
    (rt.LINK_INFO, "port of bridge"): rt.BRIDGE_PORT,
    **{(conntrack.FLOW, name): conntrack.TUPLE for name in ("original", "reply", "master")},
}


def told(protocol: int, data: bytes) -> Iterator[str]:
    """A line for each message of a datagram; ``protocol`` is NETLINK_ROUTE or NETLINK_NETFILTER."""
    try:
        for reply in message.split(data):
            yield printable(_message(protocol, reply))
    except WireError as error:
        yield printable(f"{error}: {data.hex()}")


def _message(protocol: int, reply: message.Reply) -> str:
    name = kind_name(protocol, reply.kind)
    head = f"{name} {reply.sequence} {_flags(name, reply.flags)}"
    if reply.kind in (message.ERROR, message.DONE):
        return f"{head}{_ending(protocol, reply)}"
    layout = _layout(protocol, name)
    if layout is None:
        return f"{head}{reply.body.hex()}".rstrip()
    if len(reply.body) < layout.head.size:
        return f"{head}{reply.body.hex()}".rstrip()
    values = layout.head.unpack_from(reply.body)
    words = [
        f"{field} {value:#x}" if field in _IN_HEX else f"{field} {value}"
        for field, value in zip(layout.fields, values, strict=True)
    ]
    inside = _attributes(reply.body[layout.head.size :], layout.table, 0)
    return f"{head}{' '.join([*words, *inside])}"


def kind_name(protocol: int, kind: int) -> str:
    """``RTM_NEWLINK``; ``kind 1234`` for one that is not known."""
    if kind in _CONTROL:
        return _CONTROL[kind]
    if protocol == NETFILTER:
        prefix, names = _OF_NETFILTER.get(kind >> 8, ("", ()))
        return prefix + names[kind & 0xFF] if kind & 0xFF < len(names) else f"kind {kind:#x}"
    place = (kind - 16) // 4
    known = protocol == ROUTE and 0 <= place < len(_NOUNS)
    return f"RTM_{_VERBS[kind % 4]}{_NOUNS[place]}" if known else f"kind {kind}"


def _flags(name: str, flags: int) -> str:
    meaning = _OF_ERROR if name in _CONTROL.values() else _OF_GET if "GET" in name else _OF_NEW
    known = {**_FLAGS, **meaning}
    words = [word for bit, word in known.items() if flags & bit]
    rest = flags & ~sum(known)
    text = "|".join([*words, *([f"{rest:#x}"] if rest else [])])
    return f"{text.replace('ROOT|MATCH', 'DUMP')}: " if text else ""


def _ending(protocol: int, reply: message.Reply) -> str:
    """What an error answer or the end of a dump says."""
    try:
        failure = message.failure_of(reply)
    except WireError as error:
        return f"{error}: {reply.body.hex()}"
    what = ""
    if reply.kind == message.ERROR and len(reply.body) >= 4 + message.HEADER.size:
        (_size, kind, *_rest) = message.HEADER.unpack_from(reply.body, 4)
        what = f" to {kind_name(protocol, kind)}"
    if not failure.errno:
        return f"done{what}"
    name = errno.errorcode.get(failure.errno, str(failure.errno))
    return f"{name}{what}{f': {failure.said}' if failure.said else ''}"


def _layout(protocol: int, name: str) -> _Layout | None:
    if protocol == ROUTE and name.startswith("RTM_"):
        return _ROUTING.get(name[7:])
    if name.startswith("IPCTNL_"):
        return _Layout(netfilter.NFGEN, _NFGEN, conntrack.FLOW)
    if name.startswith("NFT_MSG_"):
        noun = name.removeprefix("NFT_MSG_")[3:]
        return _Layout(netfilter.NFGEN, _NFGEN, netfilter.SPACES.get(noun, _NOTHING))
    return None


def _attributes(data: bytes, table: Table, depth: int) -> Iterator[str]:
    """``name=value`` or ``number=bytes`` of each; nested ones in braces."""
    names = {row.number: name for name, row in table.rows.items()}
    found: dict[str, Any] = {}
    at = 0
    while len(data) - at >= _HEADER.size:
        size, kind = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            yield f"torn={data[at:].hex()}"
            return
        payload = data[at + _HEADER.size : at + size]
        name = names.get(kind & _TYPE, str(kind & _TYPE))
        yield f"{name}={_value(name, payload, table, found, bool(kind & _NESTED), depth)}"
        at += (size + 3) & ~3


def _value(
    name: str,
    payload: bytes,
    table: Table,
    found: dict[str, Any],
    nested: bool,
    depth: int,
) -> str:
    row = table.rows.get(name)
    inside = _inner(name, table, found)
    if inside is None and row is not None and not row.codec.nested:
        return _known(name, payload, row.codec.decode, found)
    if depth < _DEPTH and (inside is not None or nested or row is not None):
        own = row.codec.table if row is not None else None
        head = ""
        if (table, name) == (rt.VETH_INFO, "peer"):  # struct ifinfomsg stands before
            head, payload = f"{payload[: rt.IFINFO.size].hex()} ", payload[rt.IFINFO.size :]
        words = _attributes(payload, inside or own or _NOTHING, depth + 1)
        return f"{{{head}{' '.join(words)}}}"
    return payload.hex()


def _inner(name: str, table: Table, found: Mapping[str, Any]) -> Table | None:
    if table is rt.LINK_INFO and name == "data":
        return _INSIDE.get((table, str(found.get("kind"))))
    if table is rt.LINK_INFO and name == "slave_data":
        return _INSIDE.get((table, f"port of {found.get('slave_kind')}"))
    return _INSIDE.get((table, name))


def _known(name: str, payload: bytes, decode: Any, found: dict[str, Any]) -> str:
    try:
        value = decode(payload)
    except WireError:
        return payload.hex()
    found[name] = value
    if not isinstance(value, bytes):
        return str(value)
    # names of what every family of messages has: an address of the Internet, or of the link
    if len(value) in (4, 16) and name in {"address", "local", "dst", "gateway"} | _ENDS:
        return inet.unpack_address(value)
    return inet.unpack_mac(value) if name in {"address", "lladdr"} else value.hex()


_ENDS = {"src4", "dst4", "src6", "dst6"}
