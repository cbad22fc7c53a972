"""What of the machine itself may be in the way of labs: its part of :mod:`.doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from bascule.engine.views import Finding
from bascule.host import ipv6


def limits() -> Iterator[Finding]:
    """limits."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard < 0 or hard >= 4096
    yield Finding(
        "open files",
        "ok" if enough else "note",
        f"{soft} (at most {hard})",
        ""
        if enough
        else "pinging over 300 nodes needs more: raise the hard limit in /etc/security/limits.conf",
    )
    with suppress(OSError), open("/proc/sys/net/ipv4/neigh/default/gc_thresh3") as file:
        entries = int(file.read())
        raised = "net.ipv4.neigh.default.gc_thresh3=8192"
        advice = (
            "" if entries > 1024 else f"more than about 500 busy nodes want more: sysctl {raised}"
        )
        yield Finding(
            "neighbour table", "ok", f"{entries} entries for all namespaces together", advice
        )


def six() -> Iterator[Finding]:
    """IPv6."""
    refused = "labs with IPv6 subnets are refused; use --without-ipv6, or"
    if not ipv6.is_known():
        yield Finding(
            "IPv6", "note", "not known to this kernel", f"{refused} start without ipv6.disable=1"
        )
        return
    off = {key for _place, key in (*ipv6.off_here("", ["default"]), *ipv6.off_in_new("", ["lo"]))}
    for key in sorted(off):
        how = "start without it" if key.startswith("ipv6.") else f"sysctl {key}=0"
        yield Finding("IPv6", "note", f"off, as {key} is 1", f"{refused} {how}")
    if not off:
        yield Finding("IPv6", "ok", "on")


def managers() -> Iterator[Finding]:
    """network managers."""
    if os.path.exists("/run/NetworkManager"):
        advice = (
            "it leaves alone what it did not make, until it is told to (`nmcli networking off`, "
            "`device disconnect`): `bascule up` puts that back, and `up --watch` at once"
        )
        yield Finding("NetworkManager", "note", "runs", advice)
