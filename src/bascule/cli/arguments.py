"""What a row of the table of commands is, and the arguments that several rows share."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

# "reads": changes nothing; "alone": nothing that a program calls
Served = Literal["changes", "reads", "streams", "runs", "alone"]
Argument = tuple[tuple[str, ...], dict[str, Any]]


class Row(NamedTuple):
    """One command; one with ``children`` (verbs) has neither arguments nor a handler of its own.
    ``noun``: the words of this noun of the lab file are options, too. ``examples`` stand below its
    help, with what its exit ``codes`` say beside the usual ones. ``served``: what it is to
    `bascule serve`."""

    name: str
    help: str
    handler: str = ""
    arguments: tuple[Argument, ...] = ()
    children: tuple[Row, ...] = ()
    noun: str = ""
    examples: tuple[str, ...] = ()
    codes: str = ""
    served: Served = "changes"

    def all_arguments(self) -> tuple[Argument, ...]:
        """The options of the noun's words, and the command's own arguments."""
        if not self.noun:
            return self.arguments
        # Imported late: what needs no words is not to wait for them.
        from bascule.api import options

        return (*options.of(self.noun), *self.arguments)


def argument(*names: str, **options: Any) -> Argument:
    """As argparse's ``add_argument`` takes them."""
    return names, options


def flag(name: str, text: str) -> Argument:
    """An option without a value."""
    return argument(name, action="store_true", help=text)


FILE = argument(
    "file",
    nargs="?",
    metavar="FILE|LAB",
    help="the lab file, or a lab that `ls` knows; default: bascule.yaml in this folder",
)
JSON = flag("--json", "print JSON")
LAB = argument(
    "--lab", "-l", metavar="LAB", help="the lab; default: $BASCULE_LAB, else the only one there is"
)


class _Forms(tuple[str, ...]):
    """Forms of printing, and templates beside them."""

    __slots__ = ()

    def __contains__(self, word: object) -> bool:
        return super().__contains__(word) or (isinstance(word, str) and "{{" in word)


_TEMPLATE = "'{{.Name}}' is a template in Docker's look, 'table {{.Name}}' with headings"
FORMATS = _Forms(("table", "json", "yaml", "name"))
# how a list is printed, the same wherever there is one
LISTED = (
    argument(
        "--format",
        choices=FORMATS,
        default="table",
        metavar="FORM",
        help=f"table, json, yaml or name; {_TEMPLATE}".replace("%", "%%"),
    ),
    argument(
        "--json", dest="format", action="store_const", const="json", help="short for --format json"
    ),
    argument(
        *("--quiet", "-q"),
        dest="format",
        action="store_const",
        const="name",
        help="short for --format name: names alone",
    ),
)
# how one thing is printed
SHOWN = argument(
    *("--format", "-f"),
    choices=_Forms(("json", "yaml")),
    default="",
    metavar="FORM",
    help="json, yaml, or a template in Docker's look: '{{.Name}}'",
)
WORLD = argument(
    "--world",
    choices=("host", "private"),
    help="where: the machine itself (needs root) or a world of its own",
)
NO_WAIT = flag("--no-wait", "fail at once where another command works on the lab")
EXPLAIN = flag("--explain", "print each operation as the plain command it stands for")
DRY_RUN = flag("--dry-run", "print the plan and do nothing")
WATCH = flag(
    "--watch", "go on: make it so again when the file changes, or somebody changes the lab"
)
KILL = flag("--kill", "end what runs in nodes that go: SIGTERM, and SIGKILL after three seconds")
RUN = (EXPLAIN, DRY_RUN, NO_WAIT, JSON)
NAME = argument("--name", metavar="LAB", help="the lab's name, instead of the file's")
WITHOUT_IPV6 = flag("--without-ipv6", "leave out what the file says of IPv6, and tell what it was")
NODE = argument("node", metavar="NODE", help="a node, or LAB/NODE")
NETWORKS = argument("names", nargs="+", metavar="NETWORK")
NODES = argument("names", nargs="+", metavar="NODE")
NETWORK = argument("network", metavar="NETWORK")
OPTIONAL_LAB = argument(
    "lab",
    nargs="?",
    metavar="LAB",
    help="the lab; default: the one of this folder's file, or the only one",
)
AS_OPTION = argument("--lab", "-l", dest="as_option", metavar="LAB", help="the same as an option")


def words(*names: str, text: str, metavar: str) -> Argument:
    """An option that may be repeated."""
    return argument(*names, action="append", default=[], metavar=metavar, help=text)


FILTER = words(
    "--filter",
    "-f",
    text="only those with label=KEY, label=KEY=VALUE or name=PART",
    metavar="FILTER",
)
