"""The hands of a run: sockets and descriptors of the namespaces that it works in."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from typing import Self

from bascule import syscalls
from bascule.errors import (
    BasculeError,
    Conflict,
    KernelError,
    Uncertain,
    as_kernel_error,
)
from bascule.host import files, firewalld, flows, inner, namespaces, nft, process
from bascule.host.descriptors import kept
from bascule.host.netlink import Netlink
from bascule.host.paths import Paths
from bascule.host.sysctls import NodeSettings, read_sysctl, settle, sysctl_path
from bascule.kernel.fact import Op
from bascule.kernel.forwarding import SWITCH
from bascule.kernel.op import (
    ChangeMode,
    ChangeZone,
    DeleteFlows,
    DeleteUnfitFlows,
    DropNamespace,
    DropRule,
    Effect,
    EndProcess,
    MakeNamespace,
    RunNft,
    RunProcess,
    TellProcess,
    WriteFile,
    WriteSymlink,
    WriteSysctl,
    WriteSysctls,
)
from bascule.kernel.op import Netlink as Message
from bascule.wire.attributes import WireError
from bascule.wire.message import Failure, Request

_FD = struct.Struct("=I")


# each needs two descriptors, and many open ones make the kernel's work on the next slower
_OPEN_NODES = 8
_OTHERS = 20  # descriptors that the rest of a run has open at most


@dataclass(slots=True)
class Report:
    """What was done: how many operations and netlink messages, the sysctls that stood there before
    by (node, key), also those ``of_links`` that the lab made before, the cookie of each namespace
    made, and the digest of each table."""

    done: int = 0
    messages: int = 0
    priors: dict[tuple[str, str], str] = field(default_factory=dict)
    of_links: dict[tuple[str, str], str] = field(default_factory=dict)
    cookies: dict[str, int] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def add(self, later: Report) -> None:
        """What a later run did, too: the first prior value counts, and the last cookie of a
        namespace."""
        self.done += later.done
        self.messages += later.messages
        self.priors = later.priors | self.priors
        self.cookies |= later.cookies
        self.tables |= later.tables


def as_error(error: BaseException) -> BasculeError:
    """The error that a caller of the engine meets; an interrupt is one, too."""
    if isinstance(error, BasculeError):
        return error
    return as_kernel_error(error) if isinstance(error, OSError) else BasculeError("interrupted")


class Hands:
    """Sockets and descriptors of the namespaces worked in, and where the thread is just now."""

    def __init__(self, paths: Paths, report: Report) -> None:
        self._paths = paths
        self._report = report
        self._coming_back = namespaces.coming_back()
        self._nodes: dict[str, tuple[int, Netlink]] = {}
        self._most = _open_nodes()
        self._inside = ""
        # in a private world a node's namespace is not the engine's own
        self._maker: inner.Maker | None = None
        self._ready = False
        self._settings = NodeSettings()
        self._unsettled: set[str] = set()  # where something is still to be put back

    def __enter__(self) -> Self:
        self._home = self._coming_back.__enter__()
        try:
            self._world = Netlink()
        except BaseException:
            self._coming_back.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._world.close()
        self._settings.close()
        if self._maker is not None:
            self._maker.close()
        for node in list(self._nodes):
            self._forget(node)
        self._coming_back.__exit__(None, None, None)

    def carry_out(self, group: list[Op], effects: list[Effect], acknowledged: list[Op]) -> None:
        """Do it and append to ``acknowledged`` what succeeded. Raises :class:`KernelError` for the
        first that failed."""
        if isinstance(effects[0], Message):
            self._send(group, effects, acknowledged)
            return
        try:
            self._do(effects[0])
        except FileExistsError as error:
            raise Conflict(f"{group[0].words}: this name is taken, and not by this lab") from error
        except Uncertain:
            acknowledged.append(group[0])
            raise
        except OSError as error:
            # it may have been done in part, which the undoing has to undo
            acknowledged.append(group[0])
            told = as_kernel_error(error)
            of = told.operation if told.operation.startswith("sysctl ") else group[0].words
            raise KernelError(of, told.errno, told.said, group[0].node, told.advice) from error
        acknowledged.append(group[0])

    def attempt(
        self, group: list[Op], effects: list[Effect], acknowledged: list[Op]
    ) -> list[BasculeError]:
        """:meth:`carry_out` where there is no way back: what failed is returned. A namespace of
        somebody else's keeps its name where something is still to be put back in it: the next run
        has to find it."""
        first = group[0]
        if first.releases and first.releases in self._unsettled:
            return []
        try:
            self.carry_out(group, effects, acknowledged)
        except (BasculeError, OSError) as error:
            self._unsettled.add(first.node)
            return [as_error(error)]
        return []

    def _do(self, effect: Effect) -> None:
        match effect:
            case MakeNamespace():
                self._make(effect)
            case DropNamespace(name=name):
                self._forget(name)
                namespaces.drop(name)
            case WriteSysctl():
                self._sysctl(effect)
            case WriteSysctls():
                self._several(effect)
            case WriteFile() | WriteSymlink() | ChangeMode():
                files.carry_out(effect, self._paths)
                if isinstance(effect, WriteFile) and effect.server is not None:
                    self._go_home()
                    process.tell(effect.server)
            case _:
                self._go_home()
                self._do_at_home(effect)

    def _do_at_home(self, effect: Effect) -> None:
        match effect:
            case RunProcess() | TellProcess() | EndProcess():
                process.carry_out([effect])
            case RunNft() | DropRule():
                self._report.tables.update(nft.carry_out(effect))
            case ChangeZone():
                firewalld.change(effect)
            case DeleteFlows() | DeleteUnfitFlows():
                flows.carry_out(effect)

    def _send(self, group: list[Op], effects: list[Effect], acknowledged: list[Op]) -> None:
        messages = [effect for effect in effects if isinstance(effect, Message)]
        node = messages[0].node
        requests = [self._with_descriptor(effect) for effect in messages]
        socket = self._world if not node else self._node(node)[1]
        try:
            answers = socket.batch(requests)
        except (OSError, WireError):
            # sent or not, carried out or not: nobody knows, and the undoing has to try
            acknowledged.extend(group)
            raise
        self._report.messages += len(requests)
        failed: tuple[Op, Failure] | None = None
        for op, message, answer in zip(group, messages, answers, strict=True):
            if not answer.errno:
                acknowledged.append(op)
            elif failed is None and answer.errno not in message.gone:
                failed = (op, answer)
        if failed is not None:
            op, answer = failed
            raise _refused(op, answer)

    def _with_descriptor(self, effect: Message) -> Request:
        if not effect.fd_of:
            return effect.request
        descriptor = _FD.pack(self._node(effect.fd_of)[0])
        body = effect.request.body
        body = body[: effect.fd_at] + descriptor + body[effect.fd_at + 4 :]
        return effect.request._replace(body=body)

    def _node(self, name: str) -> tuple[int, Netlink]:
        """The descriptor of a node's namespace and a socket inside it."""
        known = self._nodes.get(name)
        if known is not None:
            return known
        descriptor = namespaces.enter_pin(name)
        if descriptor is None:
            raise KernelError(
                f"ip netns exec {name}",
                errno.ENOENT,
                "no such namespace",
                advice="run `bascule up` again",
            )
        self._inside = name
        return self._keep(name, descriptor)

    def _make(self, effect: MakeNamespace) -> None:
        name, source, settings = effect
        if not self._ready:
            files.ready_for_namespaces()
            self._ready = True
        if source:
            self._go_home()
        self._inside = name  # also where it fails half-way
        if source:
            files.attach_namespace(name, source)
        else:
            if self._paths.private and self._maker is None:
                self._maker = inner.Maker()
            self._settings.enter()
            files.make_namespace(name, lambda: self._settings.give(settings), self._maker)
        _descriptor, socket = self._keep(
            name, os.open(namespaces.pin_path(name), os.O_RDONLY | os.O_CLOEXEC)
        )
        self._report.cookies[name] = socket.cookie()

    def _keep(self, name: str, descriptor: int) -> tuple[int, Netlink]:
        if len(self._nodes) >= self._most:
            self._forget(next(iter(self._nodes)))
        with kept(descriptor):
            self._nodes[name] = (descriptor, Netlink())
        return self._nodes[name]

    def _forget(self, name: str) -> None:
        known = self._nodes.pop(name, None)
        if known is not None:
            known[1].close()
            os.close(known[0])

    def _go_home(self) -> None:
        if self._inside:
            syscalls.setns(self._home, syscalls.CLONE_NEWNET)
            self._inside = ""

    def _enter(self, node: str) -> None:
        if not node:
            self._go_home()
        elif self._inside != node:
            syscalls.setns(self._node(node)[0], syscalls.CLONE_NEWNET)
            self._inside = node
            self._settings.enter()

    def _several(self, effect: WriteSysctls) -> None:
        self._enter(effect.node)
        for key, before in settle(effect.writes):
            if effect.node and key in SWITCH.values():
                self._report.priors.setdefault((effect.node, key), before)

    def _sysctl(self, effect: WriteSysctl) -> None:
        self._enter(effect.node)
        if effect.fresh:
            return self._settings.write(effect.key, effect.value)
        before = read_sysctl(effect.key)
        if before != effect.value:  # what is right already may stand where nothing can be written
            syscalls.put(sysctl_path(effect.key), effect.value)
        known = self._report.of_links if effect.own else self._report.priors
        known.setdefault((effect.node, effect.key), before)


def _open_nodes() -> int:
    """How many namespaces are held open: fewer where this process may have few files."""
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= soft < _OTHERS + 2 * _OPEN_NODES
    return max(1, (soft - _OTHERS) // 2) if few else _OPEN_NODES


def _refused(op: Op, answer: Failure) -> KernelError:
    said = os.strerror(answer.errno) + (f" ({answer.said})" if answer.said else "")
    return KernelError(op.words, answer.errno, said, op.node, _ADVICE.get(answer.errno, ""))


_ADVICE = {
    errno.EPERM: "run as root, or with `--world private`",
    errno.EEXIST: "something that bascule did not make is in the way; rename or remove it",
    errno.EXFULL: "a bridge has 1,023 ports; spread the nodes over several networks",
    errno.EBUSY: "another interface may stand on it, a macvlan or ipvlan in another namespace",
    errno.EOPNOTSUPP: "this kernel lacks the feature; see `bascule doctor`",
}
