"""docs/firewall.md is what this file makes of a lab's table: each rule and each set with its reason, none left out.

``BASCULE_WRITE=1 pytest tests/live/test_firewall_manual.py`` writes it anew; read the diff before committing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from bascule.api import Lab
from bascule.plan.firewall import ruleset
from sandbox import World, require
from traffic import Outside

MANUAL = Path(__file__).parents[2] / "docs" / "firewall.md"
LAB = """\
name: demo
networks:
  lan: {subnet: [10.1.0.0/24, "fd00:1::/64"], nat: true, outbound_address: 192.0.2.1}
  dmz: {subnet: [10.2.0.0/24, "fd00:2::/64"], reach: [lan]}
  vault: {subnet: [10.3.0.0/24, "fd00:3::/64"], internal: true}
  guests: {subnet: 10.4.0.0/24, icc: false}
nodes:
  web: {networks: [lan], ports: ["8080:80", "127.0.0.1:5432:5432", "53:53/udp"]}
  dmz1: [dmz]
  safe: [vault]
  guest: [guests]
"""
HEAD = """\
# The firewall

<!-- Made by tests/live/test_firewall_manual.py: change the reasons there. -->

A lab that asks for something that takes rules (`nat`, `internal`, `icc: false`, `reach`, `ports`), that has several
networks with gateways, or that comes to a machine which forwards packets already, has one nftables table, `inet
bascule-LAB`. It is put there whole, in one transaction; `plan` shows when it is not as it was left, `up` \
puts it back, `down` takes
it away. All sets and maps are looked up by hash or tree: a packet costs the same with one port and with ten thousand.

