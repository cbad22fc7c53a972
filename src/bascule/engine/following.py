"""A lab that is kept as its file says: made so again when the file changes, and when somebody else
changes the lab.

hold → up → again and again: look (is it still there?), read the file, plan, mend, wait

What the file says counts once it is at rest (:mod:`bascule.host.settled`); a file that is wrong
changes nothing. After failures the pauses grow, up to a minute.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from bascule.engine import asked as asked_of
from bascule.engine import look, run
from bascule.engine.asked import Asked
from bascule.engine.options import Listener, Options, Outcome
from bascule.engine.watch import Watcher
from bascule.errors import BasculeError, InputError, Locked, NotFound
from bascule.host.inotify import along
from bascule.host.monitor import Files
from bascule.host.settled import Settled
from bascule.names import printable
from bascule.state import lock
from bascule.topology.model import Assigned, Topology

# seconds until another look where nothing is heard; and at most after failures
_REGULAR, _LONGEST = 5.0, 60.0
_SOON = 0.2  # seconds, while the file is being written
_MOST_FAILURES = 4  # that count: _REGULAR * 2**4 is over _LONGEST


class Following:
    """One lab that is followed. ``asked`` is what its file said last, and is what counts: it may be
    read while one iterates. ``listener`` hears of the runs, of problems (``problem``) and, after
    the first run, that it is watched (``watching``)."""

    def __init__(self, asked: Asked, listener: Listener) -> None:
        """Raises :class:`InputError` where there is no file that could be watched."""
        if not asked.source:
            what = printable(asked.given) or f"lab {asked.name}"
            raise InputError(f"{what}: is no file that could be watched; write it to one")
        self.asked = asked
        self._listener = listener
        self._file = Settled(asked.source)
        self._failures = 0
        self._told = ""

    def outcomes(self, wait: bool = True) -> Generator[Outcome, None, None]:
        """Make it so, again and again: what came of each run that changed something, and of the
        first. Ends when the lab is taken down, and gives it back when it is closed; the lab stays
        up then. Raises what :func:`bascule.engine.run.apply` does for the first run, and
        :class:`Locked` where another program holds the lab."""
        name, topology = self.asked.name, self.asked.topology
        hold = lock.Hold(name)
        try:
            # before anything is changed: a lab that another one watches would be changed back
            hold.take()
            options = self.asked.options("bascule up", wait)
            yield run.apply(name, lambda _current: topology, options, self._listener)
            with closing(Watcher((name,))) as watcher, closing(Files()) as files:
                self._listener.watching((name,))
                yield from self._follow(hold, watcher, files)
        finally:
            hold.release()

    def _follow(
        self, hold: lock.Hold, watcher: Watcher, files: Files
    ) -> Generator[Outcome, None, None]:
        while True:
            hold.take()
            files.watch(along(self.asked.source))
            watcher.look()
            if not any(info.name == self.asked.name for info in look.labs()):
                return
            outcome = self._step()
            if outcome is not None:
                yield outcome
            watcher.wait(files.bells(), self._pause())

    def _step(self) -> Outcome | None:
        """Read the file and mend the lab; what goes wrong is told once, as long as it lasts."""
        problems, outcome = [], None
        try:
            self._read()
        except BasculeError as error:
            problems.append(str(error))
        try:
            outcome = self._mend()
            self._failures = 0
        except (Locked, NotFound):  # another command works on it, or has just taken it down
            self._failures = 0
        except BasculeError as error:
            problems.append(str(error))
            self._failures += 1
        problem = "\n".join(problems)
        if problem and problem != self._told:
            self._listener.problem(problem)
        self._told = problem
        return outcome

    def _read(self) -> None:
        """What the file says now, once it is at rest. Raises what loading raises; what was asked
        for before is asked for then."""
        source = self.asked.source
        try:
            text = self._file.read()
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}; the lab stays as it was") from error
        if text is None:
            return
        given_name = self.asked.name if self.asked.named else ""
        found = asked_of.of_text(
            text, source, self.asked.world, given_name, self.asked.without_ipv6
        )
        if found.name != self.asked.name:
            raise InputError(
                f"{source}: is lab {found.name} now, and not {self.asked.name}; `bascule down "
                f"{self.asked.name}`, and watch anew"
            )
        self.asked = found

    def _mend(self) -> Outcome | None:
        """Make it so where it is not, but do not build again what somebody has just taken down."""
        name, topology = self.asked.name, self.asked.topology

        def edit(current: Assigned | None) -> Topology:
            if current is None:
                raise NotFound(f"lab {name} was taken down")
            return topology

        if lock.is_held(name):
            return None
        looked = self.asked.options("bascule plan")
        if not run.preview(name, lambda _current: topology, looked).plan:
            return None
        options = Options(self.asked.world, False, "bascule up --watch", self.asked.source)
        return run.apply(name, edit, options, self._listener)

    def _pause(self) -> float:
        """Seconds until another look, if nothing is heard before."""
        if self._file.waits:
            return _SOON
        return min(_LONGEST, _REGULAR * (1 << min(self._failures, _MOST_FAILURES)))
