"""After a reboot: the labs that were up on the machine, and the unit of systemd that builds
them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bascule import syscalls
from bascule.engine import look, run, worlds
from bascule.engine.asked import Asked
from bascule.engine.options import Listener, Outcome
from bascule.errors import BasculeError, Elsewhere, InputError, NotFound, StateError
from bascule.host import programs
from bascule.names import shown
from bascule.state import kept
from bascule.topology.load import from_data

UNIT = "/etc/systemd/system/bascule.service"
PACKAGED = "/usr/lib/systemd/system/bascule.service"  # where a distribution's package has it
_MARK = "# Made by bascule install-unit."
_ENABLE = (("daemon-reload",), ("enable", "bascule.service"))
_SECONDS = 60
_PATIENCE = 60  # seconds for addresses and interfaces that come after the network counts as up


_PAUSE, _LONGEST = 0.5, 3600  # seconds between two tries; and for all of them at most


@dataclass(frozen=True, slots=True)
class Restored:
    """One lab: what came of the run that brought it back, or why it is not up."""

    name: str
    outcome: Outcome | None = None
    error: BasculeError | None = None


def restore(
    labs: Sequence[str] = (), wait: float = 0, listener: Listener | None = None
) -> Iterator[Restored]:
    """Bring back these of the kept labs, or all, that are not up: each as soon as it is built, and
    those that failed at the end. What can't be built, because something that it needs is not there
    yet, is tried again for ``wait`` seconds.

    Raises :class:`InputError` for who is not root and for a ``wait`` that is none,
    :class:`Elsewhere` in another network namespace, :class:`NotFound` for a lab that is not kept,
    :class:`StateError` where the kept labs can't be read.
    """
    _only_root("restore")
    if not 0 <= wait <= _LONGEST:
        raise InputError(f"--wait {wait:g}: give a number of seconds from 0 to {_LONGEST}")
    _refuse_elsewhere()
    absent = missing()
    unknown = [name for name in labs if name not in kept.names()]
    if unknown:
        raise NotFound(
            f"no lab {shown(unknown[0])} is kept; kept are: {', '.join(kept.names()) or 'none'}"
        )
    names = [name for name in absent if not labs or name in labs]
    return _bring_back(names, wait, listener or Listener())


def _bring_back(names: Sequence[str], seconds: float, listener: Listener) -> Iterator[Restored]:
    deadline = time.monotonic() + seconds
    while True:
        failed = []
        for name in names:
            found = _try(name, listener)
            if found.error is not None:
                failed.append(found)
            else:
                yield found
        if not failed or time.monotonic() >= deadline:
            yield from failed
            return
        names = [each.name for each in failed]
        time.sleep(_PAUSE)


def _try(name: str, listener: Listener) -> Restored:
    """Build a lab that is kept."""
    try:
        data, source = kept.load(name)
        asked = Asked(from_data(data, "<data>", name), "host", source)
        topology, options = asked.topology, asked.options("bascule up")
        outcome = run.apply(asked.name, lambda _current: topology, options, listener)
    except BasculeError as error:
        return Restored(name, error=error)
    return Restored(name, outcome)


def _only_root(verb: str) -> None:
    """Raises :class:`InputError` for anybody else."""
    if os.geteuid() != 0:
        raise InputError(f"{verb} is about labs on the machine itself: run it as root")


def _refuse_elsewhere() -> None:
    """What is kept is the machine's: built in another network namespace it would stand where it was
    not."""
    if not worlds.keeps():
        raise Elsewhere(
            "restore: what is kept are labs of the machine's own network namespace, and this "
            "is another one; run it there: "
            "nsenter --net=/proc/1/ns/net bascule restore"
        )


def is_kept(name: str) -> bool:
    """Whether `restore` would bring this lab back. What is not to be read is told by `restore`
    itself."""
    with suppress(StateError):
        return worlds.keeps() and name in kept.names()
    return False


def missing() -> list[str]:
    """The kept labs that are not up."""
    there = {info.name for info in look.labs() if info.state == "up"}
    return [name for name in kept.names() if name not in there]


def unit(program: str) -> str:
    """The unit's text: once, when the network is there, after what loads the machine's own firewall
    rules or turns on forwarding. What a lab needs of the machine may come later still: for that
    `restore` waits."""
    return f"""{_MARK}
[Unit]
Description=Networks of network namespaces that were up before (bascule)
Documentation=man:ip-netns(8)
Wants=network-online.target
After=network-online.target systemd-sysctl.service
After=nftables.service iptables.service ip6tables.service netfilter-persistent.service
After=ufw.service firewalld.service
After=docker.service podman.service libvirtd.service virtnetworkd.service
After=lxc-net.service incus.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} restore --wait {_PATIENCE}

[Install]
WantedBy=multi-user.target
"""


def install(program: str) -> list[str]:
    """Write the unit and have it started with the machine; ``program`` is bascule's whole path.
    Gives what was done. Raises :class:`InputError` for who is not root and where somebody else's is
    in the way, and :class:`StateError` where it can't be written."""
    _only_root("install-unit")
    if not os.path.isabs(program) or any(
        character.isspace() or character == "%" for character in program
    ):
        raise InputError(
            f"{program}: a unit needs an absolute path without spaces; install bascule at "
            f"another place"
        )
    _refuse_foreign()
    text = unit(program)
    if _is_packaged(program) and not os.path.lexists(UNIT):
        return [f"{PACKAGED} is there", *_systemctl(*_ENABLE)]
    try:
        descriptor = syscalls.create(UNIT, os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            syscalls.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(f"{UNIT}: {error.strerror}") from error
    return [f"wrote {UNIT}", *_systemctl(*_ENABLE)]


def remove() -> list[str]:
    """Undo :func:`install`: gives and raises the same."""
    _only_root("install-unit")
    _refuse_foreign()
    if not os.path.exists(UNIT):
        packaged = os.path.exists(PACKAGED)
        return _systemctl(("disable", "bascule.service")) if packaged else ["there is no unit"]
    done = _systemctl(("disable", "bascule.service"))
    syscalls.unlink(UNIT)
    return [*done, f"removed {UNIT}", *_systemctl(("daemon-reload",))]


def _is_packaged(program: str) -> bool:
    """Whether the package that this program is of brought the unit along."""
    with suppress(OSError), open(PACKAGED, encoding="utf-8", errors="replace") as file:
        return f"ExecStart={program} restore" in file.read()
    return False


def _refuse_foreign() -> None:
    with suppress(FileNotFoundError), open(UNIT, encoding="utf-8", errors="replace") as file:
        if not file.readline().startswith(_MARK):
            raise InputError(f"{UNIT} is there already and bascule did not make it; move it away")


def _systemctl(*commands: tuple[str, ...]) -> list[str]:
    """Tell systemd, where it runs this machine (sd_booted(3))."""
    found = shutil.which("systemctl", path=syscalls.SYSTEM_PATH)
    if found is None or not os.path.isdir("/run/systemd/system"):
        return (
            ["systemd does not run here: enable bascule.service where it does"]
            if commands != (("daemon-reload",),)
            else []
        )
    said = []
    for command in commands:
        done = programs.run([found, *command], "", _SECONDS)
        said.append(
            f"systemctl {' '.join(command)}"
            + ("" if done.code == 0 else f": {done.stderr.strip()}")
        )
    return said
