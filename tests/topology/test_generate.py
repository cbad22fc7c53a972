"""Generated labs: what their graphs are, and how they come into a file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.cli import commands
from bascule.errors import InputError, TopologyError
from bascule.topology import generate
from bascule.topology.addressing import assign
from bascule.topology.generate import KINDS
from bascule.topology.load import from_data, load_text


def _degrees(data: dict[str, Any]) -> list[int]:
    ends = [end for link in data["links"] for end in link]
    return sorted(ends.count(node) for node in data["nodes"])


def _reached(data: dict[str, Any]) -> set[str]:
    """What is joined to the first node, over any number of links."""
    found, new = set[str](), {next(iter(data["nodes"]))}
    while new:
        found |= new
        new = {end for link in data["links"] if set(link) & new for end in link} - found
    return found


@pytest.mark.parametrize(
    ("made", "degrees"),
    [
        (generate.line(5), [1, 1, 2, 2, 2]),
        (generate.ring(5), [2, 2, 2, 2, 2]),
        (generate.star(5), [1, 1, 1, 1, 4]),
        (generate.tree(depth=2, fanout=3), [1] * 9 + [3] + [4] * 3),
        (generate.mesh(5), [4] * 5),
        (generate.grid(rows=2, columns=3), [2, 2, 2, 2, 3, 3]),
        (generate.grid(rows=1, columns=1), [0]),
        (generate.leaf_spine(leaves=3, spines=2, hosts=4), [1] * 12 + [3] * 2 + [6] * 3),
        (generate.leaf_spine(leaves=3, spines=2, hosts=0), [2, 2, 2, 3, 3]),
    ],
)
def test_the_graph_is_what_its_kind_says(made: dict[str, Any], degrees: list[int]) -> None:
    assert _degrees(made) == degrees
    assert _reached(made) == set(made["nodes"])


@given(st.integers(2, 30), st.integers(0, 9), st.data())
def test_a_random_graph_is_connected_and_the_same_for_its_seed(
    nodes: int, seed: int, more: st.DataObject
) -> None:
    links = more.draw(st.integers(nodes - 1, nodes * (nodes - 1) // 2))
    made = generate.random(nodes=nodes, links=links, seed=seed)
    assert len({frozenset(link) for link in made["links"]}) == len(made["links"]) == links
    assert all(len(set(link)) == 2 for link in made["links"])
    assert len(made["nodes"]) == nodes and _reached(made) == set(made["nodes"])
    assert generate.random(nodes=nodes, links=links, seed=seed) == made


def test_another_seed_gives_another_graph() -> None:
    first, second = (generate.random(nodes=20, seed=seed)["links"] for seed in (1, 2))
    assert first != second and len(first) == len(second) == 30


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_lab_also_without_a_number(kind: str) -> None:
    made = generate.generate(kind)
    lab = assign(from_data({"generate": {"kind": kind}}))
    assert lab == assign(from_data(made))
    assert lab.routing == "static"
    hosts = [node.name for node in lab.nodes if not node.forward]
    assert all(name.startswith("host") for name in hosts)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("ring", {"nodes": 2}),
        ("mesh", {"nodes": 448}),  # 100,128 links
        ("mesh", {"nodes": 100_000}),
        ("tree", {"depth": 100_000, "fanout": 100_000}),
        ("grid", {"rows": 100_000, "columns": 100_000}),
        ("leaf-spine", {"leaves": 100_000, "spines": 100_000, "hosts": 100_000}),
        ("random", {"nodes": 4, "links": 7}),
        ("random", {"nodes": 4, "links": 2}),
        ("line", {"depth": 1}),
        ("rung", {}),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind: str, numbers: dict[str, int]) -> None:
    with pytest.raises(InputError):
        generate.generate(kind, **numbers)
    with pytest.raises(TopologyError) as told:
        from_data({"generate": {"kind": kind, **numbers}})
    assert all(mistake.path.startswith("generate") for mistake in told.value.mistakes)


def test_the_files_own_words_are_added() -> None:
    lab = load_text(
        b"""
generate: {kind: line, nodes: 3}
routing: none
networks: {lan: {}}
nodes:
  n1: {loopback: 10.0.0.1, forward: false}
  n2: [lan]
  n3:
  server: {}
links: [[n1, server]]
""",
        "lab.yaml",
    )
    nodes = {node.name: node for node in lab.nodes}
    assert [node.forward for node in lab.nodes] == [False, True, True, False]
    assert [str(address) for address in nodes["n1"].loopback] == ["10.0.0.1/32"]
    assert [item.network for item in nodes["n2"].attachments] == ["lan"]
    assert lab.routing in ("", "none")
    ends = [[f"{end.node}:{end.interface}" for end in link.ends] for link in lab.links]
    assert ends == [
        ["n1:eth0", "n2:eth1"],
        ["n2:eth2", "n3:eth0"],
        ["n1:eth1", "server:eth0"],
    ]


def test_a_list_of_names_is_more_nodes() -> None:
    lab = from_data({"generate": {"kind": "line"}, "nodes": ["n1", "server"]})
    assert [node.name for node in lab.nodes] == ["n1", "n2", "n3", "server"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_leaves_out_what_a_file_leaves_out(kind: str) -> None:
    made = getattr(generate, kind.replace("-", "_"))()
    assert made == generate.generate(kind)


def test_the_command_knows_all_kinds() -> None:
    assert tuple(KINDS) == commands._KINDS


def test_each_subnet_of_a_link_is_its_own_also_of_many() -> None:
    """Told of the right one of many that do not clash."""
    links = [
        {"ends": ["a", "b"], "subnet": f"10.{number // 256}.{number % 256}.0/31"}
        for number in range(300)
    ]
    links.append({"ends": ["a", "b"], "subnet": "10.0.77.0/30"})
    with pytest.raises(TopologyError) as told:
        from_data({"nodes": ["a", "b"], "links": links})
    (mistake,) = told.value.mistakes
    assert mistake.path == "links[300].subnet"
    assert mistake.message.startswith("10.0.77.0/30 overlaps 10.0.77.0/31 of link a:eth77")
