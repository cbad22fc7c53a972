"""Every command, stopped at each of its effects, in each way: faults.py has the ways, scenarios.py
what must hold then.

`make test` tries the tutorial's lab in all ways, each command at every fourth effect (a ninth in
private worlds); `make test-crash` (CRASH=full) tries all labs, and one that has every kind of fact,
at each effect, with each errno that a call can give, and each answer that rtnetlink can give.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults import ERRNOS, REFUSALS, Fault, attempt
from helpers import EXAMPLES, SEED
from sandbox import World
from scenarios import Scenario

EVERYTHING = Path(__file__).with_name("labs") / "everything.yaml"
FULL = os.environ.get("CRASH") == "full"
LARGE = {"swarm"}  # one errno each is enough for it: what differs is only how many nodes there are
VERBS = ("up", "down", "change", "connect", "rm")
WAYS = {
    "host": ("kill", "power", "error", "refuse"),
    "private": ("kill", "power", "error", "refuse", "worker"),
}
QUICK = {
    (SEED, "host", "kill"): VERBS,
    (SEED, "host", "error"): ("change",),
    (SEED, "host", "refuse"): ("change",),
    (SEED, "host", "power"): ("up",),
    (SEED, "private", "kill"): ("up",),
    (SEED, "private", "worker"): ("change",),
}
_NEVER = 1 << 30
_EVERY = {"host": 1, "private": 1} if FULL else {"host": 4, "private": 9}


def _cases() -> Iterator[tuple[Path, str, str, str]]:
    for lab in (*EXAMPLES, EVERYTHING):
        for kind, ways in WAYS.items():
            for way in ways:
                for verb in VERBS if FULL else QUICK.get((lab, kind, way), ()):
                    yield lab, verb, kind, way


@pytest.mark.parametrize(
    ("lab", "verb", "kind", "way"),
    [pytest.param(*case, id="-".join((case[0].stem, *case[1:]))) for case in _cases()],
)
def test_stopped_at_each_effect(
    world: World,
    lab: Path,
    verb: str,
    kind: str,
    way: str,
    record_property: Callable[[str, object], None],
) -> None:
    """`up` again gives the state of an undisturbed run, `down` the state before; what is shown in
    between is true."""
    scenario = Scenario.of(lab, verb, kind)
    every = _EVERY[kind]
    # what is alike in several commands is tried at each place
    first = list(_cases()).index((lab, verb, kind, way)) % every
    faults = list(_faults(scenario, way))[first::every]
    wrong = []
    for fault in faults:
        try:
            ending = scenario.verify(fault)
            # A run in which the kernel was quicker has fewer effects, and ends before the fault
            # comes.
            early = ending.how == "done" and fault.at >= min(ending.calls, ending.messages)
            assert ending.hit or early, f"{fault} did not come"
        except AssertionError as error:
            wrong.append(str(error))
            scenario.restore()
    scenario.take_down()
    record_property("crash points", len(faults))
    record_property(f"crash points, {way}", len(faults))
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong[:20])


def _faults(scenario: Scenario, way: str) -> Iterator[Fault]:
    """One for each effect of the undisturbed run, or more where there are several answers to
    give."""
    scenario.prepare()
    ending = attempt(scenario.act, Fault(_NEVER, way))  # type: ignore[arg-type]
    scenario.take_down()
    assert ending.how == "done", ending
    many = FULL and scenario.name not in LARGE
    for at in range(ending.messages if way == "refuse" else ending.calls):
        answers = {
            "refuse": len(REFUSALS),
            "error": len(ERRNOS[ending.names[at]]) if way == "error" else 1,
        }.get(way, 1)
        for variant in range(answers if many else 1):
            yield Fault(at, way, variant)  # type: ignore[arg-type]
