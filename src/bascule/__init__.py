"""bascule: networks of Linux network namespaces, from one file.

>>> import bascule
>>> nodes = {"ns1": ["lan"], "ns2": ["lan"]}
>>> with bascule.Lab.from_data({"networks": {"lan": {}}, "nodes": nodes}, world="private") as lab:
...     done = lab.node("ns1").run(["ping", "-c1", "-W5", "ns2"], capture_output=True)
>>> done.returncode
0

The names below are imported when they are first used, so that ``import bascule`` costs next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api import (
        Change,
        Echo,
        Event,
        Finding,
        InterfaceView,
        Lab,
        LabInfo,
        LabView,
        Listener,
        Network,
        Node,
        NodeView,
        Outcome,
        Plan,
        Restored,
        Target,
        doctor,
        edit,
        events,
        labs,
        restore,
        topologies,
    )
    from bascule.errors import (
        BasculeError,
        Conflict,
        Elsewhere,
        InputError,
        KernelError,
        Locked,
        NotFound,
        PlanFailed,
        StateError,
        TopologyError,
        WorldError,
    )

__version__ = "0.1.0"

__all__ = [
    "BasculeError",
    "Change",
    "Conflict",
    "Echo",
    "Elsewhere",
    "Event",
    "Finding",
    "InputError",
    "InterfaceView",
    "KernelError",
    "Lab",
    "LabInfo",
    "LabView",
    "Listener",
    "Locked",
    "Network",
    "Node",
    "NodeView",
    "NotFound",
    "Outcome",
    "Plan",
    "PlanFailed",
    "Restored",
    "StateError",
    "Target",
    "TopologyError",
    "WorldError",
    "__version__",
    "doctor",
    "edit",
    "events",
    "labs",
    "restore",
    "topologies",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from bascule import api, errors

        return getattr(errors if hasattr(errors, name) else api, name)
    raise AttributeError(f"module 'bascule' has no attribute {name!r}")
