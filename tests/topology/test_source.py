"""Text → tree: places, the scalars of YAML 1.2, and texts that were written to hurt."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import NoReturn

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import Mistake, TopologyError
from bascule.topology import tree as trees
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
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("22:22", "22:22"), ("1_000", "1_000"),  # noqa: E501
        ("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("0o17", 15), ("017", 17),  # noqa: E501
        ("0x1F", 31), ("-5", -5), ("1.5", 1.5), ("1e3", 1000.0), ("10.0.0.1", "10.0.0.1"), ("2001-01-01", "2001-01-01"),  # noqa: E501
        ("-", "-"), ("+", "+"), (".", "."), ("<<", "<<"), ("=", "="), ("9" * 50, 1e50),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value


def test_quoted_scalars_are_text() -> None:
    assert plain(parse(b"a: ['1', \"true\", !!str 5]\nb: |-\n  7\n", "x.yaml")) == {
        "a": ["1", "true", "5"],
        "b": "7",
    }


YAML = b"nodes:\n  a: [lan, wan]\n  b:\n    networks: {lan: 10.0.0.5}\n"
JSON = b'{\n\t"nodes": {\n\t"a": ["lan", "wan"],\n"b": {"networks": {"lan": "10.0.0.5"}}}}'


@pytest.mark.parametrize(
    ("text", "name", "wan", "address", "key"),
    [
        (YAML, "x.yaml", (2, 12), (4, 21), (4, 16)),
        (JSON, "x.json", (3, 15), (4, 27), (4, 20)),
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
    for name, text in (
        ("x.yaml", b"a: 1\r\nb: 2\r\n"),
        ("x.json", b'{"a": 1,\r\n"b": 2}'),
    ):
        tree = parse(b"\xef\xbb\xbf" + text, name)
        assert plain(tree) == {"a": 1, "b": 2}
        assert tree.find(("b",), {}).key_place == (2, 1)


def test_surrogate_pairs_in_json() -> None:
    """Two escapes are one character, unless the backslash is itself escaped. What follows on the
    line stays where an editor shows it, also in a message."""
    text = r"""{"a\ud83d\ude00": "\uD83D\uDE00 \\ud83d\ude00x", "b": 1, "c": [
 "\ud83d\ude00\ud83d\ude00", 7]}"""
    tree = parse(text.replace(r"\ude00x", r"\u0078").encode(), "x.json")
    assert plain(tree) == {"a😀": r"😀 \ud83dx", "b": 1, "c": ["😀😀", 7]}
    line = text.splitlines()[0].replace(r"\ude00x", r"\u0078")
    assert tree.find(("a😀",), {}).place == (1, line.index(r'"\uD83D') + 1)
    assert tree.find(("b",), {}).key_place == (1, line.index('"b"') + 1)
    assert tree.find(("c", 1), {}).place == (2, 30)
    assert "x.json:1:22: not valid JSON: did not find" in said(r'{"a": "\ud83d\ude00" 1}', "x.json")
    for half in (r"\ud83d", r"\ude00", r"\ud83d\u0041"):
        assert "it is half of a character" in said(f'{{"a": "{half}"}}', "x.json")


def test_tabs_before_a_json_text() -> None:
    """PyYAML takes none there, and counts them as one column."""
    assert parse(b'\n\t \t{"a": 1}\t\n\t', "x.json").find(("a",), {}).key_place == (2, 5)
    assert "indent with spaces, not tabs" in said("\t{}", "x.yaml")


def test_an_alias_is_its_value_at_both_places() -> None:
    tree = parse(b"a: &x [lan]\nb: *x\n", "x.yaml")
    assert plain(tree) == {"a": ["lan"], "b": ["lan"]}
    assert tree.find(("b",), {}).key_place == (2, 1)


HUGE = 200_000


def test_the_place_of_what_is_too_deep() -> None:
    """Ours, or libyaml's own, whose newer versions look ahead and stop at a thousand levels."""
    found = said("a:\n  [" + "[" * HUGE, "x.yaml")
    assert re.fullmatch(
        (
            r"x\.yaml:2:(66|1002): lists and maps are nested more than 64 deep; a lab file needs "
            r"seven levels"
        ),
        found,
    )


