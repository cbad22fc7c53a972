"""events, and up --watch: commands that go on until they are interrupted."""

from __future__ import annotations

import json
import signal
import sys
from argparse import Namespace as Arguments
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from bascule.api import Lab
from bascule.cli import output
from bascule.engine import look, run
from bascule.engine.options import Options
from bascule.engine.watch import Event, Watcher
from bascule.errors import BasculeError, InputError, Locked, NotFound
from bascule.host.inotify import along
from bascule.host.monitor import Files
from bascule.host.settled import Settled
from bascule.names import printable, problem_with_lab_name
from bascule.state import lock
from bascule.topology.model import Assigned, Topology

_INTERRUPTED = 130
# seconds until another look where nothing is heard; and at most after failures
_REGULAR, _LONGEST = 5.0, 60.0
_SOON = 0.2  # seconds, while the file is being written


class _Asked:
    """Whether it was SIGTERM that ended us: to be asked to end is no failure."""

    code = _INTERRUPTED


@contextmanager
def until_asked() -> Iterator[_Asked]:
    """An interrupt (SIGINT) ends the block, and so does SIGTERM, wherever an interrupt would have
    been heard."""
    asked = _Asked()

    def end(_number: int, _frame: object) -> None:
        asked.code = 0
        # as in a script's background job (sh(1), asynchronous lists)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield asked
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def events(arguments: Arguments) -> int:
    """``bascule events``: ends with 130 by an interrupt, with 0 by SIGTERM, with 141 when nobody
    reads any more."""
    for name in arguments.labs:
        if problem := problem_with_lab_name(name):
            raise InputError(problem)
    with until_asked() as asked:
        _tell(
            Watcher(tuple(arguments.labs), sys.stdout.fileno()), _json if arguments.json else _line
        )
    return asked.code


def _tell(watcher: Watcher, line: Callable[[Event], str]) -> None:
    told: dict[str, str] = {}
    try:
        watcher.look()
        output.say(f"watching {', '.join(watcher.seen) or 'for labs'}")
        while True:
            tell_problems(watcher, told)
            watcher.wait()
            for event in watcher.look():
                print(line(event), flush=True)
    finally:
        watcher.close()


def tell_problems(watcher: Watcher, told: dict[str, str]) -> None:
    """Say each problem once, as long as it lasts."""
    for name, problem in watcher.problems.items():
        if told.get(name) != problem:
            for line in problem.splitlines():
                output.say(line)
    told.clear()
    told.update(watcher.problems)


def _json(event: Event) -> str:
    data = {slot: getattr(event, slot) for slot in event.__slots__}
    data["time"] = (
        datetime.fromtimestamp(event.time, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return json.dumps(data)


def _line(event: Event) -> str:
    moment = datetime.fromtimestamp(event.time).astimezone().strftime("%H:%M:%S.%f")[:-3]
    foreign = f"  (not by bascule: {event.reason})" if event.foreign else ""
    return output.paint(
        event.sign, printable(f"{moment} {event.lab} {event.sign} {event.what}{foreign}")
    )


def keep(arguments: Arguments, lab: Lab, hold: lock.Hold) -> int:
    """``bascule up --watch``, after the first up: make it so again when the file changes or
    somebody else changes the lab. Ends with 130 by an interrupt, with 0 by SIGTERM or when the lab
    is taken down; the lab stays as it is."""
    with until_asked() as asked:
        watcher, files = Watcher((lab.name,)), Files()
        try:
            output.say(
                f"watching {lab.name} and {lab.source}: an interrupt ends that, and leaves "
                f"the lab up"
            )
            _keep(arguments, lab, watcher, files, hold)
            asked.code = 0
        finally:
            watcher.close()
            files.close()
    return asked.code


def _keep(arguments: Arguments, lab: Lab, watcher: Watcher, files: Files, hold: lock.Hold) -> None:
    told, failures = "", 0
    file = Settled(lab.source)
    while True:
        hold.take()
        files.watch(along(lab.source))
        watcher.look()
        if not any(info.name == lab.name for info in look.labs()):
            return output.say(f"{lab.name} was taken down")
        problem = ""
        try:
            lab = _again(arguments, lab, file)
        except BasculeError as error:
            problem = str(error)
        try:
            if not lock.is_held(lab.name) and lab.plan():
                _mend(lab, arguments.explain)
            failures = 0
        except (Locked, NotFound):  # another command works on it, or has just taken it down
            failures = 0
        except BasculeError as error:
            problem, failures = "\n".join(filter(None, (problem, str(error)))), failures + 1
        if problem != told:
            for line in problem.splitlines():
                output.say(line)
        told = problem
        watcher.wait(files.bells(), _SOON if file.waits else min(_LONGEST, _REGULAR * 2**failures))


def _mend(lab: Lab, explain: bool) -> None:
    """Make it so, but do not build again what somebody has just taken down."""

    def edit(current: Assigned | None) -> Topology:
        if current is None:
            raise NotFound(f"lab {lab.name} was taken down")
        return lab.topology

    options = Options(lab.world, False, "bascule up --watch", lab.source)
    output.report(lab.name, run.apply(lab.name, edit, options, output.listener(explain)), "up")


def _again(arguments: Arguments, lab: Lab, file: Settled) -> Lab:
    """The lab as the file has it now, once it is at rest. Raises what loading raises; the lab stays
    as it was then."""
    try:
        text = file.read()
    except OSError as error:
        raise InputError(f"{lab.source}: {error.strerror}; the lab stays as it was") from error
    if text is None:
        return lab
    found = Lab.from_text(text, lab.source, world=arguments.world, name=arguments.name or "")
    if found.name != lab.name:
        raise InputError(
            f"{lab.source}: is lab {found.name} now, and not {lab.name}; `bascule down "
            f"{lab.name}`, and watch anew"
        )
    return found
