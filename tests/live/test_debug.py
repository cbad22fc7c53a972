"""BASCULE_DEBUG=netlink: what is said to the kernel, and what it answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.api import Lab
from bascule.errors import InputError
from sandbox import BASCULE, World

FILE = """
name: told
networks: {lan: {subnet: 10.1.0.0/24, nat: true, dns: false}}
nodes: {a: [lan]}
"""


def _environment(value: str) -> dict[str, str]:
    return {**os.environ, "BASCULE_DEBUG": value}


@pytest.mark.parametrize("kind", ["host", "private"])
def test_each_message_is_told(world: World, kind: str) -> None:
    """In both worlds, on standard error, for rtnetlink and nf_tables; standard output is as it
    is without."""
    Path("bascule.yaml").write_text(FILE)
    done = world.run(BASCULE, "up", "--world", kind, env=_environment("netlink"))
    lines = done.stderr.splitlines()
    sent = [line for line in lines if line.startswith("netlink ") and " > " in line]
    heard = [line for line in lines if line.startswith("netlink ") and " < " in line]
    assert any("RTM_NEWLINK" in line and "ifname=lan" in line for line in sent)
    assert any("RTM_NEWADDR" in line and "local=10.1.0.1" in line for line in sent)
    assert any("NFT_MSG_GETTABLE" in line for line in sent)
    assert any("NLMSG_ERROR" in line and "done to RTM_NEWLINK" in line for line in heard)
    assert "netlink" not in done.stdout
    down = world.run(BASCULE, "down", env=_environment(""))
    assert "netlink " not in down.stderr


def test_something_else_to_be_told_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which says what there is; also in Python, where the first socket is opened."""
    done = world.run(BASCULE, "ls", env=_environment("nft"), check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "bascule: BASCULE_DEBUG=nft: there is no such thing to tell; use netlink (each netlink "
        "message that is sent, and each answer)\n"
    )
    monkeypatch.setenv("BASCULE_DEBUG", "everything")
    with pytest.raises(InputError, match="use netlink"):
        Lab.from_data({"name": "told", "nodes": {"a": []}}, world="host").up()
