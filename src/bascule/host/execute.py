"""Carry out the operations of a plan: the only place where effects happen.

Consecutive messages for one namespace go out in one send. What the kernel acknowledged is
remembered; when an operation fails, the acknowledged ones are undone, last first, and the error
says so.
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bascule.errors import (
    BasculeError,
    Interrupted,
    KernelError,
    PlanFailed,
)
from bascule.host.hands import Hands, Report, as_error
from bascule.host.paths import Paths
from bascule.kernel.fact import Op
from bascule.kernel.op import DropNamespace, Effect, WriteSysctl
from bascule.kernel.op import Netlink as Message

_BATCH = 128
_PASSES = 2  # of an undoing
_ABSENT = (errno.ENODEV, errno.ENOENT, errno.ESRCH)

Progress = Callable[[int], None]


def execute(
    ops: Sequence[Op], paths: Paths, progress: Progress | None = None, onward: bool = False
) -> Report:
    """Carry out all, or undo what was done and raise :class:`PlanFailed` or, after an interrupt,
    :class:`Interrupted`.

    There is no way back once a living namespace has been dropped, nor any (``onward``) in taking a
    lab away: then what fails does not keep the rest from being done. PlanFailed at the end tells
    all that failed, and an interrupt waits for the end.
    """
    report = Report()
    acknowledged: list[Op] = []
    failed: list[BasculeError] = []
    with Hands(paths, report) as hands, _noting_interrupts() as interrupts:
        try:
            for group, effects in _groups(ops):
                onward = onward or _is_final(effects[0])
                if onward:
                    failed += hands.attempt(group, effects, acknowledged)
                else:
                    hands.carry_out(group, effects, acknowledged)
                if progress:
                    progress(len(acknowledged))
                if interrupts and not onward:
                    raise KeyboardInterrupt
        except (BasculeError, OSError, KeyboardInterrupt) as error:
            undone, left = _undo(hands, acknowledged, report)
            if isinstance(error, KeyboardInterrupt) and not left:
                raise Interrupted(f"undone: {len(undone)} operations") from error
            raise PlanFailed(as_error(error), undone, left) from error
    if failed:
        raise PlanFailed(
            failed[0],
            (),
            (*(str(error) for error in failed[1:]), "all that could be done was done"),
        )
    if interrupts:
        raise KeyboardInterrupt("it was too late to undo, and all was done")
    report.done = len(acknowledged)
    return report


def _is_final(effect: Effect) -> bool:
    """Whether there is no way back: what ran in a namespace can't be put into a new one."""
    return isinstance(effect, DropNamespace) and effect.alive


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """An interrupt (SIGINT) waits for the end of the operation in hand, and does not disturb the
    undoing. Gives the list in which it is noted."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, _frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _undo(
    hands: Hands, acknowledged: list[Op], report: Report
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Undo, last first; go on after a failure. What is gone already counts as undone. What needs
    something that comes back only later, as a route needs its address, is tried once more at the
    end."""
    undone: list[str] = []
    todo = list(reversed(acknowledged))
    for _pass in range(_PASSES):
        failed: list[tuple[Op, str]] = []
        for op in todo:
            back = op.undo()
            effect = _back(op, report) if back is None else back.effect()
            if effect is None:
                continue
            words = (back or op).words
            try:
                hands.carry_out([back or op], [effect], [])
            except (BasculeError, OSError) as error:
                if not (isinstance(error, KernelError) and error.errno in _ABSENT):
                    failed.append((op, f"{words}: {error}"))
                    continue
            undone.append(words)
        todo = [op for op, _why in failed]
    return tuple(undone), tuple(why for _op, why in failed)


def _back(op: Op, report: Report) -> Effect | None:
    """The way back of a sysctl whose value before was not known to the plan: it was read when the
    new one was written."""
    effect = op.effect()
    if not isinstance(effect, WriteSysctl):
        return None
    prior = (report.of_links if effect.own else report.priors).get((effect.node, effect.key))
    return None if prior is None else effect._replace(value=prior)


def _groups(ops: Sequence[Op]) -> Iterator[tuple[list[Op], list[Effect]]]:
    """Runs of operations that are messages for the same namespace, with their effects; every other
    operation by itself."""
    group: list[Op] = []
    effects: list[Effect] = []
    place: str | None = None
    for op in ops:
        effect = op.effect()
        node = effect.node if isinstance(effect, Message) else None
        if group and (node is None or node != place or len(group) >= _BATCH):
            yield group, effects
            group, effects = [], []
        group.append(op)
        effects.append(effect)
        place = node
    if group:
        yield group, effects
