"""The lab file: text in YAML and JSON, and plain data; loaded, checked, and given addresses.

Beside not falling over: every mistake is one printable line of bearable length that points into the
text, and they are bounded.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from random import Random
from typing import Any

import yaml

from bascule.errors import InputError, TopologyError
from bascule.topology.addressing import assign
from bascule.topology.dump import to_data
from bascule.topology.load import from_data, load_text
from bascule.topology.model import Topology
from fuzz import mutate
from fuzz.target import GUARD, corpus, door_of, promise

_DOORS = ("yaml", "json", "data")
_MOST_MISTAKES = 201
_LONGEST_MESSAGE = 2000
# of a lab that is given addresses: a hundred thousand are allowed, and take seconds
_MOST_NODES = 5000

_PIECES = [
    *(
        b"&a ",
        b"*a",
        b"*a ",
        b"<<: *a",
        b"!!python/object/apply:os.system ['id']",
        b"!t ",
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
    ),
    *(
        b"|\n",
        b">-\n",
        b"? ",
        b"- ",
        b"\t",
        b"{",
        b"}",
        b"[",
        b"]",
        b"'",
        b'"',
        b'"""',
        b"'''",
        b"#",
        b"\\",
        b"\\ud800",
        b"\\x00",
    ),
    *(
        b"\r\n",
        b"\r",
        b"\x00",
        b"\x1b[31m",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\xed\xa0\x80",
    ),
    *(
        b"1e999",
        b".inf",
        b".nan",
        b"0o17",
        b"0x1F",
        b"0b1",
        b"1_000",
        b"22:22",
        b"2001-01-01",
        b"-0",
        b"9" * 5000,
        b"1." + b"0" * 400,
    ),
    *(
        b"null",
        b"true",
        b"no",
        b"[[a]]",
        b"[a.b]",
        b"a.b.c = 1\n",
        b"{a = {b = 1}}",
        b"[" * 70,
        b"{a: " * 70,
        b"a." * 70 + b"a=1",
    ),
    *(
        b"default",
        b"none",
        b"10.0.0.0/24",
        b"10.0.0.1",
        b"fd00::/64",
        b"fd00::1",
        b"::/0",
        b"0.0.0.0/0",
        b"10.0.0.0/33",
        b"1.2.3",
    ),
    *(
        b"count: 3",
        b"count: 70000",
        b"mtu: 1",
        b"lan",
        b"networks",
        b"nodes",
        b"net.ipv4.ip_forward=1",
        b"x" * 3000,
        "\U0001f600".encode(),
    ),
]
_WORDS: list[Any] = [
    *(
        "hostname",
        "dns",
        "dns_search",
        "search",
        "dns_opt",
        "extra_hosts",
        "aliases",
        "external",
        ".",
        "example.com",
        "ndots:2",
        "a.b",
    ),
    *(
        "name",
        "networks",
        "nodes",
        "subnet",
        "gateway",
        "mtu",
        "mac",
        "address",
        "ipv4_address",
        "ipv6_address",
        "interface",
    ),
    *(
        "host_interface",
        "mac_address",
        "routes",
        "sysctls",
        "count",
        "to",
        "via",
        "dev",
        "metric",
        "lan",
        "wan",
        "a",
        "b",
        "eth0",
    ),
    *(
        "10.0.0.0/24",
        "10.0.0.0/8",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.255",
        "fd00::/64",
        "fd00::1",
        "::1",
        "::ffff:1.2.3.4",
        "fe80::1%eth0",
    ),
    *(
        "none",
        "default",
        "0.0.0.0/0",
        "default via 10.0.0.1 dev eth0 metric 5",
        "10.0.0.1/24",
        "10.0.0.0/99999999999999999999",
    ),
    *(
        "02:00:00:00:00:01",
        "net.ipv4.ip_forward",
        "net.ipv4.ip_forward=1",
        "net/ipv4/conf/a.b/x",
        "../../etc",
        "a/b",
        "%s%n",
        "$(id)",
    ),
    *(
        "",
        " ",
        "\n",
        "\0",
        "\x1b[2J",
        "\u202e",
        "\u2028",
        "\ud800",
        "\U0001f600",
        "é" * 9,
        "x" * 300,
        "-rf",
        ".",
        "..",
        "<<",
        "'",
        '"',
        "\\",
    ),
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        9,
        64,
        68,
        1500,
        65536,
        70000,
        100000,
        2**32,
        2**64,
        10**5000,
        0.5,
        1e308,
        float("inf"),
        float("nan"),
    ),
    *([], {}, [[]], {"a": {}}, ["lan"], ["lan", "lan"], ["a"] * 40, {"count": 3}),
]
_ONLY_IN_PYTHON: list[Any] = [
    b"bytes",
    (1, 2),
    1j,
    {1: 2},
    {None: 1},
    {(1, 2): 3},
    {True: 1},
    {1.5: 1},
    {2**70: 1},
    {1, 2},
    {"lan": {1}},
]


