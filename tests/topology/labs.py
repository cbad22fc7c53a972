"""Strategies: labs that are right, as plain data in the lab file's words."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NETWORKS = ("lan", "wan", "dmz", "br-0")


@st.composite
def _network(draw: st.DrawFn, number: int) -> dict[str, Any] | None:
    """Subnets come from blocks of the network's own, so that none overlap."""
    kind = draw(st.sampled_from(["none", "v4", "v6", "dual"]))
    out: dict[str, Any] = {}
    v4 = f"10.{number}.0.0/{draw(st.integers(16, 26))}"
    v6 = f"fd00:{number}::/{draw(st.integers(64, 120))}"
    if kind != "none":
        out["subnet"] = {"v4": v4, "v6": v6, "dual": [v4, v6]}[kind]
        gateway = draw(st.sampled_from(["leave", "none", "fix"]))
        if gateway == "none":
            out["gateway"] = "none"
        elif gateway == "fix":
            fixed4, fixed6 = (
                f"10.{number}.0.{draw(st.integers(1, 20))}",
                f"fd00:{number}::{draw(st.integers(1, 20))}",
            )
            out["gateway"] = {"v4": fixed4, "v6": fixed6, "dual": [fixed4, fixed6]}[kind]
    if draw(st.booleans()):
        out["mtu"] = draw(st.integers(1280, 9000))
    out |= draw(_choices(out.get("gateway") != "none"))
    if out.get("gateway") != "none" and draw(st.integers(0, 3)) == 0:
        slaac = kind in ("v6", "dual") and v6.endswith("/64")
        out |= draw(
            st.sampled_from(
                [{"dhcp": True}] * (kind != "v6")
                + [{"ra": True}] * slaac
                + [{"dhcp": True, "ra": True}] * slaac
                or [{}]
            )
        )
    if kind in ("v4", "dual") and draw(st.integers(0, 3)) == 0:
        out["ip_range"] = f"10.{number}.0.0/26"
        out["reserved"] = draw(
            st.sampled_from(
                [
                    f"10.{number}.0.21",
                    [f"10.{number}.0.21-10.{number}.0.23", f"10.{number}.0.24/31"],
                ]
            )
        )
    return out or draw(st.sampled_from([None, {}]))


LABELS = st.dictionaries(
    st.sampled_from(["tier", "role", "x-y"]), st.sampled_from(["", "web", "a b"]), max_size=2
)


@st.composite
def _choices(draw: st.DrawFn, has_gateway: bool) -> dict[str, Any]:
    """Switches, each now and then."""
    values = {
        "nat": has_gateway and draw(st.integers(0, 3)) == 0,
        "icc": draw(st.integers(0, 3)) > 0,
        "stp": draw(st.integers(0, 5)) == 0,
        "promiscuous": draw(st.integers(0, 5)) == 0,
    }
    usual = {"nat": False, "icc": True, "stp": False, "promiscuous": False}
    out: dict[str, Any] = {key: value for key, value in values.items() if value != usual[key]}
    if draw(st.integers(0, 5)) == 0:
        out["ageing_time"] = draw(st.integers(0, 1000))
    if draw(st.integers(0, 5)) == 0:
        out["labels"] = draw(LABELS)
    return out


_SHAPE = st.fixed_dictionaries(
    {"rate": st.sampled_from(["10mbit", "1.5Gbit", " 8kbit ", "20GBIT"])},
    optional={
        "burst": st.sampled_from(["16kb", "20KB", 12_000, "16000.5"]),
        "latency": st.sampled_from(["50ms", "1.5MS", "700us", "1s"]),
    },
)
_SHAPES = st.one_of(
    *[st.just(dict[str, Any]())] * 5,
    _SHAPE,
    st.builds(lambda one, other: {"egress": one, "ingress": other}, _SHAPE, _SHAPE),
    st.builds(lambda usual, one: usual | {"egress": one}, _SHAPE, _SHAPE),
)


@st.composite
def _attachment(
    draw: st.DrawFn, network: dict[str, Any] | None, number: int, node: int
) -> dict[str, Any] | None:
    out: dict[str, Any] = {}
    subnets = (network or {}).get("subnet", [])
    subnets = [subnets] if isinstance(subnets, str) else subnets
    fixed = [
        f"10.{number}.0.{30 + node}" if "." in text else f"fd00:{number}::{30 + node}"
        for text in subnets
    ]
    keep = draw(st.lists(st.booleans(), min_size=len(fixed), max_size=len(fixed)))
    addresses = [address for address, yes in zip(fixed, keep, strict=True) if yes]
    auto = (network or {}).keys() & {"dhcp", "ra"}
    if auto and draw(st.booleans()):
        out["autoconf"] = True
        if auto == {"ra"}:
            addresses = [address for address in addresses if "." in address]
    if addresses:
        out["address"] = addresses
    if draw(st.integers(0, 4)) == 0:
        out["interface"] = f"{draw(st.sampled_from(['eth', 'lan']))}{number}"
    if draw(st.integers(0, 4)) == 0:
        out["host_interface"] = f"veth-n{(node + 1) % 7}-{number}"
    if draw(st.integers(0, 5)) == 0:
        out["gateway_priority"] = draw(st.integers(-3, 3))
    if draw(st.integers(0, 5)) == 0:
        out["mtu"] = 1280
    if draw(st.integers(0, 5)) == 0:
        out["sysctls"] = {"net.ipv4.conf.IFNAME.rp_filter": 2}
    out |= draw(_SHAPES)
    if draw(st.integers(0, 4)) == 0:
        out["mac"] = f"02:00:00:00:{number:02x}:{node:02x}"
    return out or None


