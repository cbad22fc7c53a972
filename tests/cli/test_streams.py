"""Every command, with standard input, output and error as a caller may leave them: closed, full,
without a reader, ASCII only."""

from __future__ import annotations

import fcntl
import io
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from bascule.cli.main import main
from bascule.engine.watch import Watcher
from bascule.host import nft
from sandbox import BASCULE, World, require

LAB = """
name: demo
labels: {ort: Zürich}
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a: {networks: [lan], ports: ["127.0.0.1:8080:80"]}
  b: {networks: [lan], labels: {ort: Genève}}
"""
FILE = "größe.yaml"  # what has no ASCII spelling in a path, too
BROKEN = 99
BAD, NO_SPACE = (
    f"bascule: standard output: {what}\n"
    for what in ("Bad file descriptor", "No space left on device")
)


class Use(NamedTuple):
    """Words for a command. ``acts``: its work is in the kernel, and not what it prints."""

    words: str
    acts: bool = False
    document: bool = False  # a file, which is in UTF-8 everywhere


# In an order in which each has something to do. Whoever adds a command adds a line.
USES = {
    "up": Use(f"--explain {FILE}", acts=True),
    "plan": Use(FILE),
    "script": Use(FILE, document=True),
    "generate": Use("ring", document=True),
    "ls": Use(""),
    "show": Use("demo"),
    "inspect": Use("demo --yaml", document=True),
    "exec": Use("a true", acts=True),
    "shell": Use("a", acts=True),
    "ping": Use("a b"),
    "events": Use("demo"),
    "port": Use("a"),
    "network create": Use("wan --explain", acts=True),
    "network ls": Use(""),
    "network inspect": Use("lan"),
    "network connect": Use("wan a --explain", acts=True),
    "network disconnect": Use("wan a --explain", acts=True),
    "network rm": Use("wan --explain", acts=True),
    "network prune": Use("--explain", acts=True),
    "node add": Use("c --network lan --explain", acts=True),
    "node ls": Use("--json"),
    "node rm": Use("c --kill --explain", acts=True),
    "check": Use(FILE),
    "restore": Use("", acts=True),
    "install-unit": Use("--print", document=True),
    "schema": Use(""),
    "doctor": Use(""),
    "system prune": Use("--dry-run"),
    "completion": Use("bash"),
    "down": Use("demo --kill --explain", acts=True),
}


def _commands(rows: tuple[Row, ...] = ROWS, above: str = "") -> Iterator[str]:
    for row in rows:
        yield from _commands(row.children, f"{row.name} ") if row.children else [above + row.name]


ANSWERING = [command for command, use in USES.items() if not use.acts]
ALSO = {"events": {130}, "doctor": {0, 1}}  # exit codes of an answer that was given


class Ended(NamedTuple):
    code: int
    out: bytes
    err: str


def _run(
    words: list[str],
    streams: str = "",
    encoding: str = "utf-8",
    gate: syscalls.Gate = syscalls._pass,
) -> Ended:
    """In a child, with ``sys.stdout`` and ``sys.stderr`` as Python makes them when it starts, and
    with its flush at the end. What leaves main() as an exception gives the code :data:`BROKEN`, and
    its text in ``err``."""
    out, err, broken = (os.memfd_create(name) for name in ("out", "err", "broken"))
    child = os.fork()
    if child == 0:
        for number, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, err)):
            os.dup2(descriptor, number)
        _make(streams)
        syscalls._pass = gate
        os._exit(_started(words, encoding, broken))
    with open(os.pidfd_open(child)) as descriptor:
        if not select.select([descriptor], [], [], 30)[0]:
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = []
    for descriptor in (out, err, broken):
        said.append(os.pread(descriptor, 1 << 20, 0))
        os.close(descriptor)
    return Ended(code, said[0], (said[1] + said[2]).decode("utf-8", "replace"))


def _started(words: list[str], encoding: str, broken: int) -> int:
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        try:
            raw = io.FileIO(number, "w", closefd=False)
        except OSError:
            stream: Any = None
        else:
            stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.update(SHELL="/bin/true", TERM="dumb")
    sys.argv = [BASCULE, *words]
    Watcher.wait = _interrupted_after_a_change  # type: ignore[method-assign]
    try:
        code = main(words)
        for left in filter(None, (sys.stdout, sys.stderr)):
            left.flush()
    except BaseException:
        os.write(broken, traceback.format_exc().encode())
        return BROKEN
    return code


def _interrupted_after_a_change(self: Watcher, *_: object) -> None:
    """One event, and then the interrupt by which `events` ends."""
    if os.path.exists("/run/changed"):
        raise KeyboardInterrupt
    Path("/run/changed").touch()
    subprocess.run(["ip", "-n", "a", "address", "add", "10.1.0.99/24", "dev", "eth0"], check=True)


