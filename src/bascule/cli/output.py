"""What people look at: colour, tables, a progress bar where the output is a terminal; plain text
where not."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from bascule.cli.streams import Unwritten
from bascule.names import printable

if TYPE_CHECKING:
    from bascule.api import Listener, Outcome, Plan


class Named(Protocol):
    """What a list is of."""

    @property
    def name(self) -> str: ...


_COLOURS = {"+": "32", "~": "33", "-": "31", "!": "36"}
_NODES_FOR_A_BAR = 50

_taken: list[Any] | None = None


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads along. NO_COLOR (no-color.org) and TERM=dumb count as no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(sign: str, text: str, stream: TextIO | None = None) -> str:
    """Colour by sign on a terminal."""
    return (
        f"\x1b[{_COLOURS[sign]}m{text}\x1b[0m"
        if is_terminal(stream or sys.stdout) and sign in _COLOURS
        else text
    )


def paragraph(sign: str, text: str, stream: TextIO | None = None) -> str:
    """A line coloured by its sign, on a terminal in several if it is too long: broken between words
    and not in what is quoted, which a person may copy."""
    stream = stream or sys.stdout
    if not is_terminal(stream):
        return text
    width = shutil.get_terminal_size().columns
    if len(text) > width:
        import textwrap

        held = re.sub("`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), text)
        options = {"break_long_words": False, "break_on_hyphens": False}
        lines = textwrap.wrap(held, width, subsequent_indent="    ", **options)  # type: ignore[arg-type]
        text = "\n".join(lines).replace("\0", " ")
    return "\n".join(paint(sign, line, stream) for line in text.split("\n"))


def document(text: str) -> None:
    """Print what is a file: in UTF-8, as bascule reads it, whatever the terminal's characters
    are."""
    sys.stdout.flush()
    if buffer := getattr(sys.stdout, "buffer", None):
        buffer.write(text.encode("utf-8", "backslashreplace"))
    else:  # a program's own io.StringIO
        print(text, end="")


def as_line(value: object) -> None:
    """Print a value of the API as JSON in one line, at once: one of many."""
    from bascule.api import as_data

    print(json.dumps(as_data(value), default=str), flush=True)


def as_json(value: object, indent: int | None = 2) -> int:
    """Print a value of the API as JSON, in one line without ``indent``; exit code 0."""
    from bascule.api import as_data

    data = as_data(value)
    if _taken is None:
        print(json.dumps(data, indent=indent, default=str), flush=indent is None)
    else:
        _taken.append(data)
    return 0


@contextmanager
def taken() -> Iterator[list[Any]]:
    """What is told as JSON meanwhile, as values: it is not printed."""
    global _taken
    before, _taken = _taken, []
    try:
        yield _taken
    finally:
        _taken = before


def plan(found: Plan, json: bool) -> int:
    """For people, or as JSON; exit code 0."""
    if json:
        return as_json(found)
    from bascule.api import plan_text

    print(plan_text(found, paragraph))
    return 0


def report(name: str, outcome: Outcome, verb: str, json: bool = False) -> None:
    """One line of what was done, and one for each thing that one should know; or all of it as
    ``json``."""
    if json:
        from bascule.api import done

        as_json(done(name, outcome))
        return
    say(_done(name, outcome, verb))
    for line in outcome.remarks:
        warn(line)


def _done(name: str, outcome: Outcome, verb: str) -> str:
    if not outcome.plan:
        return f"{name}: nothing to do, all is as it should be"
    if verb == "down":  # what a node held went with it, uncounted
        return f"{name} is down"
    counts = {sign: sum(change.sign == sign for change in outcome.plan.changes) for sign in "+~-"}
    place = f" in a {outcome.world} world" if outcome.world == "private" else ""
    return f"{name} is up{place}: {counts['+']} added, {counts['~']} changed, {counts['-']} removed"


def listing(
    found: Sequence[Named],
    kind: type,
    form: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> int:
    """A list of what is of this ``kind`` in one of the forms of ``--format``; exit code 0. Raises
    :class:`InputError` for a template that is not understood."""
    if "{{" in form:
        _by_template(found, kind, form)
    elif form == "json":
        as_json(found)
    elif form == "yaml":
        from bascule.api import as_yaml

        document(as_yaml(found))
    elif form == "name":
        for each in found:
            print(printable(each.name))
    else:
        table(headings, rows)
    return 0


def shown(value: object, form: str) -> int:
    """One thing in a form of ``--format``, as JSON where none is asked for; exit code 0. Raises
    :class:`InputError` for a template that is not understood."""
    if "{{" in form:
        _by_template([value], type(value), form)
    elif form == "yaml":
        from bascule.api import as_yaml

        document(as_yaml(value))
    else:
        return as_json(value)
    return 0


def _by_template(found: Sequence[object], kind: type, form: str) -> None:
    """A line for each; after the word ``table`` columns, which tabs part, with headings."""
    from bascule.cli.template import Template

    text = form.removeprefix("table ")
    if text == form:
        template = Template(form)
        template.check(kind)
        for each in found:
            print(template.of(each))
        return
    columns = [Template(part) for part in text.replace(r"\t", "\t").split("\t")]
    for column in columns:
        column.check(kind)
    rows = [[column.of(each) for column in columns] for each in found]
    table([column.heading for column in columns], rows)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns, as wide as they need to be; on a terminal no wider than that, each cell wrapped
    between its words. Whatever comes from the kernel is made harmless for a terminal."""
    cells = [
        [str(heading) for heading in headings],
        *([printable(str(cell)) for cell in row] for row in rows),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    bold = is_terminal(sys.stdout)
    if bold:
        widths = _fitting(cells, widths, shutil.get_terminal_size().columns)
    for number, row in enumerate(cells):
        parts = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*parts, fillvalue=""):
            columns = (
                _coloured(cell, width) if bold and number else cell.ljust(width)
                for cell, width in zip(line, widths, strict=True)
            )
            text = "  ".join(columns).rstrip()
            print(f"\x1b[1m{text}\x1b[0m" if bold and number == 0 else text)


