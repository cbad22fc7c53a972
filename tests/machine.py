"""The state of the machine as a value: all that the kernel tells of it, for tests that compare
thousands of states.

It is read with a decoder of its own (dumps.py), so that what bascule misreads is seen, and by
number, so that what bascule does not know is seen, too. What changes by itself is left out by the
tables of by_itself.py, each with its reason.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import dumps
from by_itself import is_left_out

State = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_UP, _PROMISCUOUS = 0x1, 0x100
_OWN_NETWORK = "/proc/thread-self/ns/net"
_PF_EXITING, _PF_KTHREAD = 0x4, 0x200000  # linux/sched.h
_PATIENCE = 0.5  # seconds for a fork to become something else
_SYSCTLS, _OF_NETWORKS = "/proc/sys", "net/"
_LONG = 200  # characters; of a longer text only the words that differ are told
_FILES = ("/run", "/etc", "/var/lib")


def state(state_too: bool = True) -> State:
    """This machine: the namespace that the thread is in, those pinned in /run/netns, those of
    processes of the test; these, mounts, files, settings. Without ``state_too`` what is below
    /run/bascule is left out, apart from the nodes' files."""
    places = _places()
    settings: dict[bool, list[str]] = {False: [], True: []}
    for path in _settings():
        settings[path.startswith(_OF_NETWORKS)].append(path)
    processes = _settled_processes(places)
    spaces = {
        name: _inside(path, lambda: _namespace(settings[True])) for name, path in places.items()
    }
    _name_peers(spaces)
    return {
        "namespaces": spaces,
        "settings": _read(settings[False]),
        "processes": processes,
        "mounts": _mounts(),
        "files": dict(_files(state_too)),
    }


def links() -> dict[str, dict[str, Any]]:
    """The links of each namespace of :func:`state`, for who asks for nothing else: a small part of
    its time. By the namespace's name and the link's; ``peer`` says where a veth leads."""
    spaces = {name: _inside(path, _links_alone) for name, path in _places().items()}
    _name_peers(spaces)
    return {name: what.get("links", {}) for name, what in spaces.items()}


def _places() -> dict[str, str]:
    """Where each namespace is found that has a name; an empty one is that of the thread."""
    pinned = sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else ()
    return {"": _OWN_NETWORK, **{name: f"/run/netns/{name}" for name in pinned}}


def difference(before: State, after: State) -> str:
    """What is only in ``before`` (-) and only in ``after`` (+), one line each; empty where they are
    equal."""
    if before == after:
        return ""
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
    elif isinstance(value, str) and len(value) > _LONG:
        yield from (f"{path}: {word}" for word in value.split())
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


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _links_alone() -> State:
    with dumps.Socket() as opened:
        return {"links": _links(dumps.links(opened))[0]}


def _namespace(settings: list[str]) -> State:
    with dumps.Socket() as opened:
        rows = dumps.links(opened)
        links, names = _links(rows)
        for data, link in zip(rows, links.values(), strict=True):
            link["all"] = dumps.link(data, names)
        told = dumps.everything(opened, names)
    settings_here = _read(settings)
    return {"links": links, **told, "nft": dumps.rules(), "settings": settings_here}


def _links(rows: list[bytes]) -> tuple[State, dict[int, str]]:
    links: State = {}
    names = {}
    masters = {}
    for data in rows:
        _family, _type, index, flags, _change = struct.unpack_from("=BxHiII", data)
        parts = {kind & 0x3FFF: payload for kind, payload in dumps.attributes(data, 16)}
        name = parts[3].rstrip(b"\0").decode()
        names[index] = name
        masters[name] = _number(parts[10]) if 10 in parts else 0
        info = {kind & 0x3FFF: payload for kind, payload in dumps.attributes(parts.get(18, b""))}
        links[name] = {
            "up": bool(flags & _UP),
            "mac": parts.get(1, b"").hex(":"),
            "mtu": _number(parts[4]),
            "promiscuous": bool(flags & _PROMISCUOUS),
            "kind": info.get(1, b"").rstrip(b"\0").decode(),
            "alias": parts.get(20, b"").decode("utf-8", "replace"),
            "pair": (index, _number(parts[5]) if 5 in parts else 0, 37 in parts),
        }
    for name, master in masters.items():
        links[name]["master"] = names.get(master, "")
    return links, names


def _name_peers(places: dict[str, State]) -> None:
    """Indexes say which end belongs to which; afterwards they are of no interest. What another
    kind of link stands on (a VLAN's interface) is named, too."""
    ends = [
        (place, name, link)
        for place, what in places.items()
        for name, link in what.get("links", {}).items()
    ]
    pairs = {
        link["pair"][:2]: f"{place}/{name}" for place, name, link in ends if link["kind"] == "veth"
    }
    on = {(place, link["pair"][0]): name for place, name, link in ends}
    for place, _name, link in ends:
        index, peer, apart = link.pop("pair")
        if link["kind"] == "veth":
            link["peer"] = pairs.get((peer, index), "elsewhere")
        elif peer:
            link["on"] = "elsewhere" if apart else on.get((place, peer), "elsewhere")


# --- settings


@cache
def _lasting(path: str) -> bool:
    return not is_left_out(path)


