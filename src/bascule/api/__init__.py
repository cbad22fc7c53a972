"""The Python API: what front ends stand on, ours and others'. ``docs/api.md`` tells it by use.

Each name is imported when it is first used: `exec` needs two of them, and has a budget of
milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api.documents import as_data, as_yaml, done, failed, inspected
    from bascule.api.documents import schema as json_schema
    from bascule.api.lab import Lab, Node
    from bascule.engine.boot import UNIT, Restored, is_kept, missing, restore
    from bascule.engine.boot import install as install_unit
    from bascule.engine.boot import remove as remove_unit
    from bascule.engine.boot import unit as unit_text
    from bascule.engine.choosing import changing as changing_lab
    from bascule.engine.choosing import meant
    from bascule.engine.choosing import running as running_lab
    from bascule.engine.commands import become
    from bascule.engine.doctor import examine as doctor
    from bascule.engine.listing import listed
    from bascule.engine.look import labs
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
    from bascule.host.icmp import Echo, Target
    from bascule.plan.diff import Change, Plan
    from bascule.plan.render import text as plan_text
    from bascule.topology import edit
    from bascule.topology.model import Attachment, Topology

# name → where it stands, and what it is called there if that is another name (nothing: the module)
_PLACES = {
    "Attachment": "topology.model",
    "Change": "plan.diff",
    "Echo": "host.icmp",
    "Event": "engine.views",
    "Finding": "engine.views",
    "InterfaceView": "engine.views",
    "Lab": "api.lab",
    "LabInfo": "engine.views",
    "LabView": "engine.views",
    "Listener": "engine.options",
    "Network": "engine.views:NetworkView",
    "NetworkView": "engine.views",
    "Node": "api.lab",
    "NodeView": "engine.views",
    "Outcome": "engine.options",
    "Plan": "plan.diff",
    "PortView": "engine.views",
    "Restored": "engine.boot",
    "RouteView": "engine.views",
    "Target": "host.icmp",
    "Topology": "topology.model",
    "UNIT": "engine.boot",
    "as_data": "api.documents",
    "as_yaml": "api.documents",
    "become": "engine.commands",
    "changing_lab": "engine.choosing:changing",
    "doctor": "engine.doctor:examine",
    "done": "api.documents",
    "edit": "topology.edit:",
    "events": "engine.watch",
    "failed": "api.documents",
    "install_unit": "engine.boot:install",
    "inspected": "api.documents",
    "is_kept": "engine.boot",
    "json_schema": "api.documents:schema",
    "labs": "engine.look",
    "listed": "engine.listing",
    "matching": "engine.views",
    "meant": "engine.choosing",
    "missing": "engine.boot",
    "plan_text": "plan.render:text",
    "remove_unit": "engine.boot:remove",
    "restore": "engine.boot",
    "running_lab": "engine.choosing:running",
    "unit_text": "engine.boot:unit",
    "whose": "engine.others:advice",
}

__all__ = [
    "UNIT",
    "Attachment",
    "Change",
    "Echo",
    "Event",
    "Finding",
    "InterfaceView",
    "Lab",
    "LabInfo",
    "LabView",
    "Listener",
    "Network",
    "NetworkView",
    "Node",
    "NodeView",
    "Outcome",
    "Plan",
    "PortView",
    "Restored",
    "RouteView",
    "Target",
    "Topology",
    "as_data",
    "as_yaml",
    "become",
    "changing_lab",
    "doctor",
    "done",
    "edit",
    "events",
    "failed",
    "inspected",
    "install_unit",
    "is_kept",
    "json_schema",
    "labs",
    "listed",
    "matching",
    "meant",
    "missing",
    "plan_text",
    "remove_unit",
    "restore",
    "running_lab",
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
