"""Which file a lab is of: two projects may well call theirs the same, and the second must not take the first one's place unasked.

A file is known by its path as it was given, through whatever links, and by what it is now: a folder that is exchanged behind a
link holds the same lab, and so does the same file by another path. Files side by side in one folder are versions of one lab. A
file that is no longer there has been moved. One that says the same as the lab that is up takes nothing away.
"""

from __future__ import annotations

import os
from contextlib import suppress

from bascule.errors import InputError
from bascule.names import printable


def is_other(old: str, new: str) -> bool:
    """Whether a lab is of the file ``old``, and ``new`` is another one. Either may be empty: there is none, as of a lab that a
    program or single commands made."""
    return bool(old and new) and os.path.exists(old) and not _is_same(old, new)


def refusal(lab: str, old: str, new: str, advice: str) -> InputError:
    """What to say then."""
    return InputError(f"lab {lab} is that of {printable(old)}, and not of {printable(new)}; {advice}")


def _is_same(old: str, new: str) -> bool:
    if old == new or os.path.dirname(old) == os.path.dirname(new):
        return True
    for one, other in ((old, new), (os.path.dirname(old), os.path.dirname(new))):
        with suppress(OSError):
            if os.path.samefile(one, other):
                return True
    return False
