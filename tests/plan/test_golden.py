"""Plans, scripts and the configuration of name servers as a person reads them: ``plans.txt``,
``scripts.txt``, ``servers.txt``.

``PYTHONPATH=src python tests/plan/test_golden.py`` writes what is said now; read the diff before
committing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bascule.kernel.fact import Fact
from bascule.kernel.file import TextFile
from bascule.kernel.op import Indexes
from bascule.kernel.process import Process
from bascule.plan import classic, render
from bascule.plan.desired import desired
from bascule.plan.diff import diff
from bascule.plan.given import Machine
from bascule.topology.addressing import assign
from bascule.topology.load import load_text
from bascule.wire.netfilter import BaseChain

PLANS, SCRIPTS, SERVERS = (
    Path(__file__).with_name(name) for name in ("plans.txt", "scripts.txt", "servers.txt")
)
NOTHING = "# nothing"  # in place of a lab file: an empty machine, or a lab that is taken away
MACHINE = Machine(
    rules=False, chains=(BaseChain("ip", "filter", "FORWARD", 2, drops=True),), bridged=True
)
SERVING = {
    "alone": Machine(dnsmasq=True, alone=True),
    "without dnsmasq": Machine(),
    "": Machine(dnsmasq=True),
}


def _facts(text: str, machine: Machine = Machine(rules=False)) -> list[Fact]:  # noqa: B008 (a frozen value)
    """Rules are there only where the lab asks for some: they would fill every page."""
    return (
        []
        if text.strip() == NOTHING
        else desired(assign(load_text(text.encode(), "lab.yaml")), machine)
    )


def _plan(text: str) -> str:
    """From the lab before ``---`` to the one behind it: what `bascule plan` shows, then the
    commands in their order."""
    before, _, after = text.partition("---\n")
    have = _facts(before)
    plan = diff(_facts(after), have, Indexes(), [fact.key for fact in have])
    return (
        render.text(plan) + "\n\n" + "".join(f"{line}\n" for op in plan.ops for line in op.shell())
    )


def _scripts(text: str) -> str:
    """Both spellings of the way up, and the classic one's way back, where a firewall of the machine
    drops what it forwards."""
    facts = _facts(text, MACHINE)
    plain = render.script("t", diff(facts, [], Indexes()).ops, "the way up")
    return "\n".join((plain, classic.classic("t", facts), classic.teardown("t", facts)))


def _configuration(headline: str, text: str) -> str:
    """The files that the lab's name servers read, and what is started with them."""
    out = []
    machine = next(machine for ending, machine in SERVING.items() if headline.endswith(ending))
    for fact in _facts(text, machine):
        if isinstance(fact, TextFile) and fact.path.startswith("/run/bascule/lab/dns/"):
            out += [fact.path, *(f"    {line}" for line in fact.content.splitlines())]
        elif isinstance(fact, Process):
            out.append(" ".join((fact.at.program.name, *fact.arguments)))
    return "".join(f"{line}\n" for line in out)


def _blocks(file: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """The preface, then headline, lab files and expected text of each block."""
    preface, *blocks = file.read_text(encoding="utf-8").split("\n=== ")
    out = []
    for block in blocks:
        headline, *lines = block.splitlines()
        text = "".join(line + "\n" for line in lines if not line.startswith(">"))
        out.append(
            (headline, text, "".join(line[2:] + "\n" for line in lines if line.startswith(">")))
        )
    return preface, out


@pytest.mark.parametrize(
    ("headline", "text", "expected"), _blocks(PLANS)[1], ids=lambda value: value.partition("\n")[0]
)
def test_a_plan_says_what_changes_why_and_how(headline: str, text: str, expected: str) -> None:
    """Changes in the order of their making, each with its reason, and then the commands."""
    assert _plan(text) == expected


@pytest.mark.parametrize(
    ("headline", "text", "expected"),
    _blocks(SCRIPTS)[1],
    ids=lambda value: value.partition("\n")[0],
)
def test_scripts_do_by_hand_what_the_lab_file_says(headline: str, text: str, expected: str) -> None:
    """They may be read aloud: one step a line, what bascule does besides marked as such."""
    assert _scripts(text) == expected


@pytest.mark.parametrize(
    ("headline", "text", "expected"),
    _blocks(SERVERS)[1],
    ids=lambda value: value.partition("\n")[0],
)
def test_name_servers_are_told_what_the_lab_file_says(
    headline: str, text: str, expected: str
) -> None:
    """The headline's end says what the machine is like."""
    assert _configuration(headline, text) == expected


def _write(file: Path, said: Callable[[str, str], str]) -> None:
    out, blocks = _blocks(file)
    for headline, text, _ in blocks:
        expected = "".join(
            f"> {line}".rstrip() + "\n" for line in said(headline, text).splitlines()
        )
        out += f"\n=== {headline}\n{text}{expected}"
    file.write_text(out, encoding="utf-8")


if __name__ == "__main__":
    _write(PLANS, lambda _headline, text: _plan(text))
    _write(SCRIPTS, lambda _headline, text: _scripts(text))
    _write(SERVERS, _configuration)
