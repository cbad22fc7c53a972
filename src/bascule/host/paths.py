"""Where a world keeps the files that facts name. Imports nothing: `exec` needs it, and no kernel noun."""

from __future__ import annotations

from dataclasses import dataclass

_ETC = "/etc/netns"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the world keeps what the facts name: a private world can't write to /etc and keeps its nodes' files in /run."""

    private: bool = False

    def of(self, path: str) -> str:
        """The path in this world."""
        if self.private and path.startswith(_ETC):
            return "/run/etc-netns" + path.removeprefix(_ETC)
        return path
