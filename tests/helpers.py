"""What the live tests share: the command, the examples, and reading what it prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from sandbox import BASCULE, World

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
SEED = Path(__file__).parents[1] / "examples" / "docker-bridge.yaml"
# Kept by bascule while a lab is up; compared by content where it matters.
STATE = ("/run/bascule*",)


def bascule(world: World, *arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in this world."""
    return world.run(BASCULE, *(str(argument) for argument in arguments), check=check, **options)


def as_json(world: World, *arguments: object) -> Any:
    """What the command prints with --json."""
    return json.loads(bascule(world, *arguments, "--json").stdout)


def changes(world: World, *arguments: object) -> list[str]:
    """The plan, one "sign what" a line."""
    return [f"{change['sign']} {change['what']}" for change in as_json(world, "plan", *arguments)["changes"]]
