"""Where less is allowed than on a machine of one's own, as in containers: what can't be is told
before anything is touched, with the call and what to do, by `up`, `plan` and `doctor` alike; what
can be done without is done without."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.engine import doctor
from bascule.errors import InputError
from bascule.host import abilities, dnsmasq, process
from bascule.kernel.program import DNSMASQ
from bascule.plan import render
from helpers import SEED, bascule
from questions import NOERROR, ask, soon
from sandbox import BASCULE, World, require

LAB: dict[str, Any] = {
    "name": "box",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
DOCKERS = (  # what `docker run` leaves to root (moby, profiles and oci/defaults)
    *(
        "chown",
        "dac_override",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "net_bind_service",
        "net_raw",
        "sys_chroot",
    ),
    *("mknod", "audit_write", "setfcap"),
)
CALLS = {
    "x86_64": {
        "unshare": 272,
        "mount": 165,
        "setns": 308,
        "socket": 41,
        "umount2": 166,
        "sethostname": 170,
        "pidfd_open": 434,
        "memfd_create": 319,
    },
    "aarch64": {
        "unshare": 97,
        "mount": 40,
        "setns": 268,
        "socket": 198,
        "umount2": 39,
        "sethostname": 161,
        "pidfd_open": 434,
        "memfd_create": 279,
    },
}
# A filter as a container has it (seccomp(2)): EPERM for these calls, then the command.
DENY = """
import ctypes, os, struct, sys
numbers = [int(text) for text in sys.argv[1].split(",")]
tests = [(0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
rules = [(0x20, 0, 0, 0), *tests, (6, 0, 0, 0x7fff0000), (6, 0, 0, 0x00050001)]
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
held = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules), ctypes.addressof(held))), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""  # noqa: E501


def _only(*capabilities: str) -> list[str]:
    """The words before a command that leave it these capabilities."""
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", "--bounding-set", kept, "--inh-caps", kept, "--"]


def _without(*capabilities: str) -> list[str]:
    taken = ",".join(f"-{name}" for name in capabilities)
    return ["setpriv", "--bounding-set", taken, "--inh-caps", taken, "--"]


def denied(*calls: str) -> list[str]:
    if platform.machine() not in CALLS:
        pytest.skip("the numbers of the system calls are known for x86_64 and aarch64")
    numbers = CALLS[platform.machine()]
    return [sys.executable, "-c", DENY, ",".join(str(numbers[call]) for call in calls)]


