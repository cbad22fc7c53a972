"""Edits give new, checked topologies, and say what stands in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from bascule.errors import InputError, NotFound, TopologyError
from bascule.topology import edit
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Attachment, Node, Route, Topology

EVERYTHING = Path(__file__).parents[1] / "crash" / "labs" / "everything.yaml"
LAB = from_data(
    {
        "name": "t",
        "networks": {"lan": {"subnet": "10.0.0.0/24"}, "wan": {"subnet": "10.1.0.0/24"}},
        "nodes": {"a": ["lan", "wan"], "b": ["lan"]},
    }
)


def test_add_network() -> None:
    grown = edit.add_network(LAB, "dmz", {"subnet": "10.2.0.0/24"})
    assert [network.name for network in grown.networks] == ["lan", "wan", "dmz"]
    assert grown.nodes == LAB.nodes
    with pytest.raises(InputError, match="network lan is there already"):
        edit.add_network(LAB, "lan", {})
    with pytest.raises(
        TopologyError, match=r"networks\.dmz\.subnet: 10\.0\.0\.0/16 overlaps 10\.0\.0\.0/24 of lan"
    ):
        edit.add_network(LAB, "dmz", {"subnet": "10.0.0.0/16"})


def test_remove_network() -> None:
    with pytest.raises(
        InputError,
        match=r"network lan has nodes attached \(a, b\); disconnect them first, or use force",
    ):
        edit.remove_network(LAB, "lan")
    with pytest.raises(NotFound, match="no network lam; did you mean 'lan'"):
        edit.remove_network(LAB, "lam")
    without = edit.remove_network(LAB, "lan", force=True)
    assert [network.name for network in without.networks] == ["wan"]
    assert [[item.interface for item in node.attachments] for node in without.nodes] == [
        ["eth1"],
        [],
    ]


def test_prune_networks() -> None:
    """Those without nodes go; where none is, all is as it was."""
    spare = edit.add_network(edit.add_network(LAB, "dmz", {}), "more", {})
    assert edit.prune_networks(spare) == LAB
    assert edit.prune_networks(LAB) is LAB


def test_a_route_through_a_network_keeps_it() -> None:
    node = Node(
        "c", (Attachment("wan"),), (Route(ip_network("10.9.0.0/16"), ip_address("10.1.0.1")),)
    )
    grown = edit.add_node(LAB, node)
    with pytest.raises(TopologyError, match="next hop"):
        edit.disconnect(grown, "c", "wan")


def test_add_and_remove_node() -> None:
    grown = edit.add_node(LAB, Node("c", (Attachment("wan"),)))
    assert grown.nodes[2] == Node("c", (Attachment("wan", (), "eth0", "veth-c"),))
    assert edit.remove_node(grown, "c") == LAB
    with pytest.raises(InputError, match="node a is there already"):
        edit.add_node(LAB, Node("a"))
    with pytest.raises(NotFound, match="no node z; there are a, b"):
        edit.remove_node(LAB, "z")
    with pytest.raises(TopologyError, match="unknown network 'lam'"):
        edit.add_node(LAB, Node("c", (Attachment("lam"),)))


def test_connect_in_the_files_words() -> None:
    """As by an attachment; a mistake is named with its path, also where the node can't have any."""
    fields = {"address": ["10.1.0.9"], "aliases": ["x"], "mtu": 1400}
    made = Attachment("wan", (ip_address("10.1.0.9"),), mtu=1400, aliases=("x",))
    assert edit.connect_data(LAB, "b", "wan", fields) == edit.connect(LAB, "b", made)
    with pytest.raises(TopologyError, match=r"nodes\.b\.networks\.wan\.address\[0\]: 'x' is no IP"):
        edit.connect_data(LAB, "b", "wan", {"address": ["x"]})
    host = edit.add_node_data(LAB, "c", {"network_mode": "host"})
    with pytest.raises(TopologyError, match=r"means nothing with `network_mode: host`"):
        edit.connect_data(host, "c", "lan", {})


def test_add_node_in_the_files_words() -> None:
    grown = edit.add_node_data(
        LAB, "web", {"networks": ["lan"], "count": 2, "sysctls": [], "routes": []}
    )
    assert [node.name for node in grown.nodes] == ["a", "b", "web1", "web2"]
    with pytest.raises(TopologyError, match="web1 is made by the count of `web` too"):
        edit.add_node_data(grown, "web", {"count": 1})


def test_an_edit_reads_one_node_and_judges_all() -> None:
    """It says what the whole file would say, also of nodes that are not read anew."""
    lab = assign(from_data(json.loads(json.dumps(to_data(_everything())))))
    first = next(node for node in lab.nodes if any(item.addresses for item in node.attachments))
    item = first.attachments[0]
    fields = {"networks": {item.network: {}}}
    whole = to_data(lab)
    whole["nodes"]["more"] = fields
    assert edit.add_node_data(lab, "more", fields) == from_data(whole)
    fields["networks"][item.network] = {"address": str(item.addresses[0])}
    with pytest.raises(TopologyError, match=f"is taken by node {first.name}"):
        edit.add_node_data(lab, "more", fields)
    last = lab.nodes[-1]
    assert edit.remove_node(edit.add_node_data(lab, "more", {}), "more") == from_data(to_data(lab))
    assert [node.name for node in edit.remove_node(lab, last.name).nodes] == [
        node.name for node in lab.nodes[:-1]
    ]


