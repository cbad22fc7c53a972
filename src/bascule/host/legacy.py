"""The filter tables of iptables, as its own program lists them.

Those of the old iptables (iptables-legacy(8)) stand beside those of nf_tables: a packet has to pass
both. nft does not know them; /proc tells whether there is one, and only then its program is asked,
which would make one. Those of the newer one are chains of nf_tables, whose rules nft can't spell.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress

from bascule import syscalls
from bascule.host import chains, programs
from bascule.host.seen import OldFirewall
from bascule.wire.netfilter import ACCEPT, DROP, GO_ON, GOTO, JUMP, RETURN, BaseChain, Step

_NAMES = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}
PROGRAM = {4: "iptables-legacy", 6: "ip6tables-legacy"}
_NEW = {"ip": (4, "iptables-nft"), "ip6": (6, "ip6tables-nft")}
FORWARD, INPUT = "FORWARD", "INPUT"
_UFW = {"ufw-before-input", "ufw6-before-input"}
_VERDICTS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
_SECONDS = 10


def look() -> tuple[OldFirewall, ...]:
    """The filter tables of the old iptables in the namespace that the thread is in."""
    return tuple(_of(version, PROGRAM[version]) for version in _NAMES if _has_filter(version))


def is_new(chain: BaseChain) -> bool:
    """Whether this chain of nf_tables is one of iptables'."""
    return chain.family in _NEW and (chain.table, chain.name) == ("filter", INPUT)


def look_at(chain: BaseChain) -> OldFirewall:
    """The filter table that it is in."""
    found = _of(*_NEW[chain.family])
    return found._replace(dropping=frozenset({chain.name}))  # what it forwards, ForwardAccept says


def _has_filter(version: int) -> bool:
    try:
        with open(_NAMES[version]) as file:
            return "filter" in file.read().split()
    except OSError:
        return False  # a kernel without, or not for us to see


def _of(version: int, program: str) -> OldFirewall:
    found = shutil.which(program, path=syscalls.SYSTEM_PATH)
    if found is not None:
        with suppress(OSError):
            done = programs.run([found, "-w", "5", "-S"], "", _SECONDS)
            if done.code == 0:
                return read(version, done.stdout, program)
    return OldFirewall(version, program)


def read(version: int, text: str, program: str = "") -> OldFirewall:
    """From what ``iptables -S`` prints."""
    policies: dict[str, str] = {}
    rules: dict[str, list[list[str]]] = {}
    for words in _lines(text):
        if words[0] == "-P" and len(words) > 2:
            policies[words[1]] = words[2]
        elif words[0] == "-N" and len(words) > 1:
            rules.setdefault(words[1], [])
        elif words[0] == "-A" and len(words) > 2:
            rules.setdefault(words[1], []).append(words[2:])
    dropping, listed = set(), set()

    def steps(name: str) -> list[Step]:
        return [_step(words, rules) for words in rules.get(name, ())]

    for base in (FORWARD, INPUT):
        said = chains.verdict(base, steps)
        if said == DROP or (not said and policies.get(base) == "DROP"):
            dropping.add(base)
        for name in chains.passed(base, steps):
            listed |= {f"-A {base} {shlex.join(words)}" for words in rules.get(name, ())}
    return OldFirewall(
        version,
        program or PROGRAM[version],
        frozenset(dropping),
        frozenset(listed),
        looked=True,
        ufw=not _UFW.isdisjoint(rules),
    )


def _lines(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        with suppress(ValueError):  # a quote without its other half
            if words := shlex.split(line):
                yield words


def _step(words: list[str], names: Iterable[str]) -> Step:
    if words[:3] == ["-m", "comment", "--comment"]:
        words = words[4:]
    at = next((at for at, word in enumerate(words[:-1]) if word in ("-j", "-g")), None)
    if at is None:
        return Step(GO_ON)
    how, target = words[at : at + 2]
    if target in names:
        return Step(JUMP if how == "-j" else GOTO, target, at == 0)
    return Step(_VERDICTS.get(target, GO_ON), "", at == 0)
