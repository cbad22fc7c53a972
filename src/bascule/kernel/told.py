"""What is told of a fact besides its description: which kind it is of, and its fields as plain
data.

A field is told unless it is marked :data:`UNTOLD`, or does not count when two facts are compared.
Its name is its key for programs that read plans: a new name is another form of what is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, Literal

# All kinds of facts. What is added here is no change for who reads plans; what goes is.
Kind = Literal[
    "address",
    "bridge",
    "bridge_setting",
    "file",
    "flows",
    "forward_accept",
    "forwarding",
    "ipv6_off",
    "link_local_off",
    "loopback",
    "loopback_route",
    "mode",
    "namespace",
    "port_flag",
    "process",
    "qdisc",
    "route",
    "stray",
    "symlink",
    "sysctl",
    "table",
    "uplink",
    "veth",
    "zone",
]
UNTOLD: Mapping[str, bool] = {"told": False}  # the metadata of a field


def told_fields(kind: Any) -> tuple[Field[Any], ...]:
    """The fields of a fact, or of a class of facts, that are told, in their order."""
    return tuple(
        field for field in fields(kind) if field.compare and field.metadata.get("told", True)
    )


def told(value: Any) -> Any:
    """A fact as plain data: a dictionary of its fields."""
    if is_dataclass(value):
        return {field.name: told(getattr(value, field.name)) for field in told_fields(value)}
    if isinstance(value, tuple):
        return [told(each) for each in value]
    return value
