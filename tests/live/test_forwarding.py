"""The machine passes packets on for labs, and is afterwards as it was."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.engine import claims
from bascule.engine.forwarding import memories, of_the_world
from bascule.engine.prepare import machine_of
from bascule.errors import PlanFailed
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.kernel.look import Scope
from bascule.state import lock, store
from helpers import as_json, bascule
from sandbox import OWN_NETWORK, Snapshot, World, difference, require
from traffic import Ears, Outside, advertise, reach

SWITCHES = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
DOTTED = "up1.7"


def _data(name: str, number: int, *versions: int, nat: bool = True) -> dict[str, Any]:
    """A lab of one network with these IP versions."""
    subnets = {4: f"10.{number}.0.0/24", 6: f"fd00:{number}::/64"}
    network = {"subnet": [subnets[version] for version in versions], "nat": nat, "dns": False}
    return {
        "name": name,
        "networks": {f"br{number}": network},
        "nodes": {f"n{number}": [f"br{number}"]},
    }


def _lab(name: str, number: int, *versions: int, nat: bool = True) -> Lab:
    return Lab.from_data(_data(name, number, *versions, nat=nat), world="host")


def _read(key: str) -> str:
    return Path("/proc/sys", key).read_text().strip()


def _write(key: str, value: str) -> None:
    Path("/proc/sys", key).write_text(value)


def _of(device: str) -> dict[str, str]:
    """All IP settings of an interface."""
    found = {}
    for version in ("ipv4", "ipv6"):
        for path in sorted(Path(f"/proc/sys/net/{version}/conf/{device}").iterdir()):
            with suppress(OSError):
                found[f"{version} {path.name}"] = path.read_text()
    return {key: value for key, value in found.items() if "stable_secret" not in key}


def _soon(condition: Callable[[], object], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _hears(world: World, prefix: str) -> bool:
    """A router that announces this prefix now is heard by our interface on the cable."""
    start = prefix.removesuffix("::")
    with suppress(AssertionError):
        _announced(
            prefix, lambda: start in world.run("ip", "-6", "address", "show", "dev", "up0").stdout
        )
        return True
    return False


def _announced(prefix: str, condition: Callable[[], object]) -> None:
    """Announce it until it is heard: at the first time somebody may not have his address yet."""

    def heard() -> object:
        advertise("elsewhere", "eth0", prefix)
        return condition()

    _soon(heard)


def _default_routes(world: World) -> list[str]:
    return [row["dev"] for row in world.ip_json("-6", "route", "show", "default")]


@pytest.fixture
def hardened(world: World) -> Iterator[Snapshot]:
    """A machine on a cable whose router it has heard, and where somebody has set what turning
    forwarding on and off would change. Gives its state."""
    require("nft")
    with Outside(world, here=("192.0.2.1",)):
        # it hears itself
        world.run(
            "ip", "netns", "exec", "elsewhere", "sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=0"
        )
        world.run("ip", "link", "add", "up1", "type", "veth", "peer", "name", DOTTED)
        world.run("ip", "link", "set", "up1", "up")
        _write("net/ipv6/conf/up1/forwarding", "1")
        for key in ("all/accept_redirects", "up0/accept_redirects"):
            _write(f"net/ipv4/conf/{key}", "0")
        for version in ("ipv4", "ipv6"):
            _write(f"net/{version}/conf/{DOTTED}/forwarding", "1")
        if Path("/proc/sys/net/ipv6/conf/up0/force_forwarding").exists():  # Linux 6.17
            _write("net/ipv6/conf/up0/force_forwarding", "1")
        _soon(
            lambda: world.run("ip", "-6", "address", "show", "dev", "up0", "scope", "link").stdout
        )
        _announced("2001:db8:1::", lambda: _default_routes(world) == ["up0"])
        before = world.snapshot()
        assert "2001:db8:1:" in json.dumps(before["namespaces"]["host"]["addresses"])
        yield before


def _own_forwarding(lab: str) -> set[int]:
    """As a plan for this lab takes it."""
    known = claims.of_others(lab).forwarding | of_the_world(memories(store.load(lab)))
    return set(machine_of(observe(Scope(), Paths()), known).own_forwarding)


def test_what_the_machine_forwards_by_itself(world: World) -> None:
    """Not what a lab has turned on, whichever lab asks; nor what has been put back."""
    require("nft")
    assert _own_forwarding("one") == set()
    _write(SWITCHES[1], "2")
    lab = _lab("one", 1, 4, 6)
    lab.up()
    assert observe(Scope(), Paths()).forwarding == {4, 6}
    assert [_own_forwarding(name) for name in ("one", "two")] == [{6}, {6}]
    _lab("one", 1, 4, 6, nat=False).up()
    _write(SWITCHES[0], "1")
    assert _own_forwarding("one") == {4, 6}
    lab.down()
    assert [_read(key) for key in SWITCHES] == ["1", "2"]


ORDERS: dict[str, str] = {
    "one lab": "+a -a",
    "in turn": "+a +b -a -b",
    "the other way": "+a +b -b -a",
    "one no longer needs it": "+a +b =b -a -b",
    "and needs it again": "+b +a =b +b -a =b -b",
    "again and again": "+a +b -a +a -b =a +a -a",
}


@pytest.mark.parametrize("order", ORDERS)
def test_all_is_afterwards_as_it_was(hardened: Snapshot, world: World, order: str) -> None:
    """With several labs, in any order: `a` needs IPv4, `b` both, and `=` is the same lab without
    the need. Meanwhile no route is lost, and routers are heard."""
    labs = {"a": ("a", 1, 4), "b": ("b", 2, 4, 6)}
    up: dict[str, bool] = {}
    for number, (sign, name) in enumerate(ORDERS[order].split()):
        if sign == "-":
            Lab(name).down()
            del up[name]
        else:
            lab = _lab(*labs[name], nat=sign == "+")
            lab.up()
            assert not lab.plan()
            up[name] = sign == "+"
        assert [_read(key) for key in SWITCHES] == [
            str(int(any(up.values()))),
            str(int(up.get("b", False))),
        ], number
        assert _default_routes(world) == ["up0"]
        assert _hears(world, f"2001:db8:{10 + number}::"), number
    after = world.snapshot()
    for state in (hardened, after):
        host = state["namespaces"]["host"]
        host["addresses"].pop("up0")
        host["routes6"] = [row for row in host["routes6"] if not row["dst"].startswith("2001:db8:")]
    assert difference(hardened, after) == ""


def test_interfaces_that_come_and_go_meanwhile(hardened: Snapshot, world: World) -> None:
    """What comes gets afterwards what it would have got, also under a name that was there before;
    what gets another name keeps what was its own."""

    def pair(name: str) -> None:
        world.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")

    lab = _lab("a", 1, 4, 6)
    lab.up()
    pair("late")
    assert (_of("late")["ipv6 accept_ra"], _of("late")["ipv4 forwarding"]) == ("2\n", "1\n")
    world.run("ip", "link", "set", DOTTED, "name", "renamed")
    world.run("ip", "link", "del", "up1")
    pair("up1")
    pair(DOTTED)
    lab.up()  # the rules know by name who has passed packets on before
    assert not lab.plan()
    lab.down()
    pair("new")
    for name in ("late", "up1", DOTTED):
        assert _of(name) == _of("new"), name
    assert "renamed" not in world.run("ip", "link").stdout


def test_an_interface_that_is_renamed_keeps_what_was_its_own(
    hardened: Snapshot, world: World
) -> None:
    before = _of(DOTTED)
    lab = _lab("a", 1, 4, 6)
    lab.up()
    world.run("ip", "link", "set", DOTTED, "name", "renamed")
    lab.down()
    assert _of("renamed") == before


def test_what_others_set_meanwhile_is_theirs(hardened: Snapshot, world: World) -> None:
    """Only what is still as it was left is put back."""
    lab = _lab("a", 1, 4, 6)
    lab.up()
    _write("net/ipv4/conf/all/accept_redirects", "1")
    _write("net/ipv4/conf/up1/accept_redirects", "0")
    _write(f"net/ipv4/conf/{DOTTED}/forwarding", "0")
    _write("net/ipv6/conf/up1/accept_ra", "0")
    _write("net/ipv6/conf/default/accept_ra", "0")
    assert not lab.plan()
    lab.down()
    assert _read("net/ipv4/conf/all/accept_redirects") == "1"
    assert _read(f"net/ipv4/conf/{DOTTED}/forwarding") == "0"
    assert _read(f"net/ipv6/conf/{DOTTED}/forwarding") == "1"
    assert [_read(f"net/ipv6/conf/{name}/accept_ra") for name in ("up0", "up1", "default")] == [
        "1",
        "0",
        "0",
    ]
    assert _default_routes(world) == ["up0"]


def test_interfaces_that_passed_packets_on_before_go_on(world: World) -> None:
    """Though the machine as a whole did not, and does so for labs only. The same once one of them
    has got another name."""
    require("nft")
    ends = [
        Outside(world),
        Outside(
            world,
            "other",
            "up9",
            ("198.51.100.1", "2001:db8:9::1"),
            ("198.51.100.2", "2001:db8:9::2"),
        ),
    ]
    with ends[0] as one, ends[1] as other, Ears() as ears:
        one.routes("198.51.100.0/24")
        other.routes("192.0.2.0/24")
        server = ears.on("other", 7)[0]

        def passes() -> bool:
            return reach("elsewhere", "198.51.100.2", 7, server) is not None

        assert not passes()
        for device in ("up0", "up9"):
            _write(f"net/ipv4/conf/{device}/forwarding", "1")
        assert passes()
        lab = _lab("a", 1, 4)
        for name in ("up9", "renamed"):
            if name != "up9":
                world.run("ip", "link", "set", "up9", "name", name)
            lab.up()
            assert not lab.plan()
            assert passes()
        _lab("b", 2, 4).up()
        assert passes()
        for name in ("a", "b"):
            Lab(name).down()
            assert passes()
        world.run("ip", "link", "set", "renamed", "name", "up9")


def test_who_turns_it_off_meanwhile_has_it_off(hardened: Snapshot, world: World) -> None:
    """`plan` tells it; `up` would turn it on again; `down` leaves it, and lets routers be heard as
    before."""
    lab = _lab("a", 1, 4, 6)
    lab.up()
    for key in SWITCHES:
        _write(key, "0")
    signs = [
        (change.sign, change.fact.key, change.reason.split(";")[0]) for change in lab.plan().changes
    ]
    assert signs == [
        ("~", ("forwarding", "", "IPv4"), "is off"),
        ("~", ("forwarding", "", "IPv6"), "is off"),
    ]
    lab.down()
    assert [_read(key) for key in SWITCHES] == ["0", "0"]
    assert (_read("net/ipv6/conf/up0/accept_ra"), _default_routes(world)) == ("1", ["up0"])


def test_routes_of_an_interface_that_no_longer_listens_stay(
    hardened: Snapshot, world: World
) -> None:
    """An interface that has heard a router and is not to hear another."""
    _write("net/ipv6/conf/up0/accept_ra", "0")
    lab = _lab("a", 1, 6)
    lab.up()
    assert (_default_routes(world), _read("net/ipv6/conf/up0/accept_ra")) == (["up0"], "0")
    lab.down()
    assert (_default_routes(world), _read("net/ipv6/conf/up0/accept_ra")) == (["up0"], "0")
    assert _read("net/ipv6/conf/up1/forwarding") == "1"


def test_a_machine_that_forwards_is_not_written_to(hardened: Snapshot, world: World) -> None:
    """Neither by the first lab nor by the last."""
    for key in SWITCHES:
        _write(key, "1")
    _write("net/ipv4/conf/all/accept_redirects", "1")
    before = world.snapshot()
    written: list[str] = []

    def gate(call: str, subject: object) -> None:
        if call == "put" and os.readlink(OWN_NETWORK) == world.network:
            written.append(str(subject))

    lab = _lab("a", 1, 4, 6)
    with syscalls.gated(gate):
        lab.up()
        lab.down()
    assert [path for path in written if "/br1/" not in path] == []
    assert difference(before, world.snapshot()) == ""


def test_a_run_that_fails_puts_it_back(hardened: Snapshot, world: World) -> None:
    """And a route that routers have announced survives that, too."""

    def gate(call: str, subject: object) -> None:
        met.append(str(subject) if call in ("put", "symlink") else "")
        if met[-1] == "/etc/netns/n1" and met.count(met[-1]) == 1:
            assert f"/proc/sys/{SWITCHES[1]}" in met
            raise PermissionError(13, "Permission denied")

    met: list[str] = []
    with syscalls.gated(gate), pytest.raises(PlanFailed):
        _lab("a", 1, 4, 6).up()
    assert met.count(f"/proc/sys/{SWITCHES[1]}") == 2
    assert difference(hardened, world.snapshot()) == ""


def test_a_setting_that_is_refused_is_named(hardened: Snapshot, world: World) -> None:
    """What was written before it is undone."""

    def gate(call: str, subject: object) -> None:
        if (
            call == "put"
            and str(subject) == f"/proc/sys/{SWITCHES[1]}"
            and _read(SWITCHES[1]) == "0"
        ):
            raise PermissionError(13, "Permission denied")

    with (
        syscalls.gated(gate),
        pytest.raises(
            PlanFailed, match=r"sysctl -w net\.ipv6\.conf\.all\.forwarding=1: Permission denied"
        ),
    ):
        _lab("a", 1, 4, 6).up()
    assert difference(hardened, world.snapshot()) == ""


def test_what_a_plan_says(hardened: Snapshot, world: World) -> None:
    """One change a family, with what it means for the machine, and each command; the same for the
    way back."""
    Path("a.json").write_text(json.dumps(_data("a", 1, 4, 6)))
    _write("net/ipv4/conf/all/accept_redirects", "1")
    rows = {
        row["what"]: row
        for row in as_json(world, "plan", "a.json")["changes"]
        if row["kind"] == "forwarding"
    }
    assert {what: row["reason"] for what, row in rows.items()} == {
        "forwarding of IPv4": "is off; as a router, it accepts no ICMP redirects",
        "forwarding of IPv6": "is off; up0 goes on hearing routers (accept_ra 2)",
    }
    assert rows["forwarding of IPv4"]["commands"] == ["sysctl -qw net.ipv4.ip_forward=1"]
    assert rows["forwarding of IPv6"]["commands"] == [
        "sysctl -qw net.ipv6.conf.default.accept_ra=2",
        "sysctl -qw net.ipv6.conf.up0.accept_ra=2",
        "sysctl -qw net.ipv6.conf.all.forwarding=1",
    ]
    bascule(world, "up", "a.json")
    said = bascule(world, "down", "a", "--dry-run").stdout
    assert "- forwarding of IPv6, with the settings that it changed  (no longer in the lab)" in said
    said = bascule(world, "down", "a", "--explain").stdout
    assert f"sysctl -qw net/ipv4/conf/{DOTTED}/forwarding=1" in said
    assert (
        said.index("all.forwarding=0")
        < said.index(f"net/ipv6/conf/{DOTTED}/forwarding=1")
        < said.index("up0.accept_ra=1")
    )


def _child(function: Callable[[], object]) -> int:
    """Begin the function in a process of its own. Its exit code tells whether it came to its
    end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return child


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _waits_for_claims(child: int) -> bool:
    """proc(5), /proc/locks: who waits for a lock has an arrow, and the number of the process."""
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any("->" in row and str(child) in row for row in rows)


