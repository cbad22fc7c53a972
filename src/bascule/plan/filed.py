"""Who may read a lab's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bascule.kernel.fact import Fact
from bascule.kernel.file import Mode
from bascule.plan.servers import servers_folder


def with_modes(
    want: Sequence[Fact], own: Sequence[Fact], modes: Mapping[str, tuple[int, int]]
) -> tuple[list[Fact], list[Fact]]:
    """Permissions that are wrong (path → what they are, what they have to be) are put right
    first."""
    have = [Mode(path, mode) for path, (mode, _right) in modes.items()]
    right = [Mode(path, mode) for path, (_mode, mode) in modes.items()]
    return [*right, *want], [*have, *own]


def unread(lab: str, modes: Iterable[str]) -> str:
    """The folder of files that servers can't read, if so: then they did not read them when they
    were started either, and are started anew."""
    read = servers_folder(lab)
    deaf = any(path.startswith(read) or f"{read}/".startswith(f"{path}/") for path in modes)
    return read if deaf else ""
