"""What is told as JSON: its form, key by key, and the schema that is published of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from bascule import api
from bascule.api.documents import as_data, documents, done, failed, inspected, schema
from bascule.cli.commands import ROWS
from bascule.engine.leftovers import Leftover
from bascule.engine.options import Outcome
from bascule.engine.views import (
    Finding,
    InterfaceView,
    LabInfo,
    LabView,
    NetworkView,
    NodeView,
    State,
)
from bascule.engine.watch import Event
from bascule.errors import InputError, Interrupted, KernelError, Mistake, TopologyError
from bascule.host.hands import Report
from bascule.host.icmp import Echo, Target
from bascule.kernel.bridge import Bridge
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Indexes
from bascule.kernel.veth import End, Veth
from bascule.plan.diff import Plan, diff

PORT = InterfaceView("eth0", True, "02::2", 1500, "lan", "veth-a", ("10.1.0.2/24",))
LAN = NetworkView(
    "lan", True, True, 1500, "02::1", ("10.1.0.1/24",), ("veth-a",), {"a": "b"}, {"mtu": 1500}
)
GONE = NetworkView("wan", False, False, None, None, (), (), {}, {})
NODE = NodeView(
    "a", True, (PORT,), ("default via 10.1.0.1",), ("80:80",), {}, {"networks": {"lan": {}}}
)
LAB = LabView("demo", "private", "/lab.yaml", 77, {"tier": "x"}, (LAN, GONE), (NODE,))
LAN_DATA = {
    "name": "lan", "exists": True, "up": True, "mtu": 1500, "mac": "02::1",
    "addresses": ["10.1.0.1/24"], "ports": ["veth-a"], "labels": {"a": "b"}, "asked": {"mtu": 1500},
}  # fmt: skip
GONE_DATA = {
    "name": "wan", "exists": False, "up": False, "mtu": None, "mac": None,
    "addresses": [], "ports": [], "labels": {}, "asked": {},
}  # fmt: skip
PORT_DATA = {
    "name": "eth0", "up": True, "mac": "02::2", "mtu": 1500, "network": "lan",
    "host_interface": "veth-a", "addresses": ["10.1.0.2/24"], "egress": [], "ingress": [],
}  # fmt: skip
NODE_DATA = {
    "name": "a", "exists": True, "interfaces": [PORT_DATA], "routes": ["default via 10.1.0.1"],
    "ports": ["80:80"], "labels": {}, "asked": {"networks": {"lan": {}}},
}  # fmt: skip
BRIDGE = Bridge("", "lan", 1500, "02:00:00:00:00:01")
VETH = Veth(
    End("", "veth-a", 1500, "02:00:00:00:00:02", "lan"),
    End("a", "eth0", 1500, "02:00:00:00:00:03"),
)
CHANGES = diff([BRIDGE], [Namespace("a"), VETH], Indexes()).changes
PLAN_DATA = {
    "changes": [
        {
            "sign": "+", "kind": "link", "what": "bridge lan mtu 1500", "node": "", "reason": "new",
            "commands": ["ip link add dev lan address 02:00:00:00:00:01 mtu 1500 up type bridge"],
        },
        {
            "sign": "-", "kind": "namespace", "what": "namespace a", "node": "a",
            "reason": "nobody asked for it", "commands": ["ip netns del a"],
        },
        {
            "sign": "-", "kind": "link", "what": "veth veth-a (lan) to eth0 (a)", "node": "a",
            "reason": "goes with what holds it", "commands": [],
        },
    ],
    "notes": ["mind the gap"],
}  # fmt: skip
DONE_DATA = {
    "lab": "demo", "world": "host", "changes": PLAN_DATA["changes"][:1],
    "remarks": ["mind the gap", "so"], "topology": None,
}  # fmt: skip
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

# document → values of the API, and the same as JSON
FORMS: dict[str, list[tuple[Any, Any]]] = {
    "ls": [
        (
            [LabInfo("demo", "up", "host", 1, 2, "", ("a", "lan", "wan"), labels={"a": "b"})],
            [{
                "name": "demo", "state": "up", "world": "host", "nodes": 1, "networks": 2,
                "source": "", "names": ["a", "lan", "wan"], "keeper": 0, "problem": "",
                "labels": {"a": "b"},
            }],
        ),
    ],
    "show": [
        (
            LAB,
            {
                "lab": "demo", "world": "private", "source": "/lab.yaml", "keeper": 77,
                "labels": {"tier": "x"}, "networks": [LAN_DATA, GONE_DATA], "nodes": [NODE_DATA],
            },
        ),
    ],
    "node": [(NODE, NODE_DATA)],
    "nodes": [((NODE,), [NODE_DATA])],
    "network": [
        (GONE, GONE_DATA),
        (inspected(LAN, LAB), {**LAN_DATA, "attached": [{"node": "a", **PORT_DATA}]}),
    ],
    "networks": [((LAN,), [LAN_DATA])],
    "port": [(("80:80",), ["80:80"])],
    "plan": [(Plan(CHANGES, ("mind the gap",)), PLAN_DATA)],
    "check": [
        (
            [Mistake("lab.yaml", 3, 7, "nodes.a", "is wrong")],
            [{
                "file": "lab.yaml", "line": 3, "column": 7, "path": "nodes.a",
                "message": "is wrong",
            }],
        ),
    ],
    "ping": [
        (
            [Echo("a", Target("b", "10.1.0.3", 2), 0.00012345678, lost=1), Echo("a", Target("b", "::1", 10), None, "no answer"),  # noqa: E501
                Echo("b", Target("a", "10.1.0.2", 2), None, "no answer", barred="icc is false on lan")],  # noqa: E501
            [
                {"from": "a", "to": "b", "address": "10.1.0.3", "milliseconds": 0.1235, "why": "", "lost": 1, "meant": True, "failed": False},  # noqa: E501
                {"from": "a", "to": "b", "address": "::1", "milliseconds": None, "why": "no answer", "lost": 0, "meant": True, "failed": True},  # noqa: E501
                {"from": "b", "to": "a", "address": "10.1.0.2", "milliseconds": None, "why": "not meant to, as icc is false on lan", "lost": 0, "meant": False, "failed": False},  # noqa: E501
            ],
        ),
    ],
    "doctor": [
        (
            [Finding("kernel", "ok", "6.1")],
            [{"what": "kernel", "verdict": "ok", "found": "6.1", "advice": "", "fix": ""}],
        ),
    ],
    "leftovers": [
        (
            [Leftover("web", "its record is gone", ("files",), sure=False)],
            [{
                "name": "web", "why": "its record is gone", "things": ["files"], "sure": False,
                "slot": None, "process": 0,
            }],
        ),
    ],
    "done": [
        (
            done("demo", Outcome(Plan(CHANGES[:1], ("mind the gap",)), Report(1), None, "host", ("so",))),  # noqa: E501
            DONE_DATA,
        ),
    ],
    "dones": [
        (
            [done("demo", Outcome(Plan(CHANGES[:1], ("mind the gap",)), Report(1), None, "host", ("so",)))],  # noqa: E501
            [DONE_DATA],
        ),
    ],
    "failed": [
        (
            failed(KernelError("ip link add", 17, "File exists", "a", "rename it")),
            {
                "error": {
                    "kind": "kernel", "code": 1,
                    "message": "ip link add (in a): File exists; rename it",
                    "advice": "rename it", "place": "a", "mistakes": [],
                },
            },
        ),
        (
            failed(TopologyError([Mistake("lab.yaml", 3, 7, "nodes.a", "is wrong")])),
            {
                "error": {
                    "kind": "topology", "code": 2,
                    "message": "lab.yaml:3:7: nodes.a: is wrong", "advice": "",
                    "place": "lab.yaml",
                    "mistakes": [
                        {
                            "file": "lab.yaml", "line": 3, "column": 7, "path": "nodes.a",
                            "message": "is wrong",
                        },
                    ],
                },
            },
        ),
        (
            failed(Interrupted()),
            {
                "error": {
                    "kind": "interrupted", "code": 130, "message": "interrupted", "advice": "",
                    "place": "", "mistakes": [],
                },
            },
        ),
    ],
    "exec": [
        (
            {"stdout": "x", "stderr": "", "encoding": "utf-8", "cut": False},
            {"stdout": "x", "stderr": "", "encoding": "utf-8", "cut": False},
        ),
    ],
    "call": [
        ({"id": 1, "command": ["ls"]}, {"id": 1, "command": ["ls"]}),
        ({"cancel": "a"}, {"cancel": "a"}),
    ],
    "reply": [
        (
            {"id": 1, "code": 0, "answer": [], "error": None, "said": ["so"]},
            {"id": 1, "code": 0, "answer": [], "error": None, "said": ["so"]},
        ),
        ({"id": None, "event": {}}, {"id": None, "event": {}}),
    ],
    "events": [
        (
            Event(MOMENT, "demo", "-", "namespace", "namespace a", "a", "is missing", True),
            {
                "time": "2026-01-02T03:04:05.678Z", "lab": "demo", "sign": "-", "kind": "namespace",
                "what": "namespace a", "node": "a", "reason": "is missing", "foreign": True,
            },
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize("document", FORMS)
def test_the_form_of_each_document(document: str) -> None:
    """Keys, their order, and the values; the schema says the same, and nothing more."""
    published = schema(document)
    jsonschema.Draft202012Validator.check_schema(published)
    for value, data in FORMS[document]:
        assert json.dumps(as_data(value)) == json.dumps(data)
        jsonschema.validate(data, published)
        wrong = [*data, {"x": 1}] if isinstance(data, list) else {**data, "mtu": "wide", "sign": 1}
        if "lab" in wrong:
            del wrong["lab"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, published)
        if "attached" in data:
            for attached in ({}, [{"node": 1}], [{**data["attached"][0], "mtu": "wide"}]):
                with pytest.raises(jsonschema.ValidationError):
                    jsonschema.validate({**data, "attached": attached}, published)


def test_every_document_has_a_schema() -> None:
    """And the command line names them all."""
    assert set(FORMS) == set(documents())
    (row,) = (row for row in ROWS if row.name == "schema")
    assert row.arguments[0][1]["choices"] == ("lab", *documents(), "all")
    whole = schema("all")
    jsonschema.Draft202012Validator.check_schema(whole)
    for forms in FORMS.values():
        for _value, data in forms:
            jsonschema.validate(data, whole)
    assert set(documents()) <= set(whole["$defs"])
    assert whole["version"] == 1
    with pytest.raises(InputError, match="no document x; there are: lab, ls"):
        schema("x")


def test_every_state_is_told_of() -> None:
    """The schema of a lab's line has those that the docstring explains."""
    line = schema("ls")["$defs"]["LabInfo"]
    assert line["properties"]["state"] == {"enum": list(get_args(State))}
    assert all(state in line["description"] for state in get_args(State))
    assert "`" not in line["description"]


