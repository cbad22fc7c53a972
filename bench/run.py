"""Speed as ratios, all from one run: bascule beside a C program that sends exactly its messages,
and beside its peers.

Each measurement runs in network and mount namespaces of its own, in a process of its own; each
figure is the median of several, taken in turn with what it is compared to, because machines drift.
Nothing here is a test: `make test` measures no time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).parent
MEASURES = HERE / "measures.py"
BASCULE = str(Path(sys.executable).parent / "bascule")

Row = tuple[str, str, str, str, str]


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", default="", help="only rows whose name contains this")
    options.add_argument("--out", help="also write the table to this file")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        floor = str(Path(folder) / "floor")
        subprocess.run(["cc", "-O2", "-o", floor, str(HERE / "floor.c")], check=True)
        rows = [
            row for name, row in _rows(floor, given.rounds) if given.only in name for row in [row()]
        ]
    text = _table(rows)
    print(text)
    if given.out:
        Path(given.out).write_text(text + "\n")


def _rows(floor: str, rounds: int) -> list[tuple[str, Callable[[], Row]]]:
    def against(
        name: str,
        what: list[str],
        base: list[str],
        key: str,
        base_key: str,
        target: float,
        unit: str = "",
    ) -> Row:
        pairs = [(_run(what)[key], _run(base)[base_key]) for _ in range(rounds)]
        ratio = statistics.median(a / b for a, b in pairs)
        mine, other = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        own_unit = unit if unit and not unit.startswith("(") else "ms"
        after = f" {unit}" if unit.startswith("(") else ""
        return (
            name,
            f"{mine:.1f} {own_unit}",
            f"{other:.1f} {own_unit}{after}",
            f"{ratio:.2f} x",
            f"<= {target:.2f} x",
        )

    def absolute(name: str, what: list[str], key: str, target: float, unit: str = "ms") -> Row:
        found = statistics.median(_run(what)[key] for _ in range(rounds))
        return (name, f"{found:.3g} {unit}", "", "", f"<= {target:g} {unit}")

    def called(name: str, words: str, target: float) -> Row:
        """A call of a server beside the same command, in one run."""
        pairs = [(run[words], run[f"command {words}"]) for run in served()]
        mine, other = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        ratio = statistics.median(a / b for a, b in pairs)
        return (name, f"{mine:.1f} ms", f"{other:.1f} ms", f"{ratio:.3f} x", f"<= {target:g} ms")

    @lru_cache(1)
    def served() -> list[dict[str, float]]:
        return [_run(_python("serve", 3)) for _ in range(rounds)]

    def whole(count: int) -> Row:
        pairs = [
            (_run(_python("command", count))["up"], _run([floor, str(count), "cycle"])["up_ms"])
            for _ in range(rounds)
        ]
        over = statistics.median(a - 1.25 * b for a, b in pairs)
        mine, other = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        return (
            f"bascule up, {count} nodes",
            f"{mine:.1f} ms",
            f"{other:.1f} ms",
            f"1.25 x + {over:.0f} ms",
            "<= 1.25 x + 120 ms",
        )

    def peer(name: str, count: int) -> Row:
        try:
            pairs = [
                (_run(_python("cycle", count))["up"], _run(_python(name, count))["up"])
                for _ in range(max(2, rounds // 2))
            ]
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1] if error.stderr else "failed"
            return (f"peer: {name}", "", f"not measured: {reason[:60]}", "", "")
        mine, other = (statistics.median(pair[i] for pair in pairs) / count for i in (0, 1))
        return (
            f"peer: {name}, {count} nodes",
            f"{mine:.2f} ms a node",
            f"{other:.2f} ms a node",
            f"{mine / other:.2f} x",
            "",
        )

    def stream(name: str, bridged: int) -> Row:
        bare, ours = _python("throughput-bare", bridged), _python("throughput", bridged)
        return against(name, bare, ours, "rate", "rate", 1.02, "MB/s")

    cycle = _python("cycle", 200)
    return [
        (
            "up 200",
            lambda: against(
                "up by call, 200 nodes", cycle, [floor, "200", "cycle"], "up", "up_ms", 1.25
            ),
        ),
        (
            "up 500",
            lambda: against(
                "up by call, 500 nodes",
                _python("cycle", 500),
                [floor, "500", "cycle"],
                "up",
                "up_ms",
                1.35,
            ),
        ),
        ("command", lambda: whole(200)),
        (
            "again",
            lambda: against("up again, 200 nodes", cycle, cycle, "again", "up", 0.25, "(first up)"),
        ),
        (
            "one more",
            lambda: absolute(
                "one node more into 500, beyond a look at all", _python("more", 500), "more", 3
            ),
        ),
        (
            "grow",
            lambda: against(
                "node add as a command, beside 2,000 and 10",
                _python("grow", 2000),
                _python("grow", 10),
                "add",
                "add",
                1.3,
            ),
        ),
        ("show", lambda: absolute("show of 2,000 nodes", _python("grow", 2000), "show", 1200)),
        (
            "down",
            lambda: against(
                "down, 200 nodes", cycle, [floor, "200", "cycle"], "down", "down_ms", 1.2
            ),
        ),
        (
            "down 500",
            lambda: against(
                "down, 500 nodes",
                _python("cycle", 500),
                [floor, "500", "cycle"],
                "down",
                "down_ms",
                1.2,
            ),
        ),
        (
            "networks",
            lambda: against(
                "200 networks with 2 nodes",
                _python("networks", 200),
                [floor, "400", "cycle", "pins", "2"],
                "up",
                "up_ms",
                1.6,
            ),
        ),
        (
            "ports",
            lambda: absolute(
                "10,000 published ports, beyond the same lab without",
                _python("ports", 10_000),
                "more",
                1500,
            ),
        ),
        (
            "latency",
            lambda: against(
                "connect by a port, of 10,000 and of 10",
                _python("latency", 10_000),
                _python("latency", 10),
                "connect",
                "connect",
                1.1,
                "us",
            ),
        ),
        (
            "latency rule",
            lambda: against(
                "connect by a port, and by one rule of nft",
                _python("latency", 10),
                _python("latency-bare", 1),
                "connect",
                "connect",
                1.05,
                "us",
            ),
        ),
        ("throughput", lambda: stream("a MB of TCP, node to node, by hand and here", 0)),
        (
            "throughput bridged",
            lambda: stream("the same where bridged frames pass the firewall", 1),
        ),
        (
            "ping",
            lambda: absolute("every pair of 100 nodes, a pair", _python("ping", 100), "pair", 0.05),
        ),
        ("exec", lambda: absolute("exec as a command", _python("exec", 2), "command", 45)),
        ("call", lambda: absolute("node.run as a call", _python("exec", 2), "call", 4)),
        (
            "call private",
            lambda: absolute("node.run as a call, private world", _python("private", 2), "call", 4),
        ),
        ("call ls", lambda: called("ls as a call of a server, and as a command", "ls", 3)),
        ("call show", lambda: called("show, the same, 3 nodes", "show bench", 3)),
        ("call port", lambda: called("port, the same", "port bench/n1", 3)),
        ("call networks", lambda: called("network ls, the same", "network ls -l bench", 3)),
        ("call exec", lambda: called("exec, the same", "exec bench/n1 -- true", 10)),
        ("call add", lambda: called("node add, the same", "add", 40)),
        ("version", lambda: absolute("bascule --version", _python("version", 1), "version", 35)),
        (
            "memory",
            lambda: absolute(
                "memory of the builder, 500 nodes", _python("cycle", 500), "rss", 60, "MB"
            ),
        ),
        ("ip -batch", lambda: peer("ip-batch", 100)),
        ("by hand", lambda: peer("by-hand", 50)),
        ("pyroute2", lambda: peer("pyroute2", 50)),
        ("mininet", lambda: peer("mininet", 30)),
        ("cni", lambda: peer("cni", 30)),
    ]


def _python(name: str, count: int) -> list[str]:
    return [sys.executable, str(MEASURES), name, str(count)]


def _run(command: list[str]) -> dict[str, float]:
    environment = {**os.environ, "BASCULE": BASCULE}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=600, env=environment
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(rows: list[Row]) -> str:
    headings: Row = ("what", "bascule", "compared with", "ratio", "target")
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(5)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [headings, *rows]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
