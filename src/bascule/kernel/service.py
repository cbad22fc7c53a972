"""Programs that serve a lab for as long as it is up: its name servers (dnsmasq(8)).

A server is known by the lab's mark, which it carries in its environment, and by the network
namespace that it runs in; which one it is says its command line, which names its configuration. The
configuration's name holds a digest of its text, so that another text is another server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from bascule.kernel.fact import Fact, Known, Op, Sought, WorldFact, WorldOp
from bascule.kernel.op import Effect, EndService, Indexes, Key, RunService

PROGRAM = "dnsmasq"
RESOLV_CONF = "/etc/resolv.conf"


class Upstream(NamedTuple):
    """Whom a lab's servers ask what they don't know: those that ``file`` (resolv.conf(5)) names
    just then, and these ``servers``. ``through``: the server is the machine's own, on its loopback,
    and pasta leads there."""

    file: str = RESOLV_CONF
    servers: tuple[str, ...] = ()
    through: bool = False


@dataclass(frozen=True, slots=True)
class NameServer(WorldFact):
    """A dnsmasq runs in the world with this configuration. ``prefix`` is what all of its
    configurations begin with. ``deaf``: it could not read its files when it was started, and does
    not look again. ``stopped`` (SIGSTOP): it answers nobody."""

    prefix: str
    config: str
    deaf: bool = False
    stopped: bool = False

    @property
    def key(self) -> Key:
        return ("service", self.prefix)

    def sought(self, scope: Sought) -> None:
        scope.services.add(self.prefix)

    def settled(self, known: Known) -> Fact | None:
        return replace(self, deaf=known.deaf)

    def comparable(self) -> Fact:
        return replace(self, deaf=False, stopped=False)

    def describe(self) -> str:
        return f"name server {self.config}"

    def create(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StartService(self.prefix, self.config),)

    def remove(self, indexes: Indexes) -> tuple[Op, ...]:
        return (StopService(self.prefix, self.config),)

    def change_from(self, old: Fact, indexes: Indexes) -> tuple[Op, ...] | None:
        if isinstance(old, NameServer) and old.deaf:
            # ended before what it reads is put right: who is killed in between finds none, and
            # starts one
            return None
        return (*old.remove(indexes), *self.create(indexes))

    def differences(self, old: Fact) -> tuple[str, ...]:
        if not isinstance(old, NameServer):
            return ()
        if old.deaf or old.stopped:
            return ("can't read its files" if old.deaf else "is stopped",)
        return (f"runs with {old.config}",)


@dataclass(frozen=True, slots=True)
class StartService(WorldOp):
    """dnsmasq, which puts itself into the background when it answers."""

    prefix: str
    config: str

    def effect(self) -> Effect:
        return RunService(self.prefix, self.config)

    def shell(self) -> tuple[str, ...]:
        return (f"{PROGRAM} --conf-file={self.config}",)

    def undo(self) -> Op | None:
        return StopService(self.prefix, self.config)


@dataclass(frozen=True, slots=True)
class StopService(WorldOp):
    """SIGTERM, and SIGKILL for one that does not listen."""

    prefix: str
    config: str

    def effect(self) -> Effect:
        return EndService(self.prefix)

    def shell(self) -> tuple[str, ...]:
        return (f"kill $(cat {self.prefix}.pid); rm -f {self.prefix}.pid",)

    def undo(self) -> Op | None:
        return StartService(self.prefix, self.config)
