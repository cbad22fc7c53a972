"""Whatever others change in a lab's tables is seen by the next look, and nothing that the rules
themselves leave there."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from bascule import syscalls
from bascule.api import Lab
from bascule.errors import PlanFailed
from bascule.host import nft
from sandbox import World, require

OURS = "inet bascule-lab"
LAB: dict[str, Any] = {
    "networks": {
        "lan": {"subnet": ["10.1.0.0/24", "fd00:1::/64"], "nat": True},
        "dmz": {"subnet": "10.2.0.0/24", "guard": True},
    },
    "nodes": {
        "a": {"networks": ["lan"], "ports": ["8080:80", "8081:81", "127.0.0.1:82:82"]},
        "b": ["dmz"],
    },
}
CHANGES = {
    "a chain is empty": f"flush chain {OURS} leaving",
    "a rule is added": f"add rule {OURS} forward counter",
    "a rule stands first": f"insert rule {OURS} input accept",
    "a comment is added": f'add rule {OURS} claiming continue comment "mine"',
    "a port is gone": f"delete element {OURS} tcp4 {{ 8081 }}",
    "a port leads elsewhere": (
        f"delete element {OURS} tcp4 {{ 8081 }}; add element {OURS} tcp4 {{ 8081 : 10.1.0.9 . 81 }}"
    ),
    "a network is added": f'add element {OURS} inside4 {{ "dmz" . 10.9.0.0/24 }}',
    "a set is empty": f"flush set {OURS} inside4",
    "a set is new": f"add set {OURS} mine {{ type ipv4_addr; }}",
    "a chain is new": f"add chain {OURS} mine",
    "a hook is new": f"add chain {OURS} mine {{ type filter hook forward priority 5; }}",
    "a counter is new": f"add counter {OURS} mine",
    "a policy is another": f"chain {OURS} forward {{ policy drop; }}",
    "a table sleeps": f"add table {OURS} {{ flags dormant; }}",
    "a guard is gone": "flush chain bridge bascule-lab guard",
    "a MAC is added": 'add element bridge bascule-lab macs { "veth-b" . 02:00:00:00:00:01 }',
    "one of two tables is gone": "delete table bridge bascule-lab",
    "the other of them is gone": f"delete table {OURS}",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_others_change_is_mended(world: World, change: str) -> None:
    """The plan is the table and nothing else, and afterwards the kernel has what it had."""
    require("nft")
    lab = Lab.from_data(LAB, name="lab", world="host")
    lab.up()
    before = _rules()
    assert not lab.plan()
    subprocess.run(
        ["nft", "-f", "-"],
        input=CHANGES[change].replace("; add", "\nadd") + "\n",
        text=True,
        check=True,
    )
    plan = lab.plan()
    assert [each.fact.key for each in plan.changes] == [("table", "bascule-lab")]
    lab.up()
    assert _rules() == before
    assert not lab.plan()
    lab.down()
    assert world.run("nft", "list", "tables").stdout == ""


def _rules() -> str:
    return nft.listing("bascule-lab", ("inet", "bridge"))


@pytest.mark.parametrize("others", [False, True], ids=["as left", "changed by others"])
def test_a_failed_run_leaves_the_rules_as_they_were(world: World, others: bool) -> None:
    """Also what others have made of them, which the next plan tells again."""
    require("nft")
    lab = Lab.from_data(LAB, name="lab", world="host")
    lab.up()
    if others:
        world.run("nft", "add", "rule", *OURS.split(), "forward", "counter")
    before, met = _rules(), list[str]()

    def gate(call: str, subject: object) -> None:
        met.append(call)
        if call == "symlink":
            raise OSError(28, "No space left on device")

    more = Lab.from_data(
        {**LAB, "nodes": {**LAB["nodes"], "c": {"networks": ["lan"], "ports": ["90:90"]}}},
        name="lab",
        world="host",
    )
    with syscalls.gated(gate), pytest.raises(PlanFailed, match="undone"):
        more.up()
    assert "run" in met[: met.index("symlink")]  # nft had put them there
    assert _rules() == before
    assert [each.fact.key for each in lab.plan().changes] == [("table", "bascule-lab")] * others
    lab.down()
