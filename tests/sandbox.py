"""A throwaway machine for each test, and what tests ask of it.

Two steps keep tests away from the real machine and from each other:

1. pytest itself moves into new network, mount and UTS namespaces before it starts its workers
   (:func:`enter_sandbox`). An ordinary user gets a user namespace around these and is root inside
   it. The machine's network is out of reach.
2. Each test that asks for the fixture ``world`` gets network and mount namespaces of its own
   (:class:`World`), with an empty /run and with an /etc that may be written to. They belong to the
   main thread, where test code runs: calls into the API and the processes a test starts both take
   them for "the host".
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import functools
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWNET = (
    0x00020000,
    0x04000000,
    0x10000000,
    0x40000000,
)
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37

# the sandbox's network namespace; workers inherit it and see that they are inside
SANDBOX = "BASCULE_TEST_SANDBOX"
UID = "BASCULE_TEST_UID"  # who started pytest: inside, everybody is 0
# the machine's own network namespace, to prove that nobody is there
MACHINE = "BASCULE_TEST_MACHINE"

NOBODY = 65534
# the command that belongs to the package under test
BASCULE = f"{os.path.dirname(sys.executable)}/bascule"
Snapshot = dict[str, Any]
EXCLUDED = ("/run/bascule/*/lock",)
OWN_NETWORK, OWN_MOUNTS = "/proc/thread-self/ns/net", "/proc/thread-self/ns/mnt"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def _call(name: str, *arguments: object) -> None:
    """A system call that Python 3.11 has no name for. Raises OSError."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, data.encode())


# --- step 1: pytest's own sandbox