def _everything() -> Topology:
    return load_text(EVERYTHING.read_bytes(), str(EVERYTHING))


def test_connect_takes_the_next_free_names() -> None:
    grown = edit.connect(LAB, "b", Attachment("wan", (ip_address("10.1.0.9"),)))
    assert grown.nodes[1].attachments[1] == Attachment(
        "wan", (ip_address("10.1.0.9"),), "eth1", "veth-b-1"
    )
    moved = edit.connect(edit.disconnect(LAB, "a", "lan"), "a", Attachment("lan"))
    assert [(item.interface, item.host_interface) for item in moved.nodes[0].attachments] == [
        ("eth1", "veth-a-1"),
        ("eth2", "veth-a-2"),
    ]


def test_connect_and_disconnect_name_what_is_missing() -> None:
    with pytest.raises(NotFound, match="no node c; there are a, b"):
        edit.connect(LAB, "c", Attachment("lan"))
    with pytest.raises(NotFound, match="no network lam; did you mean 'lan'"):
        edit.connect(LAB, "a", Attachment("lam"))
    with pytest.raises(InputError, match="node a is attached to network lan already"):
        edit.connect(LAB, "a", Attachment("lan"))
    with pytest.raises(NotFound, match="node b is not attached to network wan; it is on lan"):
        edit.disconnect(LAB, "b", "wan")
    with pytest.raises(TopologyError, match=r"10\.0\.0\.7 is outside 10\.1\.0\.0/24 of wan"):
        edit.connect(LAB, "b", Attachment("wan", (ip_address("10.0.0.7"),)))


def test_an_edit_renames_nothing() -> None:
    """A new node that asks for another's derived name is refused; at first reading of a file it
    would come first."""
    with pytest.raises(TopologyError, match="'veth-b' is taken by node b"):
        edit.add_node(LAB, Node("c", (Attachment("lan", (), "", "veth-b"),)))


def test_edits_of_what_runs_keep_its_addresses() -> None:
    running = assign(LAB)
    grown = assign(edit.add_node(running, Node("c", (Attachment("lan"),))))
    assert grown.nodes[:2] == running.nodes
    assert str(grown.nodes[2].attachments[0].addresses[0]) == "10.0.0.4"


def test_from_nothing() -> None:
    empty = Topology("t")
    assert edit.add_node(empty, Node("a")).nodes == (Node("a"),)
    with pytest.raises(NotFound, match="no node a; there are none"):
        edit.remove_node(empty, "a")


def test_a_network_in_use_names_five_of_its_nodes() -> None:
    """More than five fill the line."""
    for count, names in (
        (5, "n1, n2, n3, n4, n5"),
        (6, "n1, n2, n3, n4, n5 and 1 more"),
        (9, "n1, n2, n3, n4, n5 and 4 more"),
    ):
        lab = from_data({"nodes": {"n": {"count": count, "networks": ["lan"]}}})
        with pytest.raises(InputError) as caught:
            edit.remove_network(lab, "lan")
        assert (
            str(caught.value)
            == f"network lan has nodes attached ({names}); disconnect them first, or use force"
        )


def test_what_is_there_is_named_eight_times_at_most() -> None:
    """Enough to see what kind of names there are."""
    lab = from_data({"nodes": [f"node{number}" for number in range(9)]})
    with pytest.raises(NotFound) as caught:
        edit.remove_node(lab, "x")
    assert str(caught.value) == "no node x; there are " + ", ".join(
        f"node{number}" for number in range(8)
    )


MORE = edit.add_node(edit.add_network(LAB, "x", {}), Node("c"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: edit.add_node_data(LAB, "a", {}), "node a is there already; choose another name, or remove it first"),  # noqa: E501
        (lambda: edit.add_node(LAB, Node("a")), "node a is there already; choose another name, or remove it first"),  # noqa: E501
        (lambda: edit.add_node_data(LAB, "c", {"count": "x"}), "edit: nodes.c.count: must be a whole number, not text"),  # noqa: E501
        (lambda: edit.add_network(LAB, "lo", {}), "edit: networks.lo: 'lo' is reserved by the kernel; choose another name"),  # noqa: E501
        (lambda: edit.disconnect(LAB, "c", "lan"), "no node c; there are a, b"),
        (lambda: edit.disconnect(LAB, "a", "dmz"), "no network dmz; there are lan, wan"),
        (lambda: edit.disconnect(MORE, "a", "x"), "node a is not attached to network x; it is on lan, wan"),  # noqa: E501
        (lambda: edit.disconnect(MORE, "c", "lan"), "node c is not attached to network lan; it is on none"),  # noqa: E501
        (lambda: edit.connect(LAB, "c", Attachment("lan")), "no node c; there are a, b"),
        (lambda: edit.connect(LAB, "a", Attachment("x")), "no network x; there are lan, wan"),
        (lambda: edit.remove_network(LAB, "x"), "no network x; there are lan, wan"),
        (lambda: edit.remove_network(Topology("t"), "x"), "no network x; there are none"),
    ],
)  # fmt: skip
def test_what_an_edit_says(change: Callable[[], Topology], message: str) -> None:
    """The noun, the name, what there is; mistakes that the loader finds come from `edit`, not from
    a file."""
    with pytest.raises(InputError) as caught:
        change()
    assert str(caught.value) == message
