"""What happens to other nodes while a lab changes under them: nothing. One TCP connection, open
through all of it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any

import pytest

from bascule.api import Lab
from helpers import bascule
from sandbox import World, require
from traffic import bound, inside

DATA: dict[str, Any] = {
    "name": "quiet",
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "wan": {"subnet": "10.2.0.0/24", "reach": ["lan"]},
    },
    "nodes": {"a": ["lan"], "b": ["lan"], "c": ["wan"], "d": ["lan"]},
}
TCP_INFO_RETRANS = 100  # offset of tcpi_total_retrans in struct tcp_info, linux/tcp.h


class Stream:
    """Bytes that go from one node to another and back, all the time. ``longest`` is the longest
    time for one there and back."""

    def __init__(self, client: str, server: str, address: str) -> None:
        listener = bound(server, "::" if ":" in address else "0.0.0.0", 9)  # noqa: S104
        with inside(client):
            self.client = socket.socket(listener.family)
        self.client.connect((address, 9))
        self.server, _peer = listener.accept()
        listener.close()
        for each in (self.client, self.server):
            each.settimeout(5)
        self.rounds, self.longest, self.problem = 0, 0.0, ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                begun = time.monotonic()
                self.client.sendall(b"x" * 1000)
                self.server.sendall(self.server.recv(1000, socket.MSG_WAITALL))
                assert len(self.client.recv(1000, socket.MSG_WAITALL)) == 1000
                self.longest = max(self.longest, time.monotonic() - begun)
                self.rounds += 1
                time.sleep(0.001)
        except OSError as error:
            self.problem = str(error)

    def end(self) -> int:
        """How many segments had to be sent again."""
        self._ended.set()
        self._thread.join()
        info = self.client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        self.client.close()
        self.server.close()
        return int(struct.unpack_from("=I", info, TCP_INFO_RETRANS)[0])


@pytest.mark.parametrize(
    ("client", "server", "address"),
    [("a", "b", "10.1.0.3"), ("a", "b", "fd00:1::3"), ("c", "a", "10.1.0.2")],
)
def test_a_connection_stays_while_the_lab_changes(
    world: World, client: str, server: str, address: str
) -> None:
    """Nodes and networks come and go, with ports, names and rules; what stays has not lost a
    segment."""
    require("nft")
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    stream = Stream(client, server, address)
    try:
        for words in (
            (
                "node",
                "add",
                "n1",
                "--network",
                "lan",
                "-p",
                "8080:80",
                "-p",
                "53:53/udp",
                "--add-host",
                "x:192.0.2.1",
            ),
            ("network", "create", "more", "--subnet", "10.3.0.0/24", "--no-icc", "--reach", "lan"),
            ("network", "connect", "more", "n1", "--alias", "other", "--gateway-priority", "3"),
            ("network", "connect", "more", "d"),
            ("node", "add", "n2", "--network", "more", "--network", "lan"),
            ("network", "disconnect", "lan", "n1"),
            ("network", "disconnect", "more", "d"),
            ("node", "rm", "n2"),
            ("network", "create", "vault", "--subnet", "10.4.0.0/24", "--internal"),
            ("network", "prune"),
            ("node", "rm", "n1"),
            ("network", "rm", "more"),
        ):
            bascule(world, *words, "--lab", "quiet")
        lab.up()  # back to the file
        assert not lab.plan()
    finally:
        again = stream.end()
    assert stream.problem == ""
    assert stream.rounds > 50
    assert again == 0
    lab.down()


def test_what_the_firewalls_owner_flushes_comes_back_alone(world: World) -> None:
    """After `nft flush ruleset` the plan is our table and nothing else; other programs' tables stay
    byte for byte."""
    require("nft")
    foreign = (
        "table inet other {\n chain c {\n type filter hook input priority filter; policy "
        "accept;\n counter accept\n }\n}\n"
    )
    lab = Lab.from_data(DATA, world="host")
    lab.up()
    ours = world.run("nft", "-s", "list", "table", "inet", "bascule-quiet").stdout
    world.run("nft", "flush", "ruleset")
    world.run("nft", "-f", "-", input=foreign)
    before = world.run("nft", "-s", "list", "table", "inet", "other").stdout
    assert [(change.sign, change.fact.describe()) for change in lab.plan().changes] == [
        ("+", "nft table inet and bridge bascule-quiet")
    ]
    lab.up()
    assert world.run("nft", "-s", "list", "table", "inet", "bascule-quiet").stdout == ours
    assert world.run("nft", "-s", "list", "table", "inet", "other").stdout == before
    lab.down()
    assert world.run("nft", "-s", "list", "ruleset").stdout == before