def enter_sandbox() -> None:
    """Move this process, which has one thread, off the machine for good. Nothing happens where it
    is off already.

    Raises OSError where the kernel forbids it.
    """
    if os.environ.get(SANDBOX) == os.readlink(OWN_NETWORK):
        return
    user, group = os.geteuid(), os.getegid()
    os.environ[MACHINE] = os.readlink(OWN_NETWORK)
    namespaces = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS
    if user == 0:
        _call("unshare", namespaces)
    else:
        # pytest names its folder in /tmp after the user, and would take us for root.
        os.environ["LOGNAME"] = _name_of(user)
        _call("unshare", namespaces | CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", "/", "none", MS_REC | MS_PRIVATE)
    os.environ[UID] = str(user)
    os.environ[SANDBOX] = os.readlink(OWN_NETWORK)
    load_modules()


_USUAL = """
table inet usual {
    chain leaving { type nat hook postrouting priority 0; masquerade; }
    chain way { type filter hook forward priority 0; ct state new fib daddr type local accept; }
    chain in { type filter hook ingress device lo priority 0; }
}
table bridge usual {
    chain in { type filter hook input priority 0; }
}
"""


def load_modules() -> str:
    """Have the kernel load what it loads when rules of labs are first used: the settings of
    connection tracking come with that, and no test is to find them as a change. What went wrong."""
    try:
        return subprocess.run(
            ["unshare", "--net", "nft", "-f", "-"],
            input=_USUAL,
            text=True,
            capture_output=True,
            check=False,
        ).stderr
    except FileNotFoundError:
        return "there is no nft"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user-{user}"


def started_by_root() -> bool:
    """Whether pytest was started as root: its tests may then use every user id."""
    return os.environ[UID] == "0"


# --- step 2: the world of a test


def _join(descriptor: int, kind: int, seconds: float = 1) -> None:
    """setns(2). A thread that was joined has ended for Python; the kernel takes a moment more, and
    until then lets nobody join a mount namespace who shares the current folder with it (EINVAL)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _call("setns", descriptor, kind)
        except OSError as error:
            if error.errno != errno.EINVAL or time.monotonic() > deadline:
                raise
        time.sleep(0.002)


class World:
    """Namespaces that play the machine for one test. ``with World() as world:`` is inside, in the
    main thread."""

    def __init__(self) -> None:
        self.home = ""  # the ordinary user's home folder
        self.network = ""  # this world's network namespace, as readlink(2) spells it
        self.notes: list[str] = []  # what the kernel did not let us have

    def __repr__(self) -> str:
        return f"<World {self.network or 'not entered'}>"

    def __enter__(self) -> Self:
        self._folder = os.getcwd()
        self._outside = [
            (os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind) for path, kind in _NAMESPACES
        ]
        self._children = _children()
        reaps = ctypes.c_int()
        _call("prctl", PR_GET_CHILD_SUBREAPER, ctypes.byref(reaps), 0, 0, 0)
        self._reaps = reaps.value  # 1 where this world is entered from another
        # what a test leaves running becomes our child
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.home = tempfile.mkdtemp(prefix="bascule-home-")
        for folder in ("tmp", "run"):
            os.mkdir(f"{self.home}/{folder}", 0o700)
        if started_by_root():
            for path in (self.home, f"{self.home}/tmp", f"{self.home}/run"):
                os.chown(path, NOBODY, NOBODY)
        try:
            _call("unshare", CLONE_NEWNET | CLONE_NEWNS)
            self._mount_own()
            self.network = os.readlink(OWN_NETWORK)
            self.run("ip", "link", "set", "lo", "up")
            # A new namespace takes this from the machine's first one (inet_init_net, devinet.c);
            # tests begin alike everywhere.
            Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        except BaseException:
            self._go_back()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Leave. Raises AssertionError where the test left processes behind, or the thread
        somewhere else."""
        strayed_to = os.readlink(OWN_NETWORK)
        try:
            left = self.end_processes()
        finally:
            self._go_back()
        assert strayed_to == self.network, (
            f"the test left its thread in another network namespace, {strayed_to}"
        )
        assert not left, "the test left processes running:\n" + "\n".join(left)

    def _mount_own(self) -> None:
        # A first /run holds what covers /etc, a second one hides it.
        _mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        self._cover_etc()
        _mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        _mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755")  # what is kept over a reboot
        try:
            _mount("sysfs", "/sys", "sysfs")
        except PermissionError as error:
            self.notes.append(f"/sys shows another network namespace: {error}")

    def _cover_etc(self) -> None:
        # An /etc/netns of the machine's shows through an overlay, and an ordinary user could not
        # write to it.
        if not os.path.lexists("/etc/netns"):
            try:
                return cover_etc_by_overlay()
            except OSError as error:
                self.notes.append(f"/etc is a copy: {error}")
        cover_etc_by_copy()

    @property
    def etc_has_mounts(self) -> bool:
        """As where /etc is a copy, or in a container."""
        rows = Path("/proc/thread-self/mountinfo").read_text().splitlines()
        return any(row.split()[4].startswith("/etc/") for row in rows)

    def _go_back(self) -> None:
        for descriptor, kind in self._outside:
            _join(descriptor, kind)
            os.close(descriptor)
        os.chdir(self._folder)  # joining a mount namespace goes to its root
        _call("prctl", PR_SET_CHILD_SUBREAPER, self._reaps, 0, 0, 0)
        shutil.rmtree(self.home, ignore_errors=True)

    def end_processes(self, patience: float = 0.5) -> list[str]:
        """Kill all that still runs below this test and return the command of each that did not end
        by itself in time.

        While a world is entered, orphans become children of pytest: one that has ended stays a
        zombie until then.
        """
        left: list[str] = []
        deadline = time.monotonic() + patience
        while running := _reap(_children() - self._children):
            if time.monotonic() > deadline:
                left += [f"{pid}: {_command(pid)}" for pid in running]
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            time.sleep(0.01)
        return left

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine. Raises AssertionError with its output where it fails and
        ``check`` is set."""
        done = subprocess.run(
            argv,
            check=False,
            input=input,
            env=env,
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{shlex.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def as_ordinary_user(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody without privileges, in that user's :attr:`home`. ``env`` comes
        on top of ours."""
        if started_by_root():
            require_python_for_everybody()
            become = [
                "setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                "--inh-caps=-all",
                "--",
            ]
        else:
            # We are uid 0 of a map with one row: another id needs another map, and loses its
            # privileges with execve(2).
            become = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
        user = {
            "HOME": self.home,
            "TMPDIR": f"{self.home}/tmp",
            "XDG_RUNTIME_DIR": f"{self.home}/run",
        }
        environment = {**os.environ, **user, **(env or {})}
        return self.run(
            *become,
            *argv,
            check=check,
            input=input,
            env=environment,
            cwd=self.home,
            timeout=timeout,
        )

    def ip_json(self, *arguments: str) -> list[dict[str, Any]]:
        """What ``ip -j -d …`` answers: ``world.ip_json("-n", "ns1", "addr")``."""
        rows: list[dict[str, Any]] = json.loads(
            self.run("ip", "-j", "-d", *arguments).stdout or "[]"
        )
        # ip prints an empty object for what its filter left out
        return [row for row in rows if row]

    def snapshot(self, *, exclude: Collection[str] = EXCLUDED, macs: bool = True) -> Snapshot:
        """The state of this machine and of each namespace in /run/netns, as a value without what
        changes by itself.

        Two machines that were set up alike compare equal; :func:`difference` says why where they
        don't. Of /run and /etc/netns, paths that match a pattern in ``exclude`` are left out.
        ``macs=False`` leaves out MAC addresses and the link-local addresses that follow from them:
        the kernel draws them where nobody sets them. Of neighbours, only the permanent ones are
        told.
        """
        machines = {"host": _of_namespace(macs)}
        indexes = {"host": machines["host"].pop("indexes")}
        elsewhere = {"host": machines["host"].pop("elsewhere")}
        for name in sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else ():
            machine = _inside(name, lambda: _of_namespace(macs))
            indexes[name] = machine.pop("indexes", {})
            elsewhere[name] = machine.pop("elsewhere", {})
            machines[name] = machine
        for name, machine in machines.items():
            for link, row in machine.get("links", {}).items():
                if row.get("linkinfo", {}).get("info_kind") == "veth":
                    ends = _peers(name, link, indexes)
                    if len(ends) > 1:  # nodes count their interfaces each for themselves
                        number = elsewhere[name][link]
                        there = _numbered(name).get(number, "host") if number is not None else name
                        ends = [end for end in ends if end.startswith(f"{there}/")]
                    row["peer"] = " or ".join(ends)
        return {"namespaces": machines, "mounts": _mounts(), "files": dict(_files(exclude))}


_NAMESPACES = ((OWN_MOUNTS, CLONE_NEWNS), (OWN_NETWORK, CLONE_NEWNET))


def cover_etc_by_overlay() -> None:
    """Let writes to /etc end in /run."""
    for folder in ("/run/upper", "/run/work"):
        os.mkdir(folder)
    _mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work")


def cover_etc_by_copy() -> None:
    """Make /etc a new folder with copies of the files that we may read; folders are the old ones,
    but for /etc/netns.

    For where the kernel refuses the overlay: in a container whose runtime has mounted single files
    into /etc.
    """
    os.makedirs("/run/etc", exist_ok=True)
    _mount("tmpfs", "/run/etc", "tmpfs", 0, "mode=755")
    for entry in (each for each in os.scandir("/etc") if each.name != "netns"):
        copy = f"/run/etc/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), copy)
        elif entry.is_dir():
            os.mkdir(copy)
            _mount(entry.path, copy, "none", MS_BIND | MS_REC)
        elif entry.is_file():
            with suppress(PermissionError):
                shutil.copy(entry.path, copy)
    _mount("/run/etc", "/etc", "none", MS_BIND | MS_REC)


def own_folder(path: str) -> None:
    """An empty folder of this world's own at a place below /etc, whoever owns what the machine has
    there."""
    os.makedirs(path, exist_ok=True)
    _mount("tmpfs", path, "tmpfs", 0, "mode=755")


def _children() -> set[int]:
    """The processes whose parent is this one, the ended ones too."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                status = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == os.getpid():
                    found.add(int(entry))
    return found


def _reap(children: Collection[int]) -> list[int]:
    """Those of the children that still run."""
    running = []
    for pid in children:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                running.append(pid)
    return running


def _command(pid: int) -> str:
    try:
        return shlex.join(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0"))
    except OSError:
        return "?"


def _everybody_can_reach(path: str) -> bool:
    """Whether all users may go into a folder, and into where its links lead."""
    real = Path(path).resolve()
    python = Path(sys.executable).resolve()
    return all(
        folder.stat().st_mode & 0o001 for file in (real, python) for folder in (file, *file.parents)
    )


# --- the state of a machine as a value

# What differs between two machines that were set up alike, or changes without anybody's doing.
_VOLATILE = {
    *(
        "ifindex",
        "link_index",
        "link_netnsid",
        "link_netns",
        "promiscuity",
        "allmulti",
        "stats",
        "stats64",
    ),
    *(
        "hello_timer",
        "tcn_timer",
        "topology_change_timer",
        "gc_timer",
        "hold_timer",
        "message_age_timer",
    ),
    *(
        "forward_delay_timer",
        "topology_change",
        "topology_change_detected",
        "topology_change_ack",
        "config_pending",
    ),
    *(
        "id",
        "no",
        "designated_port",
        "root_port",
        "valid_life_time",
        "preferred_life_time",
        "tentative",
        "expires",
    ),
    *("handle", "refcnt", "packets", "bytes", "nhid", "metrics_cacheinfo"),
    "permaddr",  # nobody can set it; drawn anew for tunnels that come with each namespace
}
# What is set of a bridge and of its ports. All else there counts or waits (timers, what was
# learned); newer tools tell ever more of it.
_OF_BRIDGES = {
    "info_data": re.compile(
        "(forward_delay|hello_time|max_age|ageing_time|stp_state|priority|group_|vlan_|mcast_|nf_call)"
    ),
    "info_slave_data": re.compile(
        "(state|priority|cost|hairpin|guard|root_block|fastleave|learning|flood|proxy_arp|mcast_"
        "|bcast_flood|neigh_suppress|vlan_|isolated|locked|mab|group_fwd_mask|backup_)"
    ),
}
_FROM_MAC = {"address", "bridge_id", "root_id", "lladdr"}
_SYSCTL_FOLDERS = ("/proc/sys/net/ipv4", "/proc/sys/net/ipv6")
_SYSCTL_VOLATILE = (
    "*/stable_secret",
    "*/tcp_fastopen_key",
    "*/nf_*",
    "*/route/flush",
    "*/ipfrag*",
    "*/ip6frag*",
)
_IS_VOLATILE = re.compile("|".join(map(fnmatch.translate, _SYSCTL_VOLATILE))).match
_SETTLED = {"UP", "UNKNOWN"}


def _of_namespace(macs: bool) -> dict[str, Any]:
    """The network namespace that the thread is in."""
    links = _settled_links()
    addresses = {row["ifname"]: row.pop("addr_info", []) for row in links}
    if not macs:
        addresses = {
            name: [row for row in rows if not _drawn(row)] for name, rows in addresses.items()
        }
    rules = _json("nft", "-j", "list", "ruleset").get("nftables", [])
    found: dict[str, Any] = {
        "indexes": {row["ifname"]: (row["ifindex"], row.get("link_index")) for row in links},
        "elsewhere": {row["ifname"]: row.get("link_netnsid") for row in links},
        "links": {row["ifname"]: _lasting(row, macs) for row in links},
        "addresses": {name: _lasting(rows) for name, rows in addresses.items()},
        "qdiscs": _lasting(_json("tc", "-j", "qdisc")),
        "vlans": _json("bridge", "-j", "vlan"),
        "nft": _lasting([row for row in rules if "metainfo" not in row]),
        "sysctls": dict(_sysctls()),
    }
    for version in ("4", "6"):
        asked = ["ip", "-j", "-d", f"-{version}", "-batch", "-"]
        done = subprocess.run(
            asked, input=_OF_A_FAMILY, capture_output=True, check=False, text=True
        )
        routes, neighbours, rules = (
            map(json.loads, done.stdout.splitlines()) if done.returncode == 0 else ([], [], [])
        )
        found[f"routes{version}"] = _sorted(_lasting([row for row in routes if _is_told(row)]))
        found[f"neighbours{version}"] = _sorted(_lasting(neighbours, macs))
        found[f"rules{version}"] = rules
    return found


def _is_told(route: Mapping[str, Any]) -> bool:
    """The kernel fills the table for itself, but for ::1 on other interfaces than lo."""
    return route.get("table") != "local" or (route["dst"] == "::1" and route["dev"] != "lo")


_OF_A_FAMILY = "route show table all\nneigh show nud permanent\nrule\n"


def _json(*argv: str) -> Any:
    """What a tool answers in JSON; an empty answer where the tool or what it speaks to is
    missing."""
    empty: Any = {} if argv[0] == "nft" else []
    try:
        done = subprocess.run(argv, capture_output=True, check=False, text=True)
    except FileNotFoundError:
        return empty
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else empty


def _settled_links() -> list[dict[str, Any]]:
    """All links, once the kernel has caught up with itself: it sets ``operstate`` up to a second
    after the carrier."""
    deadline = time.monotonic() + 30  # on a machine that has more to do than this
    while True:
        links = [row for row in _json("ip", "-j", "-d", "addr") if row]
        up = [row for row in links if "UP" in row["flags"]]
        settled = all(("LOWER_UP" in row["flags"]) == (row["operstate"] in _SETTLED) for row in up)
        if (settled and not _link_local_missing(up)) or time.monotonic() > deadline:
            return links
        time.sleep(0.01)


def _link_local_missing(up: list[dict[str, Any]]) -> bool:
    """Whether the kernel has yet to give a link-local address to one of these links: it does so
    when the carrier has come."""
    wanted = {
        row["ifname"]
        for row in up
        if "LOWER_UP" in row["flags"] and row.get("link_type") == "ether"
    }
    wanted = {
        name for name in wanted if _reads(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6") == "0"
    }
    wanted = {
        name for name in wanted if _reads(f"/proc/sys/net/ipv6/conf/{name}/addr_gen_mode") == "0"
    }
    return not wanted <= {row["ifname"] for row in up if any(map(_drawn, row.get("addr_info", ())))}


def _reads(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _lasting(value: Any, macs: bool = True) -> Any:
    """What a tool said, without the volatile, and with the elements of nft sets in a fixed
    order."""
    if isinstance(value, dict):
        dropped = _VOLATILE if macs else _VOLATILE | _FROM_MAC
        kept = {key: _lasting(child, macs) for key, child in value.items() if key not in dropped}
        for kind, data in (("info_kind", "info_data"), ("info_slave_kind", "info_slave_data")):
            if kept.get(kind) == "bridge":
                settings = kept.get(data, {}).items()
                kept[data] = {key: child for key, child in settings if _OF_BRIDGES[data].match(key)}
        if isinstance(elements := kept.get("elem"), list):
            kept["elem"] = _sorted(elements)
        if kept.get("operstate") == "UNKNOWN" and "LOWER_UP" in kept.get("flags", ()):
            # the same to every user of the link; which of the two depends on the kernel's timing
            kept["operstate"] = "UP"
        return kept
    return [_lasting(child, macs) for child in value] if isinstance(value, list) else value


def _sorted(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _drawn(address: Mapping[str, Any]) -> bool:
    """Whether the kernel made this address out of the MAC address."""
    return str(address.get("local", "")).startswith("fe80:")


def _inside(name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call the function in a pinned namespace."""
    home = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", there, CLONE_NEWNET)
        finally:
            os.close(there)
        return function()
    except OSError as error:
        return {"no namespace": os.strerror(error.errno or 0)}
    finally:
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


def _peers(
    place: str, link: str, indexes: Mapping[str, Mapping[str, tuple[int, int | None]]]
) -> list[str]:
    """What may be the other end of a veth pair, ``namespace/interface``: whose index and peer index
    are ours, swapped."""
    index, other = indexes[place][link]
    return [
        f"{there}/{name}"
        for there, links in indexes.items()
        for name, pair in links.items()
        if pair == (other, index) and (there, name) != (place, link)
    ]


def _numbered(place: str) -> dict[int, str]:
    """The namespaces with a name, by the numbers that this one has for them (ip-netns(8),
    list-id)."""
    node = [] if place == "host" else ["-n", place]
    rows = _json("ip", "-j", *node, "netns", "list-id")
    return {row["nsid"]: row["name"] for row in rows if row.get("name")}


def _sysctls() -> Iterator[tuple[str, str]]:
    for top in _SYSCTL_FOLDERS:
        for folder, _, names in os.walk(top):
            for path in (f"{folder}/{name}" for name in names):
                if not _IS_VOLATILE(path):
                    with suppress(OSError):  # some can only be written
                        descriptor = os.open(path, os.O_RDONLY)
                        try:
                            yield (
                                path.removeprefix("/proc/sys/"),
                                os.read(descriptor, 4096).decode().strip(),
                            )
                        finally:
                            os.close(descriptor)


def _mounts() -> list[str]:
    """Each mount as "place type source root options", without numbers (proc_pid_mountinfo(5))."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, place, options, *propagation = before.split()
        kind, source, _ = after.split(maxsplit=2)
        words = [word.partition(":")[0] for word in propagation]
        found.append(" ".join((place, kind, source, root.partition(":")[0], options, *words)))
    return sorted(found)


def _files(exclude: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is below /run and /etc/netns: the path, and "mode kind content"."""
    for top in ("/run", "/etc/netns"):
        for folder, folders, names in os.walk(top):
            for path in (f"{folder}/{name}" for name in (*folders, *names)):
                if not any(fnmatch.fnmatch(path, pattern) for pattern in exclude):
                    with suppress(FileNotFoundError):
                        yield path, _file(path)
    if os.path.isdir("/etc/netns"):
        yield "/etc/netns", _file("/etc/netns")


def _file(path: str) -> str:
    status = os.lstat(path)
    mode = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{mode} -> {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        return mode
    try:
        data = Path(path).read_bytes()
    except OSError:  # a pinned namespace
        return f"{mode} not readable"
    if len(data) > 2000:
        return f"{mode} sha256 {hashlib.sha256(data).hexdigest()}"
    return f"{mode} {data.decode(errors='backslashreplace')!r}"


def difference(before: Snapshot, after: Snapshot) -> str:
    """What is only in ``before`` (-) and only in ``after`` (+), one line each; empty where they are
    equal."""
    old, new = Counter(_flat(before)), Counter(_flat(after))
    rows = [*(f"- {line}" for line in old - new), *(f"+ {line}" for line in new - old)]
    if not rows and before != after:
        return "the same lines, in another order"
    return "\n".join(sorted(rows, key=lambda row: row[2:]))


def _flat(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _flat(child, f"{path} {key}".strip())
        if not value:
            yield f"{path}: nothing"
    elif isinstance(value, list):
        for child in value:
            yield f"{path}: {json.dumps(child, sort_keys=True)}"
    else:
        yield f"{path}: {value}"


# --- what a test needs of the system

# How to find out whether this kernel knows something: a command that must work in an empty network
# namespace.
_LINK_PROBES = {
    "vlan": "ip link add probe link br0 type vlan id 2",
    "vxlan": "ip link add probe type vxlan id 2 remote 192.0.2.1 dstport 4789",
    "veth": "ip link add probe type veth peer name peer",
    "macvlan": "ip link add probe link br0 type macvlan",
    "ipvlan": "ip link add base type veth peer name peer && ip link add probe link base type ipvlan",  # noqa: E501
}
_QDISC_PROBES = {
    "netem": "tc qdisc add dev br0 root netem delay 1ms",
    "tbf": "tc qdisc add dev br0 root tbf rate 1mbit burst 10k latency 10ms",
    "clsact": "tc qdisc add dev br0 clsact",
    "ingress": "tc qdisc add dev br0 ingress",
}


def has(what: str) -> bool:
    """Whether this system has a tool (``nft``), a kind of link (``link:vlan``) or of queueing
    (``qdisc:netem``)."""
    kind, _, name = what.rpartition(":")
    if kind == "link":
        probe = _LINK_PROBES.get(name, f"ip link add probe type {shlex.quote(name)}")
    elif kind == "qdisc":
        probe = _QDISC_PROBES.get(name, f"tc qdisc add dev br0 root {shlex.quote(name)}")
    else:
        return shutil.which(what) is not None
    script = f"ip link add br0 type bridge && {probe}"
    return (
        subprocess.run(
            ["unshare", "--net", "sh", "-c", script], capture_output=True, check=False
        ).returncode
        == 0
    )


@functools.cache
def links_of_a_new_one() -> list[str]:
    """The links that every new network namespace begins with, sorted: lo, and where modules for
    tunnels are loaded sit0, gre0, ip6tnl0 and others."""
    told = subprocess.run(
        ["unshare", "--net", "ip", "-j", "link"], capture_output=True, check=True, text=True
    ).stdout
    return sorted(row["ifname"] for row in json.loads(told))


def require(*needs: str, allowed: Mapping[str, str] | None = None) -> None:
    """Skip the test where the system lacks one of these (see :func:`has`).

    In CI (``CI=true``) fail instead: there, only what stands in ``allowed``, by default the table
    ALLOWED_MISSING in conftest.py, may be missing.
    """
    reasons = ALLOWED_MISSING if allowed is None else allowed
    for what in needs:
        if has(what):
            continue
        if what in reasons:
            pytest.skip(f"{what} is missing: {reasons[what]}")
        _missing(f"{what} is missing on this system")


def require_python_for_everybody() -> None:
    """Skip where another user can't run our Python: one below somebody's home folder."""
    if not _everybody_can_reach(sys.prefix):
        _missing(f"an ordinary user can't reach {sys.prefix} or the Python behind it")


def _missing(text: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{text}, and CI has to have it", pytrace=False)
    pytest.skip(text)


ALLOWED_MISSING: dict[str, str] = {}  # filled by conftest.py