@pytest.mark.parametrize("going", ["down", "without need"])
def test_a_lab_that_comes_while_the_last_one_goes(world: World, going: str) -> None:
    """It is not left without: it waits until all is back, and turns it on again."""
    require("nft")
    _lab("a", 1, 4).up()
    told, tell = os.pipe()
    goes, go = os.pipe()

    def gate(call: str, subject: object) -> None:
        if call == "put" and str(subject) == f"/proc/sys/{SWITCHES[0]}":
            os.write(tell, b"x")
            os.read(goes, 1)

    def leave() -> None:
        with syscalls.gated(gate):
            Lab("a").down() if going == "down" else _lab("a", 1, 4, nat=False).up()

    leaving = _child(leave)
    os.read(told, 1)
    coming = _child(_lab("b", 2, 4).up)
    _soon(lambda: _ended(coming) or _waits_for_claims(coming))
    os.write(go, b"x")
    assert [os.waitpid(child, 0)[1] for child in (leaving, coming)] == [0, 0]
    for end in (told, tell, goes, go):
        os.close(end)
    assert _read(SWITCHES[0]) == "1"
    assert not _lab("b", 2, 4).plan()
    for name in ("a", "b"):
        Lab(name).down()
    assert _read(SWITCHES[0]) == "0"


def test_two_labs_that_go_at_once(world: World) -> None:
    """One of them is the last."""
    require("nft")
    for _round in range(4):
        for number, name in enumerate(("a", "b"), 1):
            _lab(name, number, 4).up()
        children = [_child(Lab(name).down) for name in ("a", "b")]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert _read(SWITCHES[0]) == "0"


