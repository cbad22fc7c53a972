"""nft(8): one process and one transaction for a change. What rules there are is asked of the kernel
itself."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress

from bascule import syscalls
from bascule.errors import KernelError, Uncertain
from bascule.host import programs, tables
from bascule.host.netlink import NETFILTER, UNTOLD, Netlink
from bascule.kernel.op import DropRule, Key, RunNft
from bascule.kernel.ruleset import COMMENT, FROM, TO, WITHIN, ForwardAccept
from bascule.kernel.table import families, noted
from bascule.wire import netfilter
from bascule.wire.attributes import WireError

_SECONDS = 30
AGAIN = "run the command again"
UNKNOWN = f"{AGAIN}; where it fails again, `bascule doctor` says what this kernel lacks"
LACKING = "this kernel lacks something that the rules need; `bascule doctor` says what"
_LONG = 160  # characters of a line that is no more one rule's
_LACKED = (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
# What of a rule is a module of the kernel, and which (net/netfilter/Kconfig).
_MODULES = (
    (r"\btype nat hook\b", "nft_chain_nat"),
    (r"\bfib\b", "nft_fib_inet"),
    (r"\bsocket\b", "nft_socket"),
    (r"\bmasquerade\b", "nft_masq"),
    (r"\b[ds]nat\b(?! *,)", "nft_nat"),
    (r"\bct\b", "nft_ct"),
)
_TOO_LONG, _ELEMENTS, _GUARDS = "Message too long", 1000, 50


def program() -> str | None:
    """Where nft is: where the system keeps it, and only then where PATH leads."""
    return shutil.which("nft", path=syscalls.SYSTEM_PATH) or shutil.which("nft")


def _call(arguments: list[str], text: str = "") -> str:
    found = program()
    if found is None:
        raise KernelError(
            "nft", errno.ENOENT, "nft is not installed", advice="install the package nftables"
        )
    try:
        done = programs.run([found, *arguments], text, _SECONDS)
    except TimeoutError as error:
        raise Uncertain(
            "nft", errno.ETIMEDOUT, f"no answer in {_SECONDS} s", advice=AGAIN
        ) from error
    if done.code < 0:  # be it after its transaction
        raise Uncertain("nft", errno.EINTR, f"was ended by signal {-done.code}", advice=AGAIN)
    if done.code != 0:
        raise _refused(arguments, text, done.stderr)
    return done.stdout


def _refused(arguments: list[str], text: str, stderr: str) -> KernelError:
    """What nft says, with the line that it means: of the text, or as it repeats it."""
    lines = stderr.strip().splitlines()
    said = lines[0] if lines else "failed"
    place = re.match(r"(/dev/stdin:(\d+):[-\d]+: )?(Error: )?", said)
    number = int(place[2] or 0) if place else 0
    wrong = text.splitlines()[number - 1 : number] if number else lines[1:2]
    wrong = [line.strip() for line in wrong if len(line) < _LONG]
    said = said.removeprefix(place[0]) if place else said
    return KernelError(
        " ".join(("nft", *(wrong or [" ".join(arguments)]))),
        errno.EINVAL,
        said,
        advice=_advice(said, " ".join(wrong)),
    )


def _advice(said: str, rule: str) -> str:
    """A kernel says of what it has no module for that there is no such file."""
    lacking = any(os.strerror(number) in said for number in _LACKED)
    module = next((name for words, name in _MODULES if re.search(words, rule)), "")
    if lacking and module:
        return f"this kernel lacks {module}, which the rules need: `modprobe {module}` says why"
    return LACKING if lacking and os.strerror(errno.ENOENT) not in said else UNKNOWN


def run(text: str) -> None:
    """One transaction. Raises :class:`KernelError` with nft's first line.

    A user namespace has little room for one message (net.core.wmem_default): what does not fit goes
    in parts. What is killed in between is seen by the next look, as any table that is not whole;
    :class:`Uncertain` is raised where a part fails and others are there.
    """
    try:
        _call(["-f", "-"], text)
    except KernelError as error:
        first, *rest = in_parts(text)
        if _TOO_LONG not in error.said or not rest:
            raise
        _call(["-f", "-"], first)
        try:
            for part in rest:
                _call(["-f", "-"], part)
        except KernelError as failed:
            raise Uncertain(
                failed.operation, failed.errno, failed.said, advice=failed.advice
            ) from failed


def in_parts(text: str) -> Iterator[str]:
    """The same as several transactions: the table with empty maps and without the chains of single
    devices, then these chains, a few at a time, then the elements, a thousand at a time."""
    rest, guards = _without_guards(text.splitlines())
    kept, later = list[str](), list[str]()
    name = table = ""
    elements: list[str] | None = None
    for line in rest:
        words = line.split()
        if words[:1] == ["table"]:
            table = f"{words[1]} {words[2]}"
        elif words[:1] in (["set"], ["map"]):
            name = words[1]
        if words == ["elements", "=", "{"]:
            elements = []
        elif elements is None:
            kept.append(line)
        elif words == ["}"]:
            for start in range(0, len(elements), _ELEMENTS):
                rows = "\n".join(elements[start : start + _ELEMENTS])
                later.append(f"add element {table} {name} {{\n{rows}\n}}\n")
            elements = None
        else:
            elements.append(line)
    yield "\n".join([*kept, ""])
    for start in range(0, len(guards), _GUARDS):
        yield "".join(guards[start : start + _GUARDS])
    yield from later


def _without_guards(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lines, and each chain at the ingress of a device as a text of its own."""
    rest, guards = list[str](), list[str]()
    table, guard = "", list[str]()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("table"):
            table = line
        if guard or (line.strip().startswith("chain") and "hook ingress" in after):
            guard.append(line)
        else:
            rest.append(line)
        if guard and line.strip() == "}":
            guards.append("\n".join([table, *guard, "}", ""]))
            guard = []
    return rest, guards


