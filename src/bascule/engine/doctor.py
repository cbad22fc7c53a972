"""What this machine can and cannot do, each with the fix. What can be tried is tried, in namespaces
that go at once."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator

from bascule import syscalls
from bascule.engine import checkup, mending
from bascule.engine.doctor_firewalls import bridged_frames, firewalls
from bascule.engine.machine import limits, managers, six
from bascule.engine.views import Finding, Verdict
from bascule.errors import BasculeError, KernelError, WorldError
from bascule.host import abilities, dnsmasq, flows, ids, nft, pasta, process
from bascule.host.keeper import Starting
from bascule.host.netlink import Netlink
from bascule.host.world import PrivateWorld
from bascule.kernel.noun import Probe
from bascule.kernel.nouns import NOUNS
from bascule.kernel.op import Netlink as Message
from bascule.kernel.program import DNSMASQ, PASTA, WAY_OUT
from bascule.plan.uplink import WITHOUT_PORTS


def examine(lab: str = "") -> list[Finding]:
    """What this machine can do, and what to do about what it can't; or how this lab is. What can't
    be found out is a finding too. Raises :class:`NotFound` for a lab that `ls` does not know.

    >>> [finding.verdict for finding in bascule.doctor() if finding.what == "kernel"]
    ['ok']
    """
    if lab:
        return list(checkup.examine(lab))
    return [finding for look in _LOOKS for finding in _safely(look)]


def _safely(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except (OSError, BasculeError, ValueError) as error:
        yield Finding((look.__doc__ or "").strip("."), "no", str(error))


def _kernel() -> Iterator[Finding]:
    """kernel."""
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    old = numbers < (5, 10)
    yield Finding(
        "kernel",
        "no" if old else "ok",
        release,
        "Linux 5.10 or later is needed (setns with a pidfd, nft's ingress hook)" if old else "",
    )


def _host_world() -> Iterator[Finding]:
    """host world."""
    if os.geteuid() != 0:
        yield Finding(
            "host world",
            "note",
            "not root",
            "labs run in private worlds; for the machine's own network run as root",
        )
        return
    lacks = abilities.lacks()
    yield from (Finding("host world", "no", lack.what, lack.advice) for lack in lacks)
    if not lacks:
        yield Finding("host world", "ok", "running as root")
    if not abilities.can_set():
        advice = (
            f"{abilities.UNQUIET}; a lab's own settings: {abilities.SET_BEFORE}; "
            f"{abilities.CONTAINER}"
        )
        yield Finding("kernel settings", "note", abilities.FIXED, advice)
    if not abilities.has_etc():
        advice = "`bascule exec` finds nodes' files in /run/etc-netns, `ip netns exec` does not"
        yield Finding("/etc/netns", "note", "can't be written to", advice)


def _private_world() -> Iterator[Finding]:
    """private world."""
    try:
        with Starting() as started:
            world = PrivateWorld(started.keeper, started.first)
            yield Finding("private world", "ok", "a user namespace was made and joined")
            yield _ids(sum(row.size for row in world.call(ids.own)))
            yield from world.call(_links)
            yield _way_out(world)
            # for root it is told with the program
            if os.geteuid() != 0 and world.call(dnsmasq.is_confined):
                yield Finding("dnsmasq", "note", dnsmasq.CONFINED, DNSMASQ.unreadable)
            fresh = world.call(_is_fresh)
        if not fresh:
            yield Finding(
                "own /proc and /sys",
                "note",
                "the kernel refuses fresh ones here",
                "nodes see the host's; harmless",
            )
    except WorldError as error:
        yield Finding("private world", "no", error.found, error.advice)


def _ids(count: int) -> Finding:
    if count > 1:
        return Finding(
            "user ids", "ok", f"{count} in a private world: programs there may become other users"
        )
    return Finding(
        "user ids",
        "note",
        (
            "one in a private world: programs that become another user fail there (tcpdump, "
            "nginx, sshd, FRR)"
        ),
        ids.how_to_get_more(),
    )


def _way_out(world: PrivateWorld) -> Finding:
    """Some have a pasta that does not work: an old or a new one, a profile of AppArmor that forbids
    what it needs."""
    why = pasta.why_not()
    if why:
        return Finding(
            "pasta", "note", why, "without it private worlds are cut off: no `nat`, no `ports`"
        )
    try:
        process.start(WAY_OUT, WITHOUT_PORTS, world)
    except KernelError as error:
        return Finding(
            "pasta",
            "no",
            f"tried, and failed: {error.said}",
            "see the system's journal, and `aa-status` for AppArmor",
        )
    return Finding("pasta", "ok", f"{process.path_of(PASTA)}: tried in a private world")


def _is_fresh() -> bool:
    return os.path.exists("/proc/1/comm") and open(
        "/proc/1/comm", errors="replace"
    ).read().strip() in (
        "sleep",
        "python3",
        "bascule",
    )


def _links() -> list[Finding]:
    """Make one of each noun that a kernel may lack, and look at flows, where we are: in a world
    that goes at once."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with Netlink() as socket:
        tried = [
            _try(socket, noun.name, noun.probe, descriptor)
            for noun in NOUNS
            if noun.probe is not None
        ]
    return [*tried, *_rules(), _flows()]