def test_a_json_text_that_does_not_end() -> None:
    assert (
        said('{"name": "x', "x.json")
        == "x.json:1:12: not valid JSON: found unexpected end of stream (a quote is never closed), "
        "while scanning a quoted scalar that begins at line 1, column 10"
    )


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        # libyaml's column or ours
        ("[" * HUGE, "x.yaml", ": lists and maps are nested more than 64 deep"),
        ("{a: " * HUGE, "x.yaml", "x.yaml:1:257: lists and maps are nested more than 64 deep"),
        ("- " * HUGE, "x.yaml", "x.yaml:1:129: lists and maps are nested more than 64 deep"),
        ("[" * HUGE, "x.json", ": lists and maps are nested more than 64 deep"),
        ("[" + "[],\n" * HUGE + "]", "x.yaml", "more than 200,000 values"),
        ("[" + "[],\n" * HUGE + "[]]", "x.json", "more than 200,000 values"),
        ('"' + "\\x" * HUGE, "x.json", "not valid JSON"),
        ('"' + "\\ud83d\\ude00" * HUGE, "x.json", "not valid JSON"),
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
    lines += [
        f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)
    ]
    assert said("\n".join(lines)).startswith("lab.yaml:6:10: more than 200,000 values")


def test_aliases_that_never_end() -> None:
    assert "which would never end" in said("a: &a\n  b: &b [*a]")
    assert "which would never end" in said("a: &a 1\nb: &a [*a]")


def test_not_utf8() -> None:
    assert (
        said(b"a: 1\nb: \xc3\xa9\xff")
        == "lab.yaml:2:5: not UTF-8: byte 0xff at offset 10; save the file as UTF-8"
    )
    assert "not UTF-8: byte 0xff at offset 0" in said("a: 1".encode("utf-16"))


def test_numbers_that_python_would_not_print() -> None:
    for text, name in (("a: %s", "x.yaml"), ('{"a": %s}', "x.json")):
        with pytest.raises(TopologyError):
            parse((text % ("9" * 5000) + "\nnot: [valid").encode(), name)
    assert from_python(10**5000, "x").text == "a very large number"


DEEP = {
    "x.yaml": lambda levels: "a: " + "[" * levels + "]" * levels,
    "x.json": lambda levels: '{"a": ' + "[" * levels + "]" * levels + "}",
}


@pytest.mark.parametrize("name", DEEP)
def test_nesting_is_counted_by_what_is_open(name: str) -> None:
    """64 levels with the map around them are read, 65 are not; lists beside each other are no
    deeper than one."""
    parse(DEEP[name](63).encode(), name)
    assert "nested more than 64 deep" in said(DEEP[name](64), name)
    beside = ",\n".join(["[]", "{}"] * 100)
    text = DEEP[name](1).replace("[", f"[[[{beside}], [{beside}]]")
    assert len(str(plain(parse(text.encode(), name)))) > 400
    towers = ",\n".join(["[[[]]]"] * 30 + ["[" * 62 + "]" * 62])
    text = DEEP[name](2).replace("[]", f"[{towers}]")
    assert "nested more than 64 deep" in said(text, name)
    parse(text.replace("[[[[", "[[[", 31).replace("]]]]", "]]]", 31).encode(), name)


