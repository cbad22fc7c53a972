"""The forms of what is told as JSON, and values of this API in them.

A document is a value of the types below or of :mod:`bascule.engine.views`, whose fields are its
keys. Some values have another form as JSON than in Python, because they hold what is none of a
reader's business (operations) or a word that Python keeps for itself (``from``): plans, events,
echoes.

No key changes its shape: a list is a list also where it is empty, a text is "" where there is
none, and only numbers and objects are null then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, get_args

from bascule.engine.options import Outcome
from bascule.engine.views import (
    AttachedView,
    Event,
    InspectedNetwork,
    InterfaceView,
    LabView,
    NetworkView,
)
from bascule.engine.views import Kind as WorldKind
from bascule.errors import (
    BasculeError,
    KernelError,
    Mistake,
    PlanFailed,
    TopologyError,
    WorldError,
)
from bascule.host.icmp import Echo
from bascule.kernel.fact import Fact
from bascule.kernel.told import Kind, told
from bascule.plan.diff import Change, Plan, Sign
from bascule.topology.dump import to_data

ChangeDocument = TypedDict(
    "ChangeDocument",
    {
        "sign": Sign,
        "kind": Kind,
        "node": str,
        "name": str,
        "key": list[str],
        "from": Fact | None,
        "to": Fact | None,
        "what": str,
        "reason": str,
        "commands": list[str],
    },
)
ChangeDocument.__doc__ = (
    "One fact that comes (+), changes (~) or goes (-): what kind of fact, in which node (empty: in "
    "the world), its own name, and the key that tells it from others of its kind; its fields as "
    "they are and as they are to be, null where it is not there; in words what it is, and why; the "
    "commands that say the same as what is done."
)


class PlanDocument(TypedDict):
    """A plan for a lab: changes in the order of their making, and what a reader should know."""

    lab: str
    changes: list[ChangeDocument]
    notes: list[str]


class DoneDocument(TypedDict):
    """What a command did to a lab: the changes in the order of their making, what one should know
    (remarks), and the lab as it is now, in the lab file's words, with all that was chosen
    (subnets, addresses, interfaces); null where it is none any more."""

    lab: str
    world: WorldKind
    changes: list[ChangeDocument]
    remarks: list[str]
    topology: Mapping[str, Any] | None


# by the class that is raised (bascule.errors): what is added here is no change, what goes is
ErrorKind = Literal[
    "bascule",
    "conflict",
    "elsewhere",
    "ended",
    "input",
    "interrupted",
    "kernel",
    "locked",
    "not_found",
    "plan_failed",
    "refused",
    "state",
    "topology",
    "uncertain",
    "unwritten",
    "world",
]


class ErrorDocument(TypedDict):
    """Why a command failed: what kind of error, the exit code, the message (the same as on standard
    error), what to do about it where that is told apart, the node or file that it is about, and of
    a lab file all mistakes."""

    kind: ErrorKind
    code: int
    message: str
    advice: str
    place: str
    mistakes: list[Mistake]


class FailedDocument(TypedDict):
    """What a command prints with --json in the place of its answer where it failed."""

    error: ErrorDocument


class UnitDocument(TypedDict):
    """What was done about the unit of systemd, in words, and its text where that was asked for."""

    path: str
    done: list[str]
    text: str


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
EventDocument = TypedDict(
    "EventDocument",
    {
        "time": datetime,
        "lab": str,
        "sign": Sign,
        "kind": Kind | Literal["lab"],
        "node": str,
        "name": str,
        "from": Fact | None,
        "to": Fact | None,
        "what": str,
        "reason": str,
        "foreign": bool,
    },
)
EventDocument.__doc__ = " ".join((Event.__doc__ or "").split()) + (
    " name is its own; from and to are its fields before and since, null where it is not there."
)


def as_data(value: object) -> Any:
    """A value of this API as plain data (dict, list, str, int, float, bool, None), in the form of
    its :func:`schema`."""
    special = _SPECIAL.get(type(value))
    if special is not None:
        return special(value)
    if is_dataclass(value):
        return {item.name: as_data(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    return value


def as_yaml(value: object) -> str:
    """The same as YAML."""
    from bascule.topology import write_yaml

    return write_yaml.write(as_data(value))


def done(name: str, outcome: Outcome, remarks: Sequence[str] = ()) -> DoneDocument:
    """What came of a run, with ``remarks`` of what was before it."""
    return {
        "lab": name,
        "world": outcome.world,
        "changes": [_change(each) for each in outcome.plan.changes],
        "remarks": [*remarks, *outcome.plan.notes, *outcome.remarks],
        "topology": to_data(outcome.lab) if outcome.lab is not None else None,
    }


def failed(error: BaseException) -> FailedDocument:
    """Why a command failed."""
    cause = error.cause if isinstance(error, PlanFailed) else error
    kernel = cause if isinstance(cause, KernelError) else None
    kind = _kind(error)
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


def _kind(error: BaseException) -> ErrorKind:
    """By the name of its class, or of the nearest one above it that is told of."""
    for kind in type(error).__mro__:
        words = re.findall("[A-Z][a-z]*", kind.__name__)
        name = "_".join(words).lower().removesuffix("_error")
        for known in get_args(ErrorKind):
            if name == known:
                found: ErrorKind = known
                return found
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "bascule"


def inspected(network: NetworkView, lab: LabView) -> InspectedNetwork:
    """A network of a lab with the interfaces on it, each with its node's name: what `network
    inspect` tells."""
    attached = (
        AttachedView(**_fields(interface), node=node.name)
        for node, interface in lab.attached(network.name)
    )
    return InspectedNetwork(**_fields(network), attached=tuple(attached))


def _fields(view: InterfaceView | NetworkView) -> dict[str, Any]:
    return {field.name: getattr(view, field.name) for field in fields(view)}


def _plan(plan: Plan) -> dict[str, Any]:
    changes = [_change(change) for change in plan.changes]
    return {"lab": plan.lab, "changes": changes, "notes": list(plan.notes)}


def _change(change: Change) -> ChangeDocument:
    fact = change.fact
    return {
        "sign": change.sign,
        "kind": fact.noun,
        "node": fact.node,
        "name": fact.called,
        "key": list(fact.key[1:]),
        "from": told(change.before),
        "to": told(change.after),
        "what": fact.describe(),
        "reason": change.reason,
        "commands": [line for op in change.ops for line in op.shell()],
    }


def _echo(echo: Echo) -> dict[str, Any]:
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


def _event(event: Event) -> dict[str, Any]:
    return {
        "time": as_data(event.time),
        "lab": event.lab,
        "sign": event.sign,
        "kind": event.kind,
        "node": event.node,
        "name": event.name,
        "from": told(event.before),
        "to": told(event.after),
        "what": event.what,
        "reason": event.reason,
        "foreign": event.foreign,
    }


def _moment(value: datetime) -> str:
    moment = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


_SPECIAL: dict[type, Any] = {
    Plan: _plan,
    Echo: _echo,
    Event: _event,
    Mistake: Mistake._asdict,
    datetime: _moment,
}
