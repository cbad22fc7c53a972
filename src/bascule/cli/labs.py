"""up, down, plan, script, ls, show, inspect, check, schema."""

from __future__ import annotations

import json
import sys
from argparse import Namespace as Arguments
from typing import Any

from bascule.api import Lab
from bascule.cli import choose, output
from bascule.engine import boot, look, scripts
from bascule.errors import BasculeError, InputError, NotFound, TopologyError
from bascule.names import printable, shown
from bascule.plan import render
from bascule.state.lock import Hold
from bascule.topology.schema import json_schema


def up(arguments: Arguments) -> int:
    """``bascule up``"""
    lab = choose.load(arguments.file, arguments.world, arguments.name)
    if arguments.dry_run:
        print(render.text(lab.plan(), output.paint))
        return 0
    hold = Hold(lab.name)
    if arguments.watch and not lab.source:
        raise InputError(f"{arguments.file}: is no file that could be watched; write it to one")
    if arguments.watch:
        # before anything is changed: a lab that another one watches would be changed back
        hold.take()
    outcome = lab.up(output.listener(arguments.explain), wait=not arguments.no_wait)
    output.report(lab.name, outcome, "up")
    if arguments.watch:
        from bascule.cli import watch  # when asked for: `up` alone starts without it

        return watch.keep(arguments, lab, hold)
    return 0


def down(arguments: Arguments) -> int:
    """``bascule down``: goes on after a failure and gives the worst code."""
    names = (
        [info.name for info in look.labs()] if arguments.all else [choose.running(arguments.lab)]
    )
    code = 0
    for name in names:
        try:
            _take_away(name, arguments)
        except BasculeError as error:
            for line in str(error).splitlines():
                output.say(line)
            code = max(code, error.exit_code)
    return code


def _take_away(name: str, arguments: Arguments) -> None:
    lab = Lab(name)
    is_up = name in {info.name for info in look.labs()}
    if arguments.dry_run and is_up:
        print(render.text(scripts.teardown_plan(name), output.paint))
        return
    if not is_up:
        for remark in () if arguments.dry_run else lab.down(wait=not arguments.no_wait).remarks:
            output.say(remark)
        kept = (
            "; `bascule down` forgets that it was up before a reboot"
            if arguments.dry_run and boot.is_kept(name)
            else ""
        )
        output.say(f"{name} is not up: nothing to do{kept}")
        return
    outcome = lab.down(
        output.listener(arguments.explain), wait=not arguments.no_wait, kill=arguments.kill
    )
    output.report(name, outcome, "down")


def plan(arguments: Arguments) -> int:
    """``bascule plan``"""
    lab = choose.load(arguments.file, arguments.world, arguments.name)
    found = lab.plan()
    if arguments.json:
        return output.as_json(render.data(found))
    print(render.text(found, output.paint))
    return 0


def script(arguments: Arguments) -> int:
    """``bascule script``"""
    lab = choose.load(arguments.file, None, arguments.name)
    output.document(scripts.script(lab.topology, arguments.classic, arguments.teardown))
    return 0


def ls(arguments: Arguments) -> int:
    """``bascule ls``"""
    found = look.labs()
    kept = choose.matching(
        [{"name": info.name, "labels": info.labels} for info in found], arguments.filter
    )
    found = [info for info in found if info.name in {row["name"] for row in kept}]
    if arguments.json:
        return output.as_json(
            [{slot: getattr(info, slot) for slot in info.__slots__} for info in found]
        )
    rows = [
        (i.name, i.state, i.world, i.nodes, i.networks, i.keeper or "", i.source or i.problem)
        for i in found
    ]
    output.table(("LAB", "STATE", "WORLD", "NODES", "NETWORKS", "KEEPER", "FILE"), rows)
    return 0


def show(arguments: Arguments) -> int:
    """``bascule show``: a tree on a terminal, tables in a pipe."""
    data = look.show(choose.running(arguments.lab))
    if arguments.json:
        return output.as_json(data)
    if output.is_terminal(sys.stdout):
        _tree(data)
    else:
        _tables(data)
    return 0


