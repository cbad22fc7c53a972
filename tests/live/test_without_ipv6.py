"""`--without-ipv6`, with packets: a dual-stack lab on a machine without IPv6, and a lab that keeps
the choice."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule import api
from bascule.api import Lab
from bascule.errors import InputError
from helpers import as_json, bascule
from sandbox import World

LAB = """\
name: both
networks:
  lan: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
  six: {subnet: "fd00:6::/64"}
nodes:
  a: {networks: [lan, six], dns: [10.1.0.1, "fd00::53"]}
  b: {networks: [lan], extra_hosts: ["db:fd00::7"]}
"""
TOLD = (
    "networks that have nothing else: six",
    "subnets fd00:1::/64 of lan",
    "name servers fd00::53 of a",
    "extra hosts db of b",
)


def _pinged(world: World) -> list[dict[str, Any]]:
    """What `ping --json` tells."""
    told: list[dict[str, Any]] = json.loads(bascule(world, "ping", "--json", check=False).stdout)
    return told


@pytest.fixture(autouse=True)
def _file(world: World) -> None:
    Path("both.yaml").write_text(LAB)


def _has_ipv6(world: World, *nodes: str) -> bool:
    """Whether the world or a node has an address of IPv6, but for ::1."""
    found = world.ip_json("-6", "address")
    for node in nodes:
        found += world.ip_json("-n", node, "-6", "address")
    return any(each["ifname"] != "lo" for each in found if each.get("addr_info"))


@pytest.mark.parametrize("where", ["off", "on"])
def test_a_dual_stack_lab_without_ipv6(world: World, where: str) -> None:
    """On a machine where it is off the lab is refused, and the refusal names the way. With it,
    there and where it is on, IPv4 works, there is no IPv6 address, names have IPv4 ones, and all
    that was left out is told."""
    if where == "off":
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    before = machine.state()
    if where == "off":
        refused = bascule(world, "up", "both.yaml", check=False)
        assert refused.returncode == 2
        assert refused.stderr.endswith("--without-ipv6, or `ipv6: false` in its file\n")
        assert machine.difference(before, machine.state()) == ""
    told = "".join(f"bascule: without IPv6, left out: {each}\n" for each in TOLD)
    for command in ("check", "script"):
        assert bascule(world, command, "both.yaml", "--without-ipv6").stderr.startswith(told)
    script = bascule(world, "script", "both.yaml", "--without-ipv6").stdout
    assert "10.1.0.2" in script
    assert "fd00:" not in script
    assert bascule(world, "up", "both.yaml", "--without-ipv6").stderr.startswith(told)
    assert not _has_ipv6(world, *("a", "b") if where == "on" else ())
    assert bascule(world, "ping").returncode == 0
    assert _pinged(world)[0]["address"] == "10.1.0.3"
    names = world.run("ip", "netns", "exec", "b", "getent", "ahosts", "a").stdout
    assert names.split()[0] == "10.1.0.2"
    assert ":" not in names
    assert as_json(world, "plan", "both.yaml", "--without-ipv6")["changes"] == []
    bascule(world, "down", "both")
    assert machine.difference(before, machine.state()) == ""


def test_the_choice_is_the_labs(world: World) -> None:
    """What is added later has none either; `up` of the file without the option tells what differs,
    and makes it; and back."""
    bascule(world, "up", "both.yaml", "--without-ipv6")
    bascule(world, "node", "add", "c", "--network", "lan")
    assert bascule(world, "ping", "c", "a").stdout.count("10.1.0.2") == 1
    subnets = ("--subnet", "10.2.0.0/24", "--subnet", "fd00:2::/64")
    told = bascule(world, "network", "create", "dmz", *subnets).stderr
    assert "without IPv6, left out: subnets fd00:2::/64 of dmz\n" in told
    bascule(world, "node", "add", "d", "--network", "dmz")
    assert not _has_ipv6(world, "a", "c", "d")
    assert "ipv6: false" in bascule(world, "inspect", "both", "--yaml").stdout
    plan = as_json(world, "plan", "both.yaml")
    assert any("both was made without IPv6, and gets it now" in note for note in plan["notes"])
    assert "address fd00:1::2/64 on eth0 in a" in [each["what"] for each in plan["changes"]]
    bascule(world, "up", "both.yaml")
    assert _has_ipv6(world, "a")
    lab = Lab.attach("both")
    assert {echo.target.family for echo in lab.ping()} == {2, 10}
    assert not any(echo.failed for echo in lab.ping())
    assert Lab.load("both.yaml", without_ipv6=True).up().plan
    assert not _has_ipv6(world, "a", "b")
    assert not Lab.load("both.yaml", without_ipv6=True).plan()
    bascule(world, "down", "both")


def test_that_what_goes_on_and_what_comes_back_keep_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up --watch` when the file changes, and `restore` after a reboot."""
    lab = Lab.load("both.yaml", world="host", without_ipv6=True)
    with closing(lab.watch(api.Listener())) as outcomes:
        assert next(outcomes).plan
        Path("both.yaml").write_text(LAB + "  c: [lan]\n")
        assert next(outcomes).plan
    assert not _has_ipv6(world, "a", "b", "c")
    monkeypatch.setenv("BASCULE_KEEP_DIR", str(Path("kept").absolute()))
    bascule(world, "up", "both.yaml", "--without-ipv6")
    kept = Path("kept/both.json").read_bytes()
    assert json.loads(kept)["topology"]["ipv6"] is False
    shutil.copytree("kept", "safe")
    bascule(world, "down", "both")
    shutil.copytree("safe", "kept", dirs_exist_ok=True)
    bascule(world, "restore")
    assert not _has_ipv6(world, "a", "b", "c")
    assert not Lab.load("both.yaml", without_ipv6=True).plan()
    bascule(world, "down", "both")


def test_that_nothing_would_be_left(world: World) -> None:
    """Refused by each command that reads the file, before anything is touched."""
    Path("six.yaml").write_text('networks: {six: {subnet: "fd00:6::/64"}}\nnodes: {a: [six]}\n')
    before = machine.state()
    for command in ("up", "plan", "check", "script"):
        done = bascule(world, command, "six.yaml", "--without-ipv6", check=False)
        assert done.returncode == 2
        assert (
            "lab six: six has IPv6 only, so that without IPv6 nothing would be left" in done.stderr
        )
    with pytest.raises(InputError, match="nothing would be left"):
        Lab.load("six.yaml", without_ipv6=True).up()
    assert machine.difference(before, machine.state()) == ""


def test_that_it_is_left_alone_in_a_private_world(world: World) -> None:
    """As on the machine."""
    bascule(world, "up", "both.yaml", "--without-ipv6", "--world", "private")
    told = bascule(world, "exec", "a", "--", "ip", "-6", "-o", "address").stdout
    assert [line.split()[1] for line in told.splitlines()] == ["lo"]
    assert bascule(world, "ping").returncode == 0
    bascule(world, "down", "both")
