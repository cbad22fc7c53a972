"""How fast an interface sends: rates, amounts and times in tc(8)'s spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bascule.topology.model import Shape
from bascule.topology.values import Wrong

_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20}
_TIMES = {"us": 1, "ms": 10**3, "s": 10**6}
_NUMBER = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?([A-Za-z]*)\Z")
LEAST_RATE, MOST_RATE = 8_000, 10**12  # bits a second
LEAST_BURST, MOST_BURST = 1_600, 1 << 30  # bytes: a whole frame has to fit
LEAST_LATENCY, MOST_LATENCY = 1, 60 * 10**6  # microseconds
# Chosen: five frames, or 30 ms of the rate, and what tc(8)'s manual has in its examples.
_BURST, _PERCENT, _LATENCY = 8_000, 3, 50_000
_FRAME = 18  # bytes around a packet: Ethernet's header and a VLAN tag
# struct tc_tbf_qopt (linux/pkt_sched.h): 32 bits for the bytes that wait, and for the burst as a
# time, in ticks of 64 ns (PSCHED_TICK2NS).
MOST_WAITING, MOST_SECONDS = (1 << 32) - 1, 274


def bucket(shape: Shape, mtu: int) -> tuple[int, int]:
    """What may pass at once, and what may be held back with it: both in bytes, chosen where the
    file does not say it. A frame that is larger than the one would never pass."""
    bytes_a_second = shape.rate // 8
    most = max(_BURST, mtu + _FRAME, bytes_a_second * _PERCENT // 100)
    burst = shape.burst or min(most, MOST_WAITING)
    waiting = bytes_a_second * (shape.latency or _LATENCY) // 10**6
    return burst, burst + waiting if shape.latency else min(burst + waiting, MOST_WAITING)


def problems(shape: Shape, mtu: int) -> Iterator[tuple[str, str]]:
    """What the kernel can't count or would not let through: by word."""
    for name in ("burst", "latency"):
        if not shape.rate and getattr(shape, name):
            yield name, f"`{name}` means nothing without a `rate`; give one"
    if not shape.rate:
        return
    burst, limit = bucket(shape, mtu)
    if burst < mtu + _FRAME:
        least = mtu + _FRAME
        yield "burst", f"frames here have up to {least:,} bytes, and would not pass; give as many"
    if burst > shape.rate // 8 * MOST_SECONDS:
        most = burst_text(shape.rate // 8 * MOST_SECONDS)
        yield "burst", f"that is more than {MOST_SECONDS} s of the rate; give at most {most}"
    if limit > MOST_WAITING:
        yield "latency", "more than 4 GiB would wait at this rate; give a shorter one"


def rate(text: str) -> int:
    """Bits a second, of ``10mbit``. Raises :class:`Wrong`."""
    if re.search(r"[0-9][kmgt]?i?bps\Z", text.lower()):
        raise Wrong(f"'{text}' counts bytes for tc(8) and bits for others; write bits, like 10mbit")
    return _read(text, _RATES, "a rate like 10mbit, 500kbit or 1gbit", LEAST_RATE, MOST_RATE)


def burst(text: str) -> int:
    """Bytes, of ``16kb``. Raises :class:`Wrong`."""
    return _read(text, _SIZES, "an amount like 16kb or 5000", LEAST_BURST, MOST_BURST)


def latency(text: str) -> int:
    """Microseconds, of ``50ms``. Raises :class:`Wrong`."""
    return _read(text, _TIMES, "a time like 50ms", LEAST_LATENCY, MOST_LATENCY)


def _read(text: str, units: dict[str, int], what: str, least: int, most: int) -> int:
    found = _NUMBER.match(text.strip())
    unit = units.get(found[3].lower()) if found else None
    if found is None or unit is None:
        raise Wrong(f"'{text[:40]}' is not {what}")
    fraction = int(found[2]) * unit // 10 ** len(found[2]) if found[2] else 0
    value = int(found[1]) * unit + fraction
    if not least <= value <= most:
        known = f"{_text(least, units)} to {_text(most, units)}"
        raise Wrong(f"'{text[:40]}' is out of range; it may be {known}")
    return value


def rate_text(bits: int) -> str:
    """As a person writes it."""
    return _text(bits, _RATES)


def burst_text(size: int) -> str:
    """As a person writes it."""
    return _text(size, {"": 1, "kb": 1 << 10, "mb": 1 << 20})


def latency_text(microseconds: int) -> str:
    """As a person writes it."""
    return _text(microseconds, _TIMES)


def _text(value: int, units: dict[str, int]) -> str:
    for unit, size in sorted(units.items(), key=lambda row: -row[1]):
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)
