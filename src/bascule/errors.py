"""The exception tree: one class for each thing that a caller may want to tell apart.

Every message is one line: what failed, on what, what the kernel said, what to do. ``exit_code`` is
the code that the command line gives for it: 1 the kernel or the network said no, 2 the input is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EACCES, EMFILE, EPERM, EROFS
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

_FORBIDDEN = "`bascule doctor` tells what this process may not do, and what to do about it"

P = ParamSpec("P")
R = TypeVar("R")


class BasculeError(Exception):
    """The root of all errors that bascule raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross from a private world to the caller; subclasses take other arguments than they
        # hand to Exception.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[BasculeError], arguments: tuple[object, ...], state: dict[str, object]
) -> BasculeError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(state)
    return error


class InputError(BasculeError):
    """What was asked for is wrong; nothing has been touched."""

    exit_code = 2


class Mistake(NamedTuple):
    """One mistake in a lab file. ``line`` and ``column`` count from 1; 0 where there is no text to
    point into."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class TopologyError(InputError):
    """A lab file, or a topology built in code, that can't be built. Holds all mistakes, not only
    the first."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


class NotFound(InputError):
    """A lab, node or network that does not exist was named."""


class Elsewhere(InputError):
    """The lab is in another network namespace than the one that the command runs in; a private one,
    in another PID namespace."""


class KernelError(BasculeError):
    """The kernel refused one operation.

    ``operation`` is the plain command that says the same, ``errno`` the positive number, ``said``
    the kernel's own words (``strerror`` and, where it gave one, the extended acknowledgement,
    NLMSGERR_ATTR_MSG in linux/netlink.h).
    """

    def __init__(
        self, operation: str, errno: int, said: str, place: str = "", advice: str = ""
    ) -> None:
        where = f" (in {place})" if place else ""
        what_to_do = f"; {advice}" if advice else ""
        super().__init__(f"{operation}{where}: {said}{what_to_do}")
        self.operation = operation
        self.errno = errno
        self.said = said
        self.place = place
        self.advice = advice


class Uncertain(KernelError):
    """An operation failed, and may have been done all the same, or in part: a program was ended, or
    did not answer. It has to be undone like one that succeeded."""


def translated(function: Callable[P, R]) -> Callable[P, R]:
    """An OSError that nobody expected, as a :class:`KernelError`: callers of the engine meet one
    tree of exceptions only."""

    @wraps(function)
    def called(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except OSError as error:
            raise as_kernel_error(error) from error

    return called


def as_kernel_error(error: OSError) -> KernelError:
    """What a system call said, in one line."""
    advice = _FORBIDDEN if error.errno in (EPERM, EACCES, EROFS) else ""
    if error.errno == EMFILE:
        advice = "raise the limit (ulimit -n)"
    return KernelError(
        str(error.filename or "a system call"),
        error.errno or 0,
        error.strerror or str(error),
        advice=advice,
    )


class Interrupted(KeyboardInterrupt):
    """A run that was interrupted (SIGINT) and has undone all that it had done."""


class PlanFailed(BasculeError):
    """A plan was not carried out whole. What had been done was undone; ``undone`` and ``left`` say
    what exactly. Taking away goes on after a failure and undoes nothing: then ``left`` holds what
    could not be removed."""

    def __init__(self, cause: BasculeError, undone: tuple[str, ...], left: tuple[str, ...]) -> None:
        lines = [str(cause)]
        if undone:
            lines.append(f"undone: {len(undone)} operations")
        lines.extend(f"left: {text}" for text in left)
        super().__init__("\n".join(lines))
        self.cause = cause
        self.undone = undone
        self.left = left


def unfinished(error: BaseException) -> BaseException:
    """The error of a run that neither came to its end nor was undone whole, with what to do."""
    cause = as_kernel_error(error) if isinstance(error, OSError) else error
    told = ("a part of it; run the command again, or `bascule down`",)
    if isinstance(cause, PlanFailed) and not cause.left:
        return PlanFailed(cause.cause, cause.undone, told)
    return PlanFailed(cause, (), told) if isinstance(cause, KernelError | WorldError) else cause


class Conflict(BasculeError):
    """Something that bascule did not make stands where it should build."""


class Locked(BasculeError):
    """Another command works on the same lab."""


class StateError(BasculeError):
    """The stored state can't be read or written."""


class WorldError(BasculeError):
    """The world (the namespace that plays the host) can't be made or joined: what was ``found``,
    and ``advice``, which may be empty."""

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found = found
        self.advice = advice
