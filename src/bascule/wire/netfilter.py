"""What is asked of nf_tables over netlink (linux/netfilter/nf_tables.h): which tables and base
chains are there, and which rules of a chain accept by the names of interfaces alone.

Everything that changes rules goes through nft(8). Whether another program drops what is forwarded
and whether the lab's table is there has to be known at each observation, and a process for it would
cost more than the observation. Nor does nft tell all of a rule: what iptables has written in its
own terms (a comment, for one) it prints as nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from bascule.wire.attributes import Table, be32, nest, raw, text
from bascule.wire.message import DUMP, Reply, Request

_NFNL_SUBSYS_NFTABLES = 10
GETTABLE = _NFNL_SUBSYS_NFTABLES << 8 | 1
GETCHAIN = _NFNL_SUBSYS_NFTABLES << 8 | 4
GETRULE = _NFNL_SUBSYS_NFTABLES << 8 | 7
# struct nfgenmsg { __u8 nfgen_family; __u8 version; __be16 res_id; }
NFGEN = struct.Struct("=BBH")

_TABLE = Table(name=(1, text), userdata=(6, raw))
_HOOK = Table(hooknum=(1, be32), priority=(2, be32))
_CHAIN = Table(table=(1, text), name=(3, text), hook=(4, nest(_HOOK)), policy=(5, be32))

_RULE = Table(
    table=(1, text), chain=(2, text), handle=(3, raw), expressions=(4, raw), userdata=(7, raw)
)
_EXPRESSION = Table(name=(1, text), data=(2, raw))
_ELEMENT = 1  # NFTA_LIST_ELEM
_META = Table(dreg=(1, be32), key=(2, be32))
_VALUE = Table(value=(1, raw), verdict=(2, nest(Table(code=(1, be32), chain=(2, text)))))
_CMP = Table(sreg=(1, be32), op=(2, be32), data=(3, nest(_VALUE)))
_IMMEDIATE = Table(dreg=(1, be32), data=(2, nest(_VALUE)))
# of xt_comment, the information is its text (linux/netfilter/xt_comment.h)
_MATCH = Table(name=(1, text), info=(3, text))
_TARGET = Table(name=(1, text))
_META_NAMES = {6: "come", 7: "go"}  # NFT_META_IIFNAME, NFT_META_OIFNAME
_CMP_EQ = 0
_UDATA_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl

FAMILIES = {1: "inet", 2: "ip", 7: "bridge", 10: "ip6"}
_NF_INET_LOCAL_IN, _NF_INET_FORWARD = 1, 2
_NF_DROP, _NF_ACCEPT = 0, 1
ACCEPT, DROP, JUMP, GOTO, RETURN, GO_ON = "accept", "drop", "jump", "goto", "return", ""
# NFT_JUMP, NFT_GOTO, NFT_RETURN: negative numbers, as the kernel writes them
_VERDICTS = {
    _NF_DROP: DROP,
    _NF_ACCEPT: ACCEPT,
    0xFFFFFFFD: JUMP,
    0xFFFFFFFC: GOTO,
    0xFFFFFFFB: RETURN,
}


class BaseChain(NamedTuple):
    """A chain that hangs on a hook of the network stack. ``family`` is nft's word for it. It
    ``drops`` packets that none of its rules says anything of: by its policy, as the kernel tells,
    or by a rule (:mod:`bascule.host.chains`)."""

    family: str
    table: str
    name: str
    hook: int
    drops: bool

    @property
    def forwards(self) -> bool:
        """Whether packets pass it that the machine forwards."""
        return self.hook == _NF_INET_FORWARD and self.family in {"inet", "ip", "ip6"}

    @property
    def lets_in(self) -> bool:
        """Whether packets pass it that come to the machine itself."""
        return self.hook == _NF_INET_LOCAL_IN and self.family in {"inet", "ip", "ip6"}

    @property
    def place(self) -> str:
        """Where it is, in nft's words."""
        return f"{self.family} {self.table} {self.name}"


class Step(NamedTuple):
    """What becomes of packets by a rule: its verdict, or they GO_ON; the chain that it leads to by
    JUMP or GOTO. It is ``sure`` where the rule asks nothing of them first."""

    verdict: str
    target: str = ""
    sure: bool = True


class Accept(NamedTuple):
    """A rule that accepts what comes in by the interface ``come`` and leaves by ``go``, whatever
    else it is; one of them may be empty, which is any. ``comment`` is None where it has none.
    ``handle`` is the kernel's number of it."""

    handle: int
    come: str
    go: str
    comment: str | None


