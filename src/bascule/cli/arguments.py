"""The commands as a table: one row a command, its arguments, and where its handler is."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

Argument = tuple[tuple[str, ...], dict[str, Any]]


class Row(NamedTuple):
    """One command; one with ``children`` (verbs) has neither arguments nor a handler of its own.
    ``noun``: the words of this noun of the lab file are options, too. ``examples`` stand below its
    help, with what its exit ``codes`` say beside the usual ones."""

    name: str
    help: str
    handler: str = ""
    arguments: tuple[Argument, ...] = ()
    children: tuple[Row, ...] = ()
    noun: str = ""
    examples: tuple[str, ...] = ()
    codes: str = ""

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
    "file",
    nargs="?",
    metavar="FILE|LAB",
    help="the lab file, or a lab that `ls` knows; default: bascule.yaml in this folder",
)
JSON = _flag("--json", "print JSON")
LAB = _argument(
    "--lab", "-l", metavar="LAB", help="the lab; default: $BASCULE_LAB, else the only one there is"
)
FORMATS = ("table", "json", "yaml", "name")
# how a list is printed, the same wherever there is one
LISTED = (
    _argument("--format", choices=FORMATS, default="table", help="how it is printed"),
    _argument(
        "--json", dest="format", action="store_const", const="json", help="short for --format json"
    ),
    _argument(
        *("--quiet", "-q"),
        dest="format",
        action="store_const",
        const="name",
        help="short for --format name: names alone",
    ),
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
RUN = (EXPLAIN, DRY_RUN, NO_WAIT, JSON)
NAME = _argument("--name", metavar="LAB", help="the lab's name, instead of the file's")
NODE = _argument("node", metavar="NODE", help="a node, or LAB/NODE")
NETWORKS = _argument("names", nargs="+", metavar="NETWORK")
NODES = _argument("names", nargs="+", metavar="NODE")
NETWORK = _argument("network", metavar="NETWORK")
OPTIONAL_LAB = _argument(
    "lab",
    nargs="?",
    metavar="LAB",
    help="the lab; default: the one of this folder's file, or the only one",
)
AS_OPTION = _argument("--lab", "-l", dest="as_option", metavar="LAB", help="the same as an option")


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
    *("port", "plan", "check", "ping", "doctor", "events", "done", "dones", "failed", "all"),
)
_FORCE = _flag("--force", "also where nodes are attached: disconnect them first")

NETWORK_VERBS = (
    Row(
        "create",
        "make a network: a bridge",
        "live:network_create",
        (_argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="network",
        examples=("network create lan", "network create lan --subnet 10.1.0.0/24 --nat"),
    ),
    Row(
        "rm",
        "remove networks",
        "live:network_rm",
        (NETWORKS, _FORCE, LAB, *RUN),
        examples=("network rm lan", "network rm --force lan dmz"),
    ),
    Row(
        "ls",
        "list the networks",
        "live:network_ls",
        (LAB, FILTER, *LISTED),
        examples=("network ls", "network ls --filter label=tier=front -q"),
    ),
    Row(
        "inspect",
        "show one network",
        "live:network_inspect",
        (_argument("name", metavar="NETWORK"), LAB, JSON),
        examples=("network inspect lan", "network inspect lan --lab home"),
    ),
    Row(
        "connect",
        "attach a node to a network",
        "live:network_connect",
        (NETWORK, NODE, LAB, *RUN),
        noun="attachment",
        examples=("network connect lan web", "network connect lan web --ip 10.1.0.9"),
    ),
    Row(
        "disconnect",
        "detach a node from a network",
        "live:network_disconnect",
        (NETWORK, NODE, LAB, *RUN),
        examples=("network disconnect lan web", "network disconnect lan home/web"),
    ),
    Row(
        "prune",
        "remove all networks without nodes",
        "live:network_prune",
        (LAB, *RUN),
        examples=("network prune", "network prune --dry-run"),
    ),
)
NODE_VERBS = (
    Row(
        "add",
        "make a node: a network namespace",
        "live:node_add",
        (_argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="node",
        examples=("node add web --network lan", "node add web --network lan --publish 8080:80"),
    ),
    Row(
        "rm",
        "remove nodes",
        "live:node_rm",
        (NODES, KILL, LAB, *RUN),
        examples=("node rm web", "node rm --kill web db"),
    ),
    Row(
        "ls",
        "list the nodes",
        "live:node_ls",
        (LAB, FILTER, *LISTED),
        examples=("node ls", "node ls --format json"),
    ),
)

ROWS = (
    Row(
        "up",
        "make the lab what the file says",
        "labs:up",
        (FILE, NAME, WORLD, WATCH, *RUN),
        examples=("up", "up lab.yaml --explain"),
    ),
    Row(
        "down",
        "take a lab away",
        "labs:down",
        (
            _argument("lab", nargs="?", metavar="LAB|FILE", help="default: as for `show`"),
            AS_OPTION,
            _flag("--all", "all labs"),
            _flag("--force", "also where its record can't be read: what is to be seen of it"),
            KILL,
            *RUN,
        ),
        examples=("down", "down home --kill"),
    ),
    Row(
        "plan",
        "show what `up` would do",
        "labs:plan",
        (
            FILE,
            NAME,
            WORLD,
            _flag("--exit-code", "end with 3 where there is something to do"),
            JSON,
        ),
        examples=("plan", "plan lab.yaml --exit-code"),
        codes="3: there is something to do (with --exit-code)",
    ),
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
        examples=("script > up.sh", "script lab.yaml --classic"),
    ),
    Row(
        "check",
        "check a lab file and report all mistakes",
        "labs:check",
        (FILE, JSON),
        examples=("check", "check lab.yaml --json"),
    ),
    Row("ls", "list the labs", "labs:ls", (FILTER, *LISTED), examples=("ls", "ls -q")),
    Row(
        "show",
        "show a lab as the kernel has it",
        "labs:show",
        (OPTIONAL_LAB, AS_OPTION, JSON),
        examples=("show", "show home --json"),
    ),
    Row(
        "inspect",
        "show a lab, or one node or network of it, in full",
        "labs:inspect",
        (
            _argument("name", nargs="?", metavar="LAB|NODE|NETWORK"),
            LAB,
            _flag("--yaml", "print the lab as a file that `up` accepts"),
            JSON,
        ),
        examples=("inspect web", "inspect home --yaml > home.yaml"),
    ),
    Row(
        "ping",
        "send ICMP echo between nodes; without names, between all",
        "inside:ping",
        (
            _argument("source", nargs="?", metavar="FROM", help="a node, or LAB/NODE"),
            _argument("target", nargs="?", metavar="TO", help="a node or an address"),
            LAB,
            _argument("--timeout", type=float, default=2.0, metavar="SECONDS"),
            JSON,
        ),
        examples=("ping", "ping ns1 ns2"),
        codes="1: an echo was not answered",
    ),
    Row(
        "port",
        "show which ports of the host lead to a node",
        "live:port",
        (NODE, LAB, JSON),
        examples=("port web", "port home/web --json"),
    ),
    Row(
        "events",
        "print what changes in the labs, one line each, until interrupted",
        "watch:events",
        (
            _argument("labs", nargs="*", metavar="LAB", help="only these labs"),
            _flag("--json", "print a JSON object a line"),
        ),
        examples=("events", "events home --json"),
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
        examples=("exec ns1 -- ip address", "exec home/ns1 -- ping -c1 ns2"),
        codes="the command's own; 126, 127 it can't be run, or found; 125 else",
    ),
    Row(
        "shell",
        "open a shell in a node",
        "inside:shell",
        (LAB, NODE),
        examples=("shell ns1", "shell home/ns1"),
        codes="the shell's own; 125 bascule itself failed",
    ),
    Row("network", "Docker's verbs for networks, live", children=NETWORK_VERBS),
    Row("node", "verbs for nodes, live", children=NODE_VERBS),
    Row(
        "doctor",
        "what this machine can and cannot do, and what to do about it",
        "machine:doctor",
        (JSON,),
        examples=("doctor", "doctor --json"),
        codes="1: something that is needed is missing",
    ),
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
            JSON,
        ),
        examples=("restore", "restore home --wait 30"),
    ),
    Row(
        "install-unit",
        "have systemd run `restore` when the machine starts",
        "boot:install_unit",
        (_flag("--print", "print the unit and do nothing"), _flag("--remove", "remove it")),
        examples=("install-unit", "install-unit --print"),
    ),
    Row(
        "schema",
        "print the JSON Schema of the lab file, or of an answer",
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
        examples=("schema > lab.schema.json", "schema show"),
    ),
    Row(
        "completion",
        "print the completion script for a shell",
        "machine:completion",
        (_argument("shell", choices=("bash", "zsh", "fish")),),
        examples=("completion bash > ~/.local/share/bash-completion/completions/bascule",),
    ),
)
GROUPS = (
    ("Make and take away", ("up", "down", "plan", "script", "check")),
    ("Look", ("ls", "show", "inspect", "ping", "port", "events")),
    ("Work inside a node", ("exec", "shell")),
    ("Change a lab that is up", ("network", "node")),
    ("The machine", ("doctor", "restore", "install-unit")),
    ("For programs", ("schema", "completion")),
)
