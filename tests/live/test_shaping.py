"""How fast the ends of an attachment send: set, seen, mended, taken away, and kept by packets."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from bascule.api import Lab
from bascule.errors import TopologyError
from helpers import bascule
from sandbox import World, require
from traffic import bound, inside

BOTH = ["10.1.0.0/24", "fd00:1::/64"]


def _lab(mtu: int = 1500, **attachment: object) -> Lab:
    nodes = {"a": {"networks": {"lan": attachment}}, "b": ["lan"]}
    data = {"networks": {"lan": {"subnet": BOTH, "mtu": mtu}}, "nodes": nodes}
    return Lab.from_data(data, name="slow", world="host")


def _tc(world: World, *words: str) -> dict[str, Any]:
    """The root qdisc of a device, by its kind and options: as text each tc writes them its own
    way."""
    (root,) = json.loads(world.run("tc", "-j", *words).stdout)
    return {"kind": root["kind"], **root.get("options", {})}


def test_each_end_has_its_own(world: World) -> None:
    """What the node sends is shaped at its end, and what it gets at the bridge's."""
    require("tc")
    lab = _lab(rate="10mbit", ingress={"rate": "1gbit", "burst": "64kb", "latency": "5ms"})
    lab.up()
    sent = _tc(world, "-n", "a", "qdisc", "show", "dev", "eth0")
    assert (sent["kind"], sent["rate"]) == ("tbf", 1_250_000)
    got = _tc(world, "qdisc", "show", "dev", "veth-a")
    assert (got["kind"], got["rate"]) == ("tbf", 125_000_000)
    assert abs(got["burst"] - 65_536) < 200  # the kernel keeps it as a time
    assert _tc(world, "qdisc", "show", "dev", "veth-b")["kind"] == "noqueue"
    assert not lab.plan()
    lab.down()


DRIFT = {
    "is gone": ("-n a qdisc del dev eth0 root", "+ tbf rate 10mbit on eth0 in a"),
    "is another": (
        "-n a qdisc replace dev eth0 root tbf rate 5mbit burst 20kb latency 9ms",
        "~ tbf rate 10mbit on eth0 in a",
    ),
    "is of another kind": (
        "-n a qdisc replace dev eth0 root pfifo limit 9",
        "~ tbf rate 10mbit on eth0 in a",
    ),
    "is a stranger's": ("qdisc add dev veth-b root pfifo limit 9", "- pfifo on veth-b"),
    "is a stranger's in a node": ("-n b qdisc add dev eth0 root bfifo", "- bfifo on eth0 in b"),
}


@pytest.mark.parametrize("what", DRIFT)
def test_what_others_change_is_seen_and_mended(world: World, what: str) -> None:
    """And nothing else is."""
    require("tc")
    command, line = DRIFT[what]
    lab = _lab(rate="10mbit")
    lab.up()
    before = _tc(world, "-n", "a", "qdisc", "show", "dev", "eth0")
    world.run("tc", *command.split())
    changes = lab.plan().changes
    assert [f"{each.sign} {each.fact.describe()}" for each in changes] == [line]
    lab.up()
    assert not lab.plan()
    assert _tc(world, "-n", "a", "qdisc", "show", "dev", "eth0") == before
    lab.down()


def test_the_file_may_change_it(world: World) -> None:
    """In place, without a moment at full speed, and to none."""
    require("tc")
    _lab(rate="10mbit").up()
    faster = _lab(rate="20mbit")
    assert [each.sign for each in faster.plan().changes] == ["~", "~"]
    faster.up()
    plain = _lab()
    assert [each.sign for each in plain.plan().changes] == ["-", "-"]
    plain.up()
    for place in ((), ("-n", "a")):
        assert "tbf" not in world.run("tc", *place, "qdisc", "show").stdout
    plain.down()


@pytest.mark.parametrize(
    "attachment",
    [
        {"rate": "8kbit"},
        {"rate": "8kbit", "burst": "274000"},
        {"rate": "100gbit"},
        {"rate": "1tbit"},
        {"rate": "1tbit", "latency": "1ms"},
        {"rate": "500mbit", "latency": "60s"},
        {"rate": "34359738368bit", "burst": "1024mb"},
    ],
    ids=str,
)
def test_the_kernel_keeps_what_it_is_told(world: World, attachment: dict[str, Any]) -> None:
    """From the slowest to the fastest: nothing is left to do."""
    lab = _lab(**attachment)
    lab.up()
    assert not lab.plan()
    lab.down()


