"""Which flows fit a lab and which do not: a table of cases, with the lab as it is and as it was."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import pytest

from bascule.kernel.flow import EndUnfitFlows, Unfit
from bascule.kernel.passage import Judge, Passages, Places, Prefixes, Spot
from bascule.plan import render
from bascule.plan.diff import Plan
from bascule.plan.flows import changes_of, passage, passages
from bascule.topology.addressing import assign
from bascule.topology.load import from_data
from bascule.topology.model import Assigned
from bascule.wire.conntrack import ASSURED, EXPECTED, ICMP, ICMPV6, SCTP, TCP, UDP, Flow, Tuple

GRE = 47
HOST, HOST6, THERE, THERE6 = "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"
LAB: dict[str, Any] = {
    "name": "lab",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "dmz": {"subnet": ["10.2.0.0/24", "fd00:2::/64"], "reach": ["lan"]},
        "vault": {"subnet": ["10.3.0.0/24", "fd00:3::/64"], "internal": True},
        "quiet": {"subnet": ["10.4.0.0/24"], "icc": False, "dhcp": True},
        "ours": {"subnet": ["10.5.0.0/24"], "nat": True, "uplink": "eth9"},
        "big": {"subnet": ["10.8.0.0/16"]},
    },
    "nodes": {
        "a": {
            "networks": {"lan": ["10.1.0.2", "fd00:1::2"]},
            "ports": ["5000:80/udp", "443:443", "9000:9001/sctp"],
        },
        "b": {
            "networks": {"lan": ["10.1.0.3", "fd00:1::3"]},
            "ports": ["127.0.0.1:6000:80/udp", "192.0.2.1:7000:80/udp"],
        },
        "d": {"networks": {"dmz": ["10.2.0.2", "fd00:2::2"]}},
        "v": {"networks": {"vault": ["10.3.0.2", "fd00:3::2"]}},
        "q": {"networks": {"quiet": ["10.4.0.2"]}},
        "o": {"networks": {"ours": ["10.5.0.2"]}},
        "x": {"networks": {"big": ["10.8.0.2"]}},
    },
}


def lab(**changes: Any) -> Assigned:
    """The lab with other words: ``lan__nat=False``, ``a__ports=[…]``; None takes a node or a
    network out."""
    data = {"networks": {**LAB["networks"]}, "nodes": {**LAB["nodes"]}}
    for key, value in changes.items():
        name, _, word = key.partition("__")
        group = data["networks"] if name in data["networks"] else data["nodes"]
        if value is None:
            del group[name]
        else:
            group[name] = {**group.get(name, {}), word: value}
    return assign(from_data({"name": "lab", **data}, "lab.yaml"))


def machine(*own: str) -> Places:
    """The machine's routes: its addresses, all of 127/8, another lab's bridge, its own network
    within a subnet of the lab."""
    rows: list[tuple[str, Spot]] = [
        (f"{address}/{128 if ':' in address else 32}", Spot("local")) for address in own
    ]
    rows += [
        ("127.0.0.0/8", Spot("local")),
        ("::1/128", Spot("local")),
        ("10.1.0.255/32", Spot("shared")),
        ("10.4.0.255/32", Spot("shared")),
        ("10.9.0.0/24", Spot("others", 77)),
        ("10.9.0.1/32", Spot("local", 77)),
        ("10.8.7.0/24", Spot("others")),
        ("10.8.7.1/32", Spot("local")),
    ]
    prefixes = ((ip_interface(text).network, spot) for text, spot in rows)
    return Prefixes(
        (prefix.network_address.packed, prefix.prefixlen, spot) for prefix, spot in prefixes
    )


PLACES = machine(
    HOST, HOST6, "192.0.2.9", "10.1.0.1", "fd00:1::1", "10.2.0.1", "10.3.0.1", "10.4.0.1"
)


def flow(
    src: str,
    asked: str,
    *,
    to: str = "",
    shown: str = "",
    protocol: int = UDP,
    status: int = 0,
    zone: int = 0,
) -> Flow:
    """``src`` sends from port 7000 to ``asked`` (address, space, port), is redirected ``to`` (the
    same) and ``shown`` there under another address."""
    dst, _, dport = asked.partition(" ")
    actual, _, sport = (to or asked).partition(" ")
    ports = bool(dport)
    original = Tuple(src, dst, protocol, 7000 * ports, int(dport or 0))
    reply = Tuple(actual, shown or src, protocol, int(sport or 0), 7000 * ports)
    return Flow(original, reply, status, 1, zone, None, b"handle")


def why(found: Flow, now: Assigned | None, *before: Assigned) -> str:
    return Judge(passages(now, before, False, range(0)), PLACES).why_wrong(found)


NOW = lab()
FITS: dict[str, Flow] = {
    "a published port": flow(THERE, f"{HOST} 5000", to="10.1.0.2 80"),
    "one by IPv6": flow(THERE6, f"{HOST6} 5000", to="fd00:1::2 80"),
    "one of sctp": flow(THERE, f"{HOST} 9000", to="10.1.0.2 9001", protocol=SCTP),
    "one by another of the machine's addresses": flow(THERE, "192.0.2.9 5000", to="10.1.0.2 80"),
    "one by the machine itself": flow(HOST, f"{HOST} 5000", to="10.1.0.2 80"),
    "one by 127.0.0.1": flow("127.0.0.1", "127.0.0.1 6000", to="10.1.0.3 80", shown="10.1.0.1"),
    "one of one address": flow(THERE, f"{HOST} 7000", to="10.1.0.3 80"),
    "one by a node, and by its own bridge": flow(
        "10.1.0.2", "10.1.0.1 5000", to="10.1.0.2 80", shown="10.1.0.1"
    ),
    "one by a node of icc: false": flow("10.4.0.2", f"{HOST} 5000", to="10.1.0.2 80"),
    "out, with nat": flow("10.1.0.2", f"{THERE} 53", shown=HOST),
    "out by IPv6, with nat": flow("fd00:1::2", f"{THERE6} 53", shown=HOST6),
    "out, by an address that another program gave": flow(
        "10.1.0.2", f"{THERE} 53", shown="192.0.2.77"
    ),
    "out, without nat": flow("10.2.0.2", f"{THERE} 53"),
    "out, without nat, translated by another program": flow("10.2.0.2", f"{THERE} 53", shown=HOST),
    "in, to a network that is not guarded": flow(THERE, "10.2.0.2 22"),
    "to a network that may be reached": flow("10.2.0.2", "10.1.0.2 80"),
    "a ping that way": flow("10.2.0.2", "10.1.0.2", protocol=ICMP),
    "within a network": flow("10.1.0.2", "10.1.0.3 80"),
    "within an internal network": flow("10.3.0.2", "10.3.0.9 80"),
    "to the machine, by the bridge": flow("10.3.0.2", "10.3.0.1 80"),
    "to the machine, by another address": flow("10.1.0.2", f"{HOST} 22", protocol=TCP),
    "to the machine by its other bridge": flow("10.1.0.2", "10.2.0.1 22", protocol=TCP),
    "from the machine to a node": flow("10.1.0.1", "10.1.0.2 80"),
    "from the machine to a node of an internal network": flow("10.3.0.1", "10.3.0.2 80"),
    "from the machine to a node of icc: false": flow("10.4.0.1", "10.4.0.2 80"),
    "from a node of icc: false to its bridge": flow("10.4.0.2", "10.4.0.1 80"),
    "to everybody on the link": flow("10.1.0.2", "255.255.255.255 9"),
    "to everybody on the subnet, icc: false": flow("10.4.0.2", "10.4.0.255 9"),
    "to a group": flow("10.1.0.2", "224.0.0.251 5353"),
    "to a group, IPv6": flow("fd00:1::2", "ff02::fb 5353"),
    "to a link-local address, IPv6": flow("fd00:1::2", "fe80::1 53"),
    "from a link-local address, IPv6": flow("fe80::2", "fd00:1::2 53"),
    "a question to the name server, where 53 is not published": flow("10.1.0.2", "10.1.0.1 53"),
    "a lease": flow("10.4.0.2", "10.4.0.1 67"),
    "uplinked: bridged, not routed": flow("10.5.0.2", f"{THERE} 53"),
    "redirected to a node by another program": flow(THERE, f"{HOST} 8888", to="10.1.0.2 80"),
    "redirected to another program's container": flow(THERE, f"{HOST} 8888", to="172.17.0.2 80"),
    "the same port, redirected before us to another program's container": flow(
        THERE, f"{HOST} 5000", to="172.17.0.2 80"
    ),
    "a node by another program's port": flow(
        "10.1.0.2", f"{HOST} 8888", to="172.17.0.2 80", shown="172.17.0.1"
    ),
    "a node by another lab's port": flow("10.1.0.2", f"{HOST} 8888", to="10.9.0.2 80"),
    "another lab's port": flow(THERE, f"{HOST} 8888", to="10.9.0.2 80"),
    "another lab's node, out": flow("10.9.0.2", f"{THERE} 5000", shown=HOST),
    "another lab's node, to its own bridge, a port of ours": flow("10.9.0.2", "10.9.0.1 5000"),
    "a connection of the machine's to such a port elsewhere": flow(
        HOST, f"{THERE} 443", protocol=TCP, status=ASSURED
    ),
    "a packet of the machine's to such a port elsewhere": flow(HOST, f"{THERE} 5000"),
    "a connection to the machine, from before": flow(
        THERE, f"{HOST} 443", protocol=TCP, status=ASSURED
    ),
    "ssh to the machine": flow(THERE, f"{HOST} 22", protocol=TCP, status=ASSURED),
    "ssh through the machine": flow(THERE, "198.51.100.7 22", protocol=TCP, status=ASSURED),
    "what a neighbour sends to 127.0.0.1": flow(THERE, "127.0.0.1 6000"),
    "the port of another address": flow(THERE, "192.0.2.9 7000"),
    "the machine's own network within a subnet": flow("10.8.7.1", "10.8.7.9 22", protocol=TCP),
    "another of that network": flow("10.8.7.9", "10.8.7.1 5001"),
    "what a program keeps apart in a zone": flow(THERE, f"{HOST} 5000", zone=3),
    "announced by another flow": flow(THERE, f"{HOST} 40000", to="10.1.0.2 40000", status=EXPECTED),
    "a tunnel": flow("10.2.0.2", "10.1.0.2", protocol=GRE),
}


@pytest.mark.parametrize("case", FITS)
def test_what_fits(case: str) -> None:
    """Nothing of it ends, whatever else has changed in the lab."""
    assert why(FITS[case], NOW) == ""
    assert why(FITS[case], NOW, NOW, lab(z__networks={"dmz": ["10.2.0.9"]}, lan__mtu=1400)) == ""


WRONG: dict[str, tuple[Flow, str]] = {
    "a port that is published now": (flow(THERE, f"{HOST} 5000"), "port 5000/udp is published now"),
    "one by IPv6": (flow(THERE6, f"{HOST6} 5000"), "port 5000/udp is published now"),
    "one by the machine itself": (flow(HOST, f"{HOST} 5000"), "port 5000/udp is published now"),
    "one by its 127.0.0.1": (flow("127.0.0.1", "127.0.0.1 6000"), "port 6000/udp is published now"),
    "one by a node, to its own bridge": (
        flow("10.1.0.2", "10.1.0.1 5000"),
        "port 5000/udp is published now",
    ),
    "one by another lab's node": (
        flow("10.9.0.2", f"{HOST} 5000"),
        "port 5000/udp is published now",
    ),
    "tcp, refused": (flow(THERE, f"{HOST} 443", protocol=TCP), "port 443/tcp is published now"),
    "sctp, refused": (
        flow(THERE, f"{HOST} 9000", protocol=SCTP),
        "port 9000/sctp is published now",
    ),
    "a port that leads to another node": (
        flow(THERE, f"{HOST} 5000", to="10.1.0.3 80"),
        "port 5000/udp leads elsewhere now",
    ),
    "to another port of the node": (
        flow(THERE, f"{HOST} 5000", to="10.1.0.2 81"),
        "port 5000/udp leads elsewhere now",
    ),
    "to a node's address that nobody has": (
        flow(THERE, f"{HOST} 5000", to="10.1.0.77 80"),
        "port 5000/udp leads elsewhere now",
    ),
    "out without nat": (flow("10.1.0.2", f"{THERE} 53"), "lan has nat now"),
    "out without nat, IPv6": (flow("fd00:1::2", f"{THERE6} 53"), "lan has nat now"),
    "a ping without nat": (flow("10.1.0.2", THERE, protocol=ICMP), "lan has nat now"),
    "a ping without nat, IPv6": (flow("fd00:1::2", THERE6, protocol=ICMPV6), "lan has nat now"),
    "the other way than may be reached": (
        flow("10.1.0.2", "10.2.0.2 80"),
        "lan does not reach dmz",
    ),
    "a ping that way": (flow("10.1.0.2", "10.2.0.2", protocol=ICMP), "lan does not reach dmz"),
    "a tunnel that way": (flow("10.1.0.2", "10.2.0.2", protocol=GRE), "lan does not reach dmz"),
    "from an internal network": (flow("10.3.0.2", f"{THERE} 80"), "vault is internal"),
    "from an internal network, with nat": (
        flow("fd00:3::2", f"{THERE6} 80", shown=HOST6),
        "vault is internal",
    ),
    "from an internal network to another": (flow("10.3.0.2", "10.1.0.2 80"), "vault is internal"),
    "from an internal network to a port": (
        flow("10.3.0.2", f"{HOST} 5000", to="10.1.0.2 80"),
        "vault is internal",
    ),
    "from an internal network to the machine": (
        flow("10.3.0.2", f"{HOST} 22", protocol=TCP),
        "vault is internal",
    ),
    "to an internal network": (flow(THERE, "10.3.0.2 80"), "vault is internal"),
    "to an internal network, by another program": (
        flow(THERE, f"{HOST} 8888", to="10.3.0.2 80"),
        "vault is internal",
    ),
    "within icc: false": (
        flow("10.4.0.2", "10.4.0.3 80"),
        "nodes of quiet do not reach each other",
    ),
    "in, past the ports": (
        flow(THERE, "10.1.0.2 22", protocol=TCP),
        "lan is reached by published ports only",
    ),
    "in, from another lab": (
        flow("10.9.0.2", "10.1.0.2 22", protocol=TCP),
        "lan is reached by published ports only",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_whatever_was_before(case: str) -> None:
    """Who opened it did so before the lab came, or while its rules were lost."""
    found, reason = WRONG[case]
    assert why(found, NOW) == reason
    assert why(found._replace(zone=1), NOW) == ""


PORT = flow(THERE, f"{HOST} 5000", to="10.1.0.2 80")
OUT = flow("10.1.0.2", f"{THERE} 53", shown=HOST)
CHANGED: dict[str, tuple[Flow, Assigned | None, Assigned, str]] = {
    "withdrawn": (PORT, lab(a__ports=[]), NOW, "port 5000/udp is no longer published there"),
    "another's port is not ours to end": (PORT, lab(a__ports=[]), lab(a__ports=[]), ""),
    "narrowed to another address": (
        PORT,
        lab(a__ports=["192.0.2.9:5000:80/udp"]),
        NOW,
        "port 5000/udp is no longer published there",
    ),
    "narrowed to its own address": (PORT, lab(a__ports=["192.0.2.1:5000:80/udp"]), NOW, ""),
    "moved to another node": (
        PORT,
        lab(a__ports=[], b__ports=["5000:80/udp"]),
        NOW,
        "port 5000/udp leads elsewhere now",
    ),
    "another protocol": (
        PORT,
        lab(a__ports=["5000:80"]),
        NOW,
        "port 5000/udp is no longer published there",
    ),
    "the node has another address": (
        PORT,
        lab(a__networks={"lan": ["10.1.0.20", "fd00:1::20"]}),
        NOW,
        "10.1.0.2 is no longer in the lab",
    ),
    "the address has another node": (
        flow("10.2.0.2", "10.1.0.2 80"),
        lab(a=None, z__networks={"lan": ["10.1.0.2", "fd00:1::2"]}),
        NOW,
        "10.1.0.2 is another's now",
    ),
    "the node has gone": (
        flow("10.2.0.2", "10.1.0.3 80"),
        lab(b=None),
        NOW,
        "10.1.0.3 is no longer in the lab",
    ),
    "the node has gone that had opened it": (
        flow("10.2.0.2", "10.1.0.2 80"),
        lab(d=None),
        NOW,
        "10.2.0.2 is no longer in the lab",
    ),
    "the node has gone that had opened it, with nat": (
        OUT,
        lab(a=None),
        NOW,
        "10.1.0.2 is no longer in the lab",
    ),
    "another node has gone": (PORT, lab(b=None), NOW, ""),
    "the subnet is another": (
        flow("10.2.0.77", f"{THERE} 80"),
        lab(
            dmz__subnet=["10.20.0.0/24", "fd00:2::/64"],
            d__networks={"dmz": ["10.20.0.2", "fd00:2::2"]},
        ),
        NOW,
        "10.2.0.77 is no longer in the lab",
    ),
    "the gateway is another": (
        flow("10.2.0.2", "10.2.0.1 53"),
        lab(dmz__gateway=["10.2.0.254", "fd00:2::1"]),
        NOW,
        "10.2.0.1 is no longer in the lab",
    ),
    "no nat any more": (OUT, lab(lan__nat=False), NOW, "lan has no nat any more"),
    "no nat any more, translated by another program, too": (
        OUT,
        lab(lan__nat=False),
        lab(lan__nat=False),
        "",
    ),
    "another outbound address": (
        OUT,
        lab(lan__outbound_address="192.0.2.9"),
        NOW,
        "lan has another outbound address now",
    ),
    "no outbound address any more": (
        flow("10.1.0.2", f"{THERE} 53", shown="192.0.2.9"),
        NOW,
        lab(lan__outbound_address="192.0.2.9"),
        "lan has another outbound address now",
    ),
    "the same outbound address": (
        flow("10.1.0.2", f"{THERE} 53", shown="192.0.2.9"),
        lab(lan__outbound_address="192.0.2.9"),
        lab(lan__outbound_address="192.0.2.9"),
        "",
    ),
    "the outbound address that the interface has": (
        flow("10.1.0.2", f"{THERE} 53", shown="192.0.2.9"),
        lab(lan__outbound_address="192.0.2.9"),
        NOW,
        "",
    ),
    "reached no more": (
        flow("10.2.0.2", "10.1.0.2 80"),
        lab(dmz__reach=[]),
        NOW,
        "dmz does not reach lan",
    ),
    "internal now": (
        flow("10.2.0.2", f"{THERE} 80"),
        lab(dmz__internal=True, dmz__reach=[]),
        NOW,
        "dmz is internal",
    ),
    "icc: false now": (
        flow("10.1.0.2", "10.1.0.3 80"),
        lab(lan__icc=False),
        NOW,
        "nodes of lan do not reach each other",
    ),
    "down": (PORT, None, NOW, "10.1.0.2 is no longer in the lab"),
    "down, a node of an address that the lab did not give": (
        flow("10.1.0.99", f"{THERE} 1"),
        None,
        NOW,
        "10.1.0.99 is no longer in the lab",
    ),
    "down, announced by another flow": (
        FITS["announced by another flow"],
        None,
        NOW,
        "10.1.0.2 is no longer in the lab",
    ),
    "down, by IPv6": (
        flow(THERE6, f"{HOST6} 5000", to="fd00:1::2 80"),
        None,
        NOW,
        "fd00:1::2 is no longer in the lab",
    ),
    "down, the machine's own network within a subnet": (
        FITS["the machine's own network within a subnet"],
        None,
        NOW,
        "",
    ),
    "down, another lab's": (FITS["another lab's node, out"], None, NOW, ""),
    "down, ssh to the machine": (FITS["ssh to the machine"], None, NOW, ""),
    "down, a packet to a port that was published": (flow(THERE, f"{HOST} 5000"), None, NOW, ""),
    "down, another program's container": (
        FITS["redirected to another program's container"],
        None,
        NOW,
        "",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_does_not_fit_after_a_change(case: str) -> None:
    """By what the lab said before; also where that was said by a run that was killed, before
    others."""
    found, now, before, reason = CHANGED[case]
    assert why(found, now, before) == reason
    killed = lab(a__ports=[], lan__nat=False, z__networks={"dmz": ["10.2.0.9"]})
    assert why(found, now, before, killed) == why(found, now, killed, before) == reason


def test_nodes_that_are_routers() -> None:
    """Where bridged frames pass the firewall, what a node leads from network to network looks as if
    the machine had: it ends where the lab has changed, or its rules were missing, and else it
    stays. Where no node can do that, the machine has."""
    between, out = flow("10.1.0.2", "10.2.0.2 80"), flow("10.1.0.2", f"{THERE} 80")
    router: dict[str, Any] = {"r__networks": {"lan": ["10.1.0.9"], "dmz": ["10.2.0.9"]}}
    now, reached, without = (
        lab(**router),
        lab(**router, lan__reach=["dmz"]),
        lab(**router, lan__nat=False),
    )

    def judged(
        found: Flow,
        now: Assigned,
        *before: Assigned,
        anew: bool = False,
        bridged: tuple[int, ...] = (4,),
    ) -> str:
        current = passages(now, before, False, range(0))._replace(anew=anew)
        return Judge(current, PLACES, bridged).why_wrong(found)

    for found, reason, changed in (
        (between, "lan does not reach dmz", reached),
        (out, "lan has nat now", without),
    ):
        assert judged(found, now) == judged(found, now, lab(**router, b=None)) == ""
        assert (
            judged(found, now, changed)
            == judged(found, now, anew=True)
            == judged(found, now, bridged=(6,))
            == reason
        )
        assert judged(found, NOW) == reason
    assert judged(flow(THERE, f"{HOST} 5000"), now) == "port 5000/udp is published now"


def test_a_private_world_has_one_address() -> None:
    """All that its way out listens on comes to it: a port of one of the machine's addresses is
    there on all of the world's, but one of 127.0.0.1 is not."""
    sent = (flow(THERE, "192.0.2.9 7000"), flow(THERE, "192.0.2.9 6000"))
    for private, reason in ((True, "port 7000/udp is published now"), (False, "")):
        judge = Judge(Passages(passage(NOW, private)), PLACES)
        assert [judge.why_wrong(each) for each in sent] == [reason, ""]


