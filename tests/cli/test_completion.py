"""What the shells complete, asked of the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.api import Lab
from bascule.cli import complete
from bascule.errors import InputError
from sandbox import BASCULE, World, require

LAB = {
    "name": "home",
    "networks": {"lannister": {}, "dmz": {}},
    "nodes": {"webster": ["lannister"], "db": ["dmz"]},
}
# what is typed, and what stands there once the shell has completed it
TYPED = {
    "bascule pla": "bascule plan ",
    "bascule network conn": "bascule network connect ",
    "bascule up --expl": "bascule up --explain ",
    "bascule up --world priv": "bascule up --world private ",
    "bascule show ho": "bascule show home ",
    "bascule exec --lab ho": "bascule exec --lab home ",
    "bascule exec webs": "bascule exec webster ",
    "bascule exec home/webs": "bascule exec home/webster ",
    "bascule ping db webs": "bascule ping db webster ",
    "bascule network rm lanni": "bascule network rm lannister ",
    "bascule network connect lanni": "bascule network connect lannister ",
    "bascule node rm db webs": "bascule node rm db webster ",
    "bascule up a-lab": "bascule up a-lab-of-mine.yaml ",
    "bascule exec webster -- a-prog": "bascule exec webster -- a-program-of-mine ",
}
QUIET = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-N", "-i"]}
READS = {
    "bash": "source <(bascule completion bash)",
    "zsh": "autoload -U compinit; compinit -D -u; source <(bascule completion zsh)",
    "fish": "bascule completion fish | source",
}


@pytest.fixture
def home(world: World) -> Iterator[Lab]:
    """A lab, a lab file, and a program."""
    Path("a-lab-of-mine.yaml").write_text("nodes: {a: []}\n")
    program = Path("bin/a-program-of-mine")
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    lab = Lab.from_data(LAB, world="host")
    lab.up()
    yield lab
    lab.down()


class _Shell:
    """An interactive shell, and what it writes to its terminal."""

    def __init__(self, shell: str) -> None:
        folders = (os.path.dirname(BASCULE), os.path.abspath("bin"), os.environ["PATH"])
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            around = {"PATH": ":".join(folders), "TERM": "dumb", "PS1": "> ", "HOME": os.getcwd()}
            os.execvpe(shell, QUIET[shell], {**os.environ, **around})  # noqa: S606
        self._said = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def waits_for(self, text: str, seconds: float = 60) -> None:
        """Until it stands there."""
        deadline = time.monotonic() + seconds
        while text not in self._said:
            ready = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"no {text!r} in {self._said!r}"
            self._said += os.read(self._terminal, 4096).decode("utf-8", "replace")
        self._said = self._said.rpartition(text)[2]

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes(home: Lab, shell: str) -> None:
    """Each by one tabulator key."""
    require(shell)
    opened = _Shell(shell)
    try:
        opened.type(f"{READS[shell]}; echo re''ady\n")
        opened.waits_for("ready")
        for line, completed in TYPED.items():
            opened.type(f"{line}\t")
            opened.waits_for(completed)
            opened.type("\x15")  # away with the line
    finally:
        opened.close()


def test_fish_completes(home: Lab, world: World) -> None:
    """As its own `complete -C` tells."""
    require("fish")
    path = f"{os.path.dirname(BASCULE)}:{os.path.abspath('bin')}:{os.environ['PATH']}"
    asked = [f"complete -C {shlex.quote(line)}; echo ---" for line in TYPED]
    script = "; ".join([READS["fish"], *asked])
    told = world.run("env", f"PATH={path}", "fish", "-N", "-c", script).stdout.split("---\n")
    for completed, said in zip((*TYPED.values(), ""), told, strict=True):
        if not completed:
            assert said == ""  # behind the last
            continue
        words = [each.partition("\t")[0].strip() for each in said.splitlines()]
        assert completed.split()[-1] in words, (completed, said)


def test_a_shell_that_argcomplete_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2, which is Debian 12's, has nothing for zsh: no empty script."""
    monkeypatch.setattr(complete, "shellcode", lambda *_names, **_asked: "")
    with pytest.raises(InputError, match="nothing for zsh"):
        complete.script("zsh")
