"""The throwaway machines keep their promises: to the real machine, and to each other."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import sandbox
from sandbox import World, difference, links_of_a_new_one

BRIDGE = "bascule-test0"


def test_pytest_is_off_the_machine() -> None:
    """Even a test that asks for nothing can't touch the machine's network."""
    assert os.readlink("/proc/self/ns/net") != os.environ[sandbox.MACHINE]
    assert os.geteuid() == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_worlds_do_not_meet(world: World, turn: int) -> None:
    """Two tests make the same bridge, the same namespace and the same files."""
    assert sorted(row["ifname"] for row in world.ip_json("link")) == links_of_a_new_one()
    world.run("ip", "link", "add", BRIDGE, "type", "bridge")
    world.run("ip", "netns", "add", "ns1")
    os.makedirs("/etc/netns/ns1")
    Path("/etc/netns/ns1/hosts").write_text(f"127.0.0.1 turn{turn}\n")
    assert "turn" in world.run("ip", "netns", "exec", "ns1", "cat", "/etc/hosts").stdout


def test_world_is_another_network_namespace(world: World) -> None:
    """Neither the machine's nor that of pytest, for this thread and for its processes."""
    here = world.run("readlink", "/proc/self/ns/net").stdout.strip()
    assert here == world.network == os.readlink("/proc/self/ns/net")
    assert here not in (os.environ[sandbox.MACHINE], os.environ[sandbox.SANDBOX])
    # beside links there is a file, bonding_masters, where bonding is loaded
    shown = sorted(path.name for path in Path("/sys/class/net").iterdir() if path.is_dir())
    assert world.notes or shown == links_of_a_new_one()


def test_leaving_restores_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces, the current folder, /run and /etc are what they were."""
    monkeypatch.chdir(tmp_path)
    before = (
        os.readlink("/proc/self/ns/net"),
        os.readlink("/proc/self/ns/mnt"),
        os.listdir("/run"),
        os.listdir("/etc"),
    )
    with World() as world:
        world.run("ip", "netns", "add", "ns1")
        os.makedirs("/etc/netns/ns1")
        os.chdir("/")
    assert (
        os.readlink("/proc/self/ns/net"),
        os.readlink("/proc/self/ns/mnt"),
        os.listdir("/run"),
        os.listdir("/etc"),
    ) == before
    assert Path.cwd() == tmp_path


def test_leaving_tells_of_processes(world: World) -> None:
    """A process that lives on is named and killed, wherever it has hidden; one that ends in time is
    none."""
    with pytest.raises(AssertionError, match="sleep 1234"), World() as inner:
        inner.run(
            "sh",
            "-c",
            "setsid unshare --net --fork --pid --kill-child sleep 1234 >/dev/null 2>&1 &",
        )
        inner.run("sh", "-c", "sleep 0.1 >/dev/null 2>&1 &")
    assert os.readlink("/proc/self/ns/net") == world.network


def test_namespaces_are_seen_by_iproute2(world: World) -> None:
    """/run/netns is a place like any other to ``ip netns``."""
    world.run("ip", "netns", "add", "ns1")
    assert world.run("ip", "netns", "list").stdout.split() == ["ns1"]
    assert "lo" in world.run("ip", "netns", "exec", "ns1", "ls", "/sys/class/net").stdout
    world.run("ip", "netns", "delete", "ns1")
    assert world.run("ip", "netns", "list").stdout == ""


def test_ordinary_user_has_no_privileges(world: World) -> None:
    """It is not root, can't change the network, can write at home, and can make a user namespace of
    its own."""
    assert world.as_ordinary_user("id", "-u").stdout.strip() != "0"
    assert (
        world.as_ordinary_user(
            "ip", "link", "add", BRIDGE, "type", "bridge", check=False
        ).returncode
        != 0
    )
    assert (
        world.as_ordinary_user(
            "sh", "-c", "touch $TMPDIR/x $XDG_RUNTIME_DIR/x && pwd"
        ).stdout.strip()
        == world.home
    )
    inside = "ip link add name br0 type bridge && ip -br link"
    assert (
        "br0"
        in world.as_ordinary_user(
            "unshare", "--user", "--map-root-user", "--net", "sh", "-c", inside
        ).stdout
    )
    assert world.as_ordinary_user(sys.executable, "-c", "import yaml").returncode == 0


def _set_up(world: World) -> None:
    """The tutorial's network by hand, with some more of each kind of state."""
    script = """
    ip netns add ns1
    ip link add br0 address 02:00:00:00:00:01 type bridge
    ip link add veth1 address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:03 netns ns1
    ip link set veth1 master br0
    ip link set veth1 up
    ip link set br0 up
    ip addr add 172.16.1.254/16 dev br0
    ip addr add fd00::1/64 dev br0
    ip -n ns1 link set eth0 up
    ip -n ns1 addr add 172.16.1.1/16 dev eth0
    ip -n ns1 route add default via 172.16.1.254
    ip -n ns1 neigh add 172.16.1.9 lladdr 02:00:00:00:00:09 dev eth0
    mkdir -p /etc/netns/ns1
    echo 172.16.1.1 ns1 >/etc/netns/ns1/hosts
    """  # noqa: E501
    world.run("sh", "-ec", script)
    if shutil.which("nft"):
        elements = "{ 10.0.0.1, 10.0.0.2 }"
        rules = f"add table ip t; add set ip t s {{ type ipv4_addr; elements = {elements}; }}"
        world.run("nft", f"{rules}; add chain ip t c; add rule ip t c counter accept")


