"""``mambaad data`` and ``make-data`` as they are typed; what they do is tested in tests/data."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mambaad.cli.data import app
from tests.conftest import make_parts


@pytest.fixture
def invoke():
    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, result.output

    return run


def test_check(invoke, parts, tmp_path):
    found = tmp_path / "found.json"
    code, output = invoke("check", parts, "--json", found)
    assert code == 0, output
    assert f"{parts}: layout of MVTec AD" in output
    assert "bolt       6          3               3      3  spot 3\n" in output
    assert f"no problems; next: mambaad train {parts} --out RUN" in output
    assert json.loads(found.read_text())["layout"] == "MVTec AD"


def test_check_with_many_problems(invoke, tmp_path):
    for i in range(30):
        path = tmp_path / "nut" / "train" / "good" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    code, output = invoke("check", tmp_path)
    assert code == 1
    assert "problems (30):" in output
    assert "and 10 more: see them all with --json FILE" in output
    assert "notes (1):" in output
    code, output = invoke("check", tmp_path, "--quick", "--layout", "mvtec")
    assert code == 0, output


def test_build_coco_ad(invoke, tmp_path):
    for part in ("train", "val"):
        (tmp_path / f"{part}2017").mkdir()
        Image.new("RGB", (12, 8)).save(tmp_path / f"{part}2017" / "1.jpg")
        content = {
            "images": [{"id": 1, "file_name": "1.jpg", "height": 8, "width": 12}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]]}
            ],
            "categories": [{"id": i} for i in range(80)],
        }
        (tmp_path / "annotations").mkdir(exist_ok=True)
        path = tmp_path / "annotations" / f"instances_{part}2017.json"
        path.write_text(json.dumps(content))
    code, output = invoke("build-coco-ad", tmp_path, "--split", 0, "--split", 2)
    assert code == 0, output
    assert f"made: coco_0, coco_2; next: mambaad train {tmp_path} --classes coco_0" in output
    assert (tmp_path / "val2017_mask_ad_20_0" / "1.png").is_file()
    assert "nothing, all splits were there" in invoke("build-coco-ad", tmp_path, "--split", 0)[1]


def test_make_data(mambaad_command, tmp_path):
    data = tmp_path / "data"
    code, out, err = mambaad_command(
        *("make-data", data, "--classes", "wood, kit", "--train", "2", "--test", "3"),
        *("--size", "64", "--seed", "5", "--difficulty", "0.2"),
    )
    assert code == 0, err
    assert out == (
        f"made: {data}, 2 classes of 2 good parts to train on and 3 to test on; "
        f"next: mambaad train {data} --out RUN\n"
    )
    manifest = json.loads((data / "manifest.json").read_text())
    assert (manifest["classes"], manifest["seed"]) == (["wood", "kit"], 5)
    assert (manifest["size"], manifest["difficulty"]) == (64, 0.2)
    assert len(list(data.rglob("*.png"))) == 2 * (2 + 3 + 1)


def test_make_data_interrupted(mambaad_command, monkeypatch, tmp_path):
    def draw(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mambaad.data.synthetic.factory._draw_all", draw)
    code, out, err = mambaad_command("make-data", tmp_path / "data")
    assert (code, out) == (130, "")
    again = f"nothing was written; again with: mambaad make-data {tmp_path / 'data'}"
    assert err == f"mambaad: interrupted; {again}\n"
    assert list(tmp_path.iterdir()) == []


def test_suspects(mambaad_command, parts, tmp_path):
    page = tmp_path / "suspects.html"
    code, out, err = mambaad_command(
        *("data", "suspects", parts, "--out", page, "--size", "32", "--classes", "nut"),
        *("--share", "0.4", "--seed", "3", "--json", tmp_path / "all.json"),
    )
    assert code == 0, err
    assert "nut         6         2 " in out
    listed = tmp_path / "suspects.txt"
    command = f"mambaad train {parts} --out RUN --exclude {listed}"
    assert out.endswith(f"look at {page}, and edit {listed}; next: {command}\n")
    lines = listed.read_text().splitlines()
    assert command in lines[2]
    assert [line.startswith("nut/train/good/") for line in lines] == [False] * 3 + [True] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"suspects.html", listed.name, "all.json"}


def test_suspects_interrupted(mambaad_command, monkeypatch, parts, tmp_path):
    def score(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("mambaad.workflows.suspects.score_class", score)
    code, out, err = mambaad_command("data", "suspects", parts, "--out", tmp_path / "page.html")
    assert (code, out) == (130, "")
    command = f"mambaad data suspects {parts} --out {tmp_path / 'page.html'}"
    assert err == f"mambaad: interrupted; nothing was written; again with: {command}\n"
    assert list(tmp_path.iterdir()) == []


def test_how_pixels_are_read_can_be_given(invoke, tmp_path):
    for i in range(3):
        path = tmp_path / "nut" / "train" / "good" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9), 1100 + i, np.uint16)).save(path)
    code, output = invoke("check", tmp_path)
    assert code == 1
    assert "16-bit values end at 1102" in output
    code, output = invoke("check", tmp_path, "--bit-depth", 12, "--max-pixels", 72)
    assert code == 0, output
    assert output.endswith("--out RUN --bit-depth 12 --max-pixels 72\n")
    code, output = invoke("check", tmp_path, "--bit-depth", 12, "--max-pixels", 71)
    assert code == 1
    assert "--max-pixels 72" in output


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--bit-depth", "11"), "--bit-depth: "),
        (("--float-range", "1,0"), "--float-range: expected the values of black and of white"),
        (("--float-range", "dark"), "--float-range: expected"),
        (("--max-pixels", "0"), "--max-pixels: "),
    ],
)
def test_readings_that_there_are_not(mambaad_command, parts, flags, complaint):
    for command in (("data", "check", parts), ("train", parts, "--out", "gone/run")):
        code, out, err = mambaad_command(*command, *flags)
        assert (code, err.count("\n")) == (1, 1), err
        assert err.startswith(f"mambaad: {complaint}")
        assert out == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids such names")
def test_classes_of_any_name(mambaad_command, tmp_path):
    odd = ("a,b", "mean", "all", "q\"uo'te", "<i>|x", "-rf", "two words", "new\nline", "01")
    make_parts(tmp_path / "data", train=2, classes=odd)
    code, out, err = mambaad_command("data", "check", tmp_path / "data", "--quick")
    assert (code, err) == (0, "")
    assert r"new\nline" in out
    page = tmp_path / "page.html"
    chosen = [part for name in odd for part in (f"--classes={name}",)]
    refused = ("data", "suspects", tmp_path / "data", "--out", page, "--size", "32")
    code, out, err = mambaad_command(*refused, *chosen)
    assert "are needed); leave it out with --classes" in err  # all classes were found
    code, out, err = mambaad_command(*refused, "--classes", "a,c")
    assert "has no class a, c; choose from" in err
    settings = tmp_path / "settings.yaml"
    settings.write_text("classes: [01, 'a,b', no]\n")
    code, out, err = mambaad_command(
        "train", tmp_path / "data", "--out", tmp_path / "run", "--config", settings
    )
    assert "has no class no; choose from" in err
