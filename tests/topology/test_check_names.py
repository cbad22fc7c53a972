"""Names that would mean two things are refused (each case stands in tests/broken); what only looks
like it is not."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import TopologyError
from bascule.topology import edit
from bascule.topology.load import from_data
from bascule.topology.model import Attachment

FINE: dict[str, dict[str, Any]] = {
    "an alias of several nodes": {
        "a": {"networks": {"lan": {"aliases": ["www"]}}},
        "b": {"networks": {"lan": {"aliases": ["WWW"]}}},
    },
    "a node's own name": {"a": {"networks": {"lan": {"aliases": ["A", "a.lan"]}}}},
    "a name with a dot": {
        "web": {"networks": {"lan": {"aliases": ["shop.example.com"]}}},
        "shop": ["lan"],
    },
    "a network that the node is not on": {"b": ["lan"], "b.wan": ["lan"], "c": ["wan"]},
    "numbers": {"1": ["lan"], "2.1": ["lan"], "1.2.3": ["lan"]},
    "an extra host like an alias": {
        "a": {"extra_hosts": ["db=192.0.2.1"]},
        "b": {"networks": {"lan": {"aliases": ["db"]}}},
    },
    "by count": {"web": {"count": 3, "networks": {"lan": {"aliases": ["web"]}}}},
    "networks by case, for different nodes": {"a": ["LAN"], "b": ["lan"]},
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_clear_is_taken(case: str) -> None:
    """Docker allows one alias for several nodes, which then answer in turn."""
    assert from_data({"nodes": FINE[case]}).nodes


@pytest.mark.parametrize("name", ["WEB", "web.lan", "b.LAN"])
def test_a_change_of_a_lab_that_is_up_is_judged_like_a_file(name: str) -> None:
    """`node add`, and `network connect` with an alias or to a network whose name makes another
    node's."""
    lab = from_data({"networks": {"lan": {}, "wan": {}}, "nodes": {"web": ["lan"], "b": ["lan"]}})
    with pytest.raises(TopologyError, match="rename one"):
        edit.add_node_data(lab, name, {"networks": ["lan"]})
    with pytest.raises(TopologyError, match="choose another name"):
        edit.connect(
            lab,
            "b" if name.lower().startswith("web") else "web",
            Attachment("wan", aliases=(name,)),
        )