def _tables(data: dict[str, Any]) -> None:
    networks = [
        (
            n["name"],
            _state(n),
            n["mtu"] or "",
            ", ".join(n["addresses"]) or "-",
            " ".join(n["ports"]) or "-",
        )
        for n in data["networks"]
    ]
    output.table(("NETWORK", "STATE", "MTU", "ADDRESSES", "PORTS"), networks)
    print()
    rows: list[tuple[object, ...]] = []
    for node in data["nodes"]:
        routes = "; ".join(node["routes"]) or "-"
        for i in node["interfaces"] or [None]:
            if i is None:
                rows.append(
                    (node["name"], _state({**node, "up": True}), "-", "-", "-", "-", routes)
                )
            else:
                state = "up" if i["up"] else "DOWN"
                addresses = ", ".join(i["addresses"]) or "-"
                rows.append(
                    (
                        node["name"],
                        state,
                        i["name"],
                        addresses,
                        i["mac"],
                        i["network"] or "-",
                        routes,
                    )
                )
            routes = ""
    output.table(("NODE", "STATE", "INTERFACE", "ADDRESSES", "MAC", "NETWORK", "ROUTES"), rows)


def _state(thing: dict[str, Any]) -> str:
    return "GONE" if not thing["exists"] else "up" if thing["up"] else "DOWN"


def _tree(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(f"[bold]{_shown(data['lab'])}[/] ({data['world']} world)")
    for network in data["networks"]:
        colour = "green" if network["up"] else "red"
        addresses = ", ".join(network["addresses"]) or "no address"
        branch = tree.add(
            f"[{colour}]{_shown(network['name'])}[/]  {_shown(addresses)}  mtu "
            f"{network['mtu']}  {_state(network)}"
        )
        for node in data["nodes"]:
            for item in node["interfaces"]:
                if item["network"] == network["name"]:
                    state = "" if item["up"] else "  [red]DOWN[/]"
                    mine = ", ".join(item["addresses"]) or "no address"
                    ends = f"{_shown(item['name'])} ← {_shown(item['host_interface'])}"
                    leaf = f"[bold]{_shown(node['name'])}[/]  {ends}  {_shown(mine)}"
                    branch.add(f"{leaf}{state}")
    for node in data["nodes"]:
        branch = tree.add(
            f"[bold]{_shown(node['name'])}[/]" + ("" if node["exists"] else "  [red]GONE[/]")
        )
        for route in node["routes"]:
            branch.add(f"route {_shown(route)}")
    Console().print(tree)


def _shown(text: str) -> str:
    """For rich: no markup, and nothing that a terminal would obey."""
    from rich.markup import escape

    return escape(printable(text))


def inspect(arguments: Arguments) -> int:
    """``bascule inspect``"""
    labs = {info.name for info in look.labs()}
    name = arguments.name
    is_lab = name is None or name in labs
    lab = choose.running(name if is_lab and name else arguments.lab or _lab_of(name))
    if arguments.yaml:
        output.document(Lab.attach(lab).yaml())
        return 0
    data = look.show(lab)
    if is_lab:
        return output.as_json(data)
    for noun in (*data["nodes"], *data["networks"]):
        if noun["name"] == name:
            return output.as_json(noun)
    raise NotFound(f"no node or network {shown(name)} in lab {lab}")


def _lab_of(name: str) -> str | None:
    """The lab that has a node or a network of this name."""
    return next((info.name for info in look.labs() if name in info.names), None)


def check(arguments: Arguments) -> int:
    """``bascule check``: all mistakes, each with its place."""
    try:
        lab = choose.load(arguments.file)
    except TopologyError as error:
        if arguments.json:
            output.as_json([mistake._asdict() for mistake in error.mistakes])
        else:
            for mistake in error.mistakes:
                print(printable(str(mistake)))
        return error.exit_code
    if arguments.json:
        return output.as_json([])
    print(
        f"{lab.name}: {len(lab.topology.nodes)} nodes, {len(lab.topology.networks)} networks: "
        f"no mistakes"
    )
    return 0


def schema(_arguments: Arguments) -> int:
    """``bascule schema``"""
    print(json.dumps(json_schema(), indent=2))
    return 0