def list_rules(family: str, table: str, chain: str) -> Request:
    """The dump request for the rules of a chain."""
    return Request(
        GETRULE,
        DUMP,
        NFGEN.pack(_number(family), 0, 0) + _RULE.encode({"table": table, "chain": chain}),
    )


def accept(reply: Reply) -> Accept | None:
    """The dumped rule, where it is of this kind, with a counter or without. With anything else,
    known to us or not, it is another one. Raises :class:`WireError`."""
    rule = _RULE.decode(reply.body[NFGEN.size :])
    names: dict[str, str] = {}
    comment = _comment(rule.get("userdata", b""))
    loaded = ""
    accepts = False
    for element in Table.payloads(rule.get("expressions", b""), _ELEMENT):
        expression = _EXPRESSION.decode(element)
        data = expression.get("data", b"")
        match expression.get("name"):
            case "meta":
                loaded = _META_NAMES.get(_META.decode(data).get("key", 0), "")
            case "cmp":
                name = _name(_CMP.decode(data))
                if not loaded or not name or loaded in names:
                    return None
                names[loaded] = name
                loaded = ""
            case "match" if (found := _MATCH.decode(data)).get("name") == "comment":
                comment = found.get("info", "")
            case "immediate" if (
                _IMMEDIATE.decode(data).get("data", {}).get("verdict", {}).get("code") == _NF_ACCEPT
            ):
                accepts = True
            case "counter":
                pass
            case _:
                return None
    if not accepts or not names:
        return None
    return Accept(
        int.from_bytes(rule.get("handle", b"")), names.get("come", ""), names.get("go", ""), comment
    )


def step(reply: Reply) -> Step:
    """What the dumped rule does. Raises :class:`WireError`."""
    rule = _RULE.decode(reply.body[NFGEN.size :], ("expressions",))
    sure = True
    for element in Table.payloads(rule.get("expressions", b""), _ELEMENT):
        expression = _EXPRESSION.decode(element)
        data, name = expression.get("data", b""), expression.get("name")
        named = _TARGET.decode(data).get("name") if name in ("match", "target") else ""
        if name == "reject" or named == "REJECT":
            return Step(DROP, sure=sure)
        if name == "immediate":
            verdict = _IMMEDIATE.decode(data).get("data", {}).get("verdict", {})
            if found := _VERDICTS.get(verdict.get("code", -1)):
                return Step(found, verdict.get("chain", ""), sure)
        sure = sure and (name in ("counter", "log", "immediate") or named == "comment")
    return Step(GO_ON)


def _name(compared: dict[str, Any]) -> str:
    """The whole name that is compared with. Without its end it would be the beginning of names."""
    value: bytes = compared.get("data", {}).get("value", b"")
    return (
        value.rstrip(b"\0").decode("utf-8", "replace")
        if compared.get("op") == _CMP_EQ and value[-1:] == b"\0"
        else ""
    )


def _comment(userdata: bytes) -> str | None:
    """nft's comment: type, length and value, one after the other (libnftnl, udata.h)."""
    while len(userdata) >= 2:
        kind, size = userdata[:2]
        if kind == _UDATA_COMMENT:
            return userdata[2 : 2 + size].split(b"\0")[0].decode("utf-8", "replace")
        userdata = userdata[2 + size :]
    return None


def list_chains() -> Request:
    """The dump request for all chains of all families."""
    return Request(GETCHAIN, DUMP, NFGEN.pack(0, 0, 0))


