"""Topology → the dnsmasq processes of a lab: names, DHCP and router advertisements on the bridges'
own addresses (dnsmasq(8)).

One for all networks that pass questions on, one for the internal ones, and one for networks with
leases but without names. What they know of nodes comes from folders that they watch, and from a
file that they read again when told (SIGHUP), so that nodes come and go without a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from bascule.kernel.fact import Fact
from bascule.kernel.file import TextFile
from bascule.kernel.process import Process
from bascule.kernel.program import DNSMASQ, Instance
from bascule.kernel.upstream import RESOLV_CONF, Upstream
from bascule.topology.defaults import attachment_mac
from bascule.topology.model import DEFAULT_MTU, Assigned, Attachment, Network
from bascule.topology.ways import ways_out

_DIGITS = 8
_OUT, _IN, _LEASES = "out", "in", "leases"
_NO_ROUTER = "nowhere"  # the tag of those whose IPv4 default route leads elsewhere


def servers_folder(lab: str) -> str:
    """The folder with what a lab's servers read."""
    return f"/run/bascule/{lab}/dns"


def serves_names(network: Network, dnsmasq: bool) -> bool:
    """Whether a network has a name server: where the file says so, and with `nat`, `dhcp` or `ra`
    wherever there is a dnsmasq."""
    wanted = (network.nat or network.dhcp or network.ra) and dnsmasq
    return network.has_gateway and (wanted if network.dns is None else network.dns)


def servers(
    lab: Assigned, dnsmasq: bool, records: str, alone: bool, upstream: Upstream
) -> Iterator[Fact]:
    """``records`` are lines of hosts(5). ``alone``: there is no other user whom a server could
    become. ``upstream``: whom those ask that pass questions on."""
    groups: dict[str, list[Network]] = {_OUT: [], _IN: [], _LEASES: []}
    for network in lab.networks:
        if serves_names(network, dnsmasq):
            groups[_IN if network.internal else _OUT].append(network)
        elif network.dhcp or network.ra:
            groups[_LEASES].append(network)
    for kind, networks in groups.items():
        if networks:
            asked = upstream if kind == _OUT else Upstream("")
            known = "" if kind == _LEASES else records
            yield from _server(
                lab, f"{servers_folder(lab.name)}/{kind}", networks, known, alone, asked
            )


def _server(
    lab: Assigned,
    prefix: str,
    networks: Sequence[Network],
    records: str,
    alone: bool,
    upstream: Upstream,
) -> Iterator[Fact]:
    at = Instance(DNSMASQ, prefix)
    lines = [
        "bind-interfaces",
        "except-interface=lo",
        *(f"interface={network.name}" for network in networks),
    ]
    if records:
        yield TextFile(f"{prefix}/hosts", records)
        yield TextFile(f"{prefix}.servers", _asked(records, upstream), server=at)
        # Of several addresses of a name the client gets those in its own subnet. Names of one word
        # go nowhere else.
        lines += [
            "no-hosts",
            f"hostsdir={prefix}",
            "localise-queries",
            "domain-needed",
            "bogus-priv",
            "cache-size=1000",
        ]
        lines += ["local=//", f"servers-file={prefix}.servers"]
    else:
        lines += ["port=0"]
    lines += [f"pid-file={at.note}"]
    if records and upstream.file != RESOLV_CONF:
        lines += [f"resolv-file={upstream.file}" if upstream.file else "no-resolv"]
    if alone:
        # stay as you are: even setgroups(2) may be denied (user_namespaces(7))
        lines += ["user=", "group="]
    if any(network.dhcp or network.ra for network in networks):
        regular, others = _leases(lab, {network.name: network for network in networks})
        yield TextFile(f"{prefix}.hosts/leases", "".join(f"{line}\n" for line in regular))
        lines += [
            f"dhcp-hostsdir={prefix}.hosts",
            *_ranges(networks),
            *(f"dhcp-host={line}" for line in others),
        ]
    text = "\n".join([*lines, ""])
    config = f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.conf"
    yield TextFile(config, text)
    yield Process(at, (f"{DNSMASQ.option}{config}",))


def _asked(records: str, upstream: Upstream) -> str:
    """Who is asked for what. For the names of the lab, and what is below them, nobody else, also
    where the question is for something that they have not (AAAA, MX, HTTPS, TXT). Names of one word
    go nowhere by the configuration; but what is below one (`dev`) may be, where there is somebody
    to ask."""
    alone = not (upstream.file or upstream.servers)
    names = dict.fromkeys(
        name.lower()
        for line in records.splitlines()
        for name in line.split()[1:]
        if alone or "." in name
    )
    return "".join(
        (
            *(f"server=/{name}/\n" for name in names),
            *(f"server={address}\n" for address in upstream.servers),
        )
    )


def _ranges(networks: Sequence[Network]) -> Iterator[str]:
    """What is served where. All leases are fixed and without end, so that there is nothing to keep
    over a restart."""
    yield from ("dhcp-authoritative", "leasefile-ro", f"dhcp-option=tag:{_NO_ROUTER},option:router")
    if any(network.ra for network in networks):
        yield "enable-ra"
    for network in networks:
        for subnet in network.subnets:
            if subnet.version == 4 and network.dhcp:
                yield f"dhcp-range={subnet.network_address},static,{subnet.netmask},infinite"
            elif subnet.version == 6 and network.ra:
                kind = "static" if network.dhcp else "ra-only"
                yield f"dhcp-range={subnet.network_address},{kind},{subnet.prefixlen},infinite"
        if network.dhcp and network.mtu != DEFAULT_MTU:
            yield f"dhcp-option=tag:{network.name},option:mtu,{network.mtu}"
        if network.dhcp and network.internal:
            yield f"dhcp-option=tag:{network.name},option:router"
        if network.ra and network.internal:
            yield f"ra-param={network.name},600,0"  # a prefix, and no router


def _leases(lab: Assigned, served: dict[str, Network]) -> tuple[list[str], list[str]]:
    """A line for each attachment: what may come and go, and what only a restart makes dnsmasq
    forget. It keeps lines that were removed; that does no harm where the MAC follows from the
    address, the addresses from each other, and nothing else is told."""
    regular, others = list[str](), list[str]()
    networks = {network.name: network for network in lab.networks}
    for node in lab.nodes:
        elsewhere = any(route.to.version == 4 and route.to.prefixlen == 0 for route in node.routes)
        outward = {
            item.network
            for item, gateway in ways_out(node, networks)
            if gateway.version == 4 and not elsewhere
        }
        for item in node.attachments:
            if item.network in served:
                network = served[item.network]
                tag = () if network.internal or item.network in outward else (f"set:{_NO_ROUTER}",)
                addresses = tuple(_lease(item, network))
                line = ",".join((item.mac, *tag, *addresses, "infinite"))
                if addresses:
                    (
                        others
                        if tag or not _is_regular(lab.name, node.name, item, network)
                        else regular
                    ).append(line)
    return regular, others


def _lease(item: Attachment, network: Network) -> Iterator[str]:
    for address in item.addresses:
        if address.version == 4 and network.dhcp:
            yield str(address)
        elif address.version == 6 and network.dhcp and network.ra:
            yield f"[{address}]"


def _is_regular(lab: str, node: str, item: Attachment, network: Network) -> bool:
    offsets = {
        int(address) - int(subnet.network_address)
        for address in item.addresses
        for subnet in network.subnets
        if address.version == subnet.version and address in subnet
    }
    return len(offsets) == 1 and item.mac == attachment_mac(
        lab, node, item.interface, str(item.addresses[0])
    )