def test_every_name_of_the_api_is_there() -> None:
    """For programs and for type checkers: what is imported late is the same in both."""
    for name in api.__all__:
        assert getattr(api, name) is not None
    assert sorted(api._PLACES) == sorted(api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = api.nothing  # type: ignore[attr-defined]
    source = Path(api.__file__).read_text(encoding="utf-8")
    checked = source.partition("if TYPE_CHECKING:\n")[2].partition("\n\n#")[0]
    imports = re.findall(r"from bascule\.([\w.]+) import \(?([^()]*?)\)?(?=\n    from|\Z)", checked)
    told = {}
    for module, names in imports:
        for each in filter(None, (part.strip() for part in names.split(","))):
            there, _, here = each.partition(" as ")
            told[here or there] = f"{module}:{there}" if here and here != there else module
    told["edit"] = "topology.edit:"
    assert told == api._PLACES


def test_each_name_comes_alone() -> None:
    """Whatever was imported before it: one name of each place."""
    first = {place.partition(":")[0]: name for name, place in api._PLACES.items()}
    code = (
        "import sys\n"
        "for name in sys.argv[1:]:\n"
        "    for module in [each for each in sys.modules if each.startswith('bascule')]:\n"
        "        del sys.modules[module]\n"
        "    exec(f'from bascule.api import {name}')\n"
    )
    subprocess.run([sys.executable, "-c", code, *first.values()], check=True)
