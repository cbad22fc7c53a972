"""An error that passes (no memory, no descriptors) tells nothing of what is there: it is an error,
and what was not seen is not taken for absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import BasculeError, KernelError, StateError
from bascule.host import etc_links, lasting
from bascule.host.netlink import Netlink
from bascule.state import folder
from bascule.wire import netfilter
from bascule.wire.message import Request
from sandbox import World, require

LAB = {
    "name": "passing",
    "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True}},
    "nodes": {"a": ["lan"]},
}
QUESTIONS: dict[str, Callable[[], Request]] = {
    "tables": netfilter.list_tables,
    "chains": netfilter.list_chains,
    "rules": lambda: netfilter.list_rules("ip", "filter", "FORWARD"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_rules_that_could_not_be_listed_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """`down` fails, and takes all away when it can ask again; `up` makes nothing twice."""
    require("nft")
    world.run("nft", "add", "table", "ip", "filter")
    chain = "{ type filter hook forward priority 0 ; policy drop ; }"
    world.run("nft", f"add chain ip filter FORWARD {chain}")
    before = machine.state()
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    real, kind = Netlink.dump, QUESTIONS[question]().kind

    def dump(self: Netlink, request: Request, *more: Any, **options: Any) -> Any:
        if request.kind == kind:
            raise KernelError("netlink dump", errno.ENOMEM, "Cannot allocate memory")
        return real(self, request, *more, **options)

    for command in (lab.up, lab.down):
        with monkeypatch.context() as patch:
            patch.setattr(Netlink, "dump", dump)
            with pytest.raises(BasculeError, match="Cannot allocate memory"):
                command()
    lab.up()
    assert not lab.plan()
    lab.down()
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("kind", ["host", "private"])
def test_a_command_that_could_not_be_started_disturbs_none(world: World, kind: Any) -> None:
    """Neither the next one, nor `down`."""
    with Lab.from_data(LAB, world=kind) as lab:
        with pytest.raises(ValueError, match="null byte"):
            lab.node("a").run(["echo", "a\0b"])
        with pytest.raises(AttributeError):
            lab.node("a").run(["cat"], stdin="text")
        assert lab.node("a").run(["true"]).returncode == 0
        assert lab.node("a").run(["true"]).returncode == 0


def test_a_process_that_could_not_be_held_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has one whose state could not be read."""
    own = lasting.Process(os.getpid(), lasting.start_time(os.getpid()))
    assert lasting.alive(own)
    held = lasting.hold(own)
    assert held is not None
    os.close(held)
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def no(*_: object, **__: object) -> int:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", no)
        with pytest.raises(OSError, match="Too many open files"):
            lasting.hold(own)
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", no)
        with pytest.raises(OSError, match="Too many open files"):
            lasting.alive(own)
    assert lasting.hold(lasting.Process(0, 0)) is None


def test_labs_that_could_not_be_listed_are_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another lab would get their interface indexes and subnets."""
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    with monkeypatch.context() as patch:

        def no(_place: object) -> list[str]:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        patch.setattr(os, "listdir", no)
        with pytest.raises(StateError, match="Cannot allocate memory; run the command again"):
            folder.labs()
    assert folder.labs() == ["passing"]
    lab.down()


def test_the_note_of_a_lab_that_is_coming_up_stays(world: World) -> None:
    """Its links are noted before there are any: another lab that goes meanwhile leaves the note.
    One that is nobody's goes."""
    note, coming = Path(etc_links.path("coming")), Path("/run/bascule/coming")
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    etc_links.note("coming", "/run/bascule")
    coming.mkdir()
    lab.down()
    assert note.exists()
    coming.rmdir()
    lab.up()
    lab.down()
    assert not note.exists()
