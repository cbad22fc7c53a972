"""Settings of nodes are written through an instance of procfs of our own, where there can be
one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bascule import syscalls
from bascule.host import namespaces, sysctls
from bascule.host.sysctls import NodeSettings
from sandbox import World

KEY = "net.ipv4.conf.all.accept_redirects"
COUNT = 70  # more than one instance is for


@pytest.fixture(params=["own", "forbidden"])
def settings(
    world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NodeSettings]:
    def forbidden() -> int:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "forbidden":
        monkeypatch.setattr(syscalls, "own_proc", forbidden)
    made = NodeSettings()
    yield made
    made.close()


def _value(name: str) -> str:
    with namespaces.coming_back():
        namespaces.enter_pin(name)
        return sysctls.read_sysctl(KEY)


def test_each_namespace_has_what_was_written_in_it(world: World, settings: NodeSettings) -> None:
    """Others have theirs, the world too. No descriptor is left."""
    world.run("ip", "netns", "add", "first")
    before, there = sysctls.read_sysctl(KEY), _descriptors()
    values = {f"n{number}": str(number % 2) for number in range(COUNT)}
    with namespaces.coming_back():
        for name, value in values.items():
            settings.enter()
            namespaces.make(
                name, lambda given=value: settings.give(((KEY, given), ("net.ipv4.no.such", "1")))
            )  # type: ignore[misc]
    settings.close()
    assert _descriptors() == there
    assert {name: _value(name) for name in values} == values
    assert (sysctls.read_sysctl(KEY), _value("first")) == (before, before)


def test_what_is_refused_is_named(world: World, settings: NodeSettings) -> None:
    world.run("ip", "netns", "add", "other")
    with namespaces.coming_back(), pytest.raises(OSError, match="Invalid argument") as caught:
        namespaces.make("n", lambda: settings.give(((KEY, "no number"),)))
    assert caught.value.filename == f"sysctl -w {KEY}=no number"
    assert not namespaces.is_pinned("n")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_is_mounted_nowhere(world: World) -> None:
    """Nobody else sees it; where it is forbidden, there is an error and no descriptor."""
    before = world.snapshot()["mounts"]
    there = _descriptors()
    try:
        own = syscalls.own_proc()
    except OSError:
        assert _descriptors() == there
        return
    sys = os.open("sys/net", os.O_RDONLY, dir_fd=own)
    assert "ipv4" in os.listdir(sys)
    os.close(sys)
    assert world.snapshot()["mounts"] == before
    os.close(own)
