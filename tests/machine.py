"""The state of the machine as a value, read in a millisecond a namespace: for tests that compare
thousands of states.

It reads the kernel's bytes with a decoder of its own, so that what bascule misreads is seen. What
it leaves out (sysctls, queues, neighbours, what the kernel makes by itself) the slower
:meth:`sandbox.World.snapshot` compares.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

State = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_GETLINK, _GETADDR, _GETROUTE, _GETRULE = 18, 22, 26, 34
_DONE, _ERROR, _DUMP_REQUEST = 3, 2, 0x301
_PROMISCUOUS = 0x100
# <linux/if_link.h>: IFLA_INFO_DATA of a bridge, IFLA_INFO_SLAVE_DATA of its ports.
_BRIDGE = {"ageing": 4, "stp": 5, "priority": 6}
_PORT = {"hairpin": 4, "guard": 5, "fast leave": 7, "learning": 8, "flood": 9, "isolated": 33}
_UP, _MAIN_TABLE, _LOCAL_TABLE, _LINK_SCOPE, _MULTICAST = 0x1, 254, 255, 253, 5
_NF_TABLES, _GETTABLE = 10 << 8, 1
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/default/accept_redirects",
    "net/ipv6/conf/all/disable_ipv6",
)
_SYSCTLS_OF_A_LINK = (
    "net/ipv4/conf/{}/route_localnet",
    *(f"net/ipv6/conf/{{}}/{name}" for name in ("accept_ra", "accept_redirects", "accept_dad")),
)


def state(state_too: bool = True) -> State:
    """This machine: the namespace that the thread is in, those pinned in /run/netns, mounts, files.
    Without ``state_too`` what is below /run/bascule is left out, apart from the nodes' files."""
    places = {"": _namespace()}
    for name in sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else ():
        places[name] = _inside(f"/run/netns/{name}", _namespace)
    _name_peers(places)
    return {"namespaces": places, "mounts": _mounts(), "files": dict(_files(state_too))}


def difference(before: State, after: State) -> str:
    """What is only in ``before`` (-) and only in ``after`` (+), one line each; empty where they are
    equal."""
    old, new = Counter(_flat(before)), Counter(_flat(after))
    return "\n".join([*(f"- {line}" for line in old - new), *(f"+ {line}" for line in new - old)])


def _flat(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _flat(child, f"{path} {key}")
        if not value:
            yield f"{path}: nothing"
    elif isinstance(value, list):
        for child in value:
            yield f"{path}: {child}"
    else:
        yield f"{path}: {value}"


def _inside(path: str, function: Callable[[], State]) -> State:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = -1
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if _libc.setns(there, _CLONE_NEWNET) != 0:
            return {"no namespace": os.strerror(ctypes.get_errno())}
        return function()
    except OSError as error:
        return {"no namespace": error.strerror}
    finally:
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        if there >= 0:
            os.close(there)


def _dump(opened: socket.socket, kind: int, body: bytes) -> list[bytes]:
    while True:
        opened.send(struct.pack("=IHHII", 16 + len(body), kind, _DUMP_REQUEST, 1, 0) + body)
        found: list[bytes] = []
        torn = False
        while True:
            data = opened.recv(1 << 17)
            done = False
            while len(data) >= 16:
                size, said, flags, _sequence, _port = struct.unpack_from("=IHHII", data)
                torn |= bool(flags & 0x10)
                if said in (_DONE, _ERROR):
                    done = True
                    break
                found.append(data[16:size])
                data = data[(size + 3) & ~3 :]
            if done:
                break
        if not torn:
            return found


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


def _address(data: bytes) -> str:
    return (
        socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
        if data
        else "-"
    )


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _namespace() -> State:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as opened:
        links, names = _links(_dump(opened, _GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)))
        found: State = {
            "links": links,
            "addresses": sorted(_addresses(_dump(opened, _GETADDR, bytes(8)), names)),
            "routes": sorted(_routes(_dump(opened, _GETROUTE, bytes(12)), names)),
            "rules": sorted(data.hex() for data in _dump(opened, _GETRULE, bytes(12))),
            "nft": _ruleset(),
        }
    for key in (*_SYSCTLS, *(key.format(name) for name in links for key in _SYSCTLS_OF_A_LINK)):
        # where a link has an MTU below 1,280: no IPv6
        with suppress(FileNotFoundError), open(f"/proc/sys/{key}") as file:
            found[key] = file.read().strip()
    return found


