"""The run folder: what is in it, and what is refused."""

import hashlib
import json
import os
import shutil
import stat

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.manifest import (
    CONFIG,
    DATA,
    HEAD_LOG,
    LOG,
    MANIFEST,
    PROTOTYPES,
    VERSION,
    WEIGHTS,
)
from mambaad.artifacts.prototypes import NO_PROTOTYPES, prototypes_content, read_prototypes
from mambaad.artifacts.run_folder import (
    is_head_used,
    read_config,
    read_data_summary,
    read_log,
    read_version,
)
from mambaad.artifacts.tensors import tensors_content
from mambaad.errors import RunError
from mambaad.inference.weights import load_model
from tests.runs import change, change_json, content, plain_names, read, stored


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "copy")


def test_what_is_in_a_run(trained_run):
    assert plain_names(trained_run) == {
        "manifest.json",
        "config.json",
        "data.json",
        "version.json",
        "weights.safetensors",
        "good_parts.safetensors",
        "log.jsonl",
        "run.html",
    }
    log = [json.loads(line) for line in content(trained_run, LOG).splitlines()]
    manifest = json.loads((trained_run / MANIFEST).read_text())
    assert (manifest["format"], manifest["generation"]) == (1, 5)  # as it began, was set up, ...
    for file in manifest["files"].values():
        data = (trained_run / file["file"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [record["epoch"] for record in log] == [1, 2]
    assert set(log[0]) == {"epoch", "loss", "lr", "images_per_s", "seconds", "waited"}
    data = json.loads((trained_run / "data.json").read_text())
    assert data["classes"]["nut"] == {"train": 6, "holdout": 0, "test": 6, "masks": True}
    assert set(json.loads((trained_run / "version.json").read_text())) == {
        "mambaad",
        "torch",
        "timm",
        "run format",
    }
    assert set(read(read_version, trained_run)) == {"mambaad", "torch", "timm"}


def test_others_may_read_what_the_umask_lets_them(trained_run):
    mask = os.umask(0)
    os.umask(mask)
    for path in trained_run.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path.name


def test_a_run_from_before_there_were_variants(calibrated_run, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "copy")
    new = ("variant", "states", "expand", "kernels")
    change_json(run, CONFIG, lambda c: {n: value for n, value in c.items() if n not in new})
    assert read(read_config, run).variant == "base"
    assert not read(load_model, run).training


def test_a_setting_that_a_run_lacks_is_not_the_recipes_of_today(run):
    config = {"system": "uniad", "recipe": "fast", "encoder": "resnet18", "lr": 0.0004}
    change(run, {CONFIG: json.dumps(config)})
    found = read(read_config, run)
    assert (found.dropout, found.normalise_features, found.lr) == (0.1, False, 0.0004)


def test_nothing_in_a_run_refers_to_a_place(trained_run, parts):
    for path in trained_run.iterdir():
        content = path.read_bytes()
        assert str(trained_run).encode() not in content
        assert str(parts).encode() not in content


def test_a_moved_run_is_the_same_model(trained_run, run):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (
            read(load_model, folder)(images).reconstructed for folder in (run, trained_run)
        )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    assert not read(load_model, run).training


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({CONFIG: "{"}, "config-.*json is damaged"),
        ({CONFIG: "[1]"}, "config-.*json is damaged"),
        ({CONFIG: '{"colour": "red"}'}, "is not a configuration of this version"),
        ({CONFIG: "[" * 10**6}, "config-.*json is damaged"),
        ({WEIGHTS: b"PK\3\4"}, "weights-.*safetensors is damaged"),
        ({WEIGHTS: tensors_content({"x": np.zeros(1)})}, "weights-.*safetensors does not fit"),
        ({PROTOTYPES: b""}, "good_parts-.*safetensors is damaged"),
    ],
)
def test_a_run_of_wrong_files_is_one_line(run, files, complaint):
    change(run, files)
    with pytest.raises(RunError, match=complaint) as caught:
        read(load_model, run)
    assert "\n" not in str(caught.value)


