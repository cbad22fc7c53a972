"""After a reboot: the labs that were up on the machine, and the unit of systemd that builds
them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from bascule import syscalls
from bascule.engine import look, worlds
from bascule.errors import Elsewhere, InputError, StateError
from bascule.host import programs
from bascule.state import kept

UNIT = "/etc/systemd/system/bascule.service"
_MARK = "# Made by bascule install-unit."
_SECONDS = 60
_PATIENCE = 60  # seconds for addresses and interfaces that come after the network counts as up


def refuse_elsewhere() -> None:
    """What is kept is the machine's: built in another network namespace it would stand where it was
    not. Raises :class:`Elsewhere`."""
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
    """Write the unit and have it started with the machine. Gives what was done. Raises
    :class:`InputError` where somebody else's is in the way, and :class:`StateError` where it can't
    be written."""
    if not os.path.isabs(program) or any(
        character.isspace() or character == "%" for character in program
    ):
        raise InputError(
            f"{program}: a unit needs an absolute path without spaces; install bascule at "
            f"another place"
        )
    _refuse_foreign()
    text = unit(program)
    try:
        descriptor = syscalls.create(UNIT, os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            syscalls.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(f"{UNIT}: {error.strerror}") from error
    return [f"wrote {UNIT}", *_systemctl(("daemon-reload",), ("enable", "bascule.service"))]


def remove() -> list[str]:
    """Undo :func:`install`."""
    _refuse_foreign()
    if not os.path.exists(UNIT):
        return ["there is no unit"]
    done = _systemctl(("disable", "bascule.service"))
    syscalls.unlink(UNIT)
    return [*done, f"removed {UNIT}", *_systemctl(("daemon-reload",))]


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
            if commands[0] != ("daemon-reload",)
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