def _use(command: str) -> list[str]:
    if command == "events":
        Path("/run/changed").unlink(missing_ok=True)
        subprocess.run(
            ["ip", "-n", "a", "address", "del", "10.1.0.99/24", "dev", "eth0"],
            check=False,
            capture_output=True,
        )
    return [*command.split(), *USES[command].words.split()]


def _make(streams: str) -> None:
    """``1 closed``, ``12 full``, ``1 unread``: what becomes of these descriptors of the calling
    process."""
    numbers, _, how = streams.partition(" ")
    reader, writer = os.pipe()
    os.close(reader)
    for number in map(int, numbers):
        if how == "closed":
            os.close(number)
        else:
            os.dup2(writer if how == "unread" else os.open("/dev/full", os.O_WRONLY), number)


@pytest.fixture
def file(world: World) -> Iterator[Path]:
    place = Path(FILE)
    place.write_text(LAB)
    yield place
    Lab("demo").down()


@pytest.fixture
def up(file: Path) -> Path:
    Lab.load(FILE).up()
    return file


def test_each_command_is_used_here() -> None:
    """Whoever adds one says how it is used; it then meets all streams below. `serve` prints
    nothing."""
    assert set(USES) == set(_commands()) - {"serve"}


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        ("1 closed", 1, BAD),
        ("1 full", 1, NO_SPACE),
        ("1 unread", 141, ""),
        ("012 closed", 1, ""),
        ("12 full", 1, ""),
    ],
    ids=lambda value: str(value)[:10],
)
def test_an_answer_that_can_t_be_written(up: Path, streams: str, code: int, said: str) -> None:
    """Who asked for it is told so, by a line and the exit code, as by coreutils. Where nobody reads
    any more, nothing is said (SIGPIPE, as a shell counts)."""
    for command in ANSWERING:
        ended = _run(_use(command), streams)
        assert (ended.code, ended.err.replace("bascule: watching demo\n", "")) == (code, said), (
            command
        )


@pytest.mark.parametrize("streams", ["2 full", "02 closed"])
def test_what_can_t_be_said_beside_an_answer(up: Path, streams: str) -> None:
    """It changes nothing."""
    for command in ANSWERING:
        ended = _run(_use(command), streams)
        assert ended.code in ALSO.get(command, {0}), (command, ended)
        assert ended.out, command


@pytest.mark.parametrize("streams", ["1 full", "012 closed", "12 full"])
def test_work_is_done_whatever_can_be_printed(file: Path, streams: str) -> None:
    """`--explain` prints in the midst of it: what can't be printed is no reason to stop there, and
    is told once, if it can be."""
    told = f"{NO_SPACE[:-1]}: the commands are not printed, and the work goes on\n"
    for command, use in USES.items():
        if use.acts:
            ended = _run(_use(command), streams)
            assert ended.code == 0, (command, ended)
            assert ended.err.count(told) == (
                streams == "1 full" and "--explain" in use.words and command != "network prune"
            ), command
    assert _run(["ls"]).out.count(b"\n") == 1  # `down` was the last
    assert not os.path.exists("/run/netns/a")


def test_ascii_only(up: Path) -> None:
    """Our own signs are spelt, others' are escaped; a file for programs is in UTF-8 all the same,
    and is read as the same lab."""
    for command in ANSWERING:
        ended = _run(_use(command), encoding="ascii")
        assert ended.code in ALSO.get(command, {0}), (command, ended)
        assert USES[command].document or ended.out.isascii(), command
        assert ended.err.isascii(), command
        if command == "inspect":
            Path("again.yaml").write_bytes(ended.out)
            assert dict(Lab.load("again.yaml").topology.labels) == {"ort": "Zürich"}
        helped = _run([*command.split(), "--help"], encoding="ascii")
        assert helped.code == 0
        assert helped.out.isascii()
    assert b"CMD ..." in _run(["exec", "--help"], encoding="ascii").out


