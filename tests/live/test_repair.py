"""`up` again: nothing where nothing is wrong; after damage exactly the repair; after an edit
exactly the difference."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import bascule as package
from helpers import EXAMPLES, SEED, STATE, bascule, changes
from sandbox import World, difference, has, links_of_a_new_one

LAB = """\
name: demo
networks:
  lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], mtu: 1400}
nodes:
  a: {networks: [lan], sysctls: {net.ipv4.ip_forward: 1}}
  b: [lan]
  c: [lan]
"""


@pytest.fixture
def lab(world: World) -> World:
    """LAB is up, from the file lab.yaml."""
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml")
    return world


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_up_twice_sends_no_message(world: World, example: Path) -> None:
    """Not one changing message the second time: the plan is empty, no operation was done, the
    kernel is the same."""
    lab = package.Lab.load(example)
    first = lab.up()
    assert first.report.messages > 0
    before = world.snapshot()
    second = lab.up()
    assert not second.plan
    assert (second.report.messages, second.report.done) == (0, 0)
    assert difference(before, world.snapshot()) == ""
    lab.down()


DAMAGE = {
    "veth deleted": (
        "ip link del veth-a",
        [
            "+ veth veth-a (lan) to eth0 (a)",
            "+ address 10.1.0.2/24 on eth0 in a",
            "+ address fd00:1::2/64 on eth0 in a",
            "+ route default via 10.1.0.1 dev eth0 in a",
            "+ route default via fd00:1::1 dev eth0 in a",
        ],
    ),
    "address removed": (
        "ip -n a address del 10.1.0.2/24 dev eth0",
        ["+ address 10.1.0.2/24 on eth0 in a", "+ route default via 10.1.0.1 dev eth0 in a"],
    ),
    "route changed": (
        "ip -n a route replace default via 10.1.0.9 dev eth0",
        ["~ route default via 10.1.0.1 dev eth0 in a"],
    ),
    "route removed": ("ip -n b route del default", ["+ route default via 10.1.0.1 dev eth0 in b"]),
    # An interface that goes down loses its IPv6 addresses.
    "bridge down": (
        "ip link set lan down",
        ["~ bridge lan mtu 1400", "+ address fd00:1::1/64 on lan"],
    ),
    "stray address": (
        "ip -n a address add 10.1.0.77/24 dev eth0",
        ["- address 10.1.0.77/24 on eth0 in a"],
    ),
    "stray address on the bridge": (
        "ip address add 10.9.0.1/24 dev lan",
        ["- address 10.9.0.1/24 on lan"],
    ),
    "stray route": (
        "ip -n a route add 10.7.0.0/16 via 10.1.0.3",
        ["- route 10.7.0.0/16 via 10.1.0.3 dev eth0 in a"],
    ),
    "prefix length changed": (
        (
            "ip -n c address add 10.1.0.4/25 dev eth0 && ip -n c address del 10.1.0.4/24 dev eth0 "
            "&& ip -n c route replace default via 10.1.0.1 dev eth0"
        ),
        ["- address 10.1.0.4/25 on eth0 in c", "+ address 10.1.0.4/24 on eth0 in c"],
    ),
    "mtu changed": ("ip -n a link set eth0 mtu 1300", ["~ veth veth-a (lan) to eth0 (a)"]),
    "mac changed": (
        "ip -n a link set eth0 address 02:00:00:00:00:99",
        ["~ veth veth-a (lan) to eth0 (a)"],
    ),
    "port taken out": ("ip link set veth-a nomaster", ["~ veth veth-a (lan) to eth0 (a)"]),
    "port down": ("ip link set veth-a down", ["~ veth veth-a (lan) to eth0 (a)"]),
    "lo down": ("ip -n a link set lo down", ["+ lo of a"]),
    "sysctl changed": (
        "ip netns exec a sysctl -qw net.ipv4.ip_forward=0",
        ["~ forwarding of IPv4 in a"],
    ),
    "hosts file changed": (
        "echo x > /run/bascule/demo/etc/lan/hosts",
        ["~ file /run/bascule/demo/etc/lan/hosts"],
    ),
    "names removed": ("rm /etc/netns/b", ["+ link /etc/netns/b to /run/bascule/demo/etc/lan"]),
    "bridge deleted": (
        "ip link del lan",
        [
            "+ bridge lan mtu 1400",
            "+ address 10.1.0.1/24 on lan",
            "+ address fd00:1::1/64 on lan",
            "~ veth veth-a (lan) to eth0 (a)",
            "~ veth veth-b (lan) to eth0 (b)",
            "~ veth veth-c (lan) to eth0 (c)",
        ],
    ),
    "namespace gone": (
        "ip netns del c && while ip link show veth-c >/dev/null 2>&1; do sleep 0.01; done",
        [
            "+ namespace c",
            "+ veth veth-c (lan) to eth0 (c)",
            "+ lo of c",
            "+ address 10.1.0.4/24 on eth0 in c",
            "+ address fd00:1::4/64 on eth0 in c",
            "+ route default via 10.1.0.1 dev eth0 in c",
            "+ route default via fd00:1::1 dev eth0 in c",
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen_and_repaired(lab: World, damage: str) -> None:
    """The plan shows exactly the damage, `up` repairs it, and a process in another node goes on."""
    command, expected = DAMAGE[damage]
    expected = _with_the_table(lab, damage, expected)
    before = lab.snapshot(exclude=STATE)
    with subprocess.Popen(["ip", "netns", "exec", "b", "sleep", "60"]) as witness:
        try:
            lab.run("sh", "-ec", command)
            assert changes(lab, "lab.yaml") == expected
            bascule(lab, "up", "lab.yaml")
            assert witness.poll() is None
        finally:
            witness.kill()
    assert difference(before, lab.snapshot(exclude=STATE)) in (
        "",
        "the same lines, in another order",
    )
    assert changes(lab, "lab.yaml") == []
    assert bascule(lab, "ping").returncode == 0


def _with_the_table(world: World, damage: str, expected: list[str]) -> list[str]:
    """Older kernels (seen on 6.12) take the device out of a chain at its ingress, or the chain: the
    table has changed, too."""
    if damage != "bridge deleted" or not has("nft"):
        return expected
    chain = "chain c { type filter hook ingress device gone priority 0; }"
    script = f"""
    ip link add gone type bridge
    nft 'table inet t {{ {chain}; }}'
    ip link del gone
    nft list table inet t
    """
    if "gone" in world.run("unshare", "--net", "sh", "-ec", script).stdout:
        return expected
    return [*expected[:3], "~ nft table inet and bridge bascule-demo", *expected[3:]]


EDITS = {
    # The new address is a secondary of the old one, and the default route goes with the last
    # address: both have to survive.
    "another address": (
        LAB.replace("  b: [lan]", "  b: {networks: {lan: {address: 10.1.0.99}}}"),
        {
            "~ file /run/bascule/demo/etc/lan/hosts",
            "~ veth veth-b (lan) to eth0 (b)",
            "- address 10.1.0.3/24 on eth0 in b",
            "+ address 10.1.0.99/24 on eth0 in b",
        },
    ),
    "a node more": (
        LAB + "  d: [lan]\n",
        {
            "~ file /run/bascule/demo/etc/lan/hosts",
            "+ namespace d",
            "+ veth veth-d (lan) to eth0 (d)",
            "+ lo of d",
            "+ address 10.1.0.5/24 on eth0 in d",
            "+ address fd00:1::5/64 on eth0 in d",
            "+ route default via 10.1.0.1 dev eth0 in d",
            "+ route default via fd00:1::1 dev eth0 in d",
            "+ link /etc/netns/d to /run/bascule/demo/etc/lan",
        },
    ),
    "a node less": (
        LAB.replace("  b: [lan]\n", ""),
        {
            "~ file /run/bascule/demo/etc/lan/hosts",
            "- namespace b",
            "- veth veth-b (lan) to eth0 (b)",
            "- lo of b",
            "- address 10.1.0.3/24 on eth0 in b",
            "- address fd00:1::3/64 on eth0 in b",
            "- route default via 10.1.0.1 dev eth0 in b",
            "- route default via fd00:1::1 dev eth0 in b",
            "- link /etc/netns/b to /run/bascule/demo/etc/lan",
        },
    ),
    "another mtu": (
        LAB.replace("1400", "1450"),
        {
            "~ bridge lan mtu 1450",
            "~ veth veth-a (lan) to eth0 (a)",
            "~ veth veth-b (lan) to eth0 (b)",
            "~ veth veth-c (lan) to eth0 (c)",
        },
    ),
    "no sysctl": (
        LAB.replace(", sysctls: {net.ipv4.ip_forward: 1}", ""),
        {"- forwarding of IPv4 in a, with the settings that it changed"},
    ),
    "another interface name": (
        LAB.replace("  b: [lan]", "  b: {networks: {lan: {interface: wan0}}}"),
        {
            "- veth veth-b (lan) to eth0 (b)",
            "+ veth veth-b (lan) to wan0 (b)",
            "- address 10.1.0.3/24 on eth0 in b",
            "- address fd00:1::3/64 on eth0 in b",
            "+ address 10.1.0.3/24 on wan0 in b",
            "+ address fd00:1::3/64 on wan0 in b",
            "+ route default via 10.1.0.1 dev wan0 in b",
            "+ route default via fd00:1::1 dev wan0 in b",
        },
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_only_what_differs(lab: World, edit: str) -> None:
    """The plan is the difference; after it the lab is as a fresh one from the new file."""
    text, expected = EDITS[edit]
    Path("lab.yaml").write_text(text)
    assert set(changes(lab, "lab.yaml")) == expected
    bascule(lab, "up", "lab.yaml")
    assert changes(lab, "lab.yaml") == []
    assert bascule(lab, "ping").returncode == 0


def test_a_removed_sysctl_goes_back_to_what_it_was(lab: World) -> None:
    """The value from before bascule is kept in the record."""
    Path("lab.yaml").write_text(EDITS["no sysctl"][0])
    bascule(lab, "up", "lab.yaml")
    assert (
        lab.run("ip", "netns", "exec", "a", "sysctl", "-n", "net.ipv4.ip_forward").stdout == "0\n"
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_down_restores_the_state_before(world: World, example: Path) -> None:
    """Links, addresses, routes, neighbours, nft ruleset, sysctls, mounts and files."""
    before = world.snapshot(exclude=())
    bascule(world, "up", example)
    bascule(world, "ping", check=False)
    assert difference(before, world.snapshot(exclude=())) != ""
    bascule(world, "down", "--all")
    assert difference(before, world.snapshot(exclude=())) == ""


def test_down_spares_what_others_made(world: World) -> None:
    """Namespaces, bridges, rules and files of other people survive byte for byte."""
    world.run(
        "sh",
        "-ec",
        (
            "ip netns add other; ip link add br9 type bridge; nft add table inet mine; mkdir -p "
            "/etc/netns/other"
        ),
    )
    Path("/etc/netns/other/hosts").write_text("127.0.0.1 localhost\n")
    before = world.snapshot(exclude=())
    bascule(world, "up", SEED)
    bascule(world, "down", "docker-bridge")
    assert difference(before, world.snapshot(exclude=())) == ""


def test_two_labs_side_by_side(world: World) -> None:
    """Taking one away leaves the other as it is."""
    bascule(world, "up", SEED)
    before = world.snapshot(exclude=STATE)
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml")
    bascule(world, "down", "demo")
    assert difference(before, world.snapshot(exclude=STATE)) == ""
    assert bascule(world, "ping", "ns1", "ns2").returncode == 0


def test_down_tells_of_processes_that_still_run(lab: World) -> None:
    """They keep their namespace, not its links; the machine is clean all the same."""
    with subprocess.Popen(["ip", "netns", "exec", "b", "sleep", "60"]) as witness:
        while "sleep" not in Path(f"/proc/{witness.pid}/comm").read_text():
            pass
        said = bascule(lab, "down", "demo").stderr
        assert f"sleep (process {witness.pid}) still runs in b" in said
        assert sorted(link["ifname"] for link in lab.ip_json("link")) == links_of_a_new_one()
        witness.kill()
