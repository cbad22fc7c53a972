"""Topology → the lab's table at the ports of its bridges (nft's family `bridge`): what is bound to
a port.

* ``guard``: a node sends with its own MAC and its own addresses, and speaks for no others:
  neighbours can't be robbed of theirs.
* ``icc: false`` with published ports: where bridged frames pass the IP firewall, what was sent to
  one goes from port to port.
* Tags: the kernel takes off a VLAN tag before the rules of a bridge's own device look, and where
  that is number 0, all that stand behind it after they have looked (__netif_receive_skb_core,
  net/core/dev.c). A packet below two would be judged by nobody.
* ``uplink``: frames that come by an interface of the machine have sources from anywhere. So what a
  node may say to the machine is judged by the node's port instead of by the bridge, and the lab's
  servers for addresses neither hear nor answer who is behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Network

from bascule.kernel.table import BRIDGE_FAMILY, comment, table_name
from bascule.plan.chains import entering
from bascule.plan.rules import IP, LABS, MARK, Chain, Elements, quoted, table
from bascule.topology.autoconf import slaac_address
from bascule.topology.model import Assigned, Attachment, Network
from bascule.topology.ranges import range_of
from bascule.topology.ways import is_apart, is_guarded_port

_LINK_LOCAL = range_of(IPv6Network("fe80::/64"))
# Before br_netfilter (NF_BR_PRI_BRNF is 0, linux/netfilter_bridge.h) has IP's own hooks look at a
# frame.
_EARLY = "priority -300"
_NOBODY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (nothing is bound)
# of a neighbour solicitation or advertisement (RFC 4861 sections 4.3 and 4.4)
_TARGET = "@th,64,128"
_CLIENT = "@th,288,48"  # chaddr of a DHCP question, behind the UDP header (RFC 2131 section 2)
_TAGS = ("8021q", "8021ad")  # a rule for each: a set costs three times what two comparisons do
Port = tuple[Attachment, Network]


def bound(lab: Assigned, bridged: bool) -> str:
    """The text of the table; empty where nothing is bound to a port. ``bridged``: frames within a
    bridge pass the IP firewall."""
    networks = {network.name: network for network in lab.networks}
    ports = [(item, networks[item.network]) for node in lab.nodes for item in node.attachments]
    apart = (item.host_interface for item, network in ports if bridged and is_apart(network, lab))
    sets = [Elements("apart", "ifname", quoted(apart)), *_sets(ports), *_uplinks(lab)]
    return table(BRIDGE_FAMILY, table_name(lab.name), comment(lab.name), sets, _chains(lab))


def _sets(ports: list[Port]) -> Iterator[Elements]:
    lent = (
        f'"{item.host_interface}" : jump from-{network.name}'
        for item, network in ports
        if network.uplink
    )
    yield Elements("lent", "ifname : verdict", tuple(lent))
    yield from _guarded([item for item, network in ports if is_guarded_port(network)])


def _guarded(items: list[Attachment]) -> Iterator[Elements]:
    yield Elements("guarded", "ifname", quoted(item.host_interface for item in items))
    yield Elements(
        "macs",
        "ifname . ether_addr",
        tuple(f'"{item.host_interface}" . {item.mac}' for item in items),
        kept=True,
    )
    four, six, targets = list[str](), list[str](), list[str]()
    for item in items:
        port = f'"{item.host_interface}"'
        for address in (*item.addresses, slaac_address(_LINK_LOCAL, item.mac)):
            (four if address.version == 4 else six).append(f"{port} . {address}")
            if address.version == 6:
                targets.append(f"{port} . 0x{int(address):032x}")
    yield Elements("addresses4", "ifname . ipv4_addr", tuple(four), kept=True)
    yield Elements("addresses6", "ifname . ipv6_addr", tuple(six), kept=True)
    clients = (f'"{item.host_interface}" . 0x{item.mac.replace(":", "")}' for item in items)
    yield Elements("clients", f"iifname . {_CLIENT}", tuple(clients), of=True, kept=True)
    yield Elements("targets", f"iifname . {_TARGET}", tuple(targets), of=True, kept=True)


def _uplinks(lab: Assigned) -> Iterator[Elements]:
    serving = [network for network in lab.networks if network.uplink]
    yield Elements(
        "leasing", "ifname", quoted(network.uplink for network in serving if network.dhcp)
    )
    yield Elements(
        "announcing", "ifname", quoted(network.uplink for network in serving if network.ra)
    )


def _chains(lab: Assigned) -> Iterator[Chain]:
    before = ("iifname @guarded jump guard", "meta pkttype host iifname vmap @lent")
    yield Chain("prerouting", f"filter hook prerouting {_EARLY}", before)
    # Nobody but the lab's own nodes asks the lab's servers, and the answers do not leave by the
    # uplink either.
    six = "meta protocol ip6 icmpv6 type"
    heard = (
        "iifname @leasing udp dport { 67, 547 } drop",
        f"iifname @announcing {six} nd-router-solicit drop",
    )
    hidden = (f"meta protocol {tag} iif {LABS} drop" for tag in _TAGS)
    yield Chain(
        "input",
        f"filter hook input {_EARLY}",
        (*hidden, "meta pkttype != host iifname vmap @lent", *heard),
    )
    said = (
        "oifname @leasing udp sport { 67, 547 } drop",
        f"oifname @announcing {six} nd-router-advert drop",
    )
    yield Chain("output", f"filter hook output {_EARLY}", said)
    asked = (rule.replace("iifname", "oifname") for rule in heard)
    told = (rule.replace("oifname", "iifname") for rule in said)
    yield Chain("forward", f"filter hook forward {_EARLY}", (*_apart(), *asked, *told))
    for network in lab.networks:
        if network.uplink:
            yield Chain(f"from-{network.name}", "", tuple(entering(network)))
    yield Chain("guard", "", tuple(_guard()))


def _apart() -> Iterator[str]:
    """From neighbour to neighbour only what was sent to a published port."""
    pair = "iifname @apart oifname @apart"
    yield f"{pair} meta mark & {MARK:#x} == 0x0 drop"
    yield f"{pair} meta mark set meta mark & {MARK ^ 0xFFFFFFFF:#x}"


def _guard() -> Iterator[str]:
    yield from (f"ether type {tag} drop" for tag in _TAGS)
    yield "iifname . ether saddr != @macs drop"
    yield "iifname . arp saddr ether != @macs drop"
    yield f"iifname . arp saddr ip != @addresses4 arp saddr ip != {_NOBODY[4]} drop"
    for version in (4, 6):
        yield (
            f"iifname . {IP[version]} saddr != @addresses{version} {IP[version]} saddr != "
            f"{_NOBODY[version]} drop"
        )
    yield f"arp saddr ip {_NOBODY[4]} iifname . arp daddr ip != @addresses4 drop"
    yield (
        f"ip6 saddr {_NOBODY[6]} icmpv6 type nd-neighbor-solicit iifname . {_TARGET} != "
        f"@targets drop"
    )
    yield f"icmpv6 type nd-neighbor-advert iifname . {_TARGET} != @targets drop"
    yield "icmpv6 type { nd-router-advert, nd-redirect } drop"
    yield "udp sport { 67, 547 } drop"
    yield "udp dport { 68, 546 } drop"
    yield "ip frag-off & 0x3fff != 0x0 udp dport 67 drop"
    yield f"udp dport 67 iifname . {_CLIENT} != @clients drop"
