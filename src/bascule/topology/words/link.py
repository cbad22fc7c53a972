"""The words of a link, and of its ends."""

from __future__ import annotations

from functools import partial

from bascule.topology import forms, links
from bascule.topology.forms import one_or_list
from bascule.topology.model import Link, LinkEnd
from bascule.topology.word import Form, Noun, Word
from bascule.topology.words.network import COST_DOC, LABELS_DOC
from bascule.topology.words.node import SHAPE_FORM, SHAPING

END = Noun(
    "an end",
    "One end of a link: an interface of a node, or a port of a network's bridge.",
    LinkEnd,
    (
        Word("node", forms.HOSTNAME, "The node that it is in."),
        Word("network", forms.INTERFACE, "In place of a node: the network on whose bridge it is."),
        Word(
            "interface",
            forms.INTERFACE,
            "The interface's name. In a node the next of `eth0`, `eth1`, … if left out.",
        ),
        Word(
            "address",
            forms.ADDRESSES,
            "Its address, or a list with one for each subnet. Left out: the next free one.",
            model="addresses",
        ),
        Word(
            "mac",
            forms.MAC,
            "The interface's MAC address. Derived from lab and address if left out.",
            ("mac_address",),
        ),
        Word("egress", SHAPE_FORM, "`rate`, `burst` and `latency` of what this end sends alone."),
    ),
    needs={"anyOf": [{"required": ["node"]}, {"required": ["network"]}]},
)

_END_TEXT = {"type": ["string", "integer"], "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(:[^:\s]+)?$"}
_ENDS = Form(
    partial(links.ends, END),
    {
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {"anyOf": [_END_TEXT, {"$ref": "#/$defs/end"}]},
    },
    lambda both: [END.write(end) for end in both],
)
_SUBNETS = Form(
    links.subnets,
    {"anyOf": [{"const": "none"}, *one_or_list(forms.SUBNET_TEXT)["anyOf"]]},
)


def _subnet(link: Link) -> object | None:
    if not link.has_subnet:
        return links.NO_SUBNET
    return forms.texts(link.subnets) if link.subnets else None


LINK = Noun(
    "a link",
    "A veth pair between two nodes, without a bridge.",
    Link,
    (
        Word(
            "ends",
            _ENDS,
            "The two ends, each a node, or NODE:INTERFACE, or a network, or a map.",
            empty=True,
        ),
        Word(
            "subnet",
            _SUBNETS,
            (
                "Its subnet, or a list for dual stack; `none` for ends without addresses. A free "
                "/31 (and /127 where the lab has IPv6) if left out."
            ),
            of=_subnet,
        ),
        Word("mtu", forms.MTU, "The largest packet in bytes. 1500 if left out."),
        *SHAPING,
        Word("cost", forms.COST, COST_DOC),
        Word("labels", forms.LABELS, LABELS_DOC),
    ),
    needs={"required": ["ends"]},
)
LINKS = Form(
    partial(links.read, LINK),
    {
        "type": "array",
        "items": {"anyOf": [_ENDS.schema, {"$ref": "#/$defs/link"}]},
    },
    lambda every: [LINK.write(link) for link in every],
)
