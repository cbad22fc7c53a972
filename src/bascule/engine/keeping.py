"""What outlives the run of a lab, and its loss: what `restore` needs after a reboot, and whose
links in /etc/netns are.

Neither is a reason to let a lab fail, or stand: what can't be done is told.
"""

from __future__ import annotations

from collections.abc import Iterable

from bascule.engine import worlds
from bascule.errors import StateError
from bascule.host import etc_links, files
from bascule.kernel.fact import Fact, only
from bascule.kernel.file import Symlink
from bascule.state import folder, kept
from bascule.state.record import Record


def note_links(name: str, kind: str, want: Iterable[Fact]) -> tuple[str, ...]:
    """Links outlive a loss of power: whose they are is noted before there are any."""
    if kind != "host" or not any(only(want, Symlink)):
        return ()
    try:
        etc_links.note(name, folder.root())
    except OSError as error:
        why = f"{error.filename or etc_links.path(name)}: {error.strerror}"
        return (f"{why}: links in /etc/netns that a loss of power leaves will be in others' way",)
    return ()


def keep(record: Record) -> tuple[str, ...]:
    """What `restore` needs after a reboot."""
    if record.world != "host" or record.topology is None or not worlds.keeps():
        return ()
    try:
        kept.keep(record.name, record.topology, record.source)
    except StateError as error:
        return (f"{error}: `bascule restore` will not bring {record.name} back after a reboot",)
    return ()


def forget(name: str) -> tuple[str, ...]:
    """The lab goes, and is not to come back."""
    if not worlds.keeps() or etc_links.made(name) == "beside":  # it is another's, who is up
        return ()
    try:
        kept.forget(name)
    except StateError as error:
        return (
            (
                f"{error}: `bascule restore` would bring {name} back after a reboot; `bascule "
                f"down {name}` again"
            ),
        )
    return ()


def tidy(name: str) -> tuple[str, ...]:
    """Remove what could not be removed when the lab went."""
    etc_links.remove_stale(name)
    files.remove_made_directories()
    return forget(name)
