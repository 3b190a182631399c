"""Reading YAML and JSON: plain values come as they are, anything else is one line."""

import json
import os
from pathlib import Path

import pytest
import yaml

from mambaad.documents import (
    DocumentError,
    did_you_mean,
    line_of,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
    shortened,
)

ROOT = Path(__file__).parents[1]
DEEP = 70


def alias_bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "\n".join(lines)


def refusal(parse, content):
    with pytest.raises(DocumentError) as caught:
        parse(content, "file")
    message = str(caught.value)
    assert message.startswith("file")
    assert message.isprintable()
    assert len(message) < 250
    assert "; " in message  # what to do
    return message


def test_the_recipes_of_the_project_are_read_as_by_pyyaml():
    files = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("examples/**/*.yaml")]
    assert files
    for file in files:
        assert read_yaml(file) == yaml.safe_load(file.read_text(encoding="utf-8")), file


def test_plain_values_of_yaml():
    text = "a: [1, -2.5, true, ~, text, 'q', 0x10, 1.0e-3]\nb: {c: {}, d: []}\n"
    assert parse_yaml(text, "file") == yaml.safe_load(text)
    assert parse_yaml("", "file") is None
    assert parse_yaml(b"\xef\xbb\xbfa: \xc3\xbc", "file") == {"a": "ü"}


def test_keys_dates_and_listed_names_are_text():
    text = "1: x\nno: 2024-13-45\nwhen: 2024-01-02\nclasses: [01, no, 1e3, ~]\nn: [01, no]\n"
    assert parse_yaml(text, "file", names=["classes"]) == {
        "1": "x",
        "no": "2024-13-45",
        "when": "2024-01-02",
        "classes": ["01", "no", "1e3", "~"],
        "n": [1, False],
    }


def test_aliases_and_merges_within_limits():
    text = "b: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\nd: {<<: [*b, {x: 5, z: 1}]}\ne: [*b, *b]\n"
    found = parse_yaml(text, "file")
    assert found == yaml.safe_load(text)
    found["e"][0]["x"] = 7
    assert found["e"][1]["x"] == found["b"]["x"] == 1  # none is shared
    assert "100000 values" in refusal(parse_yaml, alias_bomb(9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &a [*a]", "line 1: an alias"),
        ("x: &x\n  <<: *x", "an alias"),
        ("a: " + "[" * DEEP, "64 levels"),
        ("a: " + "{b: " * DEEP, "64 levels"),
        ("- " * 5000, "64 levels"),
        ("a: " + "9" * 5000, "64 bits"),
        ("a: 9223372036854775808", "64 bits"),
        ("a: .nan", "finite"),
        ("a: -.inf", "finite"),
        ("a: 1.0e+999", "finite"),
        ("b: 1\na: 1\na: 2", "line 3: 'a' is given twice"),
        ("1: a\n'1': b", "'1' is given twice"),
        ("? [a]\n: b", "a name"),
        ("<<: 1", "mappings"),
        ("a: !!python/object/apply:os.system ['x']", "tag"),
        ("a: !!python/name:os.system x", "tag"),
        ("a: !own x", "tag !own"),
        ("a: !!binary aGk=", "tag"),
        ("a: !!set {b}", "tag"),
        ("a: !!str [x]", "tag"),
        ("a: !!int x", "'x' is no int"),
        ("a: !!bool maybe", "no bool"),
        ("a: !!float ''", "no float"),
        ('a: "\\ud800"', "no character"),
        ('a: "\\0"', "character 0"),
        ("a: 1\nb: \x1b", "line 2: the character 0x1b"),
        ("a: [", "line 1"),
        ("a: 1\n\t- b", "line 2"),
        ("a: *b", "undefined alias"),
        ("a: 1\n---\nb: 2", "another document"),
        (b"a: 1\nb: \xff", "line 2: it is no UTF-8"),
        ("a: 1".encode("utf-16"), "UTF-8"),
    ],
)
def test_refused_yaml(text, expected):
    assert expected in refusal(parse_yaml, text)


def test_plain_values_of_json():
    text = '{"a": [1, -2.5, 1e-300, true, null, "\\ud83d\\ude00 \\\\u0000", {}, []]}'
    assert parse_json(text, "file") == json.loads(text)
    assert parse_json(b"\xef\xbb\xbf[]", "file") == []
    assert parse_json('{"a": 9223372036854775807}', "file") == {"a": 2**63 - 1}
    deep = "[" * 64 + "]" * 64
    assert parse_json(deep, "file") == json.loads(deep)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is given twice"),
        ("[NaN]", "finite"),
        ("-Infinity", "finite"),
        ("1e999", "finite"),
        ("9" * 5000, "64 bits"),
        ("[-9223372036854775809]", "64 bits"),
        ("[" * DEEP + "]" * DEEP, "64 levels"),
        ("[" * 100_000, "64 levels"),
        ('{"a": ' * DEEP + "1" + "}" * DEEP, "64 levels"),
        ('["\\ud800"]', "no character"),
        ('{"\\u0000": 1}', "character 0"),
        ("", "line 1"),
        ('{"a": 1,\n"b": }', "line 2"),
        (b'["\xff"]', "UTF-8"),
    ],
)
def test_refused_json(text, expected):
    assert expected in refusal(parse_json, text)


def test_a_line_of_many_is_named():
    for content in ("{", "[NaN]", '{"a": 1, "a": 2}', b"\xff", "[" * DEEP + "]" * DEEP):
        with pytest.raises(DocumentError, match=r"^log, line 7: "):
            parse_json(content, "log", first_line=7)


def test_files_and_their_limits(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == read_yaml(path) == {"a": 1}
    assert read_json(path, most_bytes=8) == {"a": 1}
    for read in (read_json, read_yaml):
        with pytest.raises(DocumentError, match="more than 7 bytes"):
            read(path, most_bytes=7)
        for odd in (tmp_path, tmp_path / "absent", Path("\0")):
            with pytest.raises(DocumentError, match="cannot be read"):
                read(odd)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="no regular file"):
        read_yaml(tmp_path / "pipe")


def test_values_in_messages_are_short_lines():
    assert shortened("a\nb\x1b") == "a\\nb\\x1b"
    assert shortened([1, "x"]) == "[1, 'x']"
    assert len(shortened(["x"] * 1000)) == len(shortened("y" * 1000)) == 100


def test_the_line_of_a_value_is_found(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n\nb:\n  c: {d: 3}\n  e:\n  - 4\n  - f: 5\n")
    for keys, line in (
        (["a"], 1),
        (["b", "c", "d"], 4),
        (["b", "e", 1, "f"], 7),
        (["b", "e", 9], 5),  # as near as can be
        (["z"], None),
    ):
        assert line_of(path, keys) == line, keys
    path.write_text("a: [")
    assert line_of(path, ["a"]) is None
    assert line_of(tmp_path / "none", ["a"]) is None


def test_the_nearest_name_is_asked_for():
    known = ("epochs", "encoder", "lr")
    assert did_you_mean("epoch", known) == "; did you mean 'epochs'?"
    assert did_you_mean("colour", known) == ""
