"""The commands as a table: one row a command, its arguments, and where its handler is."""

from __future__ import annotations

import argparse

from bascule.cli.arguments import (
    AS_OPTION,
    FILE,
    FILTER,
    JSON,
    KILL,
    LAB,
    LISTED,
    NAME,
    NODE,
    OPTIONAL_LAB,
    RUN,
    SHOWN,
    WATCH,
    WITHOUT_IPV6,
    WORLD,
    Row,
    argument,
    flag,
)
from bascule.cli.verbs import NETWORK_VERBS, NODE_VERBS, SYSTEM_VERBS

# those of bascule.api.documents
_DOCUMENTS = (
    *("lab", "ls", "show", "node", "nodes", "network", "networks", "port", "plan", "plans"),
    *("check", "ping", "doctor", "events", "done", "leftovers", "dones", "unit", "failed"),
    *("exec", "call", "reply", "all"),
)
# those of bascule.topology.generate
_KINDS = ("line", "ring", "star", "tree", "mesh", "grid", "leaf-spine", "random")

ROWS = (
    Row(
        "up",
        "make the lab what the file says",
        "labs:up",
        (FILE, NAME, WORLD, WITHOUT_IPV6, WATCH, *RUN),
        examples=("up", "up lab.yaml --explain"),
    ),
    Row(
        "down",
        "take a lab away",
        "labs:down",
        (
            argument("lab", nargs="?", metavar="LAB|FILE", help="default: as for `show`"),
            AS_OPTION,
            flag("--all", "all labs"),
            flag("--force", "also where its record can't be read: what is to be seen of it"),
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
            WITHOUT_IPV6,
            flag("--exit-code", "end with 3 where there is something to do"),
            JSON,
        ),
        examples=("plan", "plan lab.yaml --exit-code"),
        codes="3: there is something to do (with --exit-code)",
        served="reads",
    ),
    Row(
        "script",
        "print the shell script that does what `up` does",
        "labs:script",
        (
            FILE,
            NAME,
            WITHOUT_IPV6,
            flag("--classic", "by hand: brctl, one step a line"),
            flag("--teardown", "the way back"),
        ),
        examples=("script > up.sh", "script lab.yaml --classic"),
        served="reads",
    ),
    Row(
        "check",
        "check a lab file and report all mistakes",
        "labs:check",
        (FILE, WITHOUT_IPV6, JSON),
        examples=("check", "check lab.yaml --json"),
        served="reads",
    ),
    Row(
        "generate",
        "print a lab file of a usual shape",
        "labs:generate",
        (
            argument(
                "kind",
                choices=_KINDS,
                metavar="KIND",
                help=f"one of {', '.join(_KINDS)}",
            ),
        ),
        noun="generate",
        examples=(
            "generate ring --nodes 8 > lab.yaml",
            "generate leaf-spine --leaves 4 --spines 2 > fabric.yaml",
        ),
        served="reads",
    ),
    Row(
        "ls",
        "list the labs",
        "labs:ls",
        (
            flag("--all", "also those of other state directories and, as root, of other users"),
            flag("--check", "look at all of each lab, as `plan` does, which takes longer"),
            FILTER,
            *LISTED,
        ),
        examples=("ls", "ls --format '{{.Name}}\\t{{.State}}'", "ls --all --check"),
        served="reads",
    ),
    Row(
        "show",
        "show a lab as the kernel has it",
        "labs:show",
        (OPTIONAL_LAB, AS_OPTION, SHOWN, JSON),
        examples=("show", "show home --json", "show --format '{{json .Nodes}}'"),
        served="reads",
    ),
    Row(
        "inspect",
        "show a lab, or one node or network of it, in full",
        "labs:inspect",
        (
            argument("name", nargs="?", metavar="LAB|NODE|NETWORK"),
            LAB,
            flag("--yaml", "print the lab as a file that `up` accepts"),
            SHOWN,
            JSON,
        ),
        examples=(
            "inspect web",
            "inspect home --yaml > home.yaml",
            "inspect web -f '{{range .Interfaces}}{{.Name}} {{join .Addresses \",\"}} {{end}}'",
        ),
        served="reads",
    ),
    Row(
        "ping",
        "send ICMP echo between nodes; without names, between all",
        "inside:ping",
        (
            argument("source", nargs="?", metavar="FROM", help="a node, or LAB/NODE"),
            argument("target", nargs="?", metavar="TO", help="a node or an address"),
            LAB,
            argument("--timeout", type=float, default=2.0, metavar="SECONDS"),
            JSON,
        ),
        examples=("ping", "ping ns1 ns2"),
        codes="1: an echo was not answered, or one was that the lab says no answer comes to",
    ),
    Row(
        "port",
        "show which ports of the host lead to a node",
        "live:port",
        (NODE, LAB, *LISTED),
        examples=("port web", "port home/web --json"),
        served="reads",
    ),
    Row(
        "events",
        "print what changes in the labs, one line each, until interrupted",
        "watch:events",
        (
            argument("labs", nargs="*", metavar="LAB", help="only these labs"),
            flag("--json", "print a JSON object a line"),
        ),
        examples=("events", "events home --json"),
        served="streams",
    ),
    Row(
        "exec",
        "run a command in a node",
        "inside:run",
        (
            LAB,
            NODE,
            argument(
                "argv", nargs=argparse.REMAINDER, metavar="CMD …", help="the command, after --"
            ),
        ),
        examples=("exec ns1 -- ip address", "exec home/ns1 -- ping -c1 ns2"),
        codes="the command's own; 126, 127 it can't be run, or found; 125 else",
        served="runs",
    ),
    Row(
        "shell",
        "open a shell in a node",
        "inside:shell",
        (LAB, NODE),
        examples=("shell ns1", "shell home/ns1"),
        codes="the shell's own; 125 bascule itself failed",
        served="alone",
    ),
    Row("network", "Docker's verbs for networks, live", children=NETWORK_VERBS),
    Row("node", "verbs for nodes, live", children=NODE_VERBS),
    Row(
        "doctor",
        "what this machine can and cannot do, or how a lab is",
        "machine:doctor",
        (
            argument("lab", nargs="?", metavar="LAB|FILE", help="look at this lab"),
            AS_OPTION,
            flag("--fix", "run the commands that mend what is found, and look again"),
            JSON,
        ),
        examples=("doctor", "doctor home", "doctor --fix"),
        codes="1: something that is needed is missing",
    ),
    Row("system", "verbs for what bascule has on this machine", children=SYSTEM_VERBS),
    Row(
        "restore",
        "after a reboot: bring back the labs that were up on the machine",
        "boot:restore",
        (
            argument("labs", nargs="*", metavar="LAB", help="only these"),
            argument(
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
        (flag("--print", "print the unit and do nothing"), flag("--remove", "remove it"), JSON),
        examples=("install-unit", "install-unit --print"),
        served="alone",
    ),
    Row(
        "serve",
        "carry out commands that come through a Unix socket",
        "serving:serve",
        (
            argument(
                "--socket",
                metavar="PATH",
                help="where it is made; default: the one that systemd has opened",
            ),
        ),
        examples=("serve --socket /run/bascule.sock", "serve --socket ~/.bascule.sock"),
        served="alone",
    ),
    Row(
        "schema",
        "print the JSON Schema of the lab file, or of an answer",
        "labs:schema",
        (
            argument(
                "document",
                nargs="?",
                default="lab",
                choices=_DOCUMENTS,
                metavar="DOCUMENT",
                help=f"one of {', '.join(_DOCUMENTS)}; default: lab",
            ),
            flag("--output", "of all that is printed with --json: the same as `all`"),
        ),
        examples=("schema > lab.schema.json", "schema --output", "schema show"),
        served="reads",
    ),
    Row(
        "completion",
        "print the completion script for a shell",
        "machine:completion",
        (argument("shell", choices=("bash", "zsh", "fish")),),
        examples=("completion bash > ~/.local/share/bash-completion/completions/bascule",),
        served="alone",
    ),
)
GROUPS = (
    ("Make and take away", ("up", "down", "plan", "script", "check", "generate")),
    ("Look", ("ls", "show", "inspect", "ping", "port", "events")),
    ("Work inside a node", ("exec", "shell")),
    ("Change a lab that is up", ("network", "node")),
    ("The machine", ("doctor", "system", "restore", "install-unit")),
    ("For programs", ("serve", "schema", "completion")),
)