# What a table consists of, by the message that asks for it, and what counts of each: no handles,
# counters, numbers of users.
CHAINS, RULES, SETS, OBJECTS, FLOWTABLES = (
    _NFNL_SUBSYS_NFTABLES << 8 | number for number in (4, 7, 10, 19, 23)
)
_ELEMENTS_OF = _NFNL_SUBSYS_NFTABLES << 8 | 13  # NFT_MSG_GETSETELEM
_COUNTS = {
    GETTABLE: (2, 6),  # NFTA_TABLE_FLAGS, _USERDATA
    CHAINS: (3, 4, 5, 7, 10, 12),  # NFTA_CHAIN_NAME, _HOOK, _POLICY, _TYPE, _FLAGS, _USERDATA
    RULES: (2, 4, 7),  # NFTA_RULE_CHAIN, _EXPRESSIONS, _USERDATA
    # NFTA_SET_NAME, _FLAGS, _KEY_TYPE to _DATA_LEN, _POLICY, _DESC, _TIMEOUT, _USERDATA
    SETS: (2, 3, 4, 5, 6, 7, 8, 9, 11, 13),
    OBJECTS: (2, 3),  # NFTA_OBJ_NAME, _TYPE
    FLOWTABLES: (2, 3),  # NFTA_FLOWTABLE_NAME, _HOOK
}
_OF = Table(of=(1, text))
_SET = Table(of=(1, text), name=(2, text), flags=(3, be32), elements=(3, raw))
_SET_EVAL = 0x20  # rules fill it
_PART = {
    kind: Table(of=(1, text), **{str(number): (number, raw) for number in numbers})
    for kind, numbers in _COUNTS.items()
}
PARTS = tuple(_COUNTS)
# The attributes that are read here, by what a message is about.
SPACES = {
    "TABLE": _TABLE,
    "CHAIN": _CHAIN,
    "RULE": _RULE,
    "SET": Table(table=(1, text), name=(2, text), flags=(3, be32)),
    "SETELEM": Table(table=(1, text), set=(2, text), elements=(3, raw)),
}


def list_parts(kind: int, family: str, table: str) -> Request:
    """The dump request for what a table has of this kind (one of PARTS). Some kernels tell of all
    tables of the family."""
    return Request(kind, DUMP, NFGEN.pack(_number(family), 0, 0) + _OF.encode({"of": table}))


def part(kind: int, reply: Reply, table: str) -> bytes | None:
    """What counts of it, as bytes to be compared; None for what another table has. Raises
    :class:`WireError`."""
    found = _PART[kind].decode(reply.body[NFGEN.size :])
    if found.pop("of", "") != table:
        return None
    return b"".join(
        b"%s:%d:%s;" % (name.encode(), len(value), value) for name, value in sorted(found.items())
    )


def is_filled_by_rules(reply: Reply) -> bool:
    """Whether the elements of this set come from rules (``flags dynamic``)."""
    return bool(_SET.decode(reply.body[NFGEN.size :], ("flags",)).get("flags", 0) & _SET_EVAL)


def list_elements(of: Reply, family: str, table: str) -> Request:
    """The dump request for the elements of a set or map, told by its own message."""
    name = _SET.decode(of.body[NFGEN.size :], ("name",)).get("name", "")
    return Request(
        _ELEMENTS_OF,
        DUMP,
        NFGEN.pack(_number(family), 0, 0) + _SET.encode({"of": table, "name": name}),
    )


def elements(reply: Reply) -> Iterator[bytes]:
    """Those of one message, as bytes to be compared."""
    yield from Table.payloads(
        _SET.decode(reply.body[NFGEN.size :], ("elements",)).get("elements", b""), _ELEMENT
    )


def _number(family: str) -> int:
    return next(number for number, name in FAMILIES.items() if name == family)


def list_tables() -> Request:
    """The dump request for all tables of all families."""
    return Request(GETTABLE, DUMP, NFGEN.pack(0, 0, 0))


def table(reply: Reply) -> tuple[str, str, str] | None:
    """Family, name and comment of a dumped table."""
    if len(reply.body) < NFGEN.size:
        return None
    found = _TABLE.decode(reply.body[NFGEN.size :])
    return (
        FAMILIES.get(reply.body[0], ""),
        found.get("name", ""),
        _comment(found.get("userdata", b"")) or "",
    )


def place(reply: Reply) -> tuple[str, str, str]:
    """Family, table and name of a dumped chain."""
    found = _CHAIN.decode(reply.body[NFGEN.size :], ("table", "name"))
    return FAMILIES.get(reply.body[0], ""), found.get("table", ""), found.get("name", "")


def base_chain(reply: Reply) -> BaseChain | None:
    """The base chain that a dumped message tells of; None for a chain without a hook."""
    if len(reply.body) < NFGEN.size:
        return None
    family = FAMILIES.get(reply.body[0])
    found = _CHAIN.decode(reply.body[NFGEN.size :])
    hook = found.get("hook")
    if family is None or not hook or "hooknum" not in hook:
        return None
    drops = found.get("policy", _NF_ACCEPT) == _NF_DROP
    return BaseChain(family, found.get("table", ""), found.get("name", ""), hook["hooknum"], drops)
