"""The words of a node, and of what it holds: attachments, routes and ports."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bascule.names import WORLD_NETNS
from bascule.topology import entries, forms, nouns
from bascule.topology.entries import MODES
from bascule.topology.forms import one_or_list, or_empty
from bascule.topology.model import Attachment, Node, Port, Route, Shape
from bascule.topology.ports import port_text
from bascule.topology.values import DEFAULT_ROUTE
from bascule.topology.word import Form, Noun, Option, Takes, Word, nothing
from bascule.topology.words.network import LABEL, LABELS_DOC

_SHAPING = (
    Word(
        "rate",
        forms.RATE,
        "How fast packets go, like 10mbit. As fast as they can if left out.",
        option=Option("how fast packets go, both ways, like 10mbit", "RATE"),
    ),
    Word(
        "burst",
        forms.BURST,
        "What may pass at once, like 16kb. Chosen by the rate if left out.",
        option=Option("what may pass at once, like 16kb", "AMOUNT"),
    ),
    Word(
        "latency",
        forms.LATENCY,
        "How long a packet waits for its turn before it is dropped. 50ms if left out.",
        option=Option("how long a packet waits for its turn at most, like 50ms", "TIME"),
    ),
)
SHAPE = Noun(
    "a shape",
    "How fast an interface sends.",
    Shape,
    tuple(replace(word, option=None) for word in _SHAPING),
)
SHAPING = SHAPE.words
SHAPE_FORM = Form(
    lambda scribe, tree, path: SHAPE.make(SHAPE.read(scribe, tree, path)),
    {"$ref": "#/$defs/shape"},
    SHAPE.write,
)
ATTACHMENT = Noun(
    "an attachment",
    "A node's interface on a network: one veth pair.",
    Attachment,
    (
        Word(
            "address",
            forms.ADDRESSES,
            "Its address, or a list with one for each subnet. Left out: the next free one.",
            model="addresses",
            option=Option("the address; once for each family", "ADDRESS", ("--ip",)),
        ),
        Word("ipv4_address", forms.ADDRESS4, "Its IPv4 address, in Compose's word.", of=nothing),
        Word("ipv6_address", forms.ADDRESS6, "Its IPv6 address, in Compose's word.", of=nothing),
        Word(
            "interface",
            forms.INTERFACE,
            "The interface's name in the node. `eth0`, `eth1`, … if left out.",
            option=Option("the interface's name in the node", "NAME"),
        ),
        Word(
            "host_interface",
            forms.INTERFACE,
            "The name of the bridge's end. `veth-NODE` if left out.",
            option=Option("the name of the bridge port", "NAME"),
        ),
        Word(
            "mac",
            forms.MAC,
            "The interface's MAC address. Derived from lab and address if left out.",
            ("mac_address",),
            option=Option("the interface's MAC address"),
        ),
        Word(
            "gateway_priority",
            forms.PRIORITY,
            "The default route leads through the highest. 0 if left out.",
            ("gw_priority",),
            option=Option(
                "the highest has the default route",
                "N",
                ("--gateway-priority", "--gw-priority"),
            ),
        ),
        Word(
            "aliases",
            forms.HOSTNAMES,
            "Further names of the node on this network; several nodes may share one.",
            option=Option("a further name of the node on this network", "NAME", ("--alias",)),
        ),
        Word(
            "autoconf",
            forms.FLAG,
            "The node sets its addresses and routes itself, by the network's `dhcp` and `ra`.",
            option=Option(
                (
                    "the node sets its addresses itself, by the network's DHCP and router "
                    "advertisements"
                ),
            ),
        ),
        Word(
            "mtu",
            forms.MTU,
            "The interface's largest packet in bytes. The network's if left out.",
            option=Option("the interface's largest packet, if not the network's"),
        ),
        Word(
            "sysctls",
            forms.SYSCTLS,
            "Settings of this interface, like net.ipv4.conf.IFNAME.rp_filter: 2.",
            option=Option("like net.ipv4.conf.IFNAME.rp_filter=2", "KEY=VALUE", ("--sysctl",)),
        ),
        *_SHAPING,
        Word("egress", SHAPE_FORM, "`rate`, `burst` and `latency` of what the node sends alone."),
        Word("ingress", SHAPE_FORM, "`rate`, `burst` and `latency` of what the node gets alone."),
    ),
)


def _to(route: Route) -> str:
    # `default` without a next hop means IPv4, and with one its family; all else is written as it
    # is.
    family = route.via.version if route.via else 4
    default = route.to.prefixlen == 0 and route.to.version == family
    return DEFAULT_ROUTE if default else str(route.to)


ROUTE = Noun(
    "a route",
    "One route: `to` with `via` or `interface` or both.",
    Route,
    (
        Word(
            "to", forms.DESTINATION, "The destination: a subnet, an address, or `default`.", of=_to
        ),
        Word("via", forms.ADDRESS, "The next hop: an address in one of the node's subnets."),
        Word("interface", forms.INTERFACE, "The node's interface to send through.", ("dev",)),
        Word(
            "metric",
            forms.METRIC,
            "The lower wins where several match. The kernel's default if left out.",
        ),
    ),
    needs={
        "required": ["to"],
        "anyOf": [{"required": [key]} for key in ("via", "interface", "dev")],
    },
)

PORT = Noun(
    "a port",
    "One published port, or a range of them.",
    Port,
    (
        Word("target", forms.PORT_SPAN, "The node's port, or a range like 6000-6010."),
        Word("published", forms.PORT_SPAN, "The host's port or range. A free one if left out."),
        Word("host_ip", forms.ADDRESS, "The host's address. All of them if left out."),
        Word("protocol", forms.PROTOCOL, "`tcp` (if left out), `udp` or `sctp`."),
    ),
    needs={"required": ["target"]},
)

_PORT_TEXT = {"type": ["string", "integer"], "pattern": r"^[0-9A-Fa-f.:\[\]-]+(/[a-z]+)?$"}
_ROUTE_TEXT = {"type": "string", "pattern": r"^\S+(\s+(via|dev|metric)\s+\S+)+\s*$"}
NAMES_REF = {"$ref": "#/$defs/names"}

_ATTACHMENTS = Form(
    partial(nouns.attachments, ATTACHMENT),
    or_empty(
        NAMES_REF,
        {
            "type": "object",
            "propertyNames": {key: forms.INTERFACE_TEXT[key] for key in ("pattern", "maxLength")},
            "additionalProperties": or_empty(
                *one_or_list(forms.ADDRESS_TEXT)["anyOf"], {"$ref": "#/$defs/attachment"}
            ),
        },
    ),
    takes=Takes.SEVERAL,
)
_ROUTES = Form(
    partial(nouns.routes, ROUTE),
    {"type": "array", "items": {"anyOf": [_ROUTE_TEXT, {"$ref": "#/$defs/route"}]}},
    lambda routes: [ROUTE.write(route) for route in routes],
    Takes.SEVERAL,
)
_PORTS = Form(
    partial(entries.ports, PORT),
    {"type": "array", "items": {"anyOf": [_PORT_TEXT, {"$ref": "#/$defs/port"}]}},
    lambda ports: [port_text(port) for port in ports],
    Takes.SEVERAL,
)


def _networks(node: Node) -> dict[str, Any] | None:
    if node.netns == WORLD_NETNS:
        return None
    return {item.network: ATTACHMENT.write(item) for item in node.attachments}


def _mode(node: Node) -> str | None:
    return "host" if node.netns == WORLD_NETNS else None


def _netns(node: Node) -> str | None:
    return None if node.netns == WORLD_NETNS else node.netns or None


NODE = Noun(
    "a node",
    "A node is a network namespace. Empty for one without networks, or a list of networks.",
    Node,
    (
        Word(
            "networks",
            _ATTACHMENTS,
            (
                "The networks it is attached to: a list of names, or a map from name to nothing, "
                "an address, or fields."
            ),
            empty=True,
            model="attachments",
            of=_networks,
            option=Option("attach it; may be repeated", "NETWORK", ("--network",)),
        ),
        Word(
            "routes",
            _ROUTES,
            "Routes beside those to its own subnets and the default through the first gateway.",
            option=Option("like '10.0.0.0/8 via 10.1.0.1'", "ROUTE", ("--route",)),
        ),
        Word(
            "loopback",
            forms.OWN_ADDRESSES,
            "Addresses of its `lo`, like 10.0.0.1/32: one, or a list.",
            option=Option("an address of its lo, like 10.0.0.1/32", "ADDRESS"),
        ),
        Word(
            "forward",
            forms.FLAG,
            "It is a router: it passes packets on from one interface to another.",
            option=Option("it passes packets on from one interface to another"),
        ),
        Word(
            "sysctls",
            forms.SYSCTLS,
            "Kernel settings below `net.`: a map, or a list of `key=value`.",
            option=Option("like net.ipv4.ip_forward=1", "KEY=VALUE", ("--sysctl",)),
        ),
        Word(
            "ports",
            _PORTS,
            (
                "Published ports, in Compose's forms: '8080:80', '127.0.0.1:53:53/udp', '80', or "
                "a map."
            ),
            option=Option("like 8080:80, 127.0.0.1:53:53/udp, 80", "PORT", ("--publish", "-p")),
        ),
        Word(
            "extra_hosts",
            forms.EXTRA_HOSTS,
            "More lines for its /etc/hosts: a map, or a list of `name=address`.",
            option=Option("one more line for its /etc/hosts", "NAME:ADDRESS", ("--add-host",)),
        ),
        Word(
            "hostname",
            forms.HOSTNAME,
            "Its host name, by which others find it, too. The node's name if left out.",
            option=Option("its host name, if not the node's name", "NAME"),
        ),
        Word(
            "dns",
            forms.SERVERS,
            (
                "The name servers in its /etc/resolv.conf, instead of the lab's: an address, or "
                "a list."
            ),
            option=Option("a name server in its /etc/resolv.conf, instead of the lab's", "ADDRESS"),
        ),
        Word(
            "dns_search",
            forms.DOMAINS,
            "Domains in which it looks for names: one, or a list; `.` for none.",
            ("search",),
            option=Option("a domain in which it looks for names; . for none", "DOMAIN"),
        ),
        Word(
            "dns_opt",
            forms.RESOLVER_OPTIONS,
            "Options in its /etc/resolv.conf, like `timeout:1`: one, or a list.",
            option=Option("an option in its /etc/resolv.conf, like timeout:1", "OPTION"),
        ),
        Word(
            "network_mode",
            forms.MODE,
            "`none`: no network; `host`: the machine's own namespace.",
            of=_mode,
            option=Option("no network, or the machine's own namespace", choices=MODES),
        ),
        Word(
            "netns",
            forms.NETNS,
            "A namespace that somebody else has made: /proc/PID/ns/net, or another path.",
            of=_netns,
            option=Option("a namespace that is there already, like /proc/PID/ns/net", "PATH"),
        ),
        Word("labels", forms.LABELS, LABELS_DOC, option=LABEL),
        Word("count", forms.COUNT, "Make this many such nodes: NAME1, NAME2, …", of=nothing),
    ),
    foreign=dict.fromkeys(
        ("cpu_count", "label_file", "runtime", "uts", "volumes"),
        "it belongs to containers, and a node is no more than a network",
    ),
)
