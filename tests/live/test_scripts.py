"""The printed scripts do what `up` and `down` do: run in an empty world, the kernel's state is
equal."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from helpers import EXAMPLES, bascule
from sandbox import World, difference, require

# Kept by bascule itself, not part of the network.
OWN = ("/run/bascule/.made", "/run/bascule/.claims")


def _without_state(snapshot: dict[str, object]) -> dict[str, object]:
    files = snapshot["files"]
    assert isinstance(files, dict)
    kept = {
        path: value
        for path, value in files.items()
        if not path.startswith("/run/bascule") or "/etc/" in path
    }
    return {**snapshot, "files": kept, "mounts": []}


@pytest.mark.parametrize("spelling", [(), ("--classic",)], ids=["plain", "classic"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_script_equals_up(example: Path, spelling: tuple[str, ...]) -> None:
    """Links, addresses, routes, ports, sysctls, nft, files."""
    require("brctl", "nft", "sysctl")
    with World() as world:
        bascule(world, "up", example)
        by_up = _without_state(world.snapshot())
        bascule(world, "down", "--all")
    with World() as world:
        script = bascule(world, "script", *spelling, example).stdout
        world.run("bash", "-e", input=script)
        by_script = _without_state(world.snapshot())
        world.run("sh", "-c", "cat /run/bascule/*/dns/*.pid 2>/dev/null | xargs -r kill")
    assert difference(by_up, by_script) == ""


@pytest.mark.parametrize("spelling", [(), ("--classic",)], ids=["plain", "classic"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_teardown_is_the_way_back(example: Path, spelling: tuple[str, ...], world: World) -> None:
    """After the script and its teardown the kernel is as it was; folders stay, as `ip netns` leaves
    its own."""
    require("brctl", "nft", "sysctl")
    world.run("sh", "-c", "ip netns add helper; ip netns del helper; mkdir -p /etc/netns")
    before = _without_state(world.snapshot())
    world.run("bash", "-e", input=bascule(world, "script", *spelling, example).stdout)
    assert difference(before, _without_state(world.snapshot())) != ""
    back = bascule(world, "script", "--teardown", *spelling, example).stdout
    advised = re.findall(r"^#   (.*)$", back, re.MULTILINE)
    world.run("bash", "-e", input=back + "\n".join(advised))
    # the kernel frees namespaces, and the veths into them, a little later
    for _attempt in range(100):
        left = difference(before, _without_state(world.snapshot()))
        if "links" not in left:
            break
        time.sleep(0.05)
    assert all("files" in line and "/run/bascule" in line for line in left.splitlines()), left
