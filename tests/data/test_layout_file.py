"""Declared layouts: what is wrong in one is said in a line, and nothing in it is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mambaad.data.layout_file import as_setting, declared
from mambaad.data.layouts import find_layout
from mambaad.errors import ConfigError

KNOWN = "known are train, test, masks, good, mask_suffixes, defective_if"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "expected either train"),
        ({"train": "a", "table": "b.csv"}, "expected either train"),
        ({"train": []}, "expected either train"),
        ({"train": ""}, r"train: expected a folder .* got ''; the data set's own folder is '\.'"),
        ({"train": ["a", " "]}, "train: expected a folder"),
        ({"train": "a", "test": ""}, "test: expected a folder"),
        ({"train": "a", "masks": ["m", ""]}, "masks: expected a folder"),
        ({"train": "a", "good": ""}, "good: expected a name or a list of names.* an empty name"),
        ({"table": ""}, "table: expected the name of a CSV file, got ''"),
        ({"table": "a.csv", "columns": {"image": ""}}, "columns: .* got an empty name"),
        ({"train": {"a": "b"}}, 'train: expected a folder.*, got {"a": "b"}'),
        ({"train": ["a", ["b"]]}, r'train: expected a folder.*, got \["b"\]|got "?b'),
        ({"train": "{kind}/good"}, r"train: expected a folder with {class}, {type}, got"),
        ({"train": "{class/good"}, r"train: expected a folder with {class}, {type}, got"),
        ({"train": "../good"}, "below the data set's"),
        ({"train": "/good"}, "below the data set's"),
        ({"train": "a", "masks": "{folder}/../../m"}, "below the data set's"),
        ({"train": "a", "masks": "*/m"}, r"masks: \* has no meaning"),
        ({"train": "a", "masks": "x/{folder}"}, "begins a pattern"),
        ({"train": "a", "masks": "{name}/x"}, "ends a pattern"),
        ({"train": "a", "colour": "b"}, f"unknown name 'colour'; {KNOWN}"),
        ({"train": "a", "mask_sufixes": "b"}, "'mask_sufixes', did you mean 'mask_suffixes'"),
        ({"Train": "a"}, "unknown name 'Train', did you mean 'train'"),
        ({"train": "a", "a\nb": 1}, r"unknown name 'a\\nb'"),
        ({"train": "a", "defective_if": "mask"}, "needs masks"),
        (
            {"train": "a", "masks": "m", "defective_if": "masked"},
            'defective_if: expected type, mask or marked, got "masked"',
        ),
        (
            {"train": "a", "test_share": 2},
            "test_share: expected a number from 0 to less than 1, got 2",
        ),
        ({"train": "a", "test_share": "some"}, 'test_share: expected a number .* got "some"'),
        ({"train": "a", "test_share": "nan"}, "test_share: expected a number"),
        ({"train": "a", "test_defective": "some"}, "test_defective: expected true or false"),
        ({"table": "a.csv", "columns": {"picture": "x"}}, "columns: unknown name 'picture'; known"),
        ({"table": "a.csv", "columns": {"lable": "x"}}, "did you mean 'label'"),
        ({"table": "a.csv", "columns": ["image"]}, "columns: expected names of columns for image"),
        ({"table": "a.csv", "masks": "m"}, "masks: a table does not use it"),
        ({"table": "a.csv", "test_share": 0.2}, "test_share: a table does not use it"),
        ({"table": "a.csv", "defective_if": "type"}, "defective_if: a table does not use it"),
        ({"train": "a", "columns": {"image": "x"}}, "columns: only a table has them"),
        ({"train": "a", "mask_suffixes": "_m"}, "mask_suffixes: there are no masks"),
        (
            {"train": "a", "masks": "m", "defective_if": "mask", "good": "OK"},
            "good: names do not matter with 'defective_if: mask'",
        ),
    ],
)
def test_wrong_declarations_are_one_line(given: dict, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        declared(given)
    assert str(caught.value).startswith("--layout: ")
    assert "\n" not in str(caught.value)
    (tmp_path / "mine.yaml").write_text(json.dumps(given))
    with pytest.raises(ConfigError, match=r"--layout .*mine\.yaml: "):
        find_layout(tmp_path, str(tmp_path / "mine.yaml"))


def test_nothing_is_no_folder() -> None:
    with pytest.raises(ConfigError, match=r"train: expected a folder or a list .*, got null"):
        declared({"train": None})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: a\ntrain: b\n", "'train' is given twice; keep one"),
        ("table: a.csv\ncolumns: {image: a, image: b}\n", "'image' is given twice"),
        ("train: [a", "line 1: while parsing a flow sequence"),
        ("just text", "expected fields"),
        ("", "expected fields"),
        ("- train: a", "expected fields"),
        ("train:\n", "train: expected a folder"),
        ("? [train]\n: a\n", "expected a name before"),
    ],
)
def test_wrong_files_are_one_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        declared(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        declared(tmp_path / "absent.yaml")


def test_names_are_text_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(
        b"\xef\xbb\xbftrain: 01\r\ntest: [no, 2024-05-01]\r\ngood: [1e3, ~]\r\ntest_share: 0.25\r\n"
        b"test_defective: yes\r\n"
    )
    found = declared(path)
    assert (found.train, found.test, found.good) == (("01",), ("no", "2024-05-01"), ("1e3", "~"))
    assert (found.test_share, found.test_defective) == (0.25, True)
    assert declared(as_setting(path) or "") == found
