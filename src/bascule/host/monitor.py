"""Hear that something has changed, at once and without asking: the kernel's own notifications.

They are only the trigger. What has changed is found by another look, because a message may be lost
(ENOBUFS), comes in no useful order with those of other sockets, and tells of half of a change. So
nothing of a message is read but that it came.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from bascule.host import lasting, netlink
from bascule.host.inotify import Folders, Inotify, watch
from bascule.host.world import PrivateWorld, World
from bascule.kernel.nouns import NOUNS

_SOL_NETLINK, _ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 270, 1, 8
_ROUTE_GROUPS = tuple({group: None for noun in NOUNS for group in noun.groups})
_NFTABLES_GROUPS = tuple({group: None for noun in NOUNS for group in noun.rules})
_RECEIVE, _READS = 1 << 16, 256
# seconds without a sound that end a burst; seconds after which it is answered all the same
_QUIET, _LONGEST = 0.03, 0.25

# What to call when a descriptor can be read: whether that matters; None where it does, and can be
# read from now on for ever.
Bell = Callable[[], bool | None]


class Monitor:
    """What one world tells of itself. It keeps no node's namespace alive: one socket hears of all
    namespaces that the world has an interface into (NETLINK_LISTEN_ALL_NSID), so that of a node
    without networks only its coming and going is heard."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ended = False
        self._sockets = _sockets_of(world)
        self._files = _inotify()
        self._keeper = lasting.hold(world.keeper) if isinstance(world, PrivateWorld) else None

    def close(self) -> None:
        """Close all descriptors. A socket that stays open keeps a private world's network alive."""
        for each in self._sockets:
            each.close()
        if self._files is not None:
            self._files.close()
        if self._keeper is not None:
            os.close(self._keeper)

    def watch(self, folders: Folders) -> None:
        """Watch these folders of the world, and no others."""
        if self._files is not None:
            self._files.learn(self.world.call(watch, self._files.descriptor, folders))

    def bells(self) -> dict[int, Bell]:
        """Descriptors that become readable, and what to call then."""
        bells: dict[int, Bell] = {each.fileno(): _drainer(each) for each in self._sockets}
        if self._files is not None:
            bells[self._files.descriptor] = self._files.drain
        if self._keeper is not None and not self.ended:
            bells[self._keeper] = self._end
        return bells

    def _end(self) -> None:
        self.ended = True


class Files:
    """Folders of the caller's own: the lab file's, the state directory."""

    def __init__(self) -> None:
        self._files = _inotify()

    def close(self) -> None:
        """Close the descriptor."""
        if self._files is not None:
            self._files.close()

    def watch(self, folders: Folders) -> None:
        """Watch these folders, and no others."""
        if self._files is not None:
            self._files.learn(watch(self._files.descriptor, folders))

    def bells(self) -> dict[int, Bell]:
        """As :meth:`Monitor.bells`."""
        return {} if self._files is None else {self._files.descriptor: self._files.drain}


def wait(bells: dict[int, Bell], seconds: float, reader: int = -1) -> bool:
    """Sleep until a bell rings and the burst that it belongs to is over, at most ``seconds``.
    Whether one rang that matters. Raises BrokenPipeError when nobody reads any more what is written
    to ``reader``."""
    poll = select.poll()
    for descriptor in bells:
        poll.register(descriptor, select.POLLIN)
    if reader >= 0:
        poll.register(reader, 0)
    deadline = time.monotonic() + seconds
    rang = False
    while (left := deadline - time.monotonic()) > 0:
        ready = poll.poll(max(1, min(left, _QUIET if rang else left) * 1000))
        if not ready and rang:
            return True
        for descriptor, _event in ready:
            if descriptor == reader:
                raise BrokenPipeError
            matters = bells[descriptor]()
            if matters is None:
                return True
            if matters and not rang:
                rang = True
                deadline = min(deadline, time.monotonic() + _LONGEST)
    return rang


def _drainer(opened: socket.socket) -> Bell:
    def drain() -> bool:
        for _read in range(_READS):
            try:
                opened.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: more than it could hold
                continue
        return True

    return drain


def _sockets_of(world: World) -> list[socket.socket]:
    """Sockets that were opened inside the world; they belong to it for ever, and come out through a
    socket pair."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        world.call(_open_and_send, there)
        _data, descriptors, _flags, _address = socket.recv_fds(here, 1, 8, socket.MSG_CMSG_CLOEXEC)
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def _open_and_send(to: socket.socket) -> None:
    opened = [_listening(netlink.ROUTE, _ROUTE_GROUPS)]
    with suppress(OSError):  # a kernel without nf_tables
        opened.append(_listening(netlink.NETFILTER, _NFTABLES_GROUPS))
    try:
        socket.send_fds(to, [b"s"], [each.fileno() for each in opened])
    finally:
        for each in opened:
            each.close()


def _listening(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    # one without a number of its own counts as the kernel's, who is not told of what it does itself
    opened.bind((0, 0))
    for group in groups:
        opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    with suppress(OSError):  # it needs CAP_NET_BROADCAST, which root of any world has
        opened.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
    return opened


def _inotify() -> Inotify | None:
    try:
        return Inotify()
    except OSError:  # EMFILE: fs.inotify.max_user_instances; a look at regular times has to do
        return None
