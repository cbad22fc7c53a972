"""Other programs' firewalls in a test's world: real ones, started there, and what passes them."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from helpers import bascule
from sandbox import World, own_folder, require
from traffic import Ears, Outside, inside, patience, reach

BUS = Path("/run/dbus/system_bus_socket")
# The system's own, without starting programs on demand.
_BUS_CONFIGURATION = f"""\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/> <allow receive_sender="*" eavesdrop="true"/>
  </policy>
</busconfig>
"""
_SECONDS = 30.0


def wait_for(what: Callable[[], bool], seconds: float = _SECONDS) -> None:
    """Until it is so. Raises AssertionError where it never is."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it has not come"
        time.sleep(0.01)


class Firewalld:
    """The system's message bus and firewalld on it, with the settings of its package.
    ``firewall_cmd`` runs its program."""

    def __init__(self, world: World, backend: str = "nftables") -> None:
        self._world = world
        self._backend = backend
        self._folder = Path.cwd() / "firewalld"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        require("nft", "firewalld", "dbus-daemon")
        BUS.parent.mkdir(exist_ok=True)
        (self._folder / "zones").mkdir(parents=True)  # no zone is another than its package has it
        (self._folder / "bus.conf").write_text(_BUS_CONFIGURATION)
        (self._folder / "firewalld.conf").write_text(
            f"DefaultZone=public\nFirewallBackend={self._backend}\nCleanupOnExit=yes\n"
            "NftablesTableOwner=no\n"  # newer ones: so that rules stay where it is killed
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Both, or what of them does not run."""
        configuration = f"--config-file={self._folder}/bus.conf"
        self._start("bus", "dbus-daemon", "--nofork", "--nopidfile", configuration)
        wait_for(BUS.exists)
        options = (f"--system-config={self._folder}", f"--log-file={self._folder}/log")
        self._start("firewalld", "firewalld", "--nofork", "--nopid", "--log-target=file", *options)
        # the bus calls it org.fedoraproject.FirewallD1 as soon as its rules are there
        wait_for(lambda: self.firewall_cmd("--state", check=False) == "running")

    def _start(self, name: str, *command: str) -> None:
        if name not in self._running:
            with open(self._folder / f"{name}.said", "wb") as said:
                self._running[name] = subprocess.Popen(command, stdout=said, stderr=said)

    def end(self, *names: str) -> None:
        """Both, firewalld first, which takes its rules along; or these."""
        for name in names or ("firewalld", "bus"):
            if (running := self._running.pop(name, None)) is not None:
                running.terminate()
                running.wait(_SECONDS)
                if name == "bus":
                    BUS.unlink(missing_ok=True)

    def kill(self) -> None:
        """Both, so that its rules stay."""
        if (running := self._running.pop("firewalld", None)) is not None:
            running.kill()
            running.wait(_SECONDS)
        self.end("bus")

    def firewall_cmd(self, *words: str, check: bool = True) -> str:
        """What it prints."""
        return self._world.run("firewall-cmd", *words, check=check).stdout.strip()

    def zone(self, bridge: str) -> str:
        """The zone that it is in, empty for none."""
        return self.firewall_cmd(f"--get-zone-of-interface={bridge}", check=False)


def enable_ufw(world: World) -> None:
    """ufw enabled, as its package has it: nothing comes in, and nothing is forwarded."""
    require("nft", "ufw", "iptables-nft")
    settings = {name: Path("/etc/ufw", name).read_text() for name in ("ufw.conf", "sysctl.conf")}
    own_folder("/etc/ufw")
    for name, text in settings.items():
        Path("/etc/ufw", name).write_text(text)
    shutil.copytree("/usr/share/ufw/iptables", "/etc/ufw", dirs_exist_ok=True)
    Path("/etc/ufw/applications.d").mkdir()
    world.run("ufw", "--force", "enable")


def commands(lines: Iterable[str]) -> list[str]:
    """Those that are advised in these lines of a plan, for other programs than bascule."""
    found = [command for line in lines for command in re.findall(r"`([^`]*)`", line)]
    return [command for command in found if not command.startswith("bascule ")]


def follow(world: World, lines: Iterable[str]) -> list[str]:
    """Run what is advised, as it stands."""
    found = commands(lines)
    for command in found:
        world.run(*shlex.split(command))
    return found


class Traffic:
    """What passes in a lab whose network has the addresses 10.1.0.1 and fd00:1::1, the nodes ``a``,
    which port 8080 of the machine leads to, and ``b``, a name server, and `nat`."""

    LAB = """\
name: la
networks: {lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true}}
nodes: {a: {networks: [lan], ports: ["8080:80"]}, b: [lan]}
"""

    def __init__(self, world: World, ears: Ears, outside: Outside) -> None:
        self._world = world
        self._outside = outside
        self._servers = [ears.on(outside.name, 7), ears.on("a", 80), ears.on("b", 9)]

    def passes(self) -> dict[str, bool]:
        """By what it is, in both IP versions."""
        out, published, near = self._servers
        elsewhere = self._outside
        return {
            "neighbours": self._all("a", ("10.1.0.3", "fd00:1::3"), 9, near),
            "nat": self._all("a", elsewhere.there, 7, out),
            "ports": self._all(elsewhere.name, elsewhere.here, 8080, published),
            "names": all(_is_named(address) for address in ("10.1.0.1", "fd00:1::1")),
        }

    @staticmethod
    def _all(
        client: str, targets: Iterable[str], port: int, servers: tuple[socket.socket, ...]
    ) -> bool:
        return all(
            reach(client, target, port, server) is not None
            for target, server in zip(targets, servers, strict=True)
        )

    def lost(self) -> set[str]:
        """What does not."""
        return {what for what, comes in self.passes().items() if not comes}

    def settle(self) -> None:
        """Wait until all passes: a node that has found no gateway waits before it asks again."""
        deadline = time.monotonic() + _SECONDS
        while lost := self.lost():
            assert time.monotonic() < deadline, f"lost: {lost}"


def _is_named(server: str) -> bool:
    """Whether a node gets an answer from this name server."""
    query = b"\x12\x67\x01\0\0\1\0\0\0\0\0\0\1b\0\0\1\0\1"
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with inside("a"), socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(patience())
        try:
            client.connect((server, 53))
            client.send(query)
            return client.recv(100)[:2] == query[:2]
        except OSError:
            return False


def notes(world: World, file: str) -> list[str]:
    """What `plan` says besides."""
    lines = bascule(world, "plan", file).stdout.splitlines()
    return [line for line in lines if line.startswith("! ")]


def advice(world: World) -> list[str]:
    """What `doctor` says, a line each."""
    return bascule(world, "doctor", check=False).stdout.splitlines()
