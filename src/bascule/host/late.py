"""Options of Popen that it carries out before ``preexec_fn`` is called, and that hold or are
allowed only once a node is joined: a folder of the world, a session whose leader the command is, a
user who may not join anything.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import Any


def taken_from(options: dict[str, Any]) -> Callable[[], None]:
    """Take them out of Popen's options. Gives what carries them out, in Popen's order; that raises
    OSError.

    Raises KeyError for an unknown user or group, ValueError for a negative number (setreuid(2)
    leaves all as it is for -1), and TypeError for what is neither a name nor a number.
    """
    folder = options.pop("cwd", None)
    session = options.pop("start_new_session", False)
    process_group = options.pop("process_group", None)
    others = options.pop("extra_groups", None)
    groups = None if others is None else [_number(each, _group) for each in others]
    group, user = (options.pop(name, None) for name in ("group", "user"))
    group = None if group is None else _number(group, _group)
    user = None if user is None else _number(user, _user)

    def carry_out() -> None:
        if folder is not None:
            os.chdir(folder)
        if session:
            os.setsid()
        if process_group is not None and process_group >= 0:
            os.setpgid(0, process_group)
        if groups is not None:
            os.setgroups(groups)
        if group is not None:
            os.setregid(group, group)
        if user is not None:
            os.setreuid(user, user)

    return carry_out


def _number(who: int | str, look_up: Callable[[str], int]) -> int:
    number = look_up(who) if isinstance(who, str) else who
    if number < 0:
        raise ValueError(f"{number} is the number of no user and no group")
    return number


def _group(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _user(name: str) -> int:
    return pwd.getpwnam(name).pw_uid
