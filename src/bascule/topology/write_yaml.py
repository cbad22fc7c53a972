"""Plain data → YAML as a person would lay it out: short maps and lists on one line."""

from __future__ import annotations

from typing import Any

import yaml

_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def write(data: dict[str, Any]) -> str:
    """The text; keys stay in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, allow_unicode=True, width=120)
    return text


class _Dumper(_BASE):  # type: ignore[misc] # the C dumper where there is one, which mypy can't know
    """The C dumper with our layout."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal values out instead of naming them with & and *."""
        return True


def _is_flat(values: Any) -> bool:
    return not any(isinstance(value, dict | list) and value for value in values)


def _represent_map(dumper: Any, data: dict[str, Any]) -> Any:
    return dumper.represent_mapping(
        "tag:yaml.org,2002:map", data.items(), flow_style=_is_flat(data.values())
    )


def _represent_list(dumper: Any, data: list[Any]) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=_is_flat(data))


_Dumper.add_representer(dict, _represent_map)
_Dumper.add_representer(list, _represent_list)
