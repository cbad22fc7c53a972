"""User and group ids of private worlds: one, or what /etc/subuid and /etc/subgid grant
(host/ids.py)."""

from __future__ import annotations

import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest

from bascule.host import ids
from helpers import SEED
from sandbox import BASCULE, NOBODY, World, require, started_by_root

SCRIPT = """
"$0" doctor --json > doctor.json
"$0" up lab.yaml || exit
"$0" exec ns1 -- sh -c '
    other="setpriv --reuid=33 --regid=33 --clear-groups"
    cat /proc/self/uid_map
    $other id -u && echo became || echo stayed
    folder=$(mktemp -d -p /tmp); chmod 777 $folder; touch mine; $other touch $folder/theirs
    stat -c %u mine $folder/theirs; rm -r $folder'
"$0" down docker-bridge
"""


def _become_another(world: World, *prefix: str) -> tuple[list[str], dict[str, Any]]:
    """As an ordinary user, with the tutorial's lab: what a command says that becomes user 33, and
    the finding of `doctor`."""
    place = Path(world.home, "lab.yaml")
    place.write_text(SEED.read_text())
    place.chmod(0o644)
    done = world.as_ordinary_user(*prefix, "sh", "-c", SCRIPT, BASCULE)
    findings = {row["what"]: row for row in json.loads(Path(world.home, "doctor.json").read_text())}
    return done.stdout.splitlines(), findings["user ids"]


def _grant(rows: str) -> None:
    if not started_by_root():
        pytest.skip("needs a user who is no other user in each call, and an /etc to be written to")
    for kind in ("subuid", "subgid"):
        Path(f"/etc/{kind}").write_text(rows)


@pytest.mark.parametrize("owner", ["name", "number"])
def test_a_range_is_mapped(world: World, owner: str) -> None:
    """Programs become other users, as tcpdump, nginx and sshd do; their files belong to the granted
    ids outside."""
    require("newuidmap", "newgidmap")
    user = pwd.getpwuid(NOBODY).pw_name if owner == "name" else str(NOBODY)
    _grant(f"# granted\nsomebody:1:1\n{user}:100000:65536\n")
    said, finding = _become_another(world)
    assert [line.split() for line in said[:2]] == [["0", "0", "1"], ["1", "1", "65536"]]
    assert said[2:] == ["33", "became", "0", "33"]
    assert os.stat(Path(world.home, "mine")).st_uid == NOBODY
    assert (finding["verdict"], finding["found"].split()[0]) == ("ok", "65537")


def test_one_id_where_none_are_granted(world: World) -> None:
    """Then no program becomes another user, and `doctor` says so, with what to do."""
    _grant("")
    said, finding = _become_another(world)
    assert said[0].split() == ["0", "0", "1"]
    assert said[1:] == ["stayed", "0"]
    assert finding["verdict"] == "note"
    assert (
        f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
        f"{pwd.getpwuid(NOBODY).pw_name}"
    ) in finding["advice"]


def test_where_the_helpers_may_not(world: World) -> None:
    """Below no_new_privs, as in many sandboxes, or on a nosuid mount, they are no better than
    anybody: one id, no failure."""
    require("newuidmap", "newgidmap")
    _grant(f"{NOBODY}:100000:65536\n")
    said, finding = _become_another(world, "setpriv", "--no-new-privs")
    assert said[0].split() == ["0", "0", "1"]
    assert "setuid" in finding["advice"]


def test_root_keeps_all_ids_that_it_has(world: World) -> None:
    """Those of the machine, or of the container that it is root in."""
    rows = ids.own()
    assert rows == ids.own("uid_map")
    assert ids.highest("uid_map") == max(row.inside + row.size for row in rows) - 1
    if started_by_root():
        assert rows[0].inside == 0
        assert rows[0].size > 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me:100:10\n7:300:5\n", [(1, 100, 10), (11, 300, 5)]),
        ("me:100:0\nme:x:10\nme:100\nme\n\n#me:1:1\n", []),
        ("them:1:2\n", []),
        ("me:100:10\n7:100:10\n", [(1, 100, 10)]),
        (
            "me:100:10\nme:95:20\nme:105:30\n",
            [(1, 100, 10), (11, 95, 5), (16, 110, 5), (21, 115, 20)],
        ),
        ("me:0:10\n", [(1, 0, 7), (8, 8, 2)]),
        ("me:4294967290:10\nme:4294967296:1\n", [(1, 4294967290, 5)]),
    ],
)
def test_what_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[tuple[int, int, int]]
) -> None:
    """Rows of the user's name and number count, in their order (subuid(5)); lines that are none are
    passed over. No id counts twice, the user's own least of all."""
    monkeypatch.setattr(ids, "_name_of", lambda _user: "me")
    monkeypatch.setattr("shutil.which", lambda _name, path=None: "/usr/bin/newuidmap")
    (tmp_path / "subuid").write_text(text)
    monkeypatch.setattr(ids, "_HELPERS", {"uid_map": ("newuidmap", str(tmp_path / "subuid"))})
    assert [tuple(row) for row in ids.granted("uid_map", 7)] == expected


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        (f"{NOBODY}:100000:65536\nNAME:100000:65536\n", 65537),
        (f"{NOBODY}:{NOBODY - 10}:20\n{NOBODY}:{NOBODY + 5}:1000\n", 1000),
        ("".join(f"{NOBODY}:{1000000000 + number * 20}:10\n" for number in range(400)), 1000),
    ],
    ids=["twice", "overlapping", "many"],
)
def test_what_the_kernel_takes(world: World, rows: str, least: int) -> None:
    """Rows that say the same, overlap each other or the user's own id, or are too many for one map:
    what can be had is mapped."""
    require("newuidmap", "newgidmap")
    _grant(rows.replace("NAME", pwd.getpwuid(NOBODY).pw_name))
    said, finding = _become_another(world)
    assert said[-4:] == ["33", "became", "0", "33"]
    assert finding["verdict"] == "ok"
    assert int(finding["found"].split()[0]) >= least


def test_the_helpers_here_are_what_the_tests_need() -> None:
    """Else the tests above would have tried something else."""
    require("newuidmap")
    found = next(
        Path(folder, "newuidmap")
        for folder in ("/usr/bin", "/bin")
        if Path(folder, "newuidmap").exists()
    )
    assert found.stat().st_mode & stat.S_ISUID or os.listxattr(found)
