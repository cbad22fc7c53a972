"""What has to be true in a node, and of its interfaces: part of :mod:`.desired`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bascule.kernel.address import Address
from bascule.kernel.fact import Fact
from bascule.kernel.forwarding import SWITCHES, Forwarding
from bascule.kernel.link import LOOPBACK, Loopback
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import WORLD, Settings
from bascule.kernel.port import HAIRPIN, ISOLATED, PortFlag
from bascule.kernel.qdisc import Qdisc
from bascule.kernel.route import IPV6_METRIC, Route
from bascule.kernel.sysctl import Sysctl
from bascule.kernel.veth import End, Veth
from bascule.kernel.without_ipv6 import IPv6Off
from bascule.names import derived_mac
from bascule.plan import links
from bascule.plan.given import Machine, OfNetwork
from bascule.topology.autoconf import own_versions
from bascule.topology.check_addresses import INTERFACE_WORD
from bascule.topology.model import (
    Assigned,
    Attachment,
    IPAddress,
    Link,
    LinkEnd,
    Network,
    Node,
    Shape,
)
from bascule.topology.routing import Way
from bascule.topology.shaping import bucket
from bascule.topology.ways import ways_out

# What a node's namespace is made with: nobody tells it another way by ICMP (of IPv6 each interface
# has its own setting). One of `all` and the interface is enough for the kernel to listen, but in
# routers (IN_DEV_RX_REDIRECTS, linux/inetdevice.h).
_DEAF = tuple((f"net.ipv4.conf.{place}.accept_redirects", "0") for place in ("all", "default"))


def made_node(
    lab: str, node: Node, of: Mapping[str, OfNetwork], machine: Machine
) -> Iterator[Fact]:
    """The namespace, and its interfaces on networks."""
    networks = {item.network: of[item.network].network for item in node.attachments}
    given = {key.replace("/", ".") for key, _value in node.sysctls}
    deaf = (
        tuple(row for row in _DEAF if row[0] not in given and machine.settable)
        if not node.netns
        else ()
    )
    yield Namespace(node.name, source=node.netns, settings=deaf)
    for attachment in node.attachments:
        yield _veth(lab, node, attachment, networks[attachment.network], machine)
        yield from _shaping(node, attachment, networks[attachment.network])
    for attachment in node.attachments:
        network = networks[attachment.network]
        # there, the rules know more than a port can
        if not network.icc and not (machine.bridged and of[network.name].is_apart):
            yield PortFlag(WORLD, attachment.host_interface, ISOLATED)
        if machine.bridged and node.ports:
            yield PortFlag(WORLD, attachment.host_interface, HAIRPIN)
    if not node.netns:
        yield Loopback(node.name)


def inside(
    node: Node,
    of: Mapping[str, OfNetwork],
    machine: Machine,
    ends: Sequence[tuple[LinkEnd, Link]],
    ways: Sequence[Way],
) -> Iterator[Fact]:
    """Addresses, routes and settings."""
    networks = {item.network: of[item.network].network for item in node.attachments}
    settings = [Sysctl(node.name, key, value) for key, value in _settings(node).items()]
    yield from filter(_lets_six_in, settings)
    for attachment in node.attachments:
        for address, prefix in _addresses(attachment, networks[attachment.network]):
            yield Address(node.name, attachment.interface, str(address), prefix)
    yield from links.addresses(ends)
    for own in node.loopback:
        yield Address(node.name, LOOPBACK, str(own.ip), own.network.prefixlen)
    yield from _routes(node, networks, ends, ways)
    yield from _set(node, machine)


def cables(lab: Assigned, of: Mapping[str, OfNetwork], machine: Machine) -> Iterator[Fact]:
    """Those of all links."""
    given = {node.name: _settings(node) for node in lab.nodes}

    def quiet(node: str, interface: str, six: bool) -> Settings:
        rows = quiet_settings(interface, six) if can_quiet(machine) else ()
        return tuple(row for row in rows if row[0] not in given[node])

    return links.cables(lab.links, {name: each.network for name, each in of.items()}, quiet)


def turns_off(lab: Assigned, machine: Machine) -> bool:
    """Whether the kernel is to be told that the lab has no IPv6."""
    return not lab.ipv6 and can_quiet(machine)


def off(node: Node, ends: Sequence[tuple[LinkEnd, Link]]) -> Iterator[Fact]:
    """No interface of the node has IPv6, nor has the other end in the world."""
    for item in node.attachments:
        yield from (IPv6Off(WORLD, item.host_interface), IPv6Off(node.name, item.interface))
    yield from (IPv6Off(node.name, end.interface) for end, _link in ends)


def _shaping(node: Node, item: Attachment, network: Network) -> Iterator[Fact]:
    """What the node sends is shaped at its own end, and what it gets at the bridge's."""
    usual = Shape(item.rate, item.burst, item.latency)
    for place, shape in (
        ((node.name, item.interface), item.egress or usual),
        ((WORLD, item.host_interface), item.ingress or usual),
    ):
        if shape.rate:
            burst, limit = bucket(shape, network.mtu)
            yield Qdisc(*place, rate=shape.rate // 8, burst=burst, limit=limit)


def _lets_six_in(setting: Sysctl) -> bool:
    """Without it there would be no IPv6 addresses: it comes before them."""
    return setting.name.endswith("disable_ipv6") and setting.value == "0"


def _veth(lab: str, node: Node, item: Attachment, network: Network, machine: Machine) -> Veth:
    six = any(subnet.version == 6 for subnet in network.subnets)
    given = _settings(node)
    own = own_versions(item, network)
    quiet = (
        [row for row in quiet_settings(item.interface, six, 6 in own) if row[0] not in given]
        if can_quiet(machine)
        else ()
    )
    host = derived_mac(lab, node.name, item.host_interface)
    near = End(WORLD, item.host_interface, network.mtu, host, bridge=network.name)
    far = End(
        node.name,
        item.interface,
        item.mtu or network.mtu,
        item.mac,
        settings=tuple(quiet),
        autoconf=own,
    )
    return Veth(near, far)


def can_quiet(machine: Machine) -> bool:
    """Whether interfaces can be told what :func:`quiet_settings` says."""
    return machine.ipv6 and machine.settable


def quiet_settings(
    interface: str, six: bool, announced: bool = False
) -> tuple[tuple[str, str], ...]:
    """What an interface is made with: nobody on the link makes himself its router, unless that is
    ``announced``, nor tells it another way. And with IPv6 addresses each is given once, so that
    there is nothing to detect: until its own link-local address is past that second, a bridge can't
    even ask for a node's MAC (RFC 4862 section 5.4; ndisc_solicit, net/ipv6/ndisc.c)."""
    names = (
        ("accept_ra", "accept_redirects", "accept_dad")
        if six
        else ("accept_ra", "accept_redirects")
    )
    # 2: also in a node that passes packets on
    values = {"accept_ra": "2" if announced else "0", "accept_redirects": "0", "accept_dad": "0"}
    return tuple(
        (_of_interface(f"net.ipv6.conf.{INTERFACE_WORD}.{name}", interface), values[name])
        for name in names
    )


def _set(node: Node, machine: Machine) -> Iterator[Fact]:
    """The settings of the file: first whether packets are passed on, which changes others, where
    that can be changed."""
    settings = _settings(node)
    found = settings if machine.settable else ()
    switches = {
        key: SWITCHES[name]
        for key in found
        if (name := key.replace("/", ".")) in SWITCHES and settings[key] in "01"
    }
    turned = {version: settings[key] == "1" for key, version in switches.items()}
    if node.forward and machine.settable:
        turned = {4: True, **({6: True} if machine.ipv6 else {}), **turned}
    for version, on in turned.items():
        yield Forwarding(version, on, node.name)
    rest = {key: value for key, value in settings.items() if key not in switches}
    facts = (Sysctl(node.name, key, value) for key, value in rest.items())
    yield from (fact for fact in facts if not _lets_six_in(fact))


def _settings(node: Node) -> dict[str, str]:
    """The file's settings of a node and of its interfaces."""
    found = {key: " ".join(value.split()) for key, value in node.sysctls}
    for item in node.attachments:
        for key, value in item.sysctls:
            found.setdefault(_of_interface(key, item.interface), " ".join(value.split()))
    return found


def _of_interface(key: str, interface: str) -> str:
    """The key with the interface's name in it; with slashes where the name holds a dot, as in
    sysctl(8)."""
    mark = "/" if "/" in key or "." in interface else "."
    return mark.join(
        interface if part == INTERFACE_WORD else part
        for part in re.split("/" if "/" in key else r"\.", key)
    )


def _addresses(attachment: Attachment, network: Network) -> list[tuple[IPAddress, int]]:
    return [
        (address, subnet.prefixlen)
        for address in attachment.addresses
        for subnet in network.subnets
        if address.version == subnet.version
        and address in subnet
        and address.version not in own_versions(attachment, network)
    ]


def _routes(
    node: Node,
    networks: dict[str, Network],
    ends: Sequence[tuple[LinkEnd, Link]],
    ways: Sequence[Way],
) -> Iterator[Route]:
    """The routes that the file gives, and the default route of each family through the first
    network with a gateway."""
    given = set()
    for route in node.routes:
        if route.to.prefixlen == 0:
            given.add(route.to.version)
        ordinary = 0 if route.to.version == 4 else IPV6_METRIC
        device = route.interface or _device_towards(route.via, node, networks, ends)
        via = str(route.via) if route.via else ""
        yield Route(node.name, str(route.to), via, device, route.metric or ordinary)
    yield from links.computed(node.name, ways)
    for attachment, gateway in ways_out(node, networks):
        if gateway.version not in (*given, *own_versions(attachment, networks[attachment.network])):
            everything, metric = ("0.0.0.0/0", 0) if gateway.version == 4 else ("::/0", IPV6_METRIC)
            yield Route(node.name, everything, str(gateway), attachment.interface, metric)


def _device_towards(
    via: IPAddress | None,
    node: Node,
    networks: dict[str, Network],
    ends: Sequence[tuple[LinkEnd, Link]],
) -> str:
    """The interface whose subnet holds the next hop; checked topologies have one."""
    near = [(item.interface, networks[item.network].subnets) for item in node.attachments]
    near += [(end.interface, link.subnets) for end, link in ends]
    return next(name for name, subnets in near if any(via in each for each in subnets))
