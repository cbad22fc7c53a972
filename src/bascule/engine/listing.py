"""The labs that `ls` lists, each in the state that it is really in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import Any, get_args

from bascule.engine import look, others
from bascule.engine.judge import Judge
from bascule.engine.options import Listener
from bascule.engine.views import Kind, LabInfo, State
from bascule.errors import StateError, translated
from bascule.names import problem_with_lab_name
from bascule.state import kept
from bascule.topology.outline import Outline

_MOST_NUMBER = 1 << 32


@translated
def listed(
    *, check: bool = False, everyone: bool = False, listener: Listener | None = None
) -> list[LabInfo]:
    """All labs of this user, and behind them the kept ones that are not there. Bridges, cables and
    nodes of those that are up are looked for; ``check``: all is looked at, as `plan` does, which
    takes longer. ``everyone``: with those that run and are of another state directory and, for
    root, those of all other users; ``listener`` hears of whose can't be looked at. What is kept by
    other users, or can't be read, is not told."""
    judge = Judge(thorough=check)
    found = look.labs(judge)
    there = {info.name for info in found}
    me = look.me()
    with suppress(StateError):
        found += [_kept(name, me) for name in kept.names() if name not in there]
    if everyone:
        found += [_foreign(*each) for each in look.foreign(judge)]
        problem = (listener or Listener()).problem
        for user, answer in others.each(lambda: _seen(judge), problem):
            found += _believed(answer, user)
    return found


def _kept(name: str, user: str) -> LabInfo:
    try:
        topology, source = kept.load(name)
    except StateError as error:
        return LabInfo(name, "damaged", "host", 0, 0, "", problem=str(error), user=user)
    outline = Outline(topology)
    names = (*outline.nodes, *outline.networks)
    count = len(outline.nodes), len(outline.networks)
    problem = "was up before the machine was started anew; `bascule restore` builds it"
    return LabInfo(
        *(name, "kept", "host", *count, source, names),
        problem=problem,
        user=user,
        labels=outline.labels,
    )


def _foreign(info: LabInfo, directory: str) -> LabInfo:
    also = f"; {info.problem}" if info.problem else ""
    problem = f"of another state directory: BASCULE_STATE_DIR={directory}{also}"
    return replace(info, state="foreign", problem=problem)


def _seen(judge: Judge) -> bytes:
    """In a process of another user: all of that user's labs."""
    found = [*look.labs(judge), *(info for info, _directory in look.foreign(judge))]
    return json.dumps([asdict(info) for info in found]).encode()


def _believed(answer: bytes, user: str) -> list[LabInfo]:
    """What a process of a user's has answered, as far as it has the form of labs: that user could
    have written anything."""
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError):
        data = []
    rows = data if isinstance(data, list) else []
    return [_info(row, user) for row in rows if isinstance(row, dict) and _is_good(row)]


def _info(row: Mapping[str, Any], user: str) -> LabInfo:
    given = {field.name: row[field.name] for field in fields(LabInfo)}
    # what one does about it, that user does
    problem = row["problem"].replace("`bascule ", f"`sudo -u {user} bascule ")
    return LabInfo(**{**given, "names": tuple(row["names"]), "problem": problem, "user": user})


def _is_good(row: Mapping[str, Any]) -> bool:
    texts = [row.get(key) for key in ("name", "source", "problem")]
    names, labels = row.get("names"), row.get("labels")
    if not isinstance(names, list) or not isinstance(labels, dict):
        return False
    numbers = [row.get(key) for key in ("nodes", "networks")]
    numbers += [row["keeper"]] if row.get("keeper") is not None else []
    return (
        {field.name for field in fields(LabInfo)} <= row.keys()
        and all(isinstance(text, str) for text in (*texts, *names, *labels.values()))
        and all(type(number) is int and 0 <= number < _MOST_NUMBER for number in numbers)
        and row.get("state") in get_args(State)
        and row.get("world") in get_args(Kind)
        and problem_with_lab_name(row["name"]) is None
    )
