"""Internet and MAC addresses between their text and their bytes (inet_pton(3), inet_ntop(3))."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

from bascule.wire.attributes import WireError

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10  # socket.h
ADDRESS_BYTES = {AF_INET: 4, AF_INET6: 16}


def family_of(address: str) -> int:
    """The address family of a valid address in text."""
    return AF_INET6 if ":" in address else AF_INET


def pack_address(address: str) -> bytes:
    """4 or 16 bytes in network order. The text is trusted: it comes from :mod:`ipaddress` or from
    the kernel."""
    if ":" in address:
        return _pack_v6(address)
    a, b, c, d = address.split(".")
    return bytes((int(a), int(b), int(c), int(d)))


def unpack_address(data: bytes) -> str:
    """The canonical text of 4 or 16 bytes. Raises :class:`WireError` for any other length."""
    if len(data) == 4:
        return f"{data[0]}.{data[1]}.{data[2]}.{data[3]}"
    if len(data) == 16:
        return _unpack_v6(data)
    raise WireError(f"an address has 4 or 16 bytes, not {len(data)}")


def unpack_prefix(family: int, data: bytes, length: int) -> str:
    """The address of a prefix. Raises :class:`WireError` where family, address and length do not
    fit each other."""
    if len(data) != ADDRESS_BYTES.get(family) or length > 8 * len(data):
        raise WireError(
            f"a prefix of {length} bits, an address of {len(data)} bytes, family {family}"
        )
    return unpack_address(data)


@lru_cache(maxsize=4096)
def _pack_v6(address: str) -> bytes:
    return IPv6Address(address).packed


@lru_cache(maxsize=4096)
def _unpack_v6(data: bytes) -> str:
    return str(IPv6Address(data))


def pack_mac(mac: str) -> bytes:
    """6 bytes from ``02:42:ac:10:01:01``."""
    return bytes.fromhex(mac.replace(":", ""))


def unpack_mac(data: bytes) -> str:
    """Lower-case text with colons, of whatever length the link layer uses."""
    return data.hex(":")
