"""The outline of a stored lab says what the whole lab says, and of a damaged one what is whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from bascule.topology.addressing import assign
from bascule.topology.dump import to_data
from bascule.topology.load import from_data
from bascule.topology.outline import Outline
from topology.labs import labs


@given(labs())
def test_it_agrees_with_the_lab(data: dict[str, Any]) -> None:
    lab = assign(from_data(data))
    outline = Outline(to_data(lab))
    assert outline.nodes == tuple(node.name for node in lab.nodes)
    assert outline.networks == tuple(network.name for network in lab.networks)
    assert outline.labels == dict(lab.labels)
    assert list(outline.subnets()) == [
        (network.name, subnet) for network in lab.networks for subnet in network.subnets
    ]
    assert list(outline.ports()) == [port for node in lab.nodes for port in node.ports]
    assert sorted(outline.links()) == sorted(
        [network.name for network in lab.networks]
        + [item.host_interface for node in lab.nodes for item in node.attachments]
        + [end.interface for link in lab.links for end in link.ends if end.network]
    )
    assert outline.leases() == any(network.dhcp for network in lab.networks)
    for node in lab.nodes:
        assert outline.has_node(node.name)
        assert outline.hostname(node.name) == (node.hostname or node.name)
    assert not outline.has_node("none such")


def test_of_a_lab_that_is_taken_away() -> None:
    """There is nothing to be told."""
    outline = Outline(None)
    assert (outline.nodes, outline.networks, outline.labels) == ((), (), {})
    assert not [*outline.links(), *outline.subnets(), *outline.ports()]
    assert not outline.leases()
    assert outline.hostname("a") == "a"


@pytest.mark.parametrize("wrong", [None, 7, "x", [], ["x", 7], {"a": 1}])
def test_what_is_damaged_is_left_out(wrong: Any) -> None:
    """The rest is told."""
    outline = Outline(
        {
            "labels": wrong if not isinstance(wrong, dict) else 7,
            "networks": {"lan": None, "wan": {"subnet": wrong}, "dmz": {"subnet": "10.1.0.0/24"}},
            "nodes": {
                "a": None,
                "b": {"ports": wrong, "hostname": wrong, "networks": {"lan": wrong}},
                "c": {"ports": ["80:8080"], "networks": {"lan": {"host_interface": "veth-c"}}},
            },
        }
    )
    assert outline.nodes == ("a", "b", "c")
    assert outline.labels == {}
    assert [name for name, _subnet in outline.subnets() if name != "wan"] == ["dmz"]
    assert [port.published for port in outline.ports()][-1:] == [80]
    assert list(outline.links()) == ["lan", "wan", "dmz", "veth-c"]
    assert outline.hostname("b") == ("x" if wrong == "x" else "b")
