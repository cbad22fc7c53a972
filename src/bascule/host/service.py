"""Find, start and end the name servers of a lab."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress

from bascule import syscalls
from bascule.errors import KernelError
from bascule.host import programs
from bascule.kernel.service import PROGRAM, NameServer

_OWN = "/proc/thread-self/ns/net"
_SECONDS, _PATIENCE = 20, 2000  # to start; milliseconds to end by itself
_TRIES = 5
_PROFILES, _CONFINED = "/etc/apparmor.d", 13
CONFINED = "AppArmor's profile for dnsmasq does not let it read /run/bascule"
LET_IT = (
    "add the lines `/run/bascule/*/dns/{,**} r,` and `/run/bascule/*/dns/*.pid rw,` to /etc/apparmor.d/local/usr.sbin.dnsmasq, "
    "then `apparmor_parser -r /etc/apparmor.d/usr.sbin.dnsmasq`"
)


def program() -> str | None:
    """Where dnsmasq is."""
    return shutil.which(PROGRAM, path=syscalls.SYSTEM_PATH)


def running(prefix: str) -> NameServer | None:
    """The server whose configurations begin like this, in the network namespace of the calling thread."""
    found = next(_processes(prefix), None)
    return None if found is None else NameServer(prefix, found[1], stopped=_is_stopped(found[0]))


def _is_stopped(pid: int) -> bool:
    """By its state (proc_pid_stat(5), field 3). One that a debugger holds, `t`, will go on."""
    with suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
    return False


def _processes(prefix: str) -> Iterator[tuple[int, str]]:
    """Number and configuration of each; normally the one that its file names."""
    noted = _noted(prefix)
    for pid in [noted] if noted and _config(noted, prefix) else _all():
        config = _config(pid, prefix)
        if config:
            yield pid, config


def _noted(prefix: str) -> int:
    with suppress(OSError, ValueError), open(f"{prefix}.pid") as file:
        return int(file.read(20))
    return 0


def _all() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _config(pid: int, prefix: str) -> str:
    """The configuration that a process runs with, where it is such a server and in our network namespace."""
    option = f"--conf-file={prefix}-"
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(1000).decode("utf-8", "replace").split("\0")
        if len(words) < 2 or os.path.basename(words[0]) != PROGRAM or not words[1].startswith(option):
            return ""
        same = os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(_OWN).st_ino
    except OSError:
        return ""  # it has ended, or is not ours to look into
    return words[1].removeprefix("--conf-file=") if same else ""


def start(config: str) -> None:
    """Returns when it answers. Raises :class:`KernelError` with what it says, which is mostly that its port is taken."""
    found = program()
    if found is None:
        raise KernelError(PROGRAM, errno.ENOENT, "dnsmasq is not installed", advice="install the package dnsmasq-base")
    try:
        done = programs.run([found, f"--conf-file={config}"], "", _SECONDS)
    except TimeoutError as error:
        raise KernelError(PROGRAM, errno.ETIMEDOUT, f"no answer in {_SECONDS} s") from error
    if done.code != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise KernelError(
            f"{PROGRAM} --conf-file={config}", errno.EINVAL, said[-1].removeprefix(f"{PROGRAM}: ") if said else "failed"
        )


def tell(prefix: str) -> None:
    """Have it read again what it reads only then (SIGHUP)."""
    for pid, _config_path in list(_processes(prefix)):
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if _config(pid, prefix):
                    syscalls.kill(descriptor, signal.SIGHUP)
            finally:
                os.close(descriptor)


def end(prefix: str) -> None:
    """End it, and wait for that; and any other of its kind that a killed run has left."""
    for _attempt in range(_TRIES):
        found = list(_processes(prefix))
        if not found:
            break
        for pid, _config_path in found:
            _end(pid, prefix)
    with suppress(FileNotFoundError):
        syscalls.unlink(f"{prefix}.pid")


def forget_ended(folder: str) -> None:
    """Remove the files in which servers that have ended left their numbers: who ends one may be killed before that."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.endswith(".pid") and next(_processes(os.path.join(folder, name.removesuffix(".pid"))), None) is None:
            syscalls.unlink(os.path.join(folder, name))


def _end(pid: int, prefix: str) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _config(pid, prefix):  # the descriptor holds the number: what has it now is what was looked at
                return
            with suppress(ProcessLookupError):
                syscalls.kill(descriptor, number)
                if _is_stopped(pid):
                    syscalls.kill(descriptor, signal.SIGCONT)  # until then it does not heed the other
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if poll.poll(_PATIENCE):
                return
    finally:
        os.close(descriptor)


def is_confined() -> bool:
    """Whether a security module keeps dnsmasq from reading what a lab writes for it. Where AppArmor has a profile for it, it is
    tried, in a child with a /run of its own."""
    found = program()
    if found is None or not _has_profile():
        return False
    child = syscalls.fork()
    if child == 0:
        os._exit(_try_to_read(found))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _CONFINED


def _has_profile() -> bool:
    with suppress(OSError), open("/sys/module/apparmor/parameters/enabled") as file:
        return file.read().startswith("Y") and any(PROGRAM in name for name in os.listdir(_PROFILES))
    return False


def _try_to_read(found: str) -> int:
    with suppress(Exception):
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", "none", syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
        place = "/run"
        for name in ("bascule", "doctor", "dns"):
            place = f"{place}/{name}"
            syscalls.mkdir(place, 0o755)
        os.close(syscalls.create(f"{place}/out.conf", os.O_WRONLY, 0o644))
        done = programs.run([found, "--test", f"--conf-file={place}/out.conf"], "", _SECONDS)
        return _CONFINED if done.code and os.strerror(errno.EACCES) in done.stderr else 0
    return 0
