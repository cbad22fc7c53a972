"""Netlink attributes from declarative tables (struct nlattr, linux/netlink.h).

A :class:`Table` is one attribute space: rows of name, number and codec. Encoding refuses a name
that is not in the table, so that a misspelt attribute can't be sent in silence. Decoding takes only
what was asked for and never trusts a length.

    struct nlattr { __u16 nla_len; __u16 nla_type; };

followed by the payload, padded to 4 bytes (NLA_ALIGNTO).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bascule.errors import BasculeError

_HEADER = struct.Struct("=HH")
_U8 = struct.Struct("=B")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_U64 = struct.Struct("=Q")
_BE16 = struct.Struct(">H")
_BE32 = struct.Struct(">I")
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK: without NLA_F_NESTED (0x8000) and NLA_F_NET_BYTEORDER (0x4000)
_NESTED = 0x8000


class WireError(BasculeError, ValueError):
    """Bytes that are no valid netlink message: torn, overlapping or lying about their length."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"an answer of the kernel can't be read: {what}; run the command again, and "
            f"report it if that does not help"
        )


def unpack_from(layout: struct.Struct, data: bytes) -> tuple[Any, ...]:
    """The fixed head of a message. Raises :class:`WireError` where it is torn."""
    if len(data) < layout.size:
        raise WireError(f"{layout.size} bytes expected, {len(data)} found")
    return layout.unpack_from(data)


class Codec(NamedTuple):
    """How one attribute's payload becomes a value and back; ``table`` are the attributes inside of
    it, where they are read at once."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    nested: bool = False
    table: Table | None = None


def _number(layout: struct.Struct) -> Codec:
    def decode(data: bytes) -> int:
        if len(data) < layout.size:
            raise WireError(f"{layout.size} bytes expected, {len(data)} found")
        value: int = layout.unpack_from(data)[0]
        return value

    return Codec(layout.pack, decode)


def _decode_text(data: bytes) -> str:
    # Names come from anybody: keep undecodable bytes recognisable instead of failing.
    return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


u8, u16, u32, i32, be16, be32 = (
    _number(layout) for layout in (_U8, _U16, _U32, _I32, _BE16, _BE32)
)
text = Codec(lambda value: value.encode() + b"\0", _decode_text)
raw = Codec(bytes, bytes)
nested_raw = Codec(bytes, bytes, nested=True)  # attributes that are read later, or never
u64 = _number(_U64)


class Row(NamedTuple):
    """One attribute: its number in the kernel header and its codec."""

    number: int
    codec: Codec


class Table:
    """One attribute space of the kernel, like ``IFLA_*``."""

    def __init__(self, **rows: tuple[int, Codec]) -> None:
        self.rows = {name: Row(*row) for name, row in rows.items()}
        self._names = {row.number: name for name, row in self.rows.items()}

    def encode(self, values: Mapping[str, object]) -> bytes:
        """The attributes in the order given. Raises KeyError for a name that this space does not
        have."""
        parts = []
        for name, value in values.items():
            number, codec = self.rows[name]
            payload = codec.encode(value)
            size = len(payload) + 4
            parts.append(_HEADER.pack(size, number | _NESTED if codec.nested else number))
            parts.append(payload)
            if size & 3:
                parts.append(b"\0" * (-size & 3))
        return b"".join(parts)

    def decode(self, data: bytes, wanted: Iterable[str] | None = None) -> dict[str, Any]:
        """The known attributes of ``data``; with ``wanted``, only these. Raises
        :class:`WireError`."""
        names = self._names
        if wanted is not None:
            names = {self.rows[name].number: name for name in wanted}
        return self.decode_only(data, 0, names)

    def decode_only(self, data: bytes, offset: int, names: Mapping[int, str]) -> dict[str, Any]:
        """Like :meth:`decode` with the numbers of the wanted names looked up before: the inner loop
        of a dump."""
        found: dict[str, Any] = {}
        end = len(data)
        unpack = _HEADER.unpack_from
        while end - offset >= 4:
            size, number = unpack(data, offset)
            if size < 4 or offset + size > end:
                raise WireError(f"an attribute of {size} bytes at {offset} in {end}")
            name = names.get(number & _TYPE_MASK)
            if name is not None:
                found[name] = self.rows[name].codec.decode(data[offset + 4 : offset + size])
            offset += (size + 3) & ~3
        return found

    @staticmethod
    def payloads(data: bytes, number: int) -> Iterator[bytes]:
        """What stands in each attribute of this number, where there are several. Raises
        :class:`WireError`."""
        offset = 0
        while len(data) - offset >= 4:
            size, kind = _HEADER.unpack_from(data, offset)
            if size < 4 or offset + size > len(data):
                raise WireError(f"an attribute of {size} bytes at {offset} in {len(data)}")
            if kind & _TYPE_MASK == number:
                yield data[offset + 4 : offset + size]
            offset += (size + 3) & ~3

    def numbers(self, *wanted: str) -> dict[int, str]:
        """The look-up that :meth:`decode_only` takes."""
        return {self.rows[name].number: name for name in wanted}


def nest(table: Table) -> Codec:
    """Attributes inside an attribute; the value is a mapping."""
    return Codec(table.encode, table.decode, nested=True, table=table)
