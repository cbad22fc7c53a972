"""How to run, who hears of it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bascule.engine.views import Kind
from bascule.host.hands import Report
from bascule.plan.diff import Plan
from bascule.state import lock
from bascule.topology.model import Assigned


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: ``world`` None takes what the lab has or the user's default; ``source`` is the
    file's path; ``kill`` ends the processes in namespaces that go. A lab that was ``named`` beside
    its file is meant, whichever file it was of. With ``hold`` it is the program's own. A
    ``partial`` run looks only at what it changes."""

    world: str | None = None
    wait: bool = True
    command: str = "bascule"
    source: str = ""
    kill: bool = False
    named: bool = False
    hold: lock.Hold | None = None
    partial: bool = False


@dataclass(slots=True)
class Listener:
    """Who wants to know: each does nothing unless it is set. ``waiting``: who is waited for;
    ``planned``: what is about to be done; ``progress``: how many of its operations are. Of what
    goes on until it is interrupted, ``watching``: which labs there are at its beginning;
    ``problem``: what goes wrong meanwhile (one line each), once as long as it lasts."""

    waiting: Callable[[str], None] = lambda _text: None
    planned: Callable[[Plan], None] = lambda _plan: None
    progress: Callable[[int], None] = lambda _count: None
    watching: Callable[[tuple[str, ...]], None] = lambda _labs: None
    problem: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. ``remarks``: processes that still use a namespace that went, and what
    else one should know. ``world`` is "" where the lab had none any more."""

    plan: Plan
    report: Report
    lab: Assigned | None
    world: Kind
    remarks: tuple[str, ...] = ()
