"""The command line where it needs no network: arguments, exit codes, schema, completion, budgets of
imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bascule
from bascule.cli.main import main, parser
from sandbox import BASCULE


def _run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASCULE, *arguments], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


def test_version() -> None:
    """One line."""
    assert _run("--version").stdout == f"bascule {bascule.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["up", "--nonsense"], ["exec"], ["network"]]
)
def test_wrong_arguments_are_code_2(arguments: list[str]) -> None:
    """With the usage, on standard error."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert "usage: bascule" in done.stderr


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str) -> None:
    """Every command is in the script; bash takes its own."""
    done = _run("completion", shell)
    assert "disconnect" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_main_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    """As a function, for those who embed it."""
    assert main(["schema"]) == 0
    assert '"$schema"' in capsys.readouterr().out


HEAVY = {"rich", "yaml", "asyncio", "inspect", "email", "http", "shtab"}


@pytest.mark.parametrize(
    "code", ["import bascule", "from bascule.cli import main; main._parse(['exec', 'a', 'true'])"]
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    """`--version` and `exec` have a budget of milliseconds."""
    script = f"import sys; {code}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert HEAVY.isdisjoint(loaded)
