"""What a lab finds on the machine: full-tunnel VPNs, no IPv6, uplinks with another MTU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import Conflict, InputError, TopologyError
from bascule.host import files, ipv6
from helpers import bascule
from sandbox import World
from traffic import Outside

HALVES = (("0.0.0.0/1", "128.0.0.0/1"), ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"))
SIX = (("::/1", "8000::/1"), ("2000::/3",), ("fc00::/7",), ("default",))
BOTH: dict[str, Any] = {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}


@pytest.mark.parametrize("routes", [*HALVES, *SIX])
def test_a_full_tunnel_is_no_neighbour(world: World, routes: tuple[str, ...]) -> None:
    """A network without a subnet finds one, of both families, and nothing is said of an overlap."""
    with Outside(world) as outside:
        for route in routes:
            world.run(
                "ip",
                "-6" if ":" in route or route == "default" else "-4",
                "route",
                "add",
                route,
                "dev",
                outside.uplink,
            )
        data = {
            "networks": {"lan": {}, "more": {}, "six": {"subnet": "fd00:9::/64"}},
            "pools": ["10.9.0.0/16", "fd00:8::/48"],
        }
        lab = Lab.from_data({**data, "nodes": {"a": ["lan"]}}, world="host")
        notes = lab.plan().notes
        assert not [note for note in notes if "overlaps" in note]
        lab.up()
        assert not lab.plan()
        lab.down()


def test_neighbours_are_found_in_every_table_that_is_used(world: World) -> None:
    """What a rule leads to is routed; a table that none leads to is not. The largest network that
    there is counts as one."""
    with Outside(world) as outside:
        add = ("ip", "route", "add")
        world.run(*add, "10.9.0.0/17", "dev", outside.uplink, "table", "77")
        data = {"networks": {"lan": {}}, "pools": ["10.9.0.0/16"]}
        lab = Lab.from_data(data, world="host")
        lab.up()
        assert lab.assigned.networks[0].subnets[0].network_address.exploded.startswith("10.9.0.")
        lab.down()
        world.run("ip", "rule", "add", "to", "10.9.0.0/16", "table", "77")
        lab.up()
        assert (
            int(lab.assigned.networks[0].subnets[0].network_address.exploded.split(".")[2]) >= 128
        )
        lab.down()
        world.run(*add, "10.0.0.0/8", "dev", outside.uplink)
        with pytest.raises(InputError, match="no free subnet"):
            lab.up()


WAYS: dict[str, tuple[str, ...]] = {
    "halves": ("route add 0.0.0.0/1 dev up0", "route add 128.0.0.0/1 dev up0"),
    "one half": ("route add 128.0.0.0/1 via 192.0.2.2",),
    "IPv6 only": ("-6 route add default via 2001:db8::2",),
    "IPv6 halves": ("-6 route add 8000::/1 dev up0",),
    "another table": (
        "route add default dev up0 table 51820",
        "rule add not fwmark 51820 table 51820",
    ),
    "IPv6 in another table": (
        "-6 route add default dev up0 table 300",
        "-6 rule add from 2001:db8::/64 table 300",
    ),
    "several next hops": ("route add default nexthop dev lo nexthop via 192.0.2.2 dev up0",),
    "a next hop object": ("nexthop add id 7 via 192.0.2.2 dev up0", "route add default nhid 7"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_way_out_goes_through_is_no_uplink(world: World, way: str) -> None:
    """Before anything is touched, whatever the way looks like."""
    lab = Lab.from_data(
        {"networks": {"lan": {"subnet": "10.7.0.0/24", "uplink": "up0"}}}, world="host"
    )
    with Outside(world):
        for words in WAYS[way]:
            world.run("ip", *words.split())
        before = machine.state()
        for call in (lab.plan, lab.up):
            with pytest.raises(
                Conflict, match=r"goes through up0: as a bridge port it would cut the machine off"
            ):
                call()
        assert machine.difference(before, machine.state()) == ""


def test_a_table_that_nothing_leads_to_keeps_no_uplink(world: World) -> None:
    """Nor does a network, or what is refused."""
    lab = Lab.from_data(
        {"networks": {"lan": {"subnet": "10.7.0.0/24", "uplink": "up0"}}}, world="host"
    )
    with Outside(world) as outside:
        for words in (
            "default dev up0 table 99",
            "10.0.0.0/8 dev up0",
            "unreachable 198.51.100.0/24",
        ):
            world.run("ip", "route", "add", *words.split())
        lab.up()
        assert not lab.plan()
        lab.down()
        assert world.ip_json("link", "show", outside.uplink)[0].get("master") is None


@pytest.mark.parametrize("before", ["new", "up"])
def test_an_uplink_with_a_smaller_mtu(world: World, before: str) -> None:
    """The kernel would give the bridge the smallest MTU of its ports: it keeps its own from the
    first `up`, also where the uplink comes later; the plan says what that means."""
    networks: dict[str, Any] = {"lan": {"subnet": "10.7.0.0/24"}}
    with Outside(world) as outside:
        world.run("ip", "link", "set", outside.uplink, "mtu", "1400")
        lab = Lab.from_data({"networks": networks, "nodes": {"a": ["lan"]}}, world="host")
        if before == "up":
            lab.up()
        lab = Lab.from_data(
            {
                "networks": {"lan": {**networks["lan"], "uplink": outside.uplink}},
                "nodes": {"a": ["lan"]},
            },
            world="host",
        )
        assert (
            "up0 has an MTU of 1400 and lan one of 1500: longer frames do not pass it; `mtu: 1400`"
            in "\n".join(lab.plan().notes)
        )
        lab.up()
        assert not lab.plan()
        assert world.ip_json("link", "show", "lan")[0]["mtu"] == 1500
        world.run("ip", "link", "set", outside.uplink, "mtu", "1300")
        assert not lab.plan()
        lab.down()
        assert world.ip_json("link", "show", outside.uplink)[0]["mtu"] == 1300


@pytest.mark.parametrize("key", ["all", "default"])
def test_ipv6_that_a_setting_disables(world: World, key: str) -> None:
    """One line before anything is touched, and what to do about it; a lab without IPv6 is built."""
    setting = Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6")
    setting.write_text("1")
    lab = Lab.from_data(
        {"networks": {"lan": BOTH, "dmz": {"subnet": "fd00:2::/64"}}, "nodes": {"a": ["lan"]}},
        world="host",
    )
    before = machine.state()
    for call in (lab.plan, lab.up):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == (
            "fd00:1::1 on lan and 1 more: IPv6 is disabled on this machine, as "
            "net.ipv6.conf.default.disable_ipv6 is 1; "
            "`sysctl -w net.ipv6.conf.default.disable_ipv6=0`, or leave IPv6 out of the lab: "
            "--without-ipv6, or `ipv6: false` in its file"
        )
    assert machine.difference(before, machine.state()) == ""
    four = Lab.from_data(
        {"networks": {"lan": {"subnet": "10.1.0.0/24"}}, "nodes": {"a": ["lan"]}}, world="host"
    )
    four.up()
    four.down()
    # as told: what `all` says counts for nothing
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("0")
    lab.up()
    assert all(echo.seconds is not None for echo in lab.ping())
    setting.write_text("1")
    for interface in ("all", "lan"):
        Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")
    with pytest.raises(
        InputError,
        match=r"fd00:1::1 on lan: IPv6 is disabled .* net\.ipv6\.conf\.lan\.disable_ipv6 is 1",
    ):
        lab.up()
    lab.down()


@pytest.mark.parametrize("kind", ["host", "private"])
def test_ipv6_that_is_off_in_a_node(world: World, kind: str) -> None:
    """By hand, after `up`: one line, and nothing is half repaired; then it is put back."""
    lab = Lab.from_data(
        {"networks": {"lan": BOTH}, "nodes": {"a": ["lan"], "b": ["lan"]}}, world=kind
    )
    lab.up()
    lab.node("a").run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
    with pytest.raises(InputError) as caught:
        lab.up()
    assert str(caught.value) == (
        "fd00:1::2 on eth0: IPv6 is disabled in node a, as net.ipv6.conf.eth0.disable_ipv6 is 1; "
        "`ip netns exec a sysctl -w net.ipv6.conf.eth0.disable_ipv6=0`, or leave IPv6 out of the "
        "lab: --without-ipv6, or `ipv6: false` in its file"
    )
    lab.node("a").run(["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0"], check=True)
    lab.up()
    assert not lab.plan()
    assert all(echo.seconds is not None for echo in lab.ping())
    lab.down()


def test_ipv6_that_is_off_in_an_adopted_namespace(world: World) -> None:
    """As in a container of Docker's without IPv6. What the file turns on is on before the addresses
    come."""
    world.run("ip", "netns", "add", "theirs")
    world.run("ip", "netns", "exec", "theirs", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    before = machine.state()
    node: dict[str, Any] = {"netns": "/run/netns/theirs", "networks": ["lan"]}
    with pytest.raises(
        InputError,
        match=r"IPv6 is disabled in node box, as net.ipv6.conf.default.disable_ipv6 is 1",
    ):
        Lab.from_data({"networks": {"lan": BOTH}, "nodes": {"box": node}}, world="host").up()
    assert machine.difference(before, machine.state()) == ""
    node["sysctls"] = {"net.ipv6.conf.all.disable_ipv6": 0}
    lab = Lab.from_data(
        {"networks": {"lan": BOTH}, "nodes": {"box": node, "b": ["lan"]}}, world="host"
    )
    lab.up()
    assert not lab.plan()
    assert all(echo.seconds is not None for echo in lab.ping())
    lab.down()
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("kind", ["host", "private"])
def test_a_kernel_without_ipv6(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its command line: none at all, or none in new namespaces."""
    lab = Lab.from_data({"networks": {"lan": BOTH}, "nodes": {"a": ["lan"]}}, world=kind)
    Path("parameter").write_text("1\n")
    monkeypatch.setattr(ipv6, "_OF_MODULE", str(Path("parameter").absolute()))
    with pytest.raises(
        InputError,
        match=(
            r"IPv6 is disabled on this machine, as ipv6.disable_ipv6 is 1; start the machine "
            r"without it"
        ),
    ):
        lab.up()
    monkeypatch.undo()
    real = files.is_there
    monkeypatch.setattr(files, "is_there", lambda path: path != "/proc/sys/net/ipv6" and real(path))
    monkeypatch.setattr(ipv6, "is_known", lambda: False)
    with pytest.raises(
        InputError,
        match=(
            r"^fd00:1::1 on lan and 1 more: IPv6 is disabled on this machine, as ipv6.disable "
            r"is 1; start"
        ),
    ):
        lab.up()
    assert "lab" not in bascule(world, "ls").stdout


