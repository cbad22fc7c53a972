"""What is asked of nf_tables over netlink: which tables and base chains are there (linux/netfilter/nf_tables.h).

Everything that changes rules goes through nft(8). Whether another program drops what is forwarded and whether the lab's table is
there has to be known at each observation, and a process for it would cost more than the observation.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from bascule.wire.attributes import Table, be32, nest, text
from bascule.wire.message import DUMP, Reply, Request

_NFNL_SUBSYS_NFTABLES = 10
GETTABLE = _NFNL_SUBSYS_NFTABLES << 8 | 1
GETCHAIN = _NFNL_SUBSYS_NFTABLES << 8 | 4
# struct nfgenmsg { __u8 nfgen_family; __u8 version; __be16 res_id; }
NFGEN = struct.Struct("=BBH")

_TABLE = Table(name=(1, text))
_HOOK = Table(hooknum=(1, be32), priority=(2, be32))
_CHAIN = Table(table=(1, text), name=(3, text), hook=(4, nest(_HOOK)), policy=(5, be32))

FAMILIES = {1: "inet", 2: "ip", 7: "bridge", 10: "ip6"}
_NF_INET_LOCAL_IN, _NF_INET_FORWARD = 1, 2
_NF_DROP, _NF_ACCEPT = 0, 1


class BaseChain(NamedTuple):
    """A chain that hangs on a hook of the network stack. ``family`` is nft's word for it."""

    family: str
    table: str
    name: str
    hook: int
    policy: str

    @property
    def forwards(self) -> bool:
        """Whether packets pass it that the machine forwards."""
        return self.hook == _NF_INET_FORWARD and self.family in {"inet", "ip", "ip6"}

    @property
    def shuts_in(self) -> bool:
        """Whether it drops, by policy, what comes to the machine itself."""
        return self.hook == _NF_INET_LOCAL_IN and self.family in {"inet", "ip", "ip6"} and self.policy == "drop"


def list_chains() -> Request:
    """The dump request for all chains of all families."""
    return Request(GETCHAIN, DUMP, NFGEN.pack(0, 0, 0))


def list_tables() -> Request:
    """The dump request for all tables of all families."""
    return Request(GETTABLE, DUMP, NFGEN.pack(0, 0, 0))


def table(reply: Reply) -> tuple[str, str] | None:
    """Family and name of a dumped table."""
    if len(reply.body) < NFGEN.size:
        return None
    return FAMILIES.get(reply.body[0], ""), _TABLE.decode(reply.body[NFGEN.size :]).get("name", "")


def base_chain(reply: Reply) -> BaseChain | None:
    """The base chain that a dumped message tells of; None for a chain without a hook."""
    if len(reply.body) < NFGEN.size:
        return None
    family = FAMILIES.get(reply.body[0])
    found = _CHAIN.decode(reply.body[NFGEN.size :])
    hook = found.get("hook")
    if family is None or not hook or "hooknum" not in hook:
        return None
    policy = "drop" if found.get("policy", _NF_ACCEPT) == _NF_DROP else "accept"
    return BaseChain(family, found.get("table", ""), found.get("name", ""), hook["hooknum"], policy)
