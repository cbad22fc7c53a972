"""What the words of the lab file may hold: each form reads, writes and describes one kind of value.

Readers note what is wrong with the scribe and give None then. The forms of nouns in nouns stand
with the words that hold them, in :mod:`bascule.topology.words`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bascule.names import (
    HOSTNAME_BYTES,
    INTERFACE_NAME_BYTES,
    problem_with_interface_name,
    problem_with_lab_name,
)
from bascule.topology import entries, shaping, values
from bascule.topology.model import PROTOCOLS, IPAddress, Span
from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree
from bascule.topology.values import NO_GATEWAY
from bascule.topology.word import Form, Reader, Schema, Takes

NAME_SHOWN = 100  # enough of a name to be too long for any use, so that messages stay short
_MEANS_NO_GATEWAY = frozenset({NO_GATEWAY, "no", "off", "false", "null"})

# What the schema says of texts that several forms hold.
ADDRESS_TEXT: Schema = {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+$"}
SUBNET_TEXT: Schema = {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"
HOSTNAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?$"
INTERFACE_TEXT: Schema = {
    "type": ["string", "integer"],
    "pattern": NAME_PATTERN,
    "maxLength": INTERFACE_NAME_BYTES,
}
HOSTNAME_TEXT: Schema = {
    "type": ["string", "integer"],
    "pattern": HOSTNAME_PATTERN,
    "maxLength": HOSTNAME_BYTES,
}


def one_or_list(item: Schema) -> Schema:
    """One of these, or a list of them."""
    return {"anyOf": [item, {"type": "array", "items": item}]}


def or_empty(*forms: Schema) -> Schema:
    """One of these, or nothing."""
    return {"anyOf": [{"type": "null"}, *forms]}


def texts(items: tuple[object, ...]) -> object:
    """One as itself, several as a list: as people write it."""
    return str(items[0]) if len(items) == 1 else [str(item) for item in items]


def parsed(what: str, parse: Callable[[str], object]) -> Reader:
    """Reads one text that ``parse`` makes a value of."""
    return lambda scribe, tree, path: scribe.parsed(tree, path, what, parse)


def one_or_more(what: str, parse: Callable[[str], object]) -> Reader:
    """Reads one such text, or a list of them."""
    return lambda scribe, tree, path: scribe.one_or_more(tree, path, what, parse)


def some(what: str, parse: Callable[[str], object]) -> Reader:
    """The same where an empty list is a mistake."""
    return lambda scribe, tree, path: scribe.some(tree, path, what, parse)


def number(least: int, most: int) -> Form:
    """A whole number in a range."""
    return Form(
        lambda scribe, tree, path: scribe.number(tree, path, least, most),
        {"type": "integer", "minimum": least, "maximum": most},
        takes=Takes.NUMBER,
    )


def _name(what: str, problem_with: Callable[[str], str | None]) -> Reader:
    def read(scribe: Scribe, tree: Tree, path: Path) -> str | None:
        text = scribe.text(tree, path, what)
        problem = problem_with(text[:NAME_SHOWN]) if text is not None else None
        if problem:
            scribe.wrong(tree, path, problem)
        return None if problem else text

    return read


def _of_family(version: int) -> Reader:
    def read(scribe: Scribe, tree: Tree, path: Path) -> tuple[IPAddress, ...] | None:
        found = scribe.parsed(tree, path, f"an IPv{version} address", values.address)
        if found is not None and found.version != version:
            scribe.wrong(
                tree,
                path,
                f"{found} is no IPv{version} address; write it as ipv{found.version}_address",
            )
            return None
        return None if found is None else (found,)

    return read


def _gateways(scribe: Scribe, tree: Tree, path: Path) -> tuple[bool, tuple[IPAddress, ...]] | None:
    """Whether there is one, and which."""
    if tree.value == NO_GATEWAY:
        return False, ()
    only = tree.value[0] if isinstance(tree.value, list) and len(tree.value) == 1 else tree
    if only.value is False or (
        isinstance(only.value, str) and only.value.lower() in _MEANS_NO_GATEWAY
    ):
        scribe.wrong(
            only,
            path,
            f"for a bridge without an address write {NO_GATEWAY}, without quotes or brackets",
        )
        return None
    found = scribe.some(tree, path, f"an IP address, `{NO_GATEWAY}`,", values.address)
    return None if found is None else (True, found)


def _spans(spans: tuple[Span, ...]) -> object:
    return texts(
        tuple(
            span.first if span.first == span.last else f"{span.first}-{span.last}" for span in spans
        )
    )


def _as_lines(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{name}={address}" for name, address in pairs]


def _list_or_map(item: Schema, mapped: Schema) -> Schema:
    return {"anyOf": [{"type": "object", **mapped}, {"type": "array", "items": item}]}


TEXT = Form(entries.text, {"type": "string"})
FLAG = Form(entries.flag, {"type": "boolean"}, takes=Takes.NOTHING)
LAB_NAME = Form(
    _name("a name", problem_with_lab_name),
    {"type": ["string", "integer"], "pattern": NAME_PATTERN, "maxLength": HOSTNAME_BYTES},
)
INTERFACE = Form(_name("an interface name", problem_with_interface_name), INTERFACE_TEXT)
NAMES = Form(
    one_or_more("a name", str),
    one_or_list({"type": ["string", "integer"]}),
    list,
    Takes.SEVERAL,
)
LABELS = Form(
    entries.labels,
    _list_or_map(
        {"type": "string"},
        {"additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    ),
    dict,
    Takes.SEVERAL,
)
SYSCTLS = Form(
    entries.sysctls,
    _list_or_map(
        {"type": "string", "pattern": r"^net[./][^=]+=.+$"},
        {
            "propertyNames": {"pattern": r"^net[./].+$"},
            "additionalProperties": {"type": ["string", "number"]},
        },
    ),
    dict,
    Takes.SEVERAL,
)

RATE = Form(
    parsed("a rate", shaping.rate),
    {"type": "string", "pattern": r"^\s*[0-9.]+([KkMmGgTt]?[Bb][Ii][Tt])\s*$"},
    shaping.rate_text,
)
BURST = Form(
    parsed("an amount", shaping.burst),
    {"type": ["string", "number"], "pattern": r"^\s*[0-9.]+([KkMm]?[Bb]?)\s*$"},
    shaping.burst_text,
)
LATENCY = Form(
    parsed("a time", shaping.latency),
    {"type": "string", "pattern": r"^\s*[0-9.]+([Uu][Ss]|[Mm]?[Ss])\s*$"},
    shaping.latency_text,
)

ADDRESS = Form(parsed("an IP address", values.address), ADDRESS_TEXT, str)
ADDRESSES = Form(
    some("an IP address", values.address), one_or_list(ADDRESS_TEXT), texts, Takes.SEVERAL
)
ADDRESS4 = Form(_of_family(4), {"type": "string", "pattern": r"^[0-9.]+$"})
ADDRESS6 = Form(_of_family(6), ADDRESS_TEXT)
OWN_ADDRESSES = Form(
    one_or_more("an address like 10.0.0.1/32", values.own_address),
    one_or_list({"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}),
    texts,
    Takes.SEVERAL,
)
SUBNET = Form(parsed("a subnet", values.subnet), SUBNET_TEXT, str)
SUBNETS = Form(some("a subnet", values.subnet), one_or_list(SUBNET_TEXT), texts, Takes.SEVERAL)
SPANS = Form(
    one_or_more("an address, a subnet or a range", values.span),
    one_or_list(
        {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3}|\s*-\s*[0-9A-Fa-f:.]+)?$"}
    ),
    _spans,
    Takes.SEVERAL,
)
GATEWAYS = Form(
    _gateways,
    {"anyOf": [{"const": NO_GATEWAY}, *one_or_list(ADDRESS_TEXT)["anyOf"]]},
    takes=Takes.SEVERAL,
)
DESTINATION = Form(
    lambda scribe, tree, path: scribe.text(tree, path, "a subnet or `default`"),
    {"type": "string", "pattern": r"^(default|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$"},
)
MAC = Form(
    parsed("a MAC address", values.mac),
    {"type": "string", "pattern": r"^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$"},
)
MTU = number(68, 65535)  # ETH_MIN_MTU and ETH_MAX_MTU, linux/if_ether.h
# br_set_ageing_time takes clock ticks, a hundred a second, as a 32-bit number
AGEING = number(0, 2**31 // 100)
PRIORITY = number(-(2**31), 2**31 - 1)
METRIC = number(0, 2**32 - 1)  # RTA_PRIORITY is an unsigned 32-bit number
COUNT = number(1, 100_000)
COST = number(1, 65_535)
ROUTING = Form(entries.routing, {"enum": ["static", "none"]})
POOL_SIZE = number(1, 127)

PORT_SPAN = replace(
    TEXT, schema={"type": ["integer", "string"], "pattern": r"^[0-9]{1,5}(-[0-9]{1,5})?$"}
)
PROTOCOL = replace(TEXT, schema={"enum": list(PROTOCOLS)})

MODE = Form(entries.mode, {"enum": list(entries.MODES)})
NETNS = Form(parsed("a path", values.netns), {"type": "string", "pattern": "^/"})
HOSTNAME = Form(parsed("a name", values.hostname), HOSTNAME_TEXT)
HOSTNAMES = Form(
    one_or_more("a name", values.hostname), one_or_list(HOSTNAME_TEXT), list, Takes.SEVERAL
)
EXTRA_HOSTS = Form(
    entries.extra_hosts,
    _list_or_map(
        {"type": "string", "pattern": "^[^=:]+[=:].+$"},
        {"additionalProperties": one_or_list({"type": "string"})},
    ),
    _as_lines,
    Takes.SEVERAL,
)
SERVERS = Form(entries.servers, one_or_list(ADDRESS_TEXT), texts, Takes.SEVERAL)
DOMAINS = Form(
    entries.domains,
    one_or_list({"type": "string", "pattern": r"^(\.|[A-Za-z0-9_][A-Za-z0-9_.\-]*)$"}),
    texts,
    Takes.SEVERAL,
)
RESOLVER_OPTIONS = Form(
    one_or_more("an option", values.resolver_option),
    one_or_list({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9:._\-]*$"}),
    texts,
    Takes.SEVERAL,
)