FORBIDDEN = {
    "Docker's capabilities": (
        _only(*DOCKERS),
        ["lacks CAP_NET_ADMIN (netlink(7)) and CAP_SYS_ADMIN (unshare(2), setns(2), mount(2))"],
    ),
    "no CAP_SYS_ADMIN": (
        _without("sys_admin"),
        ["lacks CAP_SYS_ADMIN (unshare(2), setns(2), mount(2));"],
    ),
    "no CAP_NET_ADMIN": (_without("net_admin"), ["lacks CAP_NET_ADMIN (netlink(7));"]),
    "no mount(2)": (denied("mount"), ["mount(2): Operation not permitted; a security rule"]),
    "no unshare(2)": (
        denied("unshare"),
        [
            "unshare(2) of a network namespace: Operation",
            "unshare(2) of a mount namespace: Operation",
        ],
    ),
    "no setns(2)": (denied("setns"), ["setns(2): Operation not permitted; a security rule"]),
    "no umount(2)": (denied("umount2"), ["umount(2): Operation not permitted; a security rule"]),
    "no sethostname(2)": (
        denied("sethostname"),
        ["sethostname(2): Operation not permitted; a security rule"],
    ),
    "no pidfd_open(2)": (
        denied("pidfd_open"),
        ["pidfd_open(2): Operation not permitted; a security rule"],
    ),
    "no memfd_create(2)": (
        denied("memfd_create"),
        ["memfd_create(2): Operation not permitted; a security rule"],
    ),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_is_forbidden_is_told_before_anything_is_touched(world: World, case: str) -> None:
    """Which call, and what to do; the same by `up`, `plan` and `doctor`."""
    words, expected = FORBIDDEN[case]
    before = machine.state()
    for command in (["up", SEED, "--world", "host"], ["plan", SEED, "--world", "host"]):
        done = world.run(*words, BASCULE, *command, check=False)
        assert done.returncode == 1, done
        for text in (*expected, "--privileged", "or use --world private"):
            assert text in done.stderr, done.stderr
        assert "a system call" not in done.stderr
        assert "Traceback" not in done.stderr
    found = json.loads(world.run(*words, BASCULE, "doctor", "--json", check=False).stdout)
    told = "\n".join(
        f"{row['found']}; {row['advice']}"
        for row in found
        if row["what"] == "host world" and row["verdict"] == "no"
    )
    assert all(text in told for text in expected), told
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("case", ["no CAP_SYS_ADMIN", "no mount(2)", "no setns(2)"])
def test_a_command_in_a_node_that_may_not_be_entered(world: World, case: str) -> None:
    """`exec` says which call, and where to look further; also in a lab that is up."""
    bascule(world, "up", SEED)
    done = world.run(*FORBIDDEN[case][0], BASCULE, "exec", "ns1", "true", check=False)
    assert done.returncode == 125
    assert "ip netns exec ns1 (in ns1): " in done.stderr
    assert any(f"{call}(2)" in done.stderr for call in ("setns", "unshare", "mount"))
    assert "Operation not permitted; `bascule doctor`" in done.stderr
    bascule(world, "down", "docker-bridge")


def test_no_netlink_at_all(world: World) -> None:
    """The call is named, be it one that nobody expects to fail."""
    done = world.run(*denied("socket"), BASCULE, "plan", SEED, "--world", "host", check=False)
    assert done.returncode == 1
    assert "socket(2) of netlink: Operation not permitted; `bascule doctor`" in done.stderr


def _read_only(world: World, place: str) -> None:
    world.run("mount", "--bind", place, place)
    world.run("mount", "-o", "remount,bind,ro", place)


def _writable(world: World, place: str) -> None:
    world.run("mount", "-o", "remount,bind,rw", place)


def test_etc_is_read_only(world: World) -> None:
    """The lab comes up, `exec` shows each node its files, `plan` says what `ip netns exec` does
    not. Once /etc can be written to, the links are where they belong."""
    _read_only(world, "/etc")
    before = machine.state()
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    assert not lab.plan()
    assert [
        note
        for note in lab.plan().notes
        if "/etc can't be written to: `bascule exec` finds nodes' files in /run/etc-netns" in note
    ]
    assert "10.1.0.3\tb b.lan" in bascule(world, "exec", "a", "cat", "/etc/hosts").stdout
    assert "10.1.0.3" not in world.run("ip", "netns", "exec", "a", "cat", "/etc/hosts").stdout
    lab.down()
    assert machine.difference(before, machine.state()) == ""
    lab.up()
    _writable(world, "/etc")
    signs = [f"{change.sign} {change.fact.describe()}" for change in lab.plan().changes]
    assert sorted(signs) == sorted(
        f"{sign} link {folder}/{node} to /run/bascule/box/etc/lan"
        for sign, folder in (("+", "/etc/netns"), ("-", "/run/etc-netns"))
        for node in ("a", "b")
    )
    lab.up()
    assert "10.1.0.3" in world.run("ip", "netns", "exec", "a", "cat", "/etc/hosts").stdout
    assert not os.path.exists("/run/etc-netns") or os.listdir("/run/etc-netns") == []
    lab.down()
    world.run("mount", "-o", "remount,bind,ro", "/etc")
    assert machine.difference(before, machine.state()) == ""


def test_etc_becomes_read_only(world: World) -> None:
    """While the lab is up: its commands go on, a changed node has its new files, and the old link
    does not hide them."""
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    _read_only(world, "/etc")
    more = {
        **LAB,
        "networks": {**LAB["networks"], "wan": {"subnet": "10.2.0.0/24"}},
        "nodes": {"a": ["lan", "wan"], "c": ["wan"]},
    }
    Lab.from_data(more, world="host").up()
    assert not Lab.from_data(more, world="host").plan()
    for node in ("a", "c"):
        assert "10.2.0.3\tc c.wan" in bascule(world, "exec", node, "cat", "/etc/hosts").stdout
    lab.down()
    _writable(world, "/etc")
    lab.up()
    lab.down()
    assert not os.path.exists("/etc/netns") or os.listdir("/etc/netns") == []


def test_a_folder_of_the_user_s_in_an_etc_that_is_read_only(world: World) -> None:
    """His files count, file by file, and the lab's others are seen beside them."""
    Path("/etc/netns/a").mkdir(parents=True)
    Path("/etc/netns/a/resolv.conf").write_text("nameserver 192.0.2.99\n")
    _read_only(world, "/etc")
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    assert not lab.plan()
    assert (
        bascule(world, "exec", "a", "cat", "/etc/resolv.conf").stdout == "nameserver 192.0.2.99\n"
    )
    assert "10.1.0.3\tb b.lan" in bascule(world, "exec", "a", "cat", "/etc/hosts").stdout
    lab.down()
    assert os.listdir("/etc/netns/a") == ["resolv.conf"]


def _masked(world: World, place: str) -> None:
    """As a container's runtime covers what is nobody's business there."""
    world.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place)


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.parametrize("cover", [_read_only, _masked], ids=["read-only", "masked"])
def test_settings_can_t_be_changed(world: World, kind: str, cover: Any) -> None:
    """/proc/sys as containers have it: what a lab can do without is left out, and `plan` says so;
    nothing else is different."""
    cover(world, "/proc/sys")
    lab = Lab.from_data(LAB, world=kind)
    lab.up()
    told = lab.plan()
    assert not told, render.text(told)
    if kind == "host" and cover is _read_only:
        assert [
            note
            for note in told.notes
            if "/proc/sys can't be written to: bridges and nodes accept router" in note
        ]
    for target in ("10.1.0.3", "fd00:1::3"):
        soon(
            lambda target=target: (
                lab.node("a").run(["ping", "-qc1", "-W1", target], capture_output=True).returncode
                == 0
            )
        )  # type: ignore[misc]
    lab.down()


