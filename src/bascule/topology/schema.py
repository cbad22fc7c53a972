"""The lab file as JSON Schema (draft 2020-12), from the same tables as the loader, so that editors
complete the file.

The schema is a little wider than the loader: names that clash or addresses outside their subnet are
for ``bascule check``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bascule.names import HOSTNAME_BYTES, INTERFACE_NAME_BYTES
from bascule.topology.entries import MODES
from bascule.topology.field import Kind, Noun
from bascule.topology.fields import (
    AGEING_RANGE,
    ATTACHMENT,
    COUNT_RANGE,
    LAB,
    METRIC_RANGE,
    MTU_RANGE,
    NETWORK,
    NO_GATEWAY,
    NODE,
    POOL,
    PORT,
    PRIORITY_RANGE,
    ROUTE,
)
from bascule.topology.model import PROTOCOLS

Schema = dict[str, Any]

_ADDRESS: Schema = {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+$"}
_SUBNET: Schema = {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}
_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"
_HOSTNAME = r"^[A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?$"
_INTERFACE: Schema = {
    "type": ["string", "integer"],
    "pattern": _WORD,
    "maxLength": INTERFACE_NAME_BYTES,
}
_NODE_NAME: Schema = {
    "type": ["string", "integer"],
    "pattern": _HOSTNAME,
    "maxLength": HOSTNAME_BYTES,
}
_PORT: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9A-Fa-f.:\[\]-]+(/[a-z]+)?$"}
_SYSCTL_KEY = r"^net[./].+$"


def _number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _one_or_list(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _noun(noun: Noun) -> Schema:
    """A map with the fields of the table and no others."""
    properties: Schema = {}
    for row in noun.fields:
        for key in (row.name, *row.other):
            doc = row.doc if key == row.name else f"The same as `{row.name}`. {row.doc}"
            properties[key] = {"description": doc, **SCHEMA[row.kind]()}
    return {
        "type": "object",
        "description": noun.doc,
        "properties": properties,
        "additionalProperties": False,
    }


def _or_empty(*forms: Schema) -> Schema:
    return {"anyOf": [{"type": "null"}, *forms]}


def _networks() -> Schema:
    names = {"pattern": _WORD, "maxLength": INTERFACE_NAME_BYTES}
    return {
        "type": ["object", "null"],
        "propertyNames": names,
        "additionalProperties": _or_empty({"$ref": "#/$defs/network"}),
    }


def _nodes() -> Schema:
    by_name = {
        "type": "object",
        "propertyNames": {"pattern": _HOSTNAME, "maxLength": HOSTNAME_BYTES},
        "additionalProperties": _or_empty({"$ref": "#/$defs/names"}, {"$ref": "#/$defs/node"}),
    }
    return _or_empty(by_name, {"type": "array", "items": _NODE_NAME, "uniqueItems": True})


def _attachments() -> Schema:
    short = _one_or_list(_ADDRESS)["anyOf"]
    by_name = {
        "type": "object",
        "propertyNames": {"pattern": _WORD, "maxLength": INTERFACE_NAME_BYTES},
        "additionalProperties": _or_empty(*short, {"$ref": "#/$defs/attachment"}),
    }
    return _or_empty({"$ref": "#/$defs/names"}, by_name)


def _routes() -> Schema:
    text = {"type": "string", "pattern": r"^\S+(\s+(via|dev|metric)\s+\S+)+\s*$"}
    return {"type": "array", "items": {"anyOf": [text, {"$ref": "#/$defs/route"}]}}


def _sysctls() -> Schema:
    by_key = {
        "type": "object",
        "propertyNames": {"pattern": _SYSCTL_KEY},
        "additionalProperties": {"type": ["string", "number"]},
    }
    return {
        "anyOf": [
            by_key,
            {"type": "array", "items": {"type": "string", "pattern": r"^net[./][^=]+=.+$"}},
        ]
    }


def _labels() -> Schema:
    value = {"type": ["string", "number", "boolean", "null"]}
    return {
        "anyOf": [
            {"type": "object", "additionalProperties": value},
            {"type": "array", "items": {"type": "string"}},
        ]
    }


SCHEMA: dict[Kind, Callable[[], Schema]] = {
    Kind.LAB_NAME: lambda: {
        "type": ["string", "integer"],
        "pattern": _WORD,
        "maxLength": HOSTNAME_BYTES,
    },
    Kind.NETWORKS: _networks,
    Kind.NODES: _nodes,
    Kind.SUBNETS: lambda: _one_or_list(_SUBNET),
    Kind.GATEWAYS: lambda: {"anyOf": [{"const": NO_GATEWAY}, *_one_or_list(_ADDRESS)["anyOf"]]},
    Kind.MTU: lambda: _number(*MTU_RANGE),
    Kind.MAC: lambda: {
        "type": "string",
        "pattern": r"^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
    },
    Kind.ATTACHMENTS: _attachments,
    Kind.ADDRESSES: lambda: _one_or_list(_ADDRESS),
    Kind.ADDRESS4: lambda: {"type": "string", "pattern": r"^[0-9.]+$"},
    Kind.ADDRESS6: lambda: _ADDRESS,
    Kind.INTERFACE: lambda: _INTERFACE,
    Kind.ROUTES: _routes,
    Kind.DESTINATION: lambda: {
        "type": "string",
        "pattern": r"^(default|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$",
    },
    Kind.ADDRESS: lambda: _ADDRESS,
    Kind.METRIC: lambda: _number(*METRIC_RANGE),
    Kind.SYSCTLS: _sysctls,
    Kind.COUNT: lambda: _number(*COUNT_RANGE),
    Kind.FLAG: lambda: {"type": "boolean"},
    Kind.NAMES: lambda: _one_or_list({"type": ["string", "integer"]}),
    Kind.PORTS: lambda: {"type": "array", "items": {"anyOf": [_PORT, {"$ref": "#/$defs/port"}]}},
    Kind.PORT_SPAN: lambda: {
        "type": ["integer", "string"],
        "pattern": r"^[0-9]{1,5}(-[0-9]{1,5})?$",
    },
    Kind.POOLS: lambda: _one_or_list({"anyOf": [_SUBNET, {"$ref": "#/$defs/pool"}]}),
    Kind.POOL_BASE: lambda: _SUBNET,
    Kind.POOL_SIZE: lambda: _number(1, 126),
    Kind.SPANS: lambda: _one_or_list(
        {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3}|\s*-\s*[0-9A-Fa-f:.]+)?$"}
    ),
    Kind.AGEING: lambda: _number(*AGEING_RANGE),
    Kind.PRIORITY: lambda: _number(*PRIORITY_RANGE),
    Kind.LABELS: _labels,
    Kind.MODE: lambda: {"enum": list(MODES)},
    Kind.NETNS: lambda: {"type": "string", "pattern": "^/"},
    Kind.HOSTNAMES: lambda: _one_or_list(
        {"type": ["string", "integer"], "pattern": _HOSTNAME, "maxLength": HOSTNAME_BYTES}
    ),
    Kind.EXTRA_HOSTS: lambda: {
        "anyOf": [
            {"type": "object", "additionalProperties": _one_or_list({"type": "string"})},
            {"type": "array", "items": {"type": "string", "pattern": "^[^=:]+[=:].+$"}},
        ]
    },
    Kind.HOSTNAME: lambda: _NODE_NAME,
    Kind.SERVERS: lambda: _one_or_list(_ADDRESS),
    Kind.DOMAINS: lambda: _one_or_list(
        {"type": "string", "pattern": r"^(\.|[A-Za-z0-9_][A-Za-z0-9_.\-]*)$"}
    ),
    Kind.RESOLVER_OPTIONS: lambda: _one_or_list(
        {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9:._\-]*$"}
    ),
    Kind.WORD: lambda: {"enum": list(PROTOCOLS)},
}


def json_schema() -> Schema:
    """The schema of a lab file, as plain data."""
    names = {
        "type": "array",
        "description": "Names of networks.",
        "items": _INTERFACE,
        "uniqueItems": True,
    }
    route = {**_noun(ROUTE), "required": ["to"]}
    route["anyOf"] = [{"required": [key]} for key in ("via", "interface", "dev")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bascule lab file",
        **_noun(LAB),
        "$defs": {
            "network": _noun(NETWORK),
            "node": _noun(NODE),
            "attachment": _noun(ATTACHMENT),
            "route": route,
            "pool": {**_noun(POOL), "required": ["base"]},
            "port": {**_noun(PORT), "required": ["target"]},
            "names": names,
        },
    }
