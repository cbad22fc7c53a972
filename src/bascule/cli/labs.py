"""up, down, plan, script, ls, show, inspect, check, schema."""

from __future__ import annotations

import os
import sys
from argparse import Namespace as Arguments

from bascule import api
from bascule.api import Lab, options
from bascule.cli import output, showing
from bascule.errors import BasculeError, InputError, NotFound, TopologyError
from bascule.names import printable, shown

_SOMETHING_TO_DO = 3


def up(arguments: Arguments) -> int:
    """``bascule up``"""
    lab = _load(arguments)
    if arguments.dry_run:
        return output.plan(lab.plan(), arguments.json)
    if arguments.watch and arguments.json:
        raise InputError("--watch goes on and has no answer; `bascule events --json` tells changes")
    if arguments.watch:
        from bascule.cli import watch  # when asked for: `up` alone starts without it

        return watch.up(arguments, lab)
    listener = output.listener(arguments.explain and not arguments.json)
    outcome = lab.up(listener, wait=not arguments.no_wait)
    output.report(lab.name, outcome, "up", arguments.json)
    return 0


def _load(arguments: Arguments) -> Lab:
    return Lab.load(
        arguments.file,
        world=arguments.world,
        name=arguments.name or "",
        without_ipv6=arguments.without_ipv6,
    )


def down(arguments: Arguments) -> int:
    """``bascule down``: goes on after a failure and gives the worst code."""
    names = (
        [info.name for info in api.labs()] if arguments.all else [api.running_lab(arguments.lab)]
    )
    code, told = 0, list[object]()
    for name in names:
        try:
            told.append(_take_away(name, arguments))
        except BasculeError as error:
            for line in str(error).splitlines():
                output.say(line, "-")
            told.append(api.failed(error))
            code = max(code, error.exit_code)
    if arguments.json:
        output.as_json(told)
    return code


def _take_away(name: str, arguments: Arguments) -> object:
    """What was done, as data."""
    lab = Lab(name)
    remarks: tuple[str, ...] = ()
    if arguments.force and not arguments.dry_run:
        remarks = lab.rescue(wait=not arguments.no_wait)
        for remark in remarks:
            output.warn(remark)
    is_up = name in {info.name for info in api.labs()}
    if arguments.dry_run and is_up:
        plan = lab.plan_down()
        if not arguments.json:
            print(api.plan_text(plan, output.paragraph))
        return plan
    if not is_up:
        return _not_up(name, lab, arguments, remarks)
    outcome = lab.down(
        output.listener(arguments.explain and not arguments.json),
        wait=not arguments.no_wait,
        kill=arguments.kill,
    )
    if not arguments.json:
        output.report(name, outcome, "down")
    return api.done(name, outcome, remarks)


def _not_up(name: str, lab: Lab, arguments: Arguments, remarks: tuple[str, ...]) -> object:
    was_kept = api.is_kept(name)
    outcome = None if arguments.dry_run else lab.down(wait=not arguments.no_wait)
    if outcome is not None and not arguments.json:
        for remark in outcome.remarks:
            output.warn(remark)
    known = was_kept or arguments.force or os.path.exists(arguments.lab or "")
    if arguments.lab and not known:
        raise NotFound(f"no lab {shown(name)}; {api.whose(name) or _known()}")
    forgets = "; `bascule down` forgets that it was up before a reboot"
    kept = forgets if arguments.dry_run and was_kept else ""
    output.say(f"{name} is not up: nothing to do{kept}")
    return api.done(name, outcome, remarks) if outcome is not None else api.Plan((), lab=name)


def _known() -> str:
    names = [info.name for info in api.labs()]
    return f"there are: {', '.join(names)}" if names else "none is up"


def plan(arguments: Arguments) -> int:
    """``bascule plan``"""
    found = _load(arguments).plan()
    output.plan(found, arguments.json)
    return _SOMETHING_TO_DO if arguments.exit_code and found else 0


def script(arguments: Arguments) -> int:
    """``bascule script``"""
    lab = Lab.load(arguments.file, name=arguments.name or "", without_ipv6=arguments.without_ipv6)
    _tell_left_out(lab)
    output.document(lab.script(classic=arguments.classic, teardown=arguments.teardown))
    return 0


def _tell_left_out(lab: Lab) -> None:
    for remark in api.left_out(lab.topology):
        output.warn(remark)


def ls(arguments: Arguments) -> int:
    """``bascule ls``"""
    listener = output.listener(False)
    listed = api.listed(check=arguments.check, everyone=arguments.all, listener=listener)
    found = api.matching(listed, arguments.filter)
    columns: dict[str, list[object]] = {
        "USER": [info.user for info in found],
        "LAB": [info.name for info in found],
        "STATE": [info.state for info in found],
        "WORLD": [info.world for info in found],
        "NODES": [info.nodes for info in found],
        "NETWORKS": [info.networks for info in found],
        "KEEPER": [info.keeper or "" for info in found],
        "FILE": [info.source or "-" for info in found],
    }
    people = output.is_terminal(sys.stdout)
    without = {"USER"} if not arguments.all else set[str]()
    without |= {"KEEPER"} if people and not any(columns["KEEPER"]) else set()
    told = {heading: cells for heading, cells in columns.items() if heading not in without}
    rows = list(zip(*told.values(), strict=True))
    code = output.listing(found, api.LabInfo, arguments.format, list(told), rows)
    sys.stdout.flush()
    for info in found:
        if info.problem and arguments.format == "table":
            output.warn(f"{info.name}: {info.problem}")
    return code


def show(arguments: Arguments) -> int:
    """``bascule show``: a tree on a terminal, tables in a pipe."""
    lab = Lab(api.running_lab(arguments.lab)).show()
    if arguments.json or arguments.format:
        return output.shown(lab, "" if arguments.json else arguments.format)
    if output.is_terminal(sys.stdout):
        showing.tree(lab)
    else:
        showing.tables(lab)
    return 0


def inspect(arguments: Arguments) -> int:
    """``bascule inspect``"""
    name, noun = api.meant(arguments.name, arguments.lab)
    if arguments.yaml:
        output.document(Lab.attach(name).yaml())
        return 0
    lab = Lab(name).show()
    network = lab.network(noun) if noun is not None else None
    found = lab if noun is None else lab.node(noun) or (network and api.inspected(network, lab))
    if found is None:
        raise NotFound(f"no node or network {shown(noun or '')} in lab {name}")
    return output.shown(found, "" if arguments.json else arguments.format)


def check(arguments: Arguments) -> int:
    """``bascule check``: all mistakes, each with its place."""
    try:
        lab = Lab.load(arguments.file, without_ipv6=arguments.without_ipv6)
        _tell_left_out(lab)
    except TopologyError as error:
        if arguments.json:
            output.as_json(error.mistakes)
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


def generate(arguments: Arguments) -> int:
    """``bascule generate``"""
    numbers = options.given(arguments, "generate")
    output.document(api.as_yaml(api.topologies.generate(arguments.kind, **numbers)))
    return 0


def schema(arguments: Arguments) -> int:
    """``bascule schema``"""
    document = "all" if arguments.output else arguments.document
    return output.as_json(api.json_schema(document))
