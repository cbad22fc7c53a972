"""Checked names: what may be called what, and why not.

Each ``problem_with_…`` returns the sentence to show, or None where the name is good, so that a
checker can gather all problems of a file instead of stopping at the first.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

WORLD_NETNS = "/proc/self/ns/net"  # how a lab file calls the namespace that the lab is built in
# A private world's own network namespace, in its own /run: below a place that AppArmor's profile
# for pasta lets it look into, as podman has it.
WORLD_NETWORK = "/run/user/0/netns/world"
INTERFACE_NAME_BYTES = 15  # IFNAMSIZ (16) less the terminating NUL, linux/if.h
_SHOWN = 60  # of a word in a message
HOSTNAME_BYTES = 63  # one DNS label, RFC 1035 section 2.3.4; a node's name is its hostname

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}\Z")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")

# What every hosts file has for the machine itself, and what we call it.
_RESERVED_HOSTS = frozenset({"localhost", "host", "ip6-localhost", "ip6-loopback"})
# Taken by the kernel (`lo`) or by the folders below /proc/sys/net/ipv4/conf (`all`, `default`).
_RESERVED_INTERFACES = frozenset({"lo", "all", "default"})


def printable(text: str) -> str:
    """The text as it may be shown on a terminal: control and direction characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str) -> str:
    """Text from a file or from the command line as it may stand in a message: short, no control
    characters."""
    return printable(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def few(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence, and not more of them than one reads."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def problem_with_interface_name(name: str) -> str | None:
    """Why the kernel (``dev_valid_name`` in net/core/dev.c) or a shell would trip over this
    interface name."""
    if not name:
        return "an interface name can't be empty"
    if len(name.encode("utf-8", "surrogatepass")) > INTERFACE_NAME_BYTES:
        limit = f"{INTERFACE_NAME_BYTES} bytes, the kernel's limit for interface names"
        return f"'{printable(name)}' is longer than {limit}; choose a shorter one"
    if name in _RESERVED_INTERFACES:
        return f"'{name}' is reserved by the kernel; choose another name"
    if ".." in name or not _WORD.match(name):
        return (
            f"'{printable(name)}' is no interface name: use letters, digits, '_', '-' and "
            f"'.', not starting with '-' or '.'"
        )
    return None


def problem_with_node_name(name: str) -> str | None:
    """Why this can't be the name of a node: it is a file in /run/netns and a hostname."""
    if not name:
        return "a node name can't be empty"
    if len(name.encode("utf-8", "surrogatepass")) > HOSTNAME_BYTES:
        return (
            f"'{printable(name[:80])}' is longer than {HOSTNAME_BYTES} bytes, the limit for a "
            f"hostname; choose a shorter one"
        )
    if name.lower() in _RESERVED_HOSTS:
        return f"'{name}' would be mistaken for the machine itself; choose another name"
    if _ADDRESS.match(name):
        return f"'{name}' would be mistaken for an address; choose another name"
    if ".." in name or not _HOSTNAME.match(name):
        rule = "use letters, digits, '_', '-' and '.', beginning and ending with a letter or digit"
        return f"'{printable(name)}' is no node name: {rule}"
    return None


def problem_with_lab_name(name: str) -> str | None:
    """Why this can't be the name of a lab: it is a folder of the state directory."""
    if not name:
        return "a lab name can't be empty"
    if len(name.encode("utf-8", "surrogatepass")) > HOSTNAME_BYTES:
        return (
            f"'{printable(name[:80])}' is longer than {HOSTNAME_BYTES} bytes; choose a shorter one"
        )
    if ".." in name or not _WORD.match(name):
        return (
            f"'{printable(name)}' is no lab name: use letters, digits, '_', '-' and '.', not "
            f"starting with '-' or '.'"
        )
    return None


def problem_with_mac(text: str) -> str | None:
    """Why this can't be the address of an interface (IEEE 802: six octets, the group bit clear)."""
    if not _MAC.match(text.lower()):
        return (
            f"'{printable(text)}' is no MAC address: write six hexadecimal octets, like "
            f"02:42:ac:10:01:01"
        )
    if int(text[:2], 16) & 1:
        return f"'{text}' is a multicast address; the first octet must be even, like 02:…"
    if text.lower() == "00:00:00:00:00:00":
        return "an all-zero MAC address is not valid; choose another, or leave it out"
    return None


def host_interface_name(node: str, position: int) -> str:
    """The host's end of a node's veth pair: readable where it fits into 15 bytes, a stable hash
    where not.

    The prefix is ``veth``, which NetworkManager and systemd-udevd leave alone in their default
    rules.
    """
    readable = f"veth-{node}" if position == 0 else f"veth-{node}-{position}"
    if len(readable) <= INTERFACE_NAME_BYTES:
        return readable
    return f"veth-{zlib.crc32(f'{node}/{position}'.encode()):08x}"


def derived_mac(*parts: str) -> str:
    """A locally administered unicast MAC that depends on nothing but its parts.

    A rebuilt node so keeps its MAC, and its peers' neighbour entries stay right.
    """
    text = "\0".join(parts).encode()
    number = zlib.crc32(text) << 8 | zlib.crc32(b"\1" + text) & 0xFF
    octets = number.to_bytes(5, "big")
    return "02:" + octets.hex(":")
