"""What the user has in /etc/netns/NODE (ip-netns(8)) is his: bascule's files stand beside his, and
nothing of his ever goes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machine
from bascule.api import Lab
from bascule.errors import Conflict
from bascule.host import etc_links, files
from bascule.host.paths import Paths
from bascule.kernel.op import WriteSymlink
from bascule.plan import render
from faults import Fault, attempt
from helpers import bascule
from sandbox import World

FULL = os.environ.get("CRASH") == "full"
LAB: dict[str, Any] = {
    "name": "his",
    "networks": {"lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"]}},
    "nodes": {"a": ["lan"], "b": ["lan"], "c": ["lan"]},
}
VIEW = "/run/bascule/his/etc/lan"
OURS = "10.1.0.2\ta a.lan\n"
A = Path("/etc/netns/a")


def _lab() -> Lab:
    return Lab.from_data(LAB, world="host")


def _folder(place: Path = A, **texts: str) -> None:
    place.mkdir(parents=True)
    for name, text in texts.items():
        (place / name.replace("_", ".")).write_text(text)


def _his(place: Path) -> dict[str, str]:
    """Every file that is no link of ours: kind, mode and text."""
    found = {}
    for path in (place, *place.rglob("*")):
        ours = path.is_symlink() and os.readlink(path).startswith("/run/bascule/")
        if not ours:
            text = (
                path.read_text()
                if path.is_file()
                else ",".join(sorted(os.listdir(path)))
                if path != place and path.is_dir()
                else ""
            )
            found[str(path)] = f"{os.lstat(path).st_mode:o} {os.lstat(path).st_ino} {text}"
    return found


def _seen(world: World, node: str, file: str) -> tuple[str, str]:
    """What a file of /etc is to `bascule exec`, and to `ip netns exec`."""
    ours = bascule(world, "exec", node, "--", "cat", f"/etc/{file}", check=False).stdout
    return ours, world.run("ip", "netns", "exec", node, "cat", f"/etc/{file}", check=False).stdout


def test_a_folder_that_was_there_before(world: World) -> None:
    """His resolv.conf counts, and any other file of his; the lab's hosts file stands beside them;
    `down` leaves all of it."""
    _folder(resolv_conf="nameserver 192.0.2.99\n", hostname="his\n")
    (A / "ssh").mkdir()
    (A / "ssh" / "config").write_text("x")
    before, his = machine.state(), _his(A)
    lab = _lab()
    assert [
        note
        for note in lab.plan().notes
        if "resolv.conf in /etc/netns/NODE of a is yours and counts" in note
    ]
    lab.up()
    assert _seen(world, "a", "resolv.conf") == ("nameserver 192.0.2.99\n",) * 2
    assert _seen(world, "a", "hostname") == ("his\n",) * 2
    assert all(OURS in text for text in _seen(world, "a", "hosts"))
    assert all("192.0.2.99" not in text and text for text in _seen(world, "b", "resolv.conf"))
    assert os.readlink("/etc/netns/b") == VIEW  # one link for a node without files of its own
    assert not lab.plan()
    assert _his(A) == his
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_his_hosts_file_counts(world: World) -> None:
    """The plan says so. Once it is gone, the lab's own comes in its place."""
    _folder(hosts="192.0.2.1\tmine\n")
    lab = _lab()
    lab.up()
    assert _seen(world, "a", "hosts") == ("192.0.2.1\tmine\n",) * 2
    assert (
        "hosts in /etc/netns/NODE of a is yours and counts: the lab's names are not in it"
        in render.text(lab.plan())
    )
    (A / "hosts").unlink()
    assert [change.fact.describe() for change in lab.plan().changes] == [
        f"link {A}/hosts to {VIEW}/hosts"
    ]
    lab.up()
    assert all(OURS in text for text in _seen(world, "a", "hosts"))
    lab.down()
    assert list(A.iterdir()) == []


def _instead_of_the_link() -> Path:
    A.unlink()
    _folder(resolv_conf="nameserver 192.0.2.99\n")
    return A


def _a_link_of_his() -> Path:
    A.unlink()
    _folder(Path("/run/elsewhere"), resolv_conf="nameserver 192.0.2.99\n")
    A.symlink_to("/run/elsewhere")
    return Path("/run/elsewhere")


def _moved_into_place() -> Path:
    _folder(Path("/etc/netns/new"), resolv_conf="nameserver 192.0.2.99\n")
    A.unlink()
    Path("/etc/netns/new").rename(A)
    return A


