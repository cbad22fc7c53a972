"""The command line where it needs no network: arguments, exit codes, schema, completion, budgets of
imports."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import bascule
from bascule.cli.arguments import Row
from bascule.cli.commands import ROWS
from bascule.cli.main import main
from bascule.cli.parsing import parser
from sandbox import BASCULE


def _run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASCULE, *arguments], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


def test_version() -> None:
    """One line."""
    assert _run("--version").stdout == f"bascule {bascule.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["up", "--nonsense"], ["exec"], ["exec", "--nonsense"], ["network"]],
)
def test_wrong_arguments_are_code_2(arguments: list[str]) -> None:
    """With the usage, on standard error. Of `exec` it is 125, as Docker has it: 2 may be what the
    command itself ends with."""
    done = _run(*arguments)
    assert done.returncode == (125 if arguments[:1] == ["exec"] else 2)
    assert "usage: bascule" in done.stderr


MEANT = {
    "upp": "no command upp; did you mean `bascule up`?",
    "ps": "no command ps; did you mean `bascule ls`?",
    "zzz": "no command zzz; there are: up, down, ",
    "network conect": "no command network conect; did you mean `bascule network connect`?",
    "up -f lab.yaml": "no option -f: the file is named without an option: `bascule up FILE`",
    "up --wrld host": "no option --wrld; did you mean --world?",
    "up a.yaml b.yaml": "b.yaml is one word too many",
    "exec -it ns1 sh": "no option -it: leave it out: the terminal is handed on as it is",
    "show a --lab b": "two labs are named, a and b; name one",
    "shell a/ns1 --lab b": "two labs are named",
}


@pytest.mark.parametrize("words", MEANT)
def test_what_may_be_meant(words: str) -> None:
    """Below the usage of that very command."""
    done = _run(*words.split())
    usage, told = done.stderr.split("bascule", 2)[1:]
    assert MEANT[words] in told, told
    command = words.split(maxsplit=1)[0]
    if command in ("up", "exec", "network"):
        assert usage.strip().startswith((command, "COMMAND")), usage


def test_help_of_the_whole_and_of_a_command() -> None:
    """In 80 columns; each command in a group, each with two examples that it understands."""
    for words in (["--help"], ["help"]):
        told = _run(*words).stdout
        assert max(map(len, told.splitlines())) <= 80
        for row in ROWS:
            assert f"\n  {row.name} " in told
        assert "Exit codes" in told
        assert "BASCULE_LAB" in told
    assert _run("help", "network", "create").stdout == _run("network", "create", "--help").stdout
    assert _run("version").stdout == _run("--version").stdout
    assert "  bascule exec ns1 -- ip address\n" in _run("help", "exec").stdout
    assert "125" in _run("help", "exec").stdout


def _leaves(rows: Sequence[Row], before: str = "") -> Iterator[tuple[str, Row]]:
    for row in rows:
        name = f"{before}{row.name}"
        if row.children:
            yield from _leaves(row.children, f"{name} ")
        else:
            yield name, row


def test_the_examples_are_understood() -> None:
    """Each by the parser of its command."""
    for name, row in _leaves(ROWS):
        assert row.examples, name
        for line in row.examples:
            words = shlex.split(line.partition(" > ")[0])
            assert words[: len(name.split())] == name.split()
            parser(words[0]).parse_args(words)


def test_every_command_has_help() -> None:
    """And no two rows the same name."""
    for arguments in (["up"], ["network", "connect"], ["node", "add"], ["completion"]):
        assert _run(*arguments, "--help").returncode == 0
    parser()  # argparse itself refuses a name twice


def test_check_reports_all_mistakes_with_their_places(tmp_path: Path) -> None:
    """file:line:column: path: what is wrong, what to do; exit code 2."""
    file = tmp_path / "bad.yaml"
    file.write_text(
        "nodes:\n  a: [lan]\n  b: {netwoks: [lan]}\nnetworks:\n  lan: {subnet: 10.0.0.0/33}\n"
    )
    done = _run("check", str(file))
    assert done.returncode == 2
    assert f"{file}:3:7: " in done.stdout
    assert "networks" in done.stdout
    assert f"{file}:5:17: " in done.stdout
    assert len(done.stdout.splitlines()) == 2
    places = json.loads(_run("check", str(file), "--json").stdout)
    assert [place["line"] for place in places] == [3, 5]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """One line, code 2."""
    done = _run("up", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert done.stderr.startswith("bascule: ")
    assert "No such file" in done.stderr


def test_schema_is_json() -> None:
    """Editors complete from it."""
    assert json.loads(_run("schema").stdout)["$schema"].startswith("https://json-schema.org/")


def test_main_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    """As a function, for those who embed it."""
    assert main(["schema"]) == 0
    assert '"$schema"' in capsys.readouterr().out


HEAVY = {"rich", "yaml", "asyncio", "inspect", "email", "http", "argcomplete"}


@pytest.mark.parametrize(
    "code",
    [
        "import bascule",
        "from bascule.cli import main, parsing; parsing.parse(['exec', 'a', 'true'])",
    ],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    """`--version` and `exec` have a budget of milliseconds. What this Python's argparse needs is
    its own affair."""

    def loaded(code: str) -> set[str]:
        argv = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
        return {*subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()}

    usual = loaded("import argparse; argparse.ArgumentParser().parse_known_args()")
    assert HEAVY.isdisjoint(loaded(code) - usual)
