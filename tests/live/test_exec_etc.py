"""A command in a node sees the node's files of /etc, and the machine's /etc is never written to for
that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from bascule.host import bind
from helpers import bascule
from sandbox import BASCULE, World

LAB: dict[str, Any] = {
    "name": "etc",
    "networks": {"lan": {"subnet": "10.1.0.0/24"}},
    "nodes": {"a": ["lan"], "b": ["lan"]},
}
RESOLV, HOSTS = Path("/etc/resolv.conf"), Path("/etc/hosts")
NO_SERVER = "# No name server here"


def _missing() -> None:
    RESOLV.unlink(missing_ok=True)


def _dangling() -> None:
    """systemd-resolved's, where /run is another one."""
    RESOLV.unlink(missing_ok=True)
    RESOLV.symlink_to("../run/systemd/resolve/stub-resolv.conf")


def _loop() -> None:
    RESOLV.unlink(missing_ok=True)
    RESOLV.symlink_to("resolv.conf")


def _both_missing() -> None:
    _missing()
    HOSTS.unlink()


def _listing() -> dict[str, tuple[int, int, str]]:
    """All of /etc, without following anything."""
    found = {}
    for place, folders, names in os.walk("/etc"):
        for path in (f"{place}/{name}" for name in (*folders, *names)):
            status = os.lstat(path)
            found[path] = (
                status.st_mode,
                status.st_size,
                os.readlink(path) if os.path.islink(path) else "",
            )
    return {path: what for path, what in found.items() if not path.startswith("/etc/netns")}


@pytest.mark.parametrize("kind", ["host", "private"])
@pytest.mark.parametrize("damage", [_missing, _dangling, _loop, _both_missing])
def test_an_etc_with_nothing_to_mount_on(
    world: World, damage: Callable[[], None], kind: str
) -> None:
    """The node has its own resolv.conf all the same; nothing is made on the machine, neither in
    /etc nor where a link leads."""
    if kind == "private" and "missing" in damage.__name__ and world.etc_has_mounts:
        pytest.skip("nothing is laid over what has mounts that are locked (clone_private_mount)")
    damage()
    before = _listing()
    lab = Lab.from_data(LAB, world=kind)
    lab.up()
    assert not lab.plan()
    for file, expected in (("resolv.conf", NO_SERVER), ("hosts", "10.1.0.3\tb b.lan")):
        assert expected in lab.node("a").run(["cat", f"/etc/{file}"], capture_output=True).stdout
    assert lab.node("a").run(["test", "-e", "/etc/passwd"]).returncode == 0
    assert (
        bascule(
            world,
            "exec",
            "a",
            "--",
            "sh",
            "-c",
            "test -s /etc/resolv.conf && ls -A /sys >/dev/null",
        ).returncode
        == 0
    )
    assert _listing() == before
    assert not os.path.exists("/run/systemd")
    lab.down()
    assert _listing() == before


def test_an_ordinary_user_with_a_link_to_nothing(world: World) -> None:
    """In a private world /run is the world's own: there systemd-resolved's link always leads to
    nothing."""
    _dangling()
    Path(world.home, "lab.yaml").write_text(
        "name: etc\nnetworks: {lan: {subnet: 10.1.0.0/24}}\nnodes: {a: [lan]}\n"
    )
    os.chmod(f"{world.home}/lab.yaml", 0o644)
    before = _listing()
    script = '"$0" up lab.yaml && "$0" exec a cat /etc/resolv.conf && "$0" down etc'
    assert NO_SERVER in world.as_ordinary_user("sh", "-c", script, BASCULE).stdout
    assert _listing() == before


def test_files_of_the_user_s_that_the_machine_has_not(world: World) -> None:
    """They are seen in the node alone; what fits on nothing is left out, as with `ip netns
    exec`."""
    place = Path("/etc/netns/a")
    (place / "folder").mkdir(parents=True)
    (place / "folder" / "file").write_text("deep\n")
    (place / "single").write_text("mine\n")
    (place / "nowhere").symlink_to("/run/nothing")
    (place / "passwd").mkdir()
    (place / "shells").write_text("/bin/mine\n")
    before = _listing()
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    script = (
        "cat /etc/single /etc/folder/file /etc/shells && test -f /etc/passwd && test ! -e "
        "/etc/nowhere"
    )
    assert (
        bascule(world, "exec", "a", "--", "sh", "-ec", script).stdout == "mine\ndeep\n/bin/mine\n"
    )
    assert (
        bascule(world, "exec", "b", "--", "sh", "-c", "cat /etc/single", check=False).returncode
        != 0
    )
    assert _listing() == before
    lab.down()


def test_where_the_kernel_has_no_overlay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be shown is left out; the command runs, and nothing is written to the machine's
    /etc."""
    _missing()
    before = _listing()
    lab = Lab.from_data(LAB, world="host")
    lab.up()

    def refused(*_: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(bind, "_make_places", refused)
    done = lab.node("a").run(
        ["sh", "-c", "test ! -e /etc/resolv.conf && cat /etc/hosts"], capture_output=True
    )
    assert "10.1.0.3\tb b.lan" in done.stdout
    assert _listing() == before
    lab.down()
