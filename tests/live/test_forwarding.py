"""The machine passes packets on for labs, and is afterwards as it was."""

from __future__ import annotations

from typing import Any

from bascule.api import Lab
from bascule.engine import claims
from bascule.engine.prepare import machine_of, priors_of
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.host.seen import Scope
from bascule.state import store
from sandbox import World, require


def _lab(name: str, number: int, *versions: int, nat: bool = True) -> dict[str, Any]:
    """A lab of one network with these IP versions."""
    subnets = {4: f"10.{number}.0.0/24", 6: f"fd00:{number}::/64"}
    network = {"subnet": [subnets[version] for version in versions], "nat": nat, "dns": False}
    return {"name": name, "networks": {f"br{number}": network}, "nodes": {f"n{number}": [f"br{number}"]}}


def _own_forwarding(lab: str) -> set[int]:
    """As a plan for this lab takes it."""
    priors = {**claims.of_others(lab).priors, **priors_of(store.load(lab))}
    return set(machine_of(observe(Scope(), Paths()), priors).own_forwarding)


def test_what_the_machine_forwards_by_itself(world: World) -> None:
    """Not what a lab has turned on, whichever lab asks."""
    require("nft")
    assert _own_forwarding("one") == set()
    world.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=2")
    lab = Lab.from_data(_lab("one", 1, 4, 6), world="host")
    lab.up()
    assert observe(Scope(), Paths()).forwarding == {4, 6}
    assert [_own_forwarding(name) for name in ("one", "two")] == [{6}, {6}]
    lab.down()
    assert _own_forwarding("one") == {6}
