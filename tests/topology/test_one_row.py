"""A word is a row: one that nobody else knows of is loaded, judged, dumped, in the schema, in the
completion, an option with its help, and in the reference."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jsonschema
import pytest
import yaml

from bascule.api import options
from bascule.cli.parsing import parser
from bascule.errors import TopologyError
from bascule.topology import edit
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data, to_yaml
from bascule.topology.forms import FLAG, NAMES, TEXT, number
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Attachment, Network, Node, Topology
from bascule.topology.schema import json_schema
from bascule.topology.word import Form, Noun, Option, Takes, Word
from bascule.topology.words.lab import NOUNS
from tools import reference


@dataclass(frozen=True, slots=True)
class _Network(Network):
    motto: Any = None


@dataclass(frozen=True, slots=True)
class _Attachment(Attachment):
    motto: Any = None


@dataclass(frozen=True, slots=True)
class _Node(Node):
    motto: Any = None


MODELS = {"network": _Network, "attachment": _Attachment, "node": _Node}
DOC = "What it stands for. Left out: nothing."
COMMANDS = {
    "network": ["network", "create", "lan"],
    "attachment": ["network", "connect", "lan", "a"],
    "node": ["node", "add", "a"],
}


def _item(topology: Topology, noun: str) -> Any:
    if noun == "network":
        return topology.networks[0]
    return topology.nodes[0].attachments[0] if noun == "attachment" else topology.nodes[0]


def _lab(noun: str, motto: object) -> dict[str, Any]:
    words = {each: {"motto": motto} if each == noun else {} for each in MODELS}
    node = {"networks": {"lan": words["attachment"]}, **words["node"]}
    return {"networks": {"lan": words["network"]}, "nodes": {"a": node}}


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Form, Option], Noun]:
    """Puts the row for ``motto`` into a noun's table."""

    def one(name: str, form: Form, option: Option) -> Noun:
        noun = NOUNS[name]
        row = Word(
            "motto", form, "What it stands for. Left out: nothing.", ("saying",), option=option
        )
        grown = replace(noun, words=(*noun.words, row), model=MODELS[name])
        for each in fields(Noun):
            monkeypatch.setattr(noun, each.name, getattr(grown, each.name))
        return noun

    return one


@pytest.mark.parametrize("noun", MODELS)
def test_a_word_is_one_row(add: Callable[[str, Form, Option], Noun], noun: str) -> None:
    add(noun, TEXT, Option("what it stands for", "TEXT"))
    data = _lab(noun, "all for one")

    loaded = load_text(yaml.safe_dump(data).encode(), "lab.yaml")
    assert _item(loaded, noun).motto == "all for one"
    assert from_data(json.loads(json.dumps(data).replace("motto", "saying"))) == loaded

    assert from_data(to_data(loaded)) == loaded
    assert from_data(to_data(assign(loaded))) == assign(loaded)
    assert "motto: all for one" in to_yaml(loaded)
    assert "motto" not in to_yaml(from_data(_lab("no", "")))

    jsonschema.validate(data, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_lab(noun, [1]), json_schema())
    described = json_schema()["$defs"][noun]["properties"]
    assert described["motto"]["description"] == DOC
    assert described["saying"]["description"] == f"The same as `motto`. {DOC}"

    parsed = parser("network" if noun != "node" else "node").parse_args(
        [*COMMANDS[noun], "--motto", "one for all"]
    )
    assert options.given(parsed, noun) == {"motto": "one for all"}
    assert _item(_changed(noun, parsed), noun).motto == "one for all"

    assert f"| `motto`, `saying` | {DOC} | `--motto TEXT` |\n" in reference.tables() + "\n"


def _changed(noun: str, parsed: Namespace) -> Topology:
    """What the command makes of a lab."""
    given = options.given(parsed, noun)
    both = from_data({"networks": {"lan": None}, "nodes": ["a"]})
    if noun == "network":
        added = edit.add_network(edit.remove_network(both, "lan"), "lan", given)
        return edit.connect(added, "a", Attachment("lan"))
    if noun == "attachment":
        return edit.connect_data(both, "a", "lan", given)
    return edit.add_node_data(edit.remove_node(both, "a"), "a", given)


