"""Topology → what its flows ought to look like, and the flows that do not as changes of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bascule.kernel.fact import Op
from bascule.kernel.flow import EndUnfitFlows, Flows, Unfit
from bascule.kernel.op import Indexes
from bascule.kernel.passage import ANY, GATEWAY, PROTOCOLS, Passage, Passages, packed
from bascule.plan.diff import Change
from bascule.plan.firewall import LEASES, guarded, published
from bascule.plan.servers import serves_names
from bascule.topology.model import Assigned, Network, Node
from bascule.topology.ports import bound_to
from bascule.topology.ways import gateways
from bascule.wire.conntrack import Flow

_DNS = 53
_WHYS = 3  # told of one address


def passage(lab: Assigned, private: bool) -> Passage:
    """What the lab says. In a ``private`` world all that its way out listens on comes to the
    world's own address."""

    def named(networks: Iterable[Network]) -> frozenset[str]:
        return frozenset(network.name for network in networks)

    owners = {
        str(address): node.name
        for node in lab.nodes
        for item in node.attachments
        for address in item.addresses
    }
    owners |= {
        str(address): GATEWAY for network in lab.networks for address, _length in gateways(network)
    }
    ports = {}
    for port, version, target in published(lab):
        address = bound_to(port)
        host = (
            ANY[version]
            if address is None or (private and not address.is_loopback)
            else str(address)
        )
        for step in range(port.count):
            ports[PROTOCOLS[port.protocol], host, port.published + step] = (
                str(target),
                port.target + step,
            )
    return Passage(
        subnets={
            str(subnet): network.name for network in lab.networks for subnet in network.subnets
        },
        owners=owners,
        ports=ports,
        served=frozenset(place for network in lab.networks for place in _served(network)),
        reach=frozenset(
            (network.name, other) for network in lab.networks for other in network.reach
        ),
        internal=named(network for network in lab.networks if network.internal),
        apart=named(network for network in lab.networks if not network.icc),
        guarded=frozenset(guarded(lab)),
        uplinked=named(network for network in lab.networks if network.uplink),
        routers=frozenset(
            item.network for node in lab.nodes if _may_route(node) for item in node.attachments
        )
        | named(network for network in lab.networks if not network.has_gateway),
        nat={
            key: address
            for network in lab.networks
            if network.nat
            for key, address in _outbound(network).items()
        },
    )


def _may_route(node: Node) -> bool:
    """Whether it may pass on what is not for it, or send what is to go on to another that does."""
    return len(node.attachments) > 1 or bool(node.routes)


def _served(network: Network) -> Iterable[tuple[str, int]]:
    """Where the network's own servers answer."""
    ports = [_DNS] * serves_names(network, dnsmasq=True) + [*LEASES.values()] * (
        network.dhcp or network.ra
    )
    return [(str(address), port) for address, _length in gateways(network) for port in ports]


def _outbound(network: Network) -> dict[tuple[str, int], str]:
    chosen = {address.version: str(address) for address in network.outbound}
    return {
        (network.name, subnet.version): chosen.get(subnet.version, "") for subnet in network.subnets
    }


def passages(
    now: Assigned | None, before: Iterable[Assigned | None], private: bool, own: range
) -> Passages:
    """What a lab says now and said before. ``own``: the interface indexes of its bridges."""
    current = passage(now, private) if now is not None else None
    former = list[Passage]()
    for lab in before:
        if (
            lab is not None
            and lab != now
            and (then := passage(lab, private)) != current
            and then not in former
        ):
            former.append(then)
    return Passages(current, tuple(former), own)


def changes_of(unfit: Iterable[Unfit], current: Passages) -> list[Change]:
    """One change for each address with flows to it, or from it, that do not fit."""
    groups: dict[tuple[str, bool], list[Unfit]] = {}
    for each in unfit:
        groups.setdefault(_about(each.flow, current), []).append(each)
    changes = []
    for (address, to), found in sorted(groups.items()):
        fact = Flows(address, to, tuple(each.flow for each in found))
        whys = list(dict.fromkeys(each.why for each in found))
        reason = "; ".join([*whys[:_WHYS], *["and more"] * (len(whys) > _WHYS)])
        changes.append(Change("~", fact, reason, fact.remove(Indexes())))
    return changes


def _about(flow: Flow, current: Passages) -> tuple[str, bool]:
    """The lab's address of a flow, and whether it leads there: else the address that was asked."""
    known = [each for each in (current.now, *current.before) if each is not None]
    for address, to in ((flow.reply.src, True), (flow.original.src, False)):
        if any(each.prefixes.match(packed(address))[1] is not None for each in known):
            return address, to
    return flow.original.dst, True


def closing(changes: Sequence[Change], current: Callable[[], Passages]) -> tuple[Op, ...]:
    """What has to be done at the end of all where rules change or addresses go: the flows of who
    sends meanwhile."""
    anew = any(each.fact.judges_flows for each in changes)
    needed = anew or any(each.sign != "+" and each.fact.carries_flows for each in changes)
    return (EndUnfitFlows(current()._replace(anew=anew)),) if needed else ()
