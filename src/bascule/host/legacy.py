"""The old iptables (iptables-legacy(8)), whose tables stand beside those of nf_tables: a packet has
to pass both.

nft does not know them. /proc tells whether there is a filter table; only then its own program is
asked, which would make one.
"""

from __future__ import annotations

import shutil
from contextlib import suppress

from bascule import syscalls
from bascule.host import programs
from bascule.host.seen import OldFirewall

_NAMES = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}
PROGRAM = {4: "iptables-legacy", 6: "ip6tables-legacy"}
_SECONDS = 10


def look() -> tuple[OldFirewall, ...]:
    """The filter tables of the namespace that the thread is in."""
    return tuple(_of(version) for version in _NAMES if _has_filter(version))


def _has_filter(version: int) -> bool:
    try:
        with open(_NAMES[version]) as file:
            return "filter" in file.read().split()
    except OSError:
        return False  # a kernel without, or not for us to see


def _of(version: int) -> OldFirewall:
    found = shutil.which(PROGRAM[version], path=syscalls.SYSTEM_PATH)
    if found is not None:
        with suppress(OSError):
            done = programs.run([found, "-w", "5", "-S"], "", _SECONDS)
            if done.code == 0:
                return read(version, done.stdout)
    return OldFirewall(version)


def read(version: int, text: str) -> OldFirewall:
    """From what ``iptables -S`` prints."""
    lines = text.splitlines()
    policies = [
        line.split()[1:3] for line in lines if line.startswith("-P ") and len(line.split()) > 2
    ]
    dropping = frozenset(chain for chain, policy in policies if policy == "DROP")
    return OldFirewall(
        version, dropping, frozenset(line for line in lines if line.startswith("-A ")), looked=True
    )
