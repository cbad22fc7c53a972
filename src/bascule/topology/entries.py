"""How entries of the lab file are read that are small languages of their own: settings, labels,
ports, pools.

Every function notes what is wrong with the scribe and gives None then.
"""

from __future__ import annotations

from typing import Any

from bascule.topology import ports as port_words
from bascule.topology import values
from bascule.topology.model import IPAddress, Pool, Port
from bascule.topology.scribe import Scribe
from bascule.topology.tree import Path, Tree, kind_of, nearest, shown
from bascule.topology.word import Noun

MODES = ("none", "host")
HOST_GATEWAY = "host-gateway"  # Docker's word for the machine, as the node sees it
MAX_SERVERS = 3  # MAXNS, resolv.h
_LABEL = 200  # characters of a key or a value
_EXTRA_HOST = "text like 'db=10.1.0.9'"


def sysctls(scribe: Scribe, tree: Tree, path: Path) -> tuple[tuple[str, str], ...] | None:
    """A map, or Compose's list of ``key=value``. Each key once."""
    found: dict[str, str] = {}
    for name, below, here in _pairs(scribe, tree, path):
        if isinstance(below.value, bool):
            scribe.wrong(below, here, "must be a number or text, not true or false; write 1 or 0")
            continue
        if isinstance(below.value, dict):
            scribe.wrong(
                below,
                here,
                (
                    "must be a number or text, not a map; write the whole key as one: "
                    '"net.ipv4.ip_forward"'
                ),
            )
            continue
        try:
            key = values.sysctl_key(name)
        except values.Wrong as problem:
            scribe.wrong_key(below, here, str(problem))
            continue
        value = scribe.parsed(below, here, "a number or text", values.sysctl_value)
        if key in found:
            scribe.wrong_key(below, here, f"{shown(key)} is given twice; keep one")
        found[key] = value or ""
    return tuple(found.items())


def _pairs(scribe: Scribe, tree: Tree, path: Path) -> list[tuple[str, Tree, Path]]:
    if isinstance(tree.value, dict):
        return [(key, below, (*path, key)) for key, below in tree.value.items()]
    if not isinstance(tree.value, list):
        scribe.wrong(tree, path, f"must be a map, or a list of 'key=value', not {kind_of(tree)}")
        return []
    out: list[tuple[str, Tree, Path]] = []
    for index, item in enumerate(tree.value):
        key, equals, value = str(item.value if isinstance(item.value, str) else "").partition("=")
        if equals:
            out.append((key.strip(), Tree(value, item.line, item.column, value), (*path, index)))
        else:
            scribe.wrong(item, (*path, index), "must be text like 'net.ipv4.ip_forward=1'")
    return out


def flag(scribe: Scribe, tree: Tree, path: Path) -> bool | None:
    """true or false, and nothing that is only like it."""
    if isinstance(tree.value, bool):
        return tree.value
    scribe.wrong(tree, path, f"must be true or false, not {kind_of(tree)}")
    return None


