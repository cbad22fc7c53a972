"""The machine's own name servers (resolv.conf(5)), and which of them can be asked from where.

Where systemd-resolved's stub stands in /etc/resolv.conf (127.0.0.53), a list of its own tells the
real ones (systemd-resolved.service(8)). The machine's loopback is nobody's but the machine's: no
node reaches it. A private world's own servers reach a name server on 127.0.0.1 through pasta, and
nothing else there (:mod:`bascule.plan.uplink`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from bascule.host import pasta
from bascule.host.seen import Observation
from bascule.kernel.upstream import NAMES, RESOLV_CONF, Upstream

_REAL = "/run/systemd/resolve/resolv.conf"
_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
_MOST_BYTES = 1 << 16


def on_the_machine(seen: Observation) -> None:
    """For a lab whose servers run on the machine itself: they follow its file, whatever stands in
    it."""
    named = _named(RESOLV_CONF)
    file = next((path for path in (RESOLV_CONF, _REAL) if os.path.isfile(path)), "")
    seen.resolvers, seen.deaf_resolvers = _sorted(named)
    seen.upstream = Upstream(file)


def from_outside(seen: Observation, own: frozenset[str]) -> None:
    """For a private world, seen from the machine. ``own`` are the machine's addresses: the world
    has the same, so that a server on one of them can be asked on its loopback only."""
    named = _named(RESOLV_CONF)
    far, near = _sorted(named, own)
    door = "" if far else next((loopback for text in near if (loopback := _door(text, own))), "")
    seen.resolvers, seen.deaf_resolvers = far, near
    if door:
        port = pasta.door()
        at = door if port == NAMES else f"{door}#{port}"
        seen.upstream = Upstream("", (at,), port)
    else:
        seen.upstream = Upstream("", far)


def _door(text: str, own: frozenset[str]) -> str:
    """The address on the machine's loopback on which this server hears, where it is one to which
    pasta leads."""
    address = _address(text)
    if address is None:
        return ""
    door = "127.0.0.1" if address.version == 4 else "::1"
    return door if text in own or address.is_unspecified or text == door else ""


def _named(path: str) -> list[str]:
    """The name servers of the machine; of systemd-resolved's stub what stands behind it, where that
    is known."""
    found = list(_servers(path))
    if not found or _STUBS & {*found}:
        return list(_servers(_REAL)) or found
    return found


def _servers(path: str) -> Iterator[str]:
    try:
        # a FIFO in its place is not waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8", errors="replace") as file:
            rows = [line.split() for line in file.read(_MOST_BYTES).splitlines()]
    except OSError:
        return
    yield from dict.fromkeys(row[1] for row in rows if len(row) > 1 and row[0] == "nameserver")


def _sorted(
    named: list[str], own: frozenset[str] = frozenset()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that can be asked from another network namespace, and those that can't."""
    far = tuple(text for text in named if text not in own and _is_far(text))
    return far, tuple(text for text in named if text not in far)


def _is_far(text: str) -> bool:
    address = _address(text)
    return address is not None and not (
        address.is_loopback or address.is_unspecified or address.is_link_local
    )


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
