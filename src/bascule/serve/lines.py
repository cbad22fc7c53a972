"""The protocol: a line is a JSON object, a call in one direction and what came of it in the other.
No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bascule.api import ReplyDocument, failed
from bascule.errors import BasculeError, InputError
from bascule.names import shown

LONGEST = 1 << 20  # bytes of a line that is sent to us
_KEYS = ("id", "command", "cwd", "input", "cancel")
_INTERRUPTED = 130

Id = str | int | None


class Refused(InputError):
    """A line that is no call; ``id`` is the call's where that much was understood."""

    def __init__(self, message: str, of: Id = None) -> None:
        super().__init__(message)
        self.id = of


class Ended(BasculeError):
    """What worked on a call has ended without an answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """What somebody wants. ``command``: the words of the command line; ``cwd``: the folder in which
    it is given, None for the server's; ``input``: what it reads."""

    id: Id
    command: tuple[str, ...]
    cwd: str | None = None
    input: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The calls ``of`` this id, on the same connection, are not wanted any more."""

    id: Id
    of: Id


class Lines:
    """Bytes as they come → lines."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def take(self, data: bytes) -> Iterator[bytes]:
        """The lines that are whole by now. Raises :class:`Refused` for one that is too long."""
        self._begun += data
        while (end := self._begun.find(b"\n")) >= 0:
            line = bytes(self._begun[:end])
            del self._begun[: end + 1]
            if line.strip():
                yield _short(line)
        _short(self._begun)

    def rest(self) -> bytes:
        """The last one, which ends where the stream does."""
        return bytes(self._begun).strip()


def _short(line: bytes | bytearray) -> bytes:
    if len(line) > LONGEST:
        raise Refused(f"a line of more than {LONGEST} bytes")
    return bytes(line) if isinstance(line, bytes) else b""


def read(line: bytes) -> Call | Cancel:
    """What a line says. Raises :class:`Refused`."""
    try:
        said = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"no JSON in UTF-8: {error}; send one object a line") from error
    if not isinstance(said, dict):
        raise Refused('a call is an object, like {"id": 1, "command": ["ls"]}')
    of = _id(said.get("id"), None)
    if unknown := [key for key in said if key not in _KEYS]:
        near = get_close_matches(unknown[0], _KEYS, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_KEYS)}"
        raise Refused(f"no key {shown(unknown[0])}; {meant}", of)
    if "cancel" in said:
        if {"command", "cwd", "input"} & said.keys():
            raise Refused("cancel stands alone, beside an id", of)
        return Cancel(of, _id(said["cancel"], of))
    return Call(
        of,
        _words(said.get("command"), of),
        _text(said, "cwd", of) or None,
        _text(said, "input", of),
    )


def _id(value: object, of: Id) -> Id:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        raise Refused("an id is a text or a whole number", of)
    return value


def _words(value: object, of: Id) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise Refused('command is a list of words, like ["node", "ls"]', of)
    for word in value:
        _possible(word, "command", of)
    return tuple(value)


def _text(said: Mapping[str, Any], key: str, of: Id) -> str:
    value = said.get(key)
    if value is not None and not isinstance(value, str):
        raise Refused(f"{key} is a text", of)
    return _possible(value or "", key, of)


def _possible(word: str, key: str, of: Id) -> str:
    """Any bytes, those that are no UTF-8 as Python spells them (PEP 383); in a command line, none
    is NUL."""
    try:
        word.encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        raise Refused(f"{key}: {shown(word)} has half a character", of) from error
    if "\0" in word and key != "input":
        raise Refused(f"{key}: {shown(word)} has a NUL in it", of)
    return word


def written(document: Mapping[str, Any]) -> bytes:
    """A document as a line."""
    return json.dumps(document, default=str, separators=(",", ":")).encode() + b"\n"


def event(of: Id, text: str) -> bytes:
    """An event, which is JSON already, as a line."""
    return b'{"id":%b,"event":%b}\n' % (json.dumps(of).encode(), text.encode())


def refusal(of: Id, error: BasculeError) -> bytes:
    """A line that tells of an error of ours."""
    document: ReplyDocument = {
        "id": of,
        "code": error.exit_code,
        "answer": None,
        **failed(error),
        "said": [],
    }
    return written(document)


def interrupted(of: Id) -> bytes:
    """The line that a call gets which was not let come to its end."""
    document: ReplyDocument = {
        "id": of,
        "code": _INTERRUPTED,
        "answer": None,
        **failed(KeyboardInterrupt()),
        "said": [],
    }
    return written(document)


def granted(of: Id) -> bytes:
    """The line that a :class:`Cancel` gets."""
    document: ReplyDocument = {"id": of, "code": 0, "answer": None, "error": None, "said": []}
    return written(document)


def handed_on(call: Call) -> bytes:
    """A call as a line, to be read again."""
    return written({"id": call.id, "command": call.command, "cwd": call.cwd, "input": call.input})
