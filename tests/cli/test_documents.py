"""What is told as JSON: its form, key by key, and the schema that is published of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from bascule import api
from bascule.api.documents import as_data, documents, done, failed, inspected, schema
from bascule.api.forms import ErrorKind
from bascule.api.schemas import facts
from bascule.cli.commands import ROWS
from bascule.cli.streams import Unwritten
from bascule.engine.leftovers import Leftover
from bascule.engine.options import Outcome
from bascule.engine.views import (
    Event,
    Finding,
    HopView,
    InterfaceView,
    LabInfo,
    LabView,
    NetworkView,
    NodeView,
    PortView,
    RouteView,
    State,
)
from bascule.errors import (
    BasculeError,
    InputError,
    Interrupted,
    KernelError,
    Mistake,
    PlanFailed,
    TopologyError,
)
from bascule.host.hands import Report
from bascule.host.icmp import Echo, Target
from bascule.kernel.bridge import Bridge
from bascule.kernel.namespace import Namespace
from bascule.kernel.op import Indexes
from bascule.kernel.told import Kind
from bascule.kernel.veth import End, Veth
from bascule.plan.diff import Plan, diff
from bascule.serve import lines  # noqa: F401 (its errors are known)

PORT = InterfaceView(
    "eth0", 3, True, "02::2", 1500, "lan", "veth-a", 4, ("10.1.0.2/24",), ("10.1.0.1",)
)
LAN = NetworkView(
    *("lan", True, True, 2, 1500, "02::1", ("10.1.0.0/24",), ("10.1.0.1",), ("10.1.0.1/24",)),
    *(("veth-a",), {"a": "b"}, {"mtu": 1500}),
)
GONE = NetworkView("wan", False, False, None, None, "", (), (), (), (), {}, {})
ROUTE = RouteView(
    "0.0.0.0/0",
    "10.1.0.1",
    "eth0",
    0,
    4,
    "default via 10.1.0.1 dev eth0",
    (HopView("10.1.0.1", "eth0"),),
)
PUBLISHED = PortView("", 80, "a", 80, 1, "tcp", "80:80")
NODE = NodeView(
    *("a", True, "/run/netns/a", 4026532000, 4097, (PORT,), (ROUTE,), (PUBLISHED,)),
    *({}, {"networks": {"lan": {}}}),
)
LAB = LabView("demo", "private", "/lab.yaml", 77, {"tier": "x"}, (LAN, GONE), (NODE,))
LAN_DATA = {
    "name": "lan", "exists": True, "up": True, "ifindex": 2, "mtu": 1500, "mac": "02::1",
    "subnets": ["10.1.0.0/24"], "gateways": ["10.1.0.1"], "addresses": ["10.1.0.1/24"],
    "bridge_ports": ["veth-a"], "labels": {"a": "b"}, "asked": {"mtu": 1500},
}  # fmt: skip
GONE_DATA = {
    "name": "wan", "exists": False, "up": False, "ifindex": None, "mtu": None, "mac": "",
    "subnets": [], "gateways": [], "addresses": [], "bridge_ports": [], "labels": {}, "asked": {},
}  # fmt: skip
PORT_DATA = {
    "name": "eth0", "ifindex": 3, "up": True, "mac": "02::2", "mtu": 1500, "network": "lan",
    "host_interface": "veth-a", "host_ifindex": 4, "addresses": ["10.1.0.2/24"],
    "gateways": ["10.1.0.1"], "egress": [], "ingress": [], "peer": "",
}  # fmt: skip
ROUTE_DATA = {
    "to": "0.0.0.0/0",
    "via": "10.1.0.1",
    "dev": "eth0",
    "metric": 0,
    "family": 4,
    "text": "default via 10.1.0.1 dev eth0",
    "nexthops": [{"via": "10.1.0.1", "dev": "eth0", "weight": 1}],
}
PUBLISHED_DATA = {
    "host_address": "",
    "host_port": 80,
    "node": "a",
    "node_port": 80,
    "count": 1,
    "protocol": "tcp",
    "text": "80:80",
}
NODE_DATA = {
    "name": "a", "exists": True, "netns": "/run/netns/a", "netns_inode": 4026532000,
    "netns_cookie": 4097, "interfaces": [PORT_DATA], "routes": [ROUTE_DATA],
    "ports": [PUBLISHED_DATA], "labels": {}, "asked": {"networks": {"lan": {}}},
    "loopback": [],
}  # fmt: skip
BRIDGE = Bridge("", "lan", 1500, "02:00:00:00:00:01")
VETH = Veth(
    End("", "veth-a", 1500, "02:00:00:00:00:02", "lan"),
    End("a", "eth0", 1500, "02:00:00:00:00:03"),
)
CHANGES = diff([BRIDGE], [Namespace("a"), VETH], Indexes()).changes
WIDER = diff([replace(BRIDGE, mtu=9000)], [BRIDGE], Indexes()).changes
BRIDGE_DATA = {
    "node": "",
    "name": "lan",
    "mtu": 1500,
    "mac": "02:00:00:00:00:01",
    "up": True,
    "master": "",
}
VETH_DATA = {
    "near": {
        "node": "",
        "name": "veth-a",
        "mtu": 1500,
        "mac": "02:00:00:00:00:02",
        "bridge": "lan",
        "up": True,
        "autoconf": [],
    },
    "far": {
        "node": "a",
        "name": "eth0",
        "mtu": 1500,
        "mac": "02:00:00:00:00:03",
        "bridge": "",
        "up": True,
        "autoconf": [],
    },
}
PLAN_DATA = {
    "lab": "demo",
    "changes": [
        {
            "sign": "+",
            "kind": "bridge",
            "node": "",
            "name": "lan",
            "key": ["", "lan"],
            "from": None,
            "to": BRIDGE_DATA,
            "what": "bridge lan mtu 1500",
            "reason": "new",
            "commands": ["ip link add dev lan address 02:00:00:00:00:01 mtu 1500 up type bridge"],
        },
        {
            "sign": "-",
            "kind": "namespace",
            "node": "a",
            "name": "a",
            "key": ["a"],
            "from": {"name": "a", "alive": True, "source": ""},
            "to": None,
            "what": "namespace a",
            "reason": "nobody asked for it",
            "commands": ["ip netns del a"],
        },
        {
            "sign": "-",
            "kind": "veth",
            "node": "a",
            "name": "veth-a",
            "key": ["", "veth-a"],
            "from": VETH_DATA,
            "to": None,
            "what": "veth veth-a (lan) to eth0 (a)",
            "reason": "goes with what holds it",
            "commands": [],
        },
    ],
    "notes": ["mind the gap"],
}
WIDER_DATA = {
    "lab": "",
    "changes": [
        {
            "sign": "~",
            "kind": "bridge",
            "node": "",
            "name": "lan",
            "key": ["", "lan"],
            "from": BRIDGE_DATA,
            "to": {**BRIDGE_DATA, "mtu": 9000},
            "what": "bridge lan mtu 9000",
            "reason": "mtu is 1500, should be 9000",
            "commands": ["ip link set dev lan mtu 9000"],
        },
    ],
    "notes": [],
}
DONE_DATA = {
    "lab": "demo", "world": "host", "changes": PLAN_DATA["changes"][:1],
    "remarks": ["mind the gap", "so"], "topology": None,
}  # fmt: skip
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

# document → values of the API, and the same as JSON
FORMS: dict[str, list[tuple[Any, Any]]] = {
    "ls": [
        (
            [LabInfo("demo", "up", "host", 1, 2, "", ("a", "lan"), user="root", labels={"a": "b"})],
            [{
                "name": "demo", "state": "up", "world": "host", "nodes": 1, "networks": 2,
                "source": "", "names": ["a", "lan"], "keeper": None, "problem": "",
                "user": "root", "labels": {"a": "b"},
            }],
        ),
    ],
    "show": [
        (
            LAB,
            {
                "name": "demo", "world": "private", "source": "/lab.yaml", "keeper": 77,
                "labels": {"tier": "x"}, "networks": [LAN_DATA, GONE_DATA], "nodes": [NODE_DATA],
            },
        ),
    ],
    "node": [(NODE, NODE_DATA)],
    "nodes": [((NODE,), [NODE_DATA])],
    "network": [
        (inspected(GONE, LAB), {**GONE_DATA, "attached": []}),
        (inspected(LAN, LAB), {**LAN_DATA, "attached": [{**PORT_DATA, "node": "a"}]}),
    ],
    "networks": [((LAN,), [LAN_DATA])],
    "port": [((PUBLISHED,), [PUBLISHED_DATA])],
    "plan": [
        (Plan(CHANGES, ("mind the gap",), lab="demo"), PLAN_DATA),
        (Plan(WIDER), WIDER_DATA),
    ],
    "plans": [([Plan(CHANGES, ("mind the gap",), lab="demo")], [PLAN_DATA])],
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
            Event(MOMENT, "demo", "~", "bridge", "bridge lan", "", "mtu is 9", True, "lan", BRIDGE, BRIDGE),  # noqa: E501
            {
                "time": "2026-01-02T03:04:05.678Z", "lab": "demo", "sign": "~", "kind": "bridge",
                "node": "", "name": "lan", "from": BRIDGE_DATA, "to": BRIDGE_DATA,
                "what": "bridge lan", "reason": "mtu is 9", "foreign": True,
            },
        ),
        (
            Event(MOMENT, "demo", "+", "lab", "lab demo", "", "", False, "demo"),
            {
                "time": "2026-01-02T03:04:05.678Z", "lab": "demo", "sign": "+", "kind": "lab",
                "node": "", "name": "demo", "from": None, "to": None,
                "what": "lab demo", "reason": "", "foreign": False,
            },
        ),
    ],
    "unit": [
        (
            {"path": "/etc/x", "done": ["wrote /etc/x"], "text": ""},
            {"path": "/etc/x", "done": ["wrote /etc/x"], "text": ""},
        ),
    ],
}  # fmt: skip


@cache
def of(document: str) -> jsonschema.Draft202012Validator:
    """What holds a value against the schema of this document."""
    published = schema(document)
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


@pytest.mark.parametrize("document", FORMS)
def test_the_form_of_each_document(document: str) -> None:
    """Keys, their order, and the values; the schema says the same, and nothing more."""
    published = of(document)
    for value, data in FORMS[document]:
        assert json.dumps(as_data(value)) == json.dumps(data)
        published.validate(data)
        wrong = [*data, {"x": 1}] if isinstance(data, list) else {**data, "mtu": "wide", "sign": 1}
        for key in ("lab", "name"):
            if key in wrong:
                del wrong[key]
        with pytest.raises(jsonschema.ValidationError):
            published.validate(wrong)
        if data and "attached" in data and data["attached"]:
            for attached in ({}, [{"node": 1}], [{**data["attached"][0], "mtu": "wide"}]):
                with pytest.raises(jsonschema.ValidationError):
                    published.validate({**data, "attached": attached})


def test_every_document_has_a_schema() -> None:
    """And the command line names them all."""
    assert set(FORMS) == set(documents())
    (row,) = (row for row in ROWS if row.name == "schema")
    assert row.arguments[0][1]["choices"] == ("lab", *documents(), "all")
    whole = schema("all")
    jsonschema.Draft202012Validator.check_schema(whole)
    for forms in FORMS.values():
        for _value, data in forms:
            of("all").validate(data)
    assert set(documents()) <= set(whole["$defs"])
    assert whole["version"] == 1
    with pytest.raises(InputError, match="no document x; there are: lab, ls"):
        schema("x")


def _schemas(schema: Any) -> Iterator[Any]:
    """A schema and all in it."""
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(each, (dict, list)):
            yield from _schemas(each)


def test_no_key_changes_its_shape() -> None:
    """A list is never null, nor is a text; only numbers and objects are."""
    met = 0
    whole = schema("all")
    for calls in ("CallDocument", "CancelDocument", "ReplyDocument", "ToldDocument"):
        del whole["$defs"][calls]  # an id is what the caller has given
    for each in _schemas(whole):
        kinds = each.get("type")
        if isinstance(kinds, list):
            assert set(kinds) in ({"integer", "null"}, {"number", "null"})
            met += 1
        elif "anyOf" in each and {"type": "null"} in each["anyOf"]:
            assert [set(other) for other in each["anyOf"][:-1]] in (
                [{"$ref"}],
                [{"type", "additionalProperties"}],
            )
            met += 1
    assert met > 10


def test_the_schema_is_the_published_one() -> None:
    """What programs rely on changes only where somebody has read the difference: `make golden`
    writes it, and what changes its shape or goes raises the version."""
    golden = Path(__file__).with_name("output.schema.json")
    assert json.loads(golden.read_text()) == schema("all")


def test_every_fact_has_its_kind() -> None:
    """One that is added is told of, by its own name; a kind that goes is another form."""
    found = {fact.noun: fact for fact in facts()}
    assert sorted(found) == sorted(get_args(Kind))
    whole = schema("all")["$defs"]
    for noun, fact in found.items():
        assert whole[fact.__name__]["description"].startswith(f"{noun}: ")
        assert {"$ref": f"#/$defs/{fact.__name__}"} in whole["Fact"]["anyOf"]


def _errors(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for found in kind.__subclasses__():
        if found.__module__.startswith("bascule."):
            yield from (found, *_errors(found))


def test_every_error_has_its_kind() -> None:
    """By the name of its class."""
    kinds = set()
    for found in (BasculeError, *_errors(BasculeError), Unwritten, Interrupted):
        error = found.__new__(found)
        error.__dict__.update(mistakes=[Mistake("f", 1, 1, "", "")], advice="", place="")
        if issubclass(found, PlanFailed):
            error.cause = InputError("x")
        kinds.add(failed(error)["error"]["kind"])
        of("failed").validate(failed(error))
    assert kinds == set(get_args(ErrorKind))


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
    told |= {"edit": "topology.edit:", "topologies": "topology.generate:"}
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
