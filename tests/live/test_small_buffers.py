"""Machines with little room for a socket (net.core.wmem_default, rmem_default)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bascule.api import Lab
from bascule.host import netlink
from bascule.host.netlink import Netlink, opened_by
from bascule.wire import route as rt
from bascule.wire.message import Request
from sandbox import World

SIZES = pytest.mark.parametrize("size", [4608, 32768])


@contextmanager
def _small(size: int) -> Iterator[None]:
    """Each netlink socket of this process has buffers of this size."""
    usual = netlink._open

    def opened(protocol: int) -> socket.socket:
        made = usual(protocol)
        for which in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            made.setsockopt(socket.SOL_SOCKET, which, size // 2)  # which the kernel doubles
            assert made.getsockopt(socket.SOL_SOCKET, which) == size
        return made

    with opened_by(opened):
        yield


@SIZES
def test_all_that_fails_is_answered(world: World, size: int) -> None:
    """Three hundred messages, of which each is refused: none of the answers is lost."""
    with _small(size), Netlink() as opened:
        delete = [
            Request(rt.DELLINK, 0, rt.IFINFO.pack(0, 0, 1 << 30 | n, 0, 0)) for n in range(300)
        ]
        assert [answer.errno for answer in opened.batch(delete)] == [19] * 300


def test_a_large_lab_comes_and_goes(world: World) -> None:
    """With the same messages in more datagrams."""
    nodes = {"n": {"count": 40, "networks": ["lan"]}}
    data = {"networks": {"lan": {"subnet": "10.1.0.0/16"}}, "nodes": nodes}
    with _small(4608):
        lab = Lab.from_data(data, name="many", world="host")
        lab.up()
        assert not lab.plan()
        world.run("sh", "-c", "for n in $(seq 20); do ip link del veth-n$n; done")
        lab.up()
        assert not lab.plan()
        lab.down()
    assert world.ip_json("link", "show", "type", "veth") == []
