"""docs/api.md is made of docstrings, and its examples do what they say."""

from __future__ import annotations

import doctest
import importlib.util
import re
from contextlib import closing
from pathlib import Path
from types import ModuleType

import bascule
from bascule import testing
from bascule.host import netlink
from bascule.wire import message

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "api.py"


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current() -> None:
    """`make golden` writes it; each public name has its words there."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    tool = _tool()
    assert tool.page(text) == text
    for name in (*bascule.__all__, *bascule.api.__all__):
        assert name.startswith("_") or re.search(rf"^(### |\| )`{name}\b", text, re.MULTILINE), name
    assert not re.findall(r"^####? `.*`\n\n(?=#)", text, re.MULTILINE)  # a name without words


def test_the_examples_are_true() -> None:
    """From the first to the last, in private worlds."""
    names = {name: getattr(bascule, name) for name in bascule.__all__}
    more = {"bascule": bascule, "closing": closing, "message": message, "netlink": netlink}
    found = {name: getattr(testing, name) for name in testing.__all__}
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    page = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(page, names | more | found, "api.md", "api.md", 0)
    said: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert results.attempted > 40
    assert results.failed == 0, "".join(said)
    assert bascule.labs() == []
