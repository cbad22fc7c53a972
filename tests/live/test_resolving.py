"""Where names outside of the lab are asked for, and which are never asked for outside, with DNS
packets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import machine as state
from bascule.api import Lab
from bascule.host import pasta, resolving
from bascule.host.seen import Observation
from bascule.kernel.upstream import Upstream
from bascule.state import store
from faults import Fault, attempt
from helpers import bascule
from questions import (
    AAAA,
    HTTPS,
    MX,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SRV,
    TXT,
    A,
    answering,
    ask,
    names,
    soon,
    upstream,
)
from sandbox import World, require
from traffic import Outside

RESOLV, REAL = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
STUB = "/run/systemd/resolve/stub-resolv.conf"
FAR = "192.0.2.53", "2001:db8::53"
# through pasta; by which port of the world's loopback depends on its age
THROUGH, THROUGH6 = (Upstream("", (loopback,), 53) for loopback in ("127.0.0.1", "::1"))
KINDS = (A, AAAA, MX, TXT, SRV, HTTPS, 2, 5, 6, 255)
LAB: dict[str, Any] = {
    "name": "dotted",
    "networks": {
        "lan": {"subnet": "10.1.0.0/24", "dns": True},
        "dev": {"subnet": ["10.2.0.0/24", "fd00:2::/64"]},
        "vault": {"subnet": "10.3.0.0/24", "dns": True, "internal": True},
    },
    "nodes": {
        "web": {"networks": {"lan": {"aliases": ["Shop.Example.COM"]}}},
        "db.core": ["lan"],
        "six": ["dev"],
        "safe": ["vault"],
    },
}
OWNED = (
    "web",
    "web.lan",
    "shop.example.com",
    "SHOP.example.com",
    "db.core",
    "db.core.lan",
    "safe.vault",
    "x.shop.example.com",
)


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    require("dnsmasq", "nft")
    made = Lab.from_data(LAB, world="host")
    yield made
    made.down()


@pytest.mark.parametrize(
    "server", ["10.1.0.1", "10.3.0.1"], ids=["of a network", "of an internal one"]
)
def test_names_of_the_lab_are_never_asked_for_outside(lab: Lab, world: World, server: str) -> None:
    """Whatever is asked of them: what they have is answered, and nothing (NODATA) for what they
    have not; over UDP and TCP. Names of one word go nowhere, whatever is asked; other names below a
    network's name do, because it may be one of the Internet's."""
    node = "web" if server == "10.1.0.1" else "safe"
    with upstream(world) as heard:
        lab.up()
        soon(lambda: ask(node, server, "web.lan") == (NOERROR, {"10.1.0.2"}))
        for name in OWNED:
            for kind in KINDS:
                found = ask(node, server, name, kind, tcp=kind == TXT)
                assert found is not None
                if name.startswith("x."):
                    assert found == (NXDOMAIN, set()), (name, kind)
                elif kind not in (A, 255):
                    assert found == (NOERROR, set()), (name, kind)
        assert ask(node, server, "six.dev", AAAA) == (NOERROR, {"fd00:2::2"})
        assert ask(node, server, "six.dev", MX) == (NOERROR, set())
        assert ask(node, server, "nosuch", MX) in ((NXDOMAIN, set()), (REFUSED, set()))
        assert heard == []
        if node == "web":
            assert ask(node, server, "nosuch.dev") == (NOERROR, {"203.0.113.9"})
            assert ask(node, server, "example.com") == (NOERROR, {"203.0.113.9"})
        assert {*heard} == ({"nosuch.dev", "example.com"} if node == "web" else set())


def test_nodes_come_and_go_without_a_restart(lab: Lab, world: World) -> None:
    """The names that are the lab's own follow, in the same process."""
    require("dnsmasq")
    with upstream(world) as heard:
        lab.up()
        pid = Path("/run/bascule/dotted/dns/out.pid").read_text()
        assert ask("web", "10.1.0.1", "late.lan", MX) is not None
        assert {*heard} == {"late.lan"}
        bascule(world, "node", "add", "late", "--network", "lan", "--lab", "dotted")
        soon(lambda: ask("web", "10.1.0.1", "late.lan") == (NOERROR, {"10.1.0.4"}))
        heard.clear()
        soon(
            lambda: (
                ask("web", "10.1.0.1", "late.lan", MX) == (NOERROR, set())
                and not (heard and heard.clear())
            )
        )
        bascule(world, "node", "rm", "late", "--lab", "dotted")
        soon(lambda: ask("web", "10.1.0.1", "late.lan") == (NOERROR, {"203.0.113.9"}))
        assert Path("/run/bascule/dotted/dns/out.pid").read_text() == pid


