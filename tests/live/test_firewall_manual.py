"""docs/firewall.md is what this file makes of a lab's table: each rule and each set with its
reason, none left out.

``BASCULE_WRITE=1 pytest tests/live/test_firewall_manual.py`` writes it anew; read the diff before
committing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bascule.api import Lab
from bascule.plan import rules
from bascule.plan.firewall import Surroundings, ruleset
from sandbox import World, require
from traffic import Outside

MANUAL = Path(__file__).parents[2] / "docs" / "firewall.md"
LAB = """\
name: demo
networks:
  lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true, outbound_address: 192.0.2.1}
  dmz: {subnet: [10.2.0.0/24, "fd00:2::/64"], reach: [lan]}
  vault: {subnet: [10.3.0.0/24, "fd00:3::/64"], internal: true}
  guests: {subnet: [10.4.0.0/24, "fd00:4::/64"], icc: false}
  wire: {subnet: 10.5.0.0/24, uplink: up1, dhcp: true}
nodes:
  web: {networks: [lan], ports: ["8080:80", "127.0.0.1:5432:5432", "53:53/udp"]}
  dmz1: [dmz]
  safe: [vault]
  guest: [guests]
  desk: [wire]
"""
HEAD = """\
# The firewall

<!-- Made by tests/live/test_firewall_manual.py: change the reasons there. -->

Each lab on the machine has one nftables table, `inet bascule-LAB`, as soon as it has a network (in a private world, which is its
own, only where there is something to be kept apart). It is put there whole, in one transaction; `plan` shows when it is not as it
was left, `up` puts it back, `down` takes it away. Sets and maps are looked up by hash or tree: a packet costs the same with one
port and with ten thousand. A set of one element is none: the rules name it themselves (`iifname "lan"` for `iifname @ours`), as a
look into a set costs four times what a comparison does. Interfaces of labs are known by one bit of their indexes, 0x40000000.

**Where a packet comes from and where it goes is judged first, each packet anew.** That a flow is known (`ct state established`)
says nothing: whoever guesses the numbers of somebody else's flow would pass by it.

