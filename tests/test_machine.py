"""What the crash tests compare sees all that a run could leave behind, known to bascule or not."""

from __future__ import annotations

import shlex
import struct
import subprocess
import time

import pytest

import by_itself
import dumps
import machine
from bascule.api import Lab
from sandbox import World, require

DATA = {
    "name": "seen",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
# What a system may lack of it; the commands that leave it.
NEEDS = {
    "a queue that shapes": "qdisc:tbf",
    "clsact": "qdisc:clsact",
    "a filter of clsact": "qdisc:clsact",
    "a filter of ingress": "qdisc:ingress",
    "a class": "qdisc:htb",
}
LEFT: dict[str, tuple[str, ...]] = {
    "a queue that shapes": (
        "tc qdisc add dev one root handle 1: tbf rate 1mbit burst 10k latency 10ms",
    ),
    "clsact": ("tc qdisc add dev one clsact",),
    "a filter of clsact": (
        "tc qdisc add dev one clsact",
        "tc filter add dev one egress protocol ip pref 7 bpf bytecode '1,6 0 0 0'",
    ),
    "a filter of ingress": (
        "tc qdisc add dev one ingress",
        "tc filter add dev one ingress protocol ip pref 7 bpf bytecode '1,6 0 0 0'",
    ),
    "a class": (
        "tc qdisc add dev one root handle 1: htb",
        "tc class add dev one parent 1: classid 1:5 htb rate 1mbit",
    ),
    "a rule of routing": ("ip rule add from 198.51.100.7 lookup 77",),
    "a rule of routing, IPv6": ("ip -6 rule add from 2001:db8::7 lookup 77",),
    "a route in another table": ("ip route add 198.51.100.0/24 dev one table 77",),
    "a route in the local table": ("ip route add local 198.51.100.7 dev one",),
    "a route of several next hops": (
        "ip route add 198.51.100.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.10 weight 3",
    ),
    "a next hop": ("ip nexthop add id 77 via 192.0.2.9 dev one",),
    "a permanent neighbour": (
        "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev one nud permanent",
    ),
    "an address answered for": ("ip neigh add proxy 192.0.2.77 dev one",),
    "an entry of a bridge": ("bridge fdb add 02:00:00:00:00:77 dev port master static",),
    "an entry of an interface": ("bridge fdb add 02:00:00:00:00:77 dev one self permanent",),
    "a group of a bridge": ("bridge mdb add dev bridge0 port port grp 239.1.2.3 permanent",),
    "an address's label": ("ip addrlabel add prefix 2001:db8::/32 label 77",),
    "a link-local address of somebody's": ("ip address add fe80::77/64 dev one",),
    "another queue length": ("ip link set one txqueuelen 77",),
    "another group": ("ip link set one group 7",),
    "another name beside": ("ip link property add dev one altname another",),
    "no IPv6 addresses by itself": ("ip link set one addrgenmode none",),
    "a setting of a bridge": ("ip link set bridge0 type bridge mcast_snooping 0",),
    "a setting of a port": ("bridge link set dev port learning off",),
    "a table of the family netdev": (
        "nft add table netdev left",
        "nft add chain netdev left in { type filter hook ingress device one priority 0 ; }",
    ),
    "a table of the family arp": ("nft add table arp left",),
    "a rule": ("nft insert rule inet theirs chain1 ip saddr 192.0.2.7 drop",),
    "an element": ("nft add element inet theirs set1 { 192.0.2.7 }",),
    "a counter": ("nft add counter inet theirs left",),
    "a comment": ('nft add chain inet theirs left { comment "left" ; }',),
    "a setting of an interface": ("sysctl -qw net.ipv4.conf.one.rp_filter=2",),
    "a setting of an interface, IPv6": ("sysctl -qw net.ipv6.conf.one.router_solicitations=7",),
    "a setting of its neighbours": ("sysctl -qw net.ipv4.neigh.one.gc_stale_time=77",),
    "a setting for all interfaces": ("sysctl -qw net.ipv6.conf.default.accept_ra=0",),
    "another setting": ("sysctl -qw net.ipv4.tcp_syn_retries=3",),
    "a value of netconf": ("sysctl -qw net.ipv4.conf.one.bc_forwarding=1",),
    "a chosen number of a namespace": ("ip netns set theirs 777",),
    "a namespace": ("ip netns add left",),
    "a mount": ("mount -t tmpfs left /var/lib",),
    "another mount's options": ("mount -o remount,bind,ro /mnt",),
    "a file in /etc": ("touch /etc/left",),
    "a mode in /etc": ("chmod 600 /etc/theirs",),
    "a file's content in /etc": ("sh -c 'echo left >> /etc/theirs'",),
    "a link in /var/lib": ("ln -s nowhere /var/lib/left",),
    "a folder in /run": ("mkdir /run/left",),
}


@pytest.fixture
def stage(world: World) -> World:
    """A machine with a bridge, interfaces, a pinned namespace, and rules of somebody's."""
    for line in (
        "ip link add one type veth peer name two",
        "ip link set one address 02:00:00:00:00:01 up",
        "ip link set two address 02:00:00:00:00:02 up",
        "ip address add 192.0.2.1/24 dev one",
        "ip link add bridge0 type bridge",
        "ip link add port type veth peer name other",
        "ip link set port master bridge0 up",
        "ip link set bridge0 up",
        "ip netns add theirs",
        "nft add table inet theirs",
        "nft add chain inet theirs chain1",
        "nft add set inet theirs set1 { type ipv4_addr ; }",
        "nft add rule inet theirs chain1 ip daddr { 192.0.2.8, 192.0.2.9 } counter accept",
        "nft add rule inet theirs chain1 ip saddr @set1 drop",
        "mount -t tmpfs theirs /mnt",
        "touch /etc/theirs",
    ):
        _do(world, line)
    world.snapshot()  # waits for the kernel to have caught up with itself
    return world


def _do(world: World, line: str) -> None:
    tool, _, rest = line.partition(" ")
    world.run(*((tool, rest) if tool == "nft" else shlex.split(line)))


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_is_told(stage: World, what: str) -> None:
    """Each is something that bascule does not make, or not so."""
    if what in NEEDS:
        require(NEEDS[what])
    *first, last = LEFT[what]
    for line in first:
        _do(stage, line)
    before = machine.state()
    assert machine.difference(before, machine.state()) == "", "it changes by itself"
    _do(stage, last)
    assert machine.difference(before, machine.state()) != ""


def test_a_process_is_told(world: World) -> None:
    """And what is in the namespace that it alone keeps."""
    before = machine.state()
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link add left type bridge; read x"],
        stdin=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 10
        told = ""
        while " links left " not in told or "processes: sh -c ip link" not in told:
            assert time.monotonic() < deadline, told
            told = machine.difference(before, machine.state())
        process.communicate()
    assert machine.difference(before, machine.state()) == ""


def test_a_setting_of_the_machine_is_told(stage: World) -> None:
    """Those that are no network's are all the machine's: what is read of them is tried here."""
    before = machine.state()
    keys = {"kernel/hostname", "kernel/pid_max", "vm/overcommit_memory", "fs/file-max"}
    assert keys <= set(before["settings"])


def test_in_a_node(world: World) -> None:
    """What is left in a pinned namespace is told with its name."""
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    world.snapshot()
    before = machine.state()
    for line in (
        "ip -n a rule add from 198.51.100.7 lookup 77",
        "ip netns exec b nft add table netdev left",
    ):
        _do(world, line)
    rows = machine.difference(before, machine.state())
    lab.down()
    assert "+  namespaces a rules: " in rows
    assert "+  namespaces b nft tables: " in rows
    assert len(rows.splitlines()) == 3, rows  # the third: that there was none


def test_an_unknown_attribute_and_message_are_told() -> None:
    """They are compared by number."""
    link = struct.pack("=BxHiII", 0, 1, 7, 0x1003, 0)
    known, unknown = (struct.pack("=HHI", 8, number, 7) for number in (13, 777))
    assert dumps.link(link + known, {}) == "1 1003 13=07000000"
    assert dumps.link(link + known + unknown, {}) == "1 1003 13=07000000 777=07000000"
    nested = struct.pack("=HH", 12, 0x8000 | 777) + unknown
    assert dumps.link(link + nested, {}) == "1 1003 777=[777=07000000]"


def test_nothing_changes_by_itself(stage: World) -> None:
    """Packets, timers, ages: two seconds later all is the same."""
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    world = stage
    world.snapshot()
    before = machine.state()
    world.run("ip", "netns", "exec", "a", "ping", "-c", "3", "-i", "0.3", "10.1.0.1")
    time.sleep(2)
    assert machine.difference(before, machine.state()) == ""
    lab.down()


def test_each_exception_has_its_reason() -> None:
    """And those that are numbers of attributes are numbers."""
    for numbers in by_itself.LEFT_OUT.values():
        for path, reason in numbers.items():
            assert all(number.isdigit() for number in path.split("/")), path
            assert reason
    assert all(by_itself.SYSCTLS.values())
    assert all(by_itself.NOT_ASKED.values())
