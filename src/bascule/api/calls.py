"""Errors as JSON, and what goes over the socket of `bascule serve`: types, of which the schema is
made."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from bascule.errors import Mistake


class ErrorDocument(TypedDict):
    """Why a command failed: what kind of error, the exit code, the message (the same as on standard
    error), what to do about it where that is told apart, the node or file that it is about, and of
    a lab file all mistakes."""

    kind: str
    code: int
    message: str
    advice: str
    place: str
    mistakes: list[Mistake]


class FailedDocument(TypedDict):
    """What a command prints with --json in the place of its answer where it failed."""

    error: ErrorDocument


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


class EventDocument(TypedDict):
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
