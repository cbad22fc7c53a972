"""Which file a lab is of: two projects may well call theirs the same, and the second must not take
the first one's place unasked.

A file is known by its path as it was given, through whatever links, and by what it is now: a folder
that is exchanged behind a link holds the same lab, and so does the same file by another path. Files
side by side in one folder are versions of one lab. A file that is no longer there has been moved.
One that says the same as the lab that is up takes nothing away.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from bascule.errors import InputError
from bascule.names import printable, problem_with_lab_name, shown

_LARGEST_FILE = 16 << 20
_LONGEST_PATH = 4096  # PATH_MAX, linux/limits.h


def is_other(old: str, new: str) -> bool:
    """Whether a lab is of the file ``old``, and ``new`` is another one. Either may be empty: there
    is none, as of a lab that a program or single commands made."""
    return bool(old and new) and os.path.exists(old) and not _is_same(old, new)


def refusal(lab: str, old: str, new: str, advice: str) -> InputError:
    """What to say then."""
    return InputError(
        f"lab {lab} is that of {printable(old)}, and not of {printable(new)}; {advice}"
    )


def _is_same(old: str, new: str) -> bool:
    if old == new or os.path.dirname(old) == os.path.dirname(new):
        return True
    for one, other in ((old, new), (os.path.dirname(old), os.path.dirname(new))):
        with suppress(OSError):
            if os.path.samefile(one, other):
                return True
    return False


def read(place: Path) -> bytes:
    """The file's text. Raises :class:`InputError`."""
    try:
        with open(place, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{shown(str(place))} is no path; a path has no NUL") from error
    except OSError as error:
        advice = "; give the lab file's path" if isinstance(error, FileNotFoundError) else ""
        raise InputError(
            f"{printable(str(place)[:_LONGEST_PATH])}: {error.strerror}{advice}"
        ) from error
    return data


def path_of(place: Path) -> str:
    """The file's path, as it was given: what links lead to may change, and the lab with it. Empty
    for what is no file, a pipe."""
    whole = os.path.join(_here(), place)
    if whole.startswith(("/dev/", "/proc/")):  # standard input, a descriptor: the file behind it
        whole = os.path.realpath(whole)
    return whole if os.path.isfile(whole) and not whole.startswith(("/dev/", "/proc/")) else ""


def _here() -> str:
    """The current folder by the path that led there, as pwd(1) tells it."""
    given = os.environ.get("PWD", "")
    with suppress(OSError):
        return given if os.path.isabs(given) and os.path.samefile(given, ".") else os.getcwd()
    return "/"  # it has been removed: what is not there by a whole path is nowhere


def stem(place: Path) -> str:
    """The lab's name from the path as it was given: the file's stem, or the folder's name for the
    default file name."""
    folder = os.path.dirname(os.path.normpath(os.path.join(_here(), place)))
    found = os.path.basename(folder) if place.stem == "bascule" else place.stem
    return found if not problem_with_lab_name(found) else "lab"
