"""Feed bascule what it must not fall over, and count.

    python -m fuzz.run                       all targets, as many cases as each is worth
    python -m fuzz.run --only file --seed 7 --cases 1000
    python -m fuzz.run --only file --seed 7 --case 812      make that case again, print and run it
    python -m fuzz.run --only file --replay SOME/CASE       run a file of the corpus, or a crasher

Every case follows from seed, target and number alone. Each target runs in a process of its own,
whose memory is bounded. A crasher (an exception that is no BasculeError, a hang, too much memory, a
broken promise) is written to fuzz/found/; made small by hand and mended, it belongs into
fuzz/crashers/, which the tests replay for ever.
"""

from __future__ import annotations

import argparse
import codecs
import importlib
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzz.target import GUARD, HERE, Broken, Hang, Target, Touched, corpus, time_bound

NAMES = ("decoder", "file", "state", "arguments", "names")
MEMORY = 1 << 30  # address space of the process that runs a target
STUCK = 60.0  # seconds without a new case, after which the process is killed
KINDS_KEPT = 50  # of crashers

_CODECS = (
    "utf-8-sig",
    "unicode_escape",
    "idna",
    "utf-16-be",
    "utf-16-le",
    "utf-32-be",
    "utf-32-le",
)
_PROGRESS = struct.Struct("=QQQ")  # cases done, crashers, kinds of crashers


class Result(NamedTuple):
    """What came of one target."""

    cases: int
    seconds: float
    mebibytes: float
    crashers: int
    kinds: int


def load(name: str) -> Target:
    """The target of this name."""
    found: Target = importlib.import_module(f"fuzz.{name}").TARGET
    return found


def case_of(target: Target, seed: int, number: int) -> bytes:
    """The same bytes on every machine."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))


def failure_of(target: Target, case: bytes) -> BaseException | None:
    """Run one case; what it must not have done, or None."""
    try:
        with time_bound():
            target.run(case)
    except (Exception, Hang, Touched) as error:
        return error
    return None


def main() -> int:
    """Run the targets that are asked for; exit code 1 where a crasher was found."""
    given = _arguments()
    names = [given.only] if given.only else NAMES
    if given.case is not None or given.replay:
        return _one(load(given.only), given)
    print(f"seed {given.seed}", flush=True)
    print(
        (
            f"{'target':<10} {'cases':>10} {'seconds':>8} {'cases/s':>8} {'peak MiB':>9} "
            f"{'crashers':>9} {'kinds':>6}"
        ),
        flush=True,
    )
    bad = 0
    for name in names:
        found = _supervise(name, given.seed, given.cases)
        speed = found.cases / found.seconds if found.seconds else 0.0
        row = (
            f"{name:<10} {found.cases:>10,} {found.seconds:>8.1f} {speed:>8,.0f} "
            f"{found.mebibytes:>9.0f}"
        )
        print(f"{row} {found.crashers:>9,} {found.kinds:>6}", flush=True)
        bad += found.crashers
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", choices=NAMES, metavar="TARGET", help=", ".join(NAMES))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--cases", type=int, help="instead of each target's own number")
    options.add_argument("--case", type=int, help="only this one, with --only")
    options.add_argument("--replay", type=Path, help="only the case in this file, with --only")
    given = options.parse_args()
    if (given.case is not None or given.replay) and not given.only:
        options.error("--case and --replay need --only")
    return given


def _one(target: Target, given: argparse.Namespace) -> int:
    case = given.replay.read_bytes() if given.replay else case_of(target, given.seed, given.case)
    sys.stdout.buffer.write(case + b"\n")
    sys.stdout.flush()
    error = failure_of(target, case)
    if error is None:
        print("nothing wrong")
        return 0
    traceback.print_exception(error)
    return 1


def _supervise(name: str, seed: int, cases: int | None) -> Result:
    """Run a target in a child: its memory is bounded and measured, and a dead or stuck one is a
    crasher too."""
    shared = mmap.mmap(-1, _PROGRESS.size)
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            _work(load(name), seed, cases, shared)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status, usage = _wait(child, shared)
    done, bad, kinds = _PROGRESS.unpack(shared[:])
    if status != 0:
        ending = "got stuck" if status == signal.SIGKILL else f"ended with status {status}"
        print(f"{name}: the process {ending} in case {done} of seed {seed}", file=sys.stderr)
        bad, kinds = bad + 1, kinds + 1
    return Result(done, time.monotonic() - begin, usage.ru_maxrss / 1024, bad, kinds)


def _wait(child: int, shared: mmap.mmap) -> tuple[int, resource.struct_rusage]:
    last, since = b"", time.monotonic()
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        if shared[:] != last:
            last, since = shared[:], time.monotonic()
        elif time.monotonic() - since > STUCK:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _work(target: Target, seed: int, cases: int | None, shared: mmap.mmap) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for codec in _CODECS:  # what is imported late is imported now
        codecs.lookup(codec)
    for case in corpus(target.name):
        target.run(case)
    sys.addaudithook(GUARD.hook)
    kinds: dict[str, bytes] = {}
    bad = 0
    for number in range(target.cases if cases is None else cases):
        shared[:] = _PROGRESS.pack(number, bad, len(kinds))
        case = case_of(target, seed, number)
        error = failure_of(target, case)
        if error is None:
            continue
        bad += 1
        kind = _kind(error)
        if len(kinds) < KINDS_KEPT and len(case) < len(kinds.get(kind, case + b"x")):
            if kind not in kinds:
                print(
                    f"{target.name}: case {number}: {kind}: {str(error)[:300]!r}",
                    file=sys.stderr,
                    flush=True,
                )
            kinds[kind] = case
            _keep(target.name, kind, case)
    shared[:] = _PROGRESS.pack(target.cases if cases is None else cases, bad, len(kinds))


def _kind(error: BaseException) -> str:
    """Crashers with the same exception at the same place are one kind."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/bascule/" in frame.filename]
    place = frames[-2] if isinstance(error, Broken) else ours[-1] if ours else frames[-1]
    return f"{type(error).__name__}-{Path(place.filename).stem}-{place.name}-{place.lineno}"


def _keep(name: str, kind: str, case: bytes) -> None:
    """The smallest case of each kind."""
    folder = HERE / "found" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kind).write_bytes(case)


if __name__ == "__main__":
    sys.exit(main())
