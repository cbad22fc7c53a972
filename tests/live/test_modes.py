"""Nodes that are not namespaces of the lab's own, bridges with settings, interfaces of the machine
as ports, labels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import Conflict, InputError, TopologyError
from helpers import as_json, bascule
from sandbox import World, links_of_a_new_one
from traffic import Ears, Outside, reach

LAN: dict[str, Any] = {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}


@contextmanager
def _container() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a network namespace that some other program has made."""
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as process:
        own = os.readlink("/proc/thread-self/ns/net")
        try:
            deadline = time.monotonic() + 30
            while os.readlink(f"/proc/{process.pid}/ns/net") == own and time.monotonic() < deadline:
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


def _inside(world: World, pid: int, *command: str) -> str:
    return world.run("nsenter", f"--net=/proc/{pid}/ns/net", *command).stdout


@pytest.mark.parametrize("path", ["/proc/{pid}/ns/net", "/run/elsewhere/ns"])
def test_a_namespace_of_another_program_is_a_node(world: World, path: str) -> None:
    """It gets interface, address and route, is reached, and has nothing left of it after `down`;
    its processes never notice."""
    os.makedirs("/run/mount", exist_ok=True)  # mount(8) would leave it
    before = machine.state()
    with _container() as other:
        place = path.format(pid=other.pid)
        if not place.startswith("/proc"):
            os.mkdir("/run/elsewhere")
            with open(place, "w"):
                pass
            world.run("mount", "--bind", f"/proc/{other.pid}/ns/net", place)
        empty = _inside(world, other.pid, "ip", "-j", "link")
        lab = Lab.from_data(
            {
                "networks": {"lan": LAN},
                "nodes": {"a": ["lan"], "web": {"networks": ["lan"], "netns": place}},
            },
            world="host",
        )
        lab.up()
        assert not lab.plan()
        assert "10.1.0.3/24" in _inside(world, other.pid, "ip", "address")
        assert all(echo.seconds is not None for echo in lab.ping("a", "web"))
        assert lab.node("web").run(
            ["readlink", "/proc/self/ns/net"], capture_output=True
        ).stdout.strip() == os.readlink(f"/proc/{other.pid}/ns/net")
        # damage is mended, and an edit takes the interface away again and leaves the namespace
        _inside(world, other.pid, "ip", "link", "del", "eth0")
        assert lab.plan()
        lab.up()
        assert not lab.plan()
        Lab("lab").change(lambda now: type(now)(now.name, now.networks, now.nodes[:1]))
        assert _inside(world, other.pid, "ip", "-j", "link") == empty
        lab.up()
        lab.down()
        assert _inside(world, other.pid, "ip", "-j", "link") == empty
        assert other.poll() is None
        if not place.startswith("/proc"):
            world.run("umount", place)
            os.unlink(place)
            os.rmdir("/run/elsewhere")
    assert machine.difference(before, machine.state()) == ""


def test_what_is_no_namespace_is_refused(world: World) -> None:
    """Before anything is touched that stays."""
    before = machine.state()
    for place in ("/proc/999999999/ns/net", "/etc/hostname", "/nowhere"):
        lab = Lab.from_data(
            {"networks": {"lan": LAN}, "nodes": {"a": {"networks": ["lan"], "netns": place}}},
            world="host",
        )
        with pytest.raises(InputError, match="there is no network namespace at"):
            lab.up()
        assert machine.difference(before, machine.state()) == ""
    with pytest.raises(TopologyError, match="is no path of a namespace"):
        Lab.from_data({"nodes": {"a": {"netns": "../x"}}})


