"""How labs are: what `doctor` says of all of them in a line each, and of one in full."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from bascule.engine import asked, look, pairs, run
from bascule.engine.leftovers import leftovers
from bascule.engine.listing import listed
from bascule.engine.options import Options
from bascule.engine.views import Finding, LabInfo, Verdict
from bascule.errors import BasculeError, NotFound
from bascule.host.world import World
from bascule.names import few, shown
from bascule.plan.diff import Plan
from bascule.topology.model import Assigned

_SHOWN = 3  # changes that are told one by one
_NODES = 40  # of a larger lab not every pair is tried
_SECONDS = 2.0

# what a state of `ls` means: how bad it is, and the command that mends it ({} is the lab)
_STATES: dict[str, tuple[Verdict, str, str]] = {
    "up": ("ok", "up", ""),
    "drifted": ("no", "it is not as it was built", "bascule up {}"),
    "broken": ("no", "some of it is gone", "bascule up {}"),
    "unfinished": ("no", "its last run was killed before its end", "bascule up {}"),
    "lost": ("no", "its private world has ended", "bascule up {}"),
    "kept": ("note", "it was up before a reboot", "bascule restore {}"),
}


def labs() -> Iterator[Finding]:
    """labs."""
    found = listed()
    well = [info.name for info in found if info.state == "up" and not info.problem]
    if well:
        yield Finding("labs", "ok", f"up: {few(well)}")
    yield from (_state(info) for info in found if info.name not in well)
    left = leftovers()
    if left:
        sure = any(each.sure for each in left)
        command = "bascule system prune" + ("" if sure else " --all")
        what = few([each.name for each in left])
        fix = f"{command} --force" if sure else ""
        yield Finding("left over", "note", what, f"{command} takes it away", fix)


def _state(info: LabInfo) -> Finding:
    what = f"lab {info.name}"
    if info.state not in _STATES:
        verdict: Verdict = "no" if info.state == "damaged" else "note"
        return Finding(what, verdict, info.problem or info.state)
    verdict, said, command = _STATES[info.state]
    fix = command.format(shlex.quote(info.name))
    return Finding(what, verdict, info.problem or said, f"run: {fix}" if fix else "", fix)


def examine(name: str) -> Iterator[Finding]:
    """One lab: its state, its file, whether all is as it was built, and who reaches whom. Raises
    :class:`NotFound` for a lab that `ls` does not know."""
    infos = listed()
    info = next((each for each in infos if each.name == name), None)
    if info is None:
        known = ", ".join(each.name for each in infos) or "none"
        raise NotFound(f"no lab {shown(name)}; there are: {known}")
    yield _state(info)
    if info.state not in ("up", "drifted", "broken", "unfinished"):
        return
    try:
        lab, world, _record = look.running(name)
        plan = run.preview(name, lambda current: current, Options(command="bascule doctor")).plan
        yield from _file(name, info.source, plan)
        yield _drift(name, plan)
        yield from (Finding("to know", "note", note) for note in plan.notes)
        yield from _reach(lab, world)
    except BasculeError as error:
        yield Finding("look", "no", str(error))


def _file(name: str, source: str, drift: Plan) -> Iterator[Finding]:
    """Whether its file still says what is up, whatever has drifted from that."""
    if not source:
        return
    if not os.path.exists(source):
        advice = f"`bascule inspect {name} --yaml` prints the lab as a file"
        yield Finding("file", "note", f"{source} is gone", advice)
        return
    try:
        asked_for = asked.load(source, name=name)
        plan = run.preview(name, lambda _now: asked_for.topology, asked_for.options("doctor")).plan
    except BasculeError as error:
        first, *more = str(error).splitlines()
        advice = f"{len(more)} more: `bascule check {shlex.quote(source)}`" if more else ""
        yield Finding("file", "note", first, advice)
        return
    differs = [change for change in plan.changes if change not in drift.changes]
    command = f"bascule up {shlex.quote(source)}"
    if differs:
        found = f"{source} says something else than what was built: {_told(Plan(tuple(differs)))}"
        yield Finding("file", "note", found, f"`{command}` makes it so")
    else:
        yield Finding("file", "ok", source)


def _drift(name: str, plan: Plan) -> Finding:
    if not plan:
        return Finding("as built", "ok", "nothing is missing, and nothing was changed")
    fix = f"bascule up {shlex.quote(name)}"
    return Finding("as built", "no", _told(plan), f"`{fix}` mends it", fix)


def _told(plan: Plan) -> str:
    first = "; ".join(
        f"{change.sign} {change.fact.describe()}" + (f" ({change.reason})" if change.reason else "")
        for change in islice(plan.changes, _SHOWN)
    )
    more = len(plan.changes) - _SHOWN
    return f"{first}; and {more} more" if more > 0 else first


def _reach(lab: Assigned, world: World) -> Iterator[Finding]:
    """Whether nodes answer each other as the lab says."""
    if len(lab.nodes) > _NODES:
        return
    try:
        echoes = pairs.ping(lab, world, None, None, _SECONDS, strangers=True)
    except (BasculeError, OSError) as error:
        yield Finding("reach", "no", f"can't be tried: {error}")
        return
    failed = [echo for echo in echoes if echo.failed]
    if echoes and not failed:
        yield Finding("reach", "ok", f"{len(echoes)} pairs of nodes are as the lab says")
    for barred in (False, True):
        of_kind = [echo for echo in failed if bool(echo.barred) == barred]
        if of_kind:
            why = Counter(echo.barred or echo.why for echo in of_kind).most_common(1)[0][0]
            who = few([f"{echo.source} → {echo.target.node}" for echo in of_kind])
            what = "answer, though not meant to" if barred else "do not answer"
            yield Finding("reach", "no", f"{len(of_kind)} of {len(echoes)} {what}: {who} ({why})")
