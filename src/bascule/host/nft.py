"""nft(8): one process and one transaction for a change, JSON for a question (libnftables-json(5))."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from bascule import syscalls
from bascule.errors import KernelError
from bascule.kernel.op import DropRule
from bascule.kernel.ruleset import COMMENT, FROM, TO, WITHIN, ForwardAccept

_SECONDS = 30
_TOO_LONG, _ELEMENTS = "Message too long", 1000


def program() -> str | None:
    """Where nft is: where the system keeps it, and only then where PATH leads."""
    return shutil.which("nft", path=syscalls.SYSTEM_PATH) or shutil.which("nft")


def _call(arguments: list[str], text: str = "") -> str:
    found = program()
    if found is None:
        raise KernelError("nft", errno.ENOENT, "nft is not installed", advice="install the package nftables")
    try:
        done = syscalls.run([found, *arguments], text, _SECONDS)
    except subprocess.TimeoutExpired as error:
        raise KernelError("nft", errno.ETIMEDOUT, f"no answer in {_SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise KernelError(f"nft {text.strip() or ' '.join(arguments)}", errno.EINVAL, said[0] if said else "failed")
    return done.stdout


def run(text: str) -> None:
    """One transaction. Raises :class:`KernelError` with nft's first line.

    A user namespace has little room for one message (net.core.wmem_max): what does not fit goes in parts, first all but the
    elements of large sets and maps. What is killed in between is seen by the next look, as any table that is not whole.
    """
    try:
        _call(["-f", "-"], text)
    except KernelError as error:
        parts = list(in_parts(text))
        if _TOO_LONG not in str(error) or len(parts) == 1:
            raise
        for part in parts:
            _call(["-f", "-"], part)


def in_parts(text: str) -> Iterator[str]:
    """The same as several transactions: the table with empty maps, then the elements, a thousand at a time."""
    kept, later = list[str](), list[str]()
    name = table = ""
    elements: list[str] | None = None
    for line in text.splitlines():
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
    yield from later


def listing(table: str, families: Sequence[str]) -> str:
    """What nft prints of our tables of these families, without counters and without what rules have put into sets; empty where
    there is none."""
    try:
        # One call each: nft 1.0.6 finds only the tables of one family in a call.
        return _without_dynamic("".join(_call(["-s", "list", "table", family, table]) for family in families))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise
        return ""


def _without_dynamic(listing: str) -> str:
    """A set that rules fill (``flags dynamic``) counts without its elements."""
    return re.sub(r"(\tflags dynamic\n)\t\telements = \{[^}]*\}\n", r"\1", listing)


def forward_rules(family: str, table: str, chain: str) -> list[ForwardAccept]:
    """Our rules in this chain, by their comment. Empty where the chain is gone."""
    found = []
    for comment, handle in _commented(family, table, chain):
        way, _, bridge = comment.removeprefix(COMMENT).partition(" ")
        if comment.startswith(COMMENT) and way in (WITHIN, FROM, TO):
            found.append(ForwardAccept(family, table, chain, bridge, way, handle))
    return found


def _commented(family: str, table: str, chain: str) -> Iterator[tuple[str, int]]:
    """The comment and the handle of each rule."""
    try:
        printed = json.loads(_call(["-j", "-a", "list", "chain", family, table, chain]))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise
        return
    for item in printed.get("nftables", []):
        rule = item.get("rule", {})
        yield rule.get("comment", ""), rule.get("handle", 0)


def run_unless(place: tuple[str, str, str, str] | None, text: str) -> None:
    """:func:`run`, but where a rule is there already: family, table, chain and its comment."""
    if place is None or all(comment != place[3] for comment, _handle in _commented(*place[:3])):
        run(text)


def delete_rule(effect: DropRule) -> None:
    """Delete the rule by its handle, looked up by its comment where it is not known."""
    for comment, handle in _commented(effect.family, effect.table, effect.chain):
        if comment == effect.comment and effect.handle in (0, handle):
            run(f"delete rule {effect.family} {effect.table} {effect.chain} handle {handle}\n")
