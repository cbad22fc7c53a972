"""Write the manual pages: man/bascule.1 of the table of commands, man/bascule.yaml.5 of the words.

``python tools/man.py``; ``make golden`` does it, too. The pages are made of the same rows as the
parser, its help and the reference. A page that says the same as before keeps its date.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from bascule import __version__
from bascule.cli import usage
from bascule.cli.arguments import Argument, Row
from bascule.cli.commands import GROUPS, ROWS
from bascule.topology.word import Noun, Word
from bascule.topology.words.lab import NOUNS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "man"
EXAMPLE = ROOT / "examples" / "docker-bridge.yaml"
WIDTH = 78
SHARED = 4  # an option that so many commands have is described once
FILES = (
    ("bascule.yaml", "the lab file of this folder; its words are in bascule.yaml(5)"),
    ("/run/bascule", "records of labs that are up, root's; gone with a reboot"),
    ("$XDG_RUNTIME_DIR/bascule", "the same of anybody else; /tmp/bascule-UID without a session"),
    ("/run/netns, /etc/netns", "nodes on the machine itself, and their files, as for ip-netns(8)"),
    ("/var/lib/bascule", "what `bascule restore` brings back after a reboot"),
)
# what roff means otherwise, or prints as another character than the one that is typed
_SPELT = {
    "\\": "\\e",
    "-": "\\-",
    "'": "\\(aq",
    "`": "\\(ga",
    "^": "\\(ha",
    "~": "\\(ti",
}
_DATE = re.compile(r'^(\.TH \S+ \d) "\S+"', re.MULTILINE)


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file. The date is today's."""
    return {"bascule.1": _text(_commands()), "bascule.yaml.5": _text(_words())}


def undated(page: str) -> str:
    """A page without its date."""
    return _DATE.sub(r"\1", page)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# --- bascule(1)


def _commands() -> Iterator[str]:
    yield from _head("BASCULE", 1, "bascule", "networks of Linux network namespaces, from one file")
    yield ".SH SYNOPSIS"
    yield f".B bascule\n{_italic('COMMAND')} \\&..."
    yield ".SH DESCRIPTION"
    yield _prose(
        "A lab is what one file describes: networks, which are bridges, and nodes, which are "
        "network namespaces. `bascule up` makes it so, `bascule down` takes it away and leaves "
        "the machine as it was. Root's labs are on the machine itself, anybody else's in a "
        "private world that needs no privileges. The lab file is described in bascule.yaml(5)."
    )
    by_name = {row.name: row for row in ROWS}
    shared = _shared()
    for title, names in GROUPS:
        yield f".SH {title.upper()}"
        for name in names:
            row = by_name[name]
            for each in row.children or (row,):
                yield from _command(each, f"{name} " if row.children else "", shared)
    yield ".SH OPTIONS OF MANY COMMANDS"
    for names, settings in shared.values():
        yield from _argument((names, settings))
    yield ".SH EXIT STATUS"
    for code, meaning in re.findall(r"(\d+) (.*?)(?:   |$)", "   ".join(usage._CODES)):
        yield from _item(code, meaning)
    yield ".SH ENVIRONMENT"
    for name, meaning in usage._VARIABLES:
        yield from _item(name, meaning)
    yield ".SH FILES"
    for name, meaning in FILES:
        yield from _item(name, meaning)
    yield ".SH EXAMPLES"
    yield from _verbatim(f"{line:40} # {why}" for line, why in usage._EXAMPLES)
    yield from _see_also("bascule.yaml(5)", "ip-netns(8)", "bridge(8)", "nft(8)", "pasta(1)")


def _leaves() -> Iterator[Row]:
    for row in ROWS:
        yield from row.children or (row,)


def _key(argument: Argument) -> tuple[str, str]:
    names, settings = argument
    return names[0], str(settings.get("help", ""))


def _shared() -> dict[tuple[str, str], Argument]:
    """The options that many commands have, each with the same meaning."""
    options = [
        argument
        for row in _leaves()
        for argument in row.all_arguments()
        if argument[0][0].startswith("-")
    ]
    counted = Counter(map(_key, options))
    return {_key(each): each for each in options if counted[_key(each)] >= SHARED}


def _command(row: Row, before: str, shared: dict[tuple[str, str], Argument]) -> Iterator[str]:
    arguments = row.all_arguments()
    places = [each for each in arguments if not each[0][0].startswith("-")]
    own = [each for each in arguments if each not in places and _key(each) not in shared]
    common = [each[0][0] for each in arguments if _key(each) in shared]
    yield f".SS {_escaped(f'bascule {before}{row.name}')}" + "".join(
        f" {_place(each)}" for each in places
    )
    yield _prose(f"{row.help[0].upper()}{row.help[1:]}.")
    for each in (*places, *own):
        if each[1].get("help") or each in own:
            yield from _argument(each)
    if common:
        yield ".PP\nAlso, as described below:"
        yield _prose(", ".join(f"`{name}`" for name in common) + ".")
    yield ".PP"
    yield from _verbatim(f"bascule {line}" for line in row.examples)
    if row.codes:
        yield ".PP"
        yield _prose(f"Exit status: {row.codes}.")