@pytest.mark.parametrize("put", [_instead_of_the_link, _a_link_of_his, _moved_into_place])
def test_a_folder_that_is_put_there_while_the_lab_is_up(
    world: World, put: Callable[[], Path]
) -> None:
    """In the place of the link; his link to a folder of his counts as that folder. Nothing of it
    goes, by no command."""
    lab = _lab()
    lab.up()
    place = put()
    his = _his(place)
    assert _seen(world, "a", "resolv.conf")[0] == "nameserver 192.0.2.99\n"
    assert [change.fact.describe() for change in lab.plan().changes] == [
        f"link {place}/hosts to {VIEW}/hosts"
    ]
    lab.up()
    assert not lab.plan()
    assert all(OURS in text for text in _seen(world, "a", "hosts"))
    assert _seen(world, "a", "resolv.conf") == ("nameserver 192.0.2.99\n",) * 2
    (place / "resolv.conf").unlink()  # from here on the lab's
    lab.up()
    assert os.readlink(place / "resolv.conf") == f"{VIEW}/resolv.conf"
    (place / "resolv.conf").unlink()
    (place / "resolv.conf").write_text("nameserver 192.0.2.98\n")  # his again
    assert not lab.plan()
    bascule(world, "node", "rm", "a", "--lab", "his")
    assert _his(place).keys() == his.keys()
    assert not (place / "hosts").is_symlink()
    bascule(world, "node", "add", "a", "--network", "lan", "--lab", "his")
    lab.down()
    assert [path.name for path in place.iterdir()] == ["resolv.conf"]
    assert (place / "resolv.conf").read_text() == "nameserver 192.0.2.98\n"


def test_files_put_through_the_link_stay(world: World) -> None:
    """They lie in the folder that the nodes of a view share: no command takes them, nor the way to
    them."""
    before = machine.state()
    lab = _lab()
    lab.up()
    (A / "motd").write_text("mine\n")
    (A / "sub").mkdir()
    (A / "sub" / "file").write_text("mine, too\n")
    (A / "resolv.conf").unlink()
    (A / "resolv.conf").symlink_to("/run/mine")
    his = _his(Path(VIEW))
    told = render.text(lab.plan())
    assert "nothing to do" in told
    assert f"! {VIEW}/motd, {VIEW}/resolv.conf, {VIEW}/sub: yours, and left alone" in told
    lab.up()
    bascule(world, "node", "add", "d", "--network", "lan", "--lab", "his")
    bascule(world, "node", "rm", "a", "--lab", "his")
    assert f"{VIEW}/motd" in bascule(world, "down", "his").stderr
    assert (A / "motd").read_text() == "mine\n"
    assert (A / "sub" / "file").read_text() == "mine, too\n"
    assert (
        _his(Path(VIEW)).items()
        >= {path: text for path, text in his.items() if "/motd" in path or "/sub/" in path}.items()
    )
    assert json.loads(bascule(world, "ls", "--json").stdout) == []
    lab.up()
    assert not lab.plan()
    shutil.rmtree(A / "sub")
    (A / "resolv.conf").unlink()
    (A / "motd").unlink()
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_a_folder_of_several_nodes(world: World) -> None:
    """Links of his may lead from several nodes to one folder: ours are in it once, and go with the
    last of them."""
    shared = Path("/etc/netns/shared")
    _folder(shared, hostname="his\n")
    for node in ("a", "b"):
        Path(f"/etc/netns/{node}").symlink_to("shared")
    before = machine.state()
    lab = _lab()
    lab.up()
    assert sorted(path.name for path in shared.iterdir()) == ["hostname", "hosts", "resolv.conf"]
    assert not lab.plan()
    bascule(world, "node", "rm", "a", "--lab", "his")
    assert all(
        OURS.replace("10.1.0.2\ta a", "10.1.0.3\tb b") in text
        for text in _seen(world, "b", "hosts")
    )
    lab.down()
    assert machine.difference(before, machine.state()) == ""


def test_links_are_found_where_his_link_led_before(world: World) -> None:
    """He has it lead elsewhere, or has taken it away: ours go from where they were put."""
    for name in ("one", "two"):
        _folder(Path(f"/run/{name}"), hostname=f"{name}\n")
    A.parent.mkdir()
    A.symlink_to("/run/one")
    lab = _lab()
    lab.up()
    A.unlink()
    A.symlink_to("/run/two")
    lab.up()
    assert os.listdir("/run/one") == ["hostname"]
    assert sorted(os.listdir("/run/two")) == ["hostname", "hosts", "resolv.conf"]
    A.unlink()
    lab.down()
    assert os.listdir("/run/two") == ["hostname"]


