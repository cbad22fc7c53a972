"""nft(8): one process and one transaction for a change, JSON for a question (libnftables-json(5))."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess

from bascule import syscalls
from bascule.errors import KernelError
from bascule.kernel.ruleset import ForwardAccept

_SECONDS = 30


def program() -> str | None:
    """Where nft is: where the system keeps it, and only then where PATH leads."""
    return shutil.which("nft", path=syscalls.SYSTEM_PATH) or shutil.which("nft")


def _call(arguments: list[str], text: str = "") -> str:
    found = program()
    if found is None:
        raise KernelError("nft", errno.ENOENT, "nft is not installed", advice="install the package nftables")
    try:
        done = syscalls.run([found, *arguments], text, _SECONDS)
    except subprocess.TimeoutExpired as error:
        raise KernelError("nft", errno.ETIMEDOUT, f"no answer in {_SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise KernelError(f"nft {text.strip() or ' '.join(arguments)}", errno.EINVAL, said[0] if said else "failed")
    return done.stdout


def run(text: str) -> None:
    """One transaction. Raises :class:`KernelError` with nft's first line."""
    _call(["-f", "-"], text)


def forward_rules(family: str, table: str, chain: str) -> list[ForwardAccept]:
    """Our rules in this chain, by their comment. Empty where the chain is gone."""
    try:
        listing = json.loads(_call(["-j", "-a", "list", "chain", family, table, chain]))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise
        return []
    found = []
    for item in listing.get("nftables", []):
        rule = item.get("rule", {})
        comment = rule.get("comment", "")
        if comment.startswith("bascule: within "):
            bridge = comment.removeprefix("bascule: within ")
            found.append(ForwardAccept(family, table, chain, bridge, rule.get("handle", 0)))
    return found


def delete_forward_rule(rule: ForwardAccept) -> None:
    """Delete the rule by its handle, looked up by its comment where it is not known."""
    for found in forward_rules(rule.family, rule.table, rule.chain):
        if found.bridge == rule.bridge and rule.handle in (0, found.handle):
            run(f"delete rule {rule.place()} handle {found.handle}\n")
