"""The Python API: what front ends stand on, ours and others'. ``docs/api.md`` tells it by use.

Each name is imported when it is first used: `exec` needs two of them, and has a budget of
milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api.calls import ExecDocument, ReplyDocument
    from bascule.api.documents import as_data, as_yaml, done, failed, inspected
    from bascule.api.documents import schema as json_schema
    from bascule.api.lab import Lab
    from bascule.api.node import Node
    from bascule.engine.boot import UNIT, Restored, is_kept, missing, restore
    from bascule.engine.boot import install as install_unit
    from bascule.engine.boot import remove as remove_unit
    from bascule.engine.boot import unit as unit_text
    from bascule.engine.choosing import changing as changing_lab
    from bascule.engine.choosing import meant
    from bascule.engine.choosing import running as running_lab
    from bascule.engine.commands import become
    from bascule.engine.doctor import examine as doctor
    from bascule.engine.leftovers import Leftover, leftovers, prune
    from bascule.engine.listing import listed
    from bascule.engine.look import labs
    from bascule.engine.mending import Mended, mend
    from bascule.engine.options import Listener, Outcome
    from bascule.engine.others import advice as whose
    from bascule.engine.views import (
        Event,
        Finding,
        InterfaceView,
        LabInfo,
        LabView,
        NetworkView,
        NodeView,
        PortView,
        RouteView,
        matching,
    )
    from bascule.engine.views import NetworkView as Network
    from bascule.engine.watch import events
    from bascule.host.doorway import Doorway
    from bascule.host.doorway import handed as handed_door
    from bascule.host.doorway import opened as opened_door
    from bascule.host.icmp import Echo, Target
    from bascule.host.worker import Captured, Worker, captured
    from bascule.host.worker import started as started_worker
    from bascule.plan.diff import Change, Plan
    from bascule.plan.render import text as plan_text
    from bascule.topology import edit
    from bascule.topology import generate as topologies
    from bascule.topology.model import Attachment, Topology
    from bascule.topology.six import left_out

# name → where it stands, and what it is called there if that is another name (nothing: the module)
_PLACES = {
    "Attachment": "topology.model",
    "Captured": "host.worker",
    "Change": "plan.diff",
    "Doorway": "host.doorway",
    "Echo": "host.icmp",
    "Event": "engine.views",
    "ExecDocument": "api.calls",
    "Finding": "engine.views",
    "InterfaceView": "engine.views",
    "Lab": "api.lab",
    "LabInfo": "engine.views",
    "LabView": "engine.views",
    "Leftover": "engine.leftovers",
    "Listener": "engine.options",
    "Network": "engine.views:NetworkView",
    "Mended": "engine.mending",
    "NetworkView": "engine.views",
    "Node": "api.node",
    "NodeView": "engine.views",
    "Outcome": "engine.options",
    "Plan": "plan.diff",
    "PortView": "engine.views",
    "ReplyDocument": "api.calls",
    "Restored": "engine.boot",
    "RouteView": "engine.views",
    "Target": "host.icmp",
    "Topology": "topology.model",
    "UNIT": "engine.boot",
    "Worker": "host.worker",
    "as_data": "api.documents",
    "as_yaml": "api.documents",
    "become": "engine.commands",
    "captured": "host.worker",
    "changing_lab": "engine.choosing:changing",
    "doctor": "engine.doctor:examine",
    "done": "api.documents",
    "edit": "topology.edit:",
    "events": "engine.watch",
    "failed": "api.documents",
    "handed_door": "host.doorway:handed",
    "install_unit": "engine.boot:install",
    "inspected": "api.documents",
    "is_kept": "engine.boot",
    "json_schema": "api.documents:schema",
    "labs": "engine.look",
    "leftovers": "engine.leftovers",
    "left_out": "topology.six",
    "listed": "engine.listing",
    "matching": "engine.views",
    "meant": "engine.choosing",
    "mend": "engine.mending",
    "missing": "engine.boot",
    "opened_door": "host.doorway:opened",
    "plan_text": "plan.render:text",
    "prune": "engine.leftovers",
    "remove_unit": "engine.boot:remove",
    "restore": "engine.boot",
    "running_lab": "engine.choosing:running",
    "started_worker": "host.worker:started",
    "topologies": "topology.generate:",
    "unit_text": "engine.boot:unit",
    "whose": "engine.others:advice",
}

__all__ = [
    "UNIT",
    "Attachment",
    "Captured",
    "Change",
    "Doorway",
    "Echo",
    "Event",
    "ExecDocument",
    "Finding",
    "InterfaceView",
    "Lab",
    "LabInfo",
    "LabView",
    "Leftover",
    "Listener",
    "Mended",
    "Network",
    "NetworkView",
    "Node",
    "NodeView",
    "Outcome",
    "Plan",
    "PortView",
    "ReplyDocument",
    "Restored",
    "RouteView",
    "Target",
    "Topology",
    "Worker",
    "as_data",
    "as_yaml",
    "become",
    "captured",
    "changing_lab",
    "doctor",
    "done",
    "edit",
    "events",
    "failed",
    "handed_door",
    "inspected",
    "install_unit",
    "is_kept",
    "json_schema",
    "labs",
    "left_out",
    "leftovers",
    "listed",
    "matching",
    "meant",
    "mend",
    "missing",
    "opened_door",
    "plan_text",
    "prune",
    "remove_unit",
    "restore",
    "running_lab",
    "started_worker",
    "topologies",
    "unit_text",
    "whose",
]


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    path, renamed, other = place.partition(":")
    module = import_module(f"bascule.{path}")
    found: object = module if renamed and not other else getattr(module, other or name)
    return found
