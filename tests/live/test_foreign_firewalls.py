"""Other programs' firewalls, real ones: what a lab loses by them is told alike by `up`, `plan` and
`doctor`, and after the commands that they name, as they stand, all of it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firewalls import Traffic, advice, commands, enable_ufw, follow, notes
from helpers import bascule, changes
from sandbox import World, require
from traffic import Ears, Outside

KEPT = "drops what it does not know"
# What comes by the cable, and answers, as any firewall lets in.
_ITS_OWN = ("-i up0", "-m conntrack --ctstate ESTABLISHED")
NFT = """\
table inet theirs {
    chain forward {
        type filter hook forward priority -10
        ct state established accept
        REJECT
    }
    chain input {
        type filter hook input priority 5
        ct state established accept
        iifname { "lo", "up0" } accept
        goto rest
    }
    chain rest {
        log prefix "theirs: "
        counter DROP
    }
}
"""


def _by_iptables(kind: str, last: bool) -> Callable[[World], None]:
    """Chains that drop by their policy, or by a last rule."""

    def make(world: World) -> None:
        require("iptables-legacy", "iptables-nft")
        for program in (f"iptables-{kind}", f"ip6tables-{kind}"):
            if world.run(program, "-S", check=False).returncode != 0:
                pytest.skip(f"this kernel has no {program}")
            for words in _ITS_OWN:
                world.run(program, "-A", "INPUT", *words.split(), "-j", "ACCEPT")
            if last:
                world.run(program, "-N", "LAST")
                words = ("-m", "comment", "--comment", "the rest", "-j", "REJECT")
                world.run(program, "-A", "LAST", *words)
            for hook in ("FORWARD", "INPUT"):
                rule = ("-A", hook, "-j", "LAST") if last else ("-P", hook, "DROP")
                world.run(program, *rule)

    return make


def _by_nft(forward: str, rest: str) -> Callable[[World], None]:
    def make(world: World) -> None:
        text = NFT.replace("REJECT", forward).replace("DROP", rest)
        world.run("nft", "-f", "-", input=text)

    return make


# What a lab loses by each, which `up` makes no rule for: without INPUT, IPv6 finds no neighbours.
UNHEARD = {"names", "nat", "ports"}
WALLS: dict[str, Callable[[World], None]] = {
    "legacy, by a last rule": _by_iptables("legacy", last=True),
    "iptables-nft, by policy": _by_iptables("nft", last=False),
    "iptables-nft, by a last rule": _by_iptables("nft", last=True),
    "nft, rejects and drops": _by_nft("reject", "drop"),
    "nft, drops and rejects": _by_nft("drop", "reject"),
}


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    require("nft", "dnsmasq")
    for path in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        path.write_text("0")
    Path("la.yaml").write_text(Traffic.LAB)
    with Outside(world) as found:
        yield found
        bascule(world, "down", "la", check=False)


@pytest.mark.parametrize("wall", WALLS)
def test_what_is_advised_helps(world: World, outside: Outside, wall: str) -> None:
    """And then nothing more is said."""
    WALLS[wall](world)
    up = bascule(world, "up", "la.yaml").stderr
    told = notes(world, "la.yaml")
    needed = commands(told)
    assert all(f"`{command}`" in up for command in needed)
    found = "\n".join(advice(world))
    assert all(f"`{command}`" in found for command in needed)
    with Ears() as ears:
        traffic = Traffic(world, ears, outside)
        assert traffic.lost() == UNHEARD
        follow(world, told)
        traffic.settle()
    assert commands(notes(world, "la.yaml")) == []
    assert changes(world, "la.yaml") == []
    assert not [
        line for line in advice(world) if line.startswith("note") and "until you run" in line
    ]
    bascule(world, "down", "la")


def test_ufw(world: World, outside: Outside) -> None:
    """Nothing but the name server has to be asked of it, for both IP versions at once. What one has
    told it stays when the lab goes: it is not ours."""
    enable_ufw(world)
    bascule(world, "up", "la.yaml")
    with Ears() as ears:
        traffic = Traffic(world, ears, outside)
        assert traffic.lost() == {"names"}
        told = notes(world, "la.yaml")
        assert commands(told) == ["ufw allow in on lan to any port 53"]
        assert any("`ufw allow in on lan to any port 53`" in line for line in advice(world))
        follow(world, told)
        traffic.settle()
    assert changes(world, "la.yaml") == []
    assert commands(notes(world, "la.yaml")) == []
    bascule(world, "down", "la")
    assert "-i lan" not in world.run("iptables-nft", "-S", "FORWARD").stdout
    assert "-i lan -p udp" in Path("/etc/ufw/user.rules").read_text()


def test_a_firewall_that_comes_later(world: World, outside: Outside) -> None:
    """`plan` and `doctor` tell what has to be let through, and `up` does it; the line of `doctor`
    does it, too."""
    bascule(world, "up", "la.yaml")
    with Ears() as ears:
        traffic = Traffic(world, ears, outside)
        assert traffic.lost() == set()
        for program in ("iptables-nft", "ip6tables-nft"):
            world.run(program, "-A", "FORWARD", "-j", "REJECT")
        assert traffic.lost() == {"nat", "ports"}
        assert len(changes(world, "la.yaml")) == 4
        said = [line for line in advice(world) if "`bascule up` puts it back" in line]
        assert len(follow(world, said)) == 4
        traffic.settle()
        assert changes(world, "la.yaml") == []
        for program in ("iptables-nft", "ip6tables-nft"):
            world.run(program, "-F", "FORWARD")
            world.run(program, "-A", "FORWARD", "-j", "REJECT")
        bascule(world, "up", "la.yaml")
        traffic.settle()
    bascule(world, "down", "la")
    assert "lan" not in world.run("nft", "list", "ruleset").stdout


def test_who_lets_in_already_is_told_nothing(world: World, outside: Outside) -> None:
    """By any of nft's spellings, and for all interfaces."""
    rules = (
        'iifname { "lan", "other" } udp dport 53 accept',
        "tcp dport { 22, 53 } ct state new counter accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )
    text = "table inet theirs { chain input { type filter hook input priority 0; policy drop;\n"
    world.run("nft", "-f", "-", input=text + "\n".join(rules) + "\n}\n}\n")
    assert commands(notes(world, "la.yaml")) == []
    world.run("nft", "flush", "chain", "inet", "theirs", "input")
    others = ('iifname "lan2" accept', "ct state established accept", "tcp dport 530 accept")
    for rule in others:
        world.run("nft", f"add rule inet theirs input {rule}")
    assert len(commands(notes(world, "la.yaml"))) == 3