def test_killed_before_the_server_was_told(lab: Lab, world: World) -> None:
    """What it reads was written, and the signal was never sent: `plan` says so, and the next run
    sends it."""

    def add() -> None:
        Lab("dotted", world="host").change(edit_added)

    with upstream(world) as heard:
        lab.up()
        whole = attempt(add, Fault(1 << 30, "kill"))
        assert whole.how == "done", whole
        lab.up()  # without it again
        soon(lambda: ask("web", "10.1.0.1", "late.lan") == (NOERROR, {"203.0.113.9"}))
        signals = [at for at, name in enumerate(whole.names) if name == "kill"]
        assert len(signals) == 2  # the servers of both kinds
        assert attempt(add, Fault(signals[0], "kill")).how == "killed"
        assert store.load("dotted").journal is not None
        more = Lab.from_data({**LAB, "nodes": {**LAB["nodes"], "late": ["lan"]}}, world="host")
        told = [(change.fact.describe(), change.reason) for change in more.plan().changes]
        assert (
            "file /run/bascule/dotted/dns/out.servers",
            "its server may not have read it",
        ) in told
        more.up()
        assert not more.plan()
        heard.clear()
        soon(lambda: ask("web", "10.1.0.1", "late.lan", MX) == (NOERROR, set()))
        assert heard == []


def edit_added(now: Any) -> Any:
    """The topology with one node more."""
    from bascule.topology import edit

    return edit.add_node_data(now, "late", {"networks": ["lan"]})


def _dangling(*_: object) -> None:
    Path(RESOLV).unlink(missing_ok=True)
    Path(RESOLV).symlink_to("../run/systemd/resolve/stub-resolv.conf")


def _missing(*_: object) -> None:
    Path(RESOLV).unlink(missing_ok=True)


def _loop(*_: object) -> None:
    _missing()
    Path(RESOLV).symlink_to("resolv.conf")


def _folder_is_there(*_: object) -> None:
    _dangling()
    Path(REAL).parent.mkdir(parents=True)


@pytest.mark.parametrize("damage", [_dangling, _missing, _loop, _folder_is_there])
@pytest.mark.parametrize("kind", ["host", "private"])
def test_a_machine_without_name_servers(
    world: World, damage: Callable[[], None], kind: str
) -> None:
    """A link to nothing, or no file at all: the lab comes up, its own names are answered, and
    `plan` tells what is not."""
    require("dnsmasq", "nft", "dig")
    damage()
    data = {
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": True}},
        "nodes": {"a": ["lan"], "b": ["lan"]},
    }
    before = state.state()
    made = Lab.from_data(data, world=kind)
    made.up()
    plan = made.plan()
    assert not plan
    expected = (
        "no way out of the private world"
        if kind == "private"
        else "the machine knows no name server (/etc/resolv.conf)"
    )
    assert [note for note in plan.notes if expected in note]
    dig = ["dig", "+short", "+tries=1", "@10.1.0.1", "b.lan"]
    assert made.node("a").run(dig, capture_output=True).stdout == "10.1.0.3\n"
    made.down()
    assert state.difference(before, state.state()) == ""


def test_a_server_follows_the_machine_s_file(world: World) -> None:
    """The machine's servers change while the lab is up: they are asked at once. Where the file has
    gone, `up` does without."""
    require("dnsmasq", "nft")
    data = {
        "name": "f",
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}},
        "nodes": {"a": ["lan"]},
    }
    with upstream(world) as one:
        made = Lab.from_data(data, world="host")
        made.up()
        assert ask("a", "10.1.0.1", "one.example.org") == (NOERROR, {"203.0.113.9"})
        with upstream(world, "192.0.2.54") as two:
            soon(lambda: ask("a", "10.1.0.1", "two.example.org") is not None and two != [])
            _dangling()
            assert [
                change.fact.describe().split("-")[0]
                for change in made.plan().changes
                if change.fact.key[0] == "service"
            ]
            made.up()
            assert not made.plan()
        assert "two.example.org" not in one
        made.down()


