import json
import re
import shutil

import pytest
import torch

import mambaad
from mambaad.artifacts.run_folder import read_config
from mambaad.data.exclusion import read_exclusions, relative_name
from mambaad.data.layouts import read_data
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.workflows.suspects import find_suspects, suspect_rows
from tests.conftest import SMALL
from tests.runs import read


@pytest.fixture(scope="module")
def dirty(many_parts, tmp_path_factory):
    """A data set with a defective bolt among the good ones."""
    data = shutil.copytree(many_parts, tmp_path_factory.mktemp("data") / "dirty & wet")
    shutil.copy(data / "bolt/test/spot/001.png", data / "bolt/train/good/017b.png")
    return data


ODD = "bolt/train/good/017b.png"


def test_the_page_its_list_and_a_training_without_the_suspects(dirty, tmp_path):
    page, figures = tmp_path / "suspects.html", tmp_path / "all.json"
    scored = find_suspects(dirty, page, size=64, json_file=figures)
    assert [c.name for c in scored] == ["bolt", "nut"]
    assert relative_name(scored[0].samples[0].path, dirty) == ODD
    listed = page.with_suffix(".txt")
    expected = [
        relative_name(sample.path, dirty)
        for c in scored
        for sample, is_suspect in zip(c.samples, c.suspects, strict=True)
        if is_suspect
    ]
    assert read_exclusions(listed, dirty) == tuple(expected)
    assert expected[0] == ODD
    assert len(expected) <= 3
    html = page.read_text(encoding="utf-8")
    assert html.count('class="card mistake"') == len(expected)
    # The command in the list is that on the page, quoted for a shell.
    (command,) = re.findall(r"^# (mambaad train .*)$", listed.read_text(), re.MULTILINE)
    assert f"'{dirty}' --out RUN --exclude {listed}" in command

    stored = json.loads(figures.read_text())["classes"]
    assert stored["bolt"]["images"][0] == {
        "path": ODD,
        "score": scored[0].scores[0],
        "suspect": True,
    }
    assert len(stored["nut"]["images"]) == 30
    assert stored["nut"]["threshold"] == scored[1].threshold
    assert suspect_rows(scored)[1][:2] == ["bolt", "31"]

    run = mambaad.train(dirty, tmp_path / "run", **{**SMALL, "epochs": 1}, exclude=listed)
    assert read(read_config, run).exclude == tuple(sorted(expected))


def test_some_classes_and_a_share(dirty, tmp_path):
    (nut,) = find_suspects(dirty, classes=["nut"], size="64x32", share=0.2)
    assert nut.name == "nut"
    assert nut.suspects.sum() == 6
    assert nut.maps.shape == (30, 8, 4)


def test_labels_are_not_looked_at(dirty):
    # Nor the test images, which need not even be readable.
    classes = read_data(dirty, ["bolt"])
    assert {s.defect_type for s in classes[0].train} == {"good"}
    (dirty / "bolt/test/good/009.png").write_bytes(b"no image")
    find_suspects(dirty, classes=["bolt"], size=32)
    (dirty / "bolt/test/good/009.png").unlink()


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"out": "page.txt"}, ConfigError, "--out: expected a page such as suspects.html"),
        ({"out": "none/page.html"}, RunError, "none is not a folder"),
        ({"json_file": "none/all.json"}, RunError, "none is not a folder"),
        ({"share": 1.5}, ConfigError, "--share: expected a share above 0"),
        ({"size": 100}, ConfigError, "--size: 100 is not a multiple of 32"),
        ({"device": "gpu"}, ConfigError, "--device: expected auto, cpu"),
        ({"encoder": "spoon"}, ConfigError, "--encoder: timm has no architecture 'spoon'"),
        ({"encoder_weights": "none.pth"}, ConfigError, "--encoder-weights: the embedded encoder"),
        ({"classes": ["spoon"]}, DataError, "has no class spoon"),
        ({"layout": "mine"}, ConfigError, "--layout: expected one of"),
    ],
)
def test_wrong_arguments(parts, tmp_path, settings, error, complaint):
    given = {"out": "page.html", **settings}
    paths = {k: tmp_path / given.pop(k) for k in ("out", "json_file") if k in given}
    with pytest.raises(error) as caught:
        find_suspects(parts, **paths, **given)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_stops_or_is_left_out(dirty, tmp_path):
    data = shutil.copytree(dirty, tmp_path / "data")
    (data / "nut/train/good/003.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"003\.png cannot be read as an image"):
        find_suspects(data, tmp_path / "page.html", classes=["nut"], size=32)
    assert not (tmp_path / "page.html").exists()
    (nut,) = find_suspects(data, classes=["nut"], size=32, skip_unreadable=True)
    assert len(nut.samples) == 29


def test_too_little_memory_is_one_line(parts, tmp_path, monkeypatch):
    def score(*args, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr("mambaad.workflows.suspects.score_class", score)
    with pytest.raises(RunError, match=r"the memory is too small for images of 256 x 256; end"):
        find_suspects(parts, tmp_path / "page.html", device="cpu")
    assert list(tmp_path.iterdir()) == []
