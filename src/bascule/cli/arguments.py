"""The commands as a table: one row a command, its arguments, and where its handler is."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

Argument = tuple[tuple[str, ...], dict[str, Any]]


class Row(NamedTuple):
    """One command; one with ``children`` (verbs) has neither arguments nor a handler of its own.
    ``noun``: the words of this noun of the lab file are options, too."""

    name: str
    help: str
    handler: str = ""
    arguments: tuple[Argument, ...] = ()
    children: tuple[Row, ...] = ()
    noun: str = ""

    def all_arguments(self) -> tuple[Argument, ...]:
        """The options of the noun's words, and the command's own arguments."""
        if not self.noun:
            return self.arguments
        # Imported late: what needs no words is not to wait for them.
        from bascule.api import options

        return (*options.of(self.noun), *self.arguments)


def _argument(*names: str, **options: Any) -> Argument:
    return names, options


def _flag(name: str, text: str) -> Argument:
    return _argument(name, action="store_true", help=text)


FILE = _argument(
    "file", nargs="?", metavar="FILE", help="the lab file; default: bascule.yaml in this folder"
)
JSON = _flag("--json", "print JSON")
LAB = _argument(
    "--lab", "-l", metavar="LAB", help="the lab; default: $BASCULE_LAB, else the only one there is"
)
WORLD = _argument(
    "--world",
    choices=("host", "private"),
    help="where: the machine itself (needs root) or a world of its own",
)
NO_WAIT = _flag("--no-wait", "fail at once where another command works on the lab")
EXPLAIN = _flag("--explain", "print each operation as the plain command it stands for")
DRY_RUN = _flag("--dry-run", "print the plan and do nothing")
WATCH = _flag(
    "--watch", "go on: make it so again when the file changes, or somebody changes the lab"
)
KILL = _flag("--kill", "end what runs in nodes that go: SIGTERM, and SIGKILL after three seconds")
RUN = (EXPLAIN, DRY_RUN, NO_WAIT)
NAME = _argument("--name", metavar="LAB", help="the lab's name, instead of the file's")
NODE = _argument("node", metavar="NODE")
NETWORK = _argument("network", metavar="NETWORK")
OPTIONAL_LAB = _argument(
    "lab",
    nargs="?",
    metavar="LAB",
    help="the lab; default: the one of this folder's file, or the only one",
)


def _words(*names: str, text: str, metavar: str) -> Argument:
    """An option that may be repeated."""
    return _argument(*names, action="append", default=[], metavar=metavar, help=text)


FILTER = _words(
    "--filter",
    "-f",
    text="only those with label=KEY, label=KEY=VALUE or name=PART",
    metavar="FILTER",
)

# those of bascule.api.documents
_DOCUMENTS = (
    *("lab", "ls", "show", "node", "nodes", "network", "networks"),
    *("port", "plan", "check", "ping", "doctor", "events"),
)
_FORCE = _flag("--force", "also where nodes are attached: disconnect them first")

NETWORK_VERBS = (
    Row(
        "create",
        "make a network: a bridge",
        "live:network_create",
        (_argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="network",
    ),
    Row(
        "rm",
        "remove a network",
        "live:network_rm",
        (_argument("name", metavar="NAME"), _FORCE, LAB, *RUN),
    ),
    Row("ls", "list the networks", "live:network_ls", (LAB, FILTER, JSON)),
    Row(
        "inspect",
        "show one network",
        "live:network_inspect",
        (_argument("name", metavar="NAME"), LAB, JSON),
    ),
    Row(
        "connect",
        "attach a node to a network",
        "live:network_connect",
        (NETWORK, NODE, LAB, *RUN),
        noun="attachment",
    ),
    Row(
        "disconnect",
        "detach a node from a network",
        "live:network_disconnect",
        (NETWORK, NODE, LAB, *RUN),
    ),
    Row("prune", "remove all networks without nodes", "live:network_prune", (LAB, *RUN)),
)
NODE_VERBS = (
    Row(
        "add",
        "make a node: a network namespace",
        "live:node_add",
        (_argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="node",
    ),
    Row(
        "rm", "remove a node", "live:node_rm", (_argument("name", metavar="NAME"), KILL, LAB, *RUN)
    ),
    Row("ls", "list the nodes", "live:node_ls", (LAB, FILTER, JSON)),
)

ROWS = (
    Row("up", "make the lab what the file says", "labs:up", (FILE, NAME, WORLD, WATCH, *RUN)),
    Row(
        "down",
        "take a lab away",
        "labs:down",
        (_argument("lab", nargs="?", metavar="LAB|FILE"), _flag("--all", "all labs"), KILL, *RUN),
    ),
    Row("plan", "show what `up` would do", "labs:plan", (FILE, NAME, WORLD, JSON)),
    Row(
        "script",
        "print the shell script that does what `up` does",
        "labs:script",
        (
            FILE,
            NAME,
            _flag("--classic", "by hand: brctl, one step a line"),
            _flag("--teardown", "the way back"),
        ),
    ),
    Row("ls", "list the labs", "labs:ls", (FILTER, JSON)),
    Row("show", "show a lab as the kernel has it", "labs:show", (OPTIONAL_LAB, JSON)),
    Row(
        "inspect",
        "show a lab, or one node or network of it, in full",
        "labs:inspect",
        (
            _argument("name", nargs="?", metavar="NAME", help="a lab, a node or a network"),
            LAB,
            _flag("--yaml", "print the lab as a file that `up` accepts"),
            JSON,
        ),
    ),
    Row(
        "exec",
        "run a command in a node",
        "inside:run",
        (
            LAB,
            NODE,
            _argument(
                "argv", nargs=argparse.REMAINDER, metavar="CMD …", help="the command, after --"
            ),
        ),
    ),
    Row("shell", "open a shell in a node", "inside:shell", (LAB, NODE)),
    Row(
        "ping",
        "send ICMP echo between nodes; without names, between all",
        "inside:ping",
        (
            _argument("source", nargs="?", metavar="FROM"),
            _argument("target", nargs="?", metavar="TO", help="a node or an address"),
            LAB,
            _argument("--timeout", type=float, default=2.0, metavar="SECONDS"),
            JSON,
        ),
    ),
    Row(
        "events",
        "print what changes in the labs, also what others change, one line each, until interrupted",
        "watch:events",
        (
            _argument("labs", nargs="*", metavar="LAB", help="only these labs"),
            _flag("--json", "print a JSON object a line"),
        ),
    ),
    Row("port", "show which ports of the host lead to a node", "live:port", (NODE, LAB, JSON)),
    Row("network", "Docker's verbs for networks, live", children=NETWORK_VERBS),
    Row("node", "verbs for nodes, live", children=NODE_VERBS),
    Row("check", "check a lab file and report all mistakes", "labs:check", (FILE, JSON)),
    Row(
        "restore",
        "after a reboot: bring back the labs that were up on the machine",
        "boot:restore",
        (
            _argument("labs", nargs="*", metavar="LAB", help="only these"),
            _argument(
                "--wait",
                type=float,
                default=0,
                metavar="SECONDS",
                help="try again for so long what lacks something yet",
            ),
        ),
    ),
    Row(
        "install-unit",
        "have systemd run `restore` when the machine starts",
        "boot:install_unit",
        (_flag("--print", "print the unit and do nothing"), _flag("--remove", "remove it")),
    ),
    Row(
        "schema",
        "print the JSON Schema of the lab file, or of what a command prints with --json",
        "labs:schema",
        (
            _argument(
                "document",
                nargs="?",
                default="lab",
                choices=_DOCUMENTS,
                metavar="DOCUMENT",
                help=f"one of {', '.join(_DOCUMENTS)}; default: lab",
            ),
        ),
    ),
    Row(
        "doctor",
        "what this machine can and cannot do, and what to do about it",
        "machine:doctor",
        (JSON,),
    ),
    Row(
        "completion",
        "print the completion script for a shell",
        "machine:completion",
        (_argument("shell", choices=("bash", "zsh", "tcsh")),),
    ),
)
