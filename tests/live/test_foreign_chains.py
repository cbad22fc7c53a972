"""Our rules in other programs' chains: known by what they say, whatever saving and loading has made
of their comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from helpers import bascule, changes
from sandbox import World, require

CHAINS = {
    "ip": ("ip", "filter", "FORWARD", "iptables-nft"),
    "ip6": ("ip6", "filter", "FORWARD", "ip6tables-nft"),
}
LAB = """\
name: la
networks: {lan.7: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true, dns: false}}
nodes: {a: [lan.7]}
"""
OURS = ("comes from", "goes to")


@pytest.fixture(params=CHAINS)
def chain(world: World, request: pytest.FixtureRequest) -> tuple[str, str, str, str]:
    """A firewall that drops what it does not know, where frames within a bridge do not pass."""
    require("nft", "iptables-nft")
    _bridged_frames_do_not_pass()
    found = CHAINS[request.param]
    world.run(found[3], "-P", "FORWARD", "DROP")
    Path("lab.yaml").write_text(LAB)
    return found


def _bridged_frames_do_not_pass() -> None:
    for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        path.write_text("0")


def _rules(world: World, chain: tuple[str, str, str, str]) -> list[str]:
    """As iptables tells them: with comments of both kinds."""
    return [
        line
        for line in world.run(chain[3], "-S", "FORWARD").stdout.splitlines()
        if line.startswith("-A")
    ]


def _reload(world: World, chain: tuple[str, str, str, str], *options: str) -> None:
    saved = world.run(f"{chain[3]}-save").stdout
    world.run(f"{chain[3]}-restore", *options, input=saved)


@pytest.mark.parametrize("times", [1, 2])
def test_rules_are_saved_and_loaded(
    world: World, chain: tuple[str, str, str, str], times: int
) -> None:
    """They are as they should be, and go with the lab; also in its second life."""
    for _life in range(2):
        bascule(world, "up", "lab.yaml")
        for _time in range(times):
            _reload(world, chain)
        assert len(_rules(world, chain)) == 2
        assert changes(world, "lab.yaml") == []
        bascule(world, "down", "la")
        assert _rules(world, chain) == []


def test_comments_are_taken_off_altogether(world: World, chain: tuple[str, str, str, str]) -> None:
    """As by nft, which does not print those of iptables."""
    bascule(world, "up", "lab.yaml")
    bare = [line.split(" -m comment")[0] + " -j ACCEPT" for line in _rules(world, chain)]
    world.run(chain[3], "-F", "FORWARD")
    for line in bare:
        world.run(chain[3], *line.split())
    assert changes(world, "lab.yaml") == []
    bascule(world, "down", "la")
    assert _rules(world, chain) == []


def test_what_is_there_twice_is_mended(world: World, chain: tuple[str, str, str, str]) -> None:
    """`plan` tells it, `up` removes the surplus, and `down` all of it."""
    bascule(world, "up", "lab.yaml")
    for expected in ("up", "down"):
        _reload(world, chain, "--noflush")
        assert len(_rules(world, chain)) == 4
        place = " ".join(chain[:3])
        assert changes(world, "lab.yaml") == [
            f"~ rule in {place}: accept what {way} lan.7" for way in OURS
        ]
        assert "(is there 2 times)" in bascule(world, "plan", "lab.yaml").stdout
        bascule(world, expected, "lab.yaml" if expected == "up" else "la")
        assert len(_rules(world, chain)) == (2 if expected == "up" else 0)


def test_others_rules_are_theirs(world: World, chain: tuple[str, str, str, str]) -> None:
    """Those that say more, or less, or something else about our bridge, or bear another's comment
    of whatever kind."""
    net = "10.0.0.0/8" if chain[0] == "ip" else "fd00::/8"
    theirs = [
        f"-i lan.7 -s {net} -j ACCEPT", "-i lan.7 -j DROP", "-i lan+ -j ACCEPT", "! -i lan.7 -j ACCEPT", "-i lan.7 -j LOG",  # noqa: E501
        "-i lan.7 -m conntrack --ctstate NEW -j ACCEPT", "-i lan.7 -p tcp -j ACCEPT", "-i lan.7 -o other -j ACCEPT", "-j ACCEPT",  # noqa: E501
        "-i lan.7 -m mark --mark 0x7 -j ACCEPT", "-i lan.7 -j RETURN", "-i lanx7 -j ACCEPT", "-i lan.77 -j ACCEPT",  # noqa: E501
        "-i lan.7 -m comment --comment mine -j ACCEPT", "-i lan.7 -j OTHER", "-i lan.7 -g OTHER",
    ]  # fmt: skip
    world.run(chain[3], "-N", "OTHER")
    for words in theirs:
        world.run(chain[3], "-A", "FORWARD", *words.split())
    world.run(
        "nft", f'add rule {" ".join(chain[:3])} oifname "lan.7" counter accept comment "mine"'
    )
    before = _rules(world, chain)
    assert len(before) == len(theirs) + 1
    bascule(world, "up", "lab.yaml")
    assert len(_rules(world, chain)) == len(before) + 2
    _reload(world, chain, "--noflush")
    bascule(world, "up", "lab.yaml")
    bascule(world, "down", "la")
    assert sorted(set(_rules(world, chain))) == sorted(before)
    # The same for the way back of a script, which can't read comments of iptables where nft is old.
    world.run(chain[3], "-D", "FORWARD", *theirs[13].split())
    world.run("bash", "-e", input=bascule(world, "script", "lab.yaml").stdout)
    world.run("bash", "-e", input=bascule(world, "script", "lab.yaml", "--teardown").stdout)
    mine = "-i lan.7 -m comment --comment mine"
    left = {line for line in _rules(world, chain) if mine not in line}
    assert sorted(left) == sorted(line for line in before if mine not in line)


def test_the_way_back_of_a_script_finds_them(
    world: World, chain: tuple[str, str, str, str]
) -> None:
    """Saved and loaded, and twice; in any of nft's spellings."""
    world.run("bash", "-e", input=bascule(world, "script", "lab.yaml").stdout)
    _reload(world, chain, "--noflush")
    world.run("nft", f'add rule {" ".join(chain[:3])} iifname "lan.7" accept')
    assert len(_rules(world, chain)) == 5
    world.run("bash", "-e", input=bascule(world, "script", "lab.yaml", "--teardown").stdout)
    assert _rules(world, chain) == []


