"""The protocol without a socket."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.api.documents import schema
from bascule.errors import InputError
from bascule.serve import lines
from bascule.serve.lines import Call, Cancel, Lines, Refused

GOOD: list[tuple[dict[str, Any], Call | Cancel]] = [
    ({"command": ["ls"]}, Call(None, ("ls",))),
    ({"id": 7, "command": ["ls"], "cwd": "/", "input": "x\0"}, Call(7, ("ls",), "/", "x\0")),
    ({"id": "a", "command": ["ls", ""], "cwd": None, "input": None}, Call("a", ("ls", ""))),
    ({"id": 1, "command": ["\udcff"]}, Call(1, ("\udcff",))),
    ({"cancel": 1}, Cancel(None, 1)),
    ({"id": 2, "cancel": "a"}, Cancel(2, "a")),
]
BAD = [
    (b"{", "no JSON in UTF-8"),
    (b"\xff\xfe", "no JSON in UTF-8"),
    (b"[" * 100_000, "no JSON in UTF-8"),
    (b"9" * 100_000, "no JSON in UTF-8"),
    (b"[]", "a call is an object"),
    (b"null", "a call is an object"),
    (b"{}", "command is a list of words"),
    (b'{"command": []}', "command is a list of words"),
    (b'{"command": "ls"}', "command is a list of words"),
    (b'{"command": ["ls", 1]}', "command is a list of words"),
    (b'{"command": ["ls"], "cdw": "/"}', "no key cdw; did you mean cwd"),
    (b'{"command": ["ls"], "x": 1}', "no key x; there are: id, command"),
    (b'{"command": ["a\\u0000"]}', "has a NUL"),
    (b'{"command": ["\\ud800"]}', "half a character"),
    (b'{"command": ["ls"], "cwd": 1}', "cwd is a text"),
    (b'{"command": ["ls"], "input": []}', "input is a text"),
    (b'{"command": ["ls"], "input": "\\udfff"}', "half a character"),
    (b'{"id": true, "command": ["ls"]}', "an id is a text or a whole number"),
    (b'{"id": 1.5, "command": ["ls"]}', "an id is a text or a whole number"),
    (b'{"id": {}, "command": ["ls"]}', "an id is a text or a whole number"),
    (b'{"cancel": 1, "command": ["ls"]}', "cancel stands alone"),
    (b'{"cancel": []}', "an id is a text or a whole number"),
]


@pytest.mark.parametrize(("said", "meant"), GOOD)
def test_what_is_a_call(said: dict[str, Any], meant: Call | Cancel) -> None:
    """And the schema says the same; a worker is handed what was sent."""
    assert lines.read(json.dumps(said).encode()) == meant
    jsonschema.validate(said, schema("call"))
    if isinstance(meant, Call):
        assert lines.read(lines.handed_on(meant)) == meant


@pytest.mark.parametrize(("line", "why"), BAD, ids=lambda value: repr(value)[:30])
def test_what_is_none(line: bytes, why: str) -> None:
    """It is told what is wrong."""
    with pytest.raises(Refused, match=why):
        lines.read(line)


def test_a_refusal_names_its_call() -> None:
    """Where that much was understood."""
    with pytest.raises(Refused) as caught:
        lines.read(b'{"id": "x", "command": 1}')
    assert caught.value.id == "x"
    told = json.loads(lines.refusal("x", caught.value))
    jsonschema.validate(told, schema("reply"))
    assert (told["id"], told["code"], told["error"]["kind"]) == ("x", 2, "refused")


@pytest.mark.parametrize(
    "line", [lines.interrupted(1), lines.granted("x"), lines.event(None, '{"lab": "x"}')]
)
def test_what_is_told_besides(line: bytes) -> None:
    """All are one line, of the schema."""
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    jsonschema.validate(json.loads(line), schema("reply"))


@given(st.binary())
def test_no_line_is_too_odd(line: bytes) -> None:
    """Any bytes are a call or are refused."""
    try:
        assert isinstance(lines.read(line), Call | Cancel)
    except InputError as error:
        assert json.loads(lines.refusal(None, error))["code"] == 2


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4
)
_KEYS = st.sampled_from(["id", "command", "cwd", "input", "cancel"]) | st.text()


@settings(max_examples=40)
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_no_object_is_too_odd(said: dict[str, object]) -> None:
    """Whatever is in it; what is taken is handed on as it is."""
    try:
        call = lines.read(json.dumps(said).encode())
    except Refused:
        return
    assert isinstance(call, Cancel) or lines.read(lines.handed_on(call)) == call


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(1, 9)))
def test_lines_come_in_any_pieces(sent: list[bytes], sizes: list[int]) -> None:
    """Empty ones are none; the last may end with the stream."""
    stream = b"\n".join(sent)
    pieces, at = [], 0
    for size in [*sizes, len(stream) + 1]:
        pieces.append(stream[at : at + size])
        at += size
    taking = Lines()
    found = [line for piece in pieces for line in taking.take(piece)]
    whole, _, rest = stream.rpartition(b"\n")
    assert found == [line for line in whole.split(b"\n") if line.strip()]
    assert taking.rest() == rest.strip()


def test_a_line_has_a_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not: what came before it counts."""
    monkeypatch.setattr(lines, "LONGEST", 4)
    for rest in (b"12345", b"12345\n"):
        taking, found = Lines(), []
        with pytest.raises(Refused, match="a line of more than 4 bytes"):
            found.extend(taking.take(b"1234\n" + rest))
        assert found == [b"1234"]
