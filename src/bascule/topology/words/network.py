"""The words of a network, and ``labels``, which other nouns have, too."""

from __future__ import annotations

from bascule.topology import forms
from bascule.topology.model import Network
from bascule.topology.values import NO_GATEWAY
from bascule.topology.word import Noun, Option, Takes, Word

LABEL = Option("a word of your own, for --filter", "KEY=VALUE", ("--label",))
COST_DOC = "What a way through it costs, for `routing: static`. 1 if left out."
LABELS_DOC = "Words of your own, for --filter: a map, or a list of `key=value`."


def _gateway(network: Network) -> object | None:
    if not network.has_gateway:
        return NO_GATEWAY
    return forms.texts(network.gateways) if network.gateways else None


def _none_alone(given: list[str]) -> object:
    return NO_GATEWAY if given == [NO_GATEWAY] else given


NETWORK = Noun(
    "a network",
    "A network is a Linux bridge; its name is the bridge's name. Empty for defaults.",
    Network,
    (
        Word(
            "subnet",
            forms.SUBNETS,
            "One subnet, or a list for dual stack. Left out: a free one is chosen.",
            model="subnets",
            option=Option("like 10.1.0.0/24; once for each family", "PREFIX"),
        ),
        Word(
            "gateway",
            forms.GATEWAYS,
            (
                "The bridge's own address, or a list. Left out: the first address of each "
                "subnet. `none`: a bridge without one."
            ),
            of=_gateway,
            option=Option("the bridge's own address, or none", "ADDRESS", says=_none_alone),
        ),
        Word(
            "mtu",
            forms.MTU,
            (
                "The largest packet, in bytes, on the bridge and everything attached. 1500 if "
                "left out."
            ),
            option=Option("the largest packet, in bytes"),
        ),
        Word(
            "mac",
            forms.MAC,
            "The bridge's MAC address. Derived from lab and network if left out.",
            option=Option("the bridge's MAC address"),
        ),
        Word(
            "nat",
            forms.FLAG,
            (
                "What leaves the machine gets its address (masquerade), so that answers find the "
                "way back."
            ),
            option=Option("what leaves the machine gets its address"),
        ),
        Word(
            "outbound_address",
            forms.ADDRESSES,
            "With `nat`: this address of the machine instead, one a family.",
            model="outbound",
            option=Option("with --nat: this address", "ADDRESS"),
        ),
        Word(
            "internal",
            forms.FLAG,
            "Nothing passes between this network and any other.",
            option=Option("nothing passes between this network and others"),
        ),
        Word(
            "icc",
            forms.FLAG,
            "Whether nodes of this network reach each other. `true` if left out.",
            option=Option("nodes of this network don't reach each other", takes=Takes.DENIES),
        ),
        Word(
            "guard",
            forms.FLAG,
            "Each node sends with its own MAC and addresses only. Left out: with `icc: false`.",
            option=Option(
                "each node sends with its own MAC and addresses only", takes=Takes.EITHER
            ),
        ),
        Word(
            "reach",
            forms.NAMES,
            "Networks of this lab to which its nodes may open connections, through the host.",
            option=Option("let its nodes open connections to this one", "NETWORK"),
        ),
        Word(
            "ip_range",
            forms.SUBNETS,
            "Nodes get their addresses from this part of the subnet, or a list.",
            model="ranges",
            option=Option("nodes get addresses from this part of the subnet", "PREFIX"),
        ),
        Word(
            "reserved",
            forms.SPANS,
            (
                "Addresses that no node gets: one, a subnet, a range like 10.1.0.5-10.1.0.9, or "
                "a list."
            ),
            option=Option("no node gets these: an address, a subnet, or FIRST-LAST", "ADDRESSES"),
        ),
        Word(
            "dns",
            forms.FLAG,
            (
                "A name server on the bridge's addresses. Left out: with `nat`, where dnsmasq is "
                "installed."
            ),
            option=Option("a name server on the bridge's addresses"),
        ),
        Word(
            "dhcp",
            forms.FLAG,
            "Nodes may ask for their addresses: IPv4, and with `ra` IPv6. Each gets its own.",
            option=Option("nodes may ask for their addresses"),
        ),
        Word(
            "ra",
            forms.FLAG,
            (
                "Router advertisements: the bridge is the nodes' IPv6 router, and its prefix "
                "their own."
            ),
            option=Option("the bridge announces itself as the nodes' IPv6 router"),
        ),
        Word(
            "stp",
            forms.FLAG,
            "Whether the bridge speaks the spanning tree protocol.",
            option=Option("the bridge speaks the spanning tree protocol"),
        ),
        Word(
            "ageing_time",
            forms.AGEING,
            "Seconds until the bridge forgets where a MAC is. 300 if left out.",
            model="ageing",
            option=Option("until the bridge forgets where a MAC is", "SECONDS"),
        ),
        Word(
            "promiscuous",
            forms.FLAG,
            "The bridge's own interface takes every frame.",
            option=Option("the bridge's own interface takes every frame"),
        ),
        Word(
            "uplink",
            forms.INTERFACE,
            "An interface of the machine that becomes a port of the bridge until the lab goes.",
            option=Option("an interface of the machine as a bridge port", "INTERFACE"),
        ),
        Word("cost", forms.COST, COST_DOC, option=Option(COST_DOC.rstrip("."), "N")),
        Word("labels", forms.LABELS, LABELS_DOC, option=LABEL),
    ),
    foreign={
        "external": "there are no external networks: for a network of the machine write `uplink` "
        "with its interface, for a namespace of another program `netns` at a node, and a network "
        "of another lab stands in that lab's file"
    },
)
