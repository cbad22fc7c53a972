"""events, and up --watch: commands that go on until they are interrupted."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace as Arguments
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from bascule import api
from bascule.cli import output
from bascule.names import printable

_INTERRUPTED = 130


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
    told = api.events(arguments.labs, _listener(), sys.stdout.fileno())
    with until_asked() as asked:
        _tell(told, _json if arguments.json else _line)
    return asked.code


def _listener() -> api.Listener:
    listener = output.listener(False)
    listener.watching = lambda labs: output.say(f"watching {', '.join(labs) or 'for labs'}")
    return listener


def _tell(told: Iterator[api.Event], line: Callable[[api.Event], None]) -> None:
    for event in told:
        line(event)


def _json(event: api.Event) -> None:
    output.as_line(event)


def _line(event: api.Event) -> None:
    moment = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    foreign = f"  (not by bascule: {event.reason})" if event.foreign else ""
    text = printable(f"{moment} {event.lab} {event.sign} {event.what}{foreign}")
    print(output.paint(event.sign, text), flush=True)


def up(arguments: Arguments, lab: api.Lab) -> int:
    """``bascule up --watch``: after the first run it ends with 130 by an interrupt, with 0 by
    SIGTERM or when the lab is taken down; the lab stays as it is."""
    listener = output.listener(arguments.explain)
    listener.watching = lambda _labs: output.say(
        f"watching {lab.name} and {lab.source}: an interrupt ends that, and leaves the lab up"
    )
    with closing(lab.watch(listener, wait=not arguments.no_wait)) as outcomes:
        output.report(lab.name, next(outcomes), "up")
        with until_asked() as asked:
            for outcome in outcomes:
                output.report(lab.name, outcome, "up")
            output.say(f"{lab.name} was taken down")
            asked.code = 0
    return asked.code
