"""A node of a lab that is up: its addresses, and commands in it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any, Protocol

from bascule.engine import commands
from bascule.engine.pairs import targets
from bascule.errors import InputError
from bascule.state.record import Record
from bascule.topology.model import Assigned

Command = Sequence[str]


class _Lab(Protocol):
    """What a node has to know of its lab."""

    name: str

    @property
    def record(self) -> Record: ...
    @property
    def assigned(self) -> Assigned: ...


class Node:
    """A node of a lab that is up."""

    def __init__(self, lab: _Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"<Node {self.name} of lab {self.lab.name}>"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The node's addresses, without prefix lengths, in the order of its interfaces."""
        return tuple(target.address for target in targets(self.lab.assigned, self.name))

    def popen(self, command: Command, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in the node; takes the options of :class:`subprocess.Popen`, without
        ``shell`` and ``preexec_fn``.

        Raises FileNotFoundError for an unknown command, like Popen, and :class:`NotFound` where the
        lab is not up.
        """
        refused = {"preexec_fn", "shell"}.intersection(options)
        if refused:
            raise InputError(
                f'popen() does not take {", ".join(sorted(refused))}; run ["sh", "-c", …] for '
                f"a shell"
            )
        return commands.start(self.lab.record, self.name, command, **options)

    def run(
        self,
        command: Command,
        *,
        check: bool = False,
        capture_output: bool = False,
        input: str | bytes | None = None,
        timeout: float | None = None,
        text: bool = True,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the node and wait for it; :func:`subprocess.run` in every respect, but
        that text is the default.

        Raises subprocess.CalledProcessError (with ``check``) and subprocess.TimeoutExpired; then
        the command is killed.

        >>> lab = bascule.Lab.from_data({"nodes": {"a": {}}}, name="demo", world="private")
        >>> with lab:
        ...     done = lab.node("a").run(["hostname"], capture_output=True)
        >>> done.stdout.strip()
        'a'
        """
        if capture_output:
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if input is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(command, text=text, **options) as process:
            try:
                out, error = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
        done: subprocess.CompletedProcess[Any] = subprocess.CompletedProcess(
            command, process.returncode, out, error
        )
        if check:
            done.check_returncode()
        return done
