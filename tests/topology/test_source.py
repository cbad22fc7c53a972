"""Text → tree: places, the scalars of YAML 1.2, and texts that were written to hurt."""

from __future__ import annotations

import json
import time
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import TopologyError
from bascule.topology.read_yaml import resolve
from bascule.topology.source import parse
from bascule.topology.tree import Tree, from_python


def plain(tree: Tree) -> object:
    """The tree as the data that it stands for."""
    if isinstance(tree.value, dict):
        return {key: plain(below) for key, below in tree.value.items()}
    if isinstance(tree.value, list):
        return [plain(item) for item in tree.value]
    return tree.value


def said(text: str | bytes, filename: str = "lab.yaml") -> str:
    with pytest.raises(TopologyError) as caught:
        parse(text.encode() if isinstance(text, str) else text, filename)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("22:22", "22:22"), ("1_000", "1_000"),
        ("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("0o17", 15), ("017", 17),
        ("0x1F", 31), ("-5", -5), ("1.5", 1.5), ("1e3", 1000.0), ("10.0.0.1", "10.0.0.1"), ("2001-01-01", "2001-01-01"),
        ("-", "-"), ("+", "+"), (".", "."), ("<<", "<<"), ("=", "="), ("9" * 50, 1e50),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value


def test_quoted_scalars_are_text() -> None:
    assert plain(parse(b"a: ['1', \"true\", !!str 5]\nb: |-\n  7\n", "x.yaml")) == {"a": ["1", "true", "5"], "b": "7"}


YAML = b"nodes:\n  a: [lan, wan]\n  b:\n    networks: {lan: 10.0.0.5}\n"
JSON = b'{\n\t"nodes": {\n\t"a": ["lan", "wan"],\n"b": {"networks": {"lan": "10.0.0.5"}}}}'
TOML = b'[nodes]\na = ["lan", "wan"]\n\n[nodes.b]  # "\nnetworks.lan = "10.0.0.5"\n'


@pytest.mark.parametrize(
    ("text", "name", "wan", "address", "key"),
    [
        (YAML, "x.yaml", (2, 12), (4, 21), (4, 16)),
        (JSON, "x.json", (3, 15), (4, 27), (4, 20)),
        (TOML, "x.toml", (2, 13), (5, 16), (5, 10)),
    ],
)
def test_places(text: bytes, name: str, wan: object, address: object, key: object) -> None:
    tree = parse(text, name)
    assert plain(tree) == {"nodes": {"a": ["lan", "wan"], "b": {"networks": {"lan": "10.0.0.5"}}}}
    assert tree.find(("nodes", "a", 1), {}).place == wan
    found = tree.find(("nodes", "b", "networks", "lan"), {})
    assert (found.place, found.key_place) == (address, key)


def test_columns_count_characters_not_bytes() -> None:
    for text, name in (("'é😀': {x: 1}", "x.yaml"), ('{"é😀":{"x":1}}', "x.json")):
        tree = parse(text.encode(), name).find(("é😀", "x"), {})
        assert tree.place == (1, text.index("1") + 1)


def test_byte_order_mark_and_windows_lines() -> None:
    for name, text in (("x.yaml", b"a: 1\r\nb: 2\r\n"), ("x.json", b'{"a": 1,\r\n"b": 2}'), ("x.toml", b"a = 1\r\nb = 2\r\n")):
        tree = parse(b"\xef\xbb\xbf" + text, name)
        assert plain(tree) == {"a": 1, "b": 2}
        assert tree.find(("b",), {}).key_place == (2, 1)


def test_surrogate_pairs_in_json() -> None:
    assert plain(parse(rb'{"a": "\ud83d\ude00"}', "x.json")) == {"a": "😀"}


def test_an_alias_is_its_value_at_both_places() -> None:
    tree = parse(b"a: &x [lan]\nb: *x\n", "x.yaml")
    assert plain(tree) == {"a": ["lan"], "b": ["lan"]}
    assert tree.find(("b",), {}).key_place == (2, 1)


HUGE = 200_000


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("[" * HUGE, "x.yaml", "x.yaml:1:65: lists and maps are nested more than 64 deep"),
        ("{a: " * HUGE, "x.yaml", "x.yaml:1:257: lists and maps are nested more than 64 deep"),
        ("- " * HUGE, "x.yaml", "x.yaml:1:129: lists and maps are nested more than 64 deep"),
        ("[" * HUGE, "x.json", "x.json:1:65: lists and maps are nested more than 64 deep"),
        ("a = " + "[" * HUGE, "x.toml", "x.toml:1:69: lists and maps are nested more than 64 deep"),
        ("a." * HUGE + "b = 1", "x.toml", "nested more than 64 deep"),
        ("a.a.a.a.a.a.a.a = {" * 60 + "}" * 60, "x.toml", "x.toml: "),
        ("[" + "[],\n" * HUGE + "]", "x.yaml", "more than 200,000 values"),
        ("[" + "[],\n" * HUGE + "[]]", "x.json", "more than 200,000 values"),
        ("a = [" + "1,\n" * HUGE + "]", "x.toml", "more than 200,000 values"),
        ('"' + "\\x" * HUGE, "x.json", "not valid JSON"),
        ('a = "' + "\\x" * HUGE, "x.toml", "not valid TOML"),
        ('a = """' + '"" ' * HUGE, "x.toml", "not valid TOML"),
        ("a: " + "9" * 10_000 + "\nb: *x", "x.yaml", "names nothing"),
        ("a: \x00", "x.yaml", "x.yaml:1:4: the control character U+0000 is not allowed"),
        ("a: 1\nb: \x85\u2028\ufffe", "x.yaml", "U+FFFE is not allowed"),
        ("#" * (16 * 1024 * 1024 + 1), "x.yaml", "x.yaml: larger than 16 MiB"),
    ],
)  # fmt: skip
def test_hostile_texts_are_refused_at_once(text: str, name: str, expected: str) -> None:
    began = time.process_time()
    assert expected in said(text, name)
    assert time.process_time() - began < 10