def test_nodes_without_a_server_here_ask_behind_the_stub(world: World) -> None:
    """systemd-resolved's 127.0.0.53 is the machine's alone: nodes get what stands behind it."""
    require("nft")
    data = {
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": False}},
        "nodes": {"a": ["lan"]},
    }
    names("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
    made = Lab.from_data(data, world="host")
    assert [
        note
        for note in made.plan().notes
        if "the machine's name servers (127.0.0.53) hear only the machine itself" in note
    ]
    names("nameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\n", REAL)
    made.up()
    assert [note for note in made.plan().notes if "name server" in note] == []
    found = made.node("a").run(["cat", "/etc/resolv.conf"], capture_output=True).stdout
    assert found == "nameserver 192.0.2.53\nnameserver 2001:db8::53\n"
    made.down()


FILES: dict[str, tuple[str, str | None, tuple[str, ...], Upstream]] = {
    # /etc/resolv.conf, systemd-resolved's list, what nodes of a private world may ask, whom its own
    # servers ask
    "far ones": ("nameserver 192.0.2.53\nnameserver 2001:db8::53", None, FAR, Upstream("", FAR)),
    "the stub": (
        "nameserver 127.0.0.53",
        "nameserver 192.0.2.53",
        ("192.0.2.53",),
        Upstream("", ("192.0.2.53",)),
    ),
    "the stub, and nothing behind it": ("nameserver 127.0.0.53", None, (), Upstream("")),
    "loopback": ("nameserver 127.0.0.1", None, (), THROUGH),
    "loopback of IPv6": ("nameserver ::1", None, (), THROUGH6),
    "everything": ("nameserver 0.0.0.0", None, (), THROUGH),
    "another loopback": ("nameserver 127.0.1.1", None, (), Upstream("")),
    "loopback and far": (
        "nameserver 127.0.0.1\nnameserver 192.0.2.53",
        None,
        ("192.0.2.53",),
        Upstream("", ("192.0.2.53",)),
    ),
    "the machine's own": ("nameserver 192.0.2.1", None, (), THROUGH),
    "of one link": ("nameserver fe80::1%eth0", None, (), Upstream("")),
    "twice": (
        "nameserver 192.0.2.53\nnameserver 192.0.2.53",
        None,
        ("192.0.2.53",),
        Upstream("", ("192.0.2.53",)),
    ),
    "nonsense": (
        "nameserver\nnameserver x\n\0\nfoo bar\n# nameserver 192.0.2.1",
        None,
        (),
        Upstream(""),
    ),
    "none": ("", "nameserver 192.0.2.53", ("192.0.2.53",), Upstream("", ("192.0.2.53",))),
}


@pytest.mark.parametrize("case", FILES)
def test_which_servers_a_private_world_can_ask(
    world: World, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what stands in the machine's files."""
    there, real, far, asked = FILES[case]
    names(there)
    if real is not None:
        names(real, REAL)
    for door in (53, 10053):
        monkeypatch.setattr(pasta, "door", lambda door=door: door)
        seen = Observation()
        resolving.from_outside(seen, frozenset({"192.0.2.1"}))
        wanted = asked
        if asked.door and door != 53:
            wanted = Upstream("", (f"{asked.servers[0]}#{door}",), door)
        assert (seen.resolvers, seen.upstream) == (far, wanted)


def test_a_fifo_in_the_place_of_resolv_conf(world: World) -> None:
    """It is not waited for."""
    _missing()
    os.mkfifo(RESOLV)
    seen = Observation()
    resolving.on_the_machine(seen)
    assert (seen.resolvers, seen.upstream) == ((), Upstream(""))


@pytest.fixture
def connected(world: World) -> Iterator[Outside]:
    """A machine with a way out, and a name server on another one."""
    require("pasta", "nft", "dig")
    with Outside(world, there=("192.0.2.2", "192.0.2.53", "2001:db8::2")) as outside:
        world.run("ip", "route", "add", "default", "via", "192.0.2.2")
        if pasta.why_not():
            pytest.skip(pasta.why_not())
        yield outside


@pytest.mark.parametrize(
    "case", ["far", "stub", "stub by its link", "loopback", "the machine's own"]
)
@pytest.mark.parametrize("served", [True, False], ids=["by the lab's server", "by resolv.conf"])
def test_a_private_world_finds_names(connected: Outside, case: str, served: bool) -> None:
    """Through pasta: by the machine's real servers, and where there are none but on its loopback,
    by these, for the lab's own."""
    require("dnsmasq")
    data = {
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": served}},
        "nodes": {"a": ["lan"]},
    }
    address, node = "192.0.2.53", connected.name
    if case == "far":
        names(f"nameserver {address}\n")
    elif case.startswith("stub"):
        names(f"nameserver {address}\n", REAL)
        names("nameserver 127.0.0.53\n", STUB if case.endswith("link") else RESOLV)
        if case.endswith("link"):
            _dangling()  # now it leads to something
    else:
        address, node = ("127.0.0.1", "") if case == "loopback" else (connected.here[0], "")
        names(f"nameserver {address}\n")
    with answering(address if node else "127.0.0.1", node) as heard:
        made = Lab.from_data(data, world="private")
        made.up()
        assert not made.plan()
        asked = made.node("a").run(
            ["dig", "+short", "+tries=2", "+time=2", "www.example.org"], capture_output=True
        )
        if node or served:
            assert asked.stdout == "203.0.113.9\n"
            assert {*heard} == {"www.example.org"}
        else:
            assert heard == []
            assert [
                note for note in made.plan().notes if "hear only the machine itself" in note
            ] or case != "loopback"
        made.down()