def _links(rows: list[bytes]) -> tuple[State, dict[int, str]]:
    links: State = {}
    names = {}
    masters = {}
    for data in rows:
        _family, _type, index, flags, _change = struct.unpack_from("=BxHiII", data)
        parts = _attributes(data[16:])
        name = parts[3].rstrip(b"\0").decode()
        names[index] = name
        masters[name] = _number(parts[10]) if 10 in parts else 0
        info = _attributes(parts.get(18, b""))
        kind = info.get(1, b"").rstrip(b"\0").decode()
        links[name] = {
            "up": bool(flags & _UP),
            "mac": parts.get(1, b"").hex(":"),
            "mtu": _number(parts[4]),
            "promiscuous": bool(flags & _PROMISCUOUS),
            "kind": kind,
            **_bridge(info.get(2, b"") if kind == "bridge" else b""),
            **_settings(info.get(5, b"") if info.get(4, b"").startswith(b"bridge") else b"", _PORT),
            "alias": parts.get(20, b"").decode("utf-8", "replace"),
            "pair": (index, _number(parts[5]) if 5 in parts else 0),
        }
    for name, master in masters.items():
        links[name]["master"] = names.get(master, "")
    return links, names


def _settings(data: bytes, wanted: dict[str, int]) -> dict[str, int]:
    parts = _attributes(data)
    return {name: _number(parts[kind]) for name, kind in wanted.items() if kind in parts}


def _bridge(data: bytes) -> dict[str, int]:
    """While the spanning tree changes, the kernel tells another ageing time than it was given
    (net/bridge/br_stp.c)."""
    found = _settings(data, _BRIDGE)
    if found.get("stp"):
        found.pop("ageing")
    return found


def _name_peers(places: dict[str, State]) -> None:
    """Indexes say which end belongs to which; afterwards they are of no interest."""
    ends = [
        (place, name, link)
        for place, what in places.items()
        for name, link in what.get("links", {}).items()
    ]
    pairs = {
        link["pair"]: f"{place}/{name}" for place, name, link in ends if link["kind"] == "veth"
    }
    for _place, _name, link in ends:
        index, peer = link.pop("pair")
        if link["kind"] == "veth":
            link["peer"] = pairs.get((peer, index), "elsewhere")


def _addresses(rows: list[bytes], names: dict[int, str]) -> Iterator[str]:
    for data in rows:
        family, length, _flags, scope, index = struct.unpack_from("=BBBBI", data)
        if family == socket.AF_INET6 and scope == _LINK_SCOPE:
            continue  # made by the kernel, when the carrier comes
        parts = _attributes(data[8:])
        label = parts.get(3, b"").rstrip(b"\0").decode()
        yield f"{names[index]} {_address(parts.get(2) or parts[1])}/{length} scope {scope} {label}"


def _routes(rows: list[bytes], names: dict[int, str]) -> Iterator[str]:
    for data in rows:
        family, length, _, _, table, protocol, scope, kind, _flags = struct.unpack_from(
            "=BBBBBBBBI", data
        )
        parts = _attributes(data[12:])
        to = _address(parts.get(1, b""))
        device = names.get(_number(parts[4]), "?") if 4 in parts else "-"
        own = table == _LOCAL_TABLE and (to != "::1" or device == "lo")
        if own or kind == _MULTICAST or to.startswith(("fe80:", "ff00:")):
            continue
        words = (
            to,
            length,
            "via",
            _address(parts.get(5, b"")),
            "dev",
            device,
            "metric",
            _number(parts.get(6, b"")),
        )
        yield " ".join(
            map(
                str,
                (family, *words, "table", table, "proto", protocol, "scope", scope, "type", kind),
            )
        )


def _ruleset() -> str:
    """The rules as nft lists them; nft is asked only where there is a table."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 12) as opened:
        if not _dump(opened, _NF_TABLES | _GETTABLE, bytes(4)):
            return ""
    return subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout


def _mounts() -> list[str]:
    found = []
    with open("/proc/thread-self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            place = before.split()[4]
            if place.startswith(("/run", "/etc")):
                found.append(f"{place} {after.split()[0]}")
    return sorted(found)


def _files(state_too: bool) -> Iterator[tuple[str, str]]:
    for top in ("/run", "/etc/netns", "/var/lib/bascule"):
        for folder, folders, names in os.walk(top):
            for name in (*folders, *names):
                path = f"{folder}/{name}"
                if (
                    state_too
                    or not path.startswith("/run/bascule")
                    or ("/etc/" in path and not os.path.isdir(path))
                ):
                    yield path, _file(path)
    if os.path.isdir("/etc/netns"):
        yield "/etc/netns", "folder"


def _file(path: str) -> str:
    if os.path.islink(path):
        return f"-> {os.readlink(path)}"
    if os.path.isdir(path):
        return "folder"
    if path.endswith(".pid"):
        return "a process"
    if path.endswith("/.mark"):
        return "a mark"
    if path.endswith("/lock"):
        return "a lock"  # who had it last stands in it
    try:
        with open(path, "rb") as file:
            return repr(file.read())
    except OSError:
        return "a namespace"