@pytest.mark.parametrize("kind", ["file", "link to nothing", "link to a file"])
def test_what_no_program_can_use_there_is_told(world: World, kind: str) -> None:
    """Neither a folder nor a link to one: refused before anything is touched, and left as it is."""
    A.parent.mkdir()
    if kind == "file":
        A.write_text("x")
    else:
        A.symlink_to("/run/nothing" if kind == "link to nothing" else "/etc/passwd")
    before = machine.state()
    with pytest.raises(
        Conflict, match="/etc/netns/a is there already and bascule did not make it; move it away"
    ):
        _lab().up()
    assert machine.difference(before, machine.state()) == ""


@pytest.mark.parametrize("verb", ["up", "change", "down"])
def test_killed_at_any_effect(world: World, verb: str) -> None:
    """Wherever a run is stopped: what is his is as it was, `up` finishes, and `down` leaves what
    was there before."""
    _folder(resolv_conf="nameserver 192.0.2.99\n", hostname="his\n")
    Path("/etc/netns/b").symlink_to("/run/one")
    _folder(Path("/run/one"), hosts="192.0.2.1\tmine\n")
    empty, his = machine.state(), (_his(A), _his(Path("/run/one")))
    smaller = {**LAB, "nodes": {"b": ["lan"], "d": ["lan"]}}
    actions: dict[str, Callable[[], object]] = {
        "up": lambda: _lab().up(),
        "change": lambda: Lab.from_data(smaller, world="host").up(),
        "down": lambda: Lab("his").down(),
    }
    if verb != "up":
        _lab().up()
    whole = attempt(actions[verb], Fault(1 << 30, "kill"))
    assert whole.how == "done", whole
    Lab("his").down()
    links = [at for at, name in enumerate(whole.names) if name in ("symlink", "unlink")]
    for at in range(whole.calls) if FULL else links[:: max(1, len(links) // 5)]:
        if verb != "up":
            _lab().up()
        attempt(actions[verb], Fault(at, "kill"))
        assert (_his(A), _his(Path("/run/one"))) == his, at
        if at % 2:
            _lab().up()
            assert not _lab().plan()
        Lab("his").down()
        assert (_his(A), _his(Path("/run/one"))) == his, at
        assert machine.difference(empty, machine.state()) == "", at


def test_a_link_that_was_replaced_meanwhile_is_left_alone(world: World) -> None:
    """Between the look and the change somebody puts a file of his own there."""
    A.parent.mkdir()
    A.symlink_to("/run/somewhere")
    files.carry_out(WriteSymlink(str(A), None, VIEW), Paths())
    assert os.readlink(A) == "/run/somewhere"
    A.unlink()
    A.write_text("mine")
    files.carry_out(WriteSymlink(str(A), None, VIEW), Paths())
    assert A.read_text() == "mine"
    with pytest.raises(FileExistsError):
        files.carry_out(WriteSymlink(str(A), VIEW), Paths())


def test_a_record_can_t_make_a_file_ours(world: World) -> None:
    """A record that names others' files as links that were placed: they are not even looked at."""
    lab = _lab()
    lab.up()
    path = Path("/run/bascule/his/lab.json")
    Path("/run/theirs").write_text("precious")
    Path("/run/link").symlink_to("/run/theirs")
    data = json.loads(path.read_text())
    path.write_text(
        json.dumps({**data, "placed": ["/run/theirs", "/run/link", "/etc/passwd", "relative", "/"]})
    )
    assert changes_of(lab) == []
    lab.down()
    assert Path("/run/link").read_text() == "precious"
    assert Path("/etc/passwd").exists()


def changes_of(lab: Lab) -> list[str]:
    """The plan, a line a change."""
    return [change.fact.describe() for change in lab.plan().changes]


def test_after_a_loss_of_power(world: World) -> None:
    """Links of ours that were left in his folder lead nowhere: any lab that goes takes them away,
    `up` takes them over."""
    etc_links.note("gone", "/run/bascule")
    _folder(hostname="his\n")
    A.joinpath("hosts").symlink_to("/run/bascule/gone/etc/lan/hosts")
    lab = _lab()
    lab.up()
    assert os.readlink(A / "hosts") == f"{VIEW}/hosts"
    lab.down()
    Path("/etc/netns/z").mkdir()
    etc_links.note("gone", "/run/bascule")
    Path("/etc/netns/z/resolv.conf").symlink_to("/run/bascule/gone/etc/lan/resolv.conf")
    Path("/etc/netns/z/hosts").symlink_to("/run/nothing")
    lab.up()
    lab.down()
    assert os.listdir("/etc/netns/z") == ["hosts"]
    assert os.listdir(A) == ["hostname"]