def test_a_terminal_without_our_signs(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree of `show` is drawn with what there is."""
    monkeypatch.setattr("bascule.cli.output.is_terminal", lambda _stream: True)
    ended = _run(["show"], encoding="ascii")
    assert ended.code == 0
    assert b"eth0 <- veth-a" in ended.out


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["up", "--help"], ["network", "connect", "--help"]],
    ids=" ".join,
)
def test_help_and_version(words: list[str]) -> None:
    """They are answers, too."""
    assert _run(words, "1 full") == (1, b"", NO_SPACE)
    assert _run(words, "1 closed") == (1, b"", BAD)
    assert _run(words, "1 unread").code == 141
    assert _run(words, "2 closed").code == 0


@pytest.mark.parametrize("streams", ["2 closed", "2 full", "012 closed"])
def test_errors_that_nobody_hears(world: World, streams: str) -> None:
    """Their exit codes stay."""
    Path("bad.yaml").write_text("nodes: 1\n")
    for words in (
        ["nonsense"],
        ["up", "--nonsense"],
        ["up", "none.yaml"],
        ["up", "bad.yaml"],
        ["show", "none"],
    ):
        assert _run(words, streams).code == 2, words
    assert _run(["exec", "a", "b"], streams).code == 125


def test_a_failed_answer_comes_after_the_command_s_own_failure(world: World) -> None:
    """`check` of a file with mistakes into a full disk: both are told, and the code is the
    command's."""
    Path("bad.yaml").write_text("nodes: 1\n")
    assert _run(["check", "bad.yaml"], "1 full") == (2, b"", NO_SPACE)


def test_closed_descriptors_are_never_reused(file: Path) -> None:
    """Not for a lock, a socket or a file: at each effect of `up` all three lead to /dev/null."""
    seen = os.memfd_create("seen")

    def look(*_: object) -> None:
        os.write(
            seen,
            "".join(os.readlink(f"/proc/self/fd/{number}") + "\n" for number in (0, 1, 2)).encode(),
        )

    assert _run(["up", FILE], "012 closed", gate=look).code == 0
    places = os.pread(seen, 1 << 20, 0).decode().splitlines()
    os.close(seen)
    assert len(places) > 30
    assert set(places) == {"/dev/null"}


def test_a_pipe_that_does_not_block(world: World) -> None:
    """Whoever has the other end may have set O_NONBLOCK: it is waited for, and nothing is lost."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with subprocess.Popen([BASCULE, "schema"], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        with open(reader) as file:
            text = file.read()
        assert process.wait(20) == 0
    assert (
        text
        == subprocess.run([BASCULE, "schema"], capture_output=True, text=True, check=True).stdout
    )
    assert len(text) > 8192


@pytest.mark.parametrize("words", ["up größe.yaml", "--help"])
def test_the_command_itself(up: Path, world: World, words: str) -> None:
    """With the interpreter's own start and end, by a shell."""
    places = (">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full")
    script = "exec 9>codes\n" + "\n".join(f'"$@" {place}; echo $? >&9' for place in places)
    done = world.run("sh", "-c", script, "-", BASCULE, *words.split(), check=False)
    assert Path("codes").read_text().split() == (
        ["0"] * 4 if words.startswith("up") else ["1", "0", "1", "1"]
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_ordinary_user_without_any_stream(world: World) -> None:
    """A private world, its keeper and all."""
    Path("lab.yaml").write_text("nodes: {a: [lan], b: [lan]}\n")
    Path("lab.yaml").chmod(0o644)
    Path().absolute().chmod(0o755)
    text = Path("lab.yaml").read_text()
    script = (
        'printf "%s" "$1" >lab.yaml; "$0" up lab.yaml <&- >&- 2>&-; echo $?; "$0" plan lab.yaml; '
        '"$0" exec a true <&- >&- 2>&-; echo $?; "$0" down lab <&- >&- 2>&-; echo $?'
    )
    said = world.as_ordinary_user("sh", "-c", script, BASCULE, text).stdout
    assert said.splitlines() == ["0", "nothing to do: all is as it should be", "0", "0"]


def test_explain_without_a_reader_does_the_whole_work(file: Path) -> None:
    """`up --explain | head -1`: the run does not stop half-way where the first line was enough."""
    with subprocess.Popen(
        [BASCULE, "up", "--explain", FILE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
    assert not Lab.load(FILE).plan()


def test_a_sentence_that_is_cut_off_is_no_success(world: World) -> None:
    """A disk that is full in the midst of the text: what is left of it is not taken for the
    whole."""
    place = Path("/run/small")
    place.mkdir()
    world.run("mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", str(place))
    with open(place / "schema", "wb") as file:
        done = subprocess.run(
            [BASCULE, "schema"], stdout=file, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, NO_SPACE)


def test_foreign_text_in_an_ascii_locale(world: World) -> None:
    """What nft prints of others' rules is in no character set at all: comments in UTF-8, and in
    Latin-1."""
    require("nft")
    for comment in ("größe".encode(), "größe".encode("latin-1")):
        rule = b'add rule ip theirs forward ip saddr 10.9.9.9 accept comment "%s"\n' % comment
        chain = (
            b"add table ip theirs\nadd chain ip theirs forward { type filter hook forward "
            b"priority 0; policy drop; }\n"
        )
        subprocess.run(["nft", "-f", "-"], input=chain + rule, check=True)
    assert list(nft.forward_rules("ip", "theirs", "forward")) == []
    Path(FILE).write_text(LAB)
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["up", FILE], ["plan", FILE]):
        done = subprocess.run([BASCULE, *words], env=ascii_only, capture_output=True, check=False)
        assert (done.returncode, done.stdout.isascii(), done.stderr.isascii()) == (0, True, True), (
            done
        )
    Lab("demo").down()


def test_a_program_that_calls_us_prints_in_its_order() -> None:
    """What it has printed before comes before, and its streams are its own again."""
    script = (
        "import sys; from bascule.cli.main import main; print('a'); main(['--version']); "
        "print('b', sys.stdout is sys.__stdout__)"
    )
    lines = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "bascule", "b"]
    assert lines[-1] == "b True"