@st.composite
def _resolving(draw: st.DrawFn, node: int) -> dict[str, Any]:
    """How a node is called, and how it finds names; one host name may be shared."""
    if draw(st.integers(0, 5)) > 0:
        return {}
    out: dict[str, Any] = {"hostname": draw(st.sampled_from(["shared", f"h{node}.example.com"]))}
    if draw(st.booleans()):
        out["dns"] = draw(st.sampled_from(["192.0.2.53", ["2001:db8::53", "192.0.2.54"]]))
        out["dns_search"] = draw(st.sampled_from([".", "example.com", ["lan", "example.com"]]))
        out["dns_opt"] = draw(st.sampled_from(["ndots:2", ["use-vc", "timeout:1"]]))
    return out


@st.composite
def labs(draw: st.DrawFn) -> dict[str, Any]:
    """Up to four networks and seven nodes; each fixed thing is the node's own, so nothing
    clashes."""
    names = draw(st.lists(st.sampled_from(NETWORKS), unique=True, max_size=4))
    networks = {name: draw(_network(number)) for number, name in enumerate(names, 1)}
    nodes: dict[str, Any] = {}
    for node in range(draw(st.integers(0, 7))):
        attached = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        attachments = {
            name: draw(_attachment(networks[name], names.index(name) + 1, node))
            for name in attached
        }
        fields: dict[str, Any] = {"networks": attachments}
        if draw(st.integers(0, 3)) == 0:
            fields["sysctls"] = {
                "net.ipv4.ip_forward": draw(st.integers(0, 1)),
                "net.ipv4.tcp_rmem": "4096 131072 6291456",
            }
        if draw(st.integers(0, 5)) == 0:
            fields["labels"] = draw(LABELS)
        fields |= draw(_resolving(node))
        fields |= draw(
            st.sampled_from([{}, {"loopback": [f"10.78.0.{node + 1}/32", "fd00:78::1/64"]}])
        )
        if not attached and draw(st.integers(0, 3)) == 0:
            fields = {"network_mode": draw(st.sampled_from(["none", "host"]))}
        elif draw(st.integers(0, 7)) == 0:
            fields["netns"] = f"/proc/{4000 + node}/ns/net"
            fields.pop("loopback", None)
        static = (item for item in attachments.values() if item and "autoconf" not in item)
        interface = next((item["interface"] for item in static if "interface" in item), None)
        if interface:
            to = draw(st.sampled_from(["default", "10.99.0.0/16", "::/0", "fd00:99::/64"]))
            fields["routes"] = [
                {"to": to, "interface": interface, "metric": draw(st.integers(0, 9))}
            ]
        nodes[f"n{node}"] = fields
    if draw(st.booleans()):
        nodes["web"] = {"count": draw(st.integers(1, 9)), "networks": names[:1]}
    lab = {"name": draw(st.sampled_from(["lab", "other"])), "networks": networks, "nodes": nodes}
    if draw(st.integers(0, 3)) == 0:
        lab["pools"] = draw(
            st.sampled_from(
                [["10.200.0.0/16"], [{"base": "10.200.0.0/16", "size": 27}, "fd00:200::/48"]]
            )
        )
    if draw(st.integers(0, 5)) == 0:
        lab["labels"] = draw(LABELS)
    lab |= draw(_linked(nodes, names))
    return lab


@st.composite
def _linked(draw: st.DrawFn, nodes: dict[str, Any], networks: list[str]) -> dict[str, Any]:
    names = [
        name for name, node in nodes.items() if name != "web" and node.get("network_mode") != "host"
    ]
    return (
        {"links": draw(_links(names, networks))} if len(names) > 1 and draw(st.booleans()) else {}
    )


@st.composite
def _links(draw: st.DrawFn, nodes: list[str], networks: list[str]) -> list[Any]:
    """Subnets are of a block that networks do not have."""
    out: list[Any] = []
    for number in range(draw(st.integers(1, 5))):
        ends: list[Any] = draw(st.lists(st.sampled_from(nodes), min_size=2, max_size=2))
        if networks and draw(st.integers(0, 4)) == 0:
            ends[1] = {"network": draw(st.sampled_from(networks))}
            out.append(ends)
            continue
        if draw(st.booleans()):
            ends[0] = f"{ends[0]}:x{number}"
        subnet = draw(st.sampled_from([None, "none", "/31", "/30", "dual"]))
        link: dict[str, Any] = {"ends": ends}
        if subnet == "none":
            link["subnet"] = subnet
        elif subnet is not None:
            v4, v6 = f"10.77.{number}.0", f"fd00:77:{number}::/127"
            link["subnet"] = [f"{v4}/31", v6] if subnet == "dual" else v4 + subnet
            if subnet == "/31" and draw(st.booleans()):
                ends[1] = {"node": ends[1], "address": v4, "mac": f"02:00:00:77:00:{number:02x}"}
        if draw(st.booleans()):
            link |= {"mtu": draw(st.integers(1280, 9000)), "rate": "10mbit"}
        out.append(link if link.keys() != {"ends"} else ends)
    return out
