"""A command in a node is what it is with `ip netns exec`: the same process, but for its namespaces.

`exec` and `shell` are compared with ip-netns(8) itself in the host world, and in a private world,
where that can't follow, with the same command started beside the world; `run` and `popen` with
subprocess.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bascule.api import Lab
from bascule.errors import InputError
from helpers import SEED, bascule
from sandbox import BASCULE, NOBODY, World, started_by_root

WORLDS = pytest.mark.parametrize("kind", ["host", "private"])

# What a process is handed by its parent (proc_pid_status(5), proc_pid_stat(5), getrlimit(2)). By a
# shell, because Python changes some of it when it starts; with its own words only as long as
# signals are looked at, because it blocks them while it forks.
_STATUS = (
    "Umask",
    "Groups",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "Cpus_allowed",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
)
_STATUS += ("NoNewPrivs", "Seccomp", "Uid", "Gid")
PROBE = f"""
while read -r line; do case $line in {"|".join(f"{name}:*" for name in _STATUS)}) echo "$line" ;; esac; done </proc/$$/status
while read -r line; do echo "$line"; done </proc/$$/limits
echo "cwd $(readlink /proc/$$/cwd)"
tr '\\0' '\\n' </proc/$$/environ | grep -v '^_='
for fd in /proc/$$/fd/*; do echo "descriptor ${{fd##*/}}: $(readlink "$fd")"; done
set -- $(sed 's/.*) //' /proc/$$/stat)
echo "group $3 session $4 terminal $5 foreground $6 priority ${{16}} nice ${{17}} policy ${{39}}"
"""  # noqa: E501
# Root of a world is another user, with no privileges but there (no_new_privs).
PRIVATE = ("Cap", "NoNewPrivs", "Seccomp", "Groups", "Uid", "Gid")
_SIGNALS = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
}


def _ignoring() -> None:
    """As nohup(1) and a shell's background job do it, and more. SIGPIPE and SIGXFSZ can't be told:
    Python ignores them itself."""
    for each in _SIGNALS | {signal.SIGCHLD, signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM}:
        signal.signal(each, signal.SIG_IGN)


def _blocking() -> None:
    signal.pthread_sigmask(
        signal.SIG_BLOCK, _SIGNALS | {signal.SIGCHLD, signal.SIGPIPE, signal.SIGRTMIN}
    )


def _limited() -> None:
    os.umask(0o071)
    os.nice(5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _with_descriptors() -> None:
    os.dup2(os.open("/dev/zero", os.O_RDONLY), 7)


def _without_descriptors() -> None:
    os.close(0)
    os.close(2)


def _in_a_deleted_folder() -> None:
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")


def _in_a_folder_that_may_not_be_entered() -> None:
    os.makedirs("locked/inner")
    os.chdir("locked/inner")
    os.chmod("..", 0)


def _on_a_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _as_it_is() -> None:
    """Nothing is changed."""


CONDITIONS = [
    *(_as_it_is, _ignoring, _blocking, _limited, _with_descriptors, _without_descriptors),
    *(_in_a_deleted_folder, _in_a_folder_that_may_not_be_entered, _on_a_terminal),
]
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "C locale": {"PATH": os.environ["PATH"], "A": "1"},  # Python sets LC_CTYPE there (PEP 538)
    "LC_CTYPE=C": {"PATH": os.environ["PATH"], "LC_CTYPE": "C"},
    "LC_CTYPE=C.UTF-8": {
        "PATH": os.environ["PATH"],
        "LC_CTYPE": "C.UTF-8",
        "EMPTY": "",
        "LINES": "a\nb",
    },
    "LC_ALL=C": {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0"},
}


@pytest.fixture
def lab(world: World, kind: str) -> Iterator[Lab]:
    with Lab.load(SEED, world=kind) as made:
        yield made


def _handed(
    argv: list[str],
    condition: Callable[[], None],
    env: dict[str, str] | None,
    folder: Path,
    kind: str,
) -> list[str]:
    """What the probe finds under this condition, without what is another thing in a private
    world."""
    folder.mkdir()
    terminal = pty.openpty() if condition is _on_a_terminal else None
    name = os.ttyname(terminal[1]) if terminal else ""
    number = os.stat(name).st_rdev if terminal else 0
    process = subprocess.Popen(
        [*argv, "sh", "-c", PROBE],
        stdin=terminal[1] if terminal else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=condition,
        cwd=folder,
        env=env,
    )
    text = process.communicate(timeout=60)[0].decode()
    for descriptor in terminal or ():
        os.close(descriptor)
    assert process.returncode == 0, text
    text = text.replace(str(folder), "FOLDER")
    # which of them leads the session is another number each time, and who gets which terminal is
    # anybody's guess
    if terminal:
        text = re.sub(rf"(group|session|foreground) {process.pid}\b", r"\1 LEADER", text)
        text = re.sub(rf"{name}\b", "TERMINAL", text).replace(
            f" terminal {number} ", " terminal TERMINAL "
        )
    lines = [
        line
        for line in text.splitlines()
        if not (line.startswith("descriptor") and line.endswith((" ", "]")))
    ]
    if kind == "host":
        return lines
    # The numbers of another PID namespace; see
    # test_the_command_is_in_the_session_and_group_of_who_waits.
    return [
        re.sub("(group|session|foreground) [^ ]+", "", line)
        for line in lines
        if not line.startswith(PRIVATE)
    ]


def _beside(kind: str) -> list[str]:
    return ["ip", "netns", "exec", "ns1"] if kind == "host" else []


@WORLDS
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda each: each.__name__.strip("_"))
def test_exec_hands_on_what_it_was_handed(
    lab: Lab, kind: str, condition: Callable[[], None], tmp_path: Path
) -> None:
    """Signals that are ignored or blocked, mask, priority, limits, descriptors (the closed ones,
    too), folder, terminal."""
    right = _handed(_beside(kind), condition, None, tmp_path / "right", kind)
    found = _handed([BASCULE, "exec", "ns1"], condition, None, tmp_path / "found", kind)
    if kind == "private" and condition is _in_a_deleted_folder:  # of which the world has none
        right = ["cwd /" if line.startswith("cwd ") else line for line in right]
    assert found == right


@WORLDS
@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_exec_hands_on_the_environment(lab: Lab, kind: str, env: str, tmp_path: Path) -> None:
    """Whole, also what Python changes in it for itself."""
    right = _handed(_beside(kind), _as_it_is, ENVIRONMENTS[env], tmp_path / "right", kind)
    assert (
        _handed([BASCULE, "exec", "ns1"], _as_it_is, ENVIRONMENTS[env], tmp_path / "found", kind)
        == right
    )


def _command_of(waiter: int) -> int:
    """The process that `exec` waits for in a private world."""
    for _attempt in range(2000):
        children = Path(f"/proc/{waiter}/task/{waiter}/children").read_text().split()
        for child in children:
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                    return int(child)
        time.sleep(0.005)
    raise AssertionError("it was not started")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap(orphan: int) -> None:
    """An orphan comes to the subreaper, which the world's fixture makes of us; a world does not go
    before its processes."""
    with suppress(ChildProcessError):
        os.waitpid(orphan, 0)


@pytest.fixture
def waiting(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """`exec` of a command in a private world, once it runs."""
    with Lab.load(SEED, world="private"):
        with subprocess.Popen([BASCULE, "exec", "ns1", "sleep", "600"], process_group=0) as process:
            command = _command_of(process.pid)
            yield process
            process.kill()
            _kill(command)
        _reap(command)


@pytest.mark.parametrize("locale", [None, "C", "C.UTF-8"])
def test_an_ordinary_user_in_the_c_locale(world: World, locale: str | None) -> None:
    """Who enters a private world is out of others' reach by then, and can't look up any more what
    it was started with."""
    Path(world.home, "lab.yaml").write_text(
        "nodes: {a: {networks: [lan]}}\nnetworks: {lan: {subnet: 10.1.0.0/24}}\n"
    )
    Path(world.home, "lab.yaml").chmod(0o644)
    given = f"LC_CTYPE={locale}" if locale else "A=1"
    plain = f'env -u LC_ALL -u LANG -u LC_CTYPE {given} "$0"'
    done = world.as_ordinary_user(
        "sh", "-c", f'{plain} up lab.yaml && {plain} exec a env; "$0" down lab', BASCULE
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("LC_")] == (
        [given] if locale else []
    )
    assert "PATH=" in done.stdout


def test_the_command_is_in_the_session_and_group_of_who_waits(
    waiting: subprocess.Popen[bytes],
) -> None:
    """So that a terminal's signals reach it."""
    command = _command_of(waiting.pid)
    assert (os.getsid(command), os.getpgid(command)) == (os.getsid(waiting.pid), waiting.pid)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL], ids=str
)
def test_who_signals_the_one_that_waits_means_the_command(
    waiting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """In the host world they are one process. Of SIGKILL the one that waits can't tell; the kernel
    does (PR_SET_PDEATHSIG)."""
    command = os.pidfd_open(_command_of(waiting.pid))
    waiting.send_signal(number)
    assert waiting.wait(20) == -number
    assert select.select([command], [], [], 20)[0]
    os.close(command)


# As when a whole process group is signalled: the command has ended by it and has been waited for,
# and then our handler runs.
LATE = """
import os, signal, sys
wait = os.waitpid

def late(*arguments):
    ended = wait(*arguments)
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
    return ended

os.waitpid = late
from bascule.cli.main import main
sys.exit(main(["exec", "ns1", "--", "sh", "-c", "exit 7"]))
"""


def test_a_signal_for_a_command_that_has_just_ended(world: World) -> None:
    """The exit code is the command's."""
    with Lab.load(SEED, world="private"):
        done = subprocess.run(
            [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=20, check=False
        )
        assert (done.returncode, done.stderr) == (7, "")


def _heard_of(child: int, kind: int) -> bool:
    """Wait for the child to stop or to go on."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child, kind | os.WNOHANG):
            return True
        time.sleep(0.005)
    return False


def test_who_waits_stops_and_goes_on_with_the_command(waiting: subprocess.Popen[bytes]) -> None:
    """As a shell's job control asks for it."""
    command = _command_of(waiting.pid)
    os.kill(command, signal.SIGSTOP)
    assert _heard_of(waiting.pid, os.WSTOPPED)
    os.kill(waiting.pid, signal.SIGCONT)
    assert _heard_of(waiting.pid, os.WCONTINUED)
    os.kill(command, signal.SIGTERM)
    assert waiting.wait(20) == -signal.SIGTERM


def _typed(terminal: int, text: bytes, until: bytes) -> None:
    """Type, and wait for what the terminal shows then."""
    os.write(terminal, text)
    shown, deadline = b"", time.monotonic() + 20
    while until not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096)


def test_ctrl_z_stops_both_and_fg_continues_both(world: World) -> None:
    """Once: the one that waits was stopped by the terminal, and then again, since the command
    was."""
    with Lab.load(SEED, world="private"):
        pid, terminal = pty.fork()
        if not pid:
            os.execv("/bin/bash", ["bash", "--norc", "-i"])  # noqa: S606 (a shell, and no shell around it)
        try:
            for _each in range(6):
                _typed(
                    terminal,
                    f"{BASCULE} exec ns1 -- sh -c 'echo r''uns; exec cat'\n".encode(),
                    b"runs\r\n",
                )
                _typed(terminal, b"\x1a", b"Stopped")
                _typed(terminal, b"fg\n", b"cat'\r\n")
                _typed(terminal, b"he''re\n", b"he''re\r\nhe''re")
                _typed(terminal, b"\x03", b"# ")
                _typed(terminal, b"echo c''ode $?\n", b"code 130")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.close(terminal)
            os.waitpid(pid, 0)


@WORLDS
def test_nohup(lab: Lab, kind: str) -> None:
    """What the caller has ignored does not end the command, nor the one that waits for it."""
    with subprocess.Popen(
        [BASCULE, "exec", "ns1", "sleep", "600"], preexec_fn=_ignoring
    ) as process:
        command = _command_of(process.pid) if kind == "private" else process.pid
        while Path(f"/proc/{command}/comm").read_text() != "sleep\n":
            time.sleep(0.005)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            process.send_signal(number)
            os.kill(command, number)
        lives = process.poll() is None
        _kill(command)
        process.kill()
        assert (lives, process.wait(20)) == (True, -signal.SIGKILL)
        _reap(command)


@WORLDS
def test_a_pipe_that_nobody_reads_ends_the_command(lab: Lab, kind: str) -> None:
    """`bascule exec a -- ping … | head -2` comes to its end (SIGPIPE)."""
    script = (
        'exec 3>&1; { "$0" exec ns1 -- sh -c "while echo x; do :; done"; echo $? >&3; } | head -1'
    )
    done = subprocess.run(
        ["sh", "-c", script, BASCULE], capture_output=True, text=True, timeout=20, check=False
    )
    assert sorted(done.stdout.split()) == ["141", "x"]
    produced = subprocess.run(
        [BASCULE, "exec", "ns1", "sh", "-c", "ulimit -f 0; echo x >big"],
        capture_output=True,
        check=False,
    )
    assert produced.returncode in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Files of all kinds that somebody may want to run."""
    place = tmp_path / "programs"
    place.mkdir()
    (place / "text").write_text('echo "$0 $1"; exit 5\n')
    (place / "empty").write_text("")
    (place / "binary").write_bytes(b"\x7fELF\0\0\0\n")
    (place / "orphan").write_text("#!/no/such/interpreter\n")
    (place / "folder").mkdir()
    for file in place.iterdir():
        file.chmod(0o755)
    (place / "data").write_text("exit 5\n")
    (place / "nowhere").symlink_to("no-such-file")
    return place


# The command, and what a shell (POSIX, 2.8.2) makes of it.
ENDINGS = {
    "./text a": (5, "./text a\n"),
    "text a": (5, "programs/text a\n"),
    "./binary": (126, "bascule: ./binary: Exec format error\n"),
    "./orphan": (126, "bascule: ./orphan: its interpreter: No such file or directory\n"),
    "./folder": (126, "bascule: ./folder: Permission denied\n"),
    "data": (126, "bascule: data: Permission denied\n"),
    "nowhere": (127, "bascule: nowhere: No such file or directory\n"),
    "./text/x": (126, "bascule: ./text/x: Not a directory\n"),
    "''": (127, "bascule: '': No such file or directory\n"),
    f"{'x' * 300}": (127, f"bascule: {'x' * 59}…: No such file or directory\n"),
    "$(printf '\\377\\033[31m')": (127, "bascule: \\udcff\\x1b[31m: No such file or directory\n"),
    "sh -c 'kill -KILL $$'": (137, "Killed\n"),
    "sh -c 'kill -TERM $$'": (143, "Terminated\n"),
}


@WORLDS
def test_what_is_run_and_how_it_ends(lab: Lab, kind: str, programs: Path) -> None:
    """A script without a first line for the kernel is the shell's, as for execvp(3); 127 is not
    found, 126 can't be run."""
    for command, (code, said) in ENDINGS.items():
        script = (
            f'PATH="/no/such/folder:$PATH:{programs}"; {shlex.quote(BASCULE)} exec ns1 -- '
            f"{command}; exit $?"
        )
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, cwd=programs, timeout=20, check=False
        )
        text = (done.stdout + done.stderr).decode().replace(f"{programs.parent}/", "")
        assert (done.returncode, text) == (code, said), command