def test_a_bomb_of_aliases_is_seen_before_it_grows() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    assert said("\n".join(lines)).startswith("lab.yaml:6:10: more than 200,000 values")


def test_aliases_that_never_end() -> None:
    assert "which would never end" in said("a: &a\n  b: &b [*a]")
    assert "which would never end" in said("a: &a 1\nb: &a [*a]")


def test_not_utf8() -> None:
    assert said(b"a: 1\nb: \xc3\xa9\xff") == "lab.yaml:2:5: not UTF-8: byte 0xff at offset 10; save the file as UTF-8"
    assert "not UTF-8: byte 0xff at offset 0" in said("a: 1".encode("utf-16"))


def test_numbers_that_python_would_not_print() -> None:
    for text, name in (("a: %s", "x.yaml"), ('{"a": %s}', "x.json"), ("a = %s", "x.toml")):
        with pytest.raises(TopologyError):
            parse((text % ("9" * 5000) + "\nnot: [valid").encode(), name)
    assert from_python(10**5000, "x").text == "a very large number"


def test_data_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that holds itself is seen by its depth; data that is shared ten times at each level by the number of its values."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(TopologyError, match="nested more than 64 deep"):
        from_python(endless, "<data>")
    wide: list[object] = ["x"]
    for _ in range(40):
        wide = [wide] * 10
    # The real bound is 4,000,000, which takes ten seconds to reach.
    monkeypatch.setattr("bascule.topology.tree.MAX_DATA_VALUES", 40_000)
    with pytest.raises(TopologyError, match="more than 40,000 values"):
        from_python(wide, "<data>")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), below),
    max_leaves=12,
)


@given(values)
def test_json_is_read_as_the_standard_library_does(value: object) -> None:
    for indent, ascii_only in ((None, True), (2, False)):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        if text.strip():
            assert plain(parse(text.encode(), "x.json")) == value


@given(values)
def test_yaml_is_read_as_it_was_written(value: object) -> None:
    text = yaml.safe_dump({"k": value}, allow_unicode=True)
    try:
        tree = parse(text.encode(), "x.yaml")
    except TopologyError as error:
        assert "merge keys" in str(error) or "U+" in str(error)
    else:
        assert json.dumps(plain(tree)) == json.dumps({"k": value}) or _reads_otherwise(value)


def _reads_otherwise(value: object) -> bool:
    """PyYAML writes for YAML 1.1: texts that are numbers only in 1.2 stay without quotes; lines may be folded anew."""
    if isinstance(value, dict):
        return any(map(_reads_otherwise, value)) or any(map(_reads_otherwise, value.values()))
    if isinstance(value, list):
        return any(map(_reads_otherwise, value))
    return isinstance(value, str) and (not isinstance(resolve(value), str) or not value.isprintable())


_word = st.text("abc", min_size=1, max_size=2)
_toml = st.recursive(
    st.booleans().map(lambda yes: "true" if yes else "false") | st.integers(0, 99).map(str) | _word.map(lambda text: f'"{text}"'),
    lambda below: (
        st.lists(below, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(_word, below, max_size=3).map(lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items()) + "}")
    ),
    max_leaves=6,
)


_line = _word.map("[{}]".format) | _word.map("[[{}]]".format) | st.builds("{}.{} = {}".format, _word, _word, _toml)


@given(st.lists(_line))
def test_toml_is_read_as_the_standard_library_does(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if text.strip():
        tree = parse(text.encode(), "x.toml")
        assert plain(tree) == expected
        _every_key_is_where_it_says(tree, text.splitlines())


def _every_key_is_where_it_says(tree: Tree, lines: list[str]) -> None:
    if isinstance(tree.value, dict):
        for key, below in tree.value.items():
            assert lines[below.key_line - 1][below.key_column - 1 :].lstrip("[").startswith(key)
            _every_key_is_where_it_says(below, lines)
    elif isinstance(tree.value, list):
        for item in tree.value:
            _every_key_is_where_it_says(item, lines)
