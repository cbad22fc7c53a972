"""What help and usage errors say. Imported when one of them is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from bascule.cli.arguments import Row
from bascule.cli.commands import GROUPS, ROWS
from bascule.names import shown

_ABOUT = "Networks of Linux network namespaces, from one file."
_EXAMPLES = (
    ("bascule up examples/docker-bridge.yaml", "build it"),
    ("bascule exec ns1 -- ping -c1 ns2", "use it"),
    ("bascule down", "take it away"),
)
_CODES = (
    "0 done   1 the kernel or the network said no   2 the input is wrong",
    "125 `exec` itself failed (else the command's own)   130 interrupted",
)
_VARIABLES = (
    ("BASCULE_LAB", "the lab that is meant where none is named"),
    ("BASCULE_STATE_DIR", "where records are kept"),
    ("BASCULE_LOG", "where it is told what was done: a file, syslog, off"),
    ("BASCULE_DEBUG=netlink", "tell each message to the kernel, and each answer"),
    ("NO_COLOR", "no colours"),
)
# what other tools call it
_ELSEWHERE = {
    "ps": "ls",
    "list": "ls",
    "status": "show",
    "start": "up",
    "create": "up",
    "deploy": "up",
    "apply": "up",
    "stop": "down",
    "destroy": "down",
    "delete": "down",
    "rm": "down",
    "kill": "down --kill",
    "diff": "plan",
    "run": "exec",
    "attach": "shell",
    "enter": "shell",
    "logs": "events",
    "watch": "up --watch",
    "config": "check",
    "validate": "check",
    "networks": "network ls",
    "nodes": "node ls",
    "add": "node add",
    "connect": "network connect",
    "disconnect": "network disconnect",
}
_NOT_NEEDED = {
    "-f": "the file is named without an option: `bascule {command} FILE`",
    "--file": "the file is named without an option: `bascule {command} FILE`",
    "-it": "leave it out: the terminal is handed on as it is",
    "-ti": "leave it out: the terminal is handed on as it is",
    "-i": "leave it out: the terminal is handed on as it is",
    "-t": "leave it out: the terminal is handed on as it is",
    "-d": "leave it out: a lab stays up by itself",
    "--detach": "leave it out: a lab stays up by itself",
    "-p": "the lab is named by --lab",
    "-y": "leave it out: nothing is asked",
}


def overview() -> str:
    """What `bascule --help` prints."""
    about = {row.name: row.help for row in ROWS}
    lines = ["usage: bascule COMMAND …", "", _ABOUT]
    for title, names in GROUPS:
        lines += ["", title, *(f"  {name:13} {about[name]}" for name in names)]
    lines += ["", "Examples", *(f"  {line:40} {why}" for line, why in _EXAMPLES)]
    lines += ["", "Exit codes", *(f"  {line}" for line in _CODES)]
    lines += ["", "Variables", *(f"  {name:22} {what}" for name, what in _VARIABLES)]
    return "\n".join([*lines, "", "`bascule help COMMAND` tells all of one.", ""])


def below(row: Row) -> str:
    """What stands below the help of a command."""
    examples = row.examples or tuple(line for verb in row.children for line in verb.examples[:1])
    lines = ["", "examples:", *(f"  bascule {line}" for line in examples)]
    if row.codes:
        lines += ["", f"exit code: {row.codes}"]
    return "\n".join([*lines, ""])


def unknown_command(word: str, rows: Iterable[Row], before: str = "") -> str:
    """There is no such command, or no such verb of the one ``before``."""
    names = [row.name for row in rows]
    meant = _ELSEWHERE.get(word, "") if not before else ""
    if not meant:
        near = get_close_matches(word, names, 1, 0.5)
        meant = f"{before}{near[0]}" if near else ""
    what = f"no command {before}{shown(word)}"
    if meant:
        return f"{what}; did you mean `bascule {meant}`?"
    return f"{what}; there are: {', '.join(names)}"


def unknown_arguments(words: list[str], options: list[str], command: str) -> str:
    """These were not understood, by a command with these options: the first, with what may be
    meant."""
    word = words[0].partition("=")[0]
    if word in _NOT_NEEDED:
        return f"no option {shown(word)}: {_NOT_NEEDED[word].format(command=command)}"
    if not word.startswith("-"):
        return f"{shown(words[0])} is one word too many; leave it out"
    near = get_close_matches(word, options, 1, 0.5)
    meant = (
        f"did you mean {near[0]}?" if near else f"`bascule help {command}` tells which there are"
    )
    return f"no option {shown(word)}; {meant}"
