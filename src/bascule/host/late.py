"""Options of Popen that it carries out before ``preexec_fn`` is called, and that hold or are allowed only once a node is joined:
a folder of the world, a session whose leader the command is, a user who may not join anything.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import Any


def taken_from(options: dict[str, Any]) -> Callable[[], None]:
    """Take them out of Popen's options. Gives what carries them out, in Popen's order; that raises OSError.

    Raises KeyError for an unknown user or group, and TypeError for what is neither a name nor a number, as Popen does.
    """
    folder = options.pop("cwd", None)
    session = options.pop("start_new_session", False)
    process_group = options.pop("process_group", None)
    others = options.pop("extra_groups", None)
    groups = None if others is None else [_group(each) for each in others]
    group, user = _group(options.pop("group", None)), _user(options.pop("user", None))

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


def _group(group: Any) -> Any:
    return grp.getgrnam(group).gr_gid if isinstance(group, str) else group


def _user(user: Any) -> Any:
    return pwd.getpwnam(user).pw_uid if isinstance(user, str) else user
