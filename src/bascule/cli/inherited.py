"""What a process inherits from its caller, and what of it we change for our own work, or Python has
changed before; and how the program that it becomes (`exec`, `shell`) gets it as it was.

One thing can't be found again: whether SIGPIPE and SIGXFSZ were ignored before Python began to
ignore them.
"""

from __future__ import annotations

import os
from contextlib import suppress

_WRONG_WAY = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY))
# PEP 538: what Python makes of LC_CTYPE in the C locale, in the environment, too
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")

_taken: list[int] = []
_deaf = False
_locale: bytes | None = None


def take_closed() -> None:
    """A closed descriptor 0, 1 or 2 would be given to the next file that is opened, and a line for
    the person be written into a lock or a socket. /dev/null takes its place, opened the wrong way
    round, so that reading and writing fail as before.

    Raises OSError where there is no /dev/null.
    """
    for number, mode in _WRONG_WAY:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest number that is free
            _taken.append(number)


def hear_of_children() -> None:
    """Where SIGCHLD is ignored, children vanish with their exit codes (wait(2))."""
    global _deaf
    import signal

    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _deaf = True


def note_locale() -> None:
    """Of two entries of one name the first counts; the kernel shows what the process was started
    with (proc_pid_environ(5)), but not to one that has made itself out of others' reach, as on the
    way into a private world."""
    global _locale
    if os.environ.get("LC_CTYPE") in _COERCED:
        entries: list[bytes] = []
        with suppress(OSError), open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
        _locale = next(
            (entry.partition(b"=")[2] for entry in entries if entry.startswith(b"LC_CTYPE=")), None
        )


def give_back() -> None:
    """Right before another program takes over this process."""
    import signal

    for number in _taken:
        os.set_inheritable(number, False)
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)
    if _deaf:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.environ.get("LC_CTYPE") in _COERCED:
        _give_back_locale()


def _give_back_locale() -> None:
    if _locale is None:
        del os.environ["LC_CTYPE"]
    else:
        os.environb[b"LC_CTYPE"] = _locale