def test_snapshots_of_like_worlds_are_equal() -> None:
    """Twice the same commands, twice the same state; indexes differ and are not told."""
    with World() as world:
        _set_up(world)
        first = world.snapshot()
    with World() as world:
        world.run("ip", "link", "add", "other", "type", "bridge")
        world.run("ip", "link", "delete", "other")
        _set_up(world)
        second = world.snapshot()
    assert difference(first, second) == ""
    assert first == second
    assert first["namespaces"]["host"]["links"]["veth1"]["peer"] == "ns1/eth0"
    assert first["namespaces"]["ns1"]["links"]["eth0"]["peer"] == "host/veth1"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("ip addr add 10.9.9.9/32 dev br0", "10.9.9.9"),
        ("ip -n ns1 addr add fd00::9/64 dev eth0", "fd00::9"),
        ("ip -n ns1 link set eth0 mtu 1400", "mtu: 1400"),
        ("ip link set veth1 nomaster", "master: br0"),
        ("ip link set veth1 type bridge_slave hairpin on", "hairpin"),
        ("ip route add 10.8.0.0/16 via 172.16.1.1", "10.8.0.0/16"),
        ("ip rule add from 10.7.0.0/16 table 7", "10.7.0.0"),
        ("ip -n ns1 neigh delete 172.16.1.9 dev eth0", "172.16.1.9"),
        ("ip netns add stray", "stray"),
        ("sysctl -w net.ipv4.ip_forward=1", "ip_forward: 1"),
        ("ip netns exec ns1 sysctl -w net.ipv6.conf.eth0.accept_ra=0", "accept_ra: 0"),
        ("nft delete table ip t", "accept"),
        ("echo x >>/etc/netns/ns1/hosts", "/etc/netns/ns1/hosts"),
        ("mkdir /run/stray", "/run/stray"),
        ("mount -t tmpfs stray /mnt", "/mnt tmpfs stray"),
    ],
)
def test_snapshot_notices(world: World, command: str, told: str) -> None:
    """Whatever was left behind or lost shows, by its name."""
    sandbox.require(command.split(maxsplit=1)[0])
    _set_up(world)
    before = world.snapshot()
    world.run("sh", "-c", command)
    assert told in difference(before, world.snapshot())


def test_snapshot_can_do_without_macs() -> None:
    """The kernel draws MAC addresses; two worlds then differ in nothing else."""
    found = []
    for _ in range(2):
        with World() as world:
            world.run(
                "sh",
                "-ec",
                "ip link add br0 type bridge; ip link set br0 up; ip link add v0 type veth peer v1",
            )
            world.run("sh", "-ec", "ip link set v0 up; ip link set v1 up")
            found.append((world.snapshot(), world.snapshot(macs=False)))
    assert "address" in difference(found[0][0], found[1][0])
    assert difference(found[0][1], found[1][1]) == ""


def test_etc_by_copy(world: World) -> None:
    """Where the kernel refuses an overlay, a copy of /etc does: the old files, and room for new
    ones."""
    before = sorted(os.listdir("/etc"))
    with World() as inner:
        hosts = Path("/etc/hosts").read_text()
        sandbox.cover_etc_by_copy()
        os.makedirs("/etc/netns/ns1")
        assert Path("/etc/hosts").read_text() == hosts
        inner.run("ls", "/etc/apt" if "apt" in before else "/etc")
    assert sorted(os.listdir("/etc")) == before
    assert world.network == os.readlink("/proc/self/ns/net")


def test_modules_are_there_before_the_first_test() -> None:
    """What a lab's rules need is no change that a test could find."""
    sandbox.require("nft")
    assert sandbox.load_modules() == ""
    assert Path("/proc/sys/net/netfilter/nf_conntrack_max").exists()


def test_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """It skips at home; in CI it fails unless the table gives a reason."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool"):
        sandbox.require("sh", "no-such-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool"):
        sandbox.require("no-such-tool")
    with pytest.raises(pytest.skip.Exception, match="for a reason"):
        sandbox.require("no-such-tool", allowed={"no-such-tool": "for a reason"})


def test_kernel_features_are_probed() -> None:
    """A kind of link that every kernel of interest has, and one that none has."""
    assert sandbox.has("link:bridge")
    assert not sandbox.has("link:no-such-kind")
    assert not sandbox.has("qdisc:no-such-kind")
