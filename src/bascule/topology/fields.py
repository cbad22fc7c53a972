"""The lab file's words, as tables: one row is one field. The loader and the JSON Schema both read
them."""

from __future__ import annotations

from bascule.topology.field import Field, Kind, Noun

MTU_RANGE = (68, 65535)  # ETH_MIN_MTU and ETH_MAX_MTU, linux/if_ether.h
IPV6_MIN_MTU = 1280  # RFC 8200 section 5
COUNT_RANGE = (1, 100_000)
# br_set_ageing_time takes clock ticks, a hundred a second, as a 32-bit number
AGEING_RANGE = (0, 2**31 // 100)
PRIORITY_RANGE = (-(2**31), 2**31 - 1)
METRIC_RANGE = (0, 2**32 - 1)  # RTA_PRIORITY is an unsigned 32-bit number
NO_GATEWAY = "none"
DEFAULT_ROUTE = "default"
DEFAULT_NAME = "lab"


LAB = Noun(
    "a lab",
    "A lab: networks (bridges) and nodes (network namespaces).",
    (
        Field("name", Kind.LAB_NAME, "The lab's name. The file's name where it is left out."),
        Field(
            "networks",
            Kind.NETWORKS,
            (
                "The bridges, by name. Left out altogether, each network that a node names is "
                "made with defaults."
            ),
            empty=True,
        ),
        Field(
            "nodes", Kind.NODES, "The network namespaces, by name, or a list of names.", empty=True
        ),
        Field(
            "pools",
            Kind.POOLS,
            "Where subnets are chosen from: '10.9.0.0/16', or {base: 10.9.0.0/16, size: 28}.",
        ),
        Field(
            "labels",
            Kind.LABELS,
            "Words of your own, for --filter: a map, or a list of `key=value`.",
        ),
    ),
)

NETWORK = Noun(
    "a network",
    "A network is a Linux bridge; its name is the bridge's name. Empty for defaults.",
    (
        Field(
            "subnet",
            Kind.SUBNETS,
            "One subnet, or a list for dual stack. Left out: a free one is chosen.",
            model="subnets",
        ),
        Field(
            "gateway",
            Kind.GATEWAYS,
            (
                "The bridge's own address, or a list. Left out: the first address of each subnet. "
                "`none`: a bridge without one."
            ),
        ),
        Field(
            "mtu",
            Kind.MTU,
            (
                "The largest packet, in bytes, on the bridge and everything attached. 1500 if "
                "left out."
            ),
        ),
        Field(
            "mac", Kind.MAC, "The bridge's MAC address. Derived from lab and network if left out."
        ),
        Field(
            "nat",
            Kind.FLAG,
            (
                "What leaves the machine gets its address (masquerade), so that answers find the "
                "way back."
            ),
        ),
        Field(
            "outbound_address",
            Kind.ADDRESSES,
            "With `nat`: this address of the machine instead, one a family.",
            model="outbound",
        ),
        Field("internal", Kind.FLAG, "Nothing passes between this network and any other."),
        Field(
            "icc", Kind.FLAG, "Whether nodes of this network reach each other. `true` if left out."
        ),
        Field(
            "guard",
            Kind.FLAG,
            "Each node sends with its own MAC and addresses only. Left out: with `icc: false`.",
        ),
        Field(
            "reach",
            Kind.NAMES,
            "Networks of this lab to which its nodes may open connections, through the host.",
        ),
        Field(
            "ip_range",
            Kind.SUBNETS,
            "Nodes get their addresses from this part of the subnet, or a list.",
            model="ranges",
        ),
        Field(
            "reserved",
            Kind.SPANS,
            (
                "Addresses that no node gets: one, a subnet, a range like 10.1.0.5-10.1.0.9, or a "
                "list."
            ),
        ),
        Field(
            "dns",
            Kind.FLAG,
            (
                "A name server on the bridge's addresses. Left out: with `nat`, where dnsmasq is "
                "installed."
            ),
        ),
        Field(
            "dhcp",
            Kind.FLAG,
            "Nodes may ask for their addresses: IPv4, and with `ra` IPv6. Each gets its own.",
        ),
        Field(
            "ra",
            Kind.FLAG,
            (
                "Router advertisements: the bridge is the nodes' IPv6 router, and its prefix "
                "their own."
            ),
        ),
        Field("stp", Kind.FLAG, "Whether the bridge speaks the spanning tree protocol."),
        Field(
            "ageing_time",
            Kind.AGEING,
            "Seconds until the bridge forgets where a MAC is. 300 if left out.",
            model="ageing",
        ),
        Field("promiscuous", Kind.FLAG, "The bridge's own interface takes every frame."),
        Field(
            "uplink",
            Kind.INTERFACE,
            "An interface of the machine that becomes a port of the bridge until the lab goes.",
        ),
        Field(
            "labels",
            Kind.LABELS,
            "Words of your own, for --filter: a map, or a list of `key=value`.",
        ),
    ),
    {
        "external": "there are no external networks: for a network of the machine write `uplink` "
        "with its interface, for a namespace of another program `netns` at a node, and a network of "  # noqa: E501
        "another lab stands in that lab's file"
    },
)

NODE = Noun(
    "a node",
    "A node is a network namespace. Empty for one without networks, or a list of networks.",
    (
        Field(
            "networks",
            Kind.ATTACHMENTS,
            (
                "The networks it is attached to: a list of names, or a map from name to nothing, "
                "an address, or fields."
            ),
            empty=True,
            model="attachments",
        ),
        Field(
            "routes",
            Kind.ROUTES,
            "Routes beside those to its own subnets and the default through the first gateway.",
        ),
        Field(
            "sysctls",
            Kind.SYSCTLS,
            "Kernel settings below `net.`: a map, or a list of `key=value`.",
        ),
        Field(
            "ports",
            Kind.PORTS,
            (
                "Published ports, in Compose's forms: '8080:80', '127.0.0.1:53:53/udp', '80', or "
                "a map."
            ),
        ),
        Field(
            "extra_hosts",
            Kind.EXTRA_HOSTS,
            "More lines for its /etc/hosts: a map, or a list of `name=address`.",
        ),
        Field(
            "hostname",
            Kind.HOSTNAME,
            "Its host name, by which others find it, too. The node's name if left out.",
        ),
        Field(
            "dns",
            Kind.SERVERS,
            (
                "The name servers in its /etc/resolv.conf, instead of the lab's: an address, or a "
                "list."
            ),
        ),
        Field(
            "dns_search",
            Kind.DOMAINS,
            "Domains in which it looks for names: one, or a list; `.` for none.",
            ("search",),
        ),
        Field(
            "dns_opt",
            Kind.RESOLVER_OPTIONS,
            "Options in its /etc/resolv.conf, like `timeout:1`: one, or a list.",
        ),
        Field(
            "network_mode", Kind.MODE, "`none`: no network; `host`: the machine's own namespace."
        ),
        Field(
            "netns",
            Kind.NETNS,
            "A namespace that somebody else has made: /proc/PID/ns/net, or another path.",
        ),
        Field(
            "labels",
            Kind.LABELS,
            "Words of your own, for --filter: a map, or a list of `key=value`.",
        ),
        Field("count", Kind.COUNT, "Make this many such nodes: NAME1, NAME2, …"),
    ),
    dict.fromkeys(
        ("cpu_count", "label_file", "runtime", "uts", "volumes"),
        "it belongs to containers, and a node is no more than a network",
    ),
)

ATTACHMENT = Noun(
    "an attachment",
    "A node's interface on a network: one veth pair.",
    (
        Field(
            "address",
            Kind.ADDRESSES,
            "Its address, or a list with one for each subnet. Left out: the next free one.",
        ),
        Field("ipv4_address", Kind.ADDRESS4, "Its IPv4 address, in Compose's word."),
        Field("ipv6_address", Kind.ADDRESS6, "Its IPv6 address, in Compose's word."),
        Field(
            "interface",
            Kind.INTERFACE,
            "The interface's name in the node. `eth0`, `eth1`, … if left out.",
        ),
        Field(
            "host_interface",
            Kind.INTERFACE,
            "The name of the bridge's end. `veth-NODE` if left out.",
        ),
        Field(
            "mac",
            Kind.MAC,
            "The interface's MAC address. Derived from lab and address if left out.",
            ("mac_address",),
        ),
        Field(
            "gateway_priority",
            Kind.PRIORITY,
            "The default route leads through the highest. 0 if left out.",
            ("gw_priority",),
        ),
        Field(
            "aliases",
            Kind.HOSTNAMES,
            "Further names of the node on this network; several nodes may share one.",
        ),
        Field(
            "autoconf",
            Kind.FLAG,
            "The node sets its addresses and routes itself, by the network's `dhcp` and `ra`.",
        ),
        Field(
            "mtu", Kind.MTU, "The interface's largest packet in bytes. The network's if left out."
        ),
        Field(
            "sysctls",
            Kind.SYSCTLS,
            "Settings of this interface, like net.ipv4.conf.IFNAME.rp_filter: 2.",
        ),
    ),
)

ROUTE = Noun(
    "a route",
    "One route: `to` with `via` or `interface` or both.",
    (
        Field("to", Kind.DESTINATION, "The destination: a subnet, an address, or `default`."),
        Field("via", Kind.ADDRESS, "The next hop: an address in one of the node's subnets."),
        Field("interface", Kind.INTERFACE, "The node's interface to send through.", ("dev",)),
        Field(
            "metric",
            Kind.METRIC,
            "The lower wins where several match. The kernel's default if left out.",
        ),
    ),
)

POOL = Noun(
    "a pool",
    "Where subnets are chosen from.",
    (
        Field("base", Kind.POOL_BASE, "The whole of it."),
        Field(
            "size",
            Kind.POOL_SIZE,
            "The prefix length of each subnet. 24, or 64 for IPv6, if left out.",
        ),
    ),
)

PORT = Noun(
    "a port",
    "One published port, or a range of them.",
    (
        Field("target", Kind.PORT_SPAN, "The node's port, or a range like 6000-6010."),
        Field("published", Kind.PORT_SPAN, "The host's port or range. A free one if left out."),
        Field("host_ip", Kind.ADDRESS, "The host's address. All of them if left out."),
        Field("protocol", Kind.WORD, "`tcp` (if left out), `udp` or `sctp`."),
    ),
)

# For the position of a problem: keys that the file may have used in place of these.
OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "address": ("ipv4_address", "ipv6_address"),
    **{
        row.name: row.other
        for noun in (NODE, ATTACHMENT, ROUTE)
        for row in noun.fields
        if row.other
    },
}
