"""The words of a lab, and all nouns together."""

from __future__ import annotations

from functools import partial

from bascule.names import HOSTNAME_BYTES, INTERFACE_NAME_BYTES
from bascule.topology import entries, forms, nouns
from bascule.topology.forms import one_or_list, or_empty
from bascule.topology.model import Pool, Topology
from bascule.topology.word import Form, Noun, Word, nothing
from bascule.topology.words.generate import GENERATE, GENERATE_FORM
from bascule.topology.words.link import END, LINK, LINKS
from bascule.topology.words.network import LABELS_DOC, NETWORK
from bascule.topology.words.node import ATTACHMENT, NAMES_REF, NODE, PORT, ROUTE, SHAPE

POOL = Noun(
    "a pool",
    "Where subnets are chosen from.",
    Pool,
    (
        Word("base", forms.SUBNET, "The whole of it."),
        Word(
            "size",
            forms.POOL_SIZE,
            "The prefix length of each subnet. 24, or 64 for IPv6, if left out.",
        ),
    ),
    needs={"required": ["base"]},
)

_NETWORKS = Form(
    partial(nouns.networks, NETWORK),
    {
        "type": ["object", "null"],
        "propertyNames": {"pattern": forms.NAME_PATTERN, "maxLength": INTERFACE_NAME_BYTES},
        "additionalProperties": or_empty({"$ref": "#/$defs/network"}),
    },
    lambda networks: {network.name: NETWORK.write(network) for network in networks},
)
_NODES = Form(
    partial(nouns.nodes, NODE),
    or_empty(
        {
            "type": "object",
            "propertyNames": {"pattern": forms.HOSTNAME_PATTERN, "maxLength": HOSTNAME_BYTES},
            "additionalProperties": or_empty(NAMES_REF, {"$ref": "#/$defs/node"}),
        },
        {"type": "array", "items": forms.HOSTNAME_TEXT, "uniqueItems": True},
    ),
    lambda all_nodes: {node.name: NODE.write(node) for node in all_nodes},
)
_POOLS = Form(
    partial(entries.pools, POOL),
    one_or_list({"anyOf": [forms.SUBNET_TEXT, {"$ref": "#/$defs/pool"}]}),
    lambda pools: [POOL.write(pool) for pool in pools],
)

LAB = Noun(
    "a lab",
    "A lab: networks (bridges), nodes (network namespaces) and links between nodes.",
    Topology,
    (
        Word("name", forms.LAB_NAME, "The lab's name. The file's name where it is left out."),
        Word(
            "networks",
            _NETWORKS,
            (
                "The bridges, by name. Left out altogether, each network that a node names is "
                "made with defaults."
            ),
            empty=True,
        ),
        Word("nodes", _NODES, "The network namespaces, by name, or a list of names.", empty=True),
        Word(
            "links",
            LINKS,
            (
                "Veth pairs between two nodes, without a bridge: [r1, r2], [r1:eth1, r2:eth1], or "
                "{ends: [r1, r2], subnet: 10.9.0.0/31}."
            ),
        ),
        Word(
            "generate",
            GENERATE_FORM,
            (
                "Nodes and links of a usual shape, besides those of the file: {kind: ring, "
                "nodes: 8}. `routing` is then `static` if left out."
            ),
            of=nothing,
        ),
        Word(
            "pools",
            _POOLS,
            "Where subnets are chosen from: '10.9.0.0/16', or {base: 10.9.0.0/16, size: 28}.",
        ),
        Word(
            "routing",
            forms.ROUTING,
            "`static`: each node gets routes to all subnets of the lab, by the lowest cost.",
        ),
        Word(
            "ipv6",
            forms.FLAG,
            (
                "`false` leaves out what the file says of IPv6, as `up --without-ipv6` does. "
                "`true` if left out."
            ),
        ),
        Word("labels", forms.LABELS, LABELS_DOC),
    ),
)

NOUNS = {  # by their names in the schema
    "lab": LAB,
    "network": NETWORK,
    "node": NODE,
    "attachment": ATTACHMENT,
    "route": ROUTE,
    "link": LINK,
    "end": END,
    "generate": GENERATE,
    "pool": POOL,
    "port": PORT,
    "shape": SHAPE,
}


def other_words() -> dict[str, tuple[str, ...]]:
    """For the position of a problem: keys that the file may have used in place of these."""
    found = {word.name: word.other for noun in NOUNS.values() for word in noun.words if word.other}
    return {"address": ("ipv4_address", "ipv6_address"), **found}
