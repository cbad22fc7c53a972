"""What was done to the machine is told (:mod:`bascule.host.log`): who did what to which lab, before
it is done, with each change, and what came of it. Private worlds change nothing of the machine's,
and are not told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bascule.engine.options import Listener, Outcome
from bascule.host import log
from bascule.plan.diff import Plan

_MOST = 200  # changes that are told one by one


class Log:
    """Of one run on a lab, by a ``command``."""

    def __init__(self, name: str, command: str, kind: str) -> None:
        self._name = name
        self._command = command
        self._where = log.place() if kind == "host" else ""
        self._begun = False

    def hearing(self, heard: Listener) -> Listener:
        """The same listener, whose plans are told."""
        if not self._where:
            return heard

        def planned(plan: Plan) -> None:
            self._begin(plan)
            heard.planned(plan)

        return replace(heard, planned=planned)

    def _begin(self, plan: Plan) -> None:
        if not plan:
            return
        changes = [f"{change.sign} {change.fact.describe()}" for change in plan.changes]
        more = len(changes) - _MOST
        self._tell(
            f"{self._command} by {log.user()} begins: {len(changes)} changes",
            *changes[:_MOST],
            *([f"and {more} changes more"] if more > 0 else ()),
        )
        self._begun = True

    def follow(self, work: Callable[[], Outcome]) -> Outcome:
        """Do the work, and tell what came of it, where it has begun to change anything."""
        try:
            outcome = work()
        except BaseException as error:
            if self._begun:
                why = (str(error) or type(error).__name__).splitlines()[0]
                self._tell(f"{self._command} failed: {why}")
            raise
        if self._begun:
            self._tell(f"{self._command} is done")
        return outcome

    def _tell(self, *texts: str) -> None:
        log.tell(self._where, (f"lab {self._name}: {text}" for text in texts))
