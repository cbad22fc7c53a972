"""What fails half-way keeps no descriptor: where descriptors or processes are few, it is tried
again, and by programs that live on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from bascule import syscalls
from bascule.errors import KernelError
from bascule.host import abilities, hands, inner, lasting, namespaces, outside
from bascule.host.hands import Hands, Report
from bascule.host.keeper import Starting
from bascule.host.lasting import Process
from bascule.host.paths import Paths
from bascule.host.world import PrivateWorld
from sandbox import BASCULE, World


def _refused(*_arguments: object) -> NoReturn:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _start() -> None:
    with Starting():
        pass


def _world() -> PrivateWorld:
    own = os.getpid()
    return PrivateWorld(Process(own, lasting.start_time(own)), Process(0, 0))


def _hands() -> Hands:
    return Hands(Paths(), Report())


CASES: dict[str, tuple[tuple[object, str], Callable[[], object]]] = {
    "a keeper without a pipe": ((os, "pipe"), _start),
    "a keeper that can't be forked": ((syscalls, "fork"), _start),
    "a maker of namespaces": ((syscalls, "fork_again"), inner.Maker),
    "a program outside": (
        (syscalls, "fork"),
        lambda: outside.run(_world(), ["true"], 1, {}),
    ),
    "a worker": ((syscalls, "fork"), lambda: _world().call(os.getpid)),
    "the way into a world": ((lasting, "hold"), lambda: _world().way_in()),
    "calls that are tried": ((syscalls, "fork"), abilities.lacks),
    "hands without a socket": ((hands, "Netlink"), lambda: _hands().__enter__()),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_kept(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many are open afterwards as before."""
    (place, call), attempt = CASES[name]
    monkeypatch.setattr(abilities, "_is_restricted", lambda: True)
    wrapped: object = _refused
    if name == "the way into a world":
        real, seen = lasting.hold, list[object]()

        def second(process: Process) -> int | None:
            seen.append(process)
            return real(process) if len(seen) == 1 else _refused()

        wrapped = second
    monkeypatch.setattr(place, call, wrapped)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="temporarily unavailable"):
        attempt()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_node_whose_socket_can_t_be_opened(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its namespace is let go."""
    world.run("ip", "netns", "add", "a")
    before = sorted(os.listdir("/proc/self/fd"))
    with _hands() as made:
        monkeypatch.setattr(hands, "Netlink", _refused)
        with pytest.raises(OSError, match="temporarily"):
            made._node("a")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_who_can_t_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor of the place is let go all the same."""
    world.run("ip", "netns", "add", "a")
    before = sorted(os.listdir("/proc/self/fd"))
    with namespaces.coming_back():
        descriptor = namespaces.enter_pin("a")
        assert descriptor is not None
        os.close(descriptor)
        with monkeypatch.context() as patched, pytest.raises(OSError, match="temporarily"):
            inside = namespaces.coming_back()
            inside.__enter__()
            syscalls.unshare(syscalls.CLONE_NEWNET)
            patched.setattr(syscalls, "setns", _refused)
            inside.__exit__(None, None, None)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_few_open_files(world: World) -> None:
    """A lab of many nodes is built with 24, and taken away; with too few it is said what to do."""
    text = "name: many\nnetworks: {lan: {}}\nnodes: {n: {count: 30, networks: [lan]}}\n"
    Path("many.yaml").write_text(text)
    for command in ("up many.yaml", "plan many.yaml --exit-code", "down many"):
        world.run("sh", "-c", f"ulimit -n 24; exec {BASCULE} {command}")
    done = world.run("sh", "-c", f"ulimit -n 9; exec {BASCULE} up many.yaml", check=False)
    assert done.returncode == 1
    assert "Too many open files; raise the limit (ulimit -n)" in done.stderr


def test_the_advice_of_a_system_call() -> None:
    """Of one that fails for want of descriptors."""
    from bascule.errors import as_kernel_error

    told = as_kernel_error(OSError(errno.EMFILE, "Too many open files", "socket(2)"))
    assert isinstance(told, KernelError)
    assert told.advice == "raise the limit (ulimit -n)"
