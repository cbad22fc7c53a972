"""Where a world keeps the files that facts name. Imports nothing: `exec` needs it, and no kernel
noun."""

from __future__ import annotations

from dataclasses import dataclass

ETC = "/etc/netns"
RUN = "/run/etc-netns"  # where that can't be written to


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the world keeps what the facts name: a private world can't write to /etc and keeps its
    nodes' files in /run."""

    private: bool = False

    def of(self, path: str) -> str:
        """The path in this world."""
        return RUN + path.removeprefix(ETC) if self.private and path.startswith(ETC) else path

    def of_node(self, node: str) -> tuple[str, ...]:
        """Where a node's files of /etc are: what is in a later folder counts before what is in an
        earlier one."""
        return (f"{RUN}/{node}",) if self.private else (f"{RUN}/{node}", f"{ETC}/{node}")
