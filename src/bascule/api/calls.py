"""What goes over the socket of `bascule serve`: types, of which the schema is made."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from bascule.api.forms import ErrorDocument


class _Optional(TypedDict, total=False):
    id: str | int | None
    cwd: str | None
    input: str | None


class CallDocument(_Optional):
    """A call: the words of a command, the folder in which it is given (cwd; left out: the
    server's), and what it reads (input)."""

    command: list[str]


class _Cancelling(TypedDict, total=False):
    id: str | int | None


class CancelDocument(_Cancelling):
    """The calls of this id, on the same connection, are not wanted any more."""

    cancel: str | int | None


class ReplyDocument(TypedDict):
    """What came of the call of this id: the exit code of the command, its document (a text where
    it prints a text) or null, the error or null, and what it said besides, as lines."""

    id: str | int | None
    code: int
    answer: Any
    error: ErrorDocument | None
    said: list[str]


class ToldDocument(TypedDict):
    """What is told while a call of `events` goes on: a line of what `bascule events --json`
    prints."""

    id: str | int | None
    event: Any


class ExecDocument(TypedDict):
    """What a command in a node wrote: both as text where both are UTF-8, else both in base64; cut
    where it wrote more than is kept of one."""

    stdout: str
    stderr: str
    encoding: Literal["utf-8", "base64"]
    cut: bool