SETTINGS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.eth0.rp_filter": "0",
    "net.ipv6.conf.eth0.accept_ra_pinfo": "1",
}


def test_settings_that_are_right_are_not_written(world: World) -> None:
    """A new namespace has them by itself. Others are refused, all at once, before anything is
    touched."""
    usual = {
        key: world.run("unshare", "-n", "sysctl", "-n", _of_default(key)).stdout.strip()
        for key in SETTINGS
    }
    wrong = {key: "1" if value == "0" else "0" for key, value in usual.items()}
    _read_only(world, "/proc/sys")
    before = machine.state()

    def lab(settings: dict[str, str]) -> Lab:
        return Lab.from_data(
            {**LAB, "nodes": {"a": {"networks": ["lan"], "sysctls": settings}, "b": ["lan"]}},
            world="host",
        )

    lab(usual).up()
    assert not lab(usual).plan()
    with pytest.raises(InputError) as refused:
        lab(wrong).up()
    assert not lab(usual).plan()
    lab(usual).down()
    with pytest.raises(InputError) as refused_again:
        lab(wrong).up()
    for error in (refused, refused_again):
        for key, value in wrong.items():
            assert f"{key} can't be set to {value} in a" in str(error.value)
        assert (
            "/proc/sys can't be written to: leave these out, or have what is the machine's "
            "set beforehand"
        ) in str(error.value)
    assert machine.difference(before, machine.state()) == ""


def _of_default(key: str) -> str:
    return key.replace("eth0", "default")


@pytest.mark.parametrize("forwards", [True, False])
def test_forwarding_of_the_machine(world: World, forwards: bool) -> None:
    """Where it is on already, as in Docker's containers, `nat` needs nothing that can't be had;
    where not, it is refused."""
    require("nft")
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        Path(f"/proc/sys/{key}").write_text("1" if forwards else "0")
    _read_only(world, "/proc/sys")
    before = machine.state()
    lab = Lab.from_data(
        {
            "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": False}},
            "nodes": {"a": ["lan"]},
        },
        world="host",
    )
    if forwards:
        lab.up()
        assert not lab.plan()
        lab.down()
    else:
        with pytest.raises(InputError, match=r"net\.ipv4\.ip_forward"):
            lab.up()
    assert machine.difference(before, machine.state()) == ""