Other programs' rules are not changed. A packet has to pass every program's chains, so where a chain of somebody else on the
FORWARD hook drops by policy (Docker's does), one tagged rule for each bridge and direction is put at its head, and `plan`
says so; it goes with the lab. A chain that drops by a last rule instead of its policy (firewalld) is not recognised. Where one on
the INPUT hook drops by policy (ufw's does), `plan` says what has to be let in so that the lab's name servers and leases answer.

| | |
|---|---|
| `nat: true` | what leaves the machine gets its address, and answers come back; nobody outside opens connections to \
nodes, but to published ports |
| `outbound_address: A` | that address of the machine, one a family |
| neither | the machine's own routing decides about the outside; other labs' networks are cut off all the same |
| `internal: true` | nothing passes to or from any other network, nor to the machine but by its address on this bridge |
| `icc: false` | nodes reach the bridge and not each other: their ports are isolated in the bridge, and routing round \
it is dropped |
| `reach: [other]` | connections may be opened to `other`; answers come back, and nothing else does |
| `ports` | a port of the machine leads to the node, which sees the client's own address, but from the same bridge and \
from 127.0.0.1 |

`net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding` are set where `nat`, `reach` or `ports` need them, and put back by
the last lab that does. What listens on the machine and what other labs publish can't be published again; a program that
opens the port later is in the shadow of the rule.

Where an interface of the machine takes smaller packets than the lab's networks (a tunnel, PPPoE), TCP connections are made to
agree on segments that fit; one that comes later is met by the next `up`, and `plan` shows it.

In a private world pasta (package passt) is the way out, and listens on the machine's ports; without it the lab is cut off, and
`plan` says so. Different there: the node sees the world's own address instead of the client's, sctp is not carried, ports below
`net.ipv4.ip_unprivileged_port_start` can't be published, and another list of ports restarts pasta, which breaks the connections
through it. The machine's 127.0.0.1 is out of reach for nodes.

Ports answer to `::1` by a route, `local ::1 dev BRIDGE`, that lets answers come in by the bridge; but not as long as
`net.bridge.bridge-nf-call-ip6tables` is 1 on the machine (Docker and Kubernetes load what sets it), which `plan` says.

"""
REASONS = (
    (r"set ours", "The lab's bridges."),
    (r"set internal", "Bridges from and to which nothing is passed on."),
    (r"set guarded", "Bridges whose nodes the outside reaches by published ports only: those with `nat`, and those with ports."),
    (r"map within", "What is routed, or bridged past the firewall, within one bridge: allowed, or not (`icc: false`)."),
    (r"set reach", "From which bridge connections may be opened to which other."),
    (r"set inside\d", "Which addresses are at home on which bridge."),
    (r"set dns\d", "The bridges' addresses on which a name server answers."),
    (r"set nat\d", "Sources that get the machine's address on their way out."),
    (r"map outbound\d", "Sources that get a chosen address."),
    (r"map (tcp|udp|sctp)\d_at", "Ports that are published on one address: address and port → node and port."),
    (r"map (tcp|udp|sctp)\d", "Ports that are published on all addresses: port → node and port."),
    (r"dnat .*daddr \. ", "To a port of one address."),
    (r"fib daddr type local dnat", "To a port of any address of the machine."),
    (r"daddr (127.0.0.0/8|::1) return", "What comes from outside is never for the ports of 127.0.0.1, whatever it says."),
    (r"^jump publish", "Whatever comes from other machines and from nodes."),
    (r"oif \"?lo\"? jump publish", "What the machine sends to one of its own addresses."),
    (
        r"daddr (127.0.0.0/8|::1) iifname @ours ct state",
        "`route_localnet` opens the machine's 127.0.0.1, and this shuts it to nodes.",
    ),
    (r"iifname @internal ip6? daddr", "From an internal network, no other address of the machine."),
    (r"dport 53 drop", "It answers nobody but its own network, and the machine itself."),
    (r"dport 53 .*return", "A question to the name server is not for a published port 53."),
    (r"jump clamp", "The first packets of a TCP connection say how large a segment may be."),
    (r"maxseg", "No larger than the smallest link on its way (a tunnel or PPPoE uplink) takes."),
    (r"ct state", "Answers, and all that belongs to a connection that was let through."),
    (r"jump leaving", "What comes from a network of any lab: their interfaces have indexes in this range."),
    (r"iifname \. oifname vmap @within", "Within one bridge."),
    (r"saddr != @inside", "A node that gives itself another network's address gets nowhere."),
    (r"@reach accept", "Where the file says so."),
    (r"[io]ifname @internal drop", "Nothing from or to an internal network."),
    (r"ct status dnat accept", "To a published port."),
    (r"iifname @ours oif \d+-\d+ drop", "To no other network of any lab."),
    (r"oifname @ours drop", "And from none to ours."),
    (r"oifname @guarded drop", "From outside, only the above."),
    (
        r"ct status dnat oifname \. ",
        "A node that its own bridge reaches by a published port answers by the bridge, not directly.",
    ),
    (r"ct status dnat oifname @ours", "127.0.0.1 means the node itself to a node: it gets the bridge's address instead."),
    (r"snat", "Out, with the chosen address."),
    (r"@nat\d masquerade", "Out, with the address of the interface by which it goes."),
)


def _reason(line: str) -> str:
    found = [text for pattern, text in REASONS if re.search(pattern, line)]
    assert found, f"no reason for: {line}"
    return found[0]


def manual(text: str) -> str:
    """The head, then the table with a comment above each rule and set; a reason that was just given is not repeated."""
    out, last = [], ""
    for line in text.splitlines():
        bare = line.strip()
        is_rule = line.startswith("\t\t") and not re.match(r"(type|flags|elements|\}|\t)", line[2:])
        if re.match(r"(set|map) ", bare) or is_rule:
            reason = _reason(bare)
            if reason != last:
                out.append(f"{line[: len(line) - len(line.lstrip())]}# {reason}")
            last = reason
        out.append(line)
    lab = LAB.replace("\t", "  ")
    table = "\n".join(out).replace("\t", "  ")
    return f"{HEAD}The lab\n\n```yaml\n{lab}```\n\nhas this table, in full:\n\n```\n{table}\n```\n"


def test_the_manual_tells_each_rule(world: World) -> None:
    """The table of the manual's lab is in the kernel when it is written down."""
    require("nft")
    Path("lab.yaml").write_text(LAB)
    with Outside(world):
        world.run("ip", "link", "set", "up0", "mtu", "1492")
        lab = Lab.load("lab.yaml")
        lab.up()
        assert not lab.plan()
        text = manual(ruleset(lab.assigned, narrow=True))
        lab.down()
    if os.environ.get("BASCULE_WRITE"):
        MANUAL.write_text(text)
    assert MANUAL.read_text() == text
