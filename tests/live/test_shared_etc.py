"""/etc is shared with a place that has a /run of its own: whose links are in /etc/netns?"""

from __future__ import annotations

import builtins
import errno
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule import identity
from helpers import bascule
from sandbox import BASCULE, World

LAB = (
    'name: first\nnetworks: {lan: {subnet: [10.1.0.0/24, "fd00:1::/64"]}}\nnodes: {a: [lan], '
    "b: [lan]}\n"
)
OTHER = "name: other\nnetworks: {olan: {subnet: 10.2.0.0/24}}\nnodes: {c: [olan]}\n"
NOTES = Path("/var/lib/bascule")


@pytest.fixture
def up(world: World) -> World:
    Path("lab.yaml").write_text(LAB)
    Path("other.yaml").write_text(OTHER)
    bascule(world, "up", "lab.yaml", "--world", "host")
    return world


def _beside(world: World, *commands: str) -> str:
    """What these say where network and /run are others, and /etc and /var/lib are the same."""
    made = "unset BASCULE_KEEP_DIR; mount -nt tmpfs none /run; mkdir /run/netns; ip link set lo up"
    lines = "\n".join(f"{BASCULE} {command} 2>&1 || echo failed" for command in commands)
    return world.run(
        "unshare", "-nm", "--propagation", "private", "sh", "-ec", f"{made}\n{lines}"
    ).stdout


def _links() -> set[str]:
    return {name for name in os.listdir("/etc/netns") if os.path.islink(f"/etc/netns/{name}")}


def test_a_neighbour_leaves_our_links_alone(up: World) -> None:
    """Also when his own lab comes and goes; and we leave his, when ours does."""
    before = machine.state()
    said = _beside(up, "up other.yaml", "down other")
    assert "failed" not in said
    assert machine.difference(before, machine.state()) == ""
    _beside(up, "up other.yaml")
    assert _links() == {"a", "b", "c"}
    bascule(up, "down", "first")
    assert _links() == {"c"}
    assert [path.name for path in NOTES.glob("*.links")] == ["other.links"]


@pytest.mark.parametrize("untold", ["/run", "/proc/1/stat", "/proc/sys/kernel/random/boot_id"])
def test_a_place_is_not_known_by_half(untold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that can't be read for want of memory is no other place; what is not told to
    everybody is left out."""
    real_open, real_stat, number = builtins.open, os.stat, errno.ENOMEM

    def failing(real: Callable[..., Any], path: object, *more: object, **named: object) -> object:
        if path == untold:
            raise OSError(number, os.strerror(number), untold)
        return real(path, *more, **named)

    monkeypatch.setattr(builtins, "open", functools.partial(failing, real_open))
    monkeypatch.setattr(os, "stat", functools.partial(failing, real_stat))
    with pytest.raises(OSError, match="Cannot allocate"):
        identity.place()
    number = errno.EACCES
    assert "-" in identity.place()


def test_the_same_names_are_refused_in_words(up: World) -> None:
    """The same lab, and another lab with the same nodes, in both directions; nothing is touched,
    and nothing removed."""
    before = machine.state()
    said = _beside(up, "plan lab.yaml", "up lab.yaml", "down first")
    assert (
        said.count(
            "lab first is up in another mount namespace, which has a /run of its own and the "
            "same /etc/netns"
        )
        == 2
    )
    assert said.count("failed") == 3  # here nobody knows the lab first
    said = _beside(up, "up lab.yaml --name second", "down second")
    for node in ("a", "b"):
        assert (
            f"/etc/netns/{node} leads to files of lab first, which is up where /run is another"
            in said
        )
    assert machine.difference(before, machine.state()) == ""
    _beside(up, "up other.yaml")
    done = bascule(up, "up", "other.yaml", check=False)
    assert done.returncode == 1
    assert "remove /var/lib/bascule/other.links" in done.stderr
    (NOTES / "other.links").unlink()  # as told, when that has ended
    bascule(up, "up", "other.yaml")
    bascule(up, "down", "other")
    assert _links() == {"a", "b"}
    bascule(up, "down", "first")


def _lose_power(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.listdir("/run/netns"):
        world.run("ip", "netns", "del", name)
    # the kernel takes the latter, with their namespaces, but not at once
    for link in ("lan", "veth-a", "veth-b"):
        world.run("ip", "link", "del", link, check=False)
    world.run("umount", "/run/netns")
    for place in ("/run/netns", "/run/bascule"):
        shutil.rmtree(place)
    world.run("mount", "-nt", "tmpfs", "none", "/run")
    monkeypatch.setattr(identity, "boot", lambda: "another")


def test_a_neighbour_in_the_same_network_forgets_nothing(up: World) -> None:
    """What is kept over a reboot is ours, as long as we are up."""
    made = f"mount -nt tmpfs none /run; {BASCULE} down first; {BASCULE} ls"
    up.run("unshare", "-m", "--propagation", "private", "sh", "-ec", made)
    assert sorted(path.name for path in NOTES.iterdir()) == ["first.json", "first.links"]
    bascule(up, "down", "first")
    assert not NOTES.exists()


def test_after_a_loss_of_power_they_are_nobodys(up: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants the name gets it, and `down` of any lab removes the rest, with what was
    noted."""
    _lose_power(up, monkeypatch)
    Path("other.yaml").write_text(OTHER.replace("c:", "a:"))
    bascule(up, "up", "other.yaml", "--world", "host")
    assert os.readlink("/etc/netns/a") == "/run/bascule/other/etc/olan"
    assert os.readlink("/etc/netns/b") == "/run/bascule/first/etc/lan"
    bascule(up, "down", "other")
    assert _links() == set()
    assert list(NOTES.glob("*.links")) == []
    up.run("umount", "/run")


def test_a_container_that_was_started_anew_finds_its_own(
    up: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has not: the same lab is built again; of another lab's links nobody knows, and
    they are left alone."""
    boot = identity.boot()
    _lose_power(up, monkeypatch)
    monkeypatch.setattr(identity, "boot", lambda: boot)
    (NOTES / "first.links").write_text(f"{boot} 4026531836:1 1:1")
    bascule(up, "up", "lab.yaml", "--world", "host")
    bascule(up, "down", "first")
    assert _links() == set()
    os.symlink("/run/bascule/third/etc/x", "/etc/netns/t")
    (NOTES).mkdir(exist_ok=True)
    (NOTES / "third.links").write_text(f"{boot} 4026531836:1 1:1")
    bascule(up, "up", "other.yaml", "--world", "host")
    bascule(up, "down", "other")
    assert _links() == {"t"}
    up.run("umount", "/run")


def test_a_note_that_anybody_could_have_written_says_nothing(up: World) -> None:
    """Nor one that is torn, nor a link; and where none can be written, the lab is up all the same,
    and says so."""
    note = NOTES / "first.links"
    right = note.read_text()
    for wrong in ("", "one", f"{right} more"):
        note.write_text(wrong)
        bascule(up, "up", "lab.yaml")
        assert note.read_text() == right
    note.unlink()
    note.mkdir()
    done = bascule(up, "up", "lab.yaml")
    assert "/etc/netns that a loss of power leaves will be in others' way" in done.stderr
    note.rmdir()
    NOTES.chmod(0o777)
    note.write_text(f"{identity.boot()} {' '.join(identity.place().split()[1:2])} 1:1")
    bascule(up, "plan", "lab.yaml")
    NOTES.chmod(0o711)
    assert bascule(up, "plan", "lab.yaml", check=False).returncode == 1
    note.unlink()
    bascule(up, "down", "first")
