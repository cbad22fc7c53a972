"""How a chain of another program ends: what becomes of packets that none of its rules knows.

By its policy, or by a rule that asks nothing of them: `reject` as the last one is the habit of
RHEL's iptables and of many who write rules by hand. What a chain jumps to unasked counts as part of
it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress

from bascule.errors import KernelError
from bascule.host.netlink import NETFILTER, UNTOLD, Netlink
from bascule.wire import netfilter
from bascule.wire.attributes import WireError
from bascule.wire.netfilter import ACCEPT, DROP, GOTO, JUMP, RETURN, BaseChain, Step

_DEPTH = 16  # NFT_JUMP_STACK_SIZE, net/netfilter/nf_tables.h; that of xtables is no rule's to fill

Rules = Callable[[str], Sequence[Step]]


def verdict(chain: str, rules: Rules, depth: int = _DEPTH) -> str:
    """What a chain says of every packet: ACCEPT, DROP, or nothing. One that others lead to, and
    from which some return, has something else in view than all of them (as ufw's of what is not for
    the machine)."""
    selective = False
    for step in rules(chain) if depth else ():
        if not step.sure:
            selective = selective or (step.verdict == RETURN and depth < _DEPTH)
        elif step.verdict in (ACCEPT, DROP):
            return "" if selective else step.verdict
        elif step.verdict == RETURN:
            return ""
        elif step.verdict in (JUMP, GOTO):
            found = verdict(step.target, rules, depth - 1)
            if found or step.verdict == GOTO:
                return "" if selective else found
    return ""


def passed(chain: str, rules: Rules, found: frozenset[str] = frozenset()) -> frozenset[str]:
    """The chains that all packets may come to from this one, with itself."""
    found |= {chain}
    for step in rules(chain):
        if step.sure and step.target and step.target not in found:
            found = passed(step.target, rules, found)
    return found


def judged(chain: BaseChain) -> BaseChain:
    """The chain with how it ends, as its rules say."""
    with Netlink(NETFILTER) as socket:

        def steps(name: str) -> list[Step]:
            request = netfilter.list_rules(chain.family, chain.table, name)
            with suppress(WireError):
                return [netfilter.step(reply) for reply in socket.dump(request)]
            return []

        try:
            found = verdict(chain.name, steps)
        except (OSError, KernelError) as error:
            if error.errno not in (*UNTOLD, errno.ENOENT):
                raise
            return chain  # it has just gone
    return chain._replace(drops=found == DROP) if found else chain
