"""What is told as JSON, and its JSON Schema: both are made of the same types.

A document is a value of the types below, whose fields are its keys. Two kinds of values have
another form as JSON than in Python, because they hold what is none of a reader's business
(operations) or a word that Python keeps for itself (``from``): plans and echoes.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, Union

from bascule.api.calls import (
    CallDocument,
    CancelDocument,
    EventDocument,
    ExecDocument,
    FailedDocument,
    ReplyDocument,
)
from bascule.engine.options import Outcome
from bascule.engine.views import Finding, InterfaceView, LabInfo, LabView, NetworkView, NodeView
from bascule.errors import (
    BasculeError,
    InputError,
    KernelError,
    Mistake,
    PlanFailed,
    TopologyError,
    WorldError,
)
from bascule.host.icmp import Echo
from bascule.names import shown
from bascule.plan.diff import Plan, Sign
from bascule.topology.dump import to_data

Schema = dict[str, Any]
VERSION = 1  # of the forms below: what is added keeps it, what is changed or goes raises it
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class ChangeDocument(TypedDict):
    """One fact that comes (+), changes (~) or goes (-), why, and the commands that say the same as
    what is done."""

    sign: Sign
    kind: str
    what: str
    node: str
    reason: str
    commands: list[str]


class PlanDocument(TypedDict):
    """A plan: changes in the order of their making, and what a reader should know."""

    changes: list[ChangeDocument]
    notes: list[str]


class DoneDocument(TypedDict):
    """What a command did to a lab: the changes in the order of their making, what one should know
    (remarks), and the lab as it is now, in the lab file's words, with all that was chosen
    (subnets, addresses, interfaces); null where it is none any more."""

    lab: str
    world: str
    changes: list[ChangeDocument]
    remarks: list[str]
    topology: Mapping[str, Any] | None


EchoDocument = TypedDict(
    "EchoDocument",
    {
        "from": str,
        "to": str,
        "address": str,
        "milliseconds": float | None,
        "why": str,
        "lost": int,
        "meant": bool,
        "failed": bool,
    },
)
EchoDocument.__doc__ = (
    "What came of it: the time from an echo to its own answer, or null and why not; lost are the "
    "echoes before it that nobody answered. An answer is meant to come, or the lab says that none "
    "does (icc: false, networks apart): then why tells it. It failed where it is not so."
)


def as_data(value: object) -> Any:
    """A value of this API as plain data (dict, list, str, int, float, bool, None), in the form of
    its :func:`schema`."""
    if isinstance(value, Plan):
        return _plan(value)
    if isinstance(value, Echo):
        return _echo(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")
    if is_dataclass(value):
        return {item.name: as_data(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mistake):
        return value._asdict()
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    return value


def as_yaml(value: object) -> str:
    """The same as YAML."""
    from bascule.topology import write_yaml

    return write_yaml.write(as_data(value))


def done(name: str, outcome: Outcome) -> DoneDocument:
    """What came of a run."""
    plan = _plan(outcome.plan)
    return {
        "lab": name,
        "world": outcome.world,
        "changes": plan["changes"],
        "remarks": [*plan["notes"], *outcome.remarks],
        "topology": to_data(outcome.lab) if outcome.lab is not None else None,
    }


def failed(error: BaseException) -> FailedDocument:
    """Why a command failed."""
    cause = error.cause if isinstance(error, PlanFailed) else error
    kernel = cause if isinstance(cause, KernelError) else None
    words = re.findall("[A-Z][a-z]*", type(error).__name__)
    kind = "_".join(words).lower().removesuffix("_error")
    if isinstance(error, KeyboardInterrupt):
        kind = "interrupted"
    mistakes = error.mistakes if isinstance(error, TopologyError) else []
    return {
        "error": {
            "kind": kind,
            "code": error.exit_code if isinstance(error, BasculeError) else 130,
            "message": str(error) or kind,
            "advice": cause.advice if isinstance(cause, (KernelError, WorldError)) else "",
            "place": kernel.place if kernel else mistakes[0].file if mistakes else "",
            "mistakes": [each._asdict() for each in mistakes],  # type: ignore[misc]
        }
    }


def inspected(network: NetworkView, lab: LabView) -> dict[str, Any]:
    """A network of a lab with the interfaces on it, each with its node's name: what `network
    inspect` tells."""
    attached = [
        {"node": node.name, **as_data(interface)} for node, interface in lab.attached(network.name)
    ]
    return {**as_data(network), "attached": attached}


def _plan(plan: Plan) -> PlanDocument:
    return {
        "changes": [
            {
                "sign": change.sign,
                "kind": change.fact.key[0],
                "what": change.fact.describe(),
                "node": change.fact.node,
                "reason": change.reason,
                "commands": [line for op in change.ops for line in op.shell()],
            }
            for change in plan.changes
        ],
        "notes": list(plan.notes),
    }


def _echo(echo: Echo) -> EchoDocument:
    return {
        "from": echo.source,
        "to": echo.target.node,
        "address": echo.target.address,
        "milliseconds": None if echo.seconds is None else round(echo.seconds * 1000, 4),
        "why": f"not meant to, as {echo.barred}" if echo.barred else echo.why,
        "lost": echo.lost,
        "meant": not echo.barred,
        "failed": echo.failed,
    }


def schema(document: str = "lab") -> Schema:
    """The JSON Schema (draft 2020-12) of the lab file ("lab"), or of what a command prints with
    ``--json`` (a key of :func:`documents`). Raises :class:`InputError` for another."""
    if document == "lab":
        from bascule.topology.schema import json_schema

        return json_schema()
    known = documents()
    if document == "all":
        return _all(known)
    if document not in known:
        there = ", ".join(("lab", *known))
        raise InputError(f"no document {shown(document)}; there are: {there}")
    title, hint = known[document]
    maker = _Maker()
    body = maker.of(hint)
    if document == "network":
        body = maker.inspected(body)
    return {"$schema": _DRAFT, "title": title, **body, "$defs": maker.defined}


def _all(known: Mapping[str, tuple[str, Any]]) -> Schema:
    """One schema for all that is printed: each document is a definition of that name."""
    maker = _Maker()
    bodies = {name: {"title": title, **maker.of(hint)} for name, (title, hint) in known.items()}
    body = maker.inspected(bodies["network"])
    bodies["network"] = {"title": known["network"][0], **body}
    any_of = [{"$ref": f"#/$defs/{name}"} for name in bodies]
    about = {"title": "what bascule prints with --json", "version": VERSION, "anyOf": any_of}
    return {"$schema": _DRAFT, **about, "$defs": {**maker.defined, **bodies}}


def documents() -> dict[str, tuple[str, Any]]:
    """The commands that print each document, and its type."""
    # Late: whoever prints one document needs not what makes the others.
    from bascule.engine.leftovers import Leftover
    from bascule.engine.watch import Event

    return {
        "ls": ("bascule ls --json", list[LabInfo]),
        "show": ("bascule show --json, bascule inspect LAB", LabView),
        "node": ("bascule inspect NODE", NodeView),
        "nodes": ("bascule node ls --json", list[NodeView]),
        "network": ("bascule inspect NETWORK, bascule network inspect NETWORK", NetworkView),
        "networks": ("bascule network ls --json", list[NetworkView]),
        "port": ("bascule port NODE --json", list[str]),
        "plan": ("bascule plan --json", PlanDocument),
        "check": ("bascule check --json", list[Mistake]),
        "ping": ("bascule ping --json", list[EchoDocument]),
        "doctor": ("bascule doctor --json", list[Finding]),
        "events": ("bascule events --json: one line", Event),
        "done": ("up, network and node with --json", DoneDocument),
        "leftovers": ("bascule system prune --dry-run --json", list[Leftover]),
        "dones": (
            "down, restore and system prune with --json",
            list[DoneDocument | FailedDocument],
        ),
        "failed": ("any command with --json that fails", FailedDocument),
        "exec": ("exec by way of bascule serve", ExecDocument),
        "call": ("a line to bascule serve", CallDocument | CancelDocument),
        "reply": ("a line of bascule serve", ReplyDocument | EventDocument),
    }


_PLAIN: dict[object, Schema] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}


class _Maker:
    """Makes the schema of a type; ``defined`` are those of the classes that were met."""

    def __init__(self) -> None:
        self.defined: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """The schema of this type."""
        if hint in _PLAIN:
            return _PLAIN[hint]
        origin = typing.get_origin(hint)
        if origin is None:
            return self._class(hint)
        make: Callable[..., Schema] = _MAKERS[origin]
        return make(self, *typing.get_args(hint))

    def inspected(self, network: Schema) -> Schema:
        """As :func:`inspected` makes it; the network alone is `inspect`'s."""
        interface = self.of(InterfaceView)
        node = {"type": "object", "properties": {"node": _PLAIN[str]}, "required": ["node"]}
        self.defined["InterfaceView"].pop("additionalProperties")
        self.defined["NetworkView"].pop("additionalProperties")
        attached = {"type": "array", "items": {"allOf": [node, interface]}}
        return {"allOf": [network], "properties": {"attached": attached}}

    def array(self, item: Any, *_more: Any) -> Schema:
        return {"type": "array", "items": self.of(item)}

    def mapping(self, _key: Any, value: Any) -> Schema:
        return {"type": "object", "additionalProperties": self.of(value) or True}

    def choice(self, *hints: Any) -> Schema:
        schemas = [self.of(hint) for hint in hints]
        if all({*each} == {"type"} for each in schemas):
            return {"type": [each["type"] for each in schemas]}
        return {"anyOf": schemas}

    def literal(self, *values: Any) -> Schema:
        return {"enum": list(values)}

    def _class(self, found: type) -> Schema:
        name = found.__name__
        if name not in self.defined:
            hints = typing.get_type_hints(found)
            self.defined[name] = {
                "type": "object",
                "description": _described(found),
                "properties": {key: self.of(hint) for key, hint in hints.items()},
                "required": [
                    key for key in hints if key not in getattr(found, "__optional_keys__", ())
                ],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}


_MAKERS: dict[object, Callable[..., Schema]] = {
    list: _Maker.array,
    tuple: _Maker.array,
    Mapping: _Maker.mapping,
    Literal: _Maker.literal,
    Union: _Maker.choice,
    types.UnionType: _Maker.choice,
}


def _described(found: type) -> str:
    """A docstring as plain text in one line."""
    text = re.sub(r":[a-z]+:`~?([^`]*)`", r"\1", " ".join((found.__doc__ or "").split()))
    return text.replace("`", "")
