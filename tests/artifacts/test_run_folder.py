import json
import shutil

import numpy as np
import pytest
import torch

from mambaad.artifacts.prototypes import NO_PROTOTYPES, read_prototypes, save_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.tensors import load_tensors, save_tensors, tensor_shapes
from mambaad.errors import RunError
from mambaad.inference.weights import load_model


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "copy")


def test_what_is_in_a_run(trained_run):
    names = {path.name for path in trained_run.iterdir()}
    assert names == {
        "config.json",
        "data.json",
        "version.json",
        "weights.safetensors",
        "good_parts.safetensors",
        "log.jsonl",
    }
    log = [json.loads(line) for line in (trained_run / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert set(log[0]) == {"epoch", "loss", "lr", "images_per_s", "seconds", "waited"}
    data = json.loads((trained_run / "data.json").read_text())
    assert data["classes"]["nut"] == {"train": 6, "holdout": 0, "test": 6, "masks": True}
    assert set(json.loads((trained_run / "version.json").read_text())) == {
        "mambaad",
        "torch",
        "timm",
    }


def test_a_run_from_before_there_were_variants(calibrated_run, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "copy")
    config = json.loads((run / "config.json").read_text())
    new = ("variant", "states", "expand", "kernels")
    older = {name: value for name, value in config.items() if name not in new}
    (run / "config.json").write_text(json.dumps(older))
    assert read_config(run).variant == "base"
    assert not load_model(run).training


def test_a_setting_that_a_run_lacks_is_not_the_recipes_of_today(run):
    config = {"system": "uniad", "recipe": "fast", "encoder": "resnet18", "lr": 0.0004}
    (run / "config.json").write_text(json.dumps(config))
    found = read_config(run)
    assert (found.dropout, found.normalise_features, found.lr) == (0.1, False, 0.0004)


def test_nothing_in_a_run_refers_to_a_place(trained_run, parts):
    for path in trained_run.iterdir():
        content = path.read_bytes()
        assert str(trained_run).encode() not in content
        assert str(parts).encode() not in content


def test_a_moved_run_is_the_same_model(trained_run, run):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (load_model(folder)(images).reconstructed for folder in (run, trained_run))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    assert not load_model(run).training


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda run: (run / "config.json").unlink(), "is not a run folder (it has no config.json)"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged"),
        (lambda run: (run / "config.json").write_text("[1]"), "config.json is damaged"),
        (
            lambda run: (run / "config.json").write_text('{"colour": "red"}'),
            "is not a configuration of this version",
        ),
        (lambda run: (run / "config.json").write_text("[" * 10**6), "config.json is damaged"),
        (lambda run: (run / "weights.safetensors").unlink(), "its first epoch has not ended"),
        (lambda run: (run / "weights.safetensors").write_bytes(b"PK\3\4"), "is damaged or absent"),
        (
            lambda run: (run / "weights.safetensors").write_bytes(
                (run / "weights.safetensors").read_bytes()[:-9]
            ),
            "is damaged or absent",
        ),
        (
            lambda run: save_tensors(run / "weights.safetensors", {"x": np.zeros(1)}),
            "weights.safetensors does not fit",
        ),
    ],
)
def test_a_damaged_run_is_one_line(run, damage, complaint):
    damage(run)
    with pytest.raises(RunError) as caught:
        load_model(run)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="is not a run folder"):
            read_config(folder)


def test_prototypes_are_read_back(run):
    before = read_prototypes(run)
    assert before.products == ("bolt", "nut")
    save_prototypes(run, before)
    after = read_prototypes(run)
    assert after.heatmap_range == before.heatmap_range
    assert after.products == before.products
    assert np.array_equal(after.means, before.means)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"scale": [1, 0], "products": ["bolt", "nut"]},
        {"scale": ["a", 1], "products": ["bolt", "nut"]},
        {"scale": [0, 1], "products": ["bolt"]},
        {"scale": 3, "products": []},
    ],
)
def test_damaged_prototypes(run, about):
    save_tensors(run / "good_parts.safetensors", {"means": np.zeros((2, 4), np.float32)}, about)
    with pytest.raises(RunError, match="is damaged"):
        read_prototypes(run)


def test_a_model_without_prototypes_has_the_usual_range_of_a_map(run):
    (run / "good_parts.safetensors").unlink()
    assert read_prototypes(run) is NO_PROTOTYPES
    assert NO_PROTOTYPES.heatmap_range == (0.0, 1.0)


def test_tensors_and_what_is_said_of_them(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.asarray(3)}
    save_tensors(path, tensors, {"k": [1, 2.5]})
    loaded, about = load_tensors(path)
    assert about == {"k": [1, 2.5]}
    assert np.array_equal(loaded["a"], tensors["a"])
    assert loaded["b"].shape == ()
    assert loaded["b"] == 3
    assert tensor_shapes(path) == {"a": (3, 2), "b": ()}