def test_a_namespace_of_another_program(hardened: Snapshot, world: World) -> None:
    """What the file asks of it is put back with all that went along; its routes stay meanwhile."""
    world.run("ip", "link", "set", "up0", "netns", _theirs(world))
    inside = ("ip", "netns", "exec", "theirs")
    world.run(*inside, "ip", "link", "set", "up0", "up")
    world.run(
        *inside,
        "sysctl",
        "-qw",
        "net.ipv4.conf.all.accept_redirects=0",
        "net.ipv6.conf.own.forwarding=1",
    )
    _soon(
        lambda: (
            world.run(*inside, "ip", "-6", "address", "show", "dev", "up0", "scope", "link").stdout
        )
    )

    def routes() -> list[str]:
        return [
            row["dev"] for row in world.ip_json("-n", "theirs", "-6", "route", "show", "default")
        ]

    _announced("2001:db8:1::", lambda: routes() == ["up0"])
    before = world.snapshot()
    keys = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}
    data = {"name": "a", "nodes": {"box": {"netns": "/run/netns/theirs", "sysctls": keys}}}
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert not lab.plan()
    assert world.run(*inside, "sysctl", "-n", *keys).stdout.split() == ["1", "1"]
    assert routes() == ["up0"]
    Lab.from_data({**data, "nodes": {"box": {"netns": "/run/netns/theirs"}}}, world="host").up()
    assert world.run(
        *inside, "sysctl", "-n", *keys, "net.ipv6.conf.own.forwarding"
    ).stdout.split() == ["0", "0", "1"]
    lab.up()
    lab.down()
    assert routes() == ["up0"]
    assert difference(before, world.snapshot()) == ""