def test_run_is_read_only(world: World) -> None:
    """Neither namespaces nor state can be kept: one line each, and `doctor` says the same."""
    _read_only(world, "/run")
    done = bascule(world, "up", SEED, check=False)
    assert done.returncode == 1
    assert "/run/bascule: Read-only file system; set BASCULE_STATE_DIR" in done.stderr
    state = str(Path("state").absolute())
    done = bascule(world, "up", SEED, check=False, env={**os.environ, "BASCULE_STATE_DIR": state})
    assert (
        "/run/netns, where nodes' namespaces are pinned, can't be written to; mount a tmpfs on /run"
        in done.stderr
    )
    assert (
        "/run/netns, where nodes' namespaces are pinned, can't be written to"
        in bascule(world, "doctor", check=False).stdout
    )


def test_a_server_that_can_t_become_another_user(world: World) -> None:
    """Without the capabilities for that it stays who it is, and answers."""
    require("dnsmasq", "nft")
    Path("lab.yaml").write_text(
        "name: box\nnetworks: {lan: {subnet: 10.1.0.0/24, dns: true}}\nnodes: {a: [lan], b: "
        "[lan]}\n"
    )
    world.run(*_without("setuid", "setgid"), BASCULE, "up", "lab.yaml", "--world", "host")
    assert ask("a", "10.1.0.1", "b") == (NOERROR, {"10.1.0.3"})
    assert (
        "nothing to do"
        in world.run(*_without("setuid", "setgid"), BASCULE, "plan", "lab.yaml").stdout
    )
    bascule(world, "down", "box")


def test_on_a_machine_of_one_s_own_nothing_is_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No child is forked to find out what no rule forbids."""
    monkeypatch.setattr(abilities, "_is_restricted", lambda: False)
    monkeypatch.setattr("bascule.syscalls.fork", lambda: pytest.fail("forked"))
    assert abilities.lacks() == []


CONFINED = """#!/bin/sh
# Like dnsmasq under an AppArmor profile that does not let it read its configuration.
test -e /run/bascule/doctor/dns/out.conf || exit 9
echo "dnsmasq: cannot read /run/bascule/doctor/dns/out.conf: Permission denied" >&2
exit 3
"""


def test_a_security_module_confines_dnsmasq(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it may not read what a lab writes for it: `plan` and `doctor` say so with the lines to
    add. Networks that only would have had a server go without, those that ask for one are
    refused."""
    require("nft")
    assert not dnsmasq.is_confined()
    monkeypatch.setattr(dnsmasq, "_has_profile", lambda: True)
    if process.path_of(DNSMASQ) is not None:
        assert not dnsmasq.is_confined()  # it is tried, and may
    place = Path("confined").absolute()
    place.write_text(CONFINED)
    place.chmod(0o755)
    monkeypatch.setattr(process, "path_of", lambda _program: str(place))
    before = machine.state()
    network: dict[str, Any] = {"subnet": "10.1.0.0/24", "nat": True}
    lab = Lab.from_data({"networks": {"lan": network}, "nodes": {"a": ["lan"]}}, world="host")
    lab.up()
    (note,) = [note for note in lab.plan().notes if "AppArmor" in note]
    assert "/run/bascule/*/dns/{,**} r," in note
    assert "apparmor_parser -r /etc/apparmor.d/usr.sbin.dnsmasq" in note
    assert [found.advice for found in doctor.examine() if found.what == "dnsmasq"] == [
        DNSMASQ.unreadable
    ]
    lab.down()
    assert machine.difference(before, machine.state()) == ""
    with pytest.raises(InputError, match="`dns` needs dnsmasq, and AppArmor's profile"):
        Lab.from_data(
            {"networks": {"lan": {**network, "dns": True}}, "nodes": {"a": ["lan"]}}, world="host"
        ).up()
    assert machine.difference(before, machine.state()) == ""
