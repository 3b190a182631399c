"""The statements of the pages hold."""

import re
from pathlib import Path

import numpy as np
import pytest

from mambaad.config import TrainConfig, make_config
from mambaad.config_file import read_config_file
from mambaad.data.images import read_image
from mambaad.data.mask_files import read_mask
from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = tuple(f"src/mambaad/{name}" for name in ("ops", "metrics", "models/weights"))
PAGES = sorted(
    path
    for folder in (".", "docs", "benchmarks", *PACKAGES)
    for path in (ROOT / folder).glob("*.md")
)


def test_the_recipe_in_the_examples_is_the_default():
    assert make_config(read_config_file(ROOT / "examples" / "recipe.yaml")) == TrainConfig()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["architecture.md", "maths.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.(?:py|hpp|cpp))`", text):
        places = (ROOT, ROOT / "src" / "mambaad", ROOT / "native")
        assert any((place / name).exists() for place in places), name


def test_the_example_from_python_runs(trained_run, parts, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # As written, but for the names of things and a training of seconds.
    code = code.replace('"DATA"', repr(str(parts))).replace('"part.png"', "PART")
    code = code.replace('encoder="resnet34", epochs=100', "**SMALL")
    monkeypatch.chdir(tmp_path)
    part = parts / "nut" / "test" / "good" / "000.png"
    scope = {"SMALL": {**SMALL, "epochs": 1, "size": "32"}, "PART": part}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["prediction"].product in ("bolt", "nut")


def test_the_examples_of_the_page_on_python_run(many_parts, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # As written, but for trainings of seconds, in a folder with what they name.
    monkeypatch.chdir(tmp_path)
    Path("DATA").symlink_to(many_parts)
    part = many_parts / "nut" / "test" / "spot" / "000.png"
    Path("part.png").symlink_to(part)
    mask = many_parts / "nut" / "ground_truth" / "spot" / "000_mask.png"
    good = many_parts / "nut" / "test" / "good" / "000.png"
    scope = {
        "SMALL": {**SMALL, "size": "32"},
        "good_paths": sorted((many_parts / "nut" / "train" / "good").iterdir())[:4],
        "test_images": [
            (read_image(good), "good", None),
            (read_image(part), "spot", read_mask(mask)),
        ],
    }
    for block in blocks:
        code = block.replace('recipe="fast"', "**SMALL")
        exec(compile(code, "python.md", "exec"), scope)
    assert scope["prediction"].verdict is not None
    assert np.array_equal(read_image(Path("part.heatmap.png")), scope["picture"])
    printed = capsys.readouterr().out
    assert "Prediction(score=" in printed
    assert re.search(r"^2 [\d.]+ [\d.]+$", printed, re.MULTILINE)  # the validation
    assert "give image.transpose(1, 2, 0)" in printed
