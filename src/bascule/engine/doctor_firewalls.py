"""What other programs' firewalls do to labs: that part of :mod:`.doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from bascule.engine import legacy
from bascule.engine.firewalls import kept
from bascule.engine.legacy import Kept
from bascule.engine.prepare import machine_of, stored_topology
from bascule.engine.views import Finding
from bascule.errors import BasculeError
from bascule.host import nft
from bascule.host.observe import observe
from bascule.host.paths import Paths
from bascule.host.seen import Observation
from bascule.kernel.fact import only
from bascule.kernel.look import Scope
from bascule.kernel.op import WORLD, Indexes
from bascule.kernel.ruleset import FROM, TO, ForwardAccept
from bascule.kernel.zone import Zone
from bascule.plan.desired import past_firewalls
from bascule.state import folder, store
from bascule.topology.model import Assigned


def bridged_frames() -> Iterator[Finding]:
    """bridged frames."""
    if os.geteuid() != 0:
        return  # of labs on the machine; and only root sees other programs' rules
    seen = observe(Scope(), Paths())
    what = "bridged frames"
    if not seen.bridge_nf:
        yield Finding(
            what,
            "ok",
            "do not pass the IP firewall (net.bridge.bridge-nf-call-iptables is 0 or absent)",
        )
        return
    dropping = [chain.place for chain in seen.forward_chains if chain.drops]
    found = "pass the IP firewall (net.bridge.bridge-nf-call-iptables is 1)"
    if not dropping:
        yield Finding(what, "ok", f"{found}, where nothing drops them")
    elif nft.program():
        advice = "`up` puts one rule at its head for each network"
        yield Finding(what, "note", f"{found}, and {', '.join(dropping)} drops", advice)
    else:
        yield Finding(
            what,
            "no",
            f"{found}, and {', '.join(dropping)} drops",
            "install nftables, so that `up` can let them pass",
        )


def firewalls() -> Iterator[Finding]:
    """other programs' firewalls."""
    if os.geteuid() != 0:
        return
    labs = [lab for name in folder.labs() if (lab := _on_the_machine(name)) is not None]
    bridges = frozenset((WORLD, network.name) for lab in labs for network in lab.networks)
    seen = observe(Scope(links=bridges), Paths())
    said: dict[str, list[str]] = {}
    for each in (*kept(labs, seen), *_missing(labs, seen)):
        said.setdefault(each.program, []).append(each.line)
    for old in seen.old_firewalls:
        drops = f" drops in {' and '.join(sorted(old.dropping))}" if old.dropping else ""
        # Without a lab, what one with a way out needs.
        ways = legacy.forward(old.version, "BRIDGE", (FROM, TO))
        general = [] if labs else [each.line for each in legacy.advice((old,), list(ways))]
        yield _finding(old.program, f"the filter table{drops}", said.pop(old.program, general))
    if seen.firewalld is not None:
        found = seen.firewalld.silent or "runs: labs' bridges go to its zone trusted"
        yield _finding("firewalld", found, said.pop("firewalld", []))
    dropping = [shut.chain for shut in seen.input_chains]
    dropping += [chain for chain in seen.forward_chains if chain.drops]
    for chain in dropping:
        yield _finding(chain.place, "drops what it does not know", said.pop(chain.place, []))


def _missing(labs: Sequence[Assigned], seen: Observation) -> Iterator[Kept]:
    """What `up` makes in other programs' firewalls and is not there: a reload of theirs has taken
    it away."""
    there = {fact.key for fact in seen.facts}
    for lab in labs:
        wanted = list(past_firewalls(lab, machine_of(seen, {})))
        places = {fact.key: fact.place() for fact in only(wanted, ForwardAccept)}
        places |= {fact.key: "firewalld" for fact in only(wanted, Zone)}
        for fact in wanted:
            if fact.key not in there:
                commands = ", ".join(f"`{op.words}`" for op in fact.create(Indexes()))
                line = f"no {fact.describe()}: `bascule up` puts it back, or {commands}"
                yield Kept(places[fact.key], line)


def _finding(what: str, found: str, advice: list[str]) -> Finding:
    return Finding(what, "note" if advice else "ok", found, "; ".join(advice))


def _on_the_machine(name: str) -> Assigned | None:
    with suppress(BasculeError):
        record = store.load(name).newest
        return stored_topology(record) if record is not None and record.world == "host" else None
    return None
