"""Network namespaces in /run/netns, as ip-netns(8) keeps them, and moving the calling thread
between them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bascule import identity, syscalls
from bascule.errors import InputError
from bascule.names import WORLD_NETNS
from bascule.syscalls import CLONE_NEWNET, MNT_DETACH, MS_BIND, MS_REC, MS_SHARED

DIRECTORY = "/run/netns"
_OWN = "/proc/thread-self/ns/net"
_MOUNTS = "/proc/{}/ns/mnt"
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)

Maker = Callable[[], int]  # gives a descriptor of a network namespace that nobody has yet


def pin_path(name: str) -> str:
    """Where a namespace of this name is pinned."""
    return f"{DIRECTORY}/{name}"


@contextmanager
def coming_back() -> Iterator[int]:
    """Whatever namespaces the block enters, the thread is afterwards where it was. Gives a
    descriptor of that place."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield home
    finally:
        try:
            # who has not moved needs no right to move
            if not os.path.samestat(os.fstat(home), os.stat(_OWN)):
                syscalls.setns(home, CLONE_NEWNET)
        finally:
            os.close(home)


def open_pin(name: str) -> int | None:
    """A descriptor of the namespace, or None where nothing is pinned under this name."""
    try:
        return os.open(pin_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):
        # a pin that has lost its mount is a file of mode 0, which root opens and others do not
        return None


def enter(fd: int) -> bool:
    """Put the thread into the namespace; False where the descriptor is of no network namespace."""
    try:
        syscalls.setns(fd, CLONE_NEWNET)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def enter_pin(name: str) -> int | None:
    """Put the thread into the node's namespace. Gives a descriptor of it, or None where there is no
    such namespace."""
    descriptor = open_pin(name)
    if descriptor is None or enter(descriptor):
        return descriptor
    # of a pin without its mount: an open file in it would keep /run/netns from being unmounted
    os.close(descriptor)
    return None


def make(name: str, prepare: Callable[[], None], maker: Maker | None = None) -> None:
    """Make a namespace, or have it made, call ``prepare`` in it, pin it, and leave the thread
    inside it. Raises FileExistsError where the name is taken, and what ``prepare`` raises.

    A file without a namespace under it (left by a crash between the steps) is taken over. So what
    has its pin is prepared.
    """
    path = _new_pin(name)
    try:
        if maker is None:
            syscalls.unshare(CLONE_NEWNET)
        else:
            _enter_new(maker())
        prepare()
        syscalls.mount(_OWN, path, "none", MS_BIND)
    except OSError:
        syscalls.unlink(path)
        raise


def _enter_new(descriptor: int) -> None:
    try:
        syscalls.setns(descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)


def _new_pin(name: str) -> str:
    path = pin_path(name)
    try:
        os.close(syscalls.create(path, os.O_RDONLY | os.O_EXCL, 0))
    except FileExistsError:
        if is_pinned(name):
            raise
    return path


def place(source: str) -> tuple[int, int] | None:
    """The identity (device, inode) of the network namespace at this path; None where there is
    none."""
    descriptor = open_source(source)
    if descriptor is None:
        return None
    status = os.fstat(descriptor)
    os.close(descriptor)
    return status.st_dev, status.st_ino