def test_a_node_that_turns_its_own_addresses_off(world: World) -> None:
    """A file that contradicts itself would never be as it should be."""
    for sysctls in (
        {"net.ipv6.conf.all.disable_ipv6": 1},
        {"net.ipv6.conf.eth0.disable_ipv6": 1},
        {"net/ipv6/conf/all/disable_ipv6": 1},
    ):
        with pytest.raises(TopologyError, match="takes the IPv6 addresses away that lan gives"):
            Lab.from_data(
                {
                    "networks": {"lan": BOTH},
                    "nodes": {"a": {"networks": ["lan"], "sysctls": sysctls}},
                }
            )
    four = {"networks": {"lan": {"subnet": "10.1.0.0/24"}}}
    Lab.from_data(
        {
            **four,
            "nodes": {"a": {"networks": ["lan"], "sysctls": {"net.ipv6.conf.all.disable_ipv6": 1}}},
        },
        world="host",
    ).up()
    assert not Lab.attach("lab").plan()
    Lab("lab").down()


NOBODYS = ("127.0.0.1", "127.3.4.5", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1")  # noqa: S104 (refused)


@pytest.mark.parametrize("address", NOBODYS)
def test_an_address_that_nobody_could_answer_to(world: World, address: str) -> None:
    """As `outbound_address` it is wrong on any machine."""
    with pytest.raises(TopologyError, match="is no address that anybody could answer to"):
        Lab.from_data({"networks": {"lan": {**BOTH, "nat": True, "outbound_address": address}}})
    for own in ("10.1.0.1", "fd00:1::9"):
        with pytest.raises(TopologyError, match="is in a subnet of the lab itself"):
            Lab.from_data({"networks": {"lan": {**BOTH, "nat": True, "outbound_address": own}}})


@pytest.mark.parametrize("what", ["addresses", "uplink"])
def test_what_has_gone_since_keeps_nothing_from_being_mended(world: World, what: str) -> None:
    """Of a lab that is up: told in a note, and all else is put back; refused before, and for
    another lab, as ever."""
    nat: dict[str, Any] = {
        "nat": True,
        "dns": False,
        "outbound_address": ["192.0.2.9", "2001:db8::9"],
    }
    network = {**BOTH, **nat} if what == "addresses" else {**BOTH, "uplink": "up9"}
    missing = (
        r"outbound_address 192\.0\.2\.9 is no address of this machine"
        if what == "addresses"
        else "has no interface up9"
    )
    lab = Lab.from_data(
        {"networks": {"lan": network}, "nodes": {"a": ["lan"], "b": ["lan"]}}, world="host"
    )
    with pytest.raises(InputError, match=missing):
        lab.up()
    world.run("ip", "link", "add", "up9", "type", "veth", "peer", "name", "far")
    for address in ("192.0.2.9/32", "2001:db8::9/128"):
        world.run("ip", "address", "add", address, "dev", "lo")
    lab.up()
    assert not [note for note in lab.plan().notes if "any more" in note]
    for address in ("192.0.2.9/32", "2001:db8::9/128"):
        world.run("ip", "address", "del", address, "dev", "lo")
    world.run("ip", "link", "del", "up9")
    world.run("ip", "-n", "a", "address", "flush", "dev", "eth0")
    notes = [note for note in lab.plan().notes if "any more" in note]
    assert len(notes) == (2 if what == "addresses" else 1)
    lab.up()
    assert not lab.plan()
    assert all(echo.seconds is not None for echo in lab.ping())
    renamed = Lab.from_data(
        {"networks": {"lan": {**network, "outbound_address": "192.0.2.8", "nat": True}}},
        world="host",
    )
    with pytest.raises(InputError, match=r"192\.0\.2\.8 is no address of this machine"):
        renamed.up()
    if what == "uplink":
        world.run("ip", "link", "add", "up9", "type", "veth", "peer", "name", "far")
        lab.up()
        assert world.ip_json("link", "show", "up9")[0]["master"] == "lan"
    lab.down()


def test_doctor_has_a_line_about_ipv6(world: World) -> None:
    """On, or what turns it off, and what to do."""

    def told() -> list[tuple[str, str, str]]:
        found = json.loads(bascule(world, "doctor", "--json", check=False).stdout)
        rows = [row for row in found if row["what"] == "IPv6"]
        return [(row["verdict"], row["found"], row["advice"]) for row in rows]

    assert told() == [("ok", "on", "")]
    world.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    ((verdict, found, advice),) = told()
    assert (verdict, found) == ("note", "off, as net.ipv6.conf.default.disable_ipv6 is 1")
    assert advice.endswith("or sysctl net.ipv6.conf.default.disable_ipv6=0")
