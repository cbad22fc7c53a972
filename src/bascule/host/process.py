"""Find, start, tell and end the programs that serve a lab: any of :mod:`bascule.kernel.program`.

One is found by the mark that it carries (:mod:`bascule.host.lasting`). All happens in the network
namespace of the calling thread; what belongs to a private world and is started from outside of it
is given that world.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from bascule import syscalls
from bascule.errors import KernelError, Uncertain
from bascule.host import lasting, outside, programs, retold
from bascule.host.lasting import Found
from bascule.host.programs import Ended
from bascule.host.world import PrivateWorld
from bascule.kernel.op import Effect, EndProcess, RunProcess, TellProcess
from bascule.kernel.process import Process
from bascule.kernel.program import LABS, NOTE, PROGRAMS, Instance, Program

_OWN = "/proc/thread-self/ns/net"
_SECONDS = 20  # to start
DYING, PAUSE = 1.0, 0.02  # seconds that the sockets of one that was killed outlast it
_TRIES = 5
_AGAIN = "run the command again"


def path_of(program: Program) -> str | None:
    """Where its file is."""
    found = shutil.which(program.name, path=syscalls.SYSTEM_PATH)
    return found or (shutil.which(program.name) if program.anywhere else None)


def running(at: Instance) -> Process | None:
    """The process that is there, if any."""
    found = next(processes(at), None)
    if found is None:
        return None
    arguments, listens = retold.arguments(at, found)
    return Process(at, arguments, stopped=lasting.is_stopped(found), listens=listens)


def processes(at: Instance) -> Iterator[Found]:
    """Those that are there: normally one, whose number stands in its note where it writes one."""
    program = at.program
    for found in lasting.find(lasting.mark_in(at.mark), program.comms, _noted(at)):
        is_it = at.runs_with(program.arguments(found.words))
        if is_it and (program.outside or _is_here(found)):
            yield found


def _noted(at: Instance) -> int:
    if at.program.noted:
        with suppress(OSError, ValueError), open(at.note) as file:
            return int(file.read(20))
    return 0


def _is_here(found: Found) -> bool:
    try:
        return os.stat(f"/proc/{found.entry}/ns/net").st_ino == os.stat(_OWN).st_ino
    except OSError:
        return False  # it has just ended


def carry_out(effects: Iterable[Effect], world: PrivateWorld | None = None) -> None:
    """Start and end, in this order. ``world``: for which it is done, from outside of it. Raises
    :class:`KernelError`."""
    for effect in effects:
        if isinstance(effect, RunProcess):
            start(effect.at, effect.arguments, world)
        elif isinstance(effect, TellProcess):
            _change(effect.at, effect.arguments, world)
        elif isinstance(effect, EndProcess):
            _caller(world)(end, effect.at)


def _caller(world: PrivateWorld | None) -> Callable[..., Any]:
    return (lambda function, *given: function(*given)) if world is None else world.call


def _change(at: Instance, arguments: tuple[str, ...], world: PrivateWorld | None) -> None:
    """Tell it while it runs; where that fails, another one is started. Raises
    :class:`KernelError`."""
    call = _caller(world)
    if not call(_note_told, at, None) or not _tell(retold.command(at, arguments), world):
        start(at, arguments, world)
    else:
        call(_note_told, at, arguments)


def _note_told(at: Instance, arguments: tuple[str, ...] | None) -> bool:
    """Whether it is there, and can be told."""
    found = next(processes(at), None)
    if found is None or not retold.is_possible(at):
        return False
    retold.note(at, found, arguments)
    return True


def _tell(command: list[str], world: PrivateWorld | None) -> bool:
    with suppress(TimeoutError):
        return _once(command, {}, world).code == 0
    return False


def _once(argv: list[str], environment: dict[str, str], world: PrivateWorld | None) -> Ended:
    if world is None:
        return programs.run(argv, "", _SECONDS, environment)
    return outside.run(world, argv, _SECONDS, environment)


def start(at: Instance, arguments: tuple[str, ...], world: PrivateWorld | None = None) -> None:
    """End what is there, and return when this one answers. Raises :class:`KernelError` with what
    it says, which is mostly that its port is taken."""
    program, call = at.program, _caller(world)
    found = path_of(program)
    if found is None:
        raise KernelError(
            program.name,
            errno.ENOENT,
            f"{program.name} is not installed",
            advice=f"install the package {program.package}",
        )
    mark: str = call(_make_way, at)
    argv = [found, *arguments, *program.last]
    done = _run(program, argv, retold.options(at), lasting.environment(mark), world)
    command = " ".join((program.name, *arguments))
    if done.code != 0:
        call(_forget_mark, at.mark)
        said = _reason(program, done.stderr)
        advice = program.unreadable if os.strerror(errno.EACCES) in said else ""
        raise KernelError(command, errno.EINVAL, said, advice=advice)
    if program.unsure and call(running, at) is None:
        raise Uncertain(command, errno.ESRCH, "it ended at once", advice="see the system's journal")


def _make_way(at: Instance) -> str:
    end(at)
    return lasting.make_mark(at.mark)


def _run(
    program: Program,
    argv: list[str],
    control: tuple[str, ...],
    environment: dict[str, str],
    world: PrivateWorld | None,
) -> Ended:
    """A program that is just being killed has its sockets for a moment longer than anything that
    tells who it is: the port is tried again. So is an old version without what it does not know;
    and one that may not have a socket to be told by, without that."""
    deadline = time.monotonic() + DYING
    newer = program.newer
    while True:
        try:
            done = _once([*argv, *newer, *control], environment, world)
        except TimeoutError as error:
            raise Uncertain(
                program.name, errno.ETIMEDOUT, f"no answer in {_SECONDS} s", advice=_AGAIN
            ) from error
        if done.code == 0:
            return done
        if done.code < 0:  # be it when what it has put into the background serves
            raise Uncertain(
                program.name, errno.EINTR, f"was ended by signal {-done.code}", advice=_AGAIN
            )
        known = tuple(word for word in newer if word not in done.stderr)
        if known == newer:
            if os.strerror(errno.EADDRINUSE) in done.stderr:
                if time.monotonic() > deadline:
                    return done
                time.sleep(PAUSE)
            elif control:
                control = ()
            else:
                return done
        newer = known


def _reason(program: Program, said: str) -> str:
    """The last line of what it said."""
    lines = [
        line
        for line in said.splitlines()
        if line.strip() and not (program.aside and program.aside in line)
    ]
    return lines[-1].removeprefix(f"{program.name}: ") if lines else "failed"


def tell(at: Instance) -> None:
    """Have it read again what it reads only then (SIGHUP)."""
    for found in list(processes(at)):
        lasting.tell(found, lasting.mark_in(at.mark), signal.SIGHUP)


def end(at: Instance) -> None:
    """End it, and wait for that; and any other of its kind that a killed run has left. Raises
    :class:`KernelError` where one does not end."""
    for _attempt in range(_TRIES):
        found = list(processes(at))
        if not found:
            break
        for each in found:
            lasting.end(each, lasting.mark_in(at.mark))
    else:
        raise KernelError(
            f"kill {found[0].pid}",
            errno.EEXIST,
            f"another {at.program.name} came in its place",
            advice=_AGAIN,
        )
    if at.program.noted:
        with suppress(FileNotFoundError):
            syscalls.unlink(at.note)
    retold.forget(at)
    _forget_mark(at.mark)


def _forget_mark(path: str) -> None:
    """Where nobody carries it any more."""
    if os.path.lexists(path):
        comms = [comm for program in PROGRAMS for comm in program.comms]
        if next(lasting.find(lasting.mark_in(path), comms), None) is None:
            syscalls.unlink(path)


def noted_in(folder: str, program: Program) -> Iterator[Instance]:
    """Those of its instances that may be the ones whose numbers are noted in this folder."""
    return (Instance(program, note.removesuffix(NOTE)) for note in _notes(folder))


def _notes(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    return [os.path.join(folder, name) for name in names if name.endswith(NOTE)]


def forget_ended(folder: str) -> None:
    """Remove the notes of processes that have ended: who ends one may be killed before that."""
    serving = {
        at.note
        for program in PROGRAMS
        for at in noted_in(folder, program)
        if next(processes(at), None) is not None
    }
    for note in _notes(folder):
        if note not in serving:
            syscalls.unlink(note)
    for mark in {program.mark for program in PROGRAMS}:
        _forget_mark(os.path.join(folder, mark))


def unmarked() -> Iterator[tuple[Program, Found]]:
    """Programs that serve labs here, and whose mark stands in no file any more: what they served
    has lost its folder."""
    for program in (each for each in PROGRAMS if not each.outside):
        for found, mark in lasting.marked(program.comms):
            if _is_of_labs(program, found) and mark not in _marks(program):
                yield program, found


def _is_of_labs(program: Program, found: Found) -> bool:
    """In this network namespace, with this /run, and with a configuration of a lab's."""
    try:
        there = os.stat(f"/proc/{found.entry}/root{LABS}/..")
        same = os.path.samestat(there, os.stat(f"{LABS}/.."))
    except OSError:
        return False
    return (
        same
        and _is_here(found)
        and any(
            program.configuration((word,)).startswith(f"{LABS}/")
            for word in program.arguments(found.words)
        )
    )


def _marks(program: Program) -> set[str]:
    """All that stand in labs' folders."""
    folders = [entry.path for entry in os.scandir(LABS)] if os.path.isdir(LABS) else []
    return {
        lasting.mark_in(f"{path}/{name}/{program.mark}")
        for path in folders
        if os.path.isdir(path)
        for name in os.listdir(path)
    }


def end_unmarked(pid: int) -> None:
    """End the one of :func:`unmarked` that has this number. Raises :class:`KernelError` where it
    does not end."""
    for program, found in unmarked():
        for again, mark in lasting.marked(program.comms):
            if again == found and found.pid == pid:
                lasting.end(found, mark)
