"""Each cause that forbids a private world is told with its own remedy, and once."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from bascule.host import abilities, userns
from helpers import bascule
from live.test_containers import denied
from sandbox import BASCULE, World, require

SECCOMP = "a seccomp filter of this container or service forbids it"
RULES: dict[str, tuple[int, dict[str, str], str, str]] = {
    "Debian's setting": (
        errno.EPERM,
        {"sys/kernel/unprivileged_userns_clone": "0"},
        "0",
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    "Ubuntu's": (
        errno.EACCES,
        {"sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
        "0",
        (
            "AppArmor restricts user namespaces: sudo sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0"
        ),
    ),
    "settings that allow it": (
        errno.EPERM,
        {
            "sys/kernel/unprivileged_userns_clone": "1",
            "sys/kernel/apparmor_restrict_unprivileged_userns": "0",
        },
        "0",
        "user namespaces are forbidden here (by a chroot, a container, a security module): run as",
    ),
    # a setting is told before a filter, which may be there, too, and do nothing
    "a setting and a filter": (
        errno.EPERM,
        {"sys/kernel/unprivileged_userns_clone": "0"},
        "2",
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    "a filter": (errno.EPERM, {}, "2", SECCOMP),
    "a filter that says there is no such call": (errno.ENOSYS, {}, "2", SECCOMP),
    "a kernel without": (
        errno.EINVAL,
        {},
        "0",
        "this kernel has no user namespaces (CONFIG_USER_NS)",
    ),
    "none allowed": (
        errno.ENOSPC,
        {"sys/user/max_user_namespaces": "0", "sys/user/max_net_namespaces": "9000"},
        "0",
        "user.max_user_namespaces is 0: sudo sysctl user.max_user_namespaces=10000",
    ),
    "none allowed of another kind": (
        errno.ENOSPC,
        {"sys/user/max_user_namespaces": "9000", "sys/user/max_net_namespaces": "0"},
        "0",
        "user.max_net_namespaces is 0: sudo sysctl user.max_net_namespaces=10000",
    ),
    # of a filter that is there nothing is said where the limit is what counts
    "too many, and a filter": (
        errno.ENOSPC,
        {"sys/user/max_user_namespaces": "9000"},
        "2",
        "as many namespaces are there as this user may have",
    ),
    "a chroot": (
        errno.EPERM,
        {"self/mountinfo": "31 29 8:1 / /proc rw - proc proc rw\n"},
        "0",
        "this is a chroot, in which the kernel makes none",
    ),
    "a security module": (
        errno.EACCES,
        {"thread-self/attr/current": "docker-default (enforce)\n"},
        "0",
        "a security module may forbid it (this process is confined as docker-default (enforce))",
    ),
    "nobody knows": (0, {}, "0", "see the system's journal"),
}


@pytest.mark.parametrize("name", RULES)
def test_each_cause_has_its_own_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the machine says of itself."""
    number, files, seccomp, expected = RULES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(userns, "_PROC", str(tmp_path))
    monkeypatch.setattr(abilities, "status", lambda _key: seccomp)
    assert userns.what_to_do(number).startswith(expected)


def _told(world: World, *words: str) -> str:
    """The one line of `doctor` about private worlds, and what `up` says."""
    found = json.loads(world.run(*words, BASCULE, "doctor", "--json", check=False).stdout)
    rows = [row for row in found if row["what"] == "private world"]
    assert [row["verdict"] for row in rows] == ["no"]
    told = f"{rows[0]['found']}; {rows[0]['advice']}"
    assert not rows[0]["found"].endswith(rows[0]["advice"])
    Path("lab.yaml").write_text("nodes: {a: []}\n")
    up = world.run(*words, BASCULE, "up", "lab.yaml", "--world", "private", check=False)
    assert (up.returncode, up.stderr) == (1, f"bascule: {told}\n")
    return told


@pytest.mark.parametrize("kind", ["user", "net", "pid"])
def test_a_limit(world: World, kind: str) -> None:
    """Of the user namespace that one is in."""
    key = f"user.max_{kind}_namespaces"
    script = f'echo 0 > /proc/sys/{key.replace(".", "/")} && exec "$@"'
    words = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    told = _told(world, *words)
    assert told == f"unshare: No space left on device; {key} is 0: sudo sysctl {key}=10000"


def test_a_filter(world: World) -> None:
    """As containers and services have them."""
    told = _told(world, *denied("unshare"))
    assert told.startswith(f"unshare: Operation not permitted; {SECCOMP}")
    assert told.count("seccomp=unconfined") == 1


def test_a_chroot(world: World) -> None:
    """In which the kernel makes no user namespace for anybody."""
    require("chroot")
    root = Path("root").absolute()
    root.mkdir()
    for entry in Path("/").iterdir():
        place = root / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry))
        elif entry.is_dir():
            place.mkdir()
            world.run("mount", "--rbind", str(entry), str(place))
    told = _told(world, "chroot", str(root), "env", "-C", str(Path.cwd()))
    assert told.startswith(
        "unshare: Operation not permitted; this is a chroot, in which the kernel"
    )


def test_all_is_well_for_an_ordinary_user(world: World) -> None:
    """No line says that something is not permitted."""
    done = bascule(world, "doctor", check=False)
    assert "Operation not permitted" not in done.stdout
    words = (
        "setpriv",
        "--reuid",
        "1000",
        "--regid",
        "1000",
        "--clear-groups",
        sys.executable,
        "-c",
    )
    if world.run(*words, "import bascule", check=False).returncode:
        pytest.skip("an ordinary user can't reach this Python")
    done = world.run(*words[:-2], BASCULE, "doctor", check=False)
    assert "not permitted" not in done.stdout