def ports(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> tuple[Port, ...] | None:
    """A list of ports, in short or long form."""
    if not isinstance(tree.value, list):
        scribe.wrong(tree, path, f"must be a list of ports, not {kind_of(tree)}")
        return None
    found = [_port(noun, scribe, item, (*path, index)) for index, item in enumerate(tree.value)]
    return tuple(item for item in found if item is not None) if None not in found else None


def _port(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> Port | None:
    if not isinstance(tree.value, dict):
        return scribe.parsed(tree, path, "text like '8080:80', or a map", port_words.port)
    mistakes = len(scribe.mistakes)
    got = noun.read(scribe, tree, path)
    if "target" not in tree.value:
        scribe.wrong(tree, path, "a port needs `target`, the node's port")
    if len(scribe.mistakes) > mistakes:
        return None
    published, host, protocol = (
        got.get("published", ""),
        got.get("host_ip", ""),
        got.get("protocol", "tcp"),
    )
    try:
        return port_words.build(
            got["target"], published, str(host), protocol, f"{published}:{got['target']}".strip(":")
        )
    except values.Wrong as problem:
        scribe.wrong(tree, path, str(problem))
        return None


def routing(scribe: Scribe, tree: Tree, path: Path) -> str | None:
    """Who sets the routes of nodes."""
    given = scribe.text(tree, path, "`static` or `none`")
    if given not in (None, "static", "none"):
        scribe.wrong(tree, path, f"'{shown(given or '')}' must be `static` or `none`")
        return None
    return "" if given == "none" else given


def text(scribe: Scribe, tree: Tree, path: Path) -> str | None:
    """Any text."""
    return scribe.text(tree, path, "text")


def pools(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> tuple[Pool, ...] | None:
    """A list of pools: subnets, or maps with the size of their parts."""
    if not isinstance(tree.value, list):
        one = _pool(noun, scribe, tree, path)
        return None if one is None else (one,)
    if not tree.value:
        scribe.wrong(
            tree, path, "is an empty list, which means nothing; give a subnet, or remove the key"
        )
        return None
    found = [_pool(noun, scribe, item, (*path, index)) for index, item in enumerate(tree.value)]
    return tuple(item for item in found if item is not None) if None not in found else None


def _pool(noun: Noun, scribe: Scribe, tree: Tree, path: Path) -> Pool | None:
    if isinstance(tree.value, dict):
        got: dict[str, Any] = noun.read(scribe, tree, path)
        if "base" not in tree.value:
            scribe.wrong(tree, path, "a pool needs `base`, a subnet")
        base = got.get("base")
    else:
        got, base = (
            {},
            scribe.parsed(tree, path, "a subnet, or a map with `base` and `size`", values.subnet),
        )
    if base is None:
        return None
    size = got.get("size") or max(base.prefixlen, 24 if base.version == 4 else 64)
    if not base.prefixlen <= size < base.max_prefixlen:
        scribe.wrong(
            tree,
            path,
            (
                f"no subnet of size {size} is in {base}; write {base.prefixlen} to "
                f"{base.max_prefixlen - 1}"
            ),
        )
        return None
    return Pool(base, size)


def labels(scribe: Scribe, tree: Tree, path: Path) -> tuple[tuple[str, str], ...] | None:
    """A map, or Compose's list of ``key=value`` or ``key``."""
    found: dict[str, str] = {}
    if isinstance(tree.value, list):
        for index, item in enumerate(tree.value):
            text = scribe.text(item, (*path, index), "text like 'tier=web'")
            if text is not None:
                key, _, value = text.partition("=")
                _label(scribe, item, (*path, index), key.strip(), value.strip(), found)
    elif isinstance(tree.value, dict):
        for key, below in tree.value.items():
            value = "" if below.value is None else _label_value(scribe, below, (*path, key))
            _label(scribe, below, (*path, key), key, value, found)
    else:
        scribe.wrong(tree, path, f"must be a map, or a list of 'key=value', not {kind_of(tree)}")
    return tuple(found.items())


def _label_value(scribe: Scribe, tree: Tree, path: Path) -> str:
    if isinstance(tree.value, bool):
        return str(tree.value).lower()
    return scribe.text(tree, path, "text") or ""


def _label(
    scribe: Scribe, tree: Tree, path: Path, key: str, value: str, found: dict[str, str]
) -> None:
    if (
        not key
        or len(key) > _LABEL
        or len(value) > _LABEL
        or not (key + value).isprintable()
        or "=" in key
    ):
        scribe.wrong(
            tree,
            path,
            (
                f"'{shown(key)}' with '{shown(value)}' is no label; write a word of up to "
                f"{_LABEL} characters each"
            ),
        )
    elif key in found:
        scribe.wrong(tree, path, f"'{shown(key)}' is given twice; keep one")
    else:
        found[key] = value


def mode(scribe: Scribe, tree: Tree, path: Path) -> str | None:
    """`none` or `host`."""
    found = scribe.text(tree, path, "`none` or `host`")
    if found is not None and found not in MODES:
        scribe.wrong(
            tree,
            path,
            (
                f"'{shown(found)}' is no "
                f"mode{nearest(found, MODES) or '; write none or host, or name networks'}"
            ),
        )
        return None
    return found


def extra_hosts(scribe: Scribe, tree: Tree, path: Path) -> tuple[tuple[str, str], ...] | None:
    """A map from name to address or addresses, or Compose's list of ``name=address`` or
    ``name:address``."""
    found: list[tuple[str, str]] = []
    if isinstance(tree.value, dict):
        for name, below in tree.value.items():
            for text in scribe.one_or_more(below, (*path, name), "an address", str) or ():
                _extra_host(scribe, below, (*path, name), name, text, found)
    elif isinstance(tree.value, list):
        for index, item in enumerate(tree.value):
            line = scribe.text(item, (*path, index), _EXTRA_HOST)
            if line is None:
                continue
            name, sign, address = line.partition("=") if "=" in line else line.partition(":")
            if sign:
                _extra_host(
                    scribe, item, (*path, index), name.strip(), address.strip().strip("[]"), found
                )
            else:
                scribe.wrong(item, (*path, index), f"must be {_EXTRA_HOST}")
    else:
        scribe.wrong(tree, path, f"must be a map, or a list of 'name=address', not {kind_of(tree)}")
    return tuple(found)


def servers(scribe: Scribe, tree: Tree, path: Path) -> tuple[IPAddress, ...] | None:
    """The addresses of name servers: as many as a resolver asks."""
    found = scribe.one_or_more(tree, path, "an IP address", values.address)
    if found is not None and len(found) > MAX_SERVERS:
        scribe.wrong(
            tree,
            path,
            (
                f"{len(found)} name servers, but a resolver asks {MAX_SERVERS} at most; leave the "
                f"others out"
            ),
        )
        return None
    return found


def domains(scribe: Scribe, tree: Tree, path: Path) -> tuple[str, ...] | None:
    """Domains to look for names in, or ``.`` alone."""
    found = scribe.one_or_more(tree, path, "a domain", values.domain)
    if found is not None and values.NO_DOMAIN in found and len(found) > 1:
        scribe.wrong(
            tree, path, f"`{values.NO_DOMAIN}` means no domain; it stands alone, or not at all"
        )
        return None
    return found


def _extra_host(
    scribe: Scribe, tree: Tree, path: Path, name: str, address: str, found: list[tuple[str, str]]
) -> None:
    try:
        found.append(
            (
                values.hostname(name),
                address if address == HOST_GATEWAY else str(values.address(address)),
            )
        )
    except values.Wrong as problem:
        scribe.wrong(tree, path, str(problem))
