"""What holds for every lab: allocation, the way through the file and back, and a loader that never
falls over."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import TopologyError
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.links import joined
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Assigned
from topology.labs import labs


@given(labs())
def test_every_attachment_gets_one_good_address_of_each_subnet(data: dict[str, Any]) -> None:
    lab = assign(from_data(data))
    networks = {network.name: network for network in lab.networks}
    taken: Counter[tuple[str, object]] = Counter()
    macs: Counter[tuple[str, str]] = Counter()
    for network in lab.networks:
        assert network.subnets and network.mac
        assert len(network.gateways) == (len(network.subnets) if network.has_gateway else 0)
        taken.update((network.name, gateway) for gateway in network.gateways)
        macs[network.name, network.mac] += 1
    for node in lab.nodes:
        for item in node.attachments:
            subnets = networks[item.network].subnets
            assert len(item.addresses) == len(subnets)
            for address, subnet in zip(item.addresses, subnets, strict=True):
                assert address in subnet and address != subnet.network_address
                assert subnet.version == 6 or address != subnet.broadcast_address
                taken[item.network, address] += 1
            assert item.mac and item.interface and item.host_interface
            macs[item.network, item.mac] += 1
    assert max(taken.values(), default=1) == 1
    assert max(macs.values(), default=1) == 1


@given(labs())
def test_names_never_clash(data: dict[str, Any]) -> None:
    lab = from_data(data)
    outside = [item.host_interface for node in lab.nodes for item in node.attachments] + [
        net.name for net in lab.networks
    ]
    outside += [end.interface for link in lab.links for end in link.ends if end.network]
    assert len(set(outside)) == len(outside)
    for node in joined(lab):
        assert len({item.interface for item in node.attachments}) == len(node.attachments)


@given(labs())
def test_a_lab_survives_the_way_through_its_words(data: dict[str, Any]) -> None:
    topology = from_data(data)
    assigned = assign(topology)
    assert from_data(to_data(topology)) == topology
    assert from_data(to_data(assigned)) == assigned
    assert assign(load_text(to_yaml(topology).encode(), "x.yaml")) == assigned
    assert assign(load_text(to_yaml(assigned).encode(), "x.yaml")) == assigned


@given(labs())
def test_assigning_again_changes_nothing(data: dict[str, Any]) -> None:
    topology = from_data(data)
    assigned = assign(topology)
    assert assign(topology) == assigned
    assert assign(assigned) == assigned
    assert assign(topology, assigned) == assigned
    subnets = [subnet for network in assigned.networks for subnet in network.subnets]
    assert assign(topology, assigned, busy=subnets) == assigned


@given(labs(), st.data())
def test_what_stays_in_the_file_keeps_its_addresses(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    before = assign(from_data(data))
    gone = draw.draw(st.sets(st.sampled_from(sorted(data["nodes"]) or ["none"])))
    data["nodes"] = {
        "n00": list(data["networks"]),
        **{name: node for name, node in data["nodes"].items() if name not in gone},
    }
    data.pop("links", None)
    after = assign(from_data(data), before)
    had = _addresses(before)
    for key, addresses in _addresses(after).items():
        assert key not in had or had[key] == addresses


def _addresses(lab: Assigned) -> dict[tuple[str, str], object]:
    return {
        (node.name, item.network): item.addresses for node in lab.nodes for item in node.attachments
    }


def _never_raises_but_topology_error(text: bytes, name: str) -> None:
    try:
        load_text(text, name)
    except TopologyError as error:
        assert error.mistakes
        assert all(
            "\n" not in str(mistake) and str(mistake).isprintable() for mistake in error.mistakes
        )


NAMES = st.sampled_from(["lab.yaml", "lab.json", "lab.toml", "lab"])


@given(st.binary(max_size=200), NAMES)
def test_any_bytes(text: bytes, name: str) -> None:
    _never_raises_but_topology_error(text, name)


_TEXTS = """nodes networks lan subnet 10.0.0.0/24 count 5 true null ns1 routes sysctls 0x 1e5 & a *a << | > !t ? % @
{ } [ ] : , - = . " ' # \\ \\ud800 [[ ]] '''"""  # noqa: E501
_PIECES = [*_TEXTS.split(), '"""', "\n", "\n  ", " ", "\t", ": ", "- "]


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join), NAMES)
def test_any_text_that_looks_like_a_lab(text: str, name: str) -> None:
    _never_raises_but_topology_error(text.encode(), name)


_WORDS = """name networks nodes subnet gateway mtu mac address ipv4_address ipv6_address interface host_interface mac_address
routes sysctls count to via dev metric lan wan ns1 ns2 net.ipv4.ip_forward"""  # noqa: E501
_KEYS = st.sampled_from(_WORDS.split())
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.binary(max_size=3), st.complex_numbers(),  # noqa: E501
    st.sampled_from(["none", "default", "10.0.0.0/24", "10.0.0.1", "fd00::/64", "fd00::5", "10.0.0.0/24 via 10.0.0.1", "lan",  # noqa: E501
                     "02:00:00:00:00:01", "default via fd00::1 dev eth0 metric 5", "net.ipv4.ip_forward=1", "\ud800", "a/b%c"]),  # noqa: E501
)  # fmt: skip
_DATA = st.recursive(
    _SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(_KEYS | _SCALARS, below, max_size=4)
    ),
    max_leaves=25,
)
_NOUNS = st.dictionaries(_KEYS, _DATA, max_size=3)
_LAB = st.fixed_dictionaries({}, optional={"name": _DATA, "networks": _NOUNS, "nodes": _NOUNS})


@given(_LAB | _DATA)
def test_any_data(data: object) -> None:
    try:
        topology = from_data(data)
    except TopologyError as error:
        assert error.mistakes
        assert all(
            "\n" not in str(mistake) and str(mistake).isprintable() for mistake in error.mistakes
        )
    else:
        assert from_data(to_data(topology)) == topology


def test_errors_are_topology_errors_even_for_objects() -> None:
    with pytest.raises(TopologyError, match="must be a map, not a object"):
        from_data(object())
