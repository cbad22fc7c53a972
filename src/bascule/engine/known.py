"""The labs that there are: those of the state directory, and private ones whose record has gone
from there while they run.

Such a lab is known from the note in its own world (:mod:`bascule.host.keepers`). A note is believed
that was written for this state directory and from this network: a user may have labs of one name in
several of either, and they are not the same. Where nobody chose the directory, it is another one
after a logout: then a note counts, too, whose own directory holds no record of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from bascule import identity
from bascule.errors import BasculeError, StateError
from bascule.host import keepers
from bascule.host.lasting import Process
from bascule.names import problem_with_lab_name
from bascule.state import folder, store
from bascule.state.record import Keeper, Record, Stored, parse, text


def load(name: str) -> Stored:
    """What is known of this lab. One that has lost its record counts as one whose last run did not
    finish, so that the next one writes it anew. Raises :class:`StateError` for a damaged file."""
    stored = store.load(name)
    if stored.newest is not None:
        return stored
    return next((Stored(None, record) for record in unrecorded(name)), stored)


def unrecorded(name: str = "") -> Iterator[Record]:
    """Of all labs, or this one: those that run, and of which nothing stands in the state
    directory."""
    for keeper, data in keepers.living():
        record = _noted(keeper, data)
        if record is not None and name in ("", record.name) and not _is_recorded(record.name):
            yield record


def noted(name: str) -> Record | None:
    """The record of this lab in the note of its own world, whatever stands in the state
    directory."""
    found = (_noted(keeper, data) for keeper, data in keepers.living())
    return next((record for record in found if record is not None and record.name == name), None)


def foreign() -> Iterator[tuple[Record, str]]:
    """The private labs of this user that run and are of another state directory, with that: no
    command here knows them."""
    for keeper, data in keepers.living():
        told = _told(data)
        if told and told["network"] == _origin()["network"] and not _is_ours(told):
            record = _of_note(keeper, told)
            if record is not None:
                yield record, told["state"]


def _is_recorded(name: str) -> bool:
    try:
        return store.load(name).newest is not None
    except StateError:
        return True


def note(record: Record) -> tuple[str, ...]:
    """Leave the note of a private lab in its world. That it can't be left is no reason to take the
    lab away: it is told."""
    if record.keeper is None:
        return ()
    data = {**_origin(), "lab": record.name, "record": text(record)}
    try:
        keepers.leave_note(
            Process(record.keeper.pid, record.keeper.start), json.dumps(data).encode()
        )
    except OSError as error:
        return (
            (
                f"{record.name} would be lost with its record in {folder.root()}: its world takes "
                f"no note ({error.strerror})"
            ),
        )
    return ()


def _origin() -> dict[str, object]:
    return {"state": folder.root(), "chosen": folder.is_chosen(), "network": list(identity.netns())}


def _is_ours(told: dict[str, Any]) -> bool:
    own = _origin()
    if told["network"] != own["network"]:
        return False
    if told["state"] == own["state"]:
        return True
    chosen = own["chosen"] or told.get("chosen", True)
    return not chosen and not os.path.lexists(os.path.join(told["state"], told["lab"]))


def _noted(keeper: Process, data: bytes) -> Record | None:
    """The record in a note, with the keeper that it was found with; None where it is of somebody
    else's lab, or damaged."""
    told = _told(data)
    return _of_note(keeper, told) if told is not None and _is_ours(told) else None


def _told(data: bytes) -> dict[str, Any] | None:
    """What a note says of the place of its lab; None where it is damaged."""
    try:
        told: dict[str, Any] = json.loads(data)
        if problem_with_lab_name(told["lab"]) is not None:
            return None
        _is_ours(told)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return told


def _of_note(keeper: Process, told: dict[str, Any]) -> Record | None:
    try:
        record = parse(told["record"].encode(), "the note in a world", told["lab"])
    except (BasculeError, LookupError, TypeError, AttributeError):
        return None
    if record.keeper is None:
        return None
    found = Keeper(keeper.pid, keeper.start, record.keeper.first, identity.numbering())
    return dataclasses.replace(record, keeper=found)