def listing(table: str, families: Sequence[str]) -> str:
    """What nft prints of our tables of these families, without counters and without what rules have
    put into sets; empty where there is none."""
    try:
        # One call each: nft 1.0.6 finds only the tables of one family in a call.
        printed = (_call(["-s", "list", "table", family, table]) for family in families)
        return _readable(_without_dynamic("".join(printed)))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise
        return ""


def _readable(listing: str) -> str:
    """As nft reads it itself. Since 1.0.8 it prints the bytes at which a neighbour's question holds
    its target under a name, and then takes them for a number that fits no set of addresses."""
    return re.sub(r"\. icmpv6 taddr\b", ". @th,64,128", listing)


def _without_dynamic(listing: str) -> str:
    """A set that rules fill (``flags dynamic``) counts without its elements."""
    return re.sub(r"(\tflags dynamic\n)\t\telements = \{[^}]*\}\n", r"\1", listing)


def rules(chain: netfilter.BaseChain) -> tuple[str, ...]:
    """The rules of a chain as nft prints them; empty where they can't be had."""
    if program() is None:
        return ()
    try:
        listed = _call(["list", "chain", chain.family, chain.table, chain.name])
    except KernelError:
        return ()
    return tuple(line.strip() for line in listed.splitlines())


def forward_rules(family: str, table: str, chain: str) -> list[ForwardAccept]:
    """Our rules in this chain: those that say no more than ours do, and are not another's by their
    comment. Saving and loading rules, which firewalls do all day, takes nft's comments off or makes
    them iptables'. Empty where the chain is gone."""
    handles: dict[tuple[str, str], list[int]] = {}
    for found in _accepts(family, table, chain):
        if found.comment is None or found.comment.startswith(COMMENT):
            way = (
                WITHIN
                if found.come == found.go
                else FROM
                if not found.go
                else TO
                if not found.come
                else ""
            )
            handles.setdefault((found.come or found.go, way), []).append(found.handle)
    return [
        ForwardAccept(family, table, chain, bridge, way, len(numbers), tuple(numbers))
        for (bridge, way), numbers in handles.items()
        if way
    ]


def _accepts(family: str, table: str, chain: str) -> Iterator[netfilter.Accept]:
    try:
        with Netlink(NETFILTER) as socket:
            replies = socket.dump(netfilter.list_rules(family, table, chain))
    except (OSError, KernelError) as error:
        if error.errno not in (*UNTOLD, errno.ENOENT):
            raise
        return
    for reply in replies:
        with suppress(WireError):  # no rule of ours
            if (found := netfilter.accept(reply)) is not None:
                yield found


def _handles(rule: Key) -> tuple[int, ...]:
    """Of the rule that is this fact, as often as it is there."""
    _kind, family, table, chain, *_which = rule
    return next(
        (found.handles for found in forward_rules(family, table, chain) if found.key == rule), ()
    )


def carry_out(effect: RunNft | DropRule) -> dict[str, str]:
    """Returns the table that stands now, with what tells it from others, if that was asked for."""
    if isinstance(effect, DropRule):
        delete_rule(effect)
        return {}
    run_unless(effect.unless, effect.text)
    if not effect.table:
        return {}
    return {
        effect.table: noted(effect.made_of, tables.image(effect.table, families(effect.made_of)))
    }


def run_unless(rule: Key | None, text: str) -> None:
    """:func:`run`, but where this rule is there already."""
    if rule is None or not _handles(rule):
        run(text)


def delete_rule(effect: DropRule) -> None:
    """Delete the rule: this one of its handles, or, where none is given, as often as it is
    there."""
    _kind, family, table, chain, *_which = effect.rule
    for handle in _handles(effect.rule):
        if effect.handle in (0, handle):
            run(f"delete rule {family} {table} {chain} handle {handle}\n")