@pytest.mark.parametrize(
    ("name", "text", "count", "place"),
    [
        ("x.json", '{"a": [1, "two", 3.5],\n  "b": {"c": true}}', 10, (2, 14)),
        ("x.yaml", "a: [1, two, 3.5]\nb: {c: true}\n", 10, (2, 8)),
        ("x.yaml", "a: [&x 1, two]\nb: [*x, &y {}, *y]\n", 10, (2, 16)),
        ("x.yaml", "a: &x [1, [2]]\nb: *x\n", 11, (2, 4)),
    ],
)
def test_every_value_counts_and_the_first_one_too_many_is_named(
    name: str, text: str, count: int, place: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, scalars, lists and maps, aliases as often as they are used: the bound is met
    exactly."""
    for bound in range(3, 30):
        monkeypatch.setattr("bascule.topology.read_yaml.MAX_VALUES", bound)
        try:
            parse(text.encode(), name)
            break
        except TopologyError as error:
            last = error.mistakes[0]
    assert (last.file, last.line, last.column) == (name, *place)
    assert last.message.startswith("more than 200,000 values; use `count`")
    assert bound == count


def test_an_alias_has_the_place_and_text_of_what_it_names() -> None:
    """Scalars as well as lists; a later anchor of the same name counts from there on."""
    tree = parse(b"a: &x 10\nb: *x\nc: &x [1]\nd: *x\n", "x.yaml")
    assert plain(tree) == {"a": 10, "b": 10, "c": [1], "d": [1]}
    b, d = tree.find(("b",), {}), tree.find(("d",), {})
    assert (b.line, b.column, b.text, b.key_place) == (1, 4, "10", (2, 1))
    assert (d.line, d.column, d.text, d.key_place) == (3, 4, "", (4, 1))


@pytest.mark.parametrize(
    ("form", "name"), [('{"a": %s, "b": %s}', "x.json"), ("{a: %s, b: %s}", "x")]
)
def test_numbers_of_any_length_are_no_mistake_of_form(form: str, name: str) -> None:
    """Whether a field takes them is judged later: up to 40 digits are exact, more of them are only
    known to be a number."""
    tree = parse((form % ("9" * 40, "9" * 5000)).encode(), name)
    assert plain(tree) == {"a": 10**40 - 1, "b": float("inf")}
    assert tree.find(("b",), {}).text == "9" * 5000
    assert plain(parse((form % ("1e3", "-2.5E-1")).encode(), name)) == {"a": 1000.0, "b": -0.25}
    for number, text in (
        (2**64 - 1, str(2**64 - 1)),
        (2**64, "a very large number"),
        (-(2**64) + 1, str(1 - 2**64)),
    ):
        assert from_python(number, "x").text == text


def test_mistakes_of_form_are_told_together_in_order() -> None:
    """They have no path: the text is not a lab yet."""
    text = b"b: 1\na: !x 2\na: {c: 1, c: 2}\nb: 3"
    with pytest.raises(TopologyError) as caught:
        parse(text, "lab.yaml")
    assert str(caught.value).splitlines() == [
        "lab.yaml:2:4: tags such as !x are not supported; remove it",
        "lab.yaml:3:1: 'a' is given twice, first at line 2, column 1; keep one",
        "lab.yaml:3:11: 'c' is given twice, first at line 3, column 5; keep one",
        "lab.yaml:4:1: 'b' is given twice, first at line 1, column 1; keep one",
    ]
    assert {mistake.path for mistake in caught.value.mistakes} == {""}
    with pytest.raises(TopologyError) as caught:
        parse(b'{"a": 1,\n "a": 2}', "x.json")
    assert caught.value.mistakes == [
        Mistake("x.json", 2, 2, "", "'a' is given twice, first at line 1, column 2; keep one")
    ]


@pytest.mark.parametrize("name", ["x.YAML", "x.yml", "x", "x.json.yaml", "x.toml.yaml", "x.JSON"])
def test_a_lab_file_is_yaml_whatever_its_name(name: str) -> None:
    """JSON, too: what a person adds to it, a comment or a last comma, is no mistake. Messages speak
    of JSON where the suffix does, in any case."""
    assert plain(parse(b'{"a": no, # yes\n}', name)) == {"a": "no"}
    form = "JSON" if name.endswith("JSON") else "YAML"
    assert f"not valid {form}: " in said("a: [", name)


@pytest.mark.parametrize("name", ["x.toml", "x.Toml"])
def test_toml_is_refused_by_its_name(name: str) -> None:
    """Whatever is in it."""
    for text in (b'[nodes]\na = ["lan"]\n', b"nodes: {a: [lan]}", b"", b"\xff"):
        assert said(text, name).startswith(
            f"{name}: a lab file is YAML or JSON, not TOML; write it"
        )


@pytest.mark.parametrize("name", ["x.yaml", "x.json"])
@pytest.mark.parametrize("text", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_nothing_is_no_lab(name: str, text: bytes) -> None:
    """The message shows the shortest lab."""
    with pytest.raises(TopologyError) as caught:
        parse(text, name)
    message = "the file is empty; the shortest lab is `nodes: {a: [lan], b: [lan]}`"
    assert caught.value.mistakes == [Mistake(name, 0, 0, "", message)]


def test_the_place_of_what_is_no_utf_8_counts_characters() -> None:
    """Also behind a byte order mark, which an editor does not show."""
    expected = "x:2:3: not UTF-8: byte 0x80 at offset %d; save the file as UTF-8"
    assert said("é: 1\né ".encode() + b"\x80", "x") == expected % 9
    assert said(b"\xef\xbb\xbf" + "é: 1\né ".encode() + b"\x80", "x") == expected % 12


def test_sixteen_mebibytes_are_not_too_large() -> None:
    """The bound is met exactly."""
    assert plain(parse(b"a: 1" + b" " * (16 * 1024 * 1024 - 4), "x.json.yaml")) == {"a": 1}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (yaml.MarkedYAMLError(), "x.yaml: not valid YAML: syntax error"),
        (yaml.MarkedYAMLError(context="while looking"), "x.yaml: not valid YAML: while looking"),
        (
            yaml.MarkedYAMLError("while looking", problem="found nothing"),
            "x.yaml: not valid YAML: found nothing, while looking",
        ),
        (
            yaml.MarkedYAMLError(None, yaml.Mark("x", 0, 4, 2, None, 0)),
            "x.yaml:5:3: not valid YAML: syntax error",
        ),
        (yaml.YAMLError("found\na bell"), "x.yaml: not valid YAML: found\\na bell"),
    ],
)
def test_a_parser_that_says_little_is_quoted_all_the_same(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its errors may lack the place, or what the problem is."""

    def events(text: str) -> NoReturn:
        raise error

    monkeypatch.setattr("bascule.topology.read_yaml._events", events)
    assert said("a: 1") == expected.replace("x.yaml", "lab.yaml")


def test_a_control_character_is_named_with_its_place() -> None:
    """Line and column, as an editor counts them."""
    assert (
        said("a: 1\nb: [x,\x0c]\n")
        == "lab.yaml:2:7: the control character U+000C is not allowed; remove it"
    )


def test_data_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that holds itself is seen by its depth; data that is shared ten times at each level by
    the number of its values."""
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
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), below)
    ),
    max_leaves=12,
)


@given(values)
def test_json_is_read_as_the_standard_library_does(value: object) -> None:
    for indent, ascii_only in ((None, True), (2, False)):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        if not text.strip() or re.search("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|<<", text):
            continue  # to YAML these are line breaks, no characters at all, or a merge
        assert plain(parse(text.encode(), "x.json")) == value


@given(values)
def test_yaml_is_read_as_it_was_written(value: object) -> None:
    text = yaml.safe_dump({"k": value}, allow_unicode=True, sort_keys=False)
    try:
        tree = parse(text.encode(), "x.yaml")
    except TopologyError as error:
        assert "merge keys" in str(error) or "U+" in str(error)
    else:
        assert json.dumps(plain(tree)) == json.dumps({"k": value}) or _reads_otherwise(value)


def _reads_otherwise(value: object) -> bool:
    """PyYAML writes for YAML 1.1: texts that are numbers only in 1.2 stay without quotes; lines may
    be folded anew."""
    if isinstance(value, dict):
        return any(map(_reads_otherwise, value)) or any(map(_reads_otherwise, value.values()))
    if isinstance(value, list):
        return any(map(_reads_otherwise, value))
    return isinstance(value, str) and (
        not isinstance(resolve(value), str) or not value.isprintable()
    )


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("ab1-.: ", max_size=5),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text("abc1", min_size=1, max_size=3), below, max_size=4)
    ),
    max_leaves=12,
)


@given(plain_values, st.sampled_from([None, 0, 3]))
def test_a_text_that_is_json_and_yaml_gives_one_tree(value: object, indent: int | None) -> None:
    """Two readers, one tree: values, texts and every position."""
    text = json.dumps(value, indent=indent).encode()
    assert parse(text, "x.json") == parse(text, "x.yaml")


class _Word(str):
    """A text that says something else of itself, as an enumeration's member does."""

    def __str__(self) -> str:
        return "else"


def test_data_of_a_program_is_read_like_a_file() -> None:
    """Subclasses of text, other mappings, tuples, addresses, numbers as keys; numbers and texts
    know how they are written."""
    data = MappingProxyType(
        {
            _Word("a"): (_Word("x"), ip_address("10.0.0.1"), ip_network("fd00::/64")),
            7: {"b": None, "c": True},
        }
    )
    tree = from_python(data, "script")
    assert plain(tree) == {"a": ["x", "10.0.0.1", "fd00::/64"], "7": {"b": None, "c": True}}
    texts = [item.text for item in tree.value["a"].value]
    assert texts == ["x", "10.0.0.1", "fd00::/64"]
    assert [(each.value, each.text) for each in (from_python(value, "s") for value in (12, 2**64 - 1, 1.5, -3, "y"))] == [  # noqa: E501
        (12, "12"), (2**64 - 1, str(2**64 - 1)), (1.5, ""), (-3, "-3"), ("y", "y"),
    ]  # fmt: skip
    assert from_python(2**64, "s").text == "a very large number"
    assert plain(from_python({2**64 - 1: 1}, "s")) == {str(2**64 - 1): 1}


@pytest.mark.parametrize(
    ("key", "kind"),
    [(True, "true or false"), (2**64, "a number"), (1.5, "a decimal number"), (None, "nothing")],
)
def test_keys_that_are_no_text(key: object, kind: str) -> None:
    with pytest.raises(TopologyError) as caught:
        from_python({"a": {key: 1}}, "script")
    assert str(caught.value) == f"script: a key of a map must be text, not {kind}"


def test_how_deep_and_how_much_data_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(levels: int, make: Callable[[object], object]) -> object:
        data: object = 1
        for _level in range(levels):
            data = make(data)
        return data

    for make in (lambda below: [below], lambda below: {"a": below}):
        from_python(nested(64, make), "script")
        with pytest.raises(
            TopologyError, match=r"^script: lists and maps are nested more than 64 deep"
        ):
            from_python(nested(65, make), "script")
    monkeypatch.setattr(trees, "MAX_DATA_VALUES", 1000)
    from_python([1] * 999, "script")
    with pytest.raises(TopologyError, match=r"^script: more than 1,000 values$"):
        from_python([1] * 1000, "script")