@pytest.mark.parametrize("kind", ["host", "private"])
def test_the_machines_own_namespace_as_a_node(world: World, kind: str) -> None:
    """Commands run where the bridges are; `down` leaves all that was there."""
    before = machine.state()
    own = {"here": {"network_mode": "host"}, "alone": {"network_mode": "none"}}
    nodes = {"before": ["lan"], **own, "a": ["lan"]}
    lab = Lab.from_data({"networks": {"lan": LAN}, "nodes": nodes}, world=kind)
    lab.up()
    assert not lab.plan()
    shown = {
        node: lab.node(node).run(["ip", "-o", "link"], capture_output=True).stdout for node in nodes
    }
    assert " lan: " in shown["here"]
    alone = [re.split("[:@]", line.split()[1])[0] for line in shown["alone"].splitlines()]
    assert sorted(alone) == links_of_a_new_one()
    assert (
        lab.node("here").run(["ping", "-c1", "-W2", "10.1.0.2"], capture_output=True).returncode
        == 0
    )
    lab.down()
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"network_mode": "host", "networks": ["lan"]}, "means nothing with `network_mode: host`"),
        ({"network_mode": "none", "ports": ["80"]}, "means nothing with `network_mode: none`"),
        ({"network_mode": "hots"}, "'hots' is no mode; did you mean 'host'?"),
        ({"netns": "/proc/self/ns/net", "networks": ["lan"]}, "write `network_mode: host`"),
    ],
)
def test_modes_that_make_no_sense(node: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        Lab.from_data({"networks": {"lan": {}}, "nodes": {"a": node}})
    assert message in str(caught.value)


def test_settings_of_a_bridge(world: World) -> None:
    """As the kernel shows them; drift is seen, and without them the bridge is as the kernel makes
    it."""

    def link() -> dict[str, Any]:
        row = world.ip_json("link", "show", "lan")[0]
        return {
            **{key: row["linkinfo"]["info_data"][key] for key in ("stp_state", "ageing_time")},
            "flags": "PROMISC" in row["flags"],
        }

    plain = Lab.from_data(
        {"name": "b", "networks": {"lan": LAN}, "nodes": {"a": ["lan"]}}, world="host"
    )
    plain.up()
    usual = link()
    asked = {**LAN, "stp": True, "ageing_time": 12, "promiscuous": True}
    lab = Lab.from_data(
        {"name": "b", "networks": {"lan": asked}, "nodes": {"a": ["lan"]}}, world="host"
    )
    lab.up()
    assert link() == {"stp_state": 1, "ageing_time": 1200, "flags": True}
    assert not lab.plan()
    world.run("ip", "link", "set", "lan", "type", "bridge", "stp_state", "0")
    assert [change.fact.describe() for change in lab.plan().changes] == ["stp_state 1 on lan"]
    lab.up()
    assert link()["stp_state"] == 1
    plain.up()
    assert link() == usual
    lab.down()


def test_the_spanning_tree_changes(world: World) -> None:
    """For half a minute the kernel then tells another ageing time than it was given: nobody has
    changed it."""
    data: dict[str, Any] = {
        "networks": {"lan": {**LAN, "stp": True, "ageing_time": 12}},
        "nodes": {"a": ["lan"]},
    }
    lab = Lab.from_data(data, world="host")
    lab.up()
    # the shortest: two seconds a step
    world.run("ip", "link", "set", "lan", "type", "bridge", "forward_delay", "200")
    for state in ("down", "up"):
        world.run("ip", "link", "set", "veth-a", state)
    deadline = time.monotonic() + 30
    while not (info := world.ip_json("link", "show", "dev", "lan")[0]["linkinfo"]["info_data"])[
        "topology_change"
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert info["ageing_time"] == 400
    assert not lab.plan()
    data["networks"]["lan"]["ageing_time"] = 13
    changed = Lab.from_data(data, world="host")
    assert [change.fact.describe() for change in changed.plan().changes] == [
        "ageing_time 1300 on lan"
    ]
    changed.up()
    assert not changed.plan()
    changed.down()


def test_an_interface_of_the_machine_as_a_port(world: World, ears: Ears) -> None:
    """Nodes are on the cable's network then; drift is mended; an edit and `down` give the interface
    back."""
    with Outside(world, here=("192.0.2.1",), there=("192.0.2.2",)) as outside:
        world.run("ip", "address", "flush", "dev", outside.uplink, "scope", "global")
        wired = machine.state()
        data = {
            "name": "wired",
            "networks": {
                "lan": {"subnet": "192.0.2.0/24", "gateway": "192.0.2.9", "uplink": outside.uplink}
            },
            "nodes": {"a": ["lan"]},
        }
        lab = Lab.from_data(data, world="host")
        lab.up()
        assert not lab.plan()
        assert reach("a", "192.0.2.2", 7, ears.on("elsewhere", 7)[0]) == "192.0.2.1"
        assert reach("elsewhere", "192.0.2.1", 7, ears.on("a", 7)[0]) == "192.0.2.2"
        world.run("ip", "link", "set", outside.uplink, "nomaster")
        assert [change.fact.describe() for change in lab.plan().changes] == [
            f"uplink {outside.uplink} on lan"
        ]
        lab.up()
        assert not lab.plan()
        other = {"networks": {"br2": {"subnet": "192.0.3.0/24", "uplink": outside.uplink}}}
        with pytest.raises(Conflict, match="is a port of lan already"):
            Lab.from_data({"name": "other", **other}, world="host").up()
        without = Lab.from_data(
            {**data, "networks": {"lan": {"subnet": "192.0.2.0/24", "gateway": "192.0.2.9"}}},
            world="host",
        )
        without.up()
        assert "master" not in world.ip_json("link", "show", outside.uplink)[0]
        lab.up()
        lab.down()
        assert machine.difference(wired, machine.state()) == ""
        _refused(outside)


def _refused(outside: Outside) -> None:
    """An interface that is not there, and the one that the machine's own way out goes through."""

    def lab(name: str) -> Lab:
        return Lab.from_data(
            {"networks": {"lan": {"subnet": "10.7.0.0/24", "uplink": name}}}, world="host"
        )

    with pytest.raises(InputError, match="the machine has no interface eth77"):
        lab("eth77").up()
    outside.world.run("ip", "address", "add", "192.0.2.1/24", "dev", outside.uplink)
    outside.world.run("ip", "route", "add", "default", "via", "192.0.2.2")
    with pytest.raises(Conflict, match="default route goes through up0"):
        lab(outside.uplink).up()


@pytest.fixture
def ears() -> Iterator[Ears]:
    with Ears() as made:
        yield made


def test_labels_and_filters(world: World) -> None:
    """Of labs, networks and nodes; by the file and by the command."""
    for name, tier in (("one", "test"), ("two", "live")):
        Lab.from_data(
            {
                "name": name,
                "labels": [f"tier={tier}"],
                "networks": {name: {"labels": {"kind": name}}},
            },
            world="host",
        ).up()
    bascule(
        world,
        "node",
        "add",
        "n1",
        "--lab",
        "one",
        "--network",
        "one",
        "--label",
        "role=web",
        "--label",
        "x",
    )
    bascule(
        world, "node", "add", "n2", "--lab", "one", "--label", "role=db", "--network-mode", "none"
    )
    bascule(world, "network", "create", "more", "--lab", "one", "--label", "kind=other")

    def names(*words: str) -> list[str]:
        return [row["name"] for row in as_json(world, *words)]

    assert names("ls", "--filter", "label=tier=live") == ["two"]
    assert names("ls", "--filter", "label=tier") == ["one", "two"]
    assert names("node", "ls", "--lab", "one", "--filter", "label=role=web", "-f", "label=x") == [
        "n1"
    ]
    assert names("node", "ls", "--lab", "one", "--filter", "name=2") == ["n2"]
    assert names("network", "ls", "--lab", "one", "--filter", "label=kind=other") == ["more"]
    assert bascule(world, "ls", "--filter", "colour=red", check=False).returncode == 2
    shown = json.loads(bascule(world, "inspect", "n1", "--lab", "one").stdout)
    assert (shown["labels"], shown["asked"]["labels"]) == (
        {"role": "web", "x": ""},
        {"role": "web", "x": ""},
    )
    assert not Lab.attach("one").plan()
    bascule(world, "down", "--all")


def test_the_imperative_twins(world: World) -> None:
    """What a command makes is what the same words in a file make."""
    bascule(
        world, "network", "create", "lan", "--subnet", "10.1.0.0/24",
        "--ip-range", "10.1.0.128/25", "--reserved", "10.1.0.128-10.1.0.131",
        "--stp", "--ageing-time", "9", "--promiscuous", "--world", "host",
    )  # fmt: skip
    bascule(world, "network", "create", "wan", "--subnet", "10.2.0.0/24")
    bascule(world, "node", "add", "a", "--network", "lan")
    bascule(
        world,
        "network",
        "connect",
        "wan",
        "a",
        "--gw-priority",
        "5",
        "--mtu",
        "1400",
        "--sysctl",
        "net.ipv4.conf.IFNAME.rp_filter=2",
    )
    file = {
        "name": "default",
        "networks": {
            "lan": {
                "subnet": "10.1.0.0/24", "ip_range": "10.1.0.128/25", "reserved": "10.1.0.128-10.1.0.131",  # noqa: E501
                "stp": True, "ageing_time": 9, "promiscuous": True,
            },
            "wan": {"subnet": "10.2.0.0/24"},
        },
        "nodes": {
            "a": {
                "networks": {
                    "lan": {},
                    "wan": {"gateway_priority": 5, "mtu": 1400, "sysctls": {"net.ipv4.conf.IFNAME.rp_filter": 2}},  # noqa: E501
                }
            }
        },
    }  # fmt: skip
    assert not Lab.from_data(file, world="host").plan()
    route = world.ip_json("-n", "a", "route", "show", "default")[0]
    assert route["gateway"] == "10.2.0.1"
    assert (
        world.ip_json("-n", "a", "address", "show", "eth0")[0]["addr_info"][0]["local"]
        == "10.1.0.132"
    )
    bascule(world, "down")
