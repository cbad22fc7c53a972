"""bascule: networks of Linux network namespaces, from one file.

>>> import bascule
>>> with bascule.Lab.load("lab.yaml") as lab:                     # doctest: +SKIP
...     lab.node("ns1").run(["ping", "-c1", "ns2"])

The names below are imported when they are first used, so that ``import bascule`` costs next to
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.api import Lab, Network, Node
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

_FROM_API = ("Lab", "Network", "Node")

__all__ = [
    "BasculeError",
    "Conflict",
    "Elsewhere",
    "InputError",
    "KernelError",
    "Lab",
    "Locked",
    "Network",
    "Node",
    "NotFound",
    "PlanFailed",
    "StateError",
    "TopologyError",
    "WorldError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from bascule import api, errors

        return getattr(api if name in _FROM_API else errors, name)
    raise AttributeError(f"module 'bascule' has no attribute {name!r}")