class _File:
    name = "file"
    cases = 120_000

    def __init__(self) -> None:
        sys.set_int_max_str_digits(0)  # for us who write the cases; set back before each is read
        self._texts: dict[str, list[bytes]] = {door: [] for door in _DOORS}
        for case in corpus(self.name):
            door, text = door_of(case, _DOORS_MAP)
            self._texts[door].append(text)
        self._data = [ast.literal_eval(text.decode()) for text in self._texts["data"]]

    def make(self, random: Random) -> bytes:
        sys.set_int_max_str_digits(0)
        door = random.choice(_DOORS)
        if door == "data":
            words = _WORDS + _ONLY_IN_PYTHON
            return b"data\n" + repr(
                mutate.of_data(random, random.choice(self._data), words)
            ).encode("utf-8", "backslashreplace")
        texts = self._texts[door]
        match random.randrange(4):
            case 0:
                text = mutate.of_bytes(random, random.choice(texts), texts)
            case 1:
                text = mutate.of_text(random, random.choice(texts), _PIECES)
            case _:
                text = _written(
                    random, door, mutate.of_data(random, random.choice(self._data), _WORDS)
                )
        return door.encode() + b"\n" + text

    def run(self, case: bytes) -> None:
        sys.set_int_max_str_digits(0)
        door, text = door_of(case, _DOORS_MAP)
        data = _literal(text) if door == "data" else None
        sys.set_int_max_str_digits(4300)
        with GUARD:
            try:
                topology = (
                    from_data(data, "data") if door == "data" else load_text(text, f"lab.{door}")
                )
            except TopologyError as error:
                _judge(error, [] if door == "data" else _lines(text, "not UTF-8" in str(error)))
            else:
                _use(topology)


_DOORS_MAP = dict.fromkeys(_DOORS)


def _literal(text: bytes) -> Any:
    """A Python literal, with what repr() writes for infinity and the like."""
    return eval(  # noqa: S307
        text.decode("utf-8", "surrogatepass"),
        {"__builtins__": {}, "inf": float("inf"), "nan": float("nan")},
    )


def _lines(text: bytes, bare: bool) -> list[str]:
    """The lines of a file, by YAML's idea of a line (YAML 1.1, section 4.2); of ``bare`` bytes,
    which are no text, by that of every editor."""
    decoded = text.decode("utf-8-sig", "replace")
    return decoded.split("\n") if bare else re.split("\r\n|[\r\n\x85\u2028\u2029]", decoded)


def _judge(error: TopologyError, lines: list[str]) -> None:
    promise(0 < len(error.mistakes) <= _MOST_MISTAKES, f"{len(error.mistakes)} mistakes")
    for mistake in error.mistakes:
        said = str(mistake)
        promise(said.isprintable(), f"not printable: {said!r}")
        promise(len(said) <= _LONGEST_MESSAGE, f"{len(said)} characters: {said}")
        promise(mistake.line <= len(lines), f"line {mistake.line} of {len(lines)}: {said}")
        if mistake.line:
            width = len(lines[mistake.line - 1])
            promise(1 <= mistake.column <= width + 1, f"column {mistake.column} of {width}: {said}")


def _use(topology: Topology) -> None:
    """A lab that was accepted can be written down and read again, and be given addresses."""
    if len(topology.nodes) > _MOST_NODES:
        return
    promise(
        from_data(to_data(topology)) == topology,
        "the lab is another one after the way through its data",
    )
    try:
        assigned = assign(topology)
    except InputError:
        return
    promise(assign(assigned) == assigned, "assigning again changes the lab")


def _written(random: Random, door: str, data: Any) -> bytes:
    """The data as a file, in one of the ways that people and programs write it."""
    if door == "json":
        return json.dumps(data, indent=random.choice((None, 1))).encode()
    try:
        flow = random.choice((True, False, None))
        made: bytes = yaml.dump(
            data,
            Dumper=_DUMPER,
            default_flow_style=flow,
            allow_unicode=True,
            encoding="utf-8",
            sort_keys=False,
        )
    except (UnicodeError, yaml.YAMLError):  # lone surrogates
        return json.dumps(data).encode()
    return made


_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


TARGET = _File()
