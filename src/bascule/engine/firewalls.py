"""What other programs' firewalls keep from labs, told alike by `plan`, `up` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bascule.engine import legacy
from bascule.engine.legacy import Kept
from bascule.host.seen import Observation
from bascule.kernel.zone import TRUSTED, command
from bascule.topology.model import Assigned


def kept(labs: Sequence[Assigned], seen: Observation) -> Iterator[Kept]:
    """Of these labs, all that is kept from them."""
    bridged = {4: seen.bridge_nf, 6: seen.bridge_nf6}
    wanted = [need for lab in labs for need in legacy.needs(lab, bridged, seen.dnsmasq)]
    yield from legacy.advice(seen.old_firewalls, wanted)
    yield from legacy.advice_of_nft(seen.input_chains, wanted)
    for lab in labs:
        for line in _of_firewalld([network.name for network in lab.networks], seen):
            yield Kept("firewalld", line)


def _of_firewalld(bridges: Sequence[str], seen: Observation) -> Iterator[str]:
    found = seen.firewalld
    if found is None or not bridges:
        return
    if found.silent:
        commands = ", ".join(f"`{command(bridge)}`" for bridge in bridges)
        yield (
            f"firewalld's rules are here, and {found.silent}: what nodes send is rejected, until "
            f"you start it (`systemctl restart firewalld`) and run `bascule up`, or {commands}"
        )
    for bridge in bridges:
        zone = found.zones.get(bridge, TRUSTED)
        if zone != TRUSTED:
            yield (
                f"{bridge} is in firewalld's zone {zone}, where somebody has put it: what that "
                f"does not let pass is lost, until you run `{command(bridge)}`"
            )