def test_the_plan_tells_where_flows_end() -> None:
    """One line for each address, and each change has the commands that do the same."""
    now = lab(a__ports=[], dmz__reach=[])
    found = [
        PORT,
        PORT._replace(original=PORT.original._replace(sport=7001)),
        flow(THERE6, f"{HOST6} 443", to="fd00:1::2 443", protocol=TCP),
        flow("10.2.0.2", "10.1.0.2 80"),
        flow("10.3.0.2", THERE, protocol=ICMP)._replace(
            original=Tuple("10.3.0.2", THERE, ICMP, icmp=(8, 0, 5))
        ),
        flow("10.1.0.2", THERE, protocol=GRE),
        flow(THERE, f"{HOST} 7000"),
    ]
    current = passages(now, (NOW,), False, range(0))
    judge = Judge(current, PLACES)
    changes = changes_of([Unfit(each, judge.why_wrong(each)) for each in found], current)
    assert render.text(Plan(tuple(changes))).splitlines() == [
        "~ 1 flow from 10.1.0.2 ends  (lan has nat now)",
        (
            "~ 3 flows to 10.1.0.2 end  (port 5000/udp is no longer published there; dmz does not "
            "reach lan)"
        ),
        "~ 1 flow from 10.3.0.2 ends  (vault is internal)",
        "~ 1 flow to 192.0.2.1 ends  (port 7000/udp is published now)",
        "~ 1 flow to fd00:1::2 ends  (port 443/tcp is no longer published there)",
        "0 to add, 5 to change, 0 to remove",
    ]
    assert [line for change in changes for op in change.ops for line in op.shell()] == [
        "conntrack -D -f ipv4 -p 47 -s 10.1.0.2 -d 192.0.2.2",
        "conntrack -D -f ipv4 -p 17 -s 192.0.2.2 -d 192.0.2.1 --sport 7000 --dport 5000",
        "conntrack -D -f ipv4 -p 17 -s 192.0.2.2 -d 192.0.2.1 --sport 7001 --dport 5000",
        "conntrack -D -f ipv4 -p 17 -s 10.2.0.2 -d 10.1.0.2 --sport 7000 --dport 80",
        (
            "conntrack -D -f ipv4 -p icmp -s 10.3.0.2 -d 192.0.2.2 --icmp-type 8 --icmp-code 0 "
            "--icmp-id 5"
        ),
        "conntrack -D -f ipv4 -p 17 -s 192.0.2.2 -d 192.0.2.1 --sport 7000 --dport 7000",
        "conntrack -D -f ipv6 -p 6 -s 2001:db8::2 -d 2001:db8::1 --sport 7000 --dport 443",
    ]
    assert all(op.undo() is None for change in changes for op in change.ops)
    assert EndUnfitFlows(current).undo() is None
    assert all(line.startswith("#") for line in EndUnfitFlows(current).shell())
