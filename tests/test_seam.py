"""Whatever changes something outside the process goes through bascule/syscalls.py: read in the
sources.

The crash tests stand in that gate. A change that goes round it would not be tested; so it is an
offence here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bascule

SOURCES = Path(bascule.__file__).parent

OF_OS = {
    *(
        "mkdir",
        "makedirs",
        "rmdir",
        "removedirs",
        "unlink",
        "remove",
        "rename",
        "renames",
        "replace",
        "symlink",
        "link",
        "mknod",
    ),
    *(
        "mkfifo",
        "truncate",
        "ftruncate",
        "pwrite",
        "writev",
        "chmod",
        "fchmod",
        "chown",
        "lchown",
        "fchown",
        "utime",
        "setxattr",
    ),
    *(
        "fork",
        "forkpty",
        "posix_spawn",
        "posix_spawnp",
        "system",
        "popen",
        "execv",
        "execve",
        "execl",
        "execvpe",
        "kill",
        "killpg",
    ),
    *("fsync", "fdatasync", "sync", "setns", "unshare", "sendfile", "copy_file_range"),
}
OF_MODULES = {
    "subprocess": {"run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"},
    "shutil": {"rmtree", "copy", "copy2", "copyfile", "copytree", "move", "chown"},
    "signal": {"pidfd_send_signal"},
}
OF_PATHS = {
    "write_text",
    "write_bytes",
    "touch",
    "symlink_to",
    "hardlink_to",
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
}
WRITING = {"O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC", "O_APPEND"}

# Where it is right, and why.
ALLOWED = {
    ("host/world.py", "kill"): "an interrupt is handed to our own worker",
    ("host/spawn.py", "kill"): "the process ends by the signal that ended its command",
    ("host/inner.py", "os.open"): "/dev/null",
    ("host/worker.py", "kill"): "an interrupt is handed to our own worker",
    ("host/worker.py", "killpg"): "the same",
}


def offences(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each call that changes something by itself."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            if (owner == "os" and name in OF_OS) or name in OF_MODULES.get(owner, ()):
                yield node.lineno, name
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "subprocess", "shutil"):
            yield node.lineno, f"from {node.module}"
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    words = {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}
    mode = next(
        (word.value for word in node.keywords if word.arg == "mode"),
        node.args[1] if len(node.args) > 1 else None,
    )
    match node.func:
        case ast.Name(id="open") if isinstance(mode, ast.Constant) and set(mode.value) & set(
            "wax+"
        ):
            yield node.lineno, f"open({mode.value})"
        case ast.Attribute(value=ast.Name(id="os"), attr="open") if words & WRITING:
            yield node.lineno, "os.open"
        case ast.Attribute(value=ast.Name(id="syscalls" | "os" | "folder")):
            return
        case ast.Attribute(attr=name) if name in OF_PATHS:
            yield node.lineno, name


@pytest.mark.parametrize(
    "source", sorted(SOURCES.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES))
)
def test_changes_go_through_the_gate(source: Path) -> None:
    """Each exception has its reason in the table."""
    place = str(source.relative_to(SOURCES))
    found = [
        f"{place}:{line}: {name}"
        for line, name in offences(source.read_text())
        if (place, name) not in ALLOWED
    ]
    assert place == "syscalls.py" or found == []


@pytest.mark.parametrize(
    "line",
    [
        "os.mkdir(p)",
        "open(p, 'w')",
        "open(p, mode='ab')",
        "Path(p).write_text('')",
        "subprocess.run([])",
        "os.open(p, os.O_RDWR)",
    ],
)
def test_an_offence_is_seen(line: str) -> None:
    assert list(offences(line))


def test_every_exception_is_still_needed() -> None:
    """An entry of the table that nothing uses any more is an open door."""
    used = {
        (str(path.relative_to(SOURCES)), name)
        for path in SOURCES.rglob("*.py")
        for _line, name in offences(path.read_text())
    }
    assert {entry for entry in ALLOWED if entry not in used} == set()