def _place(argument: Argument) -> str:
    names, settings = argument
    metavar = settings.get("metavar") or "|".join(settings.get("choices", ())) or names[0].upper()
    several = settings.get("nargs")
    text = _italic(metavar)
    if several in ("*", "+"):
        text += " ..."
    return f"[{text}]" if several in ("?", "*") else text


def _argument(argument: Argument) -> Iterator[str]:
    names, settings = argument
    if not names[0].startswith("-"):
        tag = _place(argument)
    else:
        tag = ", ".join(f"\\fB{_escaped(name)}\\fP" for name in _spellings(names, settings))
        value = _value(settings)
        tag += f" {_italic(value)}" if value else ""
    yield f".TP\n{tag}"
    yield _prose(settings.get("help", "").replace("%%", "%"))


def _spellings(names: tuple[str, ...], settings: dict[str, Any]) -> Iterator[str]:
    yield from names
    if isinstance(settings.get("action"), type):  # argparse.BooleanOptionalAction
        yield from (f"--no-{name[2:]}" for name in names if name.startswith("--"))


def _value(settings: dict[str, Any]) -> str:
    action = settings.get("action", "store")
    if action not in ("store", "append"):
        return ""
    return "|".join(settings.get("choices", ())) or settings.get("metavar", "VALUE")


# --- bascule.yaml(5)


def _words() -> Iterator[str]:
    yield from _head("BASCULE.YAML", 5, "bascule.yaml", "the lab file of bascule")
    yield ".SH DESCRIPTION"
    yield _prose(
        "A lab file is YAML, and so JSON, which is a part of it. It says what networks (bridges) "
        "and what nodes (network namespaces) there are to be, and `bascule up` makes it so. "
        "`bascule check` reports all mistakes at once, each with its line and column; `bascule "
        "schema` prints the JSON Schema, with which editors complete the file. The words of "
        "Compose are understood where it has one for the same."
    )
    yield ".PP"
    yield _prose("The shortest lab, with everything else by default:")
    yield ".PP"
    yield from _verbatim(["nodes: {a: [lan], b: [lan]}"])
    yield ".PP"
    yield _prose("The network of Docker's bridge, in full:")
    yield ".PP"
    yield from _verbatim(EXAMPLE.read_text(encoding="utf-8").splitlines())
    yield ".PP"
    yield _prose(
        "Only `true`, `false`, `null` and numbers are more than text: `22:22`, `no` and `on` are "
        "strings. `count: 200` with a node `web` makes `web1` to `web200`."
    )
    for noun in NOUNS.values():
        yield from _noun(noun)
    yield from _see_also("bascule(1)", "ip-netns(8)", "tc-tbf(8)")


def _noun(noun: Noun) -> Iterator[str]:
    yield f".SH {noun.name.upper()}"
    yield _prose(noun.doc)
    for word in noun.words:
        yield from _word(word)


def _word(word: Word) -> Iterator[str]:
    yield ".TP\n" + ", ".join(f"\\fB{_escaped(name)}\\fP" for name in (word.name, *word.other))
    yield _prose(word.doc)


# --- roff, in the words of man(7)


def _head(title: str, section: int, name: str, what: str) -> Iterator[str]:
    yield '.\\" Made by tools/man.py; make golden writes it anew.'
    today = date.today().isoformat()
    kind = {1: "User Commands", 5: "File Formats"}[section]
    yield f'.TH {title} {section} "{today}" "bascule {__version__}" "{kind}"'
    yield f".SH NAME\n{name} \\- {_escaped(what)}"


def _item(name: str, meaning: str) -> Iterator[str]:
    yield f".TP\n.B {_escaped(name)}"
    yield _prose(meaning)


def _verbatim(lines: Iterable[str]) -> Iterator[str]:
    yield ".RS 4\n.EX"
    yield from (_line(_escaped(line)) for line in lines)
    yield ".EE\n.RE"


def _see_also(*names: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    yield ",\n".join(re.sub(r"(.*)(\(\d\))", r".BR \1 \2", name) for name in sorted(names))


def _italic(text: str) -> str:
    return f"\\fI{_escaped(text)}\\fP"


def _prose(text: str) -> str:
    """A paragraph, a sentence a line; what stands in backquotes is bold."""
    parts = re.split(r"`([^`]*)`", text)
    marked = "".join(
        f"\\fB{_escaped(part)}\\fP" if at % 2 else _escaped(part) for at, part in enumerate(parts)
    )
    sentences = re.split(r"(?<=[a-z0-9)P][.:;]) (?=[A-Z\\])", marked)
    return "\n".join(_line(line) for each in sentences for line in _wrapped(each))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False) or [""]


def _line(text: str) -> str:
    """A line of text that roff does not take for a request."""
    return f"\\&{text}" if text[:1] in (".", "'") else text or "\\&"


def _escaped(text: str) -> str:
    """Text as roff prints it: its own characters, a dash that can be copied, and in ASCII."""
    return "".join(
        _SPELT.get(each, each if each < "\x7f" else f"\\[u{ord(each):04X}]") for each in text
    )


def main() -> int:
    """Write what has changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or undated(path.read_text(encoding="utf-8")) != undated(text):
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
