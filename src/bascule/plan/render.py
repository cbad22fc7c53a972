"""A plan as text for people, and as a shell script."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bascule.kernel.fact import Op
from bascule.names import printable
from bascule.plan.diff import Change, Plan

Paint = Callable[[str, str], str]


def plain(_sign: str, text: str) -> str:
    """No colour."""
    return text


def text(plan: Plan, paint: Paint = plain) -> str:
    """One line a fact: ``+ bridge mydocker0 mtu 1500  (new)``. ``paint`` colours a line by its
    sign."""
    lines = [paint(change.sign, _line(change)) for change in plan.changes]
    lines.extend(paint("!", printable(f"! {note}")) for note in plan.notes)
    counts = {sign: sum(change.sign == sign for change in plan.changes) for sign in "+~-"}
    if plan.changes:
        lines.append(f"{counts['+']} to add, {counts['~']} to change, {counts['-']} to remove")
    else:
        lines.append("nothing to do: all is as it should be")
    return "\n".join(lines)


def _line(change: Change) -> str:
    return printable(f"{change.sign} {change.fact.describe()}  ({change.reason})")


def script(lab: str, ops: Iterable[Op], purpose: str) -> str:
    """A shell script for an empty machine. It stops at the first failure."""
    lines = [
        "#!/usr/bin/env bash",
        f"# Lab {lab}: {purpose}, as plain commands (iproute2, nft, sysctl). Run it as root.",
        "set -e",
    ]
    seen: set[str] = set()
    for op in ops:
        for line in op.shell():
            if line.startswith("mkdir -p ") and line in seen:
                continue
            seen.add(line)
            lines.append(line)
    return "\n".join(lines) + "\n"
