"""pytest moves off the machine before the first test; see sandbox.py."""

from __future__ import annotations

import gc
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import sandbox

# What may be missing even in CI, and why. Everything else that a test requires makes it fail there.
ALLOWED_MISSING = {
    "go": "a compiler of 200 MB for one test",
    "link:ipvlan": "small kernels (micro VMs) are built without it",
    "link:vlan": "small kernels (micro VMs) are built without it",
    "link:wireguard": "small kernels (micro VMs) are built without it",
    "pesto": "it comes with passt of 2026_05 and later: `make test-distros` has it in sid",
    "qdisc:netem": "small kernels (micro VMs) are built without it",
}
sandbox.ALLOWED_MISSING.update(ALLOWED_MISSING)

_counted: dict[str, dict[str, int]] = {}  # of each test that has passed
# now: a test goes elsewhere
_FIGURES = os.path.abspath(place) if (place := os.environ.get("BASCULE_FIGURES")) else ""
_LIVE = Path(__file__).parent / "live"
_WAITING, _FIRST_PART = ("crash", "races"), 0.6


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Enter the sandbox. Workers of pytest-xdist are started later and inherit it."""
    # pytest in the background; tests send it to what they start
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sandbox.enter_sandbox()
    except OSError as error:
        pytest.exit(
            f"the tests run in namespaces of their own, which this system forbids: {error}.\n"
            "Run them as root, or allow user namespaces: sysctl "
            "user.max_user_namespaces=10000, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0. In a container, start it with "
            "--privileged.",
            returncode=4,
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests that mostly wait for the kernel over the first part of the run, among those
    that need a processor. In a full run all of them wait, and the longest stand first as they are;
    what an earlier one has figures of is not run again."""
    if os.environ.get("CRASH") == "full":
        with suppress(OSError):
            _counted.update(json.loads(Path(_FIGURES).read_text()))
        items[:] = [item for item in items if item.nodeid not in _counted]
        return
    waiting = [item for item in items if item.path.parent.name in _WAITING]
    busy = [item for item in items if item.path.parent.name not in _WAITING]
    apart = int(len(busy) * _FIRST_PART / len(waiting)) if waiting else 0
    items[:] = [
        item
        for at, one in enumerate(waiting)
        for item in (one, *busy[at * apart : (at + 1) * apart])
    ]
    items += busy[len(waiting) * apart :]


def pytest_collection_finish() -> None:
    """From here on this process forks thousands of times: what is there by now is not to be copied
    for the collector's marks."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what tests count with record_property: points tried, operations, steps. With
    BASCULE_FIGURES it stands in that file at once, so that a run that is cut short can be carried
    on with the rest; and so does the text of what failed, beside it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    numbers = {name: value for name, value in report.user_properties if isinstance(value, int)}
    if report.when == "call" and report.passed and numbers:
        _counted[report.nodeid] = numbers
        if _FIGURES:
            Path(_FIGURES).write_text(json.dumps(_counted, indent=1, sort_keys=True))
    if report.failed and _FIGURES:
        with open(f"{_FIGURES}.failed", "a") as file:
            file.write(f"{report.nodeid}\n{report.longreprtext[-3000:]}\n\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums."""
    sums: Counter[str] = Counter()
    for numbers in _counted.values():
        sums.update(numbers)
    if sums:
        terminalreporter.section("tried")
        for name, value in sorted(sums.items()):
            terminalreporter.write_line(f"{name}: {value:,}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sandbox.World]:
    """A throwaway machine, entered; the current folder is ``tmp_path``."""
    for name in ("BASCULE_STATE_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    # This network namespace is not the machine's own, but plays it. (A test may undo all that it
    # has patched.)
    with pytest.MonkeyPatch.context() as lasting, sandbox.World() as entered:
        lasting.setenv("BASCULE_KEEP_DIR", "/var/lib/bascule")
        os.chdir(tmp_path)
        yield entered


@pytest.fixture(autouse=True)
def _live_tests_have_a_world(request: pytest.FixtureRequest) -> None:
    """Whatever is tested under live/ is tested on a throwaway machine, asked for or not."""
    if _LIVE in request.path.parents:
        request.getfixturevalue("world")