def _theirs(world: World) -> str:
    world.run("ip", "netns", "add", "theirs")
    world.run(
        "ip", "-n", "theirs", "link", "add", "own", "type", "veth", "peer", "name", "own-peer"
    )
    return "theirs"


def test_a_record_by_an_earlier_version(world: World) -> None:
    """It has noted no more than that it was off: that is put back, and nothing is made up."""
    require("nft")
    lab = _lab("a", 1, 4, 6)
    lab.up()
    record = store.load("a").record
    assert record is not None
    priors = [("", key.replace("/", "."), "0") for key in SWITCHES]
    with lock.lab_lock("a", "test"):
        store.save(dataclasses.replace(record, forwarding={}, priors=priors))
    assert _own_forwarding("a") == _own_forwarding("b") == set()
    assert not lab.plan()
    lab.up()
    lab.down()
    assert [_read(key) for key in SWITCHES] == ["0", "0"]


def test_a_private_world(world: World) -> None:
    """A lab of one that no longer needs it."""
    require("nft")
    lab = Lab.from_data(_data("a", 1, 4, 6), world="private")
    lab.up()

    def there() -> str:
        return (
            lab.node("n1").run(["cat", "/proc/sys/net/ipv4/ip_forward"], capture_output=True).stdout
        )

    assert {
        change.fact.key
        for change in Lab.from_data(_data("a", 1, 4, 6, nat=False), world="private").plan().changes
    } > {
        ("forwarding", "", "IPv4"),
        ("forwarding", "", "IPv6"),
    }
    assert there() in ("0\n", "1\n")
    Lab.from_data(_data("a", 1, 4, 6, nat=False), world="private").up()
    assert not Lab.from_data(_data("a", 1, 4, 6, nat=False), world="private").plan()
    lab.down()
