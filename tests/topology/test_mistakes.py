"""Every mistake that a lab file can hold, with the complete message: the table is ``mistakes.txt``.

``PYTHONPATH=src python tests/topology/test_mistakes.py`` writes what is said now; read the diff
before committing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bascule.errors import Mistake, TopologyError
from bascule.topology.check import check
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Attachment, Network, Node, Topology
from bascule.topology.tree import in_order, nearest, place_in, shown

GOLDEN = Path(__file__).with_name("mistakes.txt")
_PREFACE, *_BLOCKS = GOLDEN.read_text(encoding="utf-8").split("\n=== ")


def _said(text: str, file: str) -> str:
    try:
        load_text(text.encode(), file)
    except TopologyError as error:
        return str(error)
    return "nothing"


def _parts(block: str) -> tuple[str, str, str, str]:
    """Headline, file name, text of the file, expected messages."""
    headline, _, rest = block.partition("\n")
    lines = rest.splitlines()
    text = "".join(line + "\n" for line in lines if not line.startswith("> "))
    expected = "\n".join(line[2:] for line in lines if line.startswith("> "))
    name = re.search(r": (lab\.\w+)$", headline)
    return headline, name[1] if name else "lab.yaml", text, expected


@pytest.mark.parametrize("block", _BLOCKS, ids=lambda block: block.partition("\n")[0])
def test_all_mistakes_are_named_at_once_in_order(block: str) -> None:
    _, file, text, expected = _parts(block)
    assert _said(text, file) == expected


def test_mistakes_in_data_have_a_path_and_no_position() -> None:
    with pytest.raises(TopologyError) as caught:
        from_data({"networks": {"lan": {"mtu": 3}}, "nodes": {"a": ["lam"]}}, "script")
    assert str(caught.value).splitlines() == [
        "script: networks.lan.mtu: 3 is out of range; write a number from 68 to 65535",
        "script: nodes.a.networks.lam: unknown network 'lam'; did you mean 'lan'?",
    ]
    assert [mistake.line for mistake in caught.value.mistakes] == [0, 0]


def test_hundreds_of_mistakes_are_cut_short() -> None:
    text = "networks: {lan: {}}\nnodes:\n" + "".join(
        f"  n{number}: [wan]\n" for number in range(5000)
    )
    with pytest.raises(TopologyError) as caught:
        load_text(text.encode(), "lab.yaml")
    assert len(caught.value.mistakes) == 201
    # Reading stopped at twice as many.
    assert caught.value.mistakes[-1] == Mistake("lab.yaml", 0, 0, "", "and 201 more mistakes")
    assert (
        str(caught.value.mistakes[0])
        == "lab.yaml:3:8: nodes.n0.networks.wan: unknown network 'wan'; did you mean 'lan'?"
    )


def test_two_hundred_mistakes_are_all_shown() -> None:
    """From the next one on the rest is counted, in a line without a place."""
    for count, last in (
        (200, "script: nodes.n199.networks.wan: unknown network 'wan'"),
        (201, "script: and 1 more mistakes"),
    ):
        with pytest.raises(TopologyError) as caught:
            from_data(
                {"networks": {}, "nodes": {f"n{number}": ["wan"] for number in range(count)}},
                "script",
            )
        assert str(caught.value).splitlines()[-1].startswith(last)
        assert len(caught.value.mistakes) == count


def test_mistakes_of_one_place_stay_in_the_order_of_their_finding() -> None:
    """By line, then by column as numbers; each once."""
    places = [(2, 1, "b"), (10, 1, "x"), (2, 11, "c"), (2, 9, "z"), (2, 9, "a"), (2, 1, "b")]
    found = in_order([Mistake("f", line, column, "", text) for line, column, text in places])
    assert [mistake.message for mistake in found] == ["b", "z", "a", "c", "x"]


def test_names_in_messages_are_short_and_safe() -> None:
    """At most 60 characters, and nothing that a terminal would obey."""
    assert shown("x" * 60) == "x" * 60
    assert shown("x" * 61) == "x" * 59 + "…"
    assert shown("\x1b[1m\u202e") == "\\x1b[1m\\u202e"


def test_a_hint_is_looked_for_among_three_hundred_names() -> None:
    """difflib takes quadratic time: a file with a hundred thousand nodes is not to wait for it."""
    names = [f"{number:05}" for number in range(299)]
    assert nearest("network", [*names, "networks"]) == "; did you mean 'networks'?"
    assert nearest("network", [*names, "x", "networks"]) == ""
    assert nearest("n" * 80, ["n" * 79]) == f"; did you mean '{'n' * 59}…'?"
    assert nearest("n" * 81, ["n" * 80]) == ""


def test_places_count_lines_and_columns_from_one() -> None:
    """A line break belongs to the line that it ends."""
    assert [place_in("\nab\n\nc", offset) for offset in range(6)] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 1),
        (4, 1),
    ]


def test_topologies_built_in_code_are_judged_too() -> None:
    """What no file can say: a network that is not there, or one node on it twice."""
    lan = Attachment("lan", interface="eth0", host_interface="p0")
    node = Node(
        "a",
        (
            lan,
            lan,
            Attachment("wan", interface="eth1"),
            Attachment("lan"),
            Attachment("x", interface="eth1"),
        ),
    )
    assert check(Topology("t", (Network("lan"),), (node,))) == [
        (
            ("nodes", "a", "networks", "lan", "host_interface"),
            "'p0' is taken by node a; each host interface needs its own name",
        ),
        (("nodes", "a", "networks", "lan"), "the node is attached to this network twice; keep one"),
        (("nodes", "a", "networks", "wan"), "unknown network 'wan'"),
        (("nodes", "a", "networks", "lan"), "the node is attached to this network twice; keep one"),
        (
            ("nodes", "a", "networks", "x", "interface"),
            "'eth1' is the interface on wan already; choose another name",
        ),
        (("nodes", "a", "networks", "x"), "unknown network 'x'"),
    ]


def _write() -> None:
    out = _PREFACE
    for block in _BLOCKS:
        headline, file, text, _ = _parts(block)
        out += f"\n=== {headline}\n{text}" + "".join(
            f"> {line}\n" for line in _said(text, file).splitlines()
        )
    GOLDEN.write_text(out, encoding="utf-8")


if __name__ == "__main__":
    _write()
