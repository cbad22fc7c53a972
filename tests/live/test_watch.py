"""Events, and a lab that is kept as its file says."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import bascule
from sandbox import BASCULE, World, require

LAB = """\
name: watched
networks: {lan: {subnet: 10.1.0.0/24}}
nodes: {a: [lan], b: [lan]}
"""


class Lines:
    """What a command prints, line by line."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._data = b""

    def until(self, condition: Any, seconds: float = 10) -> str:
        """The first line that fits. Raises AssertionError with all that came instead."""
        seen, deadline = [], time.monotonic() + seconds
        while True:
            while b"\n" in self._data:
                line, _, self._data = self._data.partition(b"\n")
                seen.append(line.decode())
                if condition(line.decode()):
                    return line.decode()
            left = deadline - time.monotonic()
            ready = select.select([self._descriptor], [], [], max(0, left))[0]
            data = os.read(self._descriptor, 1 << 16) if ready else b""
            assert data, f"it did not come: {seen}"
            self._data += data


@contextmanager
def _running(*words: str, stderr: bool = False) -> Iterator[Lines]:
    with subprocess.Popen(
        [BASCULE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            yield Lines(process, (process.stderr if stderr else process.stdout).fileno())
        finally:
            process.kill()


@pytest.fixture
def up(world: World) -> World:
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml", "--world", "host")
    return world


def test_events_tell_of_ours_and_of_others(up: World) -> None:
    """As JSON, a line each; what leads away from the file is marked. SIGTERM ends it."""
    require("nft")
    with _running("events", "--json") as lines:
        assert lines.process.stderr is not None
        assert b"watching watched" in lines.process.stderr.readline()

        def event(sign: str, what: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(
                lines.until(
                    lambda line: (
                        (json.loads(line)["sign"], json.loads(line)["what"]) == (sign, what)
                    )
                )
            )
            return found

        up.run("ip", "-n", "a", "address", "del", "10.1.0.2/24", "dev", "eth0")
        gone = event("-", "address 10.1.0.2/24 on eth0 in a")
        assert (gone["lab"], gone["node"], gone["kind"], gone["foreign"], gone["reason"]) == (
            "watched", "a", "address", True, "is missing",
        )  # fmt: skip
        bascule(up, "up", "lab.yaml")
        assert event("+", "address 10.1.0.2/24 on eth0 in a")["foreign"] is False
        bascule(up, "node", "add", "c", "--network", "lan")
        assert event("+", "namespace c")["foreign"] is False
        up.run("ip", "link", "set", "veth-b", "nomaster")
        assert event("~", "veth veth-b (no bridge) to eth0 (b)")["foreign"] is True
        up.run("ip", "netns", "del", "c")
        assert event("-", "namespace c")["foreign"] is True
        bascule(up, "down", "watched")
        assert event("-", "lab watched")["foreign"] is False
        lines.process.send_signal(signal.SIGTERM)
        assert lines.process.wait(10) == 0


def test_sigterm_ends_it_where_interrupts_are_ignored(up: World) -> None:
    """As a script's background job, `bascule events &`."""
    with subprocess.Popen(
        ["sh", "-c", f"trap '' INT; exec {BASCULE} events"], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"watching watched" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_events_of_a_private_world(world: World) -> None:
    """They are heard from outside, and the keeper's end is told as what it is."""
    Path("lab.yaml").write_text(LAB)
    bascule(world, "up", "lab.yaml", "--world", "private")
    with _running("events") as lines:
        assert lines.process.stderr is not None
        assert b"watching watched" in lines.process.stderr.readline()
        bascule(world, "exec", "a", "--", "ip", "link", "set", "eth0", "down")
        lines.until(lambda line: "watched ~ veth veth-a" in line and "not by bascule" in line)
        keeper = json.loads(bascule(world, "ls", "--json").stdout)[0]["keeper"]
        os.kill(keeper, signal.SIGKILL)
        lines.until(lambda line: "- lab watched" in line and "the keeper has ended" in line)
        lines.process.send_signal(signal.SIGINT)
        assert lines.process.wait(10) == 130


def test_a_watched_lab_follows_its_file_and_mends_itself(up: World) -> None:
    """A wrong file is told and changes nothing; `down` ends the watch."""

    def nodes() -> set[str]:
        return {
            row["name"] for row in json.loads(up.run("ip", "-j", "netns", "list").stdout or "[]")
        }

    with _running("up", "lab.yaml", "--watch", stderr=True) as lines:
        lines.until(lambda line: "watching watched" in line)
        Path("new.yaml").write_text(LAB.replace("b: [lan]", "b: [lan], c: [lan]"))
        os.replace("new.yaml", "lab.yaml")  # as editors do it
        lines.until(lambda line: "watched is up" in line)
        assert nodes() == {"a", "b", "c"}
        up.run("ip", "-n", "a", "link", "del", "eth0")
        lines.until(lambda line: "watched is up" in line)
        assert bascule(up, "ping").returncode == 0
        Path("lab.yaml").write_text("nodes: {a: [lan], b: 7}\n")
        lines.until(lambda line: "lab.yaml:1:" in line)
        assert nodes() == {"a", "b", "c"}
        Path("lab.yaml").write_text(LAB)
        lines.until(lambda line: "watched is up" in line)
        assert nodes() == {"a", "b"}
        bascule(up, "down", "watched")
        lines.until(lambda line: "was taken down" in line)
        assert lines.process.wait(10) == 0


def test_a_watch_that_is_interrupted_leaves_the_lab_up(up: World) -> None:
    """And says so by its code."""
    with _running("up", "lab.yaml", "--watch", stderr=True) as lines:
        lines.until(lambda line: "watching watched" in line)
        lines.process.send_signal(signal.SIGINT)
        assert lines.process.wait(10) == 130
    assert bascule(up, "ping").returncode == 0
    bascule(up, "down", "watched")


def _nodes(world: World) -> set[str]:
    return {
        row["name"] for row in json.loads(world.run("ip", "-j", "netns", "list").stdout or "[]")
    }


TWO, THREE = LAB, LAB.replace("b: [lan]", "b: [lan], c: [lan]")


def _turn_a_link_to_the_file(_world: World) -> None:
    os.symlink("three/lab.yaml", "new")
    os.replace("new", "lab.yaml")


def _turn_a_link_to_its_folder(_world: World) -> None:
    os.symlink("three", "new")
    os.replace("new", "current")


def _turn_a_link_further_up(_world: World) -> None:
    os.symlink("../three", "new")
    os.replace("new", "shelf/current")


def _exchange_the_folder(_world: World) -> None:
    os.rename("two", "old")
    os.rename("three", "two")


SWAPS: dict[Any, tuple[str, dict[str, str]]] = {
    _turn_a_link_to_the_file: ("lab.yaml", {"lab.yaml": "two/lab.yaml"}),
    _turn_a_link_to_its_folder: ("current/lab.yaml", {"current": "two"}),
    _turn_a_link_further_up: (
        "link/../shelf/current/lab.yaml",
        {"shelf/current": "../two", "link": "shelf"},
    ),
    _exchange_the_folder: ("two/lab.yaml", {}),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_watch_follows_what_its_path_means(
    world: World, swap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link on the way that is turned, a folder that is exchanged."""
    path, links = SWAPS[swap]
    for folder, text in (("two", TWO), ("three", THREE)):
        os.mkdir(folder)
        Path(folder, "lab.yaml").write_text(text)
    os.mkdir("shelf")
    for link, target in links.items():
        os.symlink(target, link)
    with _running("up", path, "--watch", "--world", "host", stderr=True) as lines:
        lines.until(lambda line: "watching watched" in line)
        swap(world)
        lines.until(lambda line: "watched is up: 6 added" in line)
    assert _nodes(world) == {"a", "b", "c"}
    bascule(world, "down", "watched")


def test_a_file_that_is_being_written_is_waited_for(up: World) -> None:
    """However long that takes: half of it is a lab, too, and without the nodes of the other half.
    They live on."""
    with _running("up", "lab.yaml", "--watch", stderr=True) as lines:
        lines.until(lambda line: "watching watched" in line)
        before = os.stat("/run/netns/b").st_ino
        with open("lab.yaml", "w") as file:
            file.write(LAB.partition(", b:")[0] + "\n")
            file.flush()
            Path("other").touch()  # it is heard of what is closed in this folder meanwhile
            up.run("ip", "-n", "a", "link", "del", "eth0")  # what others do is mended all the same
            lines.until(lambda line: "watched is up" in line)
            assert _nodes(up) == {"a", "b"}
            file.seek(0)
            file.write(THREE)
        lines.until(lambda line: "watched is up: 6 added, 1 changed, 0 removed" in line)
        assert os.stat("/run/netns/b").st_ino == before
        bascule(up, "down", "watched")
        assert lines.process.wait(10) == 0


def test_two_do_not_watch_one_lab(up: World) -> None:
    """They would rebuild each other. The second is refused before it has changed anything; one that
    was killed holds nothing."""
    Path("third.yaml").write_text(THREE)
    with _running("up", "lab.yaml", "--watch", stderr=True) as lines:
        lines.until(lambda line: "watching watched" in line)
        done = bascule(up, "up", "third.yaml", "--watch", check=False)
        who = (
            f"bascule: lab watched is held by bascule (process {lines.process.pid}); end that "
            f"one first"
        )
        assert done.returncode == 1
        assert done.stderr.startswith(who)
        assert _nodes(up) == {"a", "b"}
        lines.process.kill()
        lines.process.wait()
        with _running("up", "third.yaml", "--watch", stderr=True) as second:
            second.until(lambda line: "watching watched" in line)
            assert _nodes(up) == {"a", "b", "c"}
            bascule(up, "down", "watched")
            second.until(lambda line: "was taken down" in line)


def test_two_watches_that_begin_at_once(world: World) -> None:
    """There is no lab yet that the first could hold: one of them goes on."""
    Path("lab.yaml").write_text(LAB)
    words = ("up", "lab.yaml", "--watch", "--world", "host")
    with _running(*words, stderr=True) as one, _running(*words, stderr=True) as two:
        both = (one.process, two.process)
        deadline = time.monotonic() + 10
        while all(each.poll() is None for each in both):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert {each.poll() for each in both} == {1, None}
        bascule(world, "down", "watched")
        assert {each.wait(10) for each in both} == {0, 1}


def test_a_pipe_is_not_watched(world: World) -> None:
    """It says so before anything is built."""
    done = world.run(
        "sh", "-c", f"cat lab.yaml | {BASCULE} up /dev/stdin --watch --name x", check=False
    )
    assert done.returncode == 2
    Path("lab.yaml").write_text(LAB)
    done = world.run(
        "sh", "-c", f"cat lab.yaml | {BASCULE} up /dev/stdin --watch --name x", check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        "bascule: /dev/stdin: is no file that could be watched; write it to one\n",
    )
    assert bascule(world, "ls", "--json").stdout == "[]\n"
