"""The table of layouts, and a further one in one file and one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mambaad.data import layouts
from mambaad.data.layouts import LAYOUTS, class_names, find_layout, read_data
from mambaad.data.readers.base import Layout
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.errors import ConfigError
from mambaad.types import ProductClass, Sample
from tests.data.conftest import Complains


def test_names_are_different_and_documented() -> None:
    from typer.testing import CliRunner

    from mambaad.cli.data import app

    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names)
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    help_page = CliRunner().invoke(app, ["check", "--help"]).output
    for layout in LAYOUTS:
        assert f"`{layout.name}`" in page
        assert layout.title in page
        assert re.search(rf"(?<![\w-]){layout.name}(?![\w-])", help_page)


def test_plain_folders(dataset: Path) -> None:
    assert find_layout(dataset).name == "mvtec"
    assert read_data(dataset) == MVTEC.read(dataset)
    assert read_data(dataset, ["nut"], split="test") == MVTEC.read(dataset, ["nut"], split="test")
    assert class_names(dataset) == ["bolt", "nut"]
    assert class_names(dataset, split="test") == ["nut"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_no_layout_recognises_nothing(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.json").write_text("{}")
    for root in (tmp_path, tmp_path / "empty", tmp_path / "gone", tmp_path / "notes.json"):
        assert not layout.recognises(root)


def test_what_none_recognises(tmp_path: Path, complains: Complains) -> None:
    with complains(tmp_path, "has no classes"):
        read_data(tmp_path)
    with complains(tmp_path / "gone", "is not a folder"):
        read_data(tmp_path / "gone")


def test_a_layout_by_its_name(dataset: Path, complains: Complains) -> None:
    assert read_data(dataset, layout="mvtec") == MVTEC.read(dataset)
    with complains(dataset, "1cls.csv"):
        read_data(dataset, layout="visa")
    with pytest.raises(ConfigError, match=r"--layout: expected one of visa, .*got 'mvtech'$"):
        read_data(dataset, layout="mvtech")


def test_a_further_data_set_is_one_line(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "parts.txt").write_text("a.png b.png")
    samples = tuple(Sample(tmp_path / name, "part") for name in ("a.png", "b.png"))
    listed = Layout(
        "listed",
        "A list in a file",
        recognises=lambda root: (root / "parts.txt").is_file(),
        class_names=lambda root, split: ["part"],
        read_classes=lambda root, names, split, complain: [ProductClass("part", samples)],
    )
    monkeypatch.setattr(layouts, "LAYOUTS", (listed, *LAYOUTS))
    assert read_data(tmp_path) == [ProductClass("part", samples)]
