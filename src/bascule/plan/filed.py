"""What a lab's files are beside their text: whether their reader knows it, who may read them, what
is the user's among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from posixpath import dirname

from bascule.kernel.file import Mode, Symlink, TextFile
from bascule.kernel.op import Fact
from bascule.kernel.process import Process
from bascule.plan.servers import servers_folder


def without_users(
    want: Sequence[Fact], own: Sequence[Fact], strays: Collection[str]
) -> tuple[list[Fact], list[Fact]]:
    """Less what the user has put among ours (``strays``): nothing of ours is written in its place,
    and a link by which he reaches it stays, as it does, also when it is no longer wanted."""
    wanted = [fact for fact in want if not (isinstance(fact, TextFile) and fact.path in strays)]
    held = {dirname(path) for path in strays}
    keys = {fact.key for fact in wanted} if held else set()
    return wanted, [
        fact
        for fact in own
        if not (isinstance(fact, Symlink) and fact.target in held and fact.key not in keys)
    ]


def untold(own: Sequence[Fact], want: Sequence[Fact]) -> list[Fact]:
    """After a run that was killed: it may have written what a server reads, and not have told
    it."""
    read = {fact.path for fact in want if isinstance(fact, TextFile) and fact.server}
    return [
        replace(fact, told=False) if isinstance(fact, TextFile) and fact.path in read else fact
        for fact in own
    ]


def with_modes(
    lab: str, want: Sequence[Fact], own: Sequence[Fact], modes: Mapping[str, tuple[int, int]]
) -> tuple[list[Fact], list[Fact]]:
    """Permissions that are wrong (path → what they are, what they have to be) are put right first.
    A server that can't read its files did not read them when it was started either: it is started
    anew."""
    have = [Mode(path, mode) for path, (mode, _right) in modes.items()]
    right = [Mode(path, mode) for path, (_mode, mode) in modes.items()]
    read = servers_folder(lab)
    deaf = any(path.startswith(read) or f"{read}/".startswith(f"{path}/") for path in modes)
    return [*right, *want], [
        *have,
        *(fact.hearing(read, not deaf) if isinstance(fact, Process) else fact for fact in own),
    ]