def test_a_chain_with_rules_that_nobody_knows(world: World) -> None:
    """Sets, maps and verdicts of all kinds: no error, and nothing of it is taken for ours."""
    require("nft")
    _bridged_frames_do_not_pass()
    text = """
        table inet t {
            set s { type ifname; elements = { "lan" } }
            map m { type ifname : verdict; elements = { "lan" : accept } }
            chain c {
                type filter hook forward priority 0; policy drop;
                iifname @s accept
                iifname { "lan", "wan" } accept
                iifname vmap @m
                iifname . oifname { "lan" . "lan" } accept
                meta nfproto ipv4 iifname "lan" accept
                iifname "lan" meta mark set 1 accept
                iifname "lan" limit rate 1/second accept
                iifname "lan" log accept
                iifname "lan" ct state new counter accept comment "bascule: from lan"
                iif "lo" accept
                iifname "la*" accept
                iifname "lan" iifname "lan" accept
            }
        }
    """
    world.run("nft", "-f", "-", input=text)
    data: dict[str, Any] = {
        "name": "la",
        "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": False}},
        "nodes": {},
    }
    before = world.run("nft", "list", "ruleset").stdout
    lab = Lab.from_data(data, world="host")
    lab.up()
    assert world.run("nft", "list", "table", "inet", "t").stdout.count('comment "bascule: ') == 3
    lab.down()
    assert world.run("nft", "list", "ruleset").stdout == before