def test_its_mistakes_have_line_and_column(add: Callable[[str, Form, Option], Noun]) -> None:
    """Its own, and those of a word that is like it."""
    add("network", number(1, 9), Option())
    text = b"networks:\n  lan: {motto: 10}\n  wan: {moto: 1}\n  dmz: {motto: 1, saying: 1}\n"
    with pytest.raises(TopologyError) as caught:
        load_text(text, "lab.yaml")
    assert str(caught.value).splitlines() == [
        "lab.yaml:2:16: networks.lan.motto: 10 is out of range; write a number from 1 to 9",
        "lab.yaml:3:9: networks.wan: unknown key 'moto'; did you mean 'motto'?",
        "lab.yaml:4:19: networks.dmz.saying: says the same as 'motto'; keep one of them",
    ]


@pytest.mark.parametrize(
    ("form", "option", "given", "said"),
    [
        (TEXT, Option(), ["--motto", "x"], "x"),
        (number(0, 9), Option(), ["--motto", "0"], 0),
        (NAMES, Option(), ["--motto", "x", "--motto", "y"], ["x", "y"]),
        (FLAG, Option(), ["--motto"], True),
        (FLAG, Option(takes=Takes.DENIES), ["--no-motto"], False),
        (FLAG, Option(takes=Takes.EITHER), ["--motto"], True),
        (FLAG, Option(takes=Takes.EITHER), ["--no-motto"], False),
        (NAMES, Option(names=("--say", "-s")), ["-s", "x", "--say", "y"], ["x", "y"]),
        (TEXT, Option(choices=("x", "y")), ["--motto", "y"], "y"),
        (TEXT, Option(says=str.upper), ["--motto", "x"], "X"),
    ],
)
def test_what_an_option_says(
    add: Callable[[str, Form, Option], Noun],
    form: Form,
    option: Option,
    given: list[str],
    said: object,
) -> None:
    """By the form of its word, or otherwise. Without it nothing is said."""
    add("node", form, option)
    assert options.given(parser("node").parse_args(["node", "add", "a", *given]), "node") == {
        "motto": said
    }
    assert options.given(parser("node").parse_args(["node", "add", "a"]), "node") == {}


def test_an_option_without_help_has_that_of_its_word(
    add: Callable[[str, Form, Option], Noun], capsys: pytest.CaptureFixture[str]
) -> None:
    add("node", TEXT, Option())
    with pytest.raises(SystemExit):
        parser("node").parse_args(["node", "add", "--help"])
    assert f"--motto MOTTO {DOC}" in " ".join(capsys.readouterr().out.split())


def test_each_word_of_these_commands_is_written_one_way() -> None:
    """No two options of a command are called alike, nor as the command's own."""
    for noun, (command, verb, *_) in COMMANDS.items():
        flags = [flag for word in NOUNS[noun].words for flag in word.flags]
        assert len(flags) == len(set(flags)) >= 9
        assert not {"--lab", "-l", "--world", "--explain", "--dry-run", "--no-wait"} & set(flags)
        parser(command).parse_args([command, verb, *COMMANDS[noun][2:]])


def test_the_reference_is_that_of_these_words() -> None:
    """`make golden` writes it anew."""
    text = reference.PAGE.read_text(encoding="utf-8")
    assert reference.BEGIN in text
    assert reference.page(text) == text


@pytest.mark.parametrize("arguments", [[], ["exec", "a", "true"], ["ls"]], ids=str)
def test_commands_without_words_do_not_wait_for_them(arguments: list[str]) -> None:
    """`--version` (no command) and `exec` have a budget of milliseconds."""
    script = (
        "import sys; from bascule.cli.parsing import parser; "
        f"parser(({arguments} or [''])[0]); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "bascule.cli.commands" in loaded
    assert not [name for name in loaded if name.startswith("bascule.topology")]
