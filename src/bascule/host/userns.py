"""Why user namespaces are forbidden here, and what to do about it (user_namespaces(7),
namespaces(7)).

The kernel tells little: one error number for many causes, each with a remedy of its own. What can
be read of the machine tells them apart.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress

from bascule.host import abilities

_PROC = "/proc"
_KINDS = ("user", "net", "mnt", "pid", "ipc", "uts")
_FEW = 16  # of each kind; a private world has up to four of one
_AS_ROOT = "run as root with --world host"
_IN_CONTAINER = "`docker run --security-opt seccomp=unconfined`, or `--privileged`, allows it"


def what_to_do(number: int) -> str:
    """For an error number of making or joining one, 0 where none is known: one sentence, the first
    that fits."""
    found = _CAUSES.get(number, _unknown)()
    return next(
        found,
        f"user namespaces are forbidden here (by a chroot, a container, a security module): "
        f"{_AS_ROOT}",
    )


def _too_many() -> Iterator[str]:
    """ENOSPC: a limit of the user namespace that we are in, or of one above."""
    yield from _by_limit()
    yield (
        "as many namespaces are there as this user may have, or they lie one in another more than "
        "30 times: see sysctl user"
    )


def _by_limit() -> Iterator[str]:
    limits = {kind: _read(f"sys/user/max_{kind}_namespaces") for kind in _KINDS}
    for kind, most in limits.items():
        if most.isdecimal() and int(most) < _FEW:
            key = f"user.max_{kind}_namespaces"
            yield f"{key} is {most}: sudo sysctl {key}=10000"


def _forbidden() -> Iterator[str]:
    """EPERM and EACCES."""
    yield from _by_setting()
    yield from _by_filter()
    if _is_in_chroot():
        yield (
            "this is a chroot, in which the kernel makes none: enter it with systemd-nspawn, or "
            f"`unshare --mount` and pivot_root(8), or {_AS_ROOT}"
        )
    label = _read("thread-self/attr/current").strip("\0")
    if label and label != "kernel" and "unconfined" not in label:
        yield f"a security module may forbid it (this process is confined as {label}): {_AS_ROOT}"


def _by_setting() -> Iterator[str]:
    """Rules for who has no privileges."""
    if _read("sys/kernel/unprivileged_userns_clone") == "0":  # of Debian's kernels
        yield "sudo sysctl kernel.unprivileged_userns_clone=1"
    key = "kernel.apparmor_restrict_unprivileged_userns"  # of Ubuntu's
    if _read(f"sys/{key.replace('.', '/')}") == "1":
        yield f"AppArmor restricts user namespaces: sudo sysctl {key}=0"


def _by_filter() -> Iterator[str]:
    if abilities.status("Seccomp") not in ("", "0"):
        yield (
            f"a seccomp filter of this container or service forbids it: {_IN_CONTAINER}; a service "
            "of systemd needs RestrictNamespaces=no"
        )


def _missing() -> Iterator[str]:
    """ENOSYS and EINVAL: a filter says the first, too."""
    yield from _by_filter()
    yield f"this kernel has no user namespaces (CONFIG_USER_NS): {_AS_ROOT}, or take another kernel"


def _unknown() -> Iterator[str]:
    yield from _by_setting()
    yield from _by_limit()
    yield "see the system's journal"


_CAUSES: dict[int, Callable[[], Iterator[str]]] = {
    errno.ENOSPC: _too_many,
    errno.EUSERS: _too_many,
    errno.EPERM: _forbidden,
    errno.EACCES: _forbidden,
    errno.ENOSYS: _missing,
    errno.EINVAL: _missing,
    0: _unknown,
}


def _is_in_chroot() -> bool:
    """Whether the root is no mount point, as only chroot(2) makes it (proc_pid_mountinfo(5))."""
    mounts = _read("self/mountinfo")
    return bool(mounts) and not any(line.split(" ")[4] == "/" for line in mounts.splitlines())


def _read(path: str) -> str:
    with suppress(OSError), open(f"{_PROC}/{path}", errors="replace") as file:
        return file.read().strip()
    return ""
