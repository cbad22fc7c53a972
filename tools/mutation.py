"""Change the rooms that decide, one small thing at a time, and see whether the fast tests notice
(mutmut, see pyproject.toml).

Prints each change that no test noticed, then the score of each room: what the tests killed, of all.
A change that takes for ever counts as killed: a test that hangs is noticed. Changes of which
tests/equivalent_mutants.txt says why nobody can see them are counted by themselves, and as
survivors in the score. ``--report`` only reads the results of the last run.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MUTANTS = Path("mutants/src/bascule")
EQUIVALENT = Path("tests/equivalent_mutants.txt")
ROOMS = ("plan", "topology", "state")
KILLED = {1, 3}  # pytest: a test failed, or could not be run at all
TIMEOUT = {-24, 24, 36, 152, 255}  # SIGXCPU, and mutmut's own numbers


class Mutant(NamedTuple):
    """One change: where it is, the lines that it replaces and the lines that it puts there."""

    room: str
    place: str
    old: str
    new: str


def main() -> int:
    """Run, report; 1 where a room has less than the score that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", default="2", help="mutants tried at a time (2)")
    parser.add_argument(
        "--least",
        type=float,
        default=85,
        help="the score that each room has to have, in per cent (85)",
    )
    parser.add_argument(
        "--report", action="store_true", help="only read the results of the last run"
    )
    given = parser.parse_args()
    began = time.monotonic()
    if not given.report:
        # With CI set, Hypothesis draws the same examples every time and remembers none from the
        # mutant before.
        environment = os.environ | {"CI": "true", "BASCULE_MUTATION": "1"}
        mutmut = str(Path(sys.executable).with_name("mutmut"))
        subprocess.run([mutmut, "run", "--max-children", given.jobs], env=environment, check=True)
    return report(given.least, 0 if given.report else time.monotonic() - began)


def report(least: float, seconds: float) -> int:
    """Print survivors and scores."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    known = equivalent()
    met: set[Mutant] = set()
    for mutant, code in results():
        kind = (
            "killed"
            if code in KILLED
            else "timeout"
            if code in TIMEOUT
            else "untried"
            if code is None
            else "survived"
        )
        if kind == "survived":
            met.add(mutant)
            if mutant in known:
                kind = "equivalent"
            else:
                print(f"{mutant.room}/{mutant.place}\n- {mutant.old}\n+ {mutant.new}\n")
        counts[mutant.room][kind] += 1
    for mutant in sorted(known - met):
        print(
            f"no longer there or no longer alive, take it out of {EQUIVALENT}: "
            f"{mutant.room}/{mutant.place}\n+ {mutant.new}\n"
        )
    print(
        "| room | mutants | killed | by timeout | survived | of these equivalent | score |\n"
        "|---|---|---|---|---|---|---|"
    )
    low = False
    for room in ROOMS:
        c = counts[room]
        score = 100 * (c["killed"] + c["timeout"]) / (c.total() or 1)
        low |= score < least
        survived = c["survived"] + c["equivalent"]
        print(
            f"| {room} | {c.total()} | {c['killed']} | {c['timeout']} | {survived} | "
            f"{c['equivalent']} | {score:.1f} % |"
        )
    if untried := sum(c["untried"] for c in counts.values()):
        print(f"\n{untried} mutants were not tried: the run was interrupted")
    if seconds:
        print(f"\n{seconds / 60:.0f} minutes")
    return int(low)


def results() -> Iterator[tuple[Mutant, int | None]]:
    """Each mutant and the exit code of its tests, None where they were not run."""
    for room in ROOMS:
        for meta in sorted((MUTANTS / room).rglob("*.py.meta")):
            codes = json.loads(meta.read_text())["exit_code_by_key"]
            source = meta.with_suffix("").read_text()
            lines = source.splitlines()
            spans = {
                node.name: node
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.FunctionDef)
            }
            for key, code in codes.items():
                name = key.rpartition(".")[2]
                original = name.rpartition("__mutmut_")[0]
                found = (spans[f"{original}__mutmut_orig"], spans[name])
                texts = [
                    "\n".join(lines[n.lineno - 1 : n.end_lineno]).replace(n.name, "").split("\n")
                    for n in found
                ]
                changed = [
                    line
                    for line in difflib.unified_diff(*texts, n=0, lineterm="")
                    if line[:3] not in ("---", "+++")
                ]
                old, new = (
                    " ".join(line[1:].strip() for line in changed if line[0] == sign)
                    for sign in "-+"
                )
                yield (
                    Mutant(
                        room, f"{meta.stem.removesuffix('.py')}: {readable(original)}", old, new
                    ),
                    code,
                )


def readable(name: str) -> str:
    """mutmut calls f `x_f`, and C.f `xǁCǁf`."""
    return (
        name.removeprefix("x_")
        if name.startswith("x_")
        else name.removeprefix("xǁ").replace("ǁ", ".")
    )


def equivalent() -> set[Mutant]:
    """The changes in the file: blocks of a place, ``-`` the old line, ``+`` the new one; what
    begins with # is the reason."""
    found = set()
    room = place = old = ""
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("- "):
            old = line[2:]
        elif line.startswith("+ "):
            found.add(Mutant(room, place, old, line[2:]))
        elif line and not line.startswith("#"):
            room, _, place = line.partition("/")
            old = ""
    return found


if __name__ == "__main__":
    sys.exit(main())
