"""What the environment asks to be told while bascule works: ``BASCULE_DEBUG``."""

from __future__ import annotations

import os

from bascule.errors import InputError
from bascule.names import shown

VARIABLE = "BASCULE_DEBUG"
# What there is to be told, and what it is.
KINDS = {"netlink": "each netlink message that is sent, and each answer"}


def asked_for(kind: str) -> bool:
    """Whether it is to be told. Raises :class:`InputError` where something is asked for that does
    not exist."""
    value = os.environ.get(VARIABLE, "")
    if value and value not in KINDS:
        known = "; ".join(f"{name} ({what})" for name, what in KINDS.items())
        raise InputError(f"{VARIABLE}={shown(value)}: there is no such thing to tell; use {known}")
    return value == kind
