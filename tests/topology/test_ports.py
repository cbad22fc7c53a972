"""Published ports: the short form and back, which two clash, and which port of the host is chosen
where none is named."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.topology import ports
from bascule.topology.model import Node, Port, Topology
from bascule.topology.ports import Taken, bound_to, clashes, families, port, port_text, publish
from bascule.topology.values import Wrong

V4, V6, ANY4, ANY6 = (ip_address(text) for text in ("127.0.0.1", "fd00::1", "0.0.0.0", "::"))  # noqa: S104

FORMS = {
    "80": Port("tcp", 80),
    "8080:80": Port("tcp", 80, 8080),
    "1:65535": Port("tcp", 65535, 1),
    "65535:1/udp": Port("udp", 1, 65535),
    "53/sctp": Port("sctp", 53),
    "5000-5010:6000-6010": Port("tcp", 6000, 5000, 11),
    "6000-6010": Port("tcp", 6000, 0, 11),
    "127.0.0.1:8080:80": Port("tcp", 80, 8080, 1, V4),
    "127.0.0.1::80/udp": Port("udp", 80, 0, 1, V4),
    "[fd00::1]:8080-8081:80-81": Port("tcp", 80, 8080, 2, V6),
    "[fd00::1]::80": Port("tcp", 80, 0, 1, V6),
    "0.0.0.0:8080:80": Port("tcp", 80, 8080, 1, ANY4),
    "[::]:8080:80": Port("tcp", 80, 8080, 1, ANY6),
}


@pytest.mark.parametrize("text", FORMS)
def test_the_short_form(text: str) -> None:
    assert port(text) == FORMS[text]
    assert port_text(FORMS[text]) == text


SAME = {
    "80/tcp": "80",
    "80-80": "80",
    ":80": "80",
    "8080-8080:80": "8080:80",
    "[127.0.0.1]:1:2": "127.0.0.1:1:2",
    "080": "80",
}


@pytest.mark.parametrize("text", SAME)
def test_other_spellings(text: str) -> None:
    assert port_text(port(text)) == SAME[text]


NO_PORT = "'{}' is no port; write one like '8080:80', '127.0.0.1:8080:80/udp' or '80'"
NO_NUMBER = "'{}' in '{}' is no port; write a number from 1 to 65535, or a range like 5000-5010"
WRONG = {
    "": NO_PORT.format(""),
    "1:2:3:4": NO_PORT.format("1:2:3:4"),
    "fd00::1:80:80": NO_PORT.format("fd00::1:80:80"),
    "80/tcp/udp": NO_PORT.format("80/tcp/udp"),
    "80:": NO_PORT.format("80:"),
    "80\n": NO_NUMBER.format("80\\n", "80\\n"),
    "9" * 121: NO_PORT.format("9" * 59 + "…"),
    "9" * 120: NO_NUMBER.format("9" * 59 + "…", "9" * 59 + "…"),
    "http": NO_NUMBER.format("http", "http"),
    "0": NO_NUMBER.format("0", "0"),
    "65536": NO_NUMBER.format("65536", "65536"),
    "8080:65536": NO_NUMBER.format("65536", "8080:65536"),
    "65536:80": NO_NUMBER.format("65536", "65536:80"),
    "81-80": NO_NUMBER.format("81-80", "81-80"),
    "65535-65536": NO_NUMBER.format("65535-65536", "65535-65536"),
    "0-5": NO_NUMBER.format("0-5", "0-5"),
    "٣": NO_NUMBER.format("٣", "٣"),
    "1-2:80": "'1-2:80': 2 of the host's ports can't lead to 1 of the node's; write equal ranges",
    "80:1-3": "'80:1-3': 1 of the host's ports can't lead to 3 of the node's; write equal ranges",
    "80/icmp": "'icmp' is no protocol; write tcp, udp or sctp",
    "80/ucp": "'ucp' is no protocol; did you mean 'udp'?",
    "80/TCP": "'TCP' is no protocol; did you mean 'tcp'?",
    "eth0:80:80": "'eth0' is no IP address; write one like 10.1.0.2 or fd00::2",
}


@pytest.mark.parametrize("text", WRONG, ids=ascii)
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(Wrong) as caught:
        port(text)
    assert str(caught.value) == WRONG[text]


@st.composite
def any_port(draw: st.DrawFn) -> Port:
    count = draw(st.integers(1, 40))
    numbers = st.integers(1, ports.LAST + 1 - count)
    host = draw(st.sampled_from([None, V4, V6, ANY4, ANY6]))
    return Port(
        draw(st.sampled_from(["tcp", "udp", "sctp"])),
        draw(numbers),
        draw(st.just(0) | numbers),
        count,
        host,
    )


@given(any_port())
def test_the_short_form_says_everything(found: Port) -> None:
    assert port(port_text(found)) == found


def test_families_and_addresses() -> None:
    """A port of no address is one of all of them, as are 0.0.0.0 and :: for their families."""
    assert [families(Port("tcp", 1, 1, 1, host)) for host in (None, V4, ANY6)] == [
        (4, 6),
        (4,),
        (6,),
    ]
    assert [bound_to(Port("tcp", 1, 1, 1, host)) for host in (None, ANY4, ANY6, V4, V6)] == [
        None,
        None,
        None,
        V4,
        V6,
    ]


CLASHES = [
    ("80:1", "80:2", True),
    ("80:1", "80:1/udp", False),
    ("80:1", "81:1", False),
    ("80:1", "1", False),  # a port that is still to be chosen wants none
    ("1", "80:1", False),
    ("1-100", "80:1", False),
    ("80-84:1-5", "84:1", True),
    ("80-84:1-5", "85:1", False),
    ("84:1", "80-84:1-5", True),
    ("85-86:1-2", "80-84:1-5", False),
    ("79:1", "80-84:1-5", False),
    ("80-82:1-3", "81-89:1-9", True),
    ("127.0.0.1:80:1", "127.0.0.1:80:2", True),
    ("127.0.0.1:80:1", "127.0.0.2:80:1", False),
    ("127.0.0.1:80:1", "80:1", True),
    ("80:1", "[fd00::1]:80:1", True),
    ("0.0.0.0:80:1", "127.0.0.1:80:1", True),
    ("0.0.0.0:80:1", "[fd00::1]:80:1", False),
    ("0.0.0.0:80:1", "[::]:80:1", False),
    ("[::]:80:1", "80:1", True),
]


@pytest.mark.parametrize(("one", "other", "expected"), CLASHES)
def test_which_ports_clash(one: str, other: str, expected: bool) -> None:
    assert clashes(port(one), port(other)) is clashes(port(other), port(one)) is expected


def test_who_has_a_port() -> None:
    """The first of a range that somebody has, and who; per protocol and address."""
    taken = Taken()
    taken.add(port("127.0.0.1:80:1"), "web")
    taken.add(port("127.0.0.2:80:1"), "other")
    taken.add(port("90-92:1-3/udp"), "dns")
    assert taken.owner_of(port("127.0.0.2:80:1")) == (80, "other")
    assert taken.owner_of(port("80:1")) == (80, "web")
    assert taken.owner_of(port("78-80:1-3")) == (80, "web")
    assert taken.owner_of(port("80/udp")) is None
    assert taken.owner_of(port("127.0.0.3:80:1")) is None
    assert [taken.owner_of(port(f"{number}:1/udp")) for number in (89, 90, 92, 93)] == [
        None,
        (90, "dns"),
        (92, "dns"),
        None,
    ]
    assert taken.owner_of(port("91-95:1-5/udp")) == (91, "dns")
    assert taken.owner_of(port("90:1")) is None


def _lab(**nodes: list[str]) -> Topology:
    return Topology(
        "t", (), tuple(Node(name, ports=tuple(map(port, texts))) for name, texts in nodes.items())
    )


def _texts(topology: Topology) -> dict[str, list[str]]:
    return {node.name: [port_text(each) for each in node.ports] for node in topology.nodes}


def test_a_free_port_is_chosen() -> None:
    """From 49152 on (RFC 6335), the next that neither this lab nor another has; what the file names
    stays."""
    lab = _lab(a=["80", "8080:80", "80/udp"], b=["80", "127.0.0.1::80", "49154:9"], c=[])
    assert _texts(publish(lab, None)) == {
        "a": ["49152:80", "8080:80", "49152:80/udp"],
        "b": ["49153:80", "127.0.0.1:49155:80", "49154:9"],
        "c": [],
    }
    first, second = Taken(), Taken()
    first.add(port("49152:1"), "lab x")
    second.add(port("49153-49154:1-2"), "lab y")
    assert _texts(publish(_lab(a=["80", "1-2"]), None, (first, second))) == {
        "a": ["49155:80", "49156-49157:1-2"]
    }


def test_a_lab_whose_ports_are_all_named_is_left_alone() -> None:
    lab = _lab(a=["8080:80"], b=[])
    assert publish(lab, None) is lab


def test_a_running_lab_keeps_its_ports() -> None:
    """Each node's own, for the same port of the node; of two alike the first stays the first."""
    running = _lab(a=["50001:80", "50000:80", "50003:81", "50009:80/udp"], b=["50002:80"])
    wanted = _lab(b=["80"], a=["80", "80", "80", "81", "82", "127.0.0.1::80"])
    assert _texts(publish(wanted, running)) == {
        "b": ["50002:80"],
        "a": ["50001:80", "50000:80", "49152:80", "50003:81", "49153:82", "127.0.0.1:49154:80"],
    }
    # Somebody has what it had: another is chosen.
    taken = Taken()
    taken.add(port("50002:1"), "lab x")
    assert _texts(publish(_lab(b=["80"]), running, (taken,))) == {"b": ["49152:80"]}


def test_the_last_port_can_be_had_and_then_there_is_none() -> None:
    taken = Taken()
    taken.add(Port("tcp", 1, 49152, 65533 - 49152 + 1), "lab x")
    assert _texts(publish(_lab(a=["1-2"]), None, (taken,))) == {"a": ["65534-65535:1-2"]}
    with pytest.raises(InputError) as caught:
        publish(_lab(a=["1-2", "127.0.0.1::80/udp", "7"]), None, (taken,))
    assert str(caught.value) == "node a: no port of the host is left for 7"