def _settings() -> list[str]:
    """The paths below /proc/sys of all that is compared; of a link's own, the kernel tells over
    netlink."""
    found: list[str] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        with suppress(FileNotFoundError), os.scandir(f"{_SYSCTLS}/{folder}") as entries:
            for entry in entries:
                path = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if _lasting(f"{path}/"):
                        folders.append(f"{path}/")
                elif _lasting(path):
                    found.append(path)
    return found


def _read(paths: list[str]) -> dict[str, str]:
    """What stands in each that can be read: not in those that are only written, or that this
    namespace has not."""
    found = {}
    home = os.open(_SYSCTLS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=home)
            try:
                found[path] = os.read(descriptor, 4096).decode("utf-8", "replace").rstrip("\n")
            finally:
                os.close(descriptor)
    os.close(home)
    return found


# --- processes


def _settled_processes(places: dict[str, str]) -> list[str]:
    """Once forks of this process have become something else, or have ended: a keeper is one before
    it is its own program."""
    own = f"{_command(os.getpid())} in "
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = dict(places)
        seen = _processes(found)
        if time.monotonic() > deadline or not any(line.startswith(own) for line in seen):
            places.update(found)
            return seen
        time.sleep(0.005)


def _processes(places: dict[str, str]) -> list[str]:
    """The commands that run in one of these namespaces, or are descendants of this process, apart
    from this process and those above it. Where one has a network namespace of its own, that is
    added to the places."""
    known: dict[int, str] = {}
    for name, path in places.items():
        with suppress(OSError):
            known.setdefault(os.stat(path).st_ino, name)
    apart, below = {*_above(os.getpid())}, {*_below(os.getpid())}
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            network = _network(pid)
            near = pid in below or network in known
            command = _command(pid) if near and pid not in apart else ""
            if command:
                if network not in known:
                    known[network] = name = _unused(f"of {command.split()[0]}", places)
                    places[name] = f"/proc/{pid}/ns/net"
                found.append(f"{command} in {known[network] or 'this namespace'}")
    return sorted(found)


def _network(pid: int) -> int:
    return int(os.readlink(f"/proc/{pid}/ns/net")[5:-1])


def _unused(name: str, places: dict[str, str]) -> str:
    return next(at for at in (name, *(f"{name} {n}" for n in range(2, 9999))) if at not in places)


def _command(pid: int) -> str:
    """Its words; empty for what has none: a thread of the kernel, or what is just ending. What is
    just becoming another program has none either, and still is a fork of ours."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    if words:
        return words
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        flags = int(file.read().rpartition(")")[2].split()[6])
    return "" if flags & (_PF_EXITING | _PF_KTHREAD) else _command(os.getpid())


def _above(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return


def _below(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = file.read().split()
            for child in map(int, children):
                yield child
                yield from _below(child)


# --- mounts and files


def _mounts() -> list[str]:
    """Each as proc_pid_mountinfo(5) tells it, without what is numbered: mounts, devices, groups,
    namespaces."""
    found = []
    with open("/proc/thread-self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            _id, _parent, _device, root, place, options, *groups = before.split()
            words = [word.partition(":")[0] for word in groups]
            kind, source, more = after.rstrip("\n").split(" ", 2)
            at = root.partition(":")[0] if kind == "nsfs" else root
            found.append(" ".join((place, kind, source, at, options, *words, more)))
    return sorted(found)


def _files(state_too: bool) -> Iterator[tuple[str, str]]:
    folders = [top for top in _tops() if os.path.isdir(top)]
    while folders:
        folder = folders.pop()
        with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder:
                    folders.append(entry.path)
                if state_too or _is_told(entry.path, is_folder):
                    with suppress(FileNotFoundError):
                        yield entry.path, _file(entry.path, entry.stat(follow_symlinks=False))


def _tops() -> Iterator[str]:
    yield from _FILES
    for variable in ("BASCULE_STATE_DIR", "BASCULE_KEEP_DIR", "XDG_RUNTIME_DIR"):
        place = os.environ.get(variable, "")
        if place and not place.startswith(tuple(f"{top}/" for top in _FILES)):
            yield place


def _is_told(path: str, is_folder: bool) -> bool:
    own = ("/run/bascule", os.environ.get("BASCULE_STATE_DIR") or "/run/bascule")
    return not path.startswith(own) or ("/etc/" in path and not is_folder)


def _file(path: str, status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        for end, what in _NO_CONTENT.items():
            if path.endswith(end):
                return what
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _read_file(path, status.st_mode, status.st_uid, status.st_gid, *stamp)


# The number of a process, a random word, who had it last.
_NO_CONTENT = {".pid": "a process", "/.mark": "a mark", "/lock": "a lock"}


@cache
def _read_file(path: str, mode: int, user: int, group: int, *_stamp: int) -> str:
    """Mode, owner, content; it is read once as long as its inode tells of no change."""
    head = f"{stat.filemode(mode)} {user}:{group}"
    if stat.S_ISLNK(mode):
        return f"{head} -> {os.readlink(path)}"
    if not stat.S_ISREG(mode):
        return head
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return f"{head} a namespace"
    content = repr(data) if len(data) <= 1 << 16 else hashlib.sha256(data).hexdigest()
    return f"{head} {content}"
