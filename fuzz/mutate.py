"""Mutations: of bytes, of text made of known pieces, of nested data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_EDGES = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    17,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x3FFF,
    0x4000,
    0x7FFF,
    0x8000,
    0xFFFF,
)
_WIDE_EDGES = (*_EDGES, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LONGEST = 1 << 16


def of_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The data with one to five changes, some of them lies about lengths."""
    out = bytearray(data)
    for _ in range(1 + int(random.random() ** 2 * 5)):
        _BYTE_CHANGES[int(random.random() * len(_BYTE_CHANGES))](random, out, others)
        del out[_LONGEST:]
    return bytes(out)


def _at(random: Random, out: bytearray) -> int:
    return int(random.random() * (len(out) + 1))


def _flip(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    if out:
        out[_at(random, out) - 1] ^= 1 << int(random.random() * 8)


def _set(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    if out:
        out[_at(random, out) - 1] = int(random.random() * 256)


def _insert(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    at = _at(random, out)
    out[at:at] = random.randbytes(1 + int(random.random() * 8))


def _remove(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    at = _at(random, out)
    del out[at : at + 1 + int(random.random() * 12)]


def _cut(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    del out[_at(random, out) :]


def _again(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    start = _at(random, out)
    piece = out[start : start + 1 + int(random.random() * 64)]
    at = _at(random, out)
    out[at:at] = piece * (1 if random.random() < 0.9 else 50)


def _splice(random: Random, out: bytearray, others: Sequence[bytes]) -> None:
    other = others[int(random.random() * len(others))]
    start = int(random.random() * (len(other) + 1))
    at = _at(random, out)
    out[at : at + int(random.random() * 32)] = other[start : start + 1 + int(random.random() * 64)]


def _edge16(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    """A wrong length, where attributes have theirs."""
    at = _at(random, out) & ~3
    number = (
        _EDGES[int(random.random() * len(_EDGES))]
        if random.random() < 0.5
        else len(out) + int(random.random() * 9) - 4
    )
    out[at : at + 2] = (number & 0xFFFF).to_bytes(2, "little")


def _edge32(random: Random, out: bytearray, _others: Sequence[bytes]) -> None:
    at = _at(random, out) & ~3
    number = _WIDE_EDGES[int(random.random() * len(_WIDE_EDGES))]
    out[at : at + 4] = number.to_bytes(4, "little")


_BYTE_CHANGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    *(_flip, _set, _insert, _remove, _cut, _again, _splice, _edge16, _edge32),
)


def of_text(random: Random, text: bytes, pieces: Sequence[bytes]) -> bytes:
    """The text with some of its lines or words taken out, doubled, moved, or replaced by pieces."""
    for _ in range(1 + int(random.random() * 3)):
        separator = random.choice((b"\n", b"\n", b" ", b":", b",", b"{", b'"'))
        parts = text.split(separator)
        at = random.randrange(len(parts))
        match random.randrange(6):
            case 0:
                del parts[at]
            case 1:
                parts.insert(random.randrange(len(parts)), parts[at])
            case 2:
                parts[at] = random.choice(pieces)
            case 3:
                parts[at] += random.choice(pieces)
            case 4:
                parts.insert(at, random.choice(pieces))
            case _:
                parts[at] = random.choice((b"  ", b"\t", b"- ", b"")) + parts[at]
        text = separator.join(parts)[:_LONGEST]
    return text


def of_data(random: Random, data: Any, words: Sequence[Any]) -> Any:
    """A copy of nested data in which keys and values were deleted, swapped, doubled, nested or
    replaced by words."""
    data = copy.deepcopy(data)
    for _ in range(1 + int(random.random() * 4)):
        places = list(_containers(data))
        if not places:
            return copy.deepcopy(random.choice(words))
        _change(random, random.choice(places), random.choice(places), words)
    return data


def _containers(data: Any) -> Any:
    if isinstance(data, dict | list) and data:
        yield data
    for below in (
        data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    ):
        yield from _containers(below)


def _change(random: Random, where: Any, other: Any, words: Sequence[Any]) -> None:
    key = _key(random, where)
    match random.randrange(7):
        case 0:
            del where[key]
        case 1:
            # a copy: never a value inside itself
            where[key] = copy.deepcopy(other[_key(random, other)])
        case 2:
            where[key] = copy.deepcopy(random.choice(words))
        case 3:
            where[key] = [where[key], copy.deepcopy(where[key])]
        case 4:
            where[key] = {str(random.choice(words)): where[key]}
        case 5 if isinstance(where, dict):
            where[str(random.choice(words))] = where.pop(key)
        case 5:
            where.append(copy.deepcopy(where[key]))
        case _ if isinstance(where, dict):
            where[str(random.choice(words))] = copy.deepcopy(random.choice(words))
        case _:
            where.insert(key, copy.deepcopy(random.choice(words)))


def _key(random: Random, where: Any) -> Any:
    return random.choice(list(where)) if isinstance(where, dict) else random.randrange(len(where))