1. *From a node to the machine.* What a bridge hands to the machine's own network stack passes the chain `entering` before
   anything else sees it (frames between nodes don't). A source that is not at home on that bridge ends there, and so do ICMP
   redirects. So the address of a packet tells its network, and a packet can only belong to flows of that network. What stands
   behind two VLAN tags, which would be taken off later, does not come in.
2. *From one network to another.* Going the way of a flow's opener, a packet needs a pair of networks for which the file lets
   connections be opened. Coming back, it needs a flow that was let through: it bears a label of ours (`ct label` 120: to or from
   outside, 121: between two networks of labs), its opener is at home where the packet goes, and whom it was opened to is at home
   where the packet comes from. An ICMP error is judged like a packet of the flow that it tells of.
3. *What belongs to no flow* (INVALID, untracked) gets nowhere.
4. *Labs are apart from the start*, whoever turns forwarding on later. Where the machine did not forward before the first lab,
   it forwards for labs only: between its other interfaces nothing passes, as before. Where it did, nothing of others' changes.
5. *What leaves by `nat` is translated, or does not leave.*

| | |
|---|---|
| `nat: true` | what leaves the machine gets its address, and answers come back; nobody outside opens connections to \
nodes, but to published ports |
| `outbound_address: A` | that address of the machine, one a family |
| neither | what the machine forwards by itself passes, both ways; if it does not, nothing does. Other labs' networks are cut \
off |
| `internal: true` | nothing passes to or from any other network, nor to the machine but by its address on this bridge; \
`gateway: none` means the same |
| `icc: false` | nodes reach the bridge and not each other: their ports are isolated in the bridge, and routing round \
it is dropped, but to published ports |
| `guard: true` | each node sends with its own MAC and addresses only, and speaks for no others (ARP, neighbour discovery, \
DHCP, router advertisements), and without VLAN tags; it is on with `icc: false` |
| `reach: [other]` | connections may be opened to `other`; answers come back, and nothing else does |
| `ports` | a port of the machine leads to the node, for everybody who reaches the machine: other machines, the machine itself, \
nodes of every network that is not `internal`, also of other labs, and the node itself. The node sees the client's own address, \
but from the same bridge and from 127.0.0.1 |
| `uplink` | machines behind it are on the network; the lab's `dhcp` and `ra` neither hear nor answer them |

A port is published on addresses that the machine has: another one is refused, and one that the machine loses answers nobody. The
address of another lab's bridge is not among "all addresses" for that lab's nodes, and its name server and leases are nobody's
port. Answers leave by the node's default route, so a port leads to the address on the network through which that route goes.

Other programs' rules are not changed. A packet has to pass every program's chains, so where a chain of somebody else on the
FORWARD hook drops what none of its rules knows, by its policy (Docker's and ufw's do) or by a last rule, one tagged rule for each
bridge and direction is put at its head, and `plan` says so; it goes with the lab, and where a reload of that program has taken it
away, `up` puts it back.

Where a chain on the INPUT hook drops so, or the old iptables (iptables-legacy) on either, nothing is changed: `up`, `plan` and
`doctor` name the commands that let through what the lab needs, its names, leases and IPv6 neighbours: `iptables-nft -I INPUT …`,
`nft 'insert rule …'`, or `ufw allow in on lan to any port 53`. What you have let in by them stays when the lab goes, and is yours
to take out again.

Where firewalld runs, each bridge is in its zone `trusted` as long as the lab is up: `up` tells it so over D-Bus, as
`firewall-cmd --zone=trusted --change-interface=lan` does, and `down` takes it out. What may pass is said by the lab's table, with
firewalld and without: nodes reach what the machine itself offers, unless the network is `internal`. No file of firewalld's is
written, so that a reload or a restart of it loses the zone; `plan` and `doctor` tell, and `up` puts it back. A bridge that you have
put into another zone stays there, and `plan` says so. Ports of a private world are pasta's, and so programs of the machine's:
`firewall-cmd --add-port=8080/tcp` lets others come to them.

What listens on the machine and what other labs publish can't be published again; a program that opens the port later is in the
shadow of the rule.

Where an interface of the machine takes smaller packets than the lab's networks (a tunnel, PPPoE), TCP connections are made to
agree on segments that fit; one that comes later is met by the next `up`, and `plan` shows it.

In a private world pasta (package passt) is the way out, and listens on the machine's ports; without it the lab is cut off, and
`plan` says so. Different there: the node sees the world's own address instead of the client's, sctp is not carried, ports below
`net.ipv4.ip_unprivileged_port_start` can't be published, and another list of ports restarts pasta, which breaks the connections
through it. The machine's 127.0.0.1 is out of reach for nodes.

Ports answer to `::1` by a route, `local ::1 dev BRIDGE`, that lets answers come in by the bridge; but not as long as
`net.bridge.bridge-nf-call-ip6tables` is 1 on the machine (Docker and Kubernetes load what sets it), which `plan` says.

What it needs: Linux 5.10 (the ingress hook in the family `inet`) with connection tracking and its labels, nf_tables
for bridges, and nft. `doctor` tries it.

"""  # noqa: E501
REASONS = (
    (
        r"^meta protocol 8021",
        "Two tags or more: the kernel would take them off after the bridge's rules have looked.",
    ),
    (r"^iifname @uplinked jump", "From behind an uplink: by its source first."),
    (r"@uplinked fib", "From behind an uplink, as a node of another network: likewise."),
    (
        r"fib saddr oif & ",
        "From elsewhere, as a node of any lab: where no way leads back, it is forged.",
    ),
    (r"^arp saddr ip 0|^ip6 saddr :: icmpv6", "asks for itself only whether an address is free,"),
    (r"udp dport 67 ", "Nor does it ask for others' leases; in pieces, that could not be seen."),
    (r"set ours", "The lab's bridges."),
    (
        r"set shut",
        (
            "Bridges (or ports) from and to which nothing is passed on: `internal`, or without a "
            "gateway."
        ),
    ),
    (r"set natted", "Bridges whose nodes leave with the machine's address."),
    (
        r"set uplinked",
        (
            "Bridges with an interface of the machine as a port: what comes by it has sources "
            "from elsewhere."
        ),
    ),
    (r"set same", "Filled by a rule below: pairs of an interface and itself."),
    (
        r"set routers",
        (
            "Interfaces that passed IPv4 on before any lab came, though the machine as a whole "
            "did not."
        ),
    ),
    (
        r"set within",
        (
            "What is routed, or bridged past the firewall, within one bridge, where neighbours "
            "may (`icc`)."
        ),
    ),
    (r"set strangers", "The same where they may not (`icc: false`)."),
    (r"set reach", "From which bridge connections may be opened to which other."),
    (r"set inside\d", "Which addresses are at home on which bridge (or port)."),
    (r"set home\d", "The same, of all bridges together."),
    (
        r"set apart",
        (
            "Networks (or ports) without `icc` whose nodes publish ports, where bridged frames "
            "pass the IP firewall."
        ),
    ),
    (r"set own\d", "The bridges' own addresses."),
    (r"set served\d", "What the lab's servers answer there: names, leases."),
    (r"set servers\d", "On which bridge they are asked."),
    (
        r"map itself\d",
        "An address becomes itself: what is so translated, nobody translates otherwise.",
    ),
    (r"map outbound\d", "Sources that get a chosen address."),
    (r"set outward\d", "Bridges whose nodes may open connections to the outside."),
    (
        r"set inward\d",
        (
            "Bridges to whose nodes the outside may open connections: where the machine is a "
            "router by itself."
        ),
    ),
    (
        r"map (tcp|udp|sctp)\d_at",
        "Ports that are published on one address: address and port → node and port.",
    ),
    (r"map (tcp|udp|sctp)\d", "Ports that are published on all addresses: port → node and port."),
    (
        r"map lent",
        (
            "Ports of nodes that share a bridge with an interface of the machine: judged here, "
            "and not by the bridge."
        ),
    ),
    (r"set guarded", "Ports of nodes that send with their own addresses only."),
    (r"set macs", "Which MAC is at which port."),
    (r"set addresses\d", "Which addresses, also the link-local one that follows from the MAC."),
    (r"set clients", "In whose name it may ask for a lease."),
    (r"set targets", "For which addresses a node may speak in neighbour discovery."),
    (r"set leasing", "Uplinks of networks whose leases are the lab's own affair."),
    (r"set announcing", "Uplinks of networks where the bridge is the nodes' router."),
    (
        r"ct (original|reply) ip6? saddr (!= )?@(inside|home)\d drop",
        "Such a flow has no end there.",
    ),
    (r"^oifname @natted", "Answers to what was translated on its way out."),
    (r"@shut [io]ifname != @shut drop", "Nothing from or to an internal network."),
    (r"l4proto != icmp ip saddr", "What is at home there may speak to the machine: most packets."),
    (r"redirect", "No node tells others which way to go."),
    (r"^ip6? saddr [0-9a-f.:]+ drop", "Nor does one speak as the bridge."),
    (r"daddr != .* daddr != .* drop", "From an internal network, no other address of the machine."),
    (r"saddr != (@inside|[0-9a-f.:/]+ .* drop)", "A source that is not at home there."),
    (
        r"daddr . meta l4proto . th dport @served\d dnat",
        "What is for the lab's servers is for nobody's published port, of whichever lab.",
    ),
    (r"@served\d return", "As above."),
    (r"@served\d iif", "They answer nobody but their own network, and the machine itself."),
    (r"dnat .*daddr \. ", "To a port of one address."),
    (r"dnat .*dport map", "To a port of any address of the machine."),
    (
        r"daddr (127.0.0.0/8|::1) return",
        "What comes from outside is never for the ports of 127.0.0.1, whatever it says.",
    ),
    (r"fib daddr type != local return", "What is for others passes by."),
    (r"fe80::/10 return", "Link-local sources are not passed on: nobody could be answered."),
    (
        r"fib daddr . iif type local return",
        "Not from another lab's node to the address of its own bridge.",
    ),
    (r"jump (chosen|published)", "First ports of one address, then those of all."),
    (r"oif != .?lo.? return", "Only what the machine sends to one of its own addresses."),
    (r"ct state invalid,related jump errors", "Error messages of nodes: of their own flows only."),
    (
        r"ct (reply|original) ip6? saddr @inside\d accept",
        "One end of the flow is in the network from which the message comes.",
    ),
    (
        r"daddr 127.0.0.0/8 .*accept",
        (
            "`route_localnet` opens the machine's 127.0.0.1: answers from published ports may "
            "come there."
        ),
    ),
    (r"daddr 127.0.0.0/8 drop", "And nothing else."),
    (
        r"jump unplaced",
        (
            "Answers that the connection tracking can't place: the machine would end a node's "
            "connection with a reset."
        ),
    ),
    (r"socket transparent", "What one of the machine's own sockets waits for is its own affair."),
    (r"jump claiming", "From elsewhere, with a source that is at home in this lab:"),
    (r"saddr @home\d fib", "where no way leads back, it is forged."),
    (
        r"@apart ct status dnat",
        (
            "What was sent to a published port of a neighbour stays within the bridge, and is "
            "marked for its ports."
        ),
    ),
    (r"@apart .* == 0x0+ drop", "From port to port only that."),
    (r"@apart .*mark set", "The mark has done its work."),
    (
        r"jump translated",
        "Most packets: of a flow that was translated on its way, so that it was let through.",
    ),
    (r"^iif & \w+ != 0 oif & \w+ == 0 accept", "To the outside: such a flow of a node of ours."),
    (
        r"^iif & \w+ == 0 ip6? saddr != @home\d accept",
        "From the outside, likewise: a flow between two nodes is theirs.",
    ),
    (r"ct state new ct status dnat", "To a published port, from outside."),
    (
        r"jump round",
        (
            "To a published port from the same bridge or from 127.0.0.1: the answer has to come "
            "by the machine, too."
        ),
    ),
    (
        r"oifname . ip6? saddr @inside\d masquerade",
        "The bridge's address takes the place of the neighbour's.",
    ),
    (r"jump out", "What leaves by `nat`."),
    (r"jump about", "An error message goes between the two ends of the flow that it is about."),
    (r"direction (original|reply) jump (there|back)", "Which of its ends is where it comes from."),
    (r"status (snat accept|confirmed drop)", "Translated, or the first packet, which will be."),
    (r"bare\d", "Untranslated, with a label."),
    (r"jump clamp", "The first packets of a TCP connection say how large a segment may be."),
    (r"maxseg", "No larger than the smallest link on its way (a tunnel or PPPoE uplink) takes."),
    (
        r"iifname \. oifname @(within|strangers)",
        "Within one bridge: everything, or what goes to published ports.",
    ),
    (r"jump leaving", "From a network of this lab."),
    (r"jump coming", "To a network of this lab."),
    (
        r"jump others",
        "The machine passes this on for labs only; the indexes of their interfaces have this bit.",
    ),
    (
        r"add @same",
        (
            "Frames within another program's bridge come by here, too, with br_netfilter, and are "
            "not forwarded:"
        ),
    ),
    (r"@same accept", "they come and go by one interface, which can only be asked so."),
    (r"@routers accept", "As it was before."),
    (r"ct state invalid,related drop", "Neighbours send each other no errors."),
    (r"ct state invalid", "What belongs to no flow."),
    (r"^iifname @shut drop", "From one internal network to another."),
    (r"jump opening", "The way of those who open connections."),
    (r"jump calling", "The way of those who open connections."),
    (r"ct reply ip6? saddr !=", "An answer comes from where the flow was opened to,"),
    (r"ct original ip6? saddr !=", "An answer goes to where the flow was opened from."),
    (r"@reach ct label set", "Where the file says so."),
    (r"@reach accept", "From where the file lets connections be opened."),
    (r"ct label 12[01] ct status dnat accept", "Of a published port."),
    (r"ct status dnat", "To a published port."),
    (r"(outward|inward)\d", "With the outside."),
    (r"oif & \w+ != 0 drop", "To no other network of any lab."),
    (r"iif & \w+ != 0 drop", "And from none to ours."),
    (
        r"loopback|saddr (127.0.0.0/8|::1)",
        "127.0.0.1 means the node itself to a node: it gets the bridge's address instead.",
    ),
    (r"^snat ", "Out, with the chosen address."),
    (r"^masquerade", "Out, with the address of the interface by which it goes."),
    (r"jump guard", "Before anything else looks at a frame."),
    (r"^ether type", "Whatever stands behind a tag would not be seen."),
    (r"vmap @lent", "What a node says to the machine, on a bridge with an uplink."),
    (r"ether saddr|arp saddr ether", "Its own MAC,"),
    (r"arp saddr ip|saddr != @addresses", "its own addresses,"),
    (r"nd-neighbor-advert", "and it speaks for itself only."),
    (
        r"nd-router-advert, nd-redirect|udp sport \{ 67|udp dport \{ 68",
        "A guarded node is neither router nor DHCP server.",
    ),
    (
        r"@(leasing|announcing)",
        "Neither questions nor answers of the lab's own servers pass by an uplink.",
    ),
    (r"^drop$", "Everything else."),
)


def _reason(line: str) -> str:
    found = [text for pattern, text in REASONS if re.search(pattern, line)]
    assert found, f"no reason for: {line}"
    return found[0]


def manual(text: str) -> str:
    """The head, then the table with a comment above each rule and set; a reason that was just given
    is not repeated."""
    out, last = [], ""
    for line in text.splitlines():
        bare = line.strip()
        is_rule = line.startswith("\t\t") and not re.match(
            r"(type|size|flags|elements|\}|\t)", line[2:]
        )
        if re.match(r"(set|map) ", bare) or is_rule:
            reason = _reason(bare)
            if reason != last:
                out.append(f"{line[: len(line) - len(line.lstrip())]}# {reason}")
            last = reason
        out.append(line)
    lab = LAB.replace("\t", "  ")
    table = "\n".join(out).replace("\t", "  ")
    return f"{HEAD}The lab\n\n```yaml\n{lab}```\n\nhas this table, in full:\n\n```\n{table}\n```\n"


def test_the_manual_tells_each_rule(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the manual's lab is in the kernel when it is written down. It shows the sets of
    one element, too."""
    require("nft")
    monkeypatch.setattr(rules, "_is_single", lambda _each: False)
    Path("lab.yaml").write_text(LAB)
    with Outside(world):
        world.run("ip", "link", "set", "up0", "mtu", "1492")
        world.run("ip", "link", "add", "up1", "type", "veth", "peer", "name", "far1")
        lab = Lab.load("lab.yaml")
        lab.up()
        assert not lab.plan()
        text = manual(ruleset(lab.assigned, Surroundings(narrow=True)))
        lab.down()
    if os.environ.get("BASCULE_WRITE"):
        MANUAL.write_text(text)
    assert MANUAL.read_text() == text