@WORLDS
def test_a_command_that_can_t_be_run_and_nobody_hears_of_it(lab: Lab, kind: str) -> None:
    """The code stays."""
    for place in ("2>&-", "2>/dev/full", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$0" exec ns1 no-such-program {place}', BASCULE], timeout=20, check=False
        )
        assert done.returncode == 127


# run and popen

OPTIONS: list[dict[str, Any]] = [
    {},
    {"restore_signals": False},
    {"umask": 0o077},
    {"env": {"PATH": os.environ["PATH"], "LC_CTYPE": "C"}},
    {"cwd": "folder"},
    {"cwd": Path("folder")},
    {"start_new_session": True},
    {"process_group": 0},
]


@WORLDS
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_run_is_subprocess_run(lab: Lab, kind: str, options: dict[str, Any]) -> None:
    """Each option does in a node what it does beside it."""
    Path("folder").mkdir()
    with suppress(OSError):
        os.set_inheritable(0, True)

    def handed(start: Callable[..., subprocess.Popen[str]], place: str) -> list[str]:
        with start(
            ["sh", "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        ) as process:
            text = re.sub(rf"(group|session) {process.pid}\b", r"\1 OWN", process.communicate()[0])
        lines = [line for line in text.splitlines() if not line.startswith("descriptor")]
        if place == "private":
            lines = [
                re.sub("(group|session|foreground) [^ ]+", "", line)
                for line in lines
                if not line.startswith(PRIVATE)
            ]
        return lines

    assert handed(lab.node("ns1").popen, kind) == handed(subprocess.Popen, kind)


@WORLDS
def test_a_session_of_its_own(lab: Lab, kind: str) -> None:
    """The command leads it, so that its number is that of all that it starts (killpg(2))."""
    for option in ({"start_new_session": True}, {"process_group": 0}):
        with lab.node("ns1").popen(["sleep", "600"], **option) as process:
            leads = os.getpgid(process.pid) == process.pid, os.getsid(process.pid) == process.pid
            process.kill()
        assert leads == (True, "start_new_session" in option)


@WORLDS
def test_the_folder_is_the_world_s(lab: Lab, kind: str) -> None:
    """A private world's /run is another one: what is only there can be entered, what is only
    outside can't."""
    Path("/run/outside").mkdir()
    lab.node("ns1").run(["mkdir", "-p", "/run/inside"], check=True)
    done = lab.node("ns2").run(["pwd"], cwd="/run/inside", capture_output=True, check=True)
    assert done.stdout == "/run/inside\n"
    if kind == "private":
        with pytest.raises(FileNotFoundError) as caught:
            lab.node("ns1").run(["pwd"], cwd="/run/outside")
        assert caught.value.filename == "/run/outside"


@WORLDS
def test_another_user(lab: Lab, kind: str) -> None:
    """Who runs the command did not have to join the node."""
    if not started_by_root():
        pytest.skip("needs two user ids")
    options = {"user": NOBODY, "group": "nogroup", "extra_groups": [7]}
    done = lab.node("ns1").run(
        ["sh", "-c", "id -u; id -g; id -G"], capture_output=True, check=True, cwd="/", **options
    )
    assert done.stdout.split() == [str(NOBODY), str(NOBODY), str(NOBODY), "7"]
    for wrong, error in (("no-such-user", KeyError), (-1, ValueError), (1.5j, TypeError)):
        with pytest.raises(error):
            lab.node("ns1").run(["true"], user=wrong)


@WORLDS
def test_a_command_that_can_t_be_started(lab: Lab, kind: str) -> None:
    """The errors are Popen's own, and nothing is left behind."""
    with pytest.raises(FileNotFoundError):
        lab.node("ns1").run(["./no-such-program"])
    with pytest.raises(FileNotFoundError):
        lab.node("ns1").run(["true"], cwd="no-such-folder")
    with pytest.raises(InputError):
        lab.node("ns1").run([])
    with suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG)[0] == 0


def test_a_folder_that_is_gone(world: World) -> None:
    """`exec` and `run` work, and so does each command that needs no folder."""
    with Lab.load(SEED, world="host") as lab:
        Path("gone").mkdir()
        os.chdir("gone")
        Path("../gone").rmdir()
        assert lab.node("ns1").run(["true"]).returncode == 0
        for command in (["ls"], ["show"], ["plan", SEED], ["up", SEED], ["ping"], ["node", "ls"]):
            assert bascule(world, *command, check=False).returncode == 0, command
        assert subprocess.run([BASCULE, "exec", "ns1", "true"], check=False).returncode == 0
        for command in (["up"], ["up", "lab.yaml"], ["check", "../lab.yaml"]):
            done = bascule(world, *command, check=False)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
