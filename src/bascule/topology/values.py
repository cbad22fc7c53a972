"""Text → checked value. Each function raises :class:`Wrong` with the sentence to show: what is
wrong, what to do."""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from bascule.names import problem_with_mac, problem_with_node_name
from bascule.topology.model import IPAddress, IPInterface, Prefix, Route, Span
from bascule.topology.tree import nearest, shown

_LONGEST = 100  # longer text is no address; what names.py echoes stays short
_SYSCTL_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
NO_DOMAIN = "."
NO_GATEWAY = "none"
DEFAULT_ROUTE = "default"
_DOMAIN = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?\Z"
)
_LONGEST_DOMAIN = 253  # RFC 1035 section 2.3.4, as text
# What inet_aton(3) takes for an IPv4 address, so that no resolver ever looks it up.
_NUMBERS = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\Z")
_RESOLVER_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]*\Z")
_ROUTE_WORDS = ("via", "dev", "metric")

# As text, too: Python spells mapped addresses otherwise from 3.13 on.
_SPECIAL: tuple[tuple[Prefix, str, str], ...] = tuple(
    (ip_network(text), text, name)
    for text, name in (
        ("0.0.0.0/8", "'this network'"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/127", "unspecified and loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)


class Wrong(ValueError):
    """A value that can't be used; the message is for the file's author."""


def address(text: str) -> IPAddress:
    """An IPv4 or IPv6 address, without prefix length or zone."""
    if "/" in text:
        bare = shown(text.partition("/")[0])
        raise Wrong(
            f"'{shown(text)}' has a prefix length; write {bare} (the subnet's length is used)"
        )
    try:
        if "%" in text or len(text) > _LONGEST:
            raise ValueError
        return ip_address(text)
    except ValueError:
        raise Wrong(
            f"'{shown(text)}' is no IP address; write one like 10.1.0.2 or fd00::2"
        ) from None


def subnet(text: str) -> Prefix:
    """A subnet that nodes can live in: with prefix length, no host bits, wide enough, no special
    range."""
    found = _subnet(text)
    most = found.max_prefixlen - 2
    if found.prefixlen > most:
        raise Wrong(
            f"{found} is too small for a network: a bridge and a node need /{most} or wider"
        )
    return found


def link_subnet(text: str) -> Prefix:
    """A subnet for the two ends of a link: two addresses are enough (RFC 3021, RFC 6164)."""
    found = _subnet(text)
    most = found.max_prefixlen - 1
    if found.prefixlen > most:
        raise Wrong(f"{found} is too small for a link: its two ends need /{most} or wider")
    return found


def _subnet(text: str) -> Prefix:
    bare, slash, _ = text.partition("/")
    if not slash:
        found = _bare(bare, text)
        length = 24 if found.version == 4 else 64
        raise Wrong(
            f"'{shown(text)}' has no prefix length; write a subnet like {_around(found, length)}"
        )
    found_prefix = _prefix(text)
    for special, range_text, name in _SPECIAL:
        if special.version == found_prefix.version and special.overlaps(found_prefix):
            like = "10.1.0.0/24" if special.version == 4 else "fd00:1::/64"
            raise Wrong(
                f"'{shown(text)}' holds {name} addresses ({range_text}); choose a subnet "
                f"outside, like {like}"
            )
    return found_prefix


def span(text: str) -> Span:
    """One address, the whole of a subnet, or ``FIRST-LAST``."""
    first, dash, last = text.partition("-")
    if dash:
        found = Span(address(first.strip()), address(last.strip()))
        if found.first.version != found.last.version or int(found.first) > int(found.last):
            raise Wrong(
                f"'{shown(text)}' is no range: write the lower address first, and both of one "
                f"family"
            )
        return found
    if "/" in text:
        whole = _prefix(text)
        return Span(whole[0], whole[-1])
    return Span(address(text), address(text))


def own_address(text: str) -> IPInterface:
    """An address with its prefix length; without one it is that address alone."""
    bare, slash, length = text.partition("/")
    found = address(bare)
    if slash:
        _length(text, length, found)
    for special, range_text, name in _SPECIAL:
        if special.version == found.version and found in special:
            raise Wrong(f"'{shown(text)}' is one of the {name} addresses ({range_text})")
    return ip_interface(text)


def hostname(text: str) -> str:
    """A further name of a node: what could be a node's own. A node that is called by a number has
    NODE.NETWORK, too; these have nothing else."""
    problem = problem_with_node_name(text[:_LONGEST])
    if problem:
        raise Wrong(problem.replace("node name", "host name"))
    if _NUMBERS.match(text):
        raise Wrong(
            f"'{shown(text)}' would be mistaken for an address, as every number is; choose "
            f"another name"
        )
    return text


def domain(text: str) -> str:
    """A domain to look for names in (resolv.conf(5)), or ``.`` for none."""
    if text != NO_DOMAIN and (len(text) > _LONGEST_DOMAIN or not _DOMAIN.match(text)):
        raise Wrong(
            f"'{shown(text)}' is no domain; write one like example.com, or `{NO_DOMAIN}` for none"
        )
    return text


def resolver_option(text: str) -> str:
    """An option of resolv.conf(5)."""
    if len(text) > _LONGEST or not _RESOLVER_OPTION.match(text):
        raise Wrong(
            f"'{shown(text)}' is no option of resolv.conf; write one like timeout:1 or use-vc"
        )
    return text


def netns(text: str) -> str:
    """The path of a namespace. It is looked at only when the lab is built."""
    if (
        not text.startswith("/")
        or len(text) > _LONGEST * 2
        or not text.isprintable()
        or ".." in text.split("/")
    ):
        raise Wrong(
            f"'{shown(text)}' is no path of a namespace; write one like /proc/4711/ns/net or "
            f"/run/netns/NAME"
        )
    return text


def destination(text: str, via: IPAddress | None) -> Prefix:
    """Where a route leads: a subnet, one address, or ``default`` (of the family of ``via``)."""
    if text == DEFAULT_ROUTE:
        return IPv6Network("::/0") if isinstance(via, IPv6Address) else IPv4Network("0.0.0.0/0")
    if "/" in text:
        return _prefix(text)
    try:
        return _whole(address(text))
    except Wrong:
        raise Wrong(
            f"'{shown(text)}' is no destination; write a subnet like 10.2.0.0/16, or `default`"
        ) from None


def _whole(found: IPAddress) -> Prefix:
    return _around(found, found.max_prefixlen)


def _around(found: IPAddress, length: int) -> Prefix:
    if isinstance(found, IPv4Address):
        return IPv4Network((int(found), length), strict=False)
    return IPv6Network((int(found), length), strict=False)


def _bare(bare: str, text: str) -> IPAddress:
    try:
        return address(bare)
    except Wrong:
        raise Wrong(
            f"'{shown(text)}' is no subnet; write one like 10.1.0.0/24 or fd00:1::/64"
        ) from None


def _length(text: str, length: str, found: IPAddress) -> None:
    if not (
        length.isascii()
        and length.isdigit()
        and len(length) < 4
        and int(length) <= found.max_prefixlen
    ):
        raise Wrong(
            f"'{shown(text)}': the prefix length must be a number from 0 to {found.max_prefixlen}"
        )


def _prefix(text: str) -> Prefix:
    bare, _, length = text.partition("/")
    found = _bare(bare, text)
    _length(text, length, found)
    try:
        return ip_network(
            (int(found), int(length)) if found.version == 4 else f"{found}/{int(length)}"
        )
    except ValueError:
        right = _around(found, int(length))
        raise Wrong(f"{shown(text)} has host bits set; did you mean {right}?") from None


def mac(text: str) -> str:
    """A MAC address, in lower case."""
    problem = problem_with_mac(text[:_LONGEST])
    if problem:
        raise Wrong(problem)
    return text.lower()


def sysctl_key(text: str) -> str:
    """A dotted key below ``net.``. Where a part holds a dot (a VLAN's interface), sysctl(8)'s form
    with slashes."""
    parts = text.split("/" if "/" in text else ".")
    if parts[0] != "net" or len(parts) < 2:
        raise Wrong(
            f"'{shown(text)}' is no setting of a network namespace: keys begin with 'net.', "
            "all others belong to the whole machine; remove it"
        )
    if len(text) > 2 * _LONGEST or not all(
        _SYSCTL_PART.match(part) and ".." not in part for part in parts
    ):
        raise Wrong(f"'{shown(text)}' is no sysctl key; write one like net.ipv4.ip_forward")
    return text if any("." in part for part in parts) else ".".join(parts)


def sysctl_value(text: str) -> str:
    """A value, its white space as the kernel shows it: single."""
    value = " ".join(text.split())
    if not value or not value.isprintable() or len(value) > 1000:
        raise Wrong("a sysctl value must be one line of text or a number")
    return value


def route(text: str) -> dict[str, str]:
    """``10.0.0.0/8 via 172.16.1.254 dev eth0 metric 5``, ip-route(8)'s order of words, as ``{to,
    via, dev, metric}``."""
    words = text.split() if len(text) <= 2 * _LONGEST else []
    if not words or len(words) % 2 == 0:
        raise Wrong(
            f"'{shown(text)}' is no route; write 'TO via ADDRESS', like '10.2.0.0/16 via "
            f"10.1.0.254'"
        )
    found = {"to": words[0]}
    for word, value in zip(words[1::2], words[2::2], strict=True):
        if word not in _ROUTE_WORDS or word in found:
            near = "" if word in _ROUTE_WORDS else nearest(word, _ROUTE_WORDS)
            hint = near or f"; a route's words are {', '.join(_ROUTE_WORDS)}, each once"
            raise Wrong(f"'{shown(word)}' is out of place in a route{hint}")
        found[word] = value
    return found


def route_text(found: Route) -> str:
    """A route with a next hop, for a message."""
    return f"{found.to} via {found.via}" + (f" dev {found.interface}" if found.interface else "")