def test_a_run_without_weights(run):
    change(run, {}, [WEIGHTS])
    with pytest.raises(RunError, match="its first epoch has not ended"):
        read(load_model, run)


@pytest.mark.parametrize("name", [CONFIG, DATA, VERSION, LOG, WEIGHTS, PROTOTYPES])
@pytest.mark.parametrize("damage", ["absent", "shorter", "longer", "flipped"])
def test_a_damaged_file_is_refused_by_its_name(run, name, damage):
    path = stored(run, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    damaged = {"shorter": data[:-1], "longer": data + b" ", "flipped": data}
    path.unlink()
    if damage != "absent":
        path.write_bytes(damaged[damage])
    with pytest.raises(RunError, match=rf"{path.name} .* lists.*; restore the run from") as caught:
        mambaad.Inspector(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (read_data_summary, DATA, {"classes": [1], "fingerprint": "a"}),
        (read_data_summary, DATA, {"classes": {"nut": {"train": 1}}, "fingerprint": "a"}),
        (read_data_summary, DATA, {"classes": {"nut": 3}, "fingerprint": "a"}),
        (read_data_summary, DATA, {"classes": {}, "fingerprint": 3}),
        (read_data_summary, DATA, {"classes": {}}),
        (read_data_summary, DATA, {"classes": {}, "fingerprint": "", "parts": {"nut": [1]}}),
        (read_version, VERSION, {"mambaad": 1}),
        (read_version, VERSION, {"mambaad": None}),
        (read_version, VERSION, ["mambaad"]),
        (read_log, LOG, 3),
        (read_log, LOG, {"epoch": 2, "loss": 1.0, "seconds": 1.0}),
        (read_log, LOG, {"epoch": 1, "loss": "1", "seconds": 1.0}),
        (read_log, LOG, {"epoch": 1, "seconds": 1.0}),
        (is_head_used, HEAD_LOG, {"step": 50, "loss": 1.0, "seconds": 1, "used": "no"}),
        (is_head_used, HEAD_LOG, {"step": -1, "loss": 1.0, "seconds": 1}),
    ],
)
def test_json_that_is_not_as_expected(run, function, name, value):
    change(run, {name: json.dumps(value)})
    stem = name.split(".")[0]
    with pytest.raises(RunError, match=rf"{stem}-.* is damaged \(.*\); restore the run") as caught:
        read(function, run)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="is not a run folder"):
            read(read_config, folder)


def test_prototypes_are_read_back(run):
    before = read(read_prototypes, run)
    assert before.products == ("bolt", "nut")
    change(run, {PROTOTYPES: prototypes_content(before)})
    after = read(read_prototypes, run)
    assert after.heatmap_range == before.heatmap_range
    assert after.products == before.products
    assert np.array_equal(after.means, before.means)


MEANS = np.zeros((2, 4), np.float32)
ABOUT = {"scale": [0, 1], "products": ["bolt", "nut"]}


@pytest.mark.parametrize(
    ("means", "about"),
    [
        (MEANS, {}),
        (MEANS, {**ABOUT, "scale": [1, 0]}),
        (MEANS, {**ABOUT, "scale": ["a", 1]}),
        (MEANS, {**ABOUT, "scale": 3}),
        (MEANS, {**ABOUT, "products": ["bolt"]}),
        (MEANS, {**ABOUT, "products": ["bolt", "bolt"]}),
        (MEANS, {**ABOUT, "products": [1, 2]}),
        (MEANS.astype(np.float64), ABOUT),
        (MEANS[0], ABOUT),
        (MEANS * np.nan, ABOUT),
        (MEANS + np.float32(1e30), ABOUT),  # distances to which are infinite
    ],
)
def test_damaged_prototypes(run, means, about):
    change(run, {PROTOTYPES: tensors_content({"means": means}, about)})
    with pytest.raises(RunError, match="is damaged"):
        read(read_prototypes, run)


def test_a_model_without_prototypes_has_the_usual_range_of_a_map(run):
    change(run, {}, [PROTOTYPES])
    assert read(read_prototypes, run) is NO_PROTOTYPES
    assert NO_PROTOTYPES.heatmap_range == (0.0, 1.0)
