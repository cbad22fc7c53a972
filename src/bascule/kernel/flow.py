"""Flows that do not fit the lab any more (conntrack(8)): nothing that a lab wants, but something
that is seen and has to end.

What has ended begins anew with its next packet, and then the rules of today decide about it. So
flows end last of all, when the new rules are in place: else the next packet would bring back what
was.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from bascule.kernel.fact import Fact, Op, WorldFact, WorldOp
from bascule.kernel.op import DeleteFlows, DeleteUnfitFlows, Effect, Indexes, Key
from bascule.kernel.passage import Passages
from bascule.kernel.told import UNTOLD, Kind
from bascule.wire.conntrack import ICMP, ICMPV6, Flow


class Unfit(NamedTuple):
    """A flow, and why it does not fit."""

    flow: Flow
    why: str


@dataclass(frozen=True, slots=True)
class Flows(WorldFact):
    """The flows ``to`` or from an address that do not fit."""

    noun: ClassVar[Kind] = "flows"

    address: str
    to: bool
    flows: tuple[Flow, ...] = field(repr=False, metadata=UNTOLD)

    @property
    def key(self) -> Key:
        return ("flows", "to" if self.to else "from", self.address)

    def describe(self) -> str:
        count = len(self.flows)
        return (
            f"{count} flow{'s' * (count != 1)} {self.key[1]} {self.address} end{'s' * (count == 1)}"
        )

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (EndFlows(self.flows),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        return ()


@dataclass(frozen=True, slots=True)
class EndFlows(WorldOp):
    """``conntrack -D``, for each flow. They do not come back."""

    flows: tuple[Flow, ...] = field(repr=False)

    def effect(self) -> Effect:
        return DeleteFlows(self.flows)

    def shell(self) -> tuple[str, ...]:
        return tuple(_command(flow) for flow in self.flows)


_ICMP = {ICMP: "icmp", ICMPV6: "icmpv6"}


def _command(flow: Flow) -> str:
    ends = flow.original
    words = [
        "conntrack",
        "-D",
        "-f",
        f"ipv{flow.version}",
        "-p",
        _ICMP.get(ends.protocol, str(ends.protocol)),
    ]
    words += ["-s", ends.src, "-d", ends.dst]
    if ends.icmp is not None:
        name = _ICMP.get(ends.protocol, "icmp")
        for what, number in zip(("type", "code", "id"), ends.icmp, strict=True):
            words += [f"--{name}-{what}", str(number)]
    elif ends.sport or ends.dport:
        words += ["--sport", str(ends.sport), "--dport", str(ends.dport)]
    return shlex.join(words)


@dataclass(frozen=True, slots=True)
class EndUnfitFlows(WorldOp):
    """The same for whatever does not fit by the time when all else is done: who sends meanwhile is
    still under the old rules."""

    passages: Passages = field(repr=False)

    def effect(self) -> Effect:
        return DeleteUnfitFlows(self.passages)

    def shell(self) -> tuple[str, ...]:
        return (
            (
                "# flows that began meanwhile, under the old rules: `conntrack -L` shows them, "
                "`conntrack -D` ends them"
            ),
        )
