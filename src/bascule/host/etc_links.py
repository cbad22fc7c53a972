"""Links in /etc/netns, and whose they are.

A node's link leads to files of its lab in /run. When the power goes, they go and the link stays,
and is in the way; but where it leads to nothing it may also be that /run is another here: /etc can
be shared with containers and mount namespaces. So a note, a file a lab beside what is kept over a
reboot, says where the lab's links were made (:func:`bascule.identity.place`), and in which state
directory its record stands.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Literal

from bascule import identity, syscalls
from bascule.kernel.file import NODE_FILES

LINKS, STATE = "/etc/netns", "/run/bascule/"
_NOTES, _SUFFIX = "/var/lib/bascule", ".links"
_MOST_BYTES = 8000  # a path has at most 4,095

# Where a lab's links were made: here; in a boot that is over; in another /run beside this one; in a
# container (be it this one, before it was started anew), or nobody knows.
Made = Literal["here", "before", "beside", "unknown"]


def made(lab: str) -> Made:
    """Where the links of a lab of this name were made."""
    noted, here = _noted(lab)[0].split(), identity.place().split()
    if len(noted) != len(here):
        return "unknown"
    if noted[0] != here[0]:
        return "before"
    return "unknown" if noted[1] != here[1] else "beside" if noted[2] != here[2] else "here"


def lab_of(target: str) -> str:
    """The lab whose files a link leads to; empty for a link that is none of ours."""
    return target.removeprefix(STATE).partition("/")[0] if target.startswith(STATE) else ""


def is_stale(link: str) -> bool:
    """Whether this link leads to files of a lab that went with the power: certainly so, or else it
    is somebody's."""
    try:
        lab = lab_of(os.readlink(link))
        return bool(lab) and not os.path.exists(link) and made(lab) in ("here", "before")
    except OSError:
        return False  # no link, or gone meanwhile


def note(lab: str, state: str) -> None:
    """Note that links of this lab are made here, before they are, and where its record stands (the
    ``state`` directory); nothing is written where that is noted. Raises OSError."""
    told = identity.place(), state
    if _noted(lab) == told:
        return
    with suppress(FileExistsError):
        syscalls.mkdir(_NOTES, 0o711)
    syscalls.replace(path(lab), "\n".join(told).encode("utf-8", "surrogateescape"))


def remove_stale(own: str) -> None:
    """Remove the links of labs that went with the power, and the notes of labs that have no link
    here any more: of the ``own`` lab, which has just removed them, and of those that nobody works
    on. One that is just coming up notes its links before it makes them. Raises OSError."""
    for link in filter(is_stale, _links()):
        try:
            syscalls.unlink(link)
        except OSError as error:  # in an /etc that has become read-only they wait for a later lab
            if error.errno not in (errno.ENOENT, errno.EROFS):
                raise
    for lab in _labs() - set(labs()):
        goes = made(lab) == "before" or (
            made(lab) == "here" and (lab == own or not os.path.lexists(STATE + lab))
        )
        notes = [path(lab)] if goes else []
        for each in (*notes, path(lab) + syscalls.UNFINISHED):
            # a note too many says nothing wrong, and the next `down` of any lab tries again
            with suppress(OSError):
                if os.path.lexists(each):
                    syscalls.unlink(each)
    with suppress(OSError):
        syscalls.rmdir(_NOTES)


def labs() -> list[str]:
    """The labs to whose files links of nodes lead."""
    found = set()
    for link in _links():
        with suppress(OSError):
            found.add(lab_of(os.readlink(link)))
    return sorted(found - {""})


def nodes_of(lab: str) -> list[str]:
    """The nodes whose links lead to files of this lab."""
    found: dict[str, None] = {}
    for link in _links():
        with suppress(OSError):
            if lab_of(os.readlink(link)) == lab:
                found[link.removeprefix(f"{LINKS}/").partition("/")[0]] = None
    return list(found)


def _links() -> list[str]:
    """Where nodes' links are: in /etc/netns, and there in folders of the user's."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [
            f"{LINKS}/{name}{each}"
            for name in os.listdir(LINKS)
            for each in ("", *(f"/{file}" for file in NODE_FILES))
        ]
    return []


def _labs() -> set[str]:
    with suppress(OSError):
        names = [name.removesuffix(syscalls.UNFINISHED) for name in os.listdir(_NOTES)]
        return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}
    return set()


def path(lab: str) -> str:
    """The file with the note."""
    return f"{_NOTES}/{lab}{_SUFFIX}"


def state_of(lab: str) -> str:
    """The state directory of the lab of this name whose links were made; empty where that is not
    known."""
    return _noted(lab)[1]


def _noted(lab: str) -> tuple[str, str]:
    """What the note says; nothing where it may be anybody's."""
    with suppress(OSError):
        folder = os.stat(_NOTES)
        if folder.st_uid == os.geteuid() and not folder.st_mode & 0o022:
            descriptor = os.open(
                path(lab), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
            with open(descriptor, "rb") as file:
                read = file.read(_MOST_BYTES).decode("utf-8", "surrogateescape")
                place, _, state = read.partition("\n")
                return place, state
    return "", ""
