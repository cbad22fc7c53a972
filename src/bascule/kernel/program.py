"""Programs that serve a lab for as long as it is up. What is special of each is its row here;
:mod:`bascule.kernel.process` and :mod:`bascule.host.process` are the same for all of them.

A program of a row puts itself into the background when it answers, and before that says on its
standard error what keeps it from it. Another one is another row.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from itertools import pairwise
from posixpath import dirname
from typing import NamedTuple

from bascule.names import WORLD_NETWORK

MARK, NOTE = ".mark", ".pid"
SOCKET, TOLD = ".sock", ".told"
LABS = "/run/bascule"  # where each lab of the machine has a folder


class Program(NamedTuple):
    """``name``, ``package``: of its file, and what that is installed from. ``kind``: the first word
    of its facts' keys. ``title``: what one with these arguments is, in a plan. ``differs``: what
    another configuration means, of which ``{}`` is the old.

    ``comms``: how the kernel calls it (proc_pid_comm(5)), or how that begins. ``mark``: the file,
    beside its place, with the word that its processes carry. ``option``: the one argument that it
    gets, before the name of its configuration, which is PLACE-DIGEST.conf; without it the arguments
    are all of the configuration. ``noted``: it writes its number into PLACE.pid.

    ``last``: what comes after the arguments, and is not the lab's wish; ``newer``: words of its
    that old versions don't know and do without. ``outside``: it is started from outside of a
    private world, with the world's namespaces but that of the network, so that its sockets are the
    machine's. ``anywhere``: it is also looked for where the caller's PATH leads. ``unsure``: that
    it has gone into the background does not tell that it stays. ``aside``: a word of lines that it
    says besides. ``unreadable``: what to do where it may not read its files.

    ``control``: the option before the path of a socket, of which ``teller``, a program of the same
    package, tells it other arguments while it runs; all but the first ``untold`` ones, which it
    keeps as long as it lives. Old versions do without."""

    name: str
    package: str
    kind: str
    title: Callable[[tuple[str, ...]], str]
    differs: str
    comms: tuple[str, ...]
    mark: str = MARK
    option: str = ""
    noted: bool = False
    last: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    outside: bool = False
    anywhere: bool = False
    unsure: bool = False
    aside: str = ""
    unreadable: str = ""
    control: str = ""
    teller: str = ""
    untold: int = 0

    def configuration(self, arguments: tuple[str, ...]) -> str:
        """The name of its configuration or, where it has none, its arguments."""
        return shlex.join(arguments).removeprefix(self.option)

    def arguments(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Those that it was given, in its command line."""
        if self.option:
            return tuple(word for word in words if word.startswith(self.option))
        end = words.index(self.last[0]) if self.last and self.last[0] in words else len(words)
        return words[1:end]


class Instance(NamedTuple):
    """One of the processes that a lab may have of a program: ``place`` is the path that the names
    of its files begin with."""

    program: Program
    place: str

    @property
    def key(self) -> tuple[str, str]:
        """Of the fact that it runs."""
        return (self.program.kind, self.place)

    @property
    def mark(self) -> str:
        """The file with the word that it carries. Those of one folder share it."""
        return f"{dirname(self.place)}/{self.program.mark}"

    @property
    def note(self) -> str:
        """The file with its number, where it writes one."""
        return f"{self.place}{NOTE}"

    @property
    def socket(self) -> str:
        """Where it is told other arguments."""
        return f"{self.place}{SOCKET}"

    @property
    def told(self) -> str:
        """The file with what it was told last."""
        return f"{self.place}{TOLD}"

    def runs_with(self, arguments: tuple[str, ...]) -> bool:
        """Whether a process that carries its mark, with these, is this one and no neighbour of
        it."""
        configuration = self.program.configuration(arguments)
        return not self.program.option or configuration.startswith(f"{self.place}-")


def _name_server(arguments: tuple[str, ...]) -> str:
    return f"name server {DNSMASQ.configuration(arguments)}"


def _way_out(arguments: tuple[str, ...]) -> str:
    options = pairwise(arguments)
    ports = sum(option in ("-t", "-u") and value != "none" for option, value in options)
    return "way out of the private world" + (
        f", with {ports} published ports or ranges" if ports else ""
    )


# dnsmasq(8): names, leases, router advertisements
DNSMASQ = Program(
    "dnsmasq",
    package="dnsmasq-base",
    kind="service",
    title=_name_server,
    differs="runs with {}",
    comms=("dnsmasq",),
    option="--conf-file=",
    noted=True,
    unreadable=(
        "add the lines `/run/bascule/*/dns/{,**} r,` and `/run/bascule/*/dns/*.pid rw,` to "
        "/etc/apparmor.d/local/usr.sbin.dnsmasq, "
        "then `apparmor_parser -r /etc/apparmor.d/usr.sbin.dnsmasq`"
    ),
)

# passt(1): the way out of a private world. A published port is one that it listens on. It finds the
# world's network namespace under a path: newer ones close every descriptor that they inherit, and
# it writes no file, as AppArmor's profile lets it look into few places.
PASTA = Program(
    "pasta",
    package="passt",
    kind="world",
    title=_way_out,
    differs="other ports are published: connections through it break",
    comms=("pasta", "passt"),  # the file that a link called pasta leads to
    mark=".uplink",
    # pasta takes root of a world with all users for the machine's, and would become nobody before
    # it has joined.
    last=("--netns", WORLD_NETWORK, "--netns-only", "--runas", "0:0"),
    # What comes to the machine's loopback arrives at the world's, where its rules expect it. Those
    # before 2024_10_30 do not know the word, and do so anyway.
    newer=("--host-lo-to-ns-lo",),
    outside=True,
    anywhere=True,
    unsure=True,
    aside="syslog",
    control="--conf-path",  # since 2026_05
    teller="pesto",
    untold=3,
)

PROGRAMS = (DNSMASQ, PASTA)
WAY_OUT = Instance(PASTA, f"{LABS}/uplink")  # in the world
