"""Every mistake that a lab file can hold, with the complete message: the table is ``mistakes.txt``.

``PYTHONPATH=src python tests/topology/test_mistakes.py`` writes what is said now; read the diff before committing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bascule.errors import TopologyError
from bascule.topology.load import from_data, load_text

GOLDEN = Path(__file__).with_name("mistakes.txt")
_PREFACE, *_BLOCKS = GOLDEN.read_text(encoding="utf-8").split("\n=== ")


def _said(text: str, file: str) -> str:
    try:
        load_text(text.encode(), file)
    except TopologyError as error:
        return str(error)
    return "nothing"


def _parts(block: str) -> tuple[str, str, str, str]:
    """Headline, file name, text of the file, expected messages."""
    headline, _, rest = block.partition("\n")
    lines = rest.splitlines()
    text = "".join(line + "\n" for line in lines if not line.startswith("> "))
    expected = "\n".join(line[2:] for line in lines if line.startswith("> "))
    name = re.search(r": (lab\.\w+)$", headline)
    return headline, name[1] if name else "lab.yaml", text, expected


@pytest.mark.parametrize("block", _BLOCKS, ids=lambda block: block.partition("\n")[0])
def test_all_mistakes_are_named_at_once_in_order(block: str) -> None:
    _, file, text, expected = _parts(block)
    assert _said(text, file) == expected


def test_mistakes_in_data_have_a_path_and_no_position() -> None:
    with pytest.raises(TopologyError) as caught:
        from_data({"networks": {"lan": {"mtu": 3}}, "nodes": {"a": ["lam"]}}, "script")
    assert str(caught.value).splitlines() == [
        "script: networks.lan.mtu: 3 is out of range; write a number from 68 to 65535",
        "script: nodes.a.networks.lam: unknown network 'lam'; did you mean 'lan'?",
    ]
    assert [mistake.line for mistake in caught.value.mistakes] == [0, 0]


def test_hundreds_of_mistakes_are_cut_short() -> None:
    text = "networks: {lan: {}}\nnodes:\n" + "".join(f"  n{number}: [wan]\n" for number in range(5000))
    with pytest.raises(TopologyError) as caught:
        load_text(text.encode(), "lab.yaml")
    assert len(caught.value.mistakes) == 201
    assert str(caught.value.mistakes[0]) == "lab.yaml:3:8: nodes.n0.networks.wan: unknown network 'wan'; did you mean 'lan'?"


def _write() -> None:
    out = _PREFACE
    for block in _BLOCKS:
        headline, file, text, _ = _parts(block)
        out += f"\n=== {headline}\n{text}" + "".join(f"> {line}\n" for line in _said(text, file).splitlines())
    GOLDEN.write_text(out, encoding="utf-8")


if __name__ == "__main__":
    _write()