def test_a_frame_is_never_too_large(world: World) -> None:
    """However slow it is: the bucket holds the largest frame of the network."""
    lab = _lab(rate="1mbit", mtu=9000)
    lab.up()
    for source, target in (("a", "b"), ("b", "a")):
        size = str(9000 - 28)
        lab.node(source).run(["ping", "-4", "-c1", "-W2", "-Mdo", "-s", size, target], check=True)
    lab.down()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_packets_keep_to_it(world: World, version: int, way: str) -> None:
    """A megabyte at 8 Mbit/s takes a second, less what may pass at once. A busy machine may be
    slower, never faster."""
    lab = _lab(**{way: {"rate": "8mbit", "burst": "16kb"}})
    lab.up()
    source, target = ("a", "b") if way == "egress" else ("b", "a")
    address = next(
        each.split("/")[0] for each in lab.node(target).addresses if (":" in each) is (version == 6)
    )
    seconds = _send(source, target, address, 1_000_000)
    assert seconds > 0.9
    back = lab.node(source).addresses[0].split("/")[0]
    assert _send(target, source, back, 1_000_000) < seconds
    lab.down()


def _send(source: str, target: str, address: str, size: int) -> float:
    """Seconds until all has come."""
    server = bound(target, address, 9)
    with inside(source):
        client = socket.socket(server.family)
    with server, client:
        client.connect((address, 9))
        there, _from = server.accept()
        child = os.fork()
        if child == 0:
            with suppress(OSError):
                client.sendall(bytes(size))
            os._exit(0)
        client.close()
        with there:
            start = time.monotonic()
            while there.recv(1 << 20):
                pass
            spent = time.monotonic() - start
        os.waitpid(child, 0)
    return spent


def test_the_script_does_the_same(world: World) -> None:
    """Its lines are tc(8)'s, also in the classic spelling."""
    lab = _lab(rate="10mbit")
    plan = lab.plan()
    said = [line for op in plan.ops for line in op.shell() if line.startswith("tc ")]
    assert said == [
        "tc -n a qdisc replace dev eth0 root tbf rate 10mbit burst 37500 limit 100000",
        "tc qdisc replace dev veth-a root tbf rate 10mbit burst 37500 limit 100000",
    ]


@pytest.mark.parametrize(
    ("attachment", "message"),
    [
        ({"rate": "10mbps"}, "counts bytes for tc"),
        ({"rate": "10bit"}, "is out of range"),
        ({"rate": "fast"}, "is not a rate like 10mbit"),
        ({"burst": "16kb"}, "means nothing without a `rate`"),
        ({"rate": "1mbit", "egress": {"latency": "5ms"}}, "means nothing without a `rate`"),
        ({"rate": "1mbit", "latency": "5"}, "is not a time like 50ms"),
        ({"rate": "1gbit", "latency": "60s"}, "would wait at this rate; give a shorter one"),
        ({"rate": "100kbit", "burst": "4mb"}, "274 s of the rate; give at most 3425000"),
        ({"ingress": {"rate": "1mbit", "burst": "1600"}, "mtu": 9000}, "up to 9,018 bytes"),
        ({"egress": "10mbit"}, "a shape must be a map, not text; write {rate: 10mbit}"),
    ],
)
def test_what_is_wrong_is_told(attachment: dict[str, Any], message: str) -> None:
    """With what to write."""
    with pytest.raises(TopologyError, match=message):
        _lab(**attachment)


def test_it_is_shown(world: World) -> None:
    """At its interface, each way."""
    lab = _lab(rate="10mbit", ingress={"rate": "1gbit"})
    lab.up()
    node = lab.show().node("a")
    assert node is not None
    (interface,) = node.interfaces
    assert (interface.egress, interface.ingress) == (("tbf rate 10mbit",), ("tbf rate 1gbit",))
    assert "out: tbf rate 10mbit, in: tbf rate 1gbit" in bascule(world, "show", "slow").stdout
    lab.down()
