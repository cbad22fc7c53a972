"""serve: what comes through the socket is a command line, and is carried out as one with
``--json``."""

from __future__ import annotations

import base64
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
from argparse import Namespace as Arguments
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import bascule
from bascule import api
from bascule.cli import main, output
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from bascule.errors import BasculeError, InputError
from bascule.names import shown
from bascule.serve.lines import Call
from bascule.serve.server import Server
from bascule.serve.working import Done, Events, Manner, Service

_MOST_WRITTEN = 1 << 20  # bytes that are kept of each output of a command in a node
_INTERRUPTED = 130


def serve(arguments: Arguments) -> int:
    """``bascule serve``: ends with 130 by an interrupt, with 0 by SIGTERM."""
    _read_all()  # takes its time, and who finds the socket is not to wait for it
    door = api.opened_door(arguments.socket) if arguments.socket else api.handed_door()
    if door is None:
        raise InputError("no socket; name one with --socket PATH")
    with door:
        server = Server(door, Service(manner, perform), output.say)
        ended = []

        def end(number: int, _frame: object) -> None:
            ended.append(number)
            server.end()

        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        output.say(f"serving on {door.path}")
        server.run()
    return _INTERRUPTED if ended[:1] == [signal.SIGINT] else 0


def _read_all() -> None:
    """What commands import late is imported once, for all of them; and what is there by then is not
    to be copied for the collector's marks in each worker."""
    for module in pkgutil.walk_packages(bascule.__path__, "bascule."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _row(command: Sequence[str]) -> Row | None:
    row = next((row for row in ROWS if row.name == command[0]), None)
    if row is not None and row.children:
        row = next((each for each in row.children if [each.name] == list(command[1:2])), None)
    return row


def manner(command: Sequence[str]) -> Manner:
    """What a command is to its server. What is no command changes nothing."""
    row = _row(command)
    served = row.served if row is not None else "alone"
    return Manner.READS if served == "alone" else Manner[served.upper()]


def perform(call: Call, events: Events) -> Done:
    """Carry it out. Raises BrokenPipeError where nobody wants to know any more."""
    with _given(call.input) as given, output.taken() as told:
        out: io.TextIOBase = events if manner(call.command) is Manner.STREAMS else io.StringIO()
        error = io.StringIO()
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = cast(TextIO, out), error
        try:
            code = _carry_out(call, given, told)
        finally:
            sys.stdout, sys.stderr = before
    text = out.getvalue() if isinstance(out, io.StringIO) else ""
    return _done(call, code, told, text, error.getvalue())


def _carry_out(call: Call, given: int, told: list[Any]) -> int:
    try:
        _go_to(call.cwd)
        row = _row(call.command)
        if row is not None and row.served == "alone":
            raise InputError(f"{row.name} is nothing that a program calls; run the command")
    except BasculeError as error:
        told.append(api.failed(error))
        return error.exit_code
    if row is not None and row.served == "runs":
        return _run(call, given, told)
    return main.called(list(call.command))


def _go_to(folder: str | None) -> None:
    if folder is None:
        return
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(f"cwd {shown(folder)}: {error.strerror}") from error
    os.environ["PWD"] = folder


def _done(call: Call, code: int, told: list[Any], text: str, said: str) -> Done:
    failed = bool(told) and isinstance(told[-1], dict) and told[-1].keys() == {"error"}
    error = told.pop()["error"] if failed else None
    answer = told[0] if told else text or None
    reply: api.ReplyDocument = {
        "id": call.id,
        "code": code,
        "answer": answer,
        "error": error,
        "said": said.splitlines(),
    }
    return Done(reply, error is None or code in (0, 2))


@contextmanager
def _given(text: str) -> Iterator[int]:
    """Standard input, for a while: /dev/stdin is the text, or nothing."""
    before = os.dup(0)
    if text:
        given = os.memfd_create("input")
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(given, data) :]
        os.lseek(given, 0, os.SEEK_SET)
    else:
        given = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(given, 0)
        yield given
    finally:
        os.dup2(before, 0)
        os.close(given)
        os.close(before)


def _run(call: Call, given: int, told: list[Any]) -> int:
    """exec: a child becomes the command. What hinders it before that comes through a pipe, which is
    closed then."""
    hear, tell = os.pipe()

    def become() -> None:
        sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
        with output.taken() as mine:
            code = main.called(list(call.command))
        with suppress(OSError):
            os.write(tell, json.dumps(mine[-1:]).encode())
        sys.stderr.flush()
        os._exit(code)

    found = api.captured(become, given, _MOST_WRITTEN)
    os.close(tell)
    with open(hear, "rb") as file:
        os.set_blocking(hear, False)  # what it left running may have it
        why = file.read() or b""
    if why:
        told += json.loads(why)
        print(found.error.decode("utf-8", "replace"), end="", file=sys.stderr)
        return found.code
    told.append(_written(found))
    return found.code if found.code >= 0 else 128 - found.code


def _written(found: api.Captured) -> api.ExecDocument:
    try:
        out, error = found.out.decode(), found.error.decode()
    except UnicodeDecodeError:
        out, error = (base64.b64encode(each).decode() for each in (found.out, found.error))
        return {"stdout": out, "stderr": error, "encoding": "base64", "cut": found.cut}
    return {"stdout": out, "stderr": error, "encoding": "utf-8", "cut": found.cut}