# What a lab's tables are made of, and what a kernel lacks that does not take it.
_TABLES = (
    (
        "rules",
        (
            "table inet doctor { chain way { type filter hook forward priority 0; ct label 120 "
            "fib daddr type local accept; }\n"
            "chain in { type filter hook ingress device lo priority 0; }\n}\n"
        ),
        "Linux 5.10 with nf_tables, connection tracking and its labels, nft_fib_inet",
    ),
    (
        "rules of bridges",
        (
            "table bridge doctor { chain in { type filter hook input priority 0; ether type 8021q "
            "drop; }\n}\n"
        ),
        "nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE)",
    ),
)


def _rules() -> Iterator[Finding]:
    for what, text, lacking in _TABLES if nft.program() else ():
        try:
            nft.run(text)
        except KernelError as error:
            needed = f"labs on the machine need {lacking}"
            advice = f"{error.advice}; {needed}" if error.advice != nft.UNKNOWN else needed
            yield Finding(what, "no", error.said, advice)
        else:
            yield Finding(what, "ok", "tried in a world of its own")


def _flows() -> Finding:
    why_not = flows.why_not()
    if not why_not:
        return Finding("flows", "ok", "can be seen and ended")
    module = "nf_conntrack_netlink"
    advice = (
        "who goes on sending keeps what the lab said when he began; load the module: modprobe "
        f"{module}"
    )
    return Finding("flows", "note", why_not, advice, mending.load(module))


def _try(socket: Netlink, what: str, probe: Probe, descriptor: int) -> Finding:
    effect = probe.op().effect()
    assert isinstance(effect, Message)  # noqa: S101 (each probe is one)
    body = effect.request.body
    if effect.fd_of:
        number = descriptor.to_bytes(4, sys.byteorder)
        body = body[: effect.fd_at] + number + body[effect.fd_at + 4 :]
    (answer,) = socket.batch([effect.request._replace(body=body)])
    if answer.errno:
        verdict: Verdict = "no" if probe.needed else "note"
        advice = f"load the module: modprobe {probe.module}"
        said = os.strerror(answer.errno)
        return Finding(what, verdict, said, advice, mending.load(probe.module))
    return Finding(what, "ok", "made and removed")


_PROGRAMS: tuple[tuple[str, str, Verdict, str], ...] = (
    ("ip", "iproute2", "note", "`bascule script` prints ip commands"),
    (
        "nft",
        "nftables",
        "note",
        (
            "needed for nat, isolation and ports, and where the machine's firewall drops what is "
            "forwarded"
        ),
    ),
    (
        "dnsmasq",
        "dnsmasq-base",
        "note",
        "needed for name servers; without it names are in /etc/hosts only",
    ),
    (
        "ping",
        "iputils-ping",
        "note",
        "`bascule exec NODE -- ping …`; `bascule ping` needs no program",
    ),
    ("brctl", "bridge-utils", "note", "`bascule script --classic` prints brctl commands"),
    ("sleep", "coreutils", "no", "keeps private worlds alive"),
)


def _programs() -> Iterator[Finding]:
    """programs."""
    for name, package, verdict, purpose in _PROGRAMS:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if found:
            confined = name == "dnsmasq" and dnsmasq.is_confined()
            yield (
                Finding(name, "note", dnsmasq.CONFINED, DNSMASQ.unreadable)
                if confined
                else Finding(name, "ok", found)
            )
        else:
            advice = f"{purpose}: apt install {package}"
            yield Finding(name, verdict, "not installed", advice, mending.install(package))


_LOOKS = (
    _kernel,
    six,
    _host_world,
    _private_world,
    _programs,
    bridged_frames,
    firewalls,
    limits,
    managers,
    checkup.labs,
)
