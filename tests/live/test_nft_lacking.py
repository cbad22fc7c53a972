"""A kernel that lacks a part of nf_tables: what is missing is named, in one line."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

import machine
from bascule import syscalls
from bascule.api import Lab
from bascule.engine import doctor
from bascule.errors import BasculeError
from sandbox import World, require

LAB = {
    "name": "la",
    "networks": {"lan": {"subnet": "10.1.0.0/24", "nat": True, "dns": False}},
    "nodes": {"a": {"networks": ["lan"], "ports": ["8080:80"]}},
}
# What of a rule, and the kernel's module for it.
MODULES = {"fib": "nft_fib_inet", "masquerade": "nft_masq", "type nat hook": "nft_chain_nat"}
# nft reads its input, and says what the kernel has said of the first line with such a word, as it
# does (erec_print in src/erec.c of nftables 1.0.6): place, words, the line, and what of it.
FAKE = """\
#!{python}
import os, subprocess, sys
text = sys.stdin.read()
for number, line in enumerate(text.splitlines(), 1):
    if {word!r} in line:
        place = {place!r}.format(number=number, end=len(line))
        print(f"{{place}}Error: Could not process rule: {said}\\n{{line}}\\n^^^", file=sys.stderr)
        sys.exit(1)
sys.exit(subprocess.run([{real!r}, *sys.argv[1:]], input=text, text=True).returncode)
"""


def _fake(tmp_path: Path, word: str, place: str, number: int) -> None:
    real = shutil.which("nft", path=syscalls.SYSTEM_PATH) or shutil.which("nft")
    fake = tmp_path / "nft"
    fake.write_text(
        FAKE.format(
            python=shutil.which("python3"),
            word=word,
            place=place,
            said=os.strerror(number),
            real=real,
        )
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("place", ["/dev/stdin:{number}:3-{end}: ", ""], ids=["placed", "echoed"])
@pytest.mark.parametrize("word", MODULES)
def test_what_is_missing_is_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, place: str
) -> None:
    """By `up`, which leaves nothing, in a line with the rule and the module, and not the whole
    table."""
    require("nft")
    _fake(tmp_path, word, place, errno.ENOENT)
    before = machine.state()
    monkeypatch.setattr(syscalls, "SYSTEM_PATH", f"{tmp_path}{os.pathsep}{syscalls.SYSTEM_PATH}")
    with pytest.raises(BasculeError) as raised:
        Lab.from_data(LAB, world="host").up()
    said = str(raised.value).splitlines()[0]
    assert len(said) < 300
    assert word in said
    assert "Could not process rule: No such file or directory; this kernel lacks " in said
    assert f"`modprobe {MODULES[word]}`" in said
    assert machine.difference(before, machine.state()) == ""


def test_doctor_names_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what labs need as a whole."""
    require("nft")
    _fake(tmp_path, "fib", "/dev/stdin:{number}:3-{end}: ", errno.ENOENT)
    monkeypatch.setattr(syscalls, "SYSTEM_PATH", f"{tmp_path}{os.pathsep}{syscalls.SYSTEM_PATH}")
    found = {each.what: each for each in doctor.examine()}
    assert found["rules"].verdict == "no"
    assert found["rules"].found == "Could not process rule: No such file or directory"
    assert found["rules"].advice.startswith("this kernel lacks nft_fib_inet")
    assert "\n" not in found["rules"].advice
