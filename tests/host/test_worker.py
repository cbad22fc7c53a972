"""Commands whose output is captured."""

from __future__ import annotations

import signal
import subprocess
import sys

# A process of its own: of several threads another one might take the signal.
INTERRUPTED = """
import os, signal, time
from bascule.host.worker import captured
from bascule.syscalls import gated

def interrupt(call, _subject):
    if call == "fork":
        os.kill(os.getpid(), signal.SIGINT)

with gated(interrupt):
    print(captured(lambda: time.sleep(10), os.open(os.devnull, os.O_RDONLY), 10).code)
"""


def test_an_interrupt_just_before_the_fork_reaches_the_command() -> None:
    """It waits for whoever is to be the command's parent, which then ignores it."""
    words = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(-signal.SIGINT)], done.stderr
