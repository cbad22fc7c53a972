"""What is told as JSON, by name, and its JSON Schema: both are made of the same types
(:mod:`bascule.api.forms`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.api.calls import (
    CallDocument,
    CancelDocument,
    ExecDocument,
    ReplyDocument,
    ToldDocument,
)
from bascule.api.forms import (
    DoneDocument,
    EchoDocument,
    EventDocument,
    FailedDocument,
    PlanDocument,
    UnitDocument,
    as_data,
    as_yaml,
    done,
    failed,
    inspected,
)
from bascule.engine.views import (
    Finding,
    InspectedNetwork,
    LabInfo,
    LabView,
    NetworkView,
    NodeView,
    PortView,
)
from bascule.errors import InputError, Mistake
from bascule.names import shown

__all__ = ["as_data", "as_yaml", "documents", "done", "failed", "inspected", "schema"]

VERSION = 1  # of these forms: what is added keeps it, what is changed or goes raises it
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema(document: str = "lab") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the lab file ("lab"), or of what a command prints with
    ``--json`` (a key of :func:`documents`; "all": any of them). Raises :class:`InputError` for
    another."""
    if document == "lab":
        from bascule.topology.schema import json_schema

        return json_schema()
    # Late: who prints a document needs nothing of this.
    from bascule.api.schemas import Maker

    known = documents()
    if document == "all":
        return _all(known, Maker())
    if document not in known:
        there = ", ".join(("lab", *known, "all"))
        raise InputError(f"no document {shown(document)}; there are: {there}")
    title, hint = known[document]
    maker = Maker()
    return {"$schema": _DRAFT, "title": title, **maker.of(hint), "$defs": maker.defined}


def _all(known: Mapping[str, tuple[str, Any]], maker: Any) -> dict[str, Any]:
    """One schema for all that is printed: each document is a definition of that name."""
    bodies = {name: {"title": title, **maker.of(hint)} for name, (title, hint) in known.items()}
    any_of = [{"$ref": f"#/$defs/{name}"} for name in bodies]
    about = {"title": "what bascule prints with --json", "version": VERSION, "anyOf": any_of}
    return {"$schema": _DRAFT, **about, "$defs": {**maker.defined, **bodies}}


def documents() -> dict[str, tuple[str, Any]]:
    """The commands that print each document, and its type."""
    # Late: whoever prints one document needs not what makes the others.
    from bascule.engine.leftovers import Leftover

    return {
        "ls": ("bascule ls --json", list[LabInfo]),
        "show": ("bascule show --json, bascule inspect LAB", LabView),
        "node": ("bascule inspect NODE", NodeView),
        "nodes": ("bascule node ls --json", list[NodeView]),
        "network": ("bascule inspect NETWORK, bascule network inspect NETWORK", InspectedNetwork),
        "networks": ("bascule network ls --json", list[NetworkView]),
        "port": ("bascule port NODE --json", list[PortView]),
        "plan": ("bascule plan --json, and what changes a lab with --dry-run", PlanDocument),
        "plans": ("bascule down --dry-run --json", list[PlanDocument | FailedDocument]),
        "check": ("bascule check --json", list[Mistake]),
        "ping": ("bascule ping --json", list[EchoDocument]),
        "doctor": ("bascule doctor --json", list[Finding]),
        "events": ("bascule events --json: one line", EventDocument),
        "done": ("up, network and node with --json", DoneDocument),
        "leftovers": ("bascule system prune --dry-run --json", list[Leftover]),
        "dones": (
            "down, restore and system prune with --json",
            list[DoneDocument | FailedDocument],
        ),
        "unit": ("bascule install-unit --json", UnitDocument),
        "failed": ("any command with --json that fails", FailedDocument),
        "exec": ("exec by way of bascule serve", ExecDocument),
        "call": ("a line to bascule serve", CallDocument | CancelDocument),
        "reply": ("a line of bascule serve", ReplyDocument | ToldDocument),
    }
