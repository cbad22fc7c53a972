"""Nothing is taken over, nothing is removed that the lab did not make: whose a fact is, and what is
said where it clashes."""

from __future__ import annotations

import pytest

from bascule.kernel.address import Address
from bascule.kernel.bridge import Bridge
from bascule.kernel.fact import Claim, Fact
from bascule.kernel.file import Symlink, TextFile
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Indexes
from bascule.kernel.ruleset import ForwardAccept
from bascule.kernel.veth import End, Veth
from bascule.plan import owner

BRIDGE = Bridge("", "lan", 1500, "02:00:00:00:00:01")
VETH = Veth(
    End("", "veth-a", 1500, "02:00:00:00:00:02", "lan"),
    End("a", "eth0", 1500, "02:00:00:00:00:03"),
)
ANOTHERS = (
    "leads to files of lab other, which is up where /run is another; choose another name, or "
    "remove what it left"
)
LINK = Symlink("/etc/netns/a", "/run/bascule/lab/etc/lan")


def _mine(
    fact: Fact,
    namespaces: dict[str, int] | None = None,
    seen: dict[tuple[str, str], int] | None = None,
) -> bool:
    own, foreign = owner.split(Claim("lab", namespaces or {}, Indexes(3).range, seen or {}), [fact])
    assert own + foreign == [fact]
    return own == [fact]


@pytest.mark.parametrize("link", [BRIDGE, VETH], ids=["bridge", "veth"])
@pytest.mark.parametrize(
    ("index", "mine"),
    [
        (Indexes.FIRST + 1_199_999, False),
        (Indexes.FIRST + 1_200_000, True),
        (Indexes.FIRST + 1_599_999, True),
        (Indexes.FIRST + 1_600_000, False),
        (101_200_000, False),
        (7, False),
        (None, False),
    ],
)
def test_a_link_is_known_by_its_index(link: Fact, index: int | None, mine: bool) -> None:
    """It lies in the lab's own range; a link whose index nobody saw is nobody's."""
    seen = {} if index is None else {("", link.key[2]): index}
    assert _mine(link, {}, seen) is mine


def test_a_link_of_a_node_does_not_speak_for_one_of_the_world() -> None:
    """Names are by namespace: `lan` inside a node is another link."""
    assert not _mine(BRIDGE, {}, {("a", "lan"): Indexes.FIRST + 1_200_000})


@pytest.mark.parametrize(
    ("target", "mine"),
    [
        ("/run/bascule/lab/etc/lan", True),
        ("/run/bascule/lab2/etc/lan", False),
        ("/run/bascule/lab", False),
        ("/srv/run/bascule/lab/etc", False),
    ],
)
def test_a_link_in_etc_is_known_by_where_it_points(target: str, mine: bool) -> None:
    """Into the lab's own folder."""
    assert _mine(Symlink("/etc/netns/a", target)) is mine


def test_a_namespace_that_the_record_does_not_name_is_foreign() -> None:
    """Even one whose cookie the kernel does not tell."""
    assert not _mine(Namespace("a"), {"b": 0})
    assert not _mine(Namespace("a", cookie=7), {"b": 7})
    assert _mine(Namespace("a"), {"a": 9})


@pytest.mark.parametrize(
    "fact",
    [TextFile("/run/bascule/lab/etc/x", ""), ForwardAccept("ip", "filter", "FORWARD", "lan")],
)
def test_what_is_looked_for_by_our_own_mark_is_ours(fact: Fact) -> None:
    """A file in the lab's folder, a rule with our comment."""
    assert _mine(fact)


def test_what_lies_in_a_foreign_namespace_is_foreign_whatever_comes_first() -> None:
    """A veth may bear our index: its other end is in somebody's node."""
    facts: list[Fact] = [
        Address("a", "eth0", "10.0.0.2", 24),
        VETH,
        Address("", "lan", "10.0.0.1", 24),
        BRIDGE,
        Namespace("a"),
    ]
    seen = {("", "veth-a"): Indexes.FIRST + 1_200_001, ("", "lan"): Indexes.FIRST + 1_200_000}
    ordered = sorted(facts, key=lambda fact: fact.key[0] != "namespace")
    own, foreign = owner.split(Claim("lab", {}, Indexes(3).range, seen), ordered)
    assert own == [BRIDGE, Address("", "lan", "10.0.0.1", 24)]
    assert foreign == [Namespace("a"), VETH, Address("a", "eth0", "10.0.0.2", 24)]


OTHERS = "belongs to lab other; choose another name, or `bascule down other` first"
STRANGERS = "is there already and bascule did not make it; choose another name, or remove it first"


@pytest.mark.parametrize(
    ("want", "there", "owners", "expected"),
    [
        (BRIDGE, BRIDGE, {}, [f"bridge lan mtu 1500 {STRANGERS}"]),
        (BRIDGE, BRIDGE, {("link", "lan"): "other"}, [f"bridge lan mtu 1500 {OTHERS}"]),
        (BRIDGE, VETH, {}, []),
        (Namespace("a"), Namespace("a", cookie=3), {}, [f"namespace a {STRANGERS}"]),
        (Namespace("a"), Namespace("a"), {("namespace", "a"): "other", ("link", "a"): "x"}, [f"namespace a {OTHERS}"]),  # noqa: E501
        (
            LINK,
            Symlink(LINK.path, "/run/bascule/other/etc/lan"),
            {},
            [f"/etc/netns/a {ANOTHERS}"],
        ),
        (LINK, Symlink(LINK.path, "/srv"), {}, ["/etc/netns/a is there already and bascule did not make it; move it away"]),  # noqa: E501
        (Address("", "lan", "10.0.0.1", 24), Address("", "lan", "10.0.0.1", 24), {}, []),
    ],
)  # fmt: skip
def test_one_sentence_for_each_thing_that_somebody_else_has(
    want: Fact, there: Fact, owners: dict[tuple[str, str], str], expected: list[str]
) -> None:
    """It names the lab where one has it, and says what to do. What hangs on something foreign is
    not a clash of its own."""
    assert owner.conflicts([want], [], [there], {}, owners) == expected


def test_an_interface_of_a_kind_that_is_no_fact_stands_in_the_way_too() -> None:
    """A dummy or a card of the machine has the bridge's name: only its index was seen."""
    seen = {("", "lan"): 5, ("a", "veth-a"): 6}
    assert owner.conflicts([BRIDGE, VETH, Namespace("lan")], [], [], seen, {}) == [
        f"interface lan {STRANGERS}"
    ]
    assert owner.conflicts([BRIDGE], [BRIDGE], [], seen, {}) == []
    assert owner.conflicts([BRIDGE], [], [], seen, {("link", "lan"): "other"}) == [
        f"interface lan {OTHERS}"
    ]


def test_all_clashes_are_named_in_the_order_of_the_lab() -> None:
    """One run shows all."""
    found = owner.conflicts(
        [BRIDGE, Namespace("a"), LINK], [], [LINK, Namespace("a"), BRIDGE], {}, {}
    )
    assert [line.split()[0] for line in found] == ["bridge", "namespace", "/etc/netns/a"]
