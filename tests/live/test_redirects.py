"""Nodes are not told another way by ICMP, unless the file says so."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.errors import PlanFailed
from sandbox import World
from traffic import redirect

TO = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
KEYS = {4: "net.ipv4.conf.{}.accept_redirects", 6: "net.ipv6.conf.{}.accept_redirects"}
NODES = {"a": {"networks": ["lan"]}, "b": {"networks": ["lan"]}}


def _lab(kind: str, **of_a: Any) -> Lab:
    networks = {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "dns": False}}
    lab = Lab.from_data(
        {"name": "lab", "networks": networks, "nodes": {**NODES, "a": {**NODES["a"], **of_a}}},
        world=kind,
    )
    lab.up()
    return lab


def _said(lab: Lab, node: str, *words: str) -> str:
    return lab.node(node).run(words, capture_output=True, text=True).stdout


def _link_local(lab: Lab, node: str) -> str:
    """Told at once: no address waits for its turn; but the carrier takes a moment."""
    deadline = time.monotonic() + 5
    while not (
        row := _said(
            lab, node, "ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link"
        ).split()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return row[3].partition("/")[0]


def _is_led_astray(lab: Lab, version: int) -> bool:
    """Whether b can tell a to send by way of b what goes to the router."""
    if version == 4:
        router, victim, instead = "10.1.0.1", "10.1.0.2", "10.1.0.3"
    else:
        router, victim, instead = "fe80::99", _link_local(lab, "a"), _link_local(lab, "b")
        lab.node("a").run(
            ["ip", "-6", "route", "replace", "default", "via", router, "dev", "eth0"], check=True
        )
    assert f"via {router} " in _said(lab, "a", "ip", "route", "get", TO[version])
    lab.ping("b", "a")
    for _attempt in range(3):
        redirect("b", "eth0", router, victim, TO[version], instead)
    lab.ping("b", "a")  # what was sent before has come by now
    return f"via {instead} " in _said(lab, "a", "ip", "route", "get", TO[version])


@pytest.mark.parametrize("version", [4, 6])
def test_a_node_is_not_told_another_way(world: World, version: int) -> None:
    """Nor one that joins later, nor where the machine passes packets on when the node is made."""
    assert not _is_led_astray(_lab("host"), version)
    Lab("lab").down()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    assert not _is_led_astray(_lab("host"), version)


def test_a_node_that_stops_passing_packets_on(world: World) -> None:
    """Turning that off has the kernel listen to redirects again: by a word of the file, where a
    node begins as the machine is, and by a word less."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    off = {"net.ipv4.ip_forward": 0}
    lab = _lab("host", sysctls=off)
    assert not _is_led_astray(lab, 4)
    for sysctls in ({"net.ipv4.ip_forward": 1}, off, {"net.ipv4.conf.all.forwarding": 1}, {}):
        lab = _lab("host", sysctls=sysctls)
        assert not lab.plan()
        on = str(int(1 in sysctls.values()))
        assert _said(
            lab, "a", "sysctl", "-n", "net.ipv4.ip_forward", KEYS[4].format("all")
        ).split() == [on, "0"]
    assert not _is_led_astray(lab, 4)


@pytest.mark.parametrize(
    ("version", "place"), [(4, "all"), (4, "default"), (4, "eth0"), (6, "eth0")]
)
def test_the_file_says_otherwise(world: World, version: int, place: str) -> None:
    """Then it is obeyed, wherever the kernel looks for it."""
    assert _is_led_astray(_lab("host", sysctls={KEYS[version].format(place): 1}), version)


@pytest.mark.parametrize("kind", ["host", "private"])
def test_what_is_set(world: World, kind: str) -> None:
    """In nodes of both worlds."""
    lab = _lab(kind)
    keys = [KEYS[4].format(place) for place in ("all", "default", "lo", "eth0")] + [
        KEYS[6].format("eth0")
    ]
    assert _said(lab, "a", "sysctl", "-n", *keys).split() == ["0"] * len(keys)
    lab.down()


def test_what_is_left_alone(world: World) -> None:
    """The machine and somebody else's namespace, but for the interfaces that we put there."""
    world.run("ip", "netns", "add", "theirs")

    def values(*inside: str) -> list[str]:
        keys = [KEYS[version].format(place) for version in (4, 6) for place in ("all", "default")]
        return world.run(*inside, "sysctl", "-n", *keys).stdout.split()

    places = ((), ("ip", "netns", "exec", "theirs"))
    before = [values(*inside) for inside in places]
    _lab("host", netns="/run/netns/theirs")
    assert [values(*inside) for inside in places] == before
    for key, inside in ((KEYS[6].format("lan"), places[0]), (KEYS[6].format("eth0"), places[1])):
        assert world.run(*inside, "sysctl", "-n", key).stdout == "0\n"


def test_a_setting_that_is_refused_is_named(world: World) -> None:
    """And nothing of the namespace is left."""

    def gate(call: str, subject: object) -> None:
        if call == "put" and str(subject).endswith("/default/accept_redirects"):
            raise PermissionError(13, "Permission denied")

    with (
        syscalls.gated(gate),
        pytest.raises(
            PlanFailed, match=r"^sysctl -w net\.ipv4\.conf\.default\.accept_redirects=0: Perm"
        ),
    ):
        _lab("host")
    assert world.run("ip", "netns").stdout == ""
