"""Templates of --format: what of Go's language there is, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.api import LabInfo, LabView, NetworkView, NodeView, PortView
from bascule.cli.arguments import FORMATS
from bascule.cli.output import listing
from bascule.cli.template import Template
from bascule.engine.views import InspectedNetwork, InterfaceView, RouteView
from bascule.errors import InputError

PORT = InterfaceView(
    *("eth0", 3, True, "02::2", 1500, "lan", "veth-a", 4),
    *(("10.1.0.2/24", "fd00::2/64"), ("10.1.0.1",)),
)
ROUTE = RouteView("0.0.0.0/0", "10.1.0.1", "eth0", 0, 4, "default via 10.1.0.1 dev eth0")
NODE = NodeView(
    *("web", True, "/run/netns/web", 40, None, (PORT,), (ROUTE,), ()),
    *({"tier": "front", "a.b": "dots"}, {"networks": {"lan": {}}}),
)
BARE = NodeView("db", False, "", None, None, (), (), (), {}, {})

# template → what it makes of NODE
MADE = {
    "{{.Name}}": "web",
    "{{ .name }} {{.NAME}} {{.Exists}}": "web web true",
    "{{.NetnsInode}} {{.netns_inode}} {{.netnsinode}}": "40 40 40",
    "[{{.NetnsCookie}}]": "[]",
    "{{.Labels.tier}}/{{.Labels.none}}": "front/",
    '{{index .Labels "a.b"}}': "dots",
    "{{.Asked.networks}}": "map[lan:map[]]",
    "{{json .Labels}}": '{"tier":"front","a.b":"dots"}',
    "{{.Interfaces | json}}": '[{"name":"eth0","ifindex":3,"up":true,"mac":"02::2","mtu":1500,'
    '"network":"lan","host_interface":"veth-a","host_ifindex":4,"addresses":["10.1.0.2/24",'
    '"fd00::2/64"],"gateways":["10.1.0.1"],"egress":[],"ingress":[],"peer":""}]',
    "{{range .Interfaces}}{{.Name}}@{{$.Name}} {{end}}": "eth0@web ",
    "{{range .Interfaces}}{{range .Addresses}}{{.}},{{end}}{{end}}": "10.1.0.2/24,fd00::2/64,",
    '{{range .Interfaces}}{{join .Addresses ", "}}{{end}}': "10.1.0.2/24, fd00::2/64",
    "{{(index .Interfaces 0).Mac}}": "02::2",
    "{{index .Interfaces 0 | json | len}}": "221",
    "{{range .Ports}}x{{else}}none{{end}}": "none",
    "{{range .Labels}}{{.}} {{end}}": "front dots ",
    "{{if .Exists}}up{{else}}gone{{end}}": "up",
    "{{if .Ports}}some{{end}}": "",
    '{{if eq .Name "web" "db"}}y{{end}}{{if ne .Name "web"}}n{{end}}': "y",
    "{{if and .Exists (not .Ports)}}y{{end}}{{or .Ports .Name}}": "yweb",
    "{{with .Labels}}{{.tier}}{{end}}": "front",
    "{{.Name | upper}} {{lower `ABC`}} {{len .Routes}}": "WEB abc 1",
    r"{{.Name}}\t{{.Exists}}\n": "web\ttrue\n",
    "a {{- .Name -}} b": "awebb",
    "{{/* a comment */}}{{.Name}}": "web",
    '{{"}"}}{{"\\u00e9"}}': "}é",
    "no braces } here": "no braces } here",
    "{{range .Routes}}{{.To}} {{.Via}} {{.Family}}{{end}}": "0.0.0.0/0 10.1.0.1 4",
}
# template → what is said of it
WRONG = {
    "{{.Nme}}": "no field Nme; did you mean name?",
    "{{range .Interfaces}}{{.Adresses}}{{end}}": "did you mean addresses?",
    "{{if .Exists}}{{else}}{{.Ruotes}}{{end}}": "did you mean routes?",
    "{{range .Ports}}{{.HostProt}}{{end}}": "did you mean host_port?",
    "{{.Zzzzzz}}": "no field Zzzzzz; there are: name,",
    "{{$.Nme}}": "did you mean name?",
    "{{": "{{ without }}",
    "{{}}": "nothing between {{ and }}",
    "{{range .Ports}}": "{{range}} lacks its {{end}}",
    "{{if .Name}}{{else}}": "{{if}} lacks its {{end}}",
    "{{end}}": "{{end}} without its beginning",
    "{{else}}": "{{else}} without its beginning",
    "{{jsn .}}": "no function jsn; did you mean json?",
    "{{template .}}": "no function template; there are: json,",
    "{{json}}": "json takes 1 arguments, and not 0",
    "{{json . .}}": "json takes 1 arguments, and not 2",
    "{{json name}}": "name is no value; write .name",
    "{{.Name .Exists}}": "a function stands before them",
    "{{(.Name}}": "( without )",
    "{{.Name)}}": ") without (",
    "{{.Name; rm}}": "; rm is not understood",
    "{{__import__}}": "is not understood",
    '{{"\\x"}}': "is no text",
    "{{.Name.__class__}}": "has no field __class__",
    "{{range .Exists}}{{end}}": "lists and maps only",
    '{{index .Interfaces "x"}}': "index: ",
    "{{index .Interfaces 7}}": "index: ",
    "{{len .NetnsInode}}": "len: ",
    "x" * 10_001: "more than 10000 characters",
}


@pytest.mark.parametrize("text", MADE)
def test_what_a_template_makes(text: str) -> None:
    template = Template(text)
    template.check(NodeView)
    assert template.of(NODE) == MADE[text]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said(text: str) -> None:
    """In words, with the nearest name, and as wrong input."""
    with pytest.raises(InputError) as raised:
        template = Template(text)
        template.check(NodeView)
        template.of(NODE)
    assert str(raised.value).startswith("--format: ")
    assert WRONG[text] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_field_is_an_error_also_of_no_lab() -> None:
    """A script is told on the day it is written, and of branches that are not taken."""
    for form in ("{{.Nme}}", "table {{.Name}}\\t{{.Nme}}", "{{if .Name}}{{else}}{{.Nme}}{{end}}"):
        with pytest.raises(InputError, match="no field Nme"):
            listing([], LabInfo, form, (), ())


def test_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """`table` parts columns by tabs, with the names of the fields above them."""
    form = "table {{.Name}}\\t{{.Labels.tier}}\\t{{json .NetnsInode}}\\tx"
    listing([NODE, BARE], NodeView, form, (), ())
    assert capsys.readouterr().out.splitlines() == [
        "NAME  TIER   NETNS INODE",
        "web   front  40           x",
        "db           null         x",
    ]


def test_nothing_that_a_terminal_obeys() -> None:
    """What comes from a file or the kernel is escaped; what the template says is its own."""
    value = NodeView("a\x1b[31m", True, "", None, None, (), (), (), {"x": "\n"}, {})
    assert Template("\x1b{{.Name}} {{.Labels}}").of(value) == "\x1ba\\x1b[31m map[x:\\n]"


@pytest.mark.parametrize(
    "kind", [LabInfo, LabView, NodeView, NetworkView, PortView, InspectedNetwork]
)
def test_each_field_of_what_is_listed(kind: Any) -> None:
    """By its key, and in CamelCase."""
    for name in kind.__dataclass_fields__:
        camel = "".join(part.capitalize() for part in name.split("_"))
        Template(f"{{{{.{name}}}}} {{{{json .{camel}}}}}").check(kind)


def test_forms() -> None:
    """A template is a form, whatever stands in it; a word that is none is not."""
    assert "{{.Name}}" in FORMATS
    assert "json" in FORMATS
    assert "jsn" not in FORMATS


@given(st.text(alphabet='{}.-|()"`$ \\abNname/*', max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """In no other way than with InputError."""
    try:
        template = Template(text)
        template.check(NodeView)
        template.of(NODE)
    except InputError:
        pass


def test_depth_is_no_matter() -> None:
    for text in (
        "{{" + "(" * 4000 + ".Name" + ")" * 4000 + "}}",
        "{{if .Name}}" * 400 + "{{end}}" * 400,
    ):
        with pytest.raises(InputError, match="too deep"):
            Template(text).of(NODE)