_LEAST = 10  # columns that are left of a word


def _fitting(cells: list[list[str]], widths: list[int], most: int) -> list[int]:
    """The widths, with the widest column narrowed as long as the table is too wide: as far as the
    words in it allow that; where that is not enough, the longest words are shortened."""
    words = [
        max(len(word) for row in cells for word in (row[column].split() or [""]))
        for column in range(len(widths))
    ]
    widths = widths.copy()
    for least in (words, [_LEAST] * len(widths)):
        while sum(widths) + 2 * (len(widths) - 1) > most:
            room = [(width, at) for at, width in enumerate(widths) if width > least[at]]
            if not room:
                break
            widths[max(room)[1]] -= 1
    return widths


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    lines = [""]
    for word in (shortened(word, width) for word in cell.split()):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def shortened(word: str, width: int) -> str:
    """Of a path the end says most, of a name the beginning."""
    if len(word) <= width:
        return word
    return f"…{word[1 - width :]}" if word.startswith("/") else f"{word[: width - 1]}…"


_RED = ("GONE", "DOWN", "FAIL", "OPEN", "broken", "lost", "damaged")
_YELLOW = ("drifted", "unfinished", "elsewhere", "kept", "foreign")
_ALARMING = dict.fromkeys(_RED, "31") | dict.fromkeys(_YELLOW, "33")


def _coloured(cell: str, width: int) -> str:
    code = _ALARMING.get(cell)
    return f"\x1b[{code}m{cell}\x1b[0m{' ' * (width - len(cell))}" if code else cell.ljust(width)


def say(text: str, sign: str = "") -> None:
    """A word to the person, beside the output: ``~`` a warning, ``-`` an error."""
    print(paragraph(sign, f"bascule: {printable(text)}", sys.stderr), file=sys.stderr)


def warn(text: str) -> None:
    """What one should know."""
    say(text, "~")


def _say_lines(text: str) -> None:
    for line in text.splitlines():
        say(line, "-")


def listener(explain: bool) -> Listener:
    """Tells who is waited for and what goes wrong; with ``explain`` each command as it is done; on
    a terminal a bar from 50 nodes on."""
    from bascule.api import Listener

    told = Listener(waiting=say, problem=_say_lines)
    follower = _Follower(explain)
    told.planned = follower.planned
    told.progress = follower.progress
    return told


class _Follower:
    """Follows a run: prints commands as their operations are acknowledged, or moves a bar."""

    def __init__(self, explain: bool) -> None:
        self._explain = explain
        self._commands: list[tuple[str, ...]] = []
        self._done = 0
        self._bar: Any = None
        self._task: Any = None

    def planned(self, plan: Plan) -> None:
        ops = plan.ops
        self._done = 0
        if self._explain:
            self._commands = [op.shell() for op in ops]
        for note in plan.notes:
            warn(note)
        nodes = sum(change.fact.key[0] == "namespace" for change in plan.changes)
        if nodes >= _NODES_FOR_A_BAR and is_terminal(sys.stderr) and not self._explain:
            self._start_bar(len(ops))

    def _start_bar(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("bascule", total=total)
        self._bar.start()

    def progress(self, done: int) -> None:
        for lines in self._commands[self._done : done]:
            self._print(lines)
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            if self._bar.finished:
                self._bar.stop()
                self._bar = None

    def _print(self, lines: Sequence[str]) -> None:
        """That a command can't be shown is no reason to leave the work half done."""
        try:
            for line in lines:
                print("\t".join(map(printable, line.split("\t"))), flush=True)
        except BrokenPipeError:  # nobody reads any more
            self._commands = []
        except Unwritten as error:
            self._commands = []
            say(f"{error}: the commands are not printed, and the work goes on")