def open_source(source: str) -> int | None:
    """A descriptor of the network namespace at this path; None where there is none."""
    try:
        descriptor = os.open(_path_of(source), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with suppress(OSError):  # no namespace at all
        if fcntl.ioctl(descriptor, _NS_GET_NSTYPE) == CLONE_NEWNET:
            return descriptor
    os.close(descriptor)
    return None


def plays_host(place: tuple[int, int]) -> bool:
    """Whether the namespace with this device and inode plays the host: it is the calling thread's,
    or the machine's own."""
    return place == identity.netns()[:2] or identity.is_machines_own(place)


def the_hosts(name: str, source: str) -> str:
    """What to say of a node that is to be such a one."""
    return (
        f"node {name}: {source} is the machine's own network namespace; write `network_mode: "
        f"host`, without networks"
    )


def _path_of(source: str) -> str:
    return _OWN if source == WORLD_NETNS else source


def attach(name: str, source: str) -> None:
    """Pin the namespace at this path, and put the thread inside it. Raises FileExistsError where
    the name is taken, and :class:`InputError` where the path is of no network namespace."""
    descriptor = open_source(source)
    if descriptor is None:
        raise InputError(
            f"node {name}: there is no network namespace at {source}; does the process still run?"
        )
    try:
        status = os.fstat(descriptor)
        # it may be another than at the check
        if source != WORLD_NETNS and plays_host((status.st_dev, status.st_ino)):
            raise InputError(the_hosts(name, source))
        path = _new_pin(name)
        try:
            syscalls.mount(f"/proc/self/fd/{descriptor}", path, "none", MS_BIND)
        except OSError:
            syscalls.unlink(path)
            raise
        syscalls.setns(descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)


def is_pinned(name: str) -> bool:
    """Whether a namespace is mounted on the name, not only a file there."""
    try:
        return os.lstat(pin_path(name)).st_dev != os.stat(DIRECTORY).st_dev
    except FileNotFoundError:
        return False


def pinned() -> list[str]:
    """The names of all that are, in order."""
    with suppress(FileNotFoundError):
        return [name for name in sorted(os.listdir(DIRECTORY)) if is_pinned(name)]
    return []


def drop(name: str) -> None:
    """Unmount and remove the pin. Nothing happens where there is none."""
    path = pin_path(name)
    try:
        syscalls.umount(path, MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    with suppress(FileNotFoundError):
        syscalls.unlink(path)


def way_to(place: tuple[int, int]) -> str:
    """A path of the network namespace with this device and inode: of process 1, of a name in
    /run/netns, or of any process that is to be seen. Empty where there is none."""
    pins: list[str] = []
    with suppress(OSError):
        pins = [pin_path(name) for name in sorted(os.listdir(DIRECTORY))]
    processes = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    for path in ("/proc/1/ns/net", *pins, *(f"/proc/{pid}/ns/net" for pid in processes)):
        with suppress(OSError):
            there = os.stat(path)
            if (there.st_dev, there.st_ino) == place:
                return path
    return ""


def pass_with_the_command() -> bool:
    """Whether a pin that is made here goes with this command, because its mount namespace is a copy
    made for it alone, as by ``ip netns exec``, whose mounts nobody else gets (mount_namespaces(7)):
    the parent's is another one with the same /run, or that of any process above ours hands its
    mounts down to us."""
    mine = _propagation("self")
    pid = os.getppid()
    parent = True
    while pid > 0:
        with suppress(OSError):
            theirs = _propagation(str(pid))
            is_copy = bool(mine["master"] and mine["master"] == theirs["shared"])
            is_other = parent and not os.path.samefile(_MOUNTS.format("self"), _MOUNTS.format(pid))
            if is_copy or (is_other and os.path.samefile("/run", f"/proc/{pid}/root/run")):
                return not (mine["shared"] and mine["shared"] == theirs["shared"])
        pid, parent = identity.parent(pid), False
    return False


def _propagation(pid: str) -> dict[str, str]:
    """The peer groups of the mount that /run/netns lies on, as this process sees it: ``shared``
    with whom, ``master`` over it (proc_pid_mountinfo(5), field 7)."""
    groups = {"shared": "", "master": ""}
    longest = ""
    with open(f"/proc/{pid}/mountinfo", errors="replace") as file:
        for line in file:
            words = line.split(" - ")[0].split()
            if f"{DIRECTORY}/".startswith(words[4].rstrip("/") + "/") and len(words[4]) >= len(
                longest
            ):
                longest = words[4]
                groups = {"shared": "", "master": ""} | dict(
                    word.split(":", 1) for word in words[6:] if ":" in word
                )
    return groups


def share_directory() -> bool:
    """Make /run/netns a shared mount, as ``ip netns add`` does, so that pins show in every mount
    namespace and a later ``ip netns add`` does not mount over them. False where it is no mount:
    :func:`mount_directory` makes it one."""
    try:
        syscalls.mount("", DIRECTORY, "none", MS_SHARED | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def mount_directory() -> None:
    """Mount /run/netns on itself."""
    syscalls.mount(DIRECTORY, DIRECTORY, "none", MS_BIND | MS_REC)


def places(names: list[str]) -> dict[tuple[int, int], str]:
    """The names by the identity (device, inode) of their namespaces, but for the one that the
    thread itself is in."""
    own = os.stat(_OWN)
    found = {}
    for name in names:
        with suppress(OSError):
            status = os.stat(pin_path(name))
            found[status.st_dev, status.st_ino] = name
    found.pop((own.st_dev, own.st_ino), None)
    return found
