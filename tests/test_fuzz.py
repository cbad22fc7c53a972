"""The fuzzers of `make fuzz`, briefly: what was found before is not there again, and fresh cases
find nothing."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator

import pytest

from fuzz import run
from fuzz.target import corpus, crashers

FRESH = {"decoder": 2000, "file": 500, "state": 150, "arguments": 100, "names": 100}
SEED = 20


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    """The file's fuzzer lifts Python's limit on the digits of numbers."""
    before = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("name", run.NAMES)
def test_the_corpus_and_what_once_broke_something(name: str) -> None:
    """Each file of fuzz/corpus and fuzz/crashers."""
    target = run.load(name)
    assert corpus(name)
    for case in (*corpus(name), *crashers(name).values()):
        target.run(case)


@pytest.mark.parametrize("name", run.NAMES)
def test_fresh_cases(name: str) -> None:
    """The same ones in every run."""
    target = run.load(name)
    for codec in ("utf-8-sig", "unicode_escape", "idna"):
        codecs.lookup(codec)
    failed = {}
    for number in range(FRESH[name]):
        case = run.case_of(target, SEED, number)
        error = run.failure_of(target, case)
        if error is not None:
            failed[number] = (error, case[:300])
    assert not failed


def test_a_case_follows_from_its_number() -> None:
    """So that a figure of a run can be tried again."""
    for name in run.NAMES:
        target = run.load(name)
        assert run.case_of(target, 1, 7) == run.case_of(target, 1, 7) != run.case_of(target, 1, 8)
